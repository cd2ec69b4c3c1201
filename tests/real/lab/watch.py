"""
Access to the watch of a monitor, for tests in which the kernel loses notifications.
"""

from __future__ import annotations

from typing import cast

from txtuntap.device.linux.monitor import InterfaceWatch
from txtuntap.device.monitor import InterfaceMonitor


def watchOf(monitor: InterfaceMonitor) -> InterfaceWatch:
    """
    Return the watch of a monitor, which reads the netlink socket on the reactor.
    """
    return cast(InterfaceWatch, monitor._watch)
