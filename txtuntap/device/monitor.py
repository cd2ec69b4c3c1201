"""
What happens to interfaces, as it happens: rtnetlink's notifications on the reactor.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import attrs
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device.namespace import Namespace
from txtuntap.device.netlink import READ_SIZE, Message, ask, openSocket
from txtuntap.device.settings import InterfaceAddress, InterfaceState
from txtuntap.device.state import interfaceAddress, interfaceState, readingAll
from txtuntap.mistakes import checkCallable, checkClock
from txtuntap.shutdown import isShuttingDown

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


Subscriber = Callable[[InterfaceEvent], None]


class InterfaceMonitor(FileDescriptor):
    """
    Tells whoever subscribes what happens to the interfaces of a network namespace.

        monitor = InterfaceMonitor(reactor)
        monitor.subscribe(print)
        monitor.start()

    Where the kernel has more to tell than it can keep, or something that makes no sense here, all interfaces are read
    anew: no end state is missed.

    @ivar interfaces: what is known of each, by index.
    """

    _log = Logger()

    def __init__(self, reactor: Any = None, namespace: Namespace | None = None) -> None:
        """
        @param namespace: the network namespace to watch; L{None}: this one.
        """
        if reactor is None:
            from twisted.internet import reactor
        checkClock(reactor, "the reactor")
        super().__init__(reactor)
        self.interfaces: dict[int, InterfaceState] = {}
        self._subscribers: list[Subscriber] = []
        self._netlink: Any = None
        # What all is read anew by.
        self._asking: Any = None
        self._namespace = namespace
        self._marshal = MarshalRtnl()
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

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def open(self) -> None:
        """
        Open the sockets that L{start} needs. In another network namespace that takes privilege: for who drops it
        before.

        @raise OSError: the namespace cannot be entered.
        """
        if self._netlink is None:
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
            for message in self._marshal.parse(data):
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

        def done(states: list[InterfaceState]) -> Deferred[None] | None:
            self._reading = False
            if not self.connected:
                return None
            if self._again:
                return self._readAll(first)
            found = {state.index: state for state in states}
            if first:
                self.interfaces = found
            else:
                for index in self.interfaces.keys() - found.keys():
                    self._removed(index)
                for state in states:
                    self._changed(state)
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
            # A monitor that was stopped, or whose reactor ends, has no use for the answer.
            return reason if self.connected and not isShuttingDown(self.reactor) else None

        return ask(self.reactor, readingAll(), by=self._asking).addCallbacks(done, failed)

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
            others = tuple(each for each in before.addresses if each != address)
            if event == "RTM_NEWADDR":
                others = (*others, address)
            self._changed(attrs.evolve(before, addresses=others))

    def _removed(self, index: int) -> None:
        before = self.interfaces.pop(index, None)
        if before is not None:
            self._tell(InterfaceEvent(REMOVED, before, before))

    def _changed(self, state: InterfaceState) -> None:
        before = self.interfaces.get(state.index)
        self.interfaces[state.index] = state
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
        for address in before.addresses:
            if address not in state.addresses:
                self._tell(InterfaceEvent(ADDRESS_REMOVED, state, before, address))
        for address in state.addresses:
            if address not in before.addresses:
                self._tell(InterfaceEvent(ADDRESS_ADDED, state, before, address))

    def _tell(self, event: InterfaceEvent) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                self._log.failure("Unhandled exception from a subscriber")
