"""
Datagrams on their way down that leave together: as one superpacket, in one system call.

What is written to one destination while a port reads, or within its C{batch}, waits for more of its kind: a I{train}.
There is one at a time. It leaves when it is full, when a shorter datagram ends it, before anything else is written, and
at the latest at the end of the turn of the reactor. So the order is that of writing, and no more is held than one IP
datagram can carry.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from txtuntap.wire import udp
from txtuntap.wire.offload import MAX_DATAGRAMS, NEEDS_CHECKSUM, NONE, UDP, Offload

if TYPE_CHECKING:
    from txtuntap.interfaces import IBatchTransport, IIPTransport
    from txtuntap.routing import Route
    from txtuntap.udptransport import UDPTransport

#: Where in the header the checksum stands.
_CHECKSUM_OFFSET = 6

#: Of one datagram whose checksum is left open.
OPEN = Offload(NEEDS_CHECKSUM, NONE, udp.HEADER_LENGTH, 0, 0, _CHECKSUM_OFFSET)


@lru_cache(256)
def _many(size: int) -> Offload:
    return Offload(NEEDS_CHECKSUM, UDP, udp.HEADER_LENGTH, size, 0, _CHECKSUM_OFFSET)


class Train:
    """
    Datagrams of one size from one port to another.

    @ivar addr: what the application wrote them to.
    @ivar size: octets in each of them.
    @ivar room: how many more there may be.
    @ivar datagrams: their payloads.
    """

    __slots__ = ("_ip", "_port", "_ports", "_route", "_transport", "addr", "datagrams", "room", "size")

    def __init__(
        self,
        transport: UDPTransport,
        ip: IIPTransport,
        port: IBatchTransport,
        route: Route,
        ports: tuple[int, int],
        addr: Any,
        first: bytes,
    ) -> None:
        """
        @param port: which it waits on.
        @param ports: of UDP: where it comes from and goes to.
        """
        self.addr = addr
        self.size = len(first)
        self.room = min(MAX_DATAGRAMS, udp.MAX_PAYLOAD[len(route.dest)] // self.size) - 1
        self.datagrams = [first]
        self._transport = transport
        self._ip = ip
        self._port = port
        self._route = route
        self._ports = ports

    def add(self, datagram: bytes) -> bool:
        """
        Have one more, if it is of the kind.
        """
        size = len(datagram)
        if not self.room or not 0 < size <= self.size:
            return False
        self.datagrams.append(bytes(datagram))
        self.room -= 1
        if size < self.size or not self.room:
            self.end()
        return True

    def end(self) -> None:
        """
        Have no more, and leave.
        """
        self._port.release()

    def leave(self) -> None:
        """
        Be sent. What waits on a port is told so by the port alone.
        """
        self._transport.train = None
        datagrams = self.datagrams
        payload = b"".join(datagrams)
        offload = OPEN if len(datagrams) == 1 else _many(self.size)
        header = udp.packOpenHeader(self._route.source, self._route.dest, *self._ports, len(payload))
        self._ip.output(self._route, udp.PROTOCOL, [header, payload], offload=offload)
