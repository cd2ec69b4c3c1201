"""
The loss of an interface: the reason that a port ends with when its interface has gone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from txtuntap.device import printable
from txtuntap.interfaces import IDevice
from txtuntap.shutdown import isShuttingDown


class InterfaceLost(ConnectionLost):
    """
    The interface under a port is gone.
    """

    MESSAGE = "The network interface is gone"


def interfaceLost(device: IDevice, error: OSError) -> InterfaceLost:
    """
    The reason for a port to end whose device fails with C{error} because its interface is gone.
    """
    return InterfaceLost(f"{printable(device.name)} was deleted ({error.strerror})")


def reasonOfEnd(device: IDevice, reactor: Any, reason: Failure | None) -> Failure:
    """
    Find the reason for the end of a port that nobody has stopped.

    @param reason: the reactor's, which may say no more than that the descriptor is in error; L{None} if it gives none.
    """
    if reason is None or reason.check(ConnectionDone) or reason.type is ConnectionLost:
        # Reactors on poll and epoll see that the descriptor is in error and do not say which.
        try:
            device.receive()
        except OSError as e:
            return Failure(interfaceLost(device, e))
        if isShuttingDown(reactor):
            return Failure(ConnectionDone())
        # It is still being deleted: a moment before its end a device reads as if nothing were.
        return Failure(InterfaceLost(f"{printable(device.name)} was deleted"))
    return reason
