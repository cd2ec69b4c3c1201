"""
Orphans: connections that the application has closed, and whose last data, or FIN, the peer has not acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from txtuntap.layer.bounded import Policy, TableState

V = TypeVar("V")


class Orphans(Generic[V]):
    """
    A table of orphans by peer. At the bound, the oldest one of the peer that has most is evicted, so that a peer which
    never acknowledges harms itself first.

    Peers are kept by the number of their orphans. So the busiest one is found at once, and adding or removing an orphan
    takes the same time however many there are.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._size = 0
        #: The orphans of each peer, the oldest first.
        self._ofPeer: dict[bytes, dict[bytes, V]] = {}
        #: The peers that have so many orphans, by that number.
        self._byCount: dict[int, dict[bytes, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[V]:
        return iter([orphan for each in self._ofPeer.values() for orphan in each.values()])

    def add(self, peer: bytes, key: bytes, orphan: V) -> V | None:
        """
        Add an orphan, if it is not there yet.

        @return: the one to be evicted, which stays here until it is removed; L{None}: there is room for all.
        """
        orphans = self._ofPeer.setdefault(peer, {})
        if key in orphans:
            return None
        self._move(peer, len(orphans), len(orphans) + 1)
        orphans[key] = orphan
        self._size += 1
        if self._size <= self.bound:
            return None
        busiest = next(iter(self._byCount[self._most]))
        return next(iter(self._ofPeer[busiest].values()))

    def remove(self, peer: bytes, key: bytes) -> None:
        """
        Remove an orphan, if it is there.
        """
        orphans = self._ofPeer.get(peer)
        if orphans is None or orphans.pop(key, None) is None:
            return
        self._size -= 1
        self._move(peer, len(orphans) + 1, len(orphans))
        if not orphans:
            del self._ofPeer[peer]

    def clear(self) -> None:
        """
        Forget all orphans of all peers.
        """
        self._ofPeer.clear()
        self._byCount.clear()
        self._size = self._most = 0

    def _move(self, peer: bytes, before: int, after: int) -> None:
        """
        A peer has another number of orphans now: one more, or one less.
        """
        byCount = self._byCount
        if before:
            peers = byCount[before]
            del peers[peer]
            if not peers:
                del byCount[before]
                if before == self._most:
                    self._most = after
        if after:
            byCount.setdefault(after, {})[peer] = None
            self._most = max(self._most, after)

    @property
    def state(self) -> TableState:
        """
        How many there are, as C{tables()} tells it.
        """
        return TableState("orphans", self._size, self.bound, Policy.BUSIEST.value)
