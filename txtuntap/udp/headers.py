"""
The headers of one datagram after another of the same flow: they differ in their lengths alone, and in the sums of
these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from txtuntap.layer.flowheaders import FlowHeaders
from txtuntap.wire import ipv4, udp
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import NEEDS_CHECKSUM, NONE, UDP, Offload

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport, IPacketTransport
    from txtuntap.transports import Route

#: The offload of one datagram whose checksum is left open.
OPEN = Offload(NEEDS_CHECKSUM, NONE, udp.HEADER_LENGTH, 0, 0, udp.CHECKSUM_OFFSET)


@lru_cache(1024)
def openBehind(before: int, size: int = 0) -> Offload:
    """
    The offload of a packet with C{before} octets before the UDP header: the checksum is open, and so is the cutting
    into datagrams of C{size} octets, unless that is 0.
    """
    kind = UDP if size else NONE
    return Offload(NEEDS_CHECKSUM, kind, before + udp.HEADER_LENGTH, size, before, udp.CHECKSUM_OFFSET)


class UDPHeaders(FlowHeaders):
    """
    The headers of the datagrams from one port to another.

    @ivar flow: as L{IBatches.collects<txtuntap.transports.IBatches.collects>} has it.
    """

    __slots__ = ("_ip", "_length", "_packed", "_pseudo", "_room", "_route", "flow")

    def __init__(self, ip: IIPTransport, port: IPacketTransport, route: Route, ports: tuple[int, int]) -> None:
        """
        @param port: that of C{route}, one that leaves checksums to others.
        @param ports: of UDP: where the datagrams come from and go to.
        """
        header = udp.packOpenHeader(route.source, route.dest, *ports, 0)
        super().__init__(ip, port, route, udp.PROTOCOL, header, OPEN, "HH")
        self.flow = route.source + route.dest + header[:4]
        self._ip = ip
        self._route = route
        self._room = ip.room(route)
        self._pseudo = onesSum(route.source + route.dest) + udp.PROTOCOL
        # The headers of the latest length are kept, since the next one is often the same.
        self._length, self._packed = -1, b""

    def fit(self, length: int) -> bool:
        """
        Whether they are still what they were, and a datagram with so many octets needs no others.
        """
        room = self._ip.room(self._route)
        if room != self._room or length + udp.HEADER_LENGTH > room:
            return False
        return self.usable and self._ip.port(self._route) is self.port

    def pack(self, length: int) -> bytes:
        """
        Make the headers for a payload of C{length} octets.
        """
        if length != self._length:
            self._length = length
            length += udp.HEADER_LENGTH
            check = (self._pseudo + length) % 0xFFFF
            if self._sum < 0:
                self._packed = self._pack(self._first, length, self._middle, length, check)
            else:
                total = length + ipv4.HEADER_LENGTH
                sums = -(self._sum + total) % 0xFFFF
                self._packed = self._pack(self._first, total, self._middle, sums, self._last, length, check)
        return self._packed
