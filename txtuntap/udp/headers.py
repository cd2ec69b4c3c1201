"""
Prepared headers for the datagrams of one flow. The headers of two datagrams differ only in the length fields and in the
checksums, so only these fields are computed for each datagram.
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

#: The offload of one datagram whose UDP checksum is left to the device. Positions count from the UDP header.
OPEN = Offload(NEEDS_CHECKSUM, NONE, udp.HEADER_LENGTH, 0, 0, udp.CHECKSUM_OFFSET)


@lru_cache(1024)
def openBehind(before: int, size: int = 0) -> Offload:
    """
    Return the offload of a packet whose UDP checksum, and segmentation if it is a superpacket, are left to the device.

    @param before: the number of octets before the UDP header.
    @param size: the octets of payload in each datagram of a superpacket; 0 if the packet is one datagram.
    """
    kind = UDP if size else NONE
    return Offload(NEEDS_CHECKSUM, kind, before + udp.HEADER_LENGTH, size, before, udp.CHECKSUM_OFFSET)


class UDPHeaders(FlowHeaders):
    """
    The prepared headers of the datagrams of one flow, from the link header to the UDP header.
    """

    __slots__ = ("_ip", "_length", "_packed", "_pseudo", "_room", "_route")

    def __init__(
        self, ip: IIPTransport, port: IPacketTransport, route: Route, ports: tuple[int, int], trafficClass: int = 0
    ) -> None:
        """
        @param ip: the IP layer that sends the datagrams.
        @param port: the port of C{route}. Its device must be able to compute checksums.
        @param route: the route of the datagrams.
        @param ports: the UDP source port and destination port.
        @param trafficClass: the Traffic Class octet of the datagrams.
        """
        header = udp.packOpenHeader(route.source, route.dest, *ports, 0)
        super().__init__(ip, port, route, udp.PROTOCOL, header, OPEN, "HH", trafficClass)
        self._ip = ip
        self._route = route
        self._room = ip.room(route)
        self._pseudo = onesSum(route.source + route.dest) + udp.PROTOCOL
        # The headers of the last datagram are kept, because the next one often has the same length.
        self._length, self._packed = -1, b""

    def fit(self, length: int) -> bool:
        """
        Whether these headers are still right, and a datagram fits into one packet with them.

        @param length: the length of the payload in octets.
        """
        room = self._ip.room(self._route)
        if room != self._room or length + udp.HEADER_LENGTH > room:
            return False
        return self.usable and self._ip.port(self._route) is self.port

    def pack(self, length: int) -> bytes:
        """
        Return the headers for a payload of C{length} octets.
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
