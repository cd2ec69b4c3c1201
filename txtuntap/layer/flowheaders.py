"""
Templates of the headers of a flow. Successive packets of a flow differ only in a few fields and in their checksums.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import attrs

from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import Offload

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport, IPacketTransport
    from txtuntap.transports import Route

#: The length of the two port fields of UDP and TCP, in octets.
_PORTS = 4


@lru_cache(64)
def _layout(fields: str) -> Callable[..., bytes]:
    """
    Return the function that packs these fields. Flows with the same layout share one function.
    """
    return struct.Struct(fields).pack


def recordHeaders(ip: IIPTransport, route: Route, protocol: int, buffers: Sequence[bytes], **options: Any) -> bytes:
    """
    Have the layers below write the headers of a packet, and return the packet instead of sending it.

    @param buffers: the payload of the packet.
    @param options: more arguments of C{ip.output}.
    """
    recorder = _Recorder()
    ip.output(attrs.evolve(route, port=cast("IPacketTransport", recorder)), protocol, buffers, **options)
    return recorder.data


class FlowHeaders:
    """
    A template of all headers of one flow, from the link header to the header of UDP or TCP, whose checksum is left
    open. The layers below write the headers once, for an empty packet.

    A subclass packs the fields that differ between packets: the length, the checksum of IPv4, and the fields behind the
    ports. Methods of this class for packing would cost each packet a call.

    @ivar port: the transport that sends the packets.
    @ivar before: the number of octets before the header of UDP or TCP.
    @ivar usable: whether the template fits all packets of the flow. The template does not fit if routers may fragment
        the packets, because each packet then needs its own identification.
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
        trafficClass: int = 0,
    ) -> None:
        """
        @param port: the port of C{route}. It has to accept packets with open checksums.
        @param header: the header of UDP or TCP of an empty packet.
        @param offload: the position of the open checksum in C{header}.
        @param fields: the format of the fields behind the ports, as in C{struct}.
        @param trafficClass: the Traffic Class octet of the packets.
        """
        data = recordHeaders(ip, route, protocol, [header], offload=offload, trafficClass=trafficClass)
        self.port = port
        self.before = before = len(data) - len(header)
        # "at" is the position of IP's length field. For IPv4, _sum is the header's sum without length and checksum; for
        # IPv6, whose header has no checksum, _sum is -1.
        if len(route.dest) == 4:
            at = before - ipv4.HEADER_LENGTH + 2
            self._sum = onesSum(data[at - 2 : at] + data[at + 2 : at + 8] + data[at + 10 : before])
            # Without Don't Fragment (0x40), each packet needs its own identification.
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


class _Recorder:
    """
    A substitute for a port, which keeps the packet that is written to it.
    """

    data = b""

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self.data = b"".join(buffers)
