"""
Events of interfaces: the record of one event, and the table of interface states that emits an event for each change.
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
    One change of an interface.

    @ivar kind: L{ADDED}, L{REMOVED} or another of this module's constants.
    @ivar state: the state of the interface after the change; its last state if it was removed.
    @ivar before: the state of the interface before the change; C{None} if the interface was added.
    @ivar address: the address that was added or removed; C{None} for other kinds of events.
    """

    kind: str
    state: InterfaceState
    before: InterfaceState | None = None
    address: InterfaceAddress | None = None

    @property
    def name(self) -> str:
        """
        The name of the interface after the change.
        """
        return self.state.name


Subscriber = Callable[[InterfaceEvent], None]

#: A function that is called after a change of the table. Its argument is the index of the interface whose state may
#: have changed, or C{None} if all states may have changed.
Follower = Callable[["int | None"], None]


class InterfaceTable:
    """
    The states of all interfaces in a network namespace. The platform's L{IWatch<txtuntap.device.interfaces.IWatch>}
    writes them. Each change is reported to the subscribers and followers.

    @ivar states: the state of each interface, by its index; empty until the states have been read.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.states: dict[int, InterfaceState] = {}
        self._subscribers: list[Subscriber] = []
        self._followers: list[Follower] = []
        # The number of times that the table was cleared.
        self._clears = 0

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """
        Call C{subscriber} with each L{InterfaceEvent} from now on.

        @return: a function that ends the subscription.
        """
        return _added(self._subscribers, subscriber)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Call C{follower} after each change of C{states} from now on.

        @return: a function that ends the calls.
        """
        return _added(self._followers, follower)

    def fill(self, states: Iterable[InterfaceState]) -> None:
        """
        Enter the interfaces that exist at the start, without an event.
        """
        self.states.update((state.index, state) for state in states)

    def clear(self) -> None:
        """
        Remove all interfaces from the table, without an event.
        """
        self._clears += 1
        self.states.clear()

    def update(self, states: Sequence[InterfaceState]) -> None:
        """
        Compare the table with the states of all interfaces, which were read again, and report each difference. A
        difference of the statistics is none.
        """
        clears = self._clears
        for index in self.states.keys() - {state.index for state in states}:
            self.remove(index)
        for state in states:
            # A subscriber may have stopped the monitor.
            if clears != self._clears:
                return
            before = self.states.get(state.index)
            if before is None or attrs.evolve(before, statistics=state.statistics) != state:
                former = () if before is None else before.addresses
                gone = [each for each in former if each not in state.addresses]
                self.change(state, gone, [each for each in state.addresses if each not in former])

    def remove(self, index: int) -> None:
        """
        Remove an interface from the table because it no longer exists, and report the event.
        """
        before = self.states.pop(index, None)
        if before is not None:
            self.tellFollowers(index)
            self._tell(InterfaceEvent(REMOVED, before, before))

    def change(
        self, state: InterfaceState, gone: Sequence[InterfaceAddress] = (), come: Sequence[InterfaceAddress] = ()
    ) -> None:
        """
        Enter the new state of an interface, and report each difference from its former state.

        @param state: the new state.
        @param gone: the addresses that the interface has lost.
        @param come: the addresses that the interface has gained.
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
        Call each follower, and log the exceptions that followers raise.

        @param index: the index of the interface whose state may have changed; C{None}: all states may have changed.
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
