"""
Events of interfaces: the records, and the table of states whose changes make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from twisted.logger import Logger

from txtuntap.device.settings import InterfaceAddress, InterfaceState

#: The kinds of events.
ADDED, REMOVED, RENAMED = "added", "removed", "renamed"
UP, DOWN, CARRIER, NO_CARRIER = "up", "down", "carrier", "no carrier"
MTU, LINK_ADDRESS = "MTU", "link address"
ADDRESS_ADDED, ADDRESS_REMOVED = "address added", "address removed"


@attrs.frozen
class InterfaceEvent:
    """
    One thing that has happened to an interface.

    @ivar kind: one of the words above.
    @ivar state: what the interface is now; for one that was removed, what it was.
    @ivar before: what it was before; L{None} for one that was added.
    @ivar address: the one that was added or removed, if one was.
    """

    kind: str
    state: InterfaceState
    before: InterfaceState | None = None
    address: InterfaceAddress | None = None

    @property
    def name(self) -> str:
        """
        The interface's name.
        """
        return self.state.name


Subscriber = Callable[[InterfaceEvent], None]

#: Called with the number of an interface whose state may have changed; with L{None}, all states may have.
Follower = Callable[["int | None"], None]


class InterfaceTable:
    """
    The states of a network namespace's interfaces, as the platform's watch writes them, and the listeners that hear of
    each change.

    @ivar states: the state of each interface, by index; empty, before that is known.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.states: dict[int, InterfaceState] = {}
        self._subscribers: list[Subscriber] = []
        self._followers: list[Follower] = []

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """
        Have C{subscriber} called with each L{InterfaceEvent} from now on.

        @return: a call that ends it.
        """
        return _added(self._subscribers, subscriber)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Have C{follower} called after each change of C{states} from now on.

        @return: a call that ends it.
        """
        return _added(self._followers, follower)

    def fill(self, states: Iterable[InterfaceState]) -> None:
        """
        Enter the interfaces that are there already, which is no event.
        """
        self.states.update((state.index, state) for state in states)

    def clear(self) -> None:
        """
        Forget all interfaces, which is no event.
        """
        self.states.clear()

    def remove(self, index: int) -> None:
        """
        Forget an interface that is there no more.
        """
        before = self.states.pop(index, None)
        if before is not None:
            self.tellFollowers(index)
            self._tell(InterfaceEvent(REMOVED, before, before))

    def change(
        self, state: InterfaceState, gone: Sequence[InterfaceAddress] = (), come: Sequence[InterfaceAddress] = ()
    ) -> None:
        """
        Enter an interface's state, and tell how it differs from the one before.

        @param gone: addresses that it had, and has no more.
        @param come: addresses that it has now, and had not.
        """
        before = self.states.get(state.index)
        self.states[state.index] = state
        self.tellFollowers(state.index)
        if before is None:
            self._tell(InterfaceEvent(ADDED, state))
            return
        for happened, kind in (
            (state.name != before.name, RENAMED),
            (state.up and not before.up, UP),
            (before.up and not state.up, DOWN),
            (state.carrier and not before.carrier, CARRIER),
            (before.carrier and not state.carrier, NO_CARRIER),
            (state.mtu != before.mtu, MTU),
            (state.linkAddress != before.linkAddress, LINK_ADDRESS),
        ):
            if happened:
                self._tell(InterfaceEvent(kind, state, before))
        for address in gone:
            self._tell(InterfaceEvent(ADDRESS_REMOVED, state, before, address))
        for address in come:
            self._tell(InterfaceEvent(ADDRESS_ADDED, state, before, address))

    def tellFollowers(self, index: int | None) -> None:
        """
        Call the followers.

        @param index: the interface whose state may have changed; L{None}: all states may have.
        """
        for follower in list(self._followers):
            try:
                follower(index)
            except Exception:
                self._log.failure("Unhandled exception from a follower")

    def _tell(self, event: InterfaceEvent) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                self._log.failure("Unhandled exception from a subscriber")


def _added(listeners: list[Any], listener: Any) -> Callable[[], None]:
    listeners.append(listener)

    def end() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return end
