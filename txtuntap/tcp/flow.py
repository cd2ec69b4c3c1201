"""
Flows of TCP: the ordinary segments of one open connection, as the fast path receives them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from txtuntap.layer.fastpath import LINK_LENGTH, Known
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.ethernet import IPV4, IPV6
from txtuntap.wire.offload import fault
from txtuntap.wire.tcp import ACK, CHECKSUM_OFFSET, FIN, HEADER_LENGTH, PROTOCOL, RST, SYN

if TYPE_CHECKING:
    from txtuntap.interfaces import IEthernetTransport
    from txtuntap.layer.bounded import Table
    from txtuntap.layer.counters import SegmentCounters
    from txtuntap.tcp.cookiebudget import CookieBudget
    from txtuntap.tcp.halfopen import HalfOpen
    from txtuntap.tcp.ports import TCPPort
    from txtuntap.tcp.transport import TCPTransport
    from txtuntap.wire.offload import Offload

#: The flags that tell what a segment is for.
_KINDS = SYN | ACK | FIN | RST

#: The sequence number, the acknowledgment number, the data offset with the flags, and the window of a segment.
_segment = struct.Struct("!IIHH").unpack_from

#: The offset of the flags in a segment.
_FLAGS_OFFSET = 13

#: The EtherType of each IP version, packed.
_ETHER_TYPES = {4: IPV4.to_bytes(2, "big"), 6: IPV6.to_bytes(2, "big")}

_number = int.from_bytes


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


class SYNRefuser:
    """
    The receiver of segments of unknown flows during a flood of SYNs. It refuses those SYNs that the layers would refuse
    without an answer, and leaves all other segments to the layers.

    A refused SYN is not verified, because nothing depends on its checksums or its source address. So a wrong SYN is
    counted as a refused one.
    """

    __slots__ = (
        *("_budget", "_connections", "_counters", "_etherType", "_find", "_halfOpen"),
        *("_link", "_port", "_size", "_target", "_timeWait"),
    )

    def __init__(
        self,
        find: Callable[[bytes, int], TCPPort | None],
        budget: CookieBudget,
        connections: Mapping[bytes, object],
        halfOpen: Table[bytes, HalfOpen],
        timeWait: Mapping[bytes, object],
        counters: SegmentCounters,
        version: int,
    ) -> None:
        """
        @param find: finds the listening port for a local address and a port number. C{None}: the layers have to do
            that.
        @param budget: decides which SYNs beyond the backlog are refused.
        @param connections: the layer's tables of connections, as for C{halfOpen} and C{timeWait}.
        @param counters: the counters of the TCP layer.
        @param version: the IP version of the segments.
        """
        self._etherType = _ETHER_TYPES[version]
        # The Ethernet header of the last frame that was for us. The next one often has the same.
        self._link = b""
        self._find = find
        self._budget = budget
        self._connections = connections
        self._halfOpen = halfOpen
        self._timeWait = timeWait
        self._counters = counters
        self._size = 4 if version == 4 else 16
        # The listening port of the last SYN, and its address and port number, packed. A flood often has one target.
        self._port: TCPPort | None = None
        self._target = b""

    def refuses(
        self,
        data: bytes,
        network: int,
        start: int,
        end: int,
        key: bytes,
        sequence: int,
        offload: Offload | None,
        now: float,
        ethernet: IEthernetTransport | None,
    ) -> bool:
        """
        Refuse a SYN: see C{txtuntap.layer.fastpath.Refuser}.
        """
        if (
            end > len(data)
            or end - start < HEADER_LENGTH
            or data[start + _FLAGS_OFFSET] & _KINDS != SYN
            or (offload is not None and offload.isSuperpacket)
            or (
                ethernet is not None
                and data[network - LINK_LENGTH : network] != self._link
                and not self._isForUs(data, network, ethernet)
            )
        ):
            return False
        size = self._size
        target = key[size : 2 * size] + key[-2:]
        port = self._port
        if port is None or target != self._target:
            port = self._find(target[:-2], _number(target[-2:], "big"))
            if port is None:
                return False
            self._target, self._port = target, port
        if (
            (port.halfOpen < port.backlog and not self._halfOpen.isFull)
            or key in self._connections
            or key in self._halfOpen
            or key in self._timeWait
            or not self._budget.refuses(key, sequence, now)
        ):
            return False
        counters = self._counters
        counters.inSegs += 1
        counters["backlogOverflows"] += 1
        return True

    def _isForUs(self, data: bytes, start: int, ethernet: IEthernetTransport) -> bool:
        """
        Whether the frame of an IP packet has our link address, and the EtherType of its version.

        @param start: the position of the IP header.
        """
        link = data[start - LINK_LENGTH : start]
        if link[:6] != ethernet.linkAddress or link[12:] != self._etherType:
            return False
        self._link = link
        return True
