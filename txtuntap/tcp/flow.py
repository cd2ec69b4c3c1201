"""
Flows of TCP: the ordinary segments of one open connection, as the fast path receives them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from txtuntap.layer.fastpath import Known
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import fault
from txtuntap.wire.tcp import ACK, CHECKSUM_OFFSET, FIN, HEADER_LENGTH, PROTOCOL, RST, SYN

if TYPE_CHECKING:
    from txtuntap.layer.counters import SegmentCounters
    from txtuntap.tcp.transport import TCPTransport
    from txtuntap.wire.offload import Offload

#: The flags that tell what a segment is for.
_KINDS = SYN | ACK | FIN | RST

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


class SYNRefuser(Known):
    """
    The receiver of segments of unknown flows during a flood of SYNs. It refuses those SYNs that the layers would refuse
    without an answer, and leaves all other segments to the layers.
    """

    __slots__ = ("_addresses", "_counters", "_refuses", "_verify")

    protocol = PROTOCOL
    isForAll = True

    def __init__(
        self,
        refuses: Callable[[bytes, int, float], bool],
        counters: SegmentCounters,
        isVersion4: bool,
        verifyChecksum: bool,
    ) -> None:
        """
        @param refuses: decides about a SYN by the key of its flow, its sequence number, and the time in seconds.
        @param counters: the counters of the TCP layer.
        @param isVersion4: whether the segments are in IPv4 packets, and not in those of IPv6.
        @param verifyChecksum: whether the checksums of segments are verified.
        """
        self.port = self.ethernet = self.link = None
        # The length of both addresses, which precede the segment.
        self._addresses = 8 if isVersion4 else 32
        self._refuses = refuses
        self._counters = counters
        self._verify = verifyChecksum

    def received(
        self, data: bytes, start: int, end: int, third: int, fourth: int, offload: Offload | None, now: float
    ) -> bool:
        """
        Refuse a SYN: see L{Known.received<txtuntap.layer.fastpath.Known.received>}.
        """
        if offload is not None or end - start < HEADER_LENGTH:
            return False
        sequence, _, word, _ = _segment(data, start + 4)
        if word & _KINDS != SYN or not HEADER_LENGTH <= word >> 12 << 2 <= end - start:
            return False
        first = start - self._addresses
        if self._verify and (onesSum(data[first:end]) + PROTOCOL + end - start) % 0xFFFF:
            return False
        if not self._refuses(data[first : start + 4], sequence, now):
            return False
        self._counters.inSegs += 1
        self._counters["backlogOverflows"] += 1
        return True
