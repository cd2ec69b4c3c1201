"""
The record of a range of positions that a connection has sent.
"""

from __future__ import annotations


class Sent:
    """
    A range of positions that was sent by one write.

    @ivar start: the first position.
    @ivar end: the position behind the last.
    @ivar size: the octets of data in one segment of the write.
    @ivar at: when the range was sent last, in seconds.
    @ivar order: the number of the last write of this range. It orders writes that have the same time.
    @ivar times: how often the range was sent.
    @ivar sacked: whether the peer has SACKed the range.
    @ivar lost: whether the range is marked lost, and not retransmitted since.
    """

    __slots__ = ("at", "end", "lost", "order", "sacked", "size", "start", "times")

    def __init__(self, start: int, end: int, size: int, at: float, order: int) -> None:
        self.start = start
        self.end = end
        self.size = size
        self.at = at
        self.order = order
        self.times = 1
        self.sacked = False
        self.lost = False

    def __repr__(self) -> str:
        state = " sacked" * self.sacked + " lost" * self.lost
        return f"<Sent {self.start}:{self.end} x{self.times}{state}>"

    def split(self, position: int) -> Sent:
        """
        Split this record at a position. Return the part from that position on.
        """
        other = Sent(position, self.end, self.size, self.at, self.order)
        other.times, other.sacked, other.lost = self.times, self.sacked, self.lost
        self.end = position
        return other
