"""
The headers of one packet after another of the same flow: they differ in a few fields alone, and in the sums of these.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import attrs

from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import Offload

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport, IPacketTransport
    from txtuntap.transports import Route

#: The octets of both ports.
_PORTS = 4


@lru_cache(64)
def _layout(fields: str) -> Callable[..., bytes]:
    """
    The function that packs these fields, which all flows of a kind share.
    """
    return struct.Struct(fields).pack


class FlowHeaders:
    """
    All headers of the packets from one port to another, from the link's on, with the checksum of UDP or TCP left open.
    The layers below make them once, for an empty packet. A subclass packs the fields that differ: the length, the
    checksum of IPv4, and those after the ports. (Methods of this class for that would cost each packet a call.)

    @ivar port: the transport that takes them.
    @ivar before: how many octets there are before the header of UDP or TCP.
    @ivar usable: whether they are the same for one packet after another: not where routers may take these apart.
    """

    __slots__ = ("_first", "_last", "_middle", "_pack", "_sum", "before", "port", "usable")

    def __init__(
        self,
        ip: IIPTransport,
        port: IPacketTransport,
        route: Route,
        protocol: int,
        header: bytes,
        offload: Offload,
        fields: str,
    ) -> None:
        """
        @param port: that of C{route}, one that leaves checksums to others.
        @param header: that of UDP or TCP, before no payload.
        @param offload: what is open in it.
        @param fields: the fields that come after the ports, as in C{struct}.
        """
        made = _Made()
        ip.output(attrs.evolve(route, port=cast("IPacketTransport", made)), protocol, [header], offload=offload)
        data = made.data
        self.port = port
        self.before = before = len(data) - len(header)
        # The place of IP's length field, and, for IPv4, the sum of the header without that length.
        if len(route.dest) == 4:
            at = before - ipv4.HEADER_LENGTH + 2
            self._sum = onesSum(data[at - 2 : at] + data[at + 2 : at + 8] + data[at + 10 : before])
            # A packet that may be taken apart has an identification of its own.
            self.usable = bool(data[at + 4] & 0x40)
        else:
            self.usable = True
            at = before - ipv6.HEADER_LENGTH + 4
            self._sum = -1
        end = before + _PORTS
        self._first = data[:at]
        self._middle = data[at + 2 : at + 8] if self._sum >= 0 else data[at + 2 : end]
        self._last = data[at + 10 : end]
        self._pack = _layout(
            f"!{at}sH6sH{len(self._last)}s{fields}" if self._sum >= 0 else f"!{at}sH{len(self._middle)}s{fields}"
        )


class _Made:
    """
    Stands in for a port, and keeps what is written to it.
    """

    data = b""

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self.data = b"".join(buffers)
