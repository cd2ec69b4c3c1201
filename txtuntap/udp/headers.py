"""
The headers of one datagram after another of the same flow: they differ in their lengths alone, and in the sums of
these.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import attrs

from txtuntap.wire import ipv4, ipv6, udp
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


class UDPHeaders:
    """
    All headers of the datagrams from one port to another, from the link's on, with the checksum left open. The layers
    below make them once, for an empty datagram.

    @ivar port: the transport that takes them.
    @ivar flow: as L{IBatches.collects<txtuntap.transports.IBatches.collects>} has it.
    @ivar before: how many octets there are before the UDP header.
    @ivar usable: whether they are the same for one datagram after another: not where routers may take these apart.
    """

    __slots__ = (
        "_first",
        "_ip",
        "_last",
        "_layout",
        "_length",
        "_middle",
        "_packed",
        "_pseudo",
        "_room",
        "_route",
        "_sum",
        "before",
        "flow",
        "port",
        "usable",
    )

    def __init__(self, ip: IIPTransport, port: IPacketTransport, route: Route, ports: tuple[int, int]) -> None:
        """
        @param port: that of C{route}, one that leaves checksums to others.
        @param ports: of UDP: where the datagrams come from and go to.
        """
        header = udp.packOpenHeader(route.source, route.dest, *ports, 0)
        made = _Made()
        ip.output(attrs.evolve(route, port=cast("IPacketTransport", made)), udp.PROTOCOL, [header], offload=OPEN)
        data = made.data
        self.port = port
        self.flow = route.source + route.dest + header[:4]
        self._ip = ip
        self._route = route
        self._room = ip.room(route)
        self.before = before = len(data) - udp.HEADER_LENGTH
        # The place of IP's length field, and, for IPv4, the sum of the header without that length.
        if len(route.dest) == 4:
            at = before - ipv4.HEADER_LENGTH + 2
            network = data[at - 2 : at] + data[at + 2 : at + 8] + data[at + 10 : before]
            self._sum = onesSum(network) + ipv4.HEADER_LENGTH + udp.HEADER_LENGTH
            # A datagram that may be taken apart has an identification of its own.
            self.usable = bool(data[at + 4] & 0x40)
        else:
            self.usable = True
            at = before - ipv6.HEADER_LENGTH + 4
            self._sum = -1
        self._first = data[:at]
        self._middle = data[at + 2 : at + 8] if self._sum >= 0 else data[at + 2 : before + 4]
        self._last = data[at + 10 : before + 4]
        self._pseudo = onesSum(route.source + route.dest) + udp.PROTOCOL + udp.HEADER_LENGTH
        # The headers of the latest length are kept, since the next one is often the same.
        self._length, self._packed = -1, b""
        self._layout = struct.Struct(
            f"!{at}sH6sH{len(self._last)}sHH" if self._sum >= 0 else f"!{at}sH{len(self._middle)}sHH"
        )

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
        if length == self._length:
            return self._packed
        self._length = length
        self._packed = self._pack(length)
        return self._packed

    def _pack(self, length: int) -> bytes:
        udpLength = length + udp.HEADER_LENGTH
        pseudo = (self._pseudo + length) % 0xFFFF
        if self._sum >= 0:
            return self._layout.pack(
                self._first,
                udpLength + ipv4.HEADER_LENGTH,
                self._middle,
                -(self._sum + length) % 0xFFFF,
                self._last,
                udpLength,
                pseudo,
            )
        return self._layout.pack(self._first, udpLength, self._middle, udpLength, pseudo)


class _Made:
    """
    Stands in for a port, and keeps what is written to it.
    """

    data = b""

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self.data = b"".join(buffers)
