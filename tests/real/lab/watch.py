"""
The watch behind a monitor: its socket, for tests that have the kernel lose messages.
"""

from __future__ import annotations

from typing import cast

from txtuntap.device.linux.monitor import InterfaceWatch
from txtuntap.device.monitor import InterfaceMonitor


def watchOf(monitor: InterfaceMonitor) -> InterfaceWatch:
    """
    The part of a monitor that is on the reactor.
    """
    return cast(InterfaceWatch, monitor._watch)
