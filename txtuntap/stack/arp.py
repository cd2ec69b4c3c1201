"""
ARP: says who has our IPv4 addresses, and asks who has others (RFC 826, RFC 5227).
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from txtuntap.ethernet import EthernetProtocol
from txtuntap.interfaces import IPacketReceiver
from txtuntap.ip.addresses import Addresses
from txtuntap.layer.drops import Drop
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.packet import Packet
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.neighbours import NeighbourCache, isStation
from txtuntap.wire import arp as wire
from txtuntap.wire.address import LINK_BROADCAST, UNSPECIFIED
from txtuntap.wire.ethernet import ARP as ETHERTYPE


@implementer(IPacketReceiver)
class ARPProtocol(PacketProtocol):
    """
    Answers requests for our addresses, and finds stations for a L{NeighbourCache}.

    Counters: C{inErrors} (no ARP for IPv4 over Ethernet, or from what is no station), C{inRequests}, C{inReplies},
    C{outReplies}, C{outAnyReplies} (for an address that is ours only as part of a network), C{inOthers} (about other
    addresses), C{inConflicts} (somebody else claims an address of ours).
    """

    handlesFailures = True

    def __init__(
        self,
        ethernet: EthernetProtocol,
        addresses: Addresses,
        neighbours: NeighbourCache,
        guard: AddressGuard,
        answered: AnsweredNetworks,
    ) -> None:
        """
        @param addresses: the host's own.
        @param guard: knows which addresses are being asked for, and learns of each that another station claims.
        @param answered: which addresses besides are answered for.
        """
        super().__init__()
        self._ethernet = ethernet
        self._addresses = addresses
        self._neighbours = neighbours
        self._guard = guard
        self._answered = answered

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come.
        """
        message = wire.parse(bytes(packet))
        if message is None or not isStation(message.senderLink) or not isStation(packet.linkSource):
            return self.dropped(packet, Drop.MALFORMED)
        self.counters["inRequests" if message.opcode == wire.REQUEST else "inReplies"] += 1
        linkAddress = self._ethernet.linkAddress
        sender, target = message.sender, message.target
        if message.senderLink == linkAddress:
            # Our own has come back.
            return
        if self._addresses.isOwn(sender) or self._guard.isAskedFor(sender):
            self.counters["inConflicts"] += 1
            return self._guard.conflict(sender, message.senderLink)
        asked = message.opcode == wire.REQUEST
        probing = sender == UNSPECIFIED
        ours = self._addresses.isOwn(target)
        if probing and asked and not ours and self._guard.isAskedFor(target):
            # Two want to have it: neither does (RFC 5227 section 2.1.1).
            self.counters["inConflicts"] += 1
            return self._guard.conflict(target, message.senderLink)
        if self._addresses.isNeighbour(sender):
            answer = not asked and message.targetLink == linkAddress and packet.linkDest == linkAddress
            if answer and sender in self._neighbours:
                self._neighbours.confirmed(sender, message.senderLink)
            else:
                remember = (ours and asked) or self._answered.covers(sender)
                self._neighbours.claimed(sender, message.senderLink, remember)
        elif not probing:
            return self.dropped(packet, Drop.MALFORMED)
        elif asked and self._answered.covers(target):
            # A station that probes will have the address, unless another one answers.
            self._neighbours.claimed(target, message.senderLink, True)
        if not ours and (probing or not asked or not self._answered.answers(target)):
            return self.dropped(packet, Drop.OTHER_ADDRESS)
        if asked:
            self.counters["outReplies" if ours else "outAnyReplies"] += 1
            reply = wire.ARP(wire.REPLY, linkAddress, target, message.senderLink, sender)
            self._ethernet.writeFrame([reply.pack()], message.senderLink, ETHERTYPE, linkAddress, packet.port)

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Only packets are understood here.
        """
        raise TypeError("ARPProtocol goes on an EthernetProtocol of txtuntap")

    def solicit(self, address: bytes, station: bytes | None) -> None:
        """
        Ask who has C{address}.

        @param station: whom to ask; L{None}: everybody.
        """
        self._request(self._addresses.sourceFor(address) or UNSPECIFIED, address, station)

    def announce(self, address: bytes) -> None:
        """
        Tell everybody that C{address} is ours (RFC 5227 section 2.3).
        """
        self._request(address, address, None)

    def probe(self, address: bytes) -> None:
        """
        Ask whether anybody has C{address}, without claiming it (RFC 5227 section 2.1.1).
        """
        self._request(UNSPECIFIED, address, None)

    def _request(self, source: bytes, target: bytes, station: bytes | None) -> None:
        linkAddress = self._ethernet.linkAddress
        request = wire.ARP(wire.REQUEST, linkAddress, source, bytes(6), target)
        self._ethernet.writeFrame([request.pack()], station or LINK_BROADCAST, ETHERTYPE, linkAddress)
