"""
Neighbour discovery of IPv6: answers solicitations for the host's addresses, and asks for the link addresses of other
stations. If the host has autoconfiguration, it also solicits routers.

Read RFC 4861 sections 4 and 7.2, RFC 4862 section 5.4 and RFC 4429 first.
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
    The neighbour discovery of a host. It answers solicitations for the host's addresses, and finds stations for a
    L{NeighbourCache}.

    An address is I{tentative} while the host probes whether another station has it. A message from a tentative address
    has neither a source link-layer address option nor the Override flag. So it replaces no entry in the cache of
    another station (RFC 4429 section 2.2).

    Counters: C{inErrors} (messages that are malformed, were forwarded by a router, have a source that is no station's,
    or are the host's own, sent back by the link), C{inFragments} (fragmented messages, which RFC 6980 forbids),
    C{inSolicits}, C{inAdvertisements}, C{outAdvertisements}, C{outAnyAdvertisements} (advertisements of an address that
    the host has only as part of a network), C{inOthers} (solicitations for addresses of other stations),
    C{inConflicts} (another station claims an address of the host), C{inRouterAdvertisements}, C{outRouterSolicits}.

    @ivar autoconfiguration: processes router advertisements. C{None}: they are dropped.
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
        @param ip: the IP layer that sends the messages.
        @param addresses: the addresses of the host.
        @param neighbours: the cache that is told which station has which address.
        @param guard: knows which addresses are tentative, and is told of each conflict.
        @param answered: the addresses of AnyIP networks for which the host answers, too.
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
        The ICMPv6 types of the messages that L{received} takes.
        """
        return _KINDS if self.autoconfiguration is None else _KINDS | {wire.ROUTER_ADVERTISEMENT}

    def received(self, packet: Packet, message: bytes) -> None:
        """
        Process a message of one of L{kinds}.

        @param message: the ICMPv6 message, whose checksum is right.
        """
        if packet.reassembled or _isFragment(packet):
            return self.dropped(packet, Drop.FRAGMENTED_MESSAGE)
        ethernet, station = packet.ethernet, packet.readLinkSource
        if packet.hopLimit != wire.HOP_LIMIT or ethernet is None or not isStation(station):
            self.dropped(packet, Drop.MALFORMED)
        elif station == ethernet.linkAddress:
            # A loop in the link has sent the host's own message back (RFC 4862 appendix A), so it is no conflict.
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
        Send a solicitation for the link address of the station that has C{address}.

        @param address: sixteen octets.
        @param station: the link address to send the solicitation to, six octets. C{None}: it is sent to the
            solicited-node group of C{address}.
        """
        source = self._addresses.sourceFor(address)
        if source is not None and self._guard.isTentative(source):
            ours = self._addresses.inOrder6()
            source = next((each for each in ours if not self._guard.isTentative(each)), source)
        if source is not None:
            dest = solicitedNode(address) if station is None else address
            # The receiver updates its cache by the source link-layer address option, so none is sent from a tentative
            # address.
            option = None if self._guard.isTentative(source) else wire.SOURCE_LINK
            self._send(wire.SOLICITATION, 0, address, option, source, dest, station)

    def probe(self, address: bytes) -> None:
        """
        Send a solicitation that asks whether a station has C{address}, without claiming it (RFC 4862 section 5.4.2).
        """
        self._send(wire.SOLICITATION, 0, address, None, UNSPECIFIED6, solicitedNode(address), None)

    def announce(self, address: bytes) -> None:
        """
        Advertise to all nodes that this host has C{address} (RFC 4861 section 7.2.6).
        """
        self._send(wire.ADVERTISEMENT, wire.OVERRIDE, address, wire.TARGET_LINK, address, _ALL_NODES, None)

    def solicitRouters(self) -> None:
        """
        Send a router solicitation (RFC 4861 section 4.1), so that routers send advertisements at once.
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
        station = link or packet.readLinkSource or b""
        # A station that probes for an address will use it unless another station answers.
        asker = target if probing else source
        if self._answered.covers(asker):
            self._neighbours.claimed(asker, station, True)
        elif link is not None and ours:
            self._neighbours.claimed(source, link, True)
        if probing and self._guard.isProbing(target):
            # Two stations probe for one address at the same time, so neither may take it (RFC 4862 section 5.4.3).
            self.counters["inConflicts"] += 1
            self._guard.conflict(target, station)
        elif not ours and (probing or not self._answered.answers(target)):
            self.dropped(packet, Drop.OTHER_ADDRESS)
        elif not ours:
            # The Override flag is not set, so that a station that really has the address wins (RFC 4861 section 7.2.8).
            self.counters["outAnyAdvertisements"] += 1
            self._send(wire.ADVERTISEMENT, wire.SOLICITED, target, wire.TARGET_LINK, target, source, station)
        elif probing:
            # The other station probes for an address that this host has, so it is told that the address is taken.
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
            self._hostAdvertised(target, link)
        if self._addresses.isOwn(target) or self._guard.isProbing(target):
            self.counters["inConflicts"] += 1
            self._guard.conflict(target, link or packet.readLinkSource or b"")
        elif solicited and target in self._neighbours:
            self._neighbours.confirmed(target, link, bool(message[4] & 0x20))
        elif self._answered.covers(target):
            self._neighbours.claimed(target, link or packet.readLinkSource or b"", True)
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

    def _hostAdvertised(self, target: bytes, link: bytes | None) -> None:
        """
        Process an advertisement without the Router flag. If the advertised address is that of a default router, remove
        the router (RFC 4861 section 7.2.5).

        @param target: the packed address that was advertised.
        @param link: the link address in the advertisement; C{None} if it has none.
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
    Whether C{packet} has a fragment header. A fragment that is the whole datagram (RFC 6946) has one, too.
    """
    if packet.transport == packet.network + ipv6.HEADER_LENGTH:
        return False
    chain = ipv6.headerChain(packet.data, packet.network, packet.end)
    return any(kind == ipv6.FRAGMENT for kind, _ in chain)
