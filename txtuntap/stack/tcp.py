"""
The TCP methods of a host, which has no TCP of its own yet: they go to a reactor given for it, or fail and say so.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import BaseConnector
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.interfaces import IConnector, IListeningPort, IReactorTCP, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.layer.timer import Timer

_ADVICE = "this Host has no TCP: give it a reactor to do TCP by, Host(tcp=reactor)"


@implementer(IReactorTCP)
class TCPElsewhere:
    """
    TCP by another reactor.
    """

    def __init__(self, clock: IReactorTime, reactor: IReactorTCP | None) -> None:
        """
        @param clock: the reactor in whose next turn a factory learns that there is no TCP.
        @param reactor: what does TCP; L{None}: nothing.
        """
        self._clock = clock
        self._tcp = reactor

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """
        See C{IReactorTCP.listenTCP}.

        @raise CannotListenError: there is no TCP.
        """
        if self._tcp is None:
            raise CannotListenError(interface, port, OSError(errno.EPROTONOSUPPORT, _ADVICE))
        return self._tcp.listenTCP(port, factory, backlog, interface)

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """
        See C{IReactorTCP.connectTCP}. Without TCP, C{factory.clientConnectionFailed} is called with a C{ConnectError}
        that says so.
        """
        if self._tcp is not None:
            return self._tcp.connectTCP(host, port, factory, timeout, bindAddress)
        connector = _Connector(self._clock, factory, host, port)
        connector.connect()
        return connector


class _Connector(BaseConnector):
    """
    Connects to nobody.
    """

    def __init__(self, clock: IReactorTime, factory: Any, host: str, port: int) -> None:
        super().__init__(factory, 0, clock)  # type: ignore[arg-type]
        # The failure comes before any timeout would.
        self.timeout = None  # type: ignore[assignment]
        self._clock = clock
        self._destination = (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)

    def _makeTransport(self) -> Any:
        return _Attempt(self._clock, self)

    def getDestination(self) -> IPv4Address | IPv6Address:
        """
        See C{IConnector.getDestination}.
        """
        return self._destination


class _Attempt:
    """
    The transport that a connector has while it is connecting.
    """

    def __init__(self, clock: IReactorTime, connector: _Connector) -> None:
        self._connector = connector
        error = ConnectError(OSError(errno.EPROTONOSUPPORT, _ADVICE))
        self._failing = Timer(clock, self.failIfNotConnected, error)
        self._failing.arm(0)

    def failIfNotConnected(self, error: Exception) -> None:
        """
        Give up: nothing came in time, or the program wants no more.
        """
        self._failing.stop()
        self._connector.connectionFailed(Failure(error))
