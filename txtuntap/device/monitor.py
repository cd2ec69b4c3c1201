"""
What happens to interfaces, as it happens: rtnetlink's notifications on the reactor.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, ClassVar, Protocol

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device.linux.linkmessages import decode, split
from txtuntap.device.linux.namespace import Namespace, NamespaceIdentity, identify
from txtuntap.device.linux.netlink import READ_SIZE, Conversation, Message, ask, inPieces, openSocket
from txtuntap.device.settings import AddressKey, InterfaceAddress, InterfaceState
from txtuntap.device.state import interfaceAddress, interfaceState, readingAll
from txtuntap.mistakes import checkCallable, checkClock

#: What can happen.
ADDED, REMOVED, RENAMED = "added", "removed", "renamed"
UP, DOWN, CARRIER, NO_CARRIER = "up", "down", "carrier", "no carrier"
MTU, LINK_ADDRESS = "MTU", "link address"
ADDRESS_ADDED, ADDRESS_REMOVED = "address added", "address removed"

#: C{linux/rtnetlink.h}: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
_GROUPS = 0x1 | 0x10 | 0x100


@attrs.frozen
class InterfaceEvent:
    """
    Something has happened to an interface.

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


@attrs.frozen
class _Found:
    """
    An interface that was read anew.

    @ivar state: its state now.
    @ivar addresses: its addresses, by their keys.
    @ivar gone: addresses that it had before, and has no more.
    @ivar come: addresses that it has now, and had not.
    """

    state: InterfaceState
    addresses: dict[AddressKey, InterfaceAddress]
    gone: list[InterfaceAddress]
    come: list[InterfaceAddress]


Subscriber = Callable[[InterfaceEvent], None]

#: Called with the number of an interface that may be another than it was; with L{None}, that is true of all.
Follower = Callable[["int | None"], None]


class IMonitor(Protocol):
    """
    The source from which a port knows its interface: an L{InterfaceMonitor}, or a L{SharedMonitor}.
    """

    @property
    def reactor(self) -> Any: ...

    @property
    def interfaces(self) -> Mapping[int, InterfaceState]: ...

    @property
    def place(self) -> NamespaceIdentity | None: ...

    def follow(self, follower: Follower) -> Callable[[], None]: ...


