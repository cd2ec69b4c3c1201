"""
The state of interfaces, read from the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from txtuntap.device.platform import importEarly, platformModule
from txtuntap.device.settings import InterfaceState

if TYPE_CHECKING:
    from txtuntap.device.interfaces import IReading
    from txtuntap.device.linux.namespace import Namespace

importEarly("state")


def _platform() -> IReading:
    platform: IReading = platformModule("state")
    return platform


def readInterface(name: str, namespace: Namespace | None = None) -> InterfaceState:
    """
    Read the state of an interface. Waits for the kernel's answer.

    @param namespace: the network namespace that it is in; L{None}: this one.

    @raise ValueError: C{name} is none that an interface can have.
    @raise OSError: there is no such interface (C{ENODEV}), or this platform's cannot be read (C{ENOTSUP}).
    """
    platform = _platform()
    found: InterfaceState = platform.askNow(platform.reading(name), namespace)
    return found


def readInterfaces(namespace: Namespace | None = None) -> list[InterfaceState]:
    """
    Read the states of all interfaces of a network namespace; L{None}: of this one.
    """
    platform = _platform()
    found: list[InterfaceState] = platform.askNow(platform.readingAll(), namespace)
    return found


def read(name: str, reactor: Any = None, namespace: Namespace | None = None) -> Deferred[InterfaceState]:
    """
    As L{readInterface}, without waiting.
    """
    platform = _platform()
    return platform.ask(reactor, platform.reading(name), namespace)
