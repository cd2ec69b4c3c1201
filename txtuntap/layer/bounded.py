"""
Bounded tables. The network decides what is in a table, so each has a bound, and a policy for what happens there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

import attrs

K = TypeVar("K")
V = TypeVar("V")


class Policy(Enum):
    """
    The rule for a table that is full. The values are the words of C{docs/bounds.md}.
    """

    OLDEST = "the oldest is evicted"
    LEAST_RECENT = "the least recently used is evicted"
    RANDOM = "one of them is evicted, at random"
    CROWDED = "one of the busiest origin is evicted, at random"
    BUSIEST = "the oldest of the busiest origin is evicted"
    OVERDUE = "the oldest is evicted if its time is over, or else the new one is refused"
    FORGET_ALL = "all are forgotten"
    REFUSE = "the new one is refused"


@attrs.frozen
class TableState:
    """
    How full a table is: one record of what every C{tables()} returns.

    @ivar name: the table's name, as in C{docs/bounds.md}.
    @ivar size: how many entries there are now, or how many octets they take.
    @ivar bound: the most there may be of these.
    @ivar policy: what happens at the bound, in words.
    @ivar unit: C{"entries"}, C{"octets"} or C{"characters"}.
    """

    name: str
    size: int
    bound: int
    policy: str
    unit: str = "entries"


class Table(OrderedDict[K, V]):
    """
    A dictionary with a bound, its entries in the order in which they came (or were last used, if that is its policy).
    To look up, count and remove entries is what it is in a dictionary, at the same cost. L{put} alone adds entries.

    @ivar name: see L{TableState}.
    @ivar bound: the most entries that there may be. Where it has become lower, the next new entry evicts the rest.
    @ivar policy: a L{Policy}.
    """

    __slots__ = ("_choose", "_evicted", "_isRecency", "_makeRoom", "bound", "name", "policy")

    def __init__(
        self,
        name: str,
        bound: int,
        policy: Policy,
        evicted: Callable[[K, V], object] | None = None,
        choose: Callable[[K], K | None] | None = None,
    ) -> None:
        """
        @param evicted: called with each entry that was removed to make room.
        @param choose: called with the key of a new entry that there is no room for, when it has been entered; returns
            the key of the one to evict, which may be the new one. L{None}: all stay, over the bound. By default, the
            first one is evicted.
        """
        super().__init__()
        self.name = name
        self.policy = policy
        self.bound = bound
        self._evicted = evicted
        self._choose = choose
        self._isRecency = policy is Policy.LEAST_RECENT
        # None where the first entry is evicted, and nobody is called.
        self._makeRoom: Callable[[Table[K, V], K, V, int], bool] | None = None
        if policy is Policy.REFUSE:
            self._makeRoom = _refuse
        elif policy is Policy.FORGET_ALL:
            self._makeRoom = _forgetAll
        elif choose is not None:
            self._makeRoom = _evictChosen
        elif evicted is not None:
            self._makeRoom = _evictFirst

    @property
    def isFull(self) -> bool:
        """
        Whether there is no room for a new entry.
        """
        return len(self) >= self.bound

    @property
    def state(self) -> TableState:
        """
        How full the table is.
        """
        return TableState(self.name, len(self), self.bound, self.policy.value)

    def put(self, key: K, value: V) -> bool:
        """
        Add an entry, or give the one that there is another value. That counts as a use.

        @return: whether the table has the entry now: a policy may refuse it.
        """
        before = len(self)
        self[key] = value
        if len(self) == before:
            if self._isRecency:
                self.move_to_end(key)
            return True
        bound = self.bound
        if before < bound:
            return True
        makeRoom = self._makeRoom
        if makeRoom is None and before == bound:
            # The common case, without a call: every packet may add to some tables.
            self.popitem(last=False)
            return bound > 0
        return (makeRoom or _evictFirst)(self, key, value, bound)

    def use(self, key: K) -> V | None:
        """
        Look up an entry; where the least recently used is evicted, it is now the most recently used one.
        """
        value = self.get(key)
        if value is not None and self._isRecency:
            self.move_to_end(key)
        return value


# The policies. Each is called once a new entry is there that there was no room for, and returns whether it may stay.
# Where the bound has become lower, more than one of the others are evicted.


def _refuse(table: Table[K, V], key: K, value: V, bound: int) -> bool:
    del table[key]
    return False


def _forgetAll(table: Table[K, V], key: K, value: V, bound: int) -> bool:
    table.clear()
    table[key] = value
    return True


def _evictFirst(table: Table[K, V], key: K, value: V, bound: int) -> bool:
    evicted = table._evicted
    while len(table) > bound:
        victim, gone = table.popitem(last=False)
        if evicted is not None:
            evicted(victim, gone)
    return True


def _evictChosen(table: Table[K, V], key: K, value: V, bound: int) -> bool:
    while len(table) > bound:
        victim = None if table._choose is None else table._choose(key)
        if victim is None:
            break
        gone = table.pop(victim)
        if table._evicted is not None:
            table._evicted(victim, gone)
        if victim == key:
            return False
    return True
