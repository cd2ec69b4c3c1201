"""
The calls from a transport to its application: to the protocol and to the producer.
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
        @param failures: the log of exceptions that protocols raise. All connections of a port share it.
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
        Read the clock, and set the time of the connection's path to it. The path's time never goes back, because a peer
        would drop segments whose timestamps go back. The clock is read again after each call of the application,
        because the call may have taken long.
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
                # The timer has fired early, and the path's time is the deadline already.
                return path.now
            path.now = now
        return now

    def _call(self, method: Callable[..., object], *arguments: object) -> bool:
        """
        Call a method of the protocol or the producer. Log lines of the call name this connection. If the call raises an
        exception, close the connection.

        @return: whether the call has returned without an exception.
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
        Make the log context for a call of the application, with the name of this connection. It is made for each call,
        because a stored one would add a tenth to the memory of a connection.
        """
        return {log.ILogContext: {"system": self.logstr, "isError": 0}}

    def _fail(self, name: str) -> None:
        """
        Log the current exception, which a method of the protocol or the producer has raised, and close the connection
        with it as the reason.

        @param name: the name of the method.
        """
        failure = Failure()
        self._failures.failed(self.layer.now(), name, self.protocol)
        self._close(failure)

    def _connectProtocol(self, protocol: Any, logstr: str) -> None:
        """
        Connect a protocol to this transport. The handshake is complete.

        @param logstr: the name of the connection in the log.
        """
        self.protocol = protocol
        self.connected = True
        self.logstr = logstr
        self._call(protocol.makeConnection, self)

    def _disconnectProtocol(self, reason: Failure) -> None:
        """
        Call C{stopProducing} of the producer and C{connectionLost} of the protocol. Later calls do nothing.
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
        Close the connection, and call C{connectionLost} of the protocol with a reason.
        """
        raise NotImplementedError
