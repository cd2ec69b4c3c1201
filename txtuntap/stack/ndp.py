"""
Neighbour discovery for IPv6: says who has our addresses, and asks who has others (RFC 4861 section 7.2, RFC 4862). And
asks for routers, if it is to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from txtuntap.ip.input import IPProtocol
from txtuntap.packet import Packet
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.autoconf import Autoconfiguration
from txtuntap.stack.neighbours import NeighbourCache, isStation
from txtuntap.transports import Route
from txtuntap.wire import icmp, ipv6
from txtuntap.wire import ndp as wire
from txtuntap.wire.address import groupLinkAddress, packAddress, solicitedNode

_ALL_NODES = packAddress("ff02::1")
_ALL_ROUTERS = packAddress("ff02::2")
_NOBODY = bytes(16)

_KINDS = frozenset((wire.SOLICITATION, wire.ADVERTISEMENT))


class NeighbourDiscovery:
    """
    Answers solicitations for our addresses, and finds stations for a L{NeighbourCache}.

    What is sent from an address of ours while it is I{tentative}, still being asked for, changes nobody's mind about
    whose it is (RFC 4429 section 2.2).

    Counters: C{inErrors} (malformed, through a router, from what is no station or from our own), C{inFragments} (taken
    apart, which nobody needs to: RFC 6980), C{inSolicits}, C{inAdvertisements}, C{outAdvertisements},
    C{outAnyAdvertisements} (for an address that is ours only as part of a network), C{inOthers} (about other
    addresses), C{inConflicts} (somebody else claims an address of ours), C{inRouterAdvertisements},
    C{outRouterSolicits}.

    @ivar autoconfiguration: what is told of routers; L{None}: nobody is.
    """

    def __init__(
        self,
        ip: IPProtocol,
        neighbours: NeighbourCache,
        owns: Callable[[bytes], bool],
        isTentative: Callable[[bytes], bool],
        isAskedFor: Callable[[bytes], bool],
        conflict: Callable[[bytes, bytes], None],
        answered: AnsweredNetworks,
    ) -> None:
        """
        @param owns: tells whether an address is ours by itself.
        @param isTentative: tells whether an address of ours is still being asked for.
        @param isAskedFor: tells whether an address is being asked for, and will be ours if nobody has it.
        @param conflict: called with an address of ours, or that is asked for, and the station that claims it.
        @param answered: which addresses besides are answered for.
        """
        self.counters: Counter[str] = Counter()
        self._ip = ip
        self._neighbours = neighbours
        self._owns = owns
        self._isTentative = isTentative
        self._isAskedFor = isAskedFor
        self._conflict = conflict
        self._answered = answered
        self.autoconfiguration: Autoconfiguration | None = None

    @property
    def kinds(self) -> frozenset[int]:
        """
        The types of messages that are to come here.
        """
        return _KINDS if self.autoconfiguration is None else _KINDS | {wire.ROUTER_ADVERTISEMENT}

    def received(self, packet: Packet, message: bytes) -> None:
        """
        A message of one of L{kinds} has come.

        @param message: the ICMPv6 message, which sums up.
        """
        if packet.reassembled or _isFragment(packet):
            self.counters["inFragments"] += 1
            return
        ethernet, station = packet.ethernet, packet.linkSource
        if packet.hopLimit != wire.HOP_LIMIT or ethernet is None or not isStation(station):
            self.counters["inErrors"] += 1
        elif station == ethernet.linkAddress:
            # Our own has come back (RFC 4862 appendix A): nobody else wants the address.
            self.counters["inErrors"] += 1
        elif message[0] == wire.ROUTER_ADVERTISEMENT:
            self._routerAdvertised(packet, message)
        else:
            solicitation = message[0] == wire.SOLICITATION
            parsed = wire.parse(message, wire.SOURCE_LINK if solicitation else wire.TARGET_LINK)
            if parsed is None:
                self.counters["inErrors"] += 1
            elif solicitation:
                self._solicited(packet, *parsed)
            else:
                self._advertised(packet, message, *parsed)

    def solicit(self, address: bytes, station: bytes | None) -> None:
        """
        Ask who has C{address}.

        @param station: whom to ask; L{None}: everybody who could.
        """
        source = self._ip.sourceFor(address)
        if source is not None and self._isTentative(source):
            others = (own.packed for own in self._ip.addresses if own.version == 6)
            source = next((own for own in others if not self._isTentative(own)), source)
        if source is not None:
            dest = solicitedNode(address) if station is None else address
            # Who is asked takes note of the asker, but where the question does not say who that is.
            option = None if self._isTentative(source) else wire.SOURCE_LINK
            self._send(wire.SOLICITATION, 0, address, option, source, dest, station)

    def probe(self, address: bytes) -> None:
        """
        Ask whether anybody has C{address}, without claiming it (RFC 4862 section 5.4.2).
        """
        self._send(wire.SOLICITATION, 0, address, None, _NOBODY, solicitedNode(address), None)

    def announce(self, address: bytes) -> None:
        """
        Tell everybody that C{address} is ours.
        """
        self._send(wire.ADVERTISEMENT, wire.OVERRIDE, address, wire.TARGET_LINK, address, _ALL_NODES, None)

    def solicitRouters(self) -> None:
        """
        Ask routers to advertise themselves (RFC 4861 section 4.1).
        """
        source = self._ip.sourceFor(_ALL_ROUTERS)
        option: int | None = wire.SOURCE_LINK
        if source is None or self._isTentative(source):
            source, option = _NOBODY, None
        self.counters["outRouterSolicits"] += 1
        self._send(wire.ROUTER_SOLICITATION, 0, b"", option, source, _ALL_ROUTERS, None)

    def _solicited(self, packet: Packet, target: bytes, link: bytes | None) -> None:
        self.counters["inSolicits"] += 1
        source = packet.sourceAddress
        probing = source == _NOBODY
        if probing and (link is not None or packet.destAddress != solicitedNode(target)):
            self.counters["inErrors"] += 1
            return
        ours = self._owns(target)
        station = link or packet.linkSource or b""
        # Whoever probes has the address next, unless somebody answers.
        asker = target if probing else source
        if self._answered.covers(asker):
            self._neighbours.heard(asker, station, True)
        elif link is not None and ours:
            self._neighbours.heard(source, link, True)
        if probing and self._isAskedFor(target):
            # Two want to have it: neither does (RFC 4862 section 5.4.3).
            self.counters["inConflicts"] += 1
            self._conflict(target, station)
        elif not ours and (probing or not self._answered.answers(target)):
            self.counters["inOthers"] += 1
        elif not ours:
            # Without Override: whoever has it by itself goes before (section 7.2.8).
            self.counters["outAnyAdvertisements"] += 1
            self._send(wire.ADVERTISEMENT, wire.SOLICITED, target, wire.TARGET_LINK, target, source, station)
        elif probing:
            # Somebody wants to have it: it is taken.
            self.counters["outAdvertisements"] += 1
            self.announce(target)
        else:
            self.counters["outAdvertisements"] += 1
            flags = wire.SOLICITED | (0 if self._isTentative(target) else wire.OVERRIDE)
            self._send(wire.ADVERTISEMENT, flags, target, wire.TARGET_LINK, target, source, station)

    def _advertised(self, packet: Packet, message: bytes, target: bytes, link: bytes | None) -> None:
        self.counters["inAdvertisements"] += 1
        solicited = bool(message[4] & 0x40)
        group = packet.destAddress[0] == 0xFF
        if solicited and group:
            self.counters["inErrors"] += 1
            return
        if not message[4] & 0x80:
            self._isNoRouter(target, link)
        if self._owns(target) or self._isAskedFor(target):
            self.counters["inConflicts"] += 1
            self._conflict(target, link or packet.linkSource or b"")
        elif solicited and target in self._neighbours:
            self._neighbours.confirmed(target, link, bool(message[4] & 0x20))
        elif self._answered.covers(target):
            self._neighbours.heard(target, link or packet.linkSource or b"", True)
        elif link is not None:
            self._neighbours.heard(target, link, False)

    def _routerAdvertised(self, packet: Packet, message: bytes) -> None:
        advertisement = wire.parseRouterAdvertisement(message)
        router = packet.sourceAddress
        if advertisement is None or router[0] != 0xFE or router[1] & 0xC0 != 0x80 or self.autoconfiguration is None:
            self.counters["inErrors"] += 1
            return
        self.counters["inRouterAdvertisements"] += 1
        self.autoconfiguration.advertised(router, advertisement)
        if advertisement.link is not None:
            self._neighbours.heard(router, advertisement.link, self.autoconfiguration.isRouter(router))

    def _isNoRouter(self, target: bytes, link: bytes | None) -> None:
        """
        Somebody says that an address is that of a host: if it was a router's, that has changed (RFC 4861 section
        7.2.5).
        """
        known = self._neighbours.entries.get(target)
        if self.autoconfiguration is not None and known is not None and link in (None, known.station):
            self.autoconfiguration.removeRouter(target)

    def _send(
        self,
        kind: int,
        flags: int,
        target: bytes,
        option: int | None,
        source: bytes,
        dest: bytes,
        station: bytes | None,
    ) -> None:
        ethernet = self._ip.ethernet
        if ethernet is None:
            return
        body = wire.packBody(target, option, ethernet.linkAddress)
        message = icmp.pack(kind, 0, flags, body, source, dest)
        route = Route(source, dest, ethernet, station or groupLinkAddress(dest))
        self._ip.output(route, icmp.PROTOCOL[6], [message], wire.HOP_LIMIT)


def _isFragment(packet: Packet) -> bool:
    """
    Whether C{packet} has a fragment header, if only that of a fragment which is the whole datagram.
    """
    if packet.transport == packet.network + ipv6.HEADER_LENGTH:
        return False
    chain = ipv6.headerChain(packet.data, packet.network, packet.end)
    return any(kind == ipv6.FRAGMENT for kind, _ in chain)
