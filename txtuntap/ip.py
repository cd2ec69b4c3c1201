"""
IP: both versions in one layer, datagrams by protocol number, and the way back down.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence, Set
from random import SystemRandom
from typing import Any, cast

import attrs
from twisted.internet.error import MessageLengthError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from txtuntap.adapters import datagramReceiver
from txtuntap.addresses import Addresses, Interface
from txtuntap.ethernet import replySource
from txtuntap.fragments import Reassembler, joined4, joined6, split
from txtuntap.interfaces import (
    IEthernetTransport,
    IIPTransport,
    INeighbours,
    IPacketReceiver,
    IPacketTransport,
    IRawDatagramProtocol,
    IRawPacketProtocol,
    IRoutes,
)
from txtuntap.layer import Layer, ReceiverTable, receiverOr
from txtuntap.packet import Packet
from txtuntap.routing import Route, StaticNeighbours, StaticRoutes
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    LINK_BROADCAST,
    addressText,
    groupLinkAddress,
    isGroup,
    isHost,
    packAddress,
)
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.ipv4 import IPHeader

__all__ = ["IPHeader", "IPProtocol"]

DEFAULT_HOP_LIMIT = 64

_NO_BROADCASTS = frozenset((LIMITED_BROADCAST,))

#: How many senders to raw protocols are remembered for a later answer; the least recent goes.
MAX_ASKERS = 256

_random = SystemRandom()
_number = int.from_bytes
_essentials = ipv4.ESSENTIALS.unpack_from
_header6 = ipv6.HEADER.unpack_from


@implementer(IRawPacketProtocol, IPacketReceiver, IIPTransport)
class IPProtocol(Layer):
    """
    Hands datagrams to the protocols added for their protocol number, and is the transport of those.

    On a tun, the version field tells IPv4 from IPv6; on Ethernet, it must agree with the EtherType (add it under both
    0x0800 and 0x86dd). Headers are checked, options and extension headers walked, padding cut off. Fragments are put
    together; a datagram over the MTU is sent in fragments.

    Counters, as in RFC 4293: C{inHdrErrors}, C{inTruncatedPkts}, C{inAddrErrors} (not for us, or from no address that
    a host can have), C{inUnknownProtos}, C{outDiscards}; C{reasmReqds} (fragments that came), C{reasmOKs} and
    C{reasmFails} (datagrams), C{outFragReqds} (datagrams to take apart), C{outFragCreates}; and C{inCsumErrors},
    C{inOptErrors}, C{inSourceRoutes}, C{reasmDuplicates} (fragments), C{reasmOverlaps}, C{reasmTimeouts} (datagrams).

    @ivar ipProtos: the protocols added: lists by number. To be changed by L{addProto} and L{removeProto}.
    @ivar own: our own addresses; L{None} where every datagram is delivered.
    @ivar routes: an L{IRoutes}. Networks of our addresses are in it.
    @ivar neighbours: an L{INeighbours}, for Ethernet.
    """

    def __init__(
        self,
        addresses: Iterable[str] | None = None,
        verifyChecksum: bool = True,
        routes: IRoutes | None = None,
        neighbours: INeighbours | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        @param addresses: our own in CIDR notation (C{"10.0.0.2/24"}): deliver only what is sent to them, to all of
            their networks, or to a group that every host is in, by a sender with an address of its own. Without, every
            datagram is delivered.
        @param verifyChecksum: whether to drop IPv4 headers that do not sum up.
        @param clock: tells when the fragments of a datagram have taken too long; by default, the port's reactor.

        @raise ValueError: one of C{addresses} is none.
        """
        super().__init__()
        self._table = ReceiverTable(8)
        self._receivers = self._table.receivers
        self._verify = verifyChecksum
        self.ipProtos = self._table.protocols
        # Typed as loosely as they are given: a table of another kind has other ways to fill it.
        self.routes: Any = StaticRoutes() if routes is None else routes
        self.neighbours: Any = StaticNeighbours() if neighbours is None else neighbours
        self._askers: OrderedDict[bytes, Packet] = OrderedDict()
        self._reassembler = Reassembler(self.counters, self.dropped)
        self._clock = clock
        self._expiry: IDelayedCall | None = None
        self.own: Addresses | None = None
        if addresses is not None:
            if isinstance(addresses, str):
                raise ValueError(f"addresses is a list of addresses: give [{addresses!r}]")
            self.own = Addresses()
            for address in addresses:
                self.addAddress(address)

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
        return 1500 if self.transport is None else cast(IPacketTransport, self.transport).mtu

    @property
    def ethernet(self) -> IEthernetTransport | None:
        """
        The Ethernet layer below; L{None} where there is none (a tun).
        """
        transport = self.transport
        return cast(IEthernetTransport, transport) if IEthernetTransport.providedBy(transport) else None

    def addAddress(self, address: str) -> None:
        """
        Have one more address, and a route to its network. With the first, what is for others is no longer delivered.

        @param address: in CIDR notation.

        @raise ValueError: it is no address that a host can have, or is ours already.
        """
        if self.own is None:
            self.own = Addresses()
        interface = self.own.add(address)
        if isinstance(self.routes, StaticRoutes) and interface.network not in self.routes:
            self.routes.add(interface.network)

    def removeAddress(self, address: str | bytes) -> None:
        """
        Have one address less; and, if it was the last in its network, no route there.

        @param address: without its prefix length.

        @raise ValueError: it is not ours.
        """
        if self.own is None:
            raise ValueError(f"{address!r} is no address of this host")
        network = self.own.remove(address).network
        last = all(other.network != network for other in self.own.interfaces)
        if last and isinstance(self.routes, StaticRoutes) and network in self.routes:
            self.routes.remove(network)

    def addProto(self, num: int, proto: Any) -> None:
        """
        Add a protocol. Several under one number all get every datagram.

        @param num: the protocol number, 0 to 255.
        @param proto: an C{IRawDatagramProtocol}, or an L{IPacketReceiver}.

        @raise TypeError: C{num} does not fit 8 bits, or C{proto} is something else.
        """
        proto = receiverOr(IRawDatagramProtocol, proto)
        self._table.check(num)
        way = self._wayTo(proto, lambda proto: datagramReceiver(proto, num))
        self._attach(proto, self)
        self._table.add(num, proto, way)

    def removeProto(self, num: int, proto: Any) -> None:
        """
        Undo an L{addProto}. A protocol removed for the last time is stopped.

        @raise ValueError: C{proto} was not added so.
        """
        self._table.remove(num, proto)
        self._detach(proto)

    def doStop(self) -> None:
        """
        Stop this layer; the last time, forget what was half put together.
        """
        super().doStop()
        if not self.numPorts:
            self._reassembler.clear()
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None

    # Up

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come.
        """
        data = packet.data
        start = packet.start
        available = packet.end - start
        if available < 20:
            return self.dropped(packet, "inTruncatedPkts")
        first = data[start]
        if first >> 4 == 6:
            return self._packetReceived6(packet)
        if packet.etherType != 0x0800 and packet.etherType:
            return self.dropped(packet, "inHdrErrors")
        total, fragment, protocol = _essentials(data, start)
        header = 20
        if first != 0x45:
            header = (first & 0x0F) << 2
            if first >> 4 != 4 or header < 20 or header > available:
                return self.dropped(packet, "inHdrErrors")
            if self._verify and onesSum(data[start : start + header]):
                return self.dropped(packet, "inCsumErrors")
        elif self._verify and _number(data[start : start + 20], "big") % 0xFFFF:
            return self.dropped(packet, "inCsumErrors")
        if total != available:
            if total < header:
                return self.dropped(packet, "inHdrErrors")
            if total < available:
                packet.end = start + total
            elif not packet.partial:
                return self.dropped(packet, "inTruncatedPkts")
        packet.network = start
        packet.ip = self
        own = self.own
        if own is not None:
            dest = data[start + 16 : start + 20]
            source = data[start + 12 : start + 16]
            if (dest not in own.local and not own.owns(dest)) or (
                source not in own.vetted and not own.maySend(source, dest)
            ):
                return self.dropped(packet, "inAddrErrors")
        packet.transport = start + header
        if header != 20:
            fault = ipv4.optionsFault(data, start + 20, start + header)
            if fault is not None:
                # Where the trouble is: an ICMP error points there.
                packet.start = fault[1]
                return self.dropped(packet, fault[0])
        packet.start = start + header
        if fragment & 0x3FFF:
            return self._fragmentReceived4(packet, fragment, protocol)
        receive = self._receivers.get(protocol)
        if receive is None:
            return self.dropped(packet, "inUnknownProtos")
        receive(packet)

    def _packetReceived6(self, packet: Packet) -> None:
        data = packet.data
        start = packet.start
        available = packet.end - start
        if packet.etherType != 0x86DD and packet.etherType:
            return self.dropped(packet, "inHdrErrors")
        if available < 40:
            return self.dropped(packet, "inTruncatedPkts")
        _, length, kind, _ = _header6(data, start)
        if 40 + length != available:
            if 40 + length < available:
                packet.end = start + 40 + length
            elif not packet.partial:
                return self.dropped(packet, "inTruncatedPkts")
        packet.network = start
        packet.ip = self
        own = self.own
        if own is not None:
            dest = data[start + 24 : start + 40]
            source = data[start + 8 : start + 24]
            if (dest not in own.local and not own.owns(dest)) or (
                source not in own.vetted and not own.maySend(source, dest)
            ):
                return self.dropped(packet, "inAddrErrors")
        transport = start + 40
        if kind in ipv6.EXTENSIONS:
            kind, transport, fault = ipv6.walkExtensions(data, kind, transport, packet.end)
            if kind == ipv6.FRAGMENT and fault == "reasmReqds":
                return self._fragmentReceived6(packet, transport)
            if fault is not None:
                packet.start = transport
                return self.dropped(packet, fault)
        packet.transport = packet.start = transport
        receive = self._receivers.get(kind)
        if receive is None:
            return self.dropped(packet, "inUnknownProtos")
        receive(packet)

    def _fragmentReceived4(self, packet: Packet, fragment: int, protocol: int) -> None:
        data = packet.data
        network = packet.network
        key = data[network + 12 : network + 20] + data[network + 4 : network + 6] + data[network + 9 : network + 10]
        offset = (fragment & ipv4.OFFSET_MASK) << 3
        first, payload = self._assemble(packet, key, packet.start, offset, bool(fragment & ipv4.MORE_FRAGMENTS))
        if first is None:
            return
        whole = joined4(first, payload)
        if whole is None:
            return self.dropped(first, "reasmFails")
        self._assembled(whole, protocol)

    def _fragmentReceived6(self, packet: Packet, at: int) -> None:
        data = packet.data
        _, fragment, identification = ipv6.FRAGMENT_HEADER.unpack_from(data, at)
        key = data[packet.network + 8 : packet.network + 40] + identification.to_bytes(4, "big")
        first, payload = self._assemble(packet, key, at + 8, fragment & 0xFFF8, bool(fragment & 1))
        if first is None:
            return
        # Where it stood in this one need not be where it stood in the first.
        at = first.start - 8
        whole = joined6(first, at, payload)
        if whole is None:
            return self.dropped(first, "reasmFails")
        kind = first.data[at]
        if kind in ipv6.EXTENSIONS:
            kind, whole.start, fault = ipv6.walkExtensions(whole.data, kind, whole.start, whole.end, False)
            if fault is not None:
                return self.dropped(whole, "inHdrErrors" if kind == ipv6.FRAGMENT else fault)
            whole.transport = whole.start
        self._assembled(whole, kind)

    def _assemble(
        self, packet: Packet, key: bytes, at: int, offset: int, more: bool
    ) -> tuple[Packet, bytes] | tuple[None, bytes]:
        """
        Take a fragment, and see to it that its datagram does not wait for ever.

        @return: as L{Reassembler.add}.
        """
        if packet.partial:
            self.dropped(packet, "inTruncatedPkts")
            return None, b""
        done = self._reassembler.add(packet, key, at, offset, more)
        clock = self._clock or (None if packet.port is None else packet.port.clock)
        if clock is not None and self._expiry is None and len(self._reassembler):
            self._expire(clock)
        return (None, b"") if done is None else done

    def _assembled(self, packet: Packet, protocol: int) -> None:
        receive = self._receivers.get(protocol)
        if receive is None:
            return self.dropped(packet, "inUnknownProtos")
        receive(packet)

    def _expire(self, clock: IReactorTime) -> None:
        """
        Give up the datagrams whose time is up, and come back for the others.
        """
        self._expiry = None
        self._reassembler.expire(clock.seconds())
        deadline = self._reassembler.deadline
        if deadline is not None:
            self._expiry = clock.callLater(max(0.0, deadline - clock.seconds()), self._expire, clock)

    def datagramReceived(  # type: ignore[override]
        self,
        data: bytes,
        partial: int = 0,
        dest: bytes | None = None,
        source: bytes | None = None,
        protocol: int | None = None,
    ) -> None:
        """
        A packet has come from something that speaks C{twisted.pair}.
        """
        etherType = protocol if protocol in (IPV4, IPV6) else 0
        stations = (dest or b"") + (source or b"")
        outer = self.outer
        if outer is not None:
            # A method that overrides this one has been called with a packet, and calls on.
            packet = outer.copy()
            packet.data = outer.data[: outer.start] + data
            packet.end = len(packet.data)
            packet.partial = bool(partial)
        elif len(stations) == 12 and IEthernetTransport.providedBy(self.transport):
            frame = stations + etherType.to_bytes(2, "big") + data
            packet = Packet(frame, 14, None, self.now(), bool(partial), etherType)
            packet.ethernet = cast(IEthernetTransport, self.transport)
            packet.linkSource = source
        else:
            packet = Packet(data, 0, None, self.now(), bool(partial), etherType)
        self.packetReceived(packet)

    # Down

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
            route = self.route(to, leaving)
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
        if source is None:
            source = self.sourceFor(dest)
            if source is None:
                raise OSError(
                    errno.EADDRNOTAVAIL,
                    f"no source address to write to {text} from: give IPProtocol(addresses=[...]) one of its version",
                )
        if not IEthernetTransport.providedBy(transport):
            return Route(source, dest)
        ethernet = cast(IEthernetTransport, transport)
        if isGroup(dest):
            return Route(source, dest, ethernet, groupLinkAddress(dest))
        if dest in self.broadcasts:
            return Route(source, dest, ethernet, LINK_BROADCAST)
        hop = self.routes.lookup(dest)
        station = self.neighbours.lookup(dest if hop is None else hop)
        if station is not None:
            return Route(source, dest, ethernet, station)
        if hop is not None and self.neighbours.resolves:
            return Route(source, dest, ethernet, hop=hop)
        if hop is None:
            raise OSError(errno.ENETUNREACH, f"no route to {text}: give one with routes.add(network, gateway)")
        raise OSError(
            errno.EHOSTUNREACH,
            f"no neighbour {addressText(hop)}, the way to {text}: give one with neighbours.add(address, station)",
        )

    def routeBack(self, packet: Packet) -> Route | None:
        """
        The way for an answer to C{packet}: see L{IIPTransport.routeBack}.
        """
        station = packet.linkSource or b""
        peer = packet.sourceAddress
        if not isHost(peer) or peer in self.broadcasts or (station and station[0] & 1):
            return None
        asked = packet.destAddress
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

    def delivering(self, packet: Packet) -> None:
        """
        Remember who asks a raw protocol: it may answer later.
        """
        super().delivering(packet)
        asker = packet.sourceAddress
        self._askers[asker] = packet.headers()
        self._askers.move_to_end(asker)
        if len(self._askers) > MAX_ASKERS:
            self._askers.popitem(last=False)

    def sourceFor(self, dest: bytes) -> bytes | None:
        """
        Which of our addresses a datagram to C{dest} leaves from; L{None} if there is none of its version.
        """
        return None if self.own is None else self.own.sourceFor(dest)

    def output(self, route: Route, protocol: int, buffers: Sequence[bytes], hopLimit: int = DEFAULT_HOP_LIMIT) -> None:
        """
        Put a header before C{buffers} and send them: see L{IIPTransport.output}.
        """
        length = sum(map(len, buffers))
        if route.hop:
            # Held whole: the fragments of a datagram wait as one.
            data = b"".join(buffers)
            self.neighbours.hold(
                route.hop,
                lambda station: self.output(attrs.evolve(route, station=station, hop=b""), protocol, [data], hopLimit),
                length,
            )
            return
        if len(route.dest) == 4:
            if ipv4.HEADER_LENGTH + length <= self.mtu:
                # An atomic datagram needs no identification (RFC 6864 section 4.1).
                header = ipv4.packHeader(route.source, route.dest, protocol, length, hopLimit)
                self._send(route, IPV4, [header, *buffers])
            else:
                for packet in self._fragments4(route, protocol, b"".join(buffers), hopLimit):
                    self._send(route, IPV4, packet)
        elif ipv6.HEADER_LENGTH + length <= self.mtu:
            header = ipv6.packHeader(route.source, route.dest, protocol, length, hopLimit)
            self._send(route, IPV6, [header, *buffers])
        else:
            for packet in self._fragments6(route, protocol, b"".join(buffers), hopLimit):
                self._send(route, IPV6, packet)

    def _fragments4(self, route: Route, protocol: int, payload: bytes, hopLimit: int) -> Iterator[list[bytes]]:
        identification = _random.getrandbits(16)
        room = self.mtu - ipv4.HEADER_LENGTH
        self.counters["outFragReqds"] += 1
        for offset, more, piece in split(payload, room, room):
            self.counters["outFragCreates"] += 1
            word = ipv4.MORE_FRAGMENTS * more | offset >> 3
            header = ipv4.packHeader(route.source, route.dest, protocol, len(piece), hopLimit, identification, word)
            yield [header, piece]

    def _fragments6(self, route: Route, protocol: int, payload: bytes, hopLimit: int) -> Iterator[list[bytes]]:
        identification = _random.getrandbits(32)
        room = self.mtu - ipv6.HEADER_LENGTH - ipv6.FRAGMENT_HEADER.size
        self.counters["outFragReqds"] += 1
        for offset, more, piece in split(payload, room, room):
            self.counters["outFragCreates"] += 1
            fragment = ipv6.FRAGMENT_HEADER.pack(protocol, offset | more, identification)
            length = len(fragment) + len(piece)
            header = ipv6.packHeader(route.source, route.dest, ipv6.FRAGMENT, length, hopLimit)
            yield [header, fragment, piece]

    def _send(self, route: Route, etherType: int, buffers: Sequence[bytes]) -> None:
        if route.ethernet is not None:
            route.ethernet.writeFrame(buffers, route.station, etherType, route.linkSource, route.port)
            return
        port = route.port or cast("IPacketTransport | None", self.transport)
        if port is None:
            self.counters["outDiscards"] += 1
        else:
            port.writePacket(buffers)

    def _isUnicast(self, packet: Packet) -> bool:
        """
        Whether C{packet} was sent to one host, as far as can be told without knowing our addresses.
        """
        linkDest = packet.linkDest
        return isHost(packet.destAddress) and not (linkDest is not None and linkDest[0] & 1)
