"""
The small record of a connection in TIME-WAIT: both sides have closed it, and a segment of it may still be under way.
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

#: Seconds of TIME-WAIT (TCP_TIMEWAIT_LEN).
TIME_WAIT = 60.0


class TimeWait:
    """
    A connection that both sides have closed, until no segment of it can be under way any more.

    @ivar path: the path to the peer.
    @ivar next: the sequence number expected next; C{sent}: that of our next octet.
    @ivar window: the window that was advertised last, in octets; C{scale}: its scale.
    @ivar recent: the peer's latest timestamp; L{None}: there are no timestamps.
    @ivar until: when it is over, in seconds.
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
        Take a segment (RFC 9293 section 3.10.7.4, RFC 6191; RFC 1337: a reset ends nothing).

        @param sequence: its sequence number.
        @param word: the 16 bits that have its data offset and its flags.

        @return: whether it is the SYN of a new connection: then this one is to be forgotten.
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
        Tell the peer where we are.
        """
        path = self.path
        path.now = now
        options = b""
        if self.recent is not None:
            options = wire.packTimestamps(timestampAt(now, self.offset), self.recent)
        path.transmit(self.sent, self.next, ACK, self.window >> self.scale, options, (), 0, 0, False)
