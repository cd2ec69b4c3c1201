"""
The octets that all connections of a layer keep, and their bound: those received, and those to be acknowledged.
"""

from __future__ import annotations

from math import inf

from txtuntap.layer.bounded import Policy, TableState


class BufferPool:
    """
    A count of octets that connections keep.

    There is one of what was received, for applications that do not read, and out of order. A receiver asks it before it
    keeps more. Connections whose applications read at once need none of it, so they go on while it is full. Data out of
    order gets half of it only, because a peer can have as much of that as it likes.

    Another one is of what was taken from applications, until the peer acknowledges it. They are two, so that peers that
    acknowledge nothing close no windows, and keep no connection from being opened.

    @ivar name: the name of the table.
    @ivar bound: the most octets; C{lateBound}: those from which on nothing more is kept out of order.
    @ivar used: the octets that are kept now.
    @ivar isFull: whether nothing more may be kept.
    @ivar dropped: segments that were not taken for want of room.
    """

    __slots__ = ("bound", "dropped", "isFull", "lateBound", "name", "used")

    def __init__(self, name: str, bound: float) -> None:
        self.name = name
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
        return TableState(self.name, self.used, int(self.bound), Policy.REFUSE.value, "octets")


#: The pool of a connection that belongs to no layer.
UNBOUNDED = BufferPool("buffers", inf)
