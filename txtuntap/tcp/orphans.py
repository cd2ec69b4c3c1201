"""
Orphans: connections that the application has closed, while the peer has not acknowledged all data and the FIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from txtuntap.layer.bounded import Policy, TableState

V = TypeVar("V")


class Orphans(Generic[V]):
    """
    A table of orphans by peer. At the bound, the oldest orphan of the busiest peer is evicted, so that a peer that
    never acknowledges harms itself first.

    A second index has the peers by the number of their orphans. So the busiest peer is found at once, and the time to
    add or remove an orphan does not depend on the number of orphans.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._size = 0
        #: The orphans of each peer, the oldest first.
        self._byPeer: dict[bytes, dict[bytes, V]] = {}
        #: The peers by their number of orphans.
        self._byCount: dict[int, dict[bytes, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[V]:
        return iter([orphan for each in self._byPeer.values() for orphan in each.values()])

    def add(self, peer: bytes, key: bytes, orphan: V) -> V | None:
        """
        Add an orphan, unless it is in the table already.

        @return: the orphan to evict, which stays in the table until L{remove} is called. C{None}: the table is not
            full.
        """
        orphans = self._byPeer.setdefault(peer, {})
        if key in orphans:
            return None
        self._move(peer, len(orphans), len(orphans) + 1)
        orphans[key] = orphan
        self._size += 1
        if self._size <= self.bound:
            return None
        busiest = next(iter(self._byCount[self._most]))
        return next(iter(self._byPeer[busiest].values()))

    def remove(self, peer: bytes, key: bytes) -> None:
        """
        Remove an orphan, if it is in the table.
        """
        orphans = self._byPeer.get(peer)
        if orphans is None or orphans.pop(key, None) is None:
            return
        self._size -= 1
        self._move(peer, len(orphans) + 1, len(orphans))
        if not orphans:
            del self._byPeer[peer]

    def clear(self) -> None:
        """
        Forget all orphans of all peers.
        """
        self._byPeer.clear()
        self._byCount.clear()
        self._size = self._most = 0

    def _move(self, peer: bytes, before: int, after: int) -> None:
        """
        Move a peer in the index, because its number of orphans has changed by one.
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
        The fill level of the table, as C{tables()} returns it.
        """
        return TableState("orphans", self._size, self.bound, Policy.BUSIEST.value)
