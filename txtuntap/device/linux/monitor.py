"""
The Linux part of monitors: a reader of rtnetlink's notifications (C{rtnetlink(7)}) on the reactor.
"""

from __future__ import annotations

import errno
from itertools import compress
from operator import attrgetter
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer, moduleProvides

from txtuntap.device.events import InterfaceTable
from txtuntap.device.interfaces import IWatch, IWatching
from txtuntap.device.linux.linkmessages import decode, split
from txtuntap.device.linux.namespace import Namespace, NamespaceIdentity, identify
from txtuntap.device.linux.netlink import READ_SIZE, Conversation, Message, ask, openSocket
from txtuntap.device.linux.state import interfaceAddress, interfaceState, readingAll
from txtuntap.device.pieces import inPieces
from txtuntap.device.settings import AddressKey, InterfaceAddress, InterfaceState
from txtuntap.device.watching import DescriptorWatch

__all__ = ["InterfaceWatch", "identify"]

moduleProvides(IWatching)

#: The multicast groups to join: RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (C{linux/rtnetlink.h}).
_GROUPS = 0x1 | 0x10 | 0x100


@attrs.frozen
class _ReadInterface:
    """
    An interface whose state was read, compared with what was known of it.

    @ivar state: the present state.
    @ivar addresses: the present addresses by their keys.
    @ivar gone: the addresses that the interface has lost.
    @ivar come: the addresses that the interface has gained.
    """

    state: InterfaceState
    addresses: dict[AddressKey, InterfaceAddress]
    gone: list[InterfaceAddress]
    come: list[InterfaceAddress]


@implementer(IWatch)
class InterfaceWatch(DescriptorWatch):
    """
    Keep a table equal to the states of the interfaces in a network namespace.

    Each notification of the kernel changes the table. If notifications were lost, all states are read again with a
    second socket. The notifications that arrive meanwhile wait, because they may be newer than the states.

    @ivar place: the identity of the watched network namespace; C{None}: the watch was never open, or the identity
        cannot be found out.
    """

    def __init__(self, reactor: Any, table: InterfaceTable, namespace: Namespace | None = None) -> None:
        """
        @param reactor: the reactor.
        @param table: the table to write, which is still empty.
        @param namespace: the network namespace to watch; C{None}: the namespace of this process.
        """
        super().__init__(reactor, table)
        # The addresses of each interface by their keys. A notification is about one address of perhaps thousands, which
        # would take long to find in the table.
        self._addresses: dict[int, dict[AddressKey, InterfaceAddress]] = {}
        self.place: NamespaceIdentity | None = None
        # The socket with which all states are read. Another one receives notifications.
        self._asking: Any = None
        self._namespace = namespace
        # Whether all states are being read. Messages that arrive meanwhile wait.
        self._reading = False
        # Whether messages were lost meanwhile, so that the states may be out of date and have to be read again.
        self._again = False
        self._waiting: list[Message] = []
        # Whether a malformed message was logged already.
        self._hasLoggedMalformed = False

    def open(self) -> None:
        """
        Open the sockets that L{start} needs: see L{IWatch.open}.

        @raise OSError: the namespace cannot be entered, or no netlink socket can be opened.
        """
        if self._socket is None:
            self.place = identify(self._namespace)
            asking = openSocket(namespace=self._namespace)
            try:
                self._socket = openSocket(_GROUPS, self._namespace)
            except BaseException:
                asking.close()
                raise
            self._asking = asking
            self._socket.setblocking(False)

    def start(self) -> Deferred[None]:
        """
        Fill the table, and write every change into it: see L{IWatch.start}.
        """
        try:
            self.open()
        except OSError as e:
            return fail(e)
        # The notifications that have arrived are older than the states that are about to be read.
        self._drain()
        self.watch()
        return self._readAll(first=True)

    def stop(self) -> None:
        """
        Empty the table, and close the sockets: see L{IWatch.stop}.
        """
        if self._socket is not None:
            self._asking.close()
        self._waiting.clear()
        super().stop()

    def doRead(self) -> None:
        """
        Read notifications, and write them into the table.
        """
        try:
            data = self._socket.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            if e.errno != errno.ENOBUFS:
                raise
            # The socket's buffer was full and notifications were lost. The others are older than the states that are
            # about to be read.
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
                    self._apply(message)
        except Exception:
            # An exception would make the reactor close the socket, and no more changes would be reported.
            self._malformed()

    def _malformed(self) -> None:
        """
        Read all states again because a message cannot be parsed. This is logged only once, because a program that can
        configure interfaces could cause such messages again and again.
        """
        if not self._hasLoggedMalformed:
            self._hasLoggedMalformed = True
            self._log.failure("Cannot parse a message of the kernel about an interface: reading all interfaces again")
        self._readAnew()

    def _readAnew(self) -> None:
        if self._reading:
            self._again = True
        else:
            self._readAll().addErrback(lambda reason: self._log.failure("Cannot read the interfaces", reason))

    def _drain(self) -> None:
        while True:
            try:
                self._socket.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise

    def _readAll(self, first: bool = False) -> Deferred[None]:
        self._reading = True
        self._again = False
        self._waiting.clear()

        def done(found: list[_ReadInterface]) -> Deferred[None] | None:
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
                    self._apply(message)
            except Exception:
                self._malformed()
            return None

        def failed(reason: Failure) -> Failure | None:
            self._reading = False
            self._waiting.clear()
            # If the socket was closed because the monitor has stopped or the reactor has ended, nobody needs the
            # states.
            isClosed = getattr(reason.value, "errno", None) == errno.ESHUTDOWN
            return reason if self.connected and not isClosed else None

        return ask(self.reactor, self._finding(), by=self._asking).addCallbacks(done, failed)

    def _finding(self) -> Conversation[list[_ReadInterface]]:
        """
        Make a conversation that reads all interfaces and compares their addresses with those in C{_addresses}. These do
        not change meanwhile, because notifications wait.
        """
        found = []
        for state in (yield from readingAll()):
            before = self._addresses.get(state.index, {})
            keys = yield from inPieces(attrgetter("key"), state.addresses)
            now = dict(zip(keys, state.addresses, strict=True))
            gone = yield from _onlyIn(before, now)
            come = yield from _onlyIn(now, before)
            found.append(_ReadInterface(state, now, gone, come))
        return found

    def _apply(self, message: Message) -> None:
        event = message["event"]
        index = message["index"]
        before = self._table.states.get(index)
        if event == "RTM_NEWLINK":
            # Some messages about the ports of a bridge lack most attributes.
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
                # Only the flags of the address have changed, and the table does not hold these.
                gone = come = []
            self._table.change(attrs.evolve(before, addresses=tuple(addresses.values())), gone, come)

    def _removed(self, index: int) -> None:
        self._addresses.pop(index, None)
        self._table.remove(index)


def _onlyIn(
    some: dict[AddressKey, InterfaceAddress], others: dict[AddressKey, InterfaceAddress]
) -> Conversation[list[InterfaceAddress]]:
    """
    Make a conversation that finds the addresses in one table that are not in the other.
    """
    isOnly = yield from inPieces(lambda item: others.get(item[0]) != item[1], some.items())
    return list(compress(some.values(), isOnly))
