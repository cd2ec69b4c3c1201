"""
Flows of TCP: the ordinary segments of one open connection, as the fast path receives them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from txtuntap.layer.fastpath import Known
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import fault
from txtuntap.wire.tcp import CHECKSUM_OFFSET, HEADER_LENGTH, PROTOCOL

if TYPE_CHECKING:
    from txtuntap.layer.counters import SegmentCounters
    from txtuntap.tcp.transport import TCPTransport
    from txtuntap.wire.offload import Offload

#: The sequence number, the acknowledgment number, the data offset with the flags, and the window of a segment.
_segment = struct.Struct("!IIHH").unpack_from


class SegmentFlow(Known):
    """
    The segments of one connection.
    """

    __slots__ = ("_before", "_counters", "_transport", "_verify")

    protocol = PROTOCOL

    def __init__(
        self, transport: TCPTransport, counters: SegmentCounters, isVersion4: bool, verifyChecksum: bool
    ) -> None:
        """
        @param transport: the transport of the connection.
        @param counters: the counters of the TCP layer.
        @param isVersion4: whether the segments are in IPv4 packets, and not in those of IPv6.
        @param verifyChecksum: whether the checksums of segments are verified.
        """
        self._transport = transport
        self._counters = counters
        # The length of the IP header.
        self._before = 20 if isVersion4 else 40
        self._verify = verifyChecksum

    def received(
        self, data: bytes, start: int, end: int, third: int, fourth: int, offload: Offload | None, now: float
    ) -> bool:
        """
        Receive an ordinary packet of this flow: see L{Known.received<txtuntap.layer.fastpath.Known.received>}.
        """
        if end - start < HEADER_LENGTH:
            return False
        sequence, acknowledgment, word, window = _segment(data, start + 4)
        if not HEADER_LENGTH <= word >> 12 << 2 <= end - start:
            return False
        if offload is None or not offload.isVouched:
            first = start - (8 if self._before == 20 else 32)
            if self._verify and (onesSum(data[first:end]) + PROTOCOL + end - start) % 0xFFFF:
                return False
        elif offload.isOpen and (offload.checksumStart != start or offload.checksumOffset != CHECKSUM_OFFSET):
            return False
        if offload is not None and offload.isSuperpacket and fault(data, offload, start - self._before) is not None:
            return False
        self._counters.inSegs += 1
        # The ECN field is in the two lowest bits of the Traffic Class.
        isMarked = data[start - 19] & 3 == 3 if self._before == 20 else data[start - 39] & 0x30 == 0x30
        self._transport.segmentReceived(
            data, start, end, sequence, acknowledgment, word, window, isMarked, now, self.port
        )
        return True
