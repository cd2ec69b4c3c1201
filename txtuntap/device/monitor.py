"""
Monitors that report changes of network interfaces as they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from txtuntap.device.events import (
    ADDED,
    ADDRESS_ADDED,
    ADDRESS_REMOVED,
    CARRIER,
    DOWN,
    LINK_ADDRESS,
    MTU,
    NO_CARRIER,
    REMOVED,
    RENAMED,
    UP,
    Follower,
    InterfaceEvent,
    InterfaceTable,
    Subscriber,
)
from txtuntap.device.interfaces import IMonitor
from txtuntap.device.platform import importEarly, platformModule
from txtuntap.device.settings import InterfaceState
from txtuntap.mistakes import checkCallable, checkClock

if TYPE_CHECKING:
    from txtuntap.device.interfaces import IWatch, IWatching
    from txtuntap.device.linux.namespace import Namespace, NamespaceIdentity

__all__ = [
    "ADDED",
    "ADDRESS_ADDED",
    "ADDRESS_REMOVED",
    "CARRIER",
    "DOWN",
    "LINK_ADDRESS",
    "MTU",
    "NO_CARRIER",
    "REMOVED",
    "RENAMED",
    "UP",
    "InterfaceEvent",
    "InterfaceMonitor",
    "SharedMonitor",
]

importEarly("monitor")


def _platform() -> IWatching:
    platform: IWatching = platformModule("monitor")
    return platform


@implementer(IMonitor)
class InterfaceMonitor:
    """
    Report each change of the interfaces in a network namespace to subscribers::

        monitor = InterfaceMonitor(reactor)
        monitor.subscribe(print)
        monitor.start()

    If the kernel loses notifications, or sends one that cannot be parsed, the states of all interfaces are read again.
    So subscribers may miss single events, but not the final state of an interface. One monitor is enough for a
    namespace. Use L{SharedMonitor} to share it within a process.

    @ivar reactor: the reactor that the monitor runs on.
    """

    def __init__(self, reactor: Any = None, namespace: Namespace | None = None) -> None:
        """
        @param reactor: the reactor; C{None}: the installed one.
        @param namespace: the network namespace to watch; C{None}: the namespace of this process.

        @raise OSError: interfaces cannot be watched on this platform (C{ENOTSUP}).
        """
        if reactor is None:
            from twisted.internet import reactor
        checkClock(reactor, "the reactor")
        self.reactor: Any = reactor
        self._table = InterfaceTable()
        self._watch: IWatch = _platform().InterfaceWatch(reactor, self._table, namespace)

    @property
    def interfaces(self) -> Mapping[int, InterfaceState]:
        """
        The state of each interface, by its index; empty until the states have been read.
        """
        return self._table.states

    @property
    def place(self) -> NamespaceIdentity | None:
        """
        The identity of the watched network namespace; C{None}: the monitor was never open, or the identity cannot be
        found out.
        """
        return self._watch.place

    @property
    def isOpen(self) -> bool:
        """
        Whether the descriptors that L{start} needs are open.
        """
        return self._watch.isOpen

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """
        Call C{subscriber} with each L{InterfaceEvent} from now on.

        @return: a function that ends the subscription.
        """
        checkCallable(subscriber, "a subscriber")
        return self._table.subscribe(subscriber)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Call C{follower} whenever C{interfaces} may have changed, from now on. A follower has to compare the states in
        C{interfaces} with those that it knows.

        @return: a function that ends the calls.
        """
        return self._table.follow(follower)

    def open(self) -> None:
        """
        Open the sockets that L{start} needs. This needs privilege if the monitor watches another network namespace. A
        program that drops its privileges before L{start} calls this first.

        @raise OSError: the namespace cannot be entered, or no netlink socket can be opened.
        """
        self._watch.open()

    def start(self) -> Deferred[None]:
        """
        Read the state of each interface, and report each later change. The interfaces that exist already cause no
        event.

        @return: fires once all states have been read; fails with what L{open} raises.
        """
        return self._watch.start()

    def stop(self) -> None:
        """
        Stop reporting changes to subscribers and followers. Stopping twice is harmless.
        """
        self._watch.stop()


