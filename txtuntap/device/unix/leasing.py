"""
The devices of the helper on macOS and the BSDs: how the helper opens them. Not run on a real macOS, FreeBSD, OpenBSD or
NetBSD yet.

Closing a device here deletes its interface, by itself or through the kernel. So the helper has the device open as long
as the program has it. A program that passes its descriptor on keeps the interface.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from typing import Any

from txtuntap.device import TAP, indexOf
from txtuntap.device.choice import makeDevice
from txtuntap.device.platform import platformName
from txtuntap.device.settings import InterfaceState
from txtuntap.device.unix.device import UnixDevice
from txtuntap.device.unix.opening import MAX_NODES
from txtuntap.interfaces import IDevice

#: Whether the helper can harden the interfaces of this platform.
HARDENS = False

#: Whether the helper has the device open, too, as long as the program has it.
KEEPS_OPEN = True


def makeLeased(name: str, mode: int, isNew: bool, node: str | None, namespace: Any) -> IDevice:
    """
    Make a device for a program, not open yet.

    @param isNew: whether there must be no interface of this name.
    @param node: C{None}, because the name of the interface names the node.
    @param namespace: C{None}, because these platforms have no network namespaces.

    @raise OSError: there is an interface of this name, and C{isNew} is true (C{EBUSY}). Or C{node} or C{namespace} is
        not C{None}, or the device has more than one descriptor (C{ENOTSUP}).
    """
    if isNew:
        name = _unused(name, mode)
    device = makeDevice(name, mode, node=node, namespace=namespace)
    if device.name.startswith("feth"):
        # Its descriptor joins several others, and no other process can use it.
        raise OSError(errno.ENOTSUP, f"{name} is a pair of interfaces, which the helper cannot pass on: ask for a utun")
    return device


def checkLeased(device: IDevice) -> None:
    """
    Check that the helper can take an open device back at any time.

    @raise OSError: it cannot (C{ENOTSUP}).
    """
    if platformName() == "freebsd" and isinstance(device, UnixDevice) and device.destroys:
        # The kernel destroys an interface after its last descriptor is closed. A program that keeps its descriptor
        # would block the helper.
        raise OSError(errno.ENOTSUP, f"this FreeBSD does not delete {device.name} by itself (TUNSTRANSIENT)")


def _unused(name: str, mode: int) -> str:
    """
    Find a name that no interface has. The kernel would take an interface that exists and is closed for C{tun%d}.

    @param name: a name; C{%d} in it stands for a free number, and an empty name for any. macOS finds that itself.

    @raise OSError: an interface has the name (C{EBUSY}).
    """
    if not name and platformName() != "darwin":
        name = "tap%d" if mode == TAP else "tun%d"
    if "%d" not in name or platformName() == "darwin":
        if indexOf(name):
            raise OSError(errno.EBUSY, f"{name} exists already")
        return name
    for number in range(MAX_NODES):
        if not indexOf(name.replace("%d", str(number))):
            return name.replace("%d", str(number))
    raise OSError(errno.EBUSY, f"all {MAX_NODES} interfaces of {name} exist")


def openUnused(state: InterfaceState, node: str | None, namespace: Any) -> IDevice:
    """
    Raise C{OSError}, because opening a device of these platforms changes it.
    """
    raise OSError(errno.ENOTSUP, f"{state.name} cannot be opened without a change")


def deleting(index: int, name: str) -> Generator[Any, Any, None]:
    """
    Make a conversation without requests, because closing the device has deleted the interface.
    """
    yield from ()
