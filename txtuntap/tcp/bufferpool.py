"""
The octets that all connections of a layer keep, and their bound.
"""

from __future__ import annotations

from math import inf

from txtuntap.layer.bounded import Policy, TableState


class BufferPool:
    """
    A count of the octets that connections keep for applications that do not read, and out of order.

    A receiver asks it before it keeps more. Connections whose applications read at once need none of it, so they go on
    while it is full. Data out of order gets half of it only, because a peer can have as much of that as it likes.

    @ivar bound: the most octets; C{lateBound}: those from which on nothing more is kept out of order.
    @ivar used: the octets that are kept now.
    @ivar isFull: whether nothing more may be kept.
    @ivar dropped: segments that were not taken for want of room.
    """

    __slots__ = ("bound", "dropped", "isFull", "lateBound", "used")

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.lateBound = bound / 2
        self.used = 0
        self.isFull = bound <= 0
        self.dropped = 0

    def changed(self, octets: int) -> None:
        """
        A connection keeps more than before, or less.

        @param octets: below 0 for less.
        """
        self.used += octets
        self.isFull = self.used >= self.bound

    @property
    def state(self) -> TableState:
        """
        How full the pool is, as C{tables()} tells it.
        """
        return TableState("buffers", self.used, int(self.bound), Policy.REFUSE.value, "octets")


#: The pool of a connection that belongs to no layer.
UNBOUNDED = BufferPool(inf)
