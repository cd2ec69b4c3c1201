"""
The part of monitors for Windows: its notifications, handed to the reactor's thread. Run under Wine with fake drivers,
not on a real Windows yet.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer, moduleProvides

from txtuntap.device.changes import called
from txtuntap.device.conversation import refuseNamespaces
from txtuntap.device.events import InterfaceTable
from txtuntap.device.interfaces import IWatch, IWatching
from txtuntap.device.settings import InterfaceState
from txtuntap.device.windows.network import Network
from txtuntap.device.windows.notifications import Notification
from txtuntap.layer.timer import Timer

moduleProvides(IWatching)

#: The number of seconds after a notification at which the states are read once more. Windows notifies about changes of
#: an interface's use by IPv4 and IPv6, and its link may change a moment later.
_LATER = 1.0


def identify(namespace: object) -> None:
    """
    Return C{None}, because Windows has no network namespaces whose identity could be compared.
    """
    if namespace is not None:
        refuseNamespaces()


@implementer(IWatch)
class InterfaceWatch:
    """
    Keep a table equal to the states of all interfaces.

    Each notification leads to a look at all states, which are compared with the table. Windows notifies on a thread of
    its own. The reactor is told once for all notifications that arrive before it looks, so that many of them fill no
    queue.

    @ivar place: C{None}, because Windows has no network namespaces.
    """

    _log = Logger()

    def __init__(self, reactor: Any, table: InterfaceTable, namespace: object = None) -> None:
        """
        @param reactor: the reactor, whose C{callFromThread} is called on threads of Windows.
        @param table: the table to write, which is still empty.
        @param namespace: C{None}, because Windows has no network namespaces.
        """
        identify(namespace)
        self.place = None
        self._reactor = reactor
        self._table = table
        self._network: Network | None = None
        self._notifications: list[Notification] = []
        self._isStarted = False
        # Whether the reactor was told of a notification, and has not looked yet.
        self._isTold = False
        self._later = Timer(reactor, self._readAnew)
        # Whether a failure to read the states was logged already, and whether a malformed row was.
        self._hasLoggedFailure = False
        self._hasLoggedMalformed = False

    @property
    def isOpen(self) -> bool:
        """
        Whether Windows notifies this watch.
        """
        return bool(self._notifications)

    def open(self) -> None:
        """
        Ask Windows for the notifications that L{start} needs: see L{IWatch.open}.

        @raise OSError: Windows refuses.
        """
        if not self._notifications:
            network = self._network = called(Network, "watch the interfaces")
            self._notifications = called(lambda: network.notify(self._changed), "watch the interfaces")

    def start(self) -> Deferred[None]:
        """
        Fill the table, and write every change into it: see L{IWatch.start}.
        """
        try:
            self.open()
            states = self._states()
        except OSError as e:
            return fail(e)
        self._isStarted = True
        self._table.fill(states)
        self._table.tellFollowers(None)
        return succeed(None)

    def stop(self) -> None:
        """
        Empty the table, and end the notifications: see L{IWatch.stop}.
        """
        if self._isStarted:
            self._isStarted = False
            self._later.stop()
            self._table.clear()
        notifications, self._notifications = self._notifications, []
        for each in notifications:
            each.cancel()

    def _changed(self) -> None:
        """
        Tell the reactor of a notification, on a thread of Windows.
        """
        if not self._isTold:
            self._isTold = True
            self._reactor.callFromThread(self._look)

    def _look(self) -> None:
        # A notification from now on may be about a change that this look misses.
        self._isTold = False
        if self._isStarted:
            self._readAnew()
        if self._isStarted:
            self._later.arm(_LATER)

    def _states(self) -> list[InterfaceState]:
        assert self._network is not None
        states = called(self._network.states, "read the interfaces")
        if self._network.malformed and not self._hasLoggedMalformed:
            self._hasLoggedMalformed = True
            self._log.info("Ignoring malformed rows in the tables of interfaces and addresses")
        return states

    def _readAnew(self) -> None:
        try:
            states = self._states()
        except OSError:
            # The cause may be any program that configures interfaces, so only the first failure is logged.
            if not self._hasLoggedFailure:
                self._hasLoggedFailure = True
                self._log.failure("Cannot read the interfaces")
            return
        self._table.update(states)
