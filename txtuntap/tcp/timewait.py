"""
The small record of a connection in TIME-WAIT: both sides have closed it, but the network may still deliver its
segments.

Read RFC 9293 section 3.10.7.4 first, then RFC 6191 and RFC 1337.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from txtuntap.tcp.handshake import timestampAt
from txtuntap.tcp.limits import CHALLENGE_PAUSE
from txtuntap.tcp.sequence import difference
from txtuntap.wire import tcp as wire
from txtuntap.wire.tcp import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from txtuntap.packet import Packet
    from txtuntap.tcp.path import Path

#: The duration of TIME-WAIT, in seconds (TCP_TIMEWAIT_LEN).
TIME_WAIT = 60.0


class TimeWait:
    """
    A connection in TIME-WAIT. It is kept until the network cannot deliver its segments any more.

    @ivar path: the path to the peer.
    @ivar next: the next expected sequence number (RCV.NXT).
    @ivar sent: the sequence number behind our FIN (SND.NXT).
    @ivar window: the window that was advertised last, in octets.
    @ivar scale: the scale of our windows.
    @ivar recent: the latest timestamp of the peer. C{None}: the connection has no timestamps.
    @ivar offset: the offset of the clock in our timestamps.
    @ivar until: when TIME-WAIT is over, in seconds.
    @ivar challengedAt: when a segment was answered last, in seconds.
    """

    __slots__ = ("challengedAt", "next", "offset", "path", "recent", "scale", "sent", "until", "window")

    def __init__(
        self, path: Path, next: int, sent: int, window: int, scale: int, recent: int | None, offset: int, now: float
    ) -> None:
        self.path = path
        self.next = next
        self.sent = sent
        self.window = window
        self.scale = scale
        self.recent = recent
        self.offset = offset
        self.until = now + TIME_WAIT
        self.challengedAt = float("-inf")

    def received(self, packet: Packet, sequence: int, word: int, now: float) -> bool:
        """
        Process a segment (RFC 9293 section 3.10.7.4, RFC 6191). A reset does not end TIME-WAIT (RFC 1337).

        @param sequence: the sequence number of the segment.
        @param word: the 16 bits of the header with the data offset and the flags.

        @return: whether the segment is a SYN that opens a new connection. If so, the caller removes this record.
        """
        start = packet.start
        header = word >> 12 << 2
        flags = word & 0xFF
        options = wire.parseOptions(packet.data, start + wire.HEADER_LENGTH, start + header)
        length = packet.end - start - header
        if flags & RST:
            return False
        ahead = difference(sequence, self.next)
        hasTimes = self.recent is not None and options.timestamp is not None
        age = difference(self.recent or 0, options.timestamp or 0) if hasTimes else 0
        if flags & (SYN | ACK) == SYN and age <= 0 and (ahead > 0 or age < 0):
            return True
        if not length and not flags & (SYN | FIN) and ahead == 0 and age <= 0:
            return False
        if flags & FIN:
            self.until = now + TIME_WAIT
        if length or not 0 <= now - self.challengedAt < CHALLENGE_PAUSE:
            self.challengedAt = now
            self._acknowledge(now)
        else:
            self.path.counters["outLimited"] += 1
        return False

    def _acknowledge(self, now: float) -> None:
        """
        Send an acknowledgment with the final sequence numbers of this connection.
        """
        path = self.path
        path.now = now
        options = b""
        if self.recent is not None:
            options = wire.packTimestamps(timestampAt(now, self.offset), self.recent)
        path.transmit(self.sent, self.next, ACK, self.window >> self.scale, options, (), 0, 0, False)
