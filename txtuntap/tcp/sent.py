"""
A range of positions that a connection has sent.
"""

from __future__ import annotations


class Sent:
    """
    A range of positions that was sent at once.

    @ivar start: the first position; C{end}: that behind the last.
    @ivar size: octets in one segment.
    @ivar at: when it was sent last, in seconds.
    @ivar order: how many were sent before, since several may be sent at one time.
    @ivar times: how often it was sent.
    @ivar arrived: whether the peer has it, as it says out of order.
    @ivar lost: whether it is taken for lost, and has not been sent again since.
    """

    __slots__ = ("arrived", "at", "end", "lost", "order", "size", "start", "times")

    def __init__(self, start: int, end: int, size: int, at: float, order: int) -> None:
        self.start = start
        self.end = end
        self.size = size
        self.at = at
        self.order = order
        self.times = 1
        self.arrived = False
        self.lost = False

    def __repr__(self) -> str:
        state = " arrived" * self.arrived + " lost" * self.lost
        return f"<Sent {self.start}:{self.end} x{self.times}{state}>"

    def split(self, position: int) -> Sent:
        """
        Cut this record at a position.

        @return: the part from there on.
        """
        other = Sent(position, self.end, self.size, self.at, self.order)
        other.times, other.arrived, other.lost = self.times, self.arrived, self.lost
        self.end = position
        return other
