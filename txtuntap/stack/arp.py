"""
ARP: says who has our IPv4 addresses, and asks who has others (RFC 826, RFC 5227).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from txtuntap.ethernet import EthernetProtocol
from txtuntap.interfaces import IPacketReceiver, IRawPacketProtocol
from txtuntap.layer import Layer
from txtuntap.packet import Packet
from txtuntap.stack.neighbours import NeighbourCache, isStation
from txtuntap.wire import arp as wire
from txtuntap.wire.address import LINK_BROADCAST
from txtuntap.wire.ethernet import ARP as ETHERTYPE

_NOBODY = bytes(4)


@implementer(IRawPacketProtocol, IPacketReceiver)
class ARPProtocol(Layer):
    """
    Answers requests for our addresses, and finds stations for a L{NeighbourCache}.

    Counters: C{inErrors} (no ARP for IPv4 over Ethernet, or from what is no station), C{inRequests}, C{inReplies},
    C{outReplies}, C{inOthers} (about other addresses), C{inConflicts} (somebody else claims an address of ours).
    """

    def __init__(
        self,
        ethernet: EthernetProtocol,
        neighbours: NeighbourCache,
        owns: Callable[[bytes], bool],
        isNeighbour: Callable[[bytes], bool],
        sourceFor: Callable[[bytes], bytes | None],
        conflict: Callable[[bytes, bytes], None],
    ) -> None:
        """
        @param owns: tells whether we answer for an address.
        @param isNeighbour: tells whether an address can be another host's.
        @param sourceFor: tells which address of ours to ask from.
        @param conflict: called with an address of ours and the station that claims it.
        """
        super().__init__()
        self._ethernet = ethernet
        self._neighbours = neighbours
        self._owns = owns
        self._isNeighbour = isNeighbour
        self._sourceFor = sourceFor
        self._conflict = conflict

    def addProto(self, num: int, proto: Any) -> None:
        """
        There is nothing above ARP.
        """
        raise TypeError("no protocol can be added above ARP")

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come.
        """
        message = wire.parse(bytes(packet))
        if message is None or not isStation(message.senderLink) or not isStation(packet.linkSource):
            return self.dropped(packet, "inErrors")
        self.counters["inRequests" if message.opcode == wire.REQUEST else "inReplies"] += 1
        sender = message.sender
        if self._owns(sender):
            if message.senderLink != self._ethernet.linkAddress:
                self.counters["inConflicts"] += 1
                self._conflict(sender, message.senderLink)
            return
        ours = self._owns(message.target)
        if self._isNeighbour(sender):
            answer = message.opcode == wire.REPLY and message.targetLink == self._ethernet.linkAddress
            if answer and packet.linkDest == self._ethernet.linkAddress:
                self._neighbours.confirmed(sender, message.senderLink)
            else:
                self._neighbours.heard(sender, message.senderLink, ours and message.opcode == wire.REQUEST)
        elif sender != _NOBODY:
            return self.dropped(packet, "inErrors")
        if not ours:
            return self.dropped(packet, "inOthers")
        if message.opcode == wire.REQUEST:
            self.counters["outReplies"] += 1
            own = self._ethernet.linkAddress
            reply = wire.ARP(wire.REPLY, own, message.target, message.senderLink, sender)
            self._ethernet.writeFrame([reply.pack()], message.senderLink, ETHERTYPE, own, packet.port)

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
        source = self._sourceFor(address)
        if source is not None:
            self._request(source, address, station)

    def announce(self, address: bytes) -> None:
        """
        Tell everybody that C{address} is ours (RFC 5227 section 2.3).
        """
        self._request(address, address, None)

    def probe(self, address: bytes) -> None:
        """
        Ask whether anybody has C{address}, without claiming it (RFC 5227 section 2.1.1).
        """
        self._request(_NOBODY, address, None)

    def _request(self, source: bytes, target: bytes, station: bytes | None) -> None:
        own = self._ethernet.linkAddress
        request = wire.ARP(wire.REQUEST, own, source, bytes(6), target)
        self._ethernet.writeFrame([request.pack()], station or LINK_BROADCAST, ETHERTYPE, own)
