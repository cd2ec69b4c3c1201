"""
The framings of QEMU's network backends (QEMU's documentation, "Invocation", network options). Over a stream (C{-netdev
stream}, and C{-netdev socket} with C{listen=} or C{connect=}), the length of each Ethernet frame precedes the frame::

    +-------------------------------+--------------------------
    |           Length (4)          |  Ethernet frame
    +-------------------------------+--------------------------

The length counts octets and is in network byte order. Over datagrams (C{-netdev dgram} and C{-netdev socket,udp=}),
each datagram is one Ethernet frame.
"""

from __future__ import annotations

import struct

from txtuntap.device import TAP
from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.delimited import Delimited
from txtuntap.tunnel.framing import MAX_PACKET, FramingError
from txtuntap.wire.offload import Offload

LENGTH = struct.Struct("!I")


class QEMUStream(Delimited):
    """
    The framing of QEMU over a stream, in which a length precedes each Ethernet frame.
    """

    prefix = LENGTH.size

    def __init__(self, mode: int) -> None:
        """
        @param mode: C{TAP}.

        @raise ValueError: C{mode} is not C{TAP}.
        """
        super().__init__()
        _needTap(mode)

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        Return the length of a frame and the frame itself.
        """
        return [LENGTH.pack(len(packet)), packet]

    def needed(self, data: bytes, at: int) -> int:
        """
        Return how many octets the length field and its frame take: see L{Delimited.needed}. A length below that of an
        Ethernet header is accepted, because a guest may send such a frame. The tunnel drops it.
        """
        if len(data) - at < LENGTH.size:
            return LENGTH.size
        length: int = LENGTH.unpack_from(data, at)[0]
        if length > MAX_PACKET:
            raise FramingError("a length that no Ethernet frame has: the peer does not use QEMU's framing")
        return LENGTH.size + length


class QEMUDatagrams(Bare):
    """
    The framing of QEMU over datagrams: each datagram is one Ethernet frame.
    """

    def __init__(self, mode: int) -> None:
        """
        @param mode: C{TAP}.

        @raise ValueError: C{mode} is not C{TAP}.
        """
        super().__init__(mode)
        _needTap(mode)


def _needTap(mode: int) -> None:
    if mode != TAP:
        raise ValueError("QEMU's guests send Ethernet frames: use a tap")
