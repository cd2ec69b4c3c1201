"""
Functions that read the state of interfaces from the kernel.
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
    Read the state of an interface, and block until the kernel has answered.

    @param name: the interface's name.
    @param namespace: the network namespace of the interface; C{None}: the namespace of this process.

    @raise ValueError: C{name} is not a valid interface name.
    @raise OSError: there is no such interface (C{ENODEV}), or states cannot be read on this platform (C{ENOTSUP}).
    """
    platform = _platform()
    found: InterfaceState = platform.askNow(platform.reading(name), namespace)
    return found


def readInterfaces(namespace: Namespace | None = None) -> list[InterfaceState]:
    """
    Read the states of all interfaces in a network namespace, and block until the kernel has answered.

    @param namespace: the network namespace; C{None}: the namespace of this process.

    @raise OSError: states cannot be read on this platform (C{ENOTSUP}).
    """
    platform = _platform()
    found: list[InterfaceState] = platform.askNow(platform.readingAll(), namespace)
    return found


def flagNames(flags: int) -> list[str]:
    """
    Return the names of an interface's flags, such as C{["MULTICAST", "UP"]}. A flag without a name is a number in
    hexadecimal.

    @param flags: the flags of an L{InterfaceState}.

    @raise OSError: states cannot be read on this platform (C{ENOTSUP}).
    """
    known = _platform().FLAGS
    rest = flags & ~sum(known)
    return [name for flag, name in known.items() if flags & flag] + [f"{rest:#x}"] * bool(rest)


def read(name: str, reactor: Any = None, namespace: Namespace | None = None) -> Deferred[InterfaceState]:
    """
    Read the state of an interface as L{readInterface} does, without blocking.

    @return: fires with the state; fails with what L{readInterface} raises.

    @raise OSError: states cannot be read on this platform (C{ENOTSUP}).
    """
    platform = _platform()
    return platform.ask(reactor, platform.reading(name), namespace)
