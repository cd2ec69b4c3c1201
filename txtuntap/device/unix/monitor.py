"""
The part of monitors for macOS and the BSDs: a reader of the routing socket (C{route(4)}) on the reactor. Not run on a
real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer, moduleProvides

from txtuntap.device.conversation import refuseNamespaces
from txtuntap.device.events import InterfaceTable
from txtuntap.device.interfaces import IWatch, IWatching
from txtuntap.device.unix.kernel import MAX_MESSAGE, Kernel
from txtuntap.device.unix.messages import messageType
from txtuntap.device.watching import DescriptorWatch
from txtuntap.layer.timer import Timer

moduleProvides(IWatching)

#: The largest number of messages that are read in one turn of the reactor.
_MAX_MESSAGES = 100

#: The number of seconds after a message at which the states are read once more. macOS sends no message when an
#: interface is gone, only before.
_LATER = 1.0


def identify(namespace: object) -> None:
    """
    Return C{None}, because these platforms have no network namespaces whose identity could be compared.
    """
    if namespace is not None:
        refuseNamespaces()


@implementer(IWatch)
class InterfaceWatch(DescriptorWatch):
    """
    Keep a table equal to the states of all interfaces.

    Each message about an interface leads to a look at all states, which are compared with the table. So a message that
    was lost or is malformed does no harm, and only the type of a message is used.

    @ivar place: C{None}, because these platforms have no network namespaces.
    """

    def __init__(self, reactor: Any, table: InterfaceTable, namespace: object = None) -> None:
        """
        @param reactor: the reactor.
        @param table: the table to write, which is still empty.
        @param namespace: C{None}, because these platforms have no network namespaces.
        """
        super().__init__(reactor, table)
        identify(namespace)
        self.place = None
        self._kernel = Kernel()
        self._later = Timer(reactor, self._readAnew)
        # Whether a failure to read the states was logged already.
        self._hasLoggedFailure = False

    def open(self) -> None:
        """
        Open the socket that L{start} needs: see L{IWatch.open}.

        @raise OSError: no routing socket can be opened.
        """
        if self._socket is None:
            try:
                self._socket = self._kernel.openRouting()
            except OSError as e:
                text = f"cannot open a routing socket, which reports changes of interfaces: {e.strerror}"
                raise OSError(e.errno, text) from e

    def start(self) -> Deferred[None]:
        """
        Fill the table, and write every change into it: see L{IWatch.start}.
        """
        try:
            self.open()
            states = self._kernel.states()
        except OSError as e:
            return fail(e)
        self.watch()
        self._table.fill(states)
        self._table.tellFollowers(None)
        return succeed(None)

    def stop(self) -> None:
        """
        Empty the table, and close the socket: see L{IWatch.stop}.
        """
        self._later.stop()
        super().stop()

    def doRead(self) -> None:
        """
        Read messages, and read the states again if one of them is about an interface.

        @raise OSError: the socket cannot be read.
        """
        events, isAbout = self._kernel.layout.events, False
        for _ in range(_MAX_MESSAGES):
            try:
                message = self._socket.recv(MAX_MESSAGE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise
                # The socket's buffer was full, and messages were lost.
                isAbout = True
                continue
            if not message:
                raise OSError(errno.ESHUTDOWN, "the routing socket has ended")
            isAbout |= messageType(message, self._kernel.layout) in events
        if isAbout:
            self._readAnew()
            if self.connected:
                self._later.arm(_LATER)

    def _readAnew(self) -> None:
        try:
            states = self._kernel.states()
        except OSError:
            # The cause may be any program that configures interfaces, so only the first failure is logged.
            if not self._hasLoggedFailure:
                self._hasLoggedFailure = True
                self._log.failure("Cannot read the interfaces")
            return
        self._table.update(states)