class _Shared:
    """
    A monitor that several L{SharedMonitor}s use.

    @ivar monitor: the monitor.
    @ivar shares: the number of open L{SharedMonitor}s that use the monitor.
    @ivar waiting: the Deferreds that wait for the monitor's start; C{None}: it was not started yet.
    @ivar outcome: a list with the result of the start, which may be a C{Failure}; empty until the start has ended.
    """

    def __init__(self, monitor: InterfaceMonitor) -> None:
        self.monitor = monitor
        self.shares = 0
        self.waiting: list[Deferred[None]] | None = None
        self.outcome: list[Any] = []

    def start(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self.waiting is None:
            self.waiting = []
            self.monitor.start().addBoth(self._started)
        if self.outcome:
            done.callback(self.outcome[0])
        else:
            self.waiting.append(done)
        return done

    def _started(self, outcome: Any) -> None:
        self.outcome = [outcome]
        waiting, self.waiting = self.waiting or [], []
        for done in waiting:
            done.callback(outcome)


@implementer(IMonitor)
class SharedMonitor:
    """
    A share in the one L{InterfaceMonitor} that a process has for a network namespace. Opening the first share opens
    the monitor; stopping the last share stops it. Sharing saves work, because the kernel sends every notification to
    every monitor: with one monitor for each of a hundred ports, each notification would be parsed a hundred times.
    """

    _all: ClassVar[dict[tuple[Any, NamespaceIdentity | None], _Shared]] = {}

    def __init__(self, reactor: Any = None, namespace: Namespace | None = None) -> None:
        """
        @param reactor: the reactor; C{None}: the installed one.
        @param namespace: the network namespace to watch; C{None}: the namespace of this process.
        """
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor
        self.place: NamespaceIdentity | None = None
        self._namespace = namespace
        self._shared: _Shared | None = None
        # For each follower, the function that ends its calls; None while this share is not open.
        self._followers: dict[Follower, Callable[[], None] | None] = {}

    @property
    def interfaces(self) -> Mapping[int, InterfaceState]:
        """
        The state of each interface, by its index; empty until the states have been read.
        """
        return {} if self._shared is None else self._shared.monitor.interfaces

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Call C{follower} after each change: see L{InterfaceMonitor.follow}. The share need not be open yet.
        """
        self._followers[follower] = None if self._shared is None else self._shared.monitor.follow(follower)

        def end() -> None:
            unfollow = self._followers.pop(follower, None)
            if unfollow is not None:
                unfollow()

        return end

    def open(self) -> None:
        """
        Open the shared monitor if this is its first share: see L{InterfaceMonitor.open}.
        """
        if self._shared is not None:
            return
        key = self.reactor, _platform().identify(self._namespace)
        shared = self._all.get(key)
        if shared is None or not shared.monitor.isOpen:
            shared = _Shared(InterfaceMonitor(self.reactor, self._namespace))
            shared.monitor.open()
            self._all[key] = shared
        shared.shares += 1
        self._shared = shared
        self.place = key[1]
        for follower in self._followers:
            self._followers[follower] = shared.monitor.follow(follower)

    def start(self) -> Deferred[None]:
        """
        Start the shared monitor if no other share has: see L{InterfaceMonitor.start}.
        """
        try:
            self.open()
        except OSError as e:
            return fail(e)
        assert self._shared is not None
        return self._shared.start()

    def stop(self) -> None:
        """
        Give up this share, and stop the monitor if no share is left. Stopping twice is harmless.
        """
        shared, self._shared = self._shared, None
        if shared is None:
            return
        for follower, unfollow in self._followers.items():
            if unfollow is not None:
                unfollow()
            self._followers[follower] = None
        shared.shares -= 1
        if not shared.shares:
            for key, each in list(self._all.items()):
                if each is shared:
                    del self._all[key]
            shared.monitor.stop()
