"""
Tables with a bound, and the policies for a full table. Every table that packets from the network fill needs a bound.
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
    The rule for a new entry when a table is full. The values are the words of C{docs/bounds.md}.
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
    The size and the bound of one table. Every C{tables()} returns a list of such records.

    @ivar name: the table's name, as in C{docs/bounds.md}.
    @ivar size: the present size, in C{unit}.
    @ivar bound: the greatest size, in C{unit}.
    @ivar policy: the L{Policy} at the bound, in words.
    @ivar unit: C{"entries"}, C{"octets"} or C{"characters"}.
    """

    name: str
    size: int
    bound: int
    policy: str
    unit: str = "entries"


class Table(OrderedDict[K, V]):
    """
    A dictionary with a bound. Its entries are in the order of insertion; with C{Policy.LEAST_RECENT}, in the order of
    their last use. Looking up, counting and removing entries works and costs the same as in a dictionary. Entries are
    only added by L{put}.

    @ivar name: the table's name, as in C{docs/bounds.md}.
    @ivar bound: the most entries that the table holds. If it is lowered, surplus entries are evicted when the next new
        entry is added.
    @ivar policy: the L{Policy} for a new entry when the table is full.
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
        @param evicted: called with the key and the value of each entry that was evicted to make room. The function is
            not called for entries that C{Policy.FORGET_ALL} forgets.
        @param choose: chooses the entry to evict, unless the policy is C{REFUSE} or C{FORGET_ALL}. The function is
            called with the key of a new entry, after that entry was added to a full table. It returns the key to evict,
            which may be the new one, or C{None} to keep all entries and exceed the bound. By default, the first entry
            is evicted.
        """
        super().__init__()
        self.name = name
        self.policy = policy
        self.bound = bound
        self._evicted = evicted
        self._choose = choose
        self._isRecency = policy is Policy.LEAST_RECENT
        # None means that the first entry is evicted without a call of evicted.
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
        The present size of the table, its bound and its policy.
        """
        return TableState(self.name, len(self), self.bound, self.policy.value)

    def put(self, key: K, value: V) -> bool:
        """
        Add an entry, or replace the value of the entry with this key. Either counts as a use of the entry.

        @return: whether the table holds the entry now: a policy may refuse a new one.
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
            # The common case is inlined, because some tables get a new entry with every packet.
            self.popitem(last=False)
            return bound > 0
        return (makeRoom or _evictFirst)(self, key, value, bound)

    def use(self, key: K) -> V | None:
        """
        Look up an entry, and count this as a use of it where the policy is C{Policy.LEAST_RECENT}.

        @return: the value, or C{None}.
        """
        value = self.get(key)
        if value is not None and self._isRecency:
            self.move_to_end(key)
        return value


# The functions below implement the policies. Each is called after a new entry was added to a full table, and returns
# whether the new entry stays. If the bound has been lowered, they evict several entries.


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
