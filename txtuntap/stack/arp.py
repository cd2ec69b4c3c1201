"""
ARP: says who has our IPv4 addresses, and asks who has others (RFC 826, RFC 5227).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from txtuntap.ethernet import EthernetProtocol
from txtuntap.interfaces import IPacketReceiver
from txtuntap.layer.counting import CountingProtocol
from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.neighbours import NeighbourCache, isStation
from txtuntap.wire import arp as wire
from txtuntap.wire.address import LINK_BROADCAST
from txtuntap.wire.ethernet import ARP as ETHERTYPE

_NOBODY = bytes(4)


@implementer(IPacketReceiver)
class ARPProtocol(CountingProtocol):
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
        neighbours: NeighbourCache,
        owns: Callable[[bytes], bool],
        isNeighbour: Callable[[bytes], bool],
        sourceFor: Callable[[bytes], bytes | None],
        isAskedFor: Callable[[bytes], bool],
        conflict: Callable[[bytes, bytes], None],
        answered: AnsweredNetworks,
    ) -> None:
        """
        @param owns: tells whether an address is ours by itself.
        @param isNeighbour: tells whether an address can be another host's.
        @param sourceFor: tells which address of ours to ask from.
        @param isAskedFor: tells whether an address is being asked for, and will be ours if nobody has it.
        @param conflict: called with an address of ours, or that is asked for, and the station that claims it.
        @param answered: which addresses besides are answered for.
        """
        super().__init__()
        self._ethernet = ethernet
        self._neighbours = neighbours
        self._owns = owns
        self._isNeighbour = isNeighbour
        self._sourceFor = sourceFor
        self._isAskedFor = isAskedFor
        self._conflict = conflict
        self._answered = answered

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come.
        """
        message = wire.parse(bytes(packet))
        if message is None or not isStation(message.senderLink) or not isStation(packet.linkSource):
            return self.dropped(packet, Drop.MALFORMED)
        self.counters["inRequests" if message.opcode == wire.REQUEST else "inReplies"] += 1
        own = self._ethernet.linkAddress
        sender, target = message.sender, message.target
        if message.senderLink == own:
            # Our own has come back.
            return
        if self._owns(sender) or self._isAskedFor(sender):
            self.counters["inConflicts"] += 1
            return self._conflict(sender, message.senderLink)
        asked = message.opcode == wire.REQUEST
        probing = sender == _NOBODY
        ours = self._owns(target)
        if probing and asked and not ours and self._isAskedFor(target):
            # Two want to have it: neither does (RFC 5227 section 2.1.1).
            self.counters["inConflicts"] += 1
            return self._conflict(target, message.senderLink)
        if self._isNeighbour(sender):
            answer = not asked and message.targetLink == own and packet.linkDest == own
            if answer and sender in self._neighbours:
                self._neighbours.confirmed(sender, message.senderLink)
            else:
                remember = (ours and asked) or self._answered.covers(sender)
                self._neighbours.heard(sender, message.senderLink, remember)
        elif not probing:
            return self.dropped(packet, Drop.MALFORMED)
        elif asked and self._answered.covers(target):
            # Whoever probes has the address next, unless somebody answers.
            self._neighbours.heard(target, message.senderLink, True)
        if not ours and (probing or not asked or not self._answered.answers(target)):
            return self.dropped(packet, Drop.OTHER_ADDRESS)
        if asked:
            self.counters["outReplies" if ours else "outAnyReplies"] += 1
            reply = wire.ARP(wire.REPLY, own, target, message.senderLink, sender)
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
        self._request(self._sourceFor(address) or _NOBODY, address, station)

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
