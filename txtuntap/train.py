"""
Datagrams on their way down that leave together: as one superpacket, in one system call.

What is written to one destination while a port reads, or within its C{batch}, waits for more of its kind: a I{train}.
There is one at a time. It leaves when it is full, when a shorter datagram ends it, before anything else is written, and
at the latest at the end of the turn of the reactor. So the order is that of writing, and no more is held than one IP
datagram can carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import attrs

from txtuntap.wire import udp
from txtuntap.wire.offload import MAX_DATAGRAMS, NEEDS_CHECKSUM, NONE, UDP, Offload

if TYPE_CHECKING:
    from txtuntap.interfaces import IBatchTransport, IIPTransport, IPacketTransport
    from txtuntap.routing import Route

#: Where in the header the checksum stands.
_CHECKSUM_OFFSET = 6

#: Of one datagram whose checksum is left open.
OPEN = Offload(NEEDS_CHECKSUM, NONE, udp.HEADER_LENGTH, 0, 0, _CHECKSUM_OFFSET)


@lru_cache(256)
def _many(size: int) -> Offload:
    return Offload(NEEDS_CHECKSUM, UDP, udp.HEADER_LENGTH, size, 0, _CHECKSUM_OFFSET)


class Train:
    """
    Datagrams of one size from one port to another. In the same turn of the reactor, it may be used again once it has
    left: what a way and its headers are is found out but once.

    @ivar addr: what the application wrote them to.
    @ivar size: octets in each of them; -1 while none waits.
    @ivar most: how many there may be.
    @ivar datagrams: their payloads.
    """

    __slots__ = (
        "_headers",
        "_ip",
        "_isFull",
        "_offload",
        "_port",
        "_ports",
        "_route",
        "_size",
        "_turn",
        "_way",
        "addr",
        "datagrams",
        "most",
        "size",
    )

    def __init__(
        self,
        ip: IIPTransport,
        port: IBatchTransport,
        route: Route,
        ports: tuple[int, int],
        way: bytes,
        addr: Any,
        size: int,
    ) -> None:
        """
        @param port: which it waits on.
        @param ports: of UDP: where it comes from and goes to.
        @param way: these and the addresses, as L{IBatchTransport.collects} has it.
        @param size: octets in each datagram, more than none.
        """
        self.addr = addr
        self.size = -1
        self.most = min(MAX_DATAGRAMS, udp.MAX_PAYLOAD[len(route.dest)] // size)
        self.datagrams: list[bytes] = []
        self._ip = ip
        self._port = port
        self._ports = ports
        # The layers below write to this train in place of the port: it sees the headers that they make.
        self._route = attrs.evolve(route, port=cast("IPacketTransport", self))
        # Those of as many datagrams as there may be, and what is left open behind them, once they have been made.
        self._headers = b""
        self._isFull = False
        self._offload: Offload | None = None
        self._size = size
        self._turn = port.turn
        self._way = way

    def begin(self, datagram: bytes) -> None:
        """
        Wait, with a first datagram of C{size}. What waits before leaves.
        """
        self._port.hold(self)
        self.datagrams = [datagram]
        self.size = self._size
        if self.most == 1:
            self.end()

    def add(self, datagram: bytes) -> bool:
        """
        Have one more, if it is of the kind.
        """
        length = len(datagram)
        if self.size > 0:
            if not 0 < length <= self.size:
                return False
            self.datagrams.append(bytes(datagram))
            if length < self.size or len(self.datagrams) == self.most:
                self.end()
            return True
        if length != self._size or self._turn != self._port.turn or not self._port.collects(self._way):
            return False
        self.begin(bytes(datagram))
        return True

    def end(self) -> None:
        """
        Have no more, and leave, if any waits.
        """
        if self.size > 0:
            self._port.release()

    def leave(self) -> None:
        """
        Be sent: called by the port alone.
        """
        size = self._size
        self.size = -1
        datagrams, self.datagrams = self.datagrams, []
        count = len(datagrams)
        isFull = count == self.most and len(datagrams[-1]) == size
        if isFull and self._headers:
            self._port.writePacket([self._headers, *datagrams], self._offload)
            return
        length = size * (count - 1) + len(datagrams[-1])
        header = udp.packOpenHeader(self._route.source, self._route.dest, *self._ports, length)
        offload = OPEN if count == 1 else _many(size)
        self._isFull = isFull
        self._ip.output(self._route, udp.PROTOCOL, [header, *datagrams], offload=offload)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        What is sent has its headers now.
        """
        if self._isFull:
            self._headers = b"".join(buffers[: -self.most])
            self._offload = offload
        self._port.writePacket(buffers, offload)
