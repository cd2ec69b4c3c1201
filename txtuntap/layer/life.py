"""
The life and death of a protocol on a layer: its transport, its start and stop, and the log of what it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger
from twisted.python.reflect import fullyQualifiedName

from txtuntap.layer.counters import Counters


def startOn(proto: Any, transport: object) -> None:
    """
    Give a protocol its transport and start it. One that is running already keeps the transport it has; one without
    C{makeConnection} is left alone.
    """
    if getattr(proto, "numPorts", 0):
        checkSecondPort = getattr(proto, "checkSecondPort", None)
        if checkSecondPort is not None:
            checkSecondPort(transport)
        proto.doStart()
    elif hasattr(proto, "makeConnection"):
        try:
            proto.makeConnection(transport)
        except BaseException:
            # Or it could never be started again.
            proto.transport = None
            raise


def stopOn(proto: Any) -> None:
    """
    Undo one L{startOn}; the last one stops the protocol.
    """
    # One that has been stopped while it was being stopped, by itself, is not stopped twice.
    if hasattr(proto, "doStop") and getattr(proto, "numPorts", True):
        transport = getattr(proto, "transport", None)
        proto.doStop()
        if getattr(proto, "numPorts", 0):
            # AbstractDatagramProtocol.doStop forgets the transport however many ports there still are.
            proto.transport = transport


def tell(proto: Any, event: str, failures: FailureLog, now: Callable[[], float]) -> None:
    """
    Call a method of a protocol that it may have, such as C{mtuChanged}, without arguments. What it raises is logged.

    @param now: tells the time of a failure, in seconds.
    """
    method = getattr(proto, event, None)
    if callable(method):
        try:
            method()
        except Exception:
            failures.failed(now(), event)


def callEach(calls: Iterable[Callable[[], object]], failures: FailureLog, now: float) -> None:
    """
    Call the functions that wait for the end of a read, and let no exception out.

    @param failures: the log for what they raise.
    @param now: the time, in seconds.
    """
    for call in calls:
        try:
            call()
        except Exception:
            failures.failed(now, "packetReceived")


class FailureLog:
    """
    Logs what a protocol raises, at most once a second: whoever can send packets must not be able to fill the disk.
    """

    _log = Logger()

    def __init__(self, proto: object, counters: Counters) -> None:
        self._proto = proto
        self._counters = counters
        self._logged: float | None = None

    def failed(self, time: float, method: str, proto: object = None) -> None:
        """
        The protocol raised, and the exception is being handled.

        @param time: of the packet, in seconds.
        @param proto: the protocol, where this log is that of many; L{None}: it is the one of this log.
        """
        self._counters["protocolFailures"] += 1
        if self._logged is None or not 0 <= time - self._logged < 1:
            self._logged = time
            name = fullyQualifiedName((self._proto if proto is None else proto).__class__)
            self._log.failure("Unhandled exception from {name}.{method}", name=name, method=method)
