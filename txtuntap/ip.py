"""
IP: both versions in one layer, datagrams by protocol number, and the way back down.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from random import SystemRandom
from typing import Any, cast

import attrs
from twisted.internet.error import MessageLengthError
from zope.interface import implementer

from txtuntap.adapters import datagramReceiver
from txtuntap.ethernet import replySource
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
    solicitedNode,
)
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.ipv4 import IPHeader

__all__ = ["IPHeader", "IPProtocol"]

DEFAULT_HOP_LIMIT = 64

#: Groups that every host is in (RFC 1112 section 4, RFC 4291 section 2.8).
ALL_HOSTS = ("224.0.0.1", "ff01::1", "ff02::1")

#: How many senders are remembered as having an address that may be answered.
MAX_VETTED = 4096

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
    0x0800 and 0x86dd). Headers are checked, options and extension headers walked, padding cut off. A fragment is never
    taken for a datagram.

    Counters, as in RFC 4293: C{inHdrErrors}, C{inTruncatedPkts}, C{inAddrErrors} (not for us, or from no address that
    a host can have), C{inUnknownProtos}, C{reasmReqds} (fragments), C{outNoRoutes}, C{outDiscards}; and
    C{inCsumErrors}, C{inSourceRoutes}.

    @ivar ipProtos: the protocols added: lists by number. To be changed by L{addProto} and L{removeProto}.
    @ivar addresses: our own, with their networks; empty where every datagram is delivered.
    @ivar routes: an L{IRoutes}. Networks of our addresses are in it.
    @ivar neighbours: an L{INeighbours}, for Ethernet.
    """

    def __init__(
        self,
        addresses: Iterable[str] | None = None,
        verifyChecksum: bool = True,
        routes: IRoutes | None = None,
        neighbours: INeighbours | None = None,
    ) -> None:
        """
        @param addresses: our own in CIDR notation (C{"10.0.0.2/24"}): deliver only what is sent to them, to all of
            their networks, or to a group that every host is in, by a sender with an address of its own. Without, every
            datagram is delivered.
        @param verifyChecksum: whether to drop IPv4 headers that do not sum up.

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
        self.addresses: list[IPv4Interface | IPv6Interface] = []
        # What is for us, groups and broadcasts included. None: everything.
        self._local: set[bytes] | None = None
        self._own: set[bytes] = set()
        self._askers: OrderedDict[bytes, Packet] = OrderedDict()
        self.broadcasts: set[bytes] = {LIMITED_BROADCAST}
        # Senders that passed _maySend: the hot path looks no further.
        self._vetted: set[bytes] = set()
        if addresses is not None:
            if isinstance(addresses, str):
                raise ValueError(f"addresses is a list of addresses: give [{addresses!r}]")
            self._local = {LIMITED_BROADCAST, *map(packAddress, ALL_HOSTS)}
            for address in addresses:
                self._addAddress(ip_interface(address))

    @property
    def mtu(self) -> int:
        """
        The most octets in one datagram that is sent in one piece.
        """
        return 1500 if self.transport is None else cast(IPacketTransport, self.transport).mtu

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
            fault, header = self._optionsFault(packet)
            if fault is not None:
                return self.dropped(packet, fault)
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
        if self._local is not None and (
            data[start + 16 : start + 20] not in self._local
            or (data[start + 12 : start + 16] not in self._vetted and not self._maySend(packet))
        ):
            return self.dropped(packet, "inAddrErrors")
        packet.transport = packet.start = start + header
        if fragment & 0x3FFF:
            return self.dropped(packet, "reasmReqds")
        receive = self._receivers.get(protocol)
        if receive is None:
            return self.dropped(packet, "inUnknownProtos")
        receive(packet)

    def _optionsFault(self, packet: Packet) -> tuple[str | None, int]:
        """
        Check a header that is not the usual 20 octets of version 4.

        @return: the name of the counter for a datagram that must not be delivered, or L{None}; and the length of the
            header.
        """
        data = packet.data
        start = packet.start
        header = (data[start] & 0x0F) << 2
        if data[start] >> 4 != 4 or header < 20 or header > packet.end - start:
            return "inHdrErrors", header
        if self._verify and onesSum(data[start : start + header]):
            return "inCsumErrors", header
        return ipv4.optionsFault(data, start + 20, start + header), header

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
        if self._local is not None and (
            data[start + 24 : start + 40] not in self._local
            or (data[start + 8 : start + 24] not in self._vetted and not self._maySend(packet))
        ):
            return self.dropped(packet, "inAddrErrors")
        transport = start + 40
        if kind in ipv6.EXTENSIONS:
            kind, transport, fault = ipv6.walkExtensions(data, kind, transport, packet.end)
            if fault is not None:
                return self.dropped(packet, fault)
        packet.transport = packet.start = transport
        receive = self._receivers.get(kind)
        if receive is None:
            return self.dropped(packet, "inUnknownProtos")
        receive(packet)

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

    def _maySend(self, packet: Packet) -> bool:
        """
        Whether the source of C{packet} is an address that another host can have (RFC 1122 section 3.2.1.3): not a
        group's, nor the loopback, nor one of our own ("LAND"), nor a broadcast's.
        """
        source = packet.sourceAddress
        if source in self._own or source in self.broadcasts:
            return False
        if not isHost(source):
            # Who has no address yet has nothing better to give: DHCP's discovery, duplicate address detection.
            dest = packet.destAddress
            return not any(source) and (dest[0] == 0xFF if len(source) == 16 else dest == LIMITED_BROADCAST)
        if len(self._vetted) >= MAX_VETTED:
            self._vetted.clear()
        self._vetted.add(source)
        return True

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
        asked: bytes | None = packet.destAddress
        if asked not in self._own if self.addresses else not self._isUnicast(packet):
            asked = self.sourceFor(peer)
            if asked is None:
                return None
        assert asked is not None
        if packet.ethernet is None and packet.port is None and IEthernetTransport.providedBy(self.transport):
            # It was handed in by a program's own call, which did not tell the station.
            try:
                return self.route(peer, asked)
            except OSError:
                return None
        return Route(asked, peer, packet.ethernet, station, replySource(packet), packet.port)

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
        Which of our addresses a datagram to C{dest} leaves from: the one in the smallest network that holds it, or else
        the first of its version.
        """
        number = int.from_bytes(dest, "big")

        def fit(own: IPv4Interface | IPv6Interface) -> int:
            holds = int(own.network.netmask) & number == int(own.network.network_address)
            return own.network.prefixlen if holds else -1

        candidates = [own for own in self.addresses if len(own.packed) == len(dest)]
        return max(candidates, key=fit).packed if candidates else None

    def output(self, route: Route, protocol: int, buffers: Sequence[bytes], hopLimit: int = DEFAULT_HOP_LIMIT) -> None:
        """
        Put a header before C{buffers} and send them: see L{IIPTransport.output}.
        """
        length = sum(map(len, buffers))
        if len(route.dest) == 4:
            etherType = IPV4
            if ipv4.HEADER_LENGTH + length <= self.mtu:
                # An atomic datagram needs no identification (RFC 6864 section 4.1).
                header = ipv4.packHeader(route.source, route.dest, protocol, length, hopLimit)
            else:
                identification = _random.getrandbits(16)
                header = ipv4.packHeader(route.source, route.dest, protocol, length, hopLimit, identification, 0)
        else:
            etherType = IPV6
            header = ipv6.packHeader(route.source, route.dest, protocol, length, hopLimit)
        if route.ethernet is not None:
            route.ethernet.writeFrame([header, *buffers], route.station, etherType, route.linkSource, route.port)
            return
        port = route.port or cast("IPacketTransport | None", self.transport)
        if port is None:
            self.counters["outDiscards"] += 1
        else:
            port.writePacket([header, *buffers])

    def _isUnicast(self, packet: Packet) -> bool:
        """
        Whether C{packet} was sent to one host, as far as can be told without knowing our addresses.
        """
        linkDest = packet.linkDest
        return isHost(packet.destAddress) and not (linkDest is not None and linkDest[0] & 1)

    def _addAddress(self, address: IPv4Interface | IPv6Interface) -> None:
        packed = address.packed
        network = address.network
        # Networks of one or two addresses have none to spare for themselves and a broadcast (RFC 3021).
        spare = isinstance(address, IPv4Interface) and network.prefixlen < 31
        if not isHost(packed) or (spare and address.ip in (network.network_address, network.broadcast_address)):
            raise ValueError(f"{address} is not an address that a host can have")
        self.addresses.append(address)
        self._own.add(packed)
        if isinstance(self.routes, StaticRoutes):
            self.routes.add(address.network)
        assert self._local is not None
        self._local.add(packed)
        if isinstance(address, IPv6Interface):
            self._local.add(solicitedNode(packed))
        elif spare:
            self._local.add(network.broadcast_address.packed)
            self.broadcasts.add(network.broadcast_address.packed)
