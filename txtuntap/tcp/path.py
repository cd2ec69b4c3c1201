"""
The path of one connection: the addresses and ports of both ends, and the route between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from txtuntap.interfaces import DEFAULT_HOP_LIMIT, IIPTransport, Route
from txtuntap.layer.counters import SegmentCounters
from txtuntap.tcp.interfaces import IWire
from txtuntap.wire import tcp as wire
from txtuntap.wire.offload import CSUM, NEEDS_CHECKSUM, NONE, TCP4, TCP6, TSO4, TSO6, Offload

if TYPE_CHECKING:
    from txtuntap.packet import Packet

#: Seconds for which a route is used without asking for it again.
_ROUTE_AGE = 1.0

#: The traffic class of a packet that routers may mark (ECT(0), RFC 3168 section 5).
_MARKABLE = 0b10


@lru_cache(256)
def _open(header: int, kind: int, size: int) -> Offload:
    """
    The offload of a segment whose checksum is open.

    @param header: octets of its TCP header.
    @param kind: C{NONE}; of a superpacket, C{TCP4} or C{TCP6}.
    @param size: octets of data in each segment of a superpacket.
    """
    return Offload(NEEDS_CHECKSUM, kind, header, size, 0, wire.CHECKSUM_OFFSET)


@implementer(IWire)
class Path:
    """
    The path of one connection, and what segments to its peer have in common.

    @ivar source: our packed address; C{sourcePort}: our port.
    @ivar dest: the peer's packed address; C{destPort}: its port.
    @ivar counters: see L{IWire}.
    """

    __slots__ = (
        "_back",
        "_features",
        "_ip",
        "_pseudo",
        "_route",
        "_routeAt",
        "counters",
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
        @param counters: those of the layer.
        """
        self._ip = ip
        self.counters = counters
        self.source = source
        self.dest = dest
        self.sourcePort = sourcePort
        self.destPort = destPort
        self._pseudo = wire.pseudoSum(source, dest)
        #: The route that the peer's segments come by, turned around.
        self._back: Route | None = None
        self._route: Route | None = None
        self._routeAt = 0.0
        # The offloads of the port by which we send.
        self._features = 0
        #: The time, in seconds: whoever calls the connection has set it.
        self.now = 0.0

    def returning(self, packet: Packet) -> bool:
        """
        Answer by the path that a packet of the peer has come by.

        @return: whether the packet may be answered: one to many hosts may not (RFC 9293 section 3.9.2.3).
        """
        back = self._back = self._ip.routeBack(packet)
        self._route = None
        # The route from one of our addresses, if the packet went to none of them.
        return back is not None and back.source == self.source

    def doubt(self) -> None:
        """
        Forget the route, since the peer does not answer: it is asked for again, in case this one leads nowhere.
        """
        self._back = self._route = None

    def route(self) -> Route | None:
        """
        The route to the peer; L{None}: there is none at the moment.
        """
        route = self._route
        if route is not None and 0 <= self.now - self._routeAt < _ROUTE_AGE:
            return route
        ip = self._ip
        if self._back is not None:
            route = ip.knownStation(self._back)
        else:
            try:
                route = ip.route(self.dest, self.source)
            except (OSError, RuntimeError):
                route = None
        if route is None or route.hop:
            self._route, self._features = None, 0
        else:
            self._route, self._routeAt = route, self.now
            port = ip.port(route)
            # A datagram to ourselves is as open as it left.
            self._features = CSUM | TSO4 | TSO6 if port is None else port.offloads
        return route

    @property
    def room(self) -> int:
        """
        See L{IWire}.
        """
        route = self.route()
        return self.link if route is None else self._ip.room(route)

    @property
    def link(self) -> int:
        """
        See L{IWire}.
        """
        return self._ip.linkRoom(len(self.dest))

    @property
    def cuts(self) -> bool:
        """
        See L{IWire}.
        """
        self.route()
        return bool(self._features & CSUM and self._features & (TSO4 if len(self.dest) == 4 else TSO6))

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
        See L{IWire.transmit<txtuntap.tcp.interfaces.IWire.transmit>}.
        """
        route = self.route()
        if route is None:
            return
        self.counters.outSegs += -(-length // size) if size else 1
        fields = self._pseudo, self.sourcePort, self.destPort, sequence, acknowledgment, flags, window, options
        trafficClass = _MARKABLE if isMarkable else 0
        if self._features & CSUM:
            header = wire.packOpenHeader(*fields, length)
            kind = NONE if not size else TCP4 if len(self.dest) == 4 else TCP6
            offload = _open(len(header), kind, size)
            self._ip.output(route, wire.PROTOCOL, [header, *buffers], DEFAULT_HOP_LIMIT, offload, trafficClass)
        else:
            payload = b"".join(buffers)
            packet = [wire.packHeader(*fields, payload), payload]
            self._ip.output(route, wire.PROTOCOL, packet, DEFAULT_HOP_LIMIT, None, trafficClass)
