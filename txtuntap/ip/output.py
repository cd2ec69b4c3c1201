"""
IP, the way down: our addresses, which way a datagram goes, and how it is sent.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence, Set
from random import Random, SystemRandom
from typing import Any, cast

import attrs
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.ethernet import replySource
from txtuntap.interfaces import (
    DEFAULT_HOP_LIMIT,
    IBatchTransport,
    IEthernetTransport,
    IIPTransport,
    INeighbours,
    IPacketTransport,
    IRoutes,
    Route,
    WayLost,
)
from txtuntap.ip.addresses import Addresses, Interface
from txtuntap.ip.fragments import split
from txtuntap.ip.loopback import Loopback
from txtuntap.ip.pathmtu import FLOOR, PathMTUs
from txtuntap.ip.routes import Network, StaticNeighbours, StaticRoutes
from txtuntap.layer.layer import Layer
from txtuntap.layer.tables import Policy, Table, TableState
from txtuntap.mistakes import checkClock, checkOctets, listed
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
    packAddress,
)
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.offload import USO, Offload, behind, complete

_NO_STATION = bytes(6)
_NO_BROADCASTS = frozenset((LIMITED_BROADCAST,))

#: How many senders to raw protocols are remembered for a later answer; the least recent goes.
MAX_ASKERS = 256


@implementer(IIPTransport)
class IPOutput(Layer):
    """
    The half of an L{IPProtocol<txtuntap.ip.IPProtocol>} that is the transport of the protocols above it.

    Counters: C{outDiscards}; C{outNoRoutes} (no way, by what others have sent); C{outFragReqds} (datagrams to
    take apart), C{outFragCreates}.

    @ivar own: our own addresses; L{None} where every datagram is delivered.
    @ivar routes: an L{IRoutes}. Networks of our addresses are in it.
    @ivar neighbours: an L{INeighbours}, for Ethernet.
    @ivar mtu6: the most octets in one datagram of IPv6, where routers have said that it is less than C{mtu}.
    @ivar paths: how large a packet may be on its way to a destination, where that is less than the link's MTU.
    @ivar random: where identifications of fragments come from, which nobody may guess; by default, the system.
    """

    _loopback: Loopback
    random: Random = SystemRandom()

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
        self._askers: Table[bytes, Packet] = Table("askers", lambda: MAX_ASKERS, Policy.LEAST_RECENT)
        self._linkRoutes: set[Network] = set()
        self.mtu6: int | None = None
        self.paths = PathMTUs()
        # Groups may be joined before there is an address.
        self._ours = Addresses()
        self.own: Addresses | None = None
        if addresses is not None:
            self.own = self._ours
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
        return [] if self.own is None else self.own.interfaces

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
        The transport below all layers: see L{IIPTransport.bottom}.
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
        self._waysChanged()
        interface = self._ours.add(address)
        self.own = self._ours
        if onLink and isinstance(self.routes, StaticRoutes) and interface.network not in self.routes:
            self.routes.add(interface.network)
            self._linkRoutes.add(interface.network)

    def removeAddress(self, address: str | bytes) -> None:
        """
        Have one address less; and, if it was the last in its network, not the route there that came with the first.

        @param address: without its prefix length.

        @raise ValueError: it is not ours.
        """
        if self.own is None:
            raise ValueError(f"{address!r} is no address of this host")
        self._waysChanged()
        network = self.own.remove(address).network
        self._tellAbove("addressesChanged")
        last = all(other.network != network for other in self.own.given)
        if last and network in self._linkRoutes:
            self._linkRoutes.remove(network)
            if network in self.routes:
                self.routes.remove(network)

    def suspendAddress(self, address: bytes, suspended: bool = True) -> None:
        """
        Use a packed address of ours no more, for as long as somebody else has it; or use it again. The route to its
        network stays.
        """
        self._waysChanged()
        self._ours.suspend(address, suspended)
        self._tellAbove("addressesChanged")

    def join(self, group: bytes) -> None:
        """
        See L{IIPTransport.join}.
        """
        self._ours.join(group)

    def leave(self, group: bytes) -> None:
        """
        See L{IIPTransport.leave}.
        """
        self._ours.leave(group)

    def isMember(self, group: bytes) -> bool:
        """
        See L{IIPTransport.isMember}.
        """
        return isMulticast(group) and group in self._ours.local

    def write(
        self,
        payload: bytes,
        dest: str | bytes,
        protocol: int,
        source: str | bytes | None = None,
        hopLimit: int | None = None,
    ) -> None:
        """
        Send one datagram: see L{IIPTransport.write}. Who has written to a raw protocol is remembered for a while (the
        latest C{MAX_ASKERS}): a later answer goes as one at once would.
        """
        if type(payload) is not bytes:
            checkOctets(payload, "the payload")
        to = packAddress(dest)
        leaving = None if source is None else packAddress(source)
        if leaving is not None and len(leaving) != len(to):
            raise ValueError(f"the source {source!r} is of another IP version than {dest!r}")
        if leaving is not None and (isGroup(leaving) or leaving in self.broadcasts):
            raise ValueError(f"{source!r} is the address of many: it cannot be a source")
        if not isinstance(protocol, int) or not 0 <= protocol <= 255:
            raise ValueError(f"an IP protocol has a number from 0 to 255, not {protocol!r}")
        if hopLimit is None:
            hopLimit = DEFAULT_HOP_LIMIT
        elif not isinstance(hopLimit, int) or not 0 <= hopLimit <= 255:
            raise ValueError(f"a hop limit is from 0 to 255, not {hopLimit!r}")
        if len(payload) > (ipv4.MAX_LENGTH - ipv4.HEADER_LENGTH if len(to) == 4 else ipv6.MAX_PAYLOAD):
            raise MessageLengthError(f"{len(payload)} octets are more than one datagram can carry")
        asked = self.packet
        if asked is not None and asked.sourceAddress == to:
            route = self.routeBack(asked)
        elif to in self._askers:
            route = self.routeBack(self._askers[to])
            if route is not None:
                route = self.knownStation(route)
        else:
            try:
                route = self.route(to, leaving)
            except WayLost:
                return
        if route is None:
            self.counters["outDiscards"] += 1
        else:
            self.output(
                route if leaving is None else attrs.evolve(route, source=leaving), protocol, [payload], hopLimit
            )

    def route(self, dest: bytes, source: bytes | None = None) -> Route:
        """
        The way for a datagram of our own: see L{IIPTransport.route}.
        """
        transport = self.transport
        if transport is None:
            raise RuntimeError("this IPProtocol is on no port: put it on a TuntapPort and start that")
        text = addressText(dest)
        ours = self.own is not None and self.own.isOwn(dest)
        hop = self.routes.lookup(dest)
        if source is None:
            source = self.sourceFor(dest, hop)
            if source is None:
                raise self._noWay(
                    len(dest),
                    errno.EADDRNOTAVAIL,
                    f"no source address to write to {text} from: give IPProtocol(addresses=[...]) one of its version",
                )
        elif source in self._ours.suspended:
            raise self._noWay(
                len(dest), errno.EADDRNOTAVAIL, f"{addressText(source)} cannot be written from: somebody else has it"
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
            raise self._noWay(
                len(dest), errno.ENETUNREACH, f"no route to {text}: give one with routes.add(network, gateway)"
            )
        raise OSError(
            errno.EHOSTUNREACH,
            f"no neighbour {addressText(hop)}, the way to {text}: give one with neighbours.add(address, station)",
        )

    def _noWay(self, size: int, number: int, text: str) -> OSError:
        """
        The exception for a datagram that there is no way for. What others have taken is counted.

        @param size: octets in its destination address.
        """
        taken = any(len(address) == size for address in self._ours.suspended)
        if not taken and not (size == 16 and getattr(self.routes, "told", False)):
            return OSError(number, text)
        self.counters["outNoRoutes"] += 1
        return WayLost(number, text)

    def routeBack(self, packet: Packet) -> Route | None:
        """
        The way for an answer to C{packet}: see L{IIPTransport.routeBack}.
        """
        station = packet.linkSource or b""
        peer = packet.sourceAddress
        if not isHost(peer) or peer in self.broadcasts:
            return None
        if station and (station[0] & 1 or station == _NO_STATION):
            return None
        if packet.ethernet is not None and station == packet.ethernet.linkAddress:
            # Our own frame, or one that says so: the answer would come to ourselves.
            return None
        asked = packet.destAddress
        if asked in self._ours.suspended:
            return None
        if not self.own.owns(asked) if self.own is not None else not self._isUnicast(packet):
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
        return _NO_BROADCASTS if self.own is None else self.own.broadcasts

    def knownStation(self, route: Route) -> Route:
        """
        See L{IIPTransport.knownStation}.
        """
        if route.ethernet is None:
            return route
        station = self.neighbours.lookup(route.dest)
        return route if station is None else attrs.evolve(route, station=station)

    def tables(self) -> list[TableState]:
        """
        See L{Layer.tables}.
        """
        return [self._askers.state, *self.paths.tables(), *self._ours.tables()]

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
        return None if self.own is None else self.own.sourceFor(dest, hop)

    def port(self, route: Route) -> IPacketTransport | None:
        """
        Where a datagram leaves for the link at once: see L{IIPTransport.port}.
        """
        if route.hop or (self.own is not None and self.own.isOwn(route.dest)):
            return None
        if route.ethernet is not None:
            return route.port or route.ethernet.port
        return route.port or cast("IPacketTransport | None", self.transport)

    def room(self, route: Route) -> int:
        """
        The most octets of payload in one piece: see L{IIPTransport.room}.
        """
        header = ipv4.HEADER_LENGTH if len(route.dest) == 4 else ipv6.HEADER_LENGTH
        return self._mtuTo(route.dest) - header

    def pathNarrowed(self, dest: bytes, mtu: int, length: int, now: float) -> bool:
        """
        A router had to drop a packet for its size: see L{PathMTUs.learn}. What waits to leave was written before that.
        """
        if not self.paths.learn(dest, mtu, length, now):
            return False
        self._waysChanged()
        return True

    def _waysChanged(self) -> None:
        bottom = self.bottom
        if bottom is not None and bottom.offloads & USO:
            cast(IBatchTransport, bottom).waysChanged()

    def _mayBeTakenApart(self, mtu: int) -> bool:
        """
        Whether a datagram of IPv4 to where C{mtu} is the most may have to be taken apart by routers.
        """
        return mtu == FLOOR[4] and mtu < self.mtu

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

    def output(
        self,
        route: Route,
        protocol: int,
        buffers: Sequence[bytes],
        hopLimit: int = DEFAULT_HOP_LIMIT,
        offload: Offload | None = None,
        trafficClass: int = 0,
        fragmentable: bool = False,
    ) -> None:
        """
        Put a header before C{buffers} and send them: see L{IIPTransport.output}.
        """
        own = self.own is not None and self.own.isOwn(route.dest)
        mtu = self._mtuTo(route.dest)
        isVersion4 = len(route.dest) == 4
        header = ipv4.HEADER_LENGTH if isVersion4 else ipv6.HEADER_LENGTH
        length = sum(map(len, buffers))
        # Whoever has many in one has seen to it that each of them fits.
        fits = header + length <= mtu or (offload is not None and offload.isSuperpacket)
        if offload is not None and not offload.isSuperpacket and (own or route.hop or not fits):
            buffers = [complete(b"".join(buffers), offload)]
            offload = None
        if own:
            return self.loop(route, protocol, buffers, hopLimit, trafficClass)
        if route.hop:
            # Held whole: the fragments of a datagram wait as one.
            data = b"".join(buffers)

            def send(station: bytes) -> None:
                known = attrs.evolve(route, station=station, hop=b"")
                self.output(known, protocol, [data], hopLimit, None, trafficClass, fragmentable)

            self.neighbours.hold(route.hop, send, length)
        elif not fits:
            fragments = self._fragments4 if isVersion4 else self._fragments6
            for packet in fragments(route, protocol, b"".join(buffers), hopLimit, mtu, trafficClass):
                self.send(route, IPV4 if isVersion4 else IPV6, packet)
        elif not isVersion4:
            header6 = ipv6.packHeader(route.source, route.dest, protocol, length, hopLimit, trafficClass)
            self.send(route, IPV6, [header6, *buffers], offload)
        elif fragmentable or self._mayBeTakenApart(mtu):
            # There may be a link that is narrower yet: routers may take it apart.
            identification = self.random.getrandbits(16)
            header4 = ipv4.packHeader(
                route.source, route.dest, protocol, length, hopLimit, identification, 0, trafficClass
            )
            self.send(route, IPV4, [header4, *buffers], offload)
        else:
            # An atomic datagram needs no identification (RFC 6864 section 4.1).
            header4 = ipv4.packHeader(route.source, route.dest, protocol, length, hopLimit, tos=trafficClass)
            self.send(route, IPV4, [header4, *buffers], offload)

    def loop(
        self,
        route: Route,
        protocol: int,
        buffers: Sequence[bytes],
        hopLimit: int = DEFAULT_HOP_LIMIT,
        trafficClass: int = 0,
    ) -> None:
        """
        Deliver a datagram of ours to ourselves: see L{IIPTransport.loop}.
        """
        clock = self.clock
        if clock is None:
            self.counters["outDiscards"] += 1
            return
        pack = ipv4.packHeader if len(route.dest) == 4 else ipv6.packHeader
        header = pack(route.source, route.dest, protocol, sum(map(len, buffers)), hopLimit, tos=trafficClass)
        packet = Packet(b"".join((header, *buffers)), time=clock.seconds())
        packet.ip = self
        packet.start = packet.transport = len(header)
        self._loopback.send(clock, packet, protocol)

    def _fragments4(
        self, route: Route, protocol: int, payload: bytes, hopLimit: int, mtu: int, trafficClass: int
    ) -> Iterator[list[bytes]]:
        identification = self.random.getrandbits(16)
        room = mtu - ipv4.HEADER_LENGTH
        self.counters["outFragReqds"] += 1
        for offset, more, piece in split(payload, room, room):
            self.counters["outFragCreates"] += 1
            word = ipv4.MORE_FRAGMENTS * more | offset >> 3
            header = ipv4.packHeader(
                route.source, route.dest, protocol, len(piece), hopLimit, identification, word, trafficClass
            )
            yield [header, piece]

    def _fragments6(
        self, route: Route, protocol: int, payload: bytes, hopLimit: int, mtu: int, trafficClass: int
    ) -> Iterator[list[bytes]]:
        identification = self.random.getrandbits(32)
        room = mtu - ipv6.HEADER_LENGTH - ipv6.FRAGMENT_HEADER.size
        self.counters["outFragReqds"] += 1
        for offset, more, piece in split(payload, room, room):
            self.counters["outFragCreates"] += 1
            fragment = ipv6.FRAGMENT_HEADER.pack(protocol, offset | more, identification)
            length = len(fragment) + len(piece)
            header = ipv6.packHeader(route.source, route.dest, ipv6.FRAGMENT, length, hopLimit, trafficClass)
            yield [header, fragment, piece]

    def send(self, route: Route, etherType: int, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Send one packet whose IP header is there already, first of C{buffers}.

        @param offload: what is left open behind that header.
        """
        if offload is not None:
            offload = behind(offload, len(buffers[0]))
        if route.ethernet is not None:
            if offload is None:
                route.ethernet.writeFrame(buffers, route.station, etherType, route.linkSource, route.port)
            else:
                route.ethernet.writeFrame(buffers, route.station, etherType, route.linkSource, route.port, offload)
            return
        port = route.port or cast("IPacketTransport | None", self.transport)
        if port is None:
            self.counters["outDiscards"] += 1
        elif offload is None:
            port.writePacket(buffers)
        else:
            port.writePacket(buffers, offload)

    def _isUnicast(self, packet: Packet) -> bool:
        """
        Whether C{packet} was sent to one host, as far as can be told without knowing our addresses.
        """
        linkDest = packet.linkDest
        return isHost(packet.destAddress) and not (linkDest is not None and linkDest[0] & 1)
