"""
Functions that start and stop a protocol on its transport, and the log of the exceptions that it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger
from twisted.python.reflect import fullyQualifiedName

from txtuntap.layer.counters import Counters


def startOn(proto: Any, transport: object) -> None:
    """
    Give a protocol its transport and start it. A protocol that runs already keeps its transport. A protocol without
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
            # AbstractDatagramProtocol refuses a second makeConnection while it has a transport.
            proto.transport = None
            raise


def stopOn(proto: Any) -> None:
    """
    Undo one call of L{startOn}. The last call stops the protocol.
    """
    # A protocol that has stopped itself during the stop has numPorts 0, and is not stopped twice.
    if hasattr(proto, "doStop") and getattr(proto, "numPorts", True):
        transport = getattr(proto, "transport", None)
        proto.doStop()
        if getattr(proto, "numPorts", 0):
            # AbstractDatagramProtocol.doStop clears the transport even if the protocol still has other ports.
            proto.transport = transport


def tell(proto: Any, event: str, failures: FailureLog, now: Callable[[], float]) -> None:
    """
    Call an optional method of a protocol, such as C{mtuChanged}, without arguments. Log the exception that it raises.

    @param event: the name of the method.
    @param now: returns the time in seconds, by which the log limits its rate.
    """
    method = getattr(proto, event, None)
    if callable(method):
        try:
            method()
        except Exception:
            failures.failed(now(), event)


def callEach(calls: Iterable[Callable[[], object]], failures: FailureLog, now: float) -> None:
    """
    Call the functions that wait for the end of a read. Log the exceptions that they raise.

    @param failures: the log for the exceptions.
    @param now: the time in seconds, by which the log limits its rate.
    """
    for call in calls:
        try:
            call()
        except Exception:
            failures.failed(now, "packetReceived")


class FailureLog:
    """
    A log of the exceptions that a protocol raises. At most one a second is logged, so that a sender of packets cannot
    fill the disk. All are counted.
    """

    _log = Logger()

    def __init__(self, proto: object, counters: Counters) -> None:
        self._proto = proto
        self._counters = counters
        self._logged: float | None = None

    def failed(self, time: float, method: str, proto: object = None) -> None:
        """
        Count the exception that is being handled, and log it unless another one was logged within the last second.

        @param time: the time of the packet, in seconds.
        @param method: the name of the method that raised.
        @param proto: the protocol that raised, if several protocols share this log. C{None}: the protocol of this log.
        """
        self._counters["protocolFailures"] += 1
        if self._logged is None or not 0 <= time - self._logged < 1:
            self._logged = time
            name = fullyQualifiedName((self._proto if proto is None else proto).__class__)
            self._log.failure("Unhandled exception from {name}.{method}", name=name, method=method)
