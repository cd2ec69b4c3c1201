"""
The framings of QEMU's network backends (QEMU's "Invocation", network options). Over a stream, C{-netdev stream} and
C{-netdev socket,listen=} or C{connect=}, before each Ethernet frame stands its length.

    +-------------------------------+--------------------------
    |           Length (4)          |  Ethernet frame
    +-------------------------------+--------------------------   in network byte order

Over datagrams, C{-netdev dgram} and C{-netdev socket,udp=}, a frame is all there is in each.
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
    Frames with their length before them.
    """

    prefix = LENGTH.size

    def __init__(self, mode: int) -> None:
        """
        @raise ValueError: C{mode} is not L{TAP<txtuntap.device.TAP>}.
        """
        super().__init__()
        _needTap(mode)

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        The length and the frame.
        """
        return [LENGTH.pack(len(packet)), packet]

    def needed(self, data: bytes, at: int) -> int:
        """
        See L{Delimited.needed}. A guest may send a frame that is too short, even empty: what becomes of that is for
        others to say.
        """
        if len(data) - at < LENGTH.size:
            return LENGTH.size
        length: int = LENGTH.unpack_from(data, at)[0]
        if length > MAX_PACKET:
            raise FramingError("a frame longer than any: this is not how QEMU speaks")
        return LENGTH.size + length


class QEMUDatagrams(Bare):
    """
    Frames, one in each datagram.
    """

    def __init__(self, mode: int) -> None:
        """
        @raise ValueError: C{mode} is not L{TAP<txtuntap.device.TAP>}.
        """
        super().__init__(mode)
        _needTap(mode)


def _needTap(mode: int) -> None:
    if mode != TAP:
        raise ValueError("QEMU's guests have Ethernet: use a tap")
