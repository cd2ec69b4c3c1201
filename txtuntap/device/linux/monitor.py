"""
The watch of Linux: rtnetlink's notifications (C{rtnetlink(7)}) on the reactor.
"""

from __future__ import annotations

import errno
from itertools import compress
from operator import attrgetter
from typing import Any

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer, moduleProvides

from txtuntap.device.events import InterfaceTable
from txtuntap.device.interfaces import IWatch, IWatching
from txtuntap.device.linux.linkmessages import decode, split
from txtuntap.device.linux.namespace import Namespace, NamespaceIdentity, identify
from txtuntap.device.linux.netlink import READ_SIZE, Conversation, Message, ask, inPieces, openSocket
from txtuntap.device.linux.state import interfaceAddress, interfaceState, readingAll
from txtuntap.device.settings import AddressKey, InterfaceAddress, InterfaceState

__all__ = ["InterfaceWatch", "identify"]

moduleProvides(IWatching)

#: C{linux/rtnetlink.h}: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
_GROUPS = 0x1 | 0x10 | 0x100


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


@implementer(IWatch)
class InterfaceWatch(FileDescriptor):
    """
    Keeps a table as the interfaces of a network namespace are.

    @ivar place: the network namespace that is watched, once it is open; L{None}: nobody can tell.
    """

    _log = Logger()
    reactor: Any

    def __init__(self, reactor: Any, table: InterfaceTable, namespace: Namespace | None = None) -> None:
        """
        @param table: what to keep; empty yet.
        @param namespace: the network namespace to watch; L{None}: this one.
        """
        super().__init__(reactor)
        self._table = table
        # The addresses of each again, since an event is about one of perhaps very many.
        self._addresses: dict[int, dict[AddressKey, InterfaceAddress]] = {}
        self.place: NamespaceIdentity | None = None
        self._netlink: Any = None
        # The socket by which all is read anew.
        self._asking: Any = None
        self._namespace = namespace
        # While all is read anew, what comes in between waits.
        self._reading = False
        # While that went on, something was lost: it may be old already.
        self._again = False
        self._waiting: list[Message] = []
        # Whether it was logged that a message made no sense.
        self._isPuzzled = False

    @property
    def isOpen(self) -> bool:
        """
        Whether it has its sockets.
        """
        return self._netlink is not None

    def open(self) -> None:
        """
        Open the sockets that L{start} needs: see L{IWatch.open}.

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
        Fill the table, and write every change into it: see L{IWatch.start}.
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
        Empty the table, and close the sockets: see L{IWatch.stop}.
        """
        if self.connected:
            self.connected = 0
            self.stopReading()  # type: ignore[no-untyped-call]
            self._table.clear()
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
        Read what the kernel tells.
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
        A message makes no sense: the rest is read anew. A program that can set interfaces could have it come again and
        again, so that is logged once.
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
        The word that log lines begin with.
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
            table = self._table
            if first:
                table.fill(each.state for each in found)
            else:
                for index in table.states.keys() - {each.state.index for each in found}:
                    self._removed(index)
                for each in found:
                    table.change(each.state, each.gone, each.come)
            self._addresses = {each.state.index: each.addresses for each in found}
            table.tellFollowers(None)
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
        before = self._table.states.get(index)
        if event == "RTM_NEWLINK":
            # Some messages about bridges' ports have little in them.
            if any(each[0] == "IFLA_MTU" for each in message["attrs"]):
                state = interfaceState(message, [])
                self._table.change(attrs.evolve(state, addresses=before.addresses if before else ()))
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
            self._table.change(attrs.evolve(before, addresses=tuple(addresses.values())), gone, come)

    def _removed(self, index: int) -> None:
        self._addresses.pop(index, None)
        self._table.remove(index)


def _onlyIn(
    some: dict[AddressKey, InterfaceAddress], others: dict[AddressKey, InterfaceAddress]
) -> Conversation[list[InterfaceAddress]]:
    """
    The addresses in one table that are not in the other.
    """
    isOnly = yield from inPieces(lambda item: others.get(item[0]) != item[1], some.items())
    return list(compress(some.values(), isOnly))
