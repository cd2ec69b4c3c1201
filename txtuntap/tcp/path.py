"""
The path of one connection: the addresses and ports of both endpoints, the route, and the headers of its segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from txtuntap.interfaces import DEFAULT_HOP_LIMIT, IIPTransport, Route
from txtuntap.layer.counters import SegmentCounters
from txtuntap.layer.flowheaders import FlowHeaders
from txtuntap.tcp.interfaces import IWire
from txtuntap.wire import ipv4
from txtuntap.wire import tcp as wire
from txtuntap.wire.offload import CSUM, NEEDS_CHECKSUM, NONE, TCP4, TCP6, TSO4, TSO6, Offload

if TYPE_CHECKING:
    from txtuntap.interfaces import IPacketTransport
    from txtuntap.packet import Packet

#: The seconds after which a route is looked up again.
_ROUTE_AGE = 1.0

#: The number of the first segment whose headers are cached. A short connection would not gain by a cache.
_UNCACHED = 4

#: The traffic class of a packet that a router may mark (ECT(0), RFC 3168 section 5).
_MARKABLE = 0b10


@lru_cache(1024)
def openBehind(before: int, header: int, kind: int, size: int) -> Offload:
    """
    Make the offload header of a segment whose checksum the kernel computes.

    @param before: the octets before the TCP header.
    @param header: the octets of the TCP header.
    @param kind: C{NONE} for a segment, C{TCP4} or C{TCP6} for a superpacket.
    @param size: the octets of data in each segment of a superpacket.
    """
    return Offload(NEEDS_CHECKSUM, kind, before + header, size, before, wire.CHECKSUM_OFFSET)


class SegmentHeaders(FlowHeaders):
    """
    The headers of one connection's segments. The parts that are the same in all of them are cached.
    """

    __slots__ = ()

    def __init__(self, ip: IIPTransport, port: IPacketTransport, route: Route, header: bytes) -> None:
        """
        @param port: the port of C{route}, which accepts packets without checksums.
        @param header: the TCP header of a segment without data.
        """
        open = openBehind(0, wire.HEADER_LENGTH, NONE, 0)
        super().__init__(ip, port, route, wire.PROTOCOL, header, open, "IIHHHH")

    def pack(self, length: int, sequence: int, acknowledgment: int, word: int, window: int, check: int) -> bytes:
        """
        Build the headers of a segment, down to the TCP header without options.

        @param length: the octets of the TCP header, its options and the data.
        @param word: the 16 bits with the data offset and the flags.
        @param check: the checksum of the pseudo-header.
        """
        if self._sum < 0:
            return self._pack(self._first, length, self._middle, sequence, acknowledgment, word, window, check, 0)
        total = length + ipv4.HEADER_LENGTH
        sums = -(self._sum + total) % 0xFFFF
        return self._pack(
            self._first, total, self._middle, sums, self._last, sequence, acknowledgment, word, window, check, 0
        )


@implementer(IWire)
class Path:
    """
    The path of one connection. It sends the connection's segments.

    @ivar source: our packed address.
    @ivar sourcePort: our port.
    @ivar dest: the peer's packed address.
    @ivar destPort: the peer's port.
    @ivar counters: see L{IWire}.
    """

    __slots__ = (
        "_back",
        "_features",
        "_headers",
        "_ip",
        "_pseudo",
        "_route",
        "_routeAt",
        "_uncached",
        "counters",
        "cuts",
        "dest",
        "destPort",
        "now",
        "source",
        "sourcePort",
    )

    def __init__(
        self, ip: IIPTransport, counters: SegmentCounters, source: bytes, dest: bytes, sourcePort: int, destPort: int
    ) -> None:
        """
        @param counters: the counters of the TCP layer.
        """
        self._ip = ip
        self.counters = counters
        self.source = source
        self.dest = dest
        self.sourcePort = sourcePort
        self.destPort = destPort
        self._pseudo = wire.pseudoSum(source, dest)
        #: The reverse of the route by which the peer's segment was received. C{None}: use the routing table.
        self._back: Route | None = None
        self._route: Route | None = None
        self._routeAt = 0.0
        # The offloads of the port of the route, and the cached headers for that port.
        self._features = 0
        self._headers: SegmentHeaders | None = None
        #: The number of segments that have found no cached headers.
        self._uncached = 0
        #: Whether the port segments superpackets, at the last look at the route. See L{IWire}.
        self.cuts = False
        #: The time in seconds. Each caller of the connection sets it before the call.
        self.now = 0.0

    def returning(self, packet: Packet) -> bool:
        """
        Use the reverse of the route by which a packet was received.

        @return: whether the packet may be answered. A packet to a multicast or broadcast address may not (RFC 9293
            section 3.9.2.3).
        """
        back = self._back = self._ip.routeBack(packet)
        self._route = self._headers = None
        # The reverse route has another source if the packet was sent to none of our addresses.
        return back is not None and back.source == self.source

    def forgetRoute(self) -> None:
        """
        Forget the route, because the peer does not answer. The next segment looks it up again, in case it has changed.
        """
        self._back = self._route = self._headers = None

    def route(self) -> Route | None:
        """
        Return the route to the peer. C{None}: there is none now.
        """
        route = self._route
        if route is not None and 0 <= self.now - self._routeAt < _ROUTE_AGE:
            return route
        ip = self._ip
        self._headers = None
        own = getattr(ip, "ownAddresses", None)
        if own is not None and not own.accepts(self.source) and not own.isSelf(self.source):
            # Our address was removed from this host, and another host may have it now.
            route = None
        elif self._back is not None:
            route = ip.knownStation(self._back)
        else:
            try:
                route = ip.route(self.dest, self.source)
            except (OSError, RuntimeError):
                route = None
        if route is None or route.hop:
            self._route, self._features, self.cuts = None, 0, False
        else:
            self._route, self._routeAt = route, self.now
            port = ip.port(route)
            # A datagram to this host itself needs neither checksum nor segmentation.
            features = self._features = CSUM | TSO4 | TSO6 if port is None else port.offloads
            self.cuts = bool(features & CSUM and features & (TSO4 if len(self.dest) == 4 else TSO6))
        return route

    @property
    def room(self) -> int:
        """
        The most octets that fit in one IP packet to the peer. Cached headers are dropped, because their fragmentation
        flags depend on this number. See L{IWire}.
        """
        self._headers = None
        route = self.route()
        return self.link if route is None else self._ip.room(route)

    @property
    def link(self) -> int:
        """
        The most octets that fit in one IP packet on our own link. See L{IWire}.
        """
        return self._ip.linkRoom(len(self.dest))

    def transmit(
        self,
        sequence: int,
        acknowledgment: int,
        flags: int,
        window: int,
        options: bytes,
        buffers: Sequence[Any],
        length: int,
        size: int,
        isMarkable: bool,
    ) -> None:
        """
        Send a segment or a superpacket. See L{IWire.transmit<txtuntap.tcp.interfaces.IWire.transmit>}.
        """
        headers = self._headers
        route: Route | None = None
        if headers is None or isMarkable or not 0 <= self.now - self._routeAt < _ROUTE_AGE:
            route = self.route()
            if route is None:
                return
            headers = None if isMarkable else self._headersOf(route)
        self.counters.outSegs += -(-length // size) if size else 1
        header = wire.HEADER_LENGTH + len(options)
        kind = NONE if not size else TCP4 if len(self.dest) == 4 else TCP6
        if headers is not None:
            octets = header + length
            check = (self._pseudo + octets) % 0xFFFF
            word = header << 10 | flags
            packet = [headers.pack(octets, sequence, acknowledgment, word, window, check) + options, *buffers]
            headers.port.writePacket(packet, openBehind(headers.before, header, kind, size))
            return
        assert route is not None
        said = self._pseudo, self.sourcePort, self.destPort, sequence, acknowledgment, flags, window, options
        trafficClass = _MARKABLE if isMarkable else 0
        if self._features & CSUM:
            packet = [wire.packOpenHeader(*said, length), *buffers]
            offload = openBehind(0, header, kind, size)
            self._ip.output(route, wire.PROTOCOL, packet, DEFAULT_HOP_LIMIT, offload, trafficClass)
        else:
            payload = b"".join(buffers)
            packet = [wire.packHeader(*said, payload), payload]
            self._ip.output(route, wire.PROTOCOL, packet, DEFAULT_HOP_LIMIT, None, trafficClass)

    def _headersOf(self, route: Route) -> SegmentHeaders | None:
        """
        Return the cached headers for a route, after the first segments of a connection.

        @return: C{None}: there are none, so the IP layer builds the headers of this segment.
        """
        headers = self._headers
        if headers is None and route is self._route and self._features & CSUM:
            self._uncached += 1
            if self._uncached < _UNCACHED:
                return None
            port = self._ip.port(route)
            if port is not None:
                header = wire.packOpenHeader(self._pseudo, self.sourcePort, self.destPort, 0, 0, 0, 0, b"", 0)
                headers = SegmentHeaders(self._ip, port, route, header)
                self._headers = headers if headers.usable else None
        return self._headers
