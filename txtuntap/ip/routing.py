"""
The route of a datagram of ours: its source address, the next hop and its station, the port, the room on its path.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Set
from typing import Any, cast

import attrs
from twisted.internet.interfaces import IReactorTime

from txtuntap.ethernet import replySource
from txtuntap.interfaces import (
    IEthernetTransport,
    INeighbours,
    IPacketTransport,
    IRoutes,
    Route,
    RouteLost,
)
from txtuntap.ip.addresses import LOOPBACKS, Addresses
from txtuntap.ip.pathmtu import PathMTUs
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.ip.sources import Interface
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.layer import Layer
from txtuntap.layer.prefixes import Network
from txtuntap.mistakes import checkClock, listed
from txtuntap.packet import Packet
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    LINK_BROADCAST,
    addressText,
    groupLinkAddress,
    isGroup,
    isHost,
    isMulticast,
    versionOf,
)

_NO_STATION = bytes(6)
_NO_BROADCASTS = frozenset((LIMITED_BROADCAST,))

#: How many senders to raw protocols are remembered for a later answer; the least recent goes.
MAX_ASKERS = 256


class IPRouting(Layer):
    """
    The part of an L{IPProtocol<txtuntap.ip.IPProtocol>} that chooses the source address and the route of a datagram.
    L{IPOutput<txtuntap.ip.output.IPOutput>} sends by it.

    Counters: C{outNoRoutes} (no route, because of what others have sent).

    @ivar ownAddresses: our own addresses; L{None} where every datagram is delivered.
    @ivar routes: an L{IRoutes}. Networks of our addresses are in it.
    @ivar neighbours: an L{INeighbours}, for Ethernet.
    @ivar mtu6: the most octets in one datagram of IPv6, where routers have said that it is less than C{mtu}.
    @ivar paths: the path MTU of each destination where that is less than the link's MTU.
    """

    def __init__(
        self,
        addresses: Iterable[str] | None,
        routes: IRoutes | None,
        neighbours: INeighbours | None,
        clock: IReactorTime | None,
    ) -> None:
        super().__init__()
        if clock is not None:
            checkClock(clock)
        for name, table in ("routes", routes), ("neighbours", neighbours):
            if table is not None and not callable(getattr(table, "lookup", None)):
                raise TypeError(f"{name} is a table with a lookup method: Static{name.title()}(), not {table!r}")
        self._clock = clock
        # Typed as loosely as they are given: a table of another kind has other ways to fill it.
        self.routes: Any = StaticRoutes() if routes is None else routes
        self.neighbours: Any = StaticNeighbours() if neighbours is None else neighbours
        self._askers: Table[bytes, Packet] = Table("askers", MAX_ASKERS, Policy.LEAST_RECENT)
        self._linkRoutes: set[Network] = set()
        self.mtu6: int | None = None
        self.paths = PathMTUs()
        # Groups may be joined before there is an address.
        self._addresses = Addresses()
        self.ownAddresses: Addresses | None = None
        if addresses is not None:
            self.ownAddresses = self._addresses
            for address in listed(addresses, "addresses", "10.0.0.2/24"):
                self.addAddress(address)

    @property
    def clock(self) -> IReactorTime | None:
        """
        The one given, or that of the port below.
        """
        return self._clock or super().clock

    @property
    def addresses(self) -> list[Interface]:
        """
        Our own addresses, with their networks; empty where every datagram is delivered.
        """
        return [] if self.ownAddresses is None else self.ownAddresses.interfaces

    @property
    def mtu(self) -> int:
        """
        The most octets in one datagram that is sent in one piece.
        """
        transport: Any = self.transport
        return 1500 if transport is None else int(transport.mtu)

    @property
    def bottom(self) -> IPacketTransport | None:
        """
        The transport below all layers: see L{IIPTransport.bottom<txtuntap.interfaces.IIPTransport.bottom>}.
        """
        ethernet = self.ethernet
        return cast("IPacketTransport | None", self.transport) if ethernet is None else ethernet.port

    @property
    def ethernet(self) -> IEthernetTransport | None:
        """
        The Ethernet layer below; L{None} where there is none (a tun).
        """
        transport = self.transport
        return cast(IEthernetTransport, transport) if IEthernetTransport.providedBy(transport) else None

    def addAddress(self, address: str, onLink: bool = True) -> None:
        """
        Have one more address, and a route to its network. With the first, what is for others is no longer delivered.

        @param address: in CIDR notation.
        @param onLink: whether its network is on the link: without, there is no route.

        @raise ValueError: it is no address that a host can have, or is ours already.
        """
        self._routesChanged()
        interface = self._addresses.add(address)
        self.ownAddresses = self._addresses
        if onLink and isinstance(self.routes, StaticRoutes) and interface.network not in self.routes:
            self.routes.add(interface.network)
            self._linkRoutes.add(interface.network)

    def removeAddress(self, address: str | bytes) -> None:
        """
        Have one address less; and, if it was the last in its network, not the route there that came with the first.

        @param address: without its prefix length.

        @raise ValueError: it is not ours.
        """
        if self.ownAddresses is None:
            raise ValueError(f"{address!r} is no address of this host")
        self._routesChanged()
        network = self.ownAddresses.remove(address).network
        self._tellAbove("addressesChanged")
        if network not in self.ownAddresses.networks and network in self._linkRoutes:
            self._linkRoutes.remove(network)
            if network in self.routes:
                self.routes.remove(network)

    def suspendAddress(self, address: bytes, suspended: bool = True) -> None:
        """
        Use a packed address of ours no more, for as long as somebody else has it; or use it again. The route to its
        network stays.
        """
        self._routesChanged()
        self._addresses.suspend(address, suspended)
        self._tellAbove("addressesChanged")

    def join(self, group: bytes) -> None:
        """
        See L{IIPTransport.join<txtuntap.interfaces.IIPTransport.join>}.
        """
        self._addresses.join(group)

    def leave(self, group: bytes) -> None:
        """
        See L{IIPTransport.leave<txtuntap.interfaces.IIPTransport.leave>}.
        """
        self._addresses.leave(group)

    def isMember(self, group: bytes) -> bool:
        """
        See L{IIPTransport.isMember<txtuntap.interfaces.IIPTransport.isMember>}.
        """
        return isMulticast(group) and group in self._addresses.local

    def route(self, dest: bytes, source: bytes | None = None) -> Route:
        """
        The route of a datagram of our own: see L{IIPTransport.route<txtuntap.interfaces.IIPTransport.route>}.
        """
        transport = self.transport
        if transport is None:
            raise RuntimeError("this IPProtocol is on no port: put it on a TuntapPort and start that")
        text = addressText(dest)
        ours = self.ownAddresses is not None and self.ownAddresses.isSelf(dest)
        hop = self.routes.lookup(dest)
        if source is None:
            source = self.sourceFor(dest, hop)
            if source is None:
                raise self._noRoute(
                    versionOf(dest),
                    errno.EADDRNOTAVAIL,
                    f"no source address to write to {text} from: give IPProtocol(addresses=[...]) one of its version",
                )
        elif source in self._addresses.suspended:
            raise self._noRoute(
                versionOf(dest),
                errno.EADDRNOTAVAIL,
                f"{addressText(source)} cannot be written from: somebody else has it",
            )
        if ours or not IEthernetTransport.providedBy(transport):
            return Route(source, dest)
        ethernet = cast(IEthernetTransport, transport)
        if isGroup(dest):
            return Route(source, dest, ethernet, groupLinkAddress(dest))
        if dest in self.broadcasts:
            return Route(source, dest, ethernet, LINK_BROADCAST)
        station = self.neighbours.lookup(dest if hop is None else hop)
        if station is not None:
            return Route(source, dest, ethernet, station)
        if hop is not None and self.neighbours.resolves:
            return Route(source, dest, ethernet, hop=hop)
        if hop is None:
            raise self._noRoute(
                versionOf(dest), errno.ENETUNREACH, f"no route to {text}: give one with routes.add(network, gateway)"
            )
        raise OSError(
            errno.EHOSTUNREACH,
            f"no neighbour {addressText(hop)}, the next hop to {text}: give one with neighbours.add(address, station)",
        )

    def _noRoute(self, version: int, number: int, text: str) -> OSError:
        """
        The exception for a datagram without a route. It is counted where others have caused that.

        @param version: of IP.
        """
        taken = any(versionOf(address) == version for address in self._addresses.suspended)
        if not taken and not (version == 6 and getattr(self.routes, "advertised", False)):
            return OSError(number, text)
        self.counters["outNoRoutes"] += 1
        return RouteLost(number, text)

    def routeBack(self, packet: Packet) -> Route | None:
        """
        The route of an answer to C{packet}: see L{IIPTransport.routeBack<txtuntap.interfaces.IIPTransport.routeBack>}.
        """
        station = packet.linkSource or b""
        peer = packet.sourceAddress
        if peer in LOOPBACKS and packet.port is None and packet.ethernet is None:
            # We have sent it ourselves: from a link, it would have been dropped.
            return Route(packet.destAddress, peer)
        if not isHost(peer) or peer in self.broadcasts:
            return None
        if station and (station[0] & 1 or station == _NO_STATION):
            return None
        if packet.ethernet is not None and station == packet.ethernet.linkAddress:
            # Our own frame, or one that says so: the answer would come to ourselves.
            return None
        asked = packet.destAddress
        if asked in self._addresses.suspended:
            return None
        if not self.ownAddresses.accepts(asked) if self.ownAddresses is not None else not self._isUnicast(packet):
            ours = self.sourceFor(peer)
            if ours is None:
                return None
            asked = ours
        if packet.ethernet is None and packet.port is None and self.ethernet is not None:
            # It was handed in by a program's own call, which did not tell the station.
            try:
                return self.route(peer, asked)
            except OSError:
                return None
        return Route(asked, peer, packet.ethernet, station, replySource(packet), packet.port)

    @property
    def broadcasts(self) -> Set[bytes]:
        """
        Packed addresses of everybody on a network of ours.
        """
        return _NO_BROADCASTS if self.ownAddresses is None else self.ownAddresses.broadcasts

    def knownStation(self, route: Route) -> Route:
        """
        See L{IIPTransport.knownStation<txtuntap.interfaces.IIPTransport.knownStation>}.
        """
        if route.ethernet is None:
            return route
        station = self.neighbours.lookup(route.dest)
        return route if station is None else attrs.evolve(route, station=station, hop=b"")

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._askers.state, *self.paths.tables(), *self._addresses.tables()]

    def delivering(self, packet: Packet) -> None:
        """
        Remember who asks a raw protocol: it may answer later.
        """
        super().delivering(packet)
        self._askers.put(packet.sourceAddress, packet.headers())

    def sourceFor(self, dest: bytes, hop: bytes | None = None) -> bytes | None:
        """
        Which of our addresses a datagram to C{dest} leaves from; L{None} if there is none of its version.

        @param hop: the next hop, if it is not C{dest}.
        """
        return None if self.ownAddresses is None else self.ownAddresses.sourceFor(dest, hop)

    def port(self, route: Route) -> IPacketTransport | None:
        """
        Where a datagram leaves for the link at once: see L{IIPTransport.port<txtuntap.interfaces.IIPTransport.port>}.
        """
        if route.hop or (self.ownAddresses is not None and self.ownAddresses.isSelf(route.dest)):
            return None
        if route.ethernet is not None:
            return route.port or route.ethernet.port
        return route.port or cast("IPacketTransport | None", self.transport)

    def room(self, route: Route) -> int:
        """
        The most octets of payload in one piece: see L{IIPTransport.room<txtuntap.interfaces.IIPTransport.room>}.
        """
        header = ipv4.HEADER_LENGTH if len(route.dest) == 4 else ipv6.HEADER_LENGTH
        return self._mtuTo(route.dest) - header

    def linkRoom(self, length: int) -> int:
        """
        The most octets of payload in one packet on the link: see
        L{IIPTransport.linkRoom<txtuntap.interfaces.IIPTransport.linkRoom>}.
        """
        if length == 4:
            return self.mtu - ipv4.HEADER_LENGTH
        return min(self.mtu, self.mtu6 or self.mtu) - ipv6.HEADER_LENGTH

    def pathNarrowed(self, dest: bytes, mtu: int, length: int, now: float) -> bool:
        """
        A router had to drop a packet for its size: see L{PathMTUs.learn}. What waits to leave was written before that.
        """
        if not self.paths.learn(dest, mtu, length, now):
            return False
        self._routesChanged()
        return True

    def _routesChanged(self) -> None:
        bottom = self.bottom
        batches = None if bottom is None else bottom.batches
        if batches is not None:
            batches.routesChanged()

    def _mtuTo(self, dest: bytes) -> int:
        """
        The most octets in one packet that gets to C{dest}.
        """
        mtu = self.mtu
        if self.mtu6 is not None and len(dest) == 16:
            mtu = min(mtu, self.mtu6)
        if self.paths.known:
            known = self.paths.lookup(dest, self.now())
            if known is not None and known < mtu:
                return known
        return mtu

    def _isUnicast(self, packet: Packet) -> bool:
        """
        Whether C{packet} was sent to one host, as far as can be told without knowing our addresses.
        """
        linkDest = packet.linkDest
        return isHost(packet.destAddress) and not (linkDest is not None and linkDest[0] & 1)
