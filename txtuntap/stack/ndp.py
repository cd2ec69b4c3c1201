"""
Neighbour discovery for IPv6: says who has our addresses, and asks who has others (RFC 4861 section 7.2, RFC 4862). And
asks for routers, if it is to.
"""

from __future__ import annotations

from txtuntap.ip.addresses import Addresses
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.counters import Counters
from txtuntap.layer.drops import Drop, Dropping
from txtuntap.packet import Packet
from txtuntap.stack.anyip import AnsweredNetworks
from txtuntap.stack.autoconf import Autoconfiguration
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.neighbours import NeighbourCache, isStation
from txtuntap.transports import Route
from txtuntap.wire import icmp, ipv6
from txtuntap.wire import ndp as wire
from txtuntap.wire.address import UNSPECIFIED6, groupLinkAddress, isLinkLocal, packAddress, solicitedNode

_ALL_NODES = packAddress("ff02::1")
_ALL_ROUTERS = packAddress("ff02::2")

_KINDS = frozenset((wire.SOLICITATION, wire.ADVERTISEMENT))


class NeighbourDiscovery(Dropping):
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
        self.counters = Counters()
        self._ip = ip
        self._addresses = addresses
        self._neighbours = neighbours
        self._guard = guard
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
            return self.dropped(packet, Drop.FRAGMENTED_MESSAGE)
        ethernet, station = packet.ethernet, packet.linkSource
        if packet.hopLimit != wire.HOP_LIMIT or ethernet is None or not isStation(station):
            self.dropped(packet, Drop.MALFORMED)
        elif station == ethernet.linkAddress:
            # Our own has come back (RFC 4862 appendix A): nobody else wants the address.
            self.dropped(packet, Drop.MALFORMED)
        elif message[0] == wire.ROUTER_ADVERTISEMENT:
            self._routerAdvertised(packet, message)
        else:
            solicitation = message[0] == wire.SOLICITATION
            parsed = wire.parse(message, wire.SOURCE_LINK if solicitation else wire.TARGET_LINK)
            if parsed is None:
                self.dropped(packet, Drop.MALFORMED)
            elif solicitation:
                self._solicited(packet, *parsed)
            else:
                self._advertised(packet, message, *parsed)

    def solicit(self, address: bytes, station: bytes | None) -> None:
        """
        Ask who has C{address}.

        @param station: whom to ask; L{None}: everybody who could.
        """
        source = self._addresses.sourceFor(address)
        if source is not None and self._guard.isTentative(source):
            ours = self._addresses.inOrder6()
            source = next((each for each in ours if not self._guard.isTentative(each)), source)
        if source is not None:
            dest = solicitedNode(address) if station is None else address
            # A station that is asked enters the asker into its cache, unless the question does not say who that is.
            option = None if self._guard.isTentative(source) else wire.SOURCE_LINK
            self._send(wire.SOLICITATION, 0, address, option, source, dest, station)

    def probe(self, address: bytes) -> None:
        """
        Ask whether anybody has C{address}, without claiming it (RFC 4862 section 5.4.2).
        """
        self._send(wire.SOLICITATION, 0, address, None, UNSPECIFIED6, solicitedNode(address), None)

    def announce(self, address: bytes) -> None:
        """
        Tell everybody that C{address} is ours.
        """
        self._send(wire.ADVERTISEMENT, wire.OVERRIDE, address, wire.TARGET_LINK, address, _ALL_NODES, None)

    def solicitRouters(self) -> None:
        """
        Ask routers to advertise themselves (RFC 4861 section 4.1).
        """
        source = self._addresses.sourceFor(_ALL_ROUTERS)
        option: int | None = wire.SOURCE_LINK
        if source is None or self._guard.isTentative(source):
            source, option = UNSPECIFIED6, None
        self.counters["outRouterSolicits"] += 1
        self._send(wire.ROUTER_SOLICITATION, 0, b"", option, source, _ALL_ROUTERS, None)

    def _solicited(self, packet: Packet, target: bytes, link: bytes | None) -> None:
        self.counters["inSolicits"] += 1
        source = packet.sourceAddress
        probing = source == UNSPECIFIED6
        if probing and (link is not None or packet.destAddress != solicitedNode(target)):
            return self.dropped(packet, Drop.MALFORMED)
        ours = self._addresses.isOwn(target)
        station = link or packet.linkSource or b""
        # A station that probes will have the address, unless another one answers.
        asker = target if probing else source
        if self._answered.covers(asker):
            self._neighbours.claimed(asker, station, True)
        elif link is not None and ours:
            self._neighbours.claimed(source, link, True)
        if probing and self._guard.isAskedFor(target):
            # Two want to have it: neither does (RFC 4862 section 5.4.3).
            self.counters["inConflicts"] += 1
            self._guard.conflict(target, station)
        elif not ours and (probing or not self._answered.answers(target)):
            self.dropped(packet, Drop.OTHER_ADDRESS)
        elif not ours:
            # Without Override: whoever has it by itself goes before (section 7.2.8).
            self.counters["outAnyAdvertisements"] += 1
            self._send(wire.ADVERTISEMENT, wire.SOLICITED, target, wire.TARGET_LINK, target, source, station)
        elif probing:
            # Another station wants to have the address: it learns that it is taken.
            self.counters["outAdvertisements"] += 1
            self.announce(target)
        else:
            self.counters["outAdvertisements"] += 1
            flags = wire.SOLICITED | (0 if self._guard.isTentative(target) else wire.OVERRIDE)
            self._send(wire.ADVERTISEMENT, flags, target, wire.TARGET_LINK, target, source, station)

    def _advertised(self, packet: Packet, message: bytes, target: bytes, link: bytes | None) -> None:
        self.counters["inAdvertisements"] += 1
        solicited = bool(message[4] & 0x40)
        group = packet.destAddress[0] == 0xFF
        if solicited and group:
            return self.dropped(packet, Drop.MALFORMED)
        if not message[4] & 0x80:
            self._isNoRouter(target, link)
        if self._addresses.isOwn(target) or self._guard.isAskedFor(target):
            self.counters["inConflicts"] += 1
            self._guard.conflict(target, link or packet.linkSource or b"")
        elif solicited and target in self._neighbours:
            self._neighbours.confirmed(target, link, bool(message[4] & 0x20))
        elif self._answered.covers(target):
            self._neighbours.claimed(target, link or packet.linkSource or b"", True)
        elif link is not None:
            self._neighbours.claimed(target, link, False)

    def _routerAdvertised(self, packet: Packet, message: bytes) -> None:
        advertisement = wire.parseRouterAdvertisement(message)
        router = packet.sourceAddress
        if advertisement is None or not isLinkLocal(router) or self.autoconfiguration is None:
            return self.dropped(packet, Drop.MALFORMED)
        self.counters["inRouterAdvertisements"] += 1
        self.autoconfiguration.advertised(router, advertisement)
        if advertisement.link is not None:
            self._neighbours.claimed(router, advertisement.link, self.autoconfiguration.isRouter(router))

    def _isNoRouter(self, target: bytes, link: bytes | None) -> None:
        """
        A station has advertised that an address is that of a host. If it was a router's, that has changed (RFC 4861
        section 7.2.5).
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
