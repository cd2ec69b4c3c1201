"""
The calls that a transport makes of its application: of the protocol, and of the producer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.python import context, log
from twisted.python.failure import Failure

from txtuntap.layer.life import FailureLog
from txtuntap.layer.timer import steadySeconds
from txtuntap.tcp.stream import Stream

if TYPE_CHECKING:
    from txtuntap.tcp.interfaces import ITCPLayer
    from txtuntap.tcp.path import Path


class Calls(Stream):
    """
    The part of a L{TCPTransport<txtuntap.tcp.transport.TCPTransport>} that calls the application, and reads the time.
    """

    __slots__ = ("_failures", "_seconds", "connected", "layer", "logstr", "path", "protocol", "reading")

    def __init__(self, layer: ITCPLayer, failures: FailureLog) -> None:
        """
        @param failures: the log of what protocols raise, which all connections of a port share.
        """
        self.layer = layer
        self.connected = False
        self.protocol: Any = None
        self.path: Path | None = None
        self.reading = True
        self.logstr = "Uninitialized"
        self._failures = failures
        self._seconds: Callable[[], float] | None = None

    def _time(self) -> float:
        """
        Read the time, and have the connection go on from there. Its time never goes back, or a peer would drop segments
        for their timestamps; and it is read again after each call of the application, which may have taken long.
        """
        seconds = self._seconds
        if seconds is None:
            clock = self.layer.clock
            if clock is None:
                return self.layer.now()
            seconds = self._seconds = steadySeconds(clock)
        now = seconds()
        path = self.path
        if path is not None:
            if now < path.now:
                # A timer was early.
                return path.now
            path.now = now
        return now

    def _call(self, method: Callable[..., object], *arguments: object) -> bool:
        """
        Call a method of the protocol or the producer, under the name of this connection in the log.

        @return: whether it has not raised. Otherwise the connection is closed.
        """
        try:
            context.call(self._logContext(), method, *arguments)
        except BaseException:
            self._fail(method.__name__)
            return False
        finally:
            self._time()
        return True

    def _logContext(self) -> dict[Any, Any]:
        """
        Make the context of a call of the application: the name of this connection in the log. A table that is kept
        would take a tenth of the memory of a connection.
        """
        return {log.ILogContext: {"system": self.logstr, "isError": 0}}

    def _fail(self, name: str) -> None:
        """
        A method of the protocol or the producer has raised: close the connection, for that reason.
        """
        failure = Failure()
        self._failures.failed(self.layer.now(), name, self.protocol)
        self._close(failure)

    def _made(self, protocol: Any, logstr: str) -> None:
        """
        Have a protocol, whose connection is up.

        @param logstr: the name of the connection in the log.
        """
        self.protocol = protocol
        self.connected = True
        self.logstr = logstr
        self._call(protocol.makeConnection, self)

    def _lost(self, reason: Failure) -> None:
        """
        Tell the protocol, once, that it has lost the connection.
        """
        if self.disconnected:
            return
        self.disconnected = True
        self.connected = False
        self.reading = False
        producer, self.producer = self.producer, None
        protocol, self.protocol = self.protocol, None
        stop = getattr(producer, "stopProducing", None)
        if stop is not None:
            self._call(stop)
        if protocol is not None:
            self._call(protocol.connectionLost, reason)

    def _close(self, reason: Failure) -> None:
        """
        Have the protocol lose the connection, for a reason.
        """
        raise NotImplementedError
