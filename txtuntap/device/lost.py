"""
The loss of an interface: the reason with which a port ends when its interface was deleted.
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
    The network interface of a port was deleted.
    """

    MESSAGE = "The network interface was deleted"


class InterfaceStuck(InterfaceLost):
    """
    The kernel takes no more packets for the network interface of a port. If the port is started again, the interface is
    made anew.
    """

    MESSAGE = "The network interface takes no more packets"


def interfaceLost(device: IDevice, error: OSError) -> InterfaceLost:
    """
    Make the reason with which a port ends because its interface was deleted, or takes no more packets.

    @param device: the port's device, still open. Its C{isStuck}, if it has that, tells the second case.
    @param error: the error that the device has raised for that.
    """
    if getattr(device, "isStuck", False):
        return InterfaceStuck(f"{printable(device.name)} takes no more packets ({error.strerror})")
    return InterfaceLost(f"{printable(device.name)} was deleted ({error.strerror})")


def reasonOfEnd(device: IDevice, reactor: Any, reason: Failure | None) -> Failure:
    """
    Find the reason for the end of a port that the application has not stopped.

    @param device: the port's device, still open.
    @param reactor: the port's reactor.
    @param reason: the reason that the reactor gives, which may only say that the descriptor is in error; C{None} if it
        gives none.
    """
    if reason is None or reason.check(ConnectionDone) or reason.type is ConnectionLost:
        # The poll and epoll reactors report that the descriptor is in error, but not the error's number.
        try:
            device.receive()
        except OSError as e:
            return Failure(interfaceLost(device, e))
        if isShuttingDown(reactor):
            return Failure(ConnectionDone())
        # The kernel is still deleting the interface. Until that is done, a read from the device gives no error.
        return Failure(InterfaceLost(f"{printable(device.name)} was deleted"))
    return reason
