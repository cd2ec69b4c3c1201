"""
ARP: answers requests for the host's IPv4 addresses, and asks for the link addresses of other stations.

Read RFC 826 first, then RFC 5227 sections 2.1 to 2.4 about address conflicts.
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
    The ARP layer of a host. It answers requests for the host's addresses, and finds stations for a L{NeighbourCache}.

    Counters: C{inErrors} (the packet is not ARP for IPv4 over Ethernet, its sender's link address cannot be that of a
    station, or its sender's IP address is in no network of the host), C{inRequests}, C{inReplies}, C{outReplies},
    C{outAnyReplies} (replies for an address that the host has only as part of a network), C{inOthers} (packets about
    addresses of other stations), C{inConflicts} (another station claims an address of the host).
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
        @param ethernet: the Ethernet layer that sends the packets.
        @param addresses: the addresses of the host.
        @param neighbours: the cache that is told which station has which address.
        @param guard: knows which addresses are being probed, and is told of each conflict.
        @param answered: the addresses of AnyIP networks for which the host answers, too.
        """
        super().__init__()
        self._ethernet = ethernet
        self._addresses = addresses
        self._neighbours = neighbours
        self._guard = guard
        self._answered = answered

    def packetReceived(self, packet: Packet) -> None:
        """
        Process an ARP packet: update the cache, report conflicts to the guard, and reply to a request.
        """
        message = wire.parse(bytes(packet))
        if message is None or not isStation(message.senderLink) or not isStation(packet.readLinkSource):
            return self.dropped(packet, Drop.MALFORMED)
        self.counters["inRequests" if message.opcode == wire.REQUEST else "inReplies"] += 1
        linkAddress = self._ethernet.linkAddress
        sender, target = message.sender, message.target
        if message.senderLink == linkAddress:
            # A loop in the link has sent the host's own packet back, so it is no conflict.
            return
        if self._addresses.isOwn(sender) or self._guard.isProbing(sender):
            self.counters["inConflicts"] += 1
            return self._guard.conflict(sender, message.senderLink)
        asked = message.opcode == wire.REQUEST
        probing = sender == UNSPECIFIED
        ours = self._addresses.isOwn(target)
        if probing and asked and not ours and self._guard.isProbing(target):
            # Two stations probe for one address at the same time, so neither may take it (RFC 5227 section 2.1.1).
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
            # A station that probes for an address will use it unless another station replies.
            self._neighbours.claimed(target, message.senderLink, True)
        if not ours and (probing or not asked or not self._answered.answers(target)):
            return self.dropped(packet, Drop.OTHER_ADDRESS)
        if asked:
            self.counters["outReplies" if ours else "outAnyReplies"] += 1
            reply = wire.ARP(wire.REPLY, linkAddress, target, message.senderLink, sender)
            self._ethernet.writeFrame([reply.pack()], message.senderLink, ETHERTYPE, linkAddress, packet.port)

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Refuse the interface of C{twisted.pair}: this layer needs the L{Packet} with its link addresses.

        @raise TypeError: always.
        """
        raise TypeError("an ARPProtocol works only on an EthernetProtocol of txtuntap: add it to one with addProto")

    def solicit(self, address: bytes, station: bytes | None) -> None:
        """
        Send a request for the link address of the station that has C{address}.

        @param address: four octets.
        @param station: the link address to send the request to, six octets. C{None}: the request is broadcast.
        """
        self._request(self._addresses.sourceFor(address) or UNSPECIFIED, address, station)

    def announce(self, address: bytes) -> None:
        """
        Announce to all stations that this host has C{address} (RFC 5227 section 2.3).
        """
        self._request(address, address, None)

    def probe(self, address: bytes) -> None:
        """
        Send a probe: ask whether a station has C{address}, without claiming it (RFC 5227 section 2.1.1).
        """
        self._request(UNSPECIFIED, address, None)

    def _request(self, source: bytes, target: bytes, station: bytes | None) -> None:
        linkAddress = self._ethernet.linkAddress
        request = wire.ARP(wire.REQUEST, linkAddress, source, bytes(6), target)
        self._ethernet.writeFrame([request.pack()], station or LINK_BROADCAST, ETHERTYPE, linkAddress)
