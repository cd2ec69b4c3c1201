"""
Monitors tell what happens to interfaces, as it happens.
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
    Tells whoever subscribes what happens to the interfaces of a network namespace. One is enough for all that is
    watched in there: see L{SharedMonitor}, too.

        monitor = InterfaceMonitor(reactor)
        monitor.subscribe(print)
        monitor.start()

    Where the kernel has more to tell than it can keep, or something that makes no sense here, all interfaces are read
    anew: no end state is missed.

    @ivar reactor: the reactor that it runs on.
    """

    def __init__(self, reactor: Any = None, namespace: Namespace | None = None) -> None:
        """
        @param namespace: the network namespace to watch; L{None}: this one.

        @raise OSError: this platform's interfaces cannot be watched (C{ENOTSUP}).
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
        The state of each interface, by index; empty, before that is known.
        """
        return self._table.states

    @property
    def place(self) -> NamespaceIdentity | None:
        """
        The network namespace that is watched, once it is open; L{None}: nobody can tell.
        """
        return self._watch.place

    @property
    def isOpen(self) -> bool:
        """
        Whether it has what L{start} needs.
        """
        return self._watch.isOpen

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """
        Have C{subscriber} called with each L{InterfaceEvent} from now on.

        @return: ends that.
        """
        checkCallable(subscriber, "a subscriber")
        return self._table.subscribe(subscriber)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Have C{follower} called whenever C{interfaces} may be another, from now on: for who compares what is with what
        was, and so misses nothing, whenever that begins.

        @return: ends that.
        """
        return self._table.follow(follower)

    def open(self) -> None:
        """
        Open the sockets that L{start} needs. In another network namespace that takes privilege: for who drops it
        before.

        @raise OSError: the namespace cannot be entered, or there are no netlink sockets.
        """
        self._watch.open()

    def start(self) -> Deferred[None]:
        """
        Begin. An interface that is there already is no event.

        @return: fires once it is known what there is; fails with what L{open} raises.
        """
        return self._watch.start()

    def stop(self) -> None:
        """
        Tell no more. Stopping twice is harmless.
        """
        self._watch.stop()


class _Shared:
    """
    A monitor that several have.

    @ivar shares: how many have it.
    @ivar waiting: the Deferreds that wait for its start; L{None}: it was not started yet.
    @ivar outcome: the result of its start, a C{Failure} perhaps; empty before that is known.
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
    A share of the one L{InterfaceMonitor} that a process has of a network namespace: the first that opens its share
    opens that, the last that stops its own stops it. The kernel tells each monitor of every interface there is, so a
    hundred ports with one each would hear all a hundred times.
    """

    _all: ClassVar[dict[tuple[Any, NamespaceIdentity | None], _Shared]] = {}

    def __init__(self, reactor: Any = None, namespace: Namespace | None = None) -> None:
        """
        @param namespace: the network namespace to watch; L{None}: this one.
        """
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor
        self.place: NamespaceIdentity | None = None
        self._namespace = namespace
        self._shared: _Shared | None = None
        # The call by which each of ours ends; L{None} while there is no monitor.
        self._followers: dict[Follower, Callable[[], None] | None] = {}

    @property
    def interfaces(self) -> Mapping[int, InterfaceState]:
        """
        The state of each interface, by index; empty, before that is known.
        """
        return {} if self._shared is None else self._shared.monitor.interfaces

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        See L{InterfaceMonitor.follow}. A share need not be open.
        """
        self._followers[follower] = None if self._shared is None else self._shared.monitor.follow(follower)

        def end() -> None:
            unfollow = self._followers.pop(follower, None)
            if unfollow is not None:
                unfollow()

        return end

    def open(self) -> None:
        """
        See L{InterfaceMonitor.open}.
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
        See L{InterfaceMonitor.start}.
        """
        try:
            self.open()
        except OSError as e:
            return fail(e)
        assert self._shared is not None
        return self._shared.start()

    def stop(self) -> None:
        """
        Have no share any more. Stopping twice is harmless.
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
