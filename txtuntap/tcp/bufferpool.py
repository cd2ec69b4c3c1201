"""
The counts of octets that all connections of a layer have in receive buffers and in send buffers, with their bounds.
"""

from __future__ import annotations

from math import inf

from txtuntap.layer.bounded import Policy, TableState


class BufferPool:
    """
    A count of the octets that all connections of a layer keep, with a bound. Each layer has two pools.

    The pool of receive buffers counts data out of order, and data that applications have not read. A receiver looks at
    the pool before it keeps more data. A connection whose application reads at once does not need the pool, and
    continues while the pool is full. Data out of order may fill only half of the pool, because the peer decides how
    much data is out of order.

    The pool of send buffers counts data that was taken from applications, until the peer acknowledges it. The pools are
    separate, so that peers that never acknowledge neither close windows nor prevent new connections.

    @ivar name: the name of the pool in C{tables()}.
    @ivar bound: the most octets.
    @ivar outOfOrderBound: the count of octets from which on no more data out of order is kept.
    @ivar used: the octets that are kept now.
    @ivar isFull: whether no more octets may be kept.
    @ivar dropped: the number of segments that were dropped because of the bounds.
    """

    __slots__ = ("bound", "dropped", "isFull", "name", "outOfOrderBound", "used")

    def __init__(self, name: str, bound: float) -> None:
        self.name = name
        self.bound = bound
        self.outOfOrderBound = bound / 2
        self.used = 0
        self.isFull = bound <= 0
        self.dropped = 0

    def changed(self, octets: int) -> None:
        """
        Add to the count of octets.

        @param octets: the difference, which is negative if a connection keeps less than before.
        """
        self.used += octets
        self.isFull = self.used >= self.bound

    @property
    def state(self) -> TableState:
        """
        The fill level of the pool, as C{tables()} returns it.
        """
        return TableState(self.name, self.used, int(self.bound), Policy.REFUSE.value, "octets")


#: The pool of a connection without a layer, which has no bound.
UNBOUNDED = BufferPool("buffers", inf)