class InterfaceMonitor(FileDescriptor):
    """
    Tells whoever subscribes what happens to the interfaces of a network namespace. One is enough for all that is
    watched in there: see L{SharedMonitor}, too.

        monitor = InterfaceMonitor(reactor)
        monitor.subscribe(print)
        monitor.start()

    Where the kernel has more to tell than it can keep, or something that makes no sense here, all interfaces are read
    anew: no end state is missed.

    @ivar interfaces: what is known of each, by index; empty, before that is known.
    @ivar place: the network namespace that is watched, once it is open; L{None}: nobody can tell.
    """

    _log = Logger()
    reactor: Any

    def __init__(self, reactor: Any = None, namespace: Namespace | None = None) -> None:
        """
        @param namespace: the network namespace to watch; L{None}: this one.
        """
        if reactor is None:
            from twisted.internet import reactor
        checkClock(reactor, "the reactor")
        super().__init__(reactor)
        self.interfaces: dict[int, InterfaceState] = {}
        # The addresses of each again, since an event is about one of perhaps very many.
        self._addresses: dict[int, dict[AddressKey, InterfaceAddress]] = {}
        self.place: NamespaceIdentity | None = None
        self._subscribers: list[Subscriber] = []
        self._followers: list[Follower] = []
        self._netlink: Any = None
        # What all is read anew by.
        self._asking: Any = None
        self._namespace = namespace
        # While all is read anew, what comes in between waits.
        self._reading = False
        # While that went on, something was lost: it may be old already.
        self._again = False
        self._waiting: list[Message] = []
        # Whether it was logged that a message made no sense.
        self._isPuzzled = False

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """
        Have C{subscriber} called with each L{InterfaceEvent} from now on.

        @return: ends that.
        """
        checkCallable(subscriber, "a subscriber")
        self._subscribers.append(subscriber)

        return _ending(self._subscribers, subscriber)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Have C{follower} called whenever C{interfaces} may be another, from now on: for who compares what is with what
        was, and so misses nothing, whenever that begins.

        @return: ends that.
        """
        self._followers.append(follower)
        return _ending(self._followers, follower)

    def open(self) -> None:
        """
        Open the sockets that L{start} needs. In another network namespace that takes privilege: for who drops it
        before.

        @raise OSError: the namespace cannot be entered, or there are no netlink sockets.
        """
        if self._netlink is None:
            self.place = identify(self._namespace)
            asking = openSocket(namespace=self._namespace)
            try:
                self._netlink = openSocket(_GROUPS, self._namespace)
            except BaseException:
                asking.close()
                raise
            self._asking = asking
            self._netlink.setblocking(False)

    def start(self) -> Deferred[None]:
        """
        Begin. What is there already is no event.

        @return: fires once it is known what there is; fails with what L{open} raises.
        """
        try:
            self.open()
        except OSError as e:
            return fail(e)
        self.connected = 1
        # Events that wait are older than the state that is about to be read.
        self._drain()
        self.startReading()  # type: ignore[no-untyped-call]
        return self._readAll(first=True)

    def stop(self) -> None:
        """
        Tell no more.
        """
        if self.connected:
            self.connected = 0
            self.stopReading()  # type: ignore[no-untyped-call]
            self.interfaces.clear()
            self._waiting.clear()
        if self._netlink is not None:
            self._netlink.close()
            self._asking.close()
            self._netlink = None

    def fileno(self) -> int:
        """
        The socket's; -1 if it is closed.
        """
        return -1 if self._netlink is None else int(self._netlink.fileno())

    def doRead(self) -> None:
        """
        Something has happened.
        """
        try:
            data = self._netlink.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            if e.errno != errno.ENOBUFS:
                raise
            # Some of it was lost. The rest is older than what is about to be read.
            self._drain()
            self._readAnew()
            return
        try:
            for kind, each in split(data):
                message = decode(kind, each)
                if message is None:
                    continue
                if self._reading:
                    self._waiting.append(message)
                else:
                    self._happened(message)
        except Exception:
            # The reactor would close the socket of who raises, and nothing would ever be told again.
            self._puzzled()

    def _puzzled(self) -> None:
        """
        A message makes no sense: the rest is read anew. Whoever can set interfaces could have it come again and again,
        so that is logged once.
        """
        if not self._isPuzzled:
            self._isPuzzled = True
            self._log.failure("The kernel tells what makes no sense here: all interfaces are read anew")
        self._readAnew()

    def _readAnew(self) -> None:
        if self._reading:
            self._again = True
        else:
            self._readAll().addErrback(lambda reason: self._log.failure("Interfaces cannot be read", reason))

    def _drain(self) -> None:
        while True:
            try:
                self._netlink.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is done with the socket.
        """
        self.stop()

    def logPrefix(self) -> str:
        """
        What log lines begin with.
        """
        return "interfaces"

    def _readAll(self, first: bool = False) -> Deferred[None]:
        self._reading = True
        self._again = False
        self._waiting.clear()

        def done(found: list[_Found]) -> Deferred[None] | None:
            self._reading = False
            if not self.connected:
                return None
            if self._again:
                return self._readAll(first)
            if first:
                self.interfaces = {each.state.index: each.state for each in found}
            else:
                for index in self.interfaces.keys() - {each.state.index for each in found}:
                    self._removed(index)
                for each in found:
                    self._changed(each.state, each.gone, each.come)
            self._addresses = {each.state.index: each.addresses for each in found}
            self._tellFollowers(None)
            waiting, self._waiting = self._waiting, []
            try:
                for message in waiting:
                    self._happened(message)
            except Exception:
                self._puzzled()
            return None

        def failed(reason: Failure) -> Failure | None:
            self._reading = False
            self._waiting.clear()
            # A monitor whose socket was closed, because it was stopped or the reactor ends, has no use for the answer.
            isClosed = getattr(reason.value, "errno", None) == errno.ESHUTDOWN
            return reason if self.connected and not isClosed else None

        return ask(self.reactor, self._finding(), by=self._asking).addCallbacks(done, failed)

    def _finding(self) -> Conversation[list[_Found]]:
        """
        Read all interfaces, and compare their addresses with those that are known. These stay the same meanwhile,
        because events wait.
        """
        found = []
        for state in (yield from readingAll()):
            before = self._addresses.get(state.index, {})
            keys = yield from inPieces(attrgetter("key"), state.addresses)
            now = dict(zip(keys, state.addresses, strict=True))
            gone = yield from _onlyIn(before, now)
            come = yield from _onlyIn(now, before)
            found.append(_Found(state, now, gone, come))
        return found

    def _happened(self, message: Message) -> None:
        event = message["event"]
        index = message["index"]
        before = self.interfaces.get(index)
        if event == "RTM_NEWLINK":
            # Some messages about bridges' ports have little in them.
            if any(each[0] == "IFLA_MTU" for each in message["attrs"]):
                state = interfaceState(message, [])
                self._changed(attrs.evolve(state, addresses=before.addresses if before else ()))
        elif event == "RTM_DELLINK":
            if message.get("family", 0) == 0:
                self._removed(index)
        elif before is not None and event in ("RTM_NEWADDR", "RTM_DELADDR"):
            address = interfaceAddress(message)
            addresses = self._addresses.setdefault(index, {})
            former = addresses.pop(address.key, None)
            gone = [] if former is None else [former]
            come = []
            if event == "RTM_NEWADDR":
                addresses[address.key] = address
                come = [address]
            if gone == come:
                # Only its flags are others now.
                gone = come = []
            self._changed(attrs.evolve(before, addresses=tuple(addresses.values())), gone, come)

    def _removed(self, index: int) -> None:
        before = self.interfaces.pop(index, None)
        self._addresses.pop(index, None)
        if before is not None:
            self._tellFollowers(index)
            self._tell(InterfaceEvent(REMOVED, before, before))

    def _changed(
        self, state: InterfaceState, gone: Sequence[InterfaceAddress] = (), come: Sequence[InterfaceAddress] = ()
    ) -> None:
        """
        Take an interface's state for what is known of it, and tell how it differs from what was.

        @param gone: addresses that it had, and has no more.
        @param come: addresses that it has now, and had not.
        """
        before = self.interfaces.get(state.index)
        self.interfaces[state.index] = state
        self._tellFollowers(state.index)
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

    def _tell(self, event: InterfaceEvent) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                self._log.failure("Unhandled exception from a subscriber")

    def _tellFollowers(self, index: int | None) -> None:
        for follower in list(self._followers):
            try:
                follower(index)
            except Exception:
                self._log.failure("Unhandled exception from a follower")


def _onlyIn(
    some: dict[AddressKey, InterfaceAddress], others: dict[AddressKey, InterfaceAddress]
) -> Conversation[list[InterfaceAddress]]:
    """
    The addresses in one table that are not in the other.
    """
    isOnly = yield from inPieces(lambda item: others.get(item[0]) != item[1], some.items())
    return list(compress(some.values(), isOnly))


def _ending(listeners: list[Any], listener: Any) -> Callable[[], None]:
    def end() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return end


class _Shared:
    """
    A monitor that several have.

    @ivar shares: how many have it.
    @ivar waiting: the Deferreds that wait for its start; L{None}: it was not started yet.
    @ivar outcome: the result of its start, a L{Failure} perhaps; empty before that is known.
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
        key = self.reactor, identify(self._namespace)
        shared = self._all.get(key)
        if shared is None or shared.monitor.fileno() < 0:
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
