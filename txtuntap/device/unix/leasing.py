"""
The devices of the helper on macOS and the BSDs: how the helper opens them. Not run on a real macOS, FreeBSD, OpenBSD or
NetBSD yet.

Closing a device here deletes its interface, by itself or through the kernel. So the helper has the device open as long
as the program has it. A program that passes its descriptor on keeps the interface.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from typing import Any

from txtuntap.device.choice import makeDevice
from txtuntap.device.settings import InterfaceState
from txtuntap.interfaces import IDevice

#: Whether the helper can harden the interfaces of this platform.
HARDENS = False

#: Whether the helper has the device open, too, as long as the program has it.
KEEPS_OPEN = True


def makeLeased(name: str, mode: int, isNew: bool, node: str | None, namespace: Any) -> IDevice:
    """
    Make a device for a program, not open yet.

    @param isNew: whether there must be no interface of this name.
    @param node: L{None}, because the name of the interface names the node.
    @param namespace: L{None}, because these platforms have no network namespaces.

    @raise OSError: there is an interface of this name, and C{isNew} is true (C{EBUSY}). Or C{node} or C{namespace} is
        not L{None}, or the device has more than one descriptor (C{ENOTSUP}).
    """
    if isNew and _exists(name):
        raise OSError(errno.EBUSY, f"{name} exists already")
    device = makeDevice(name, mode, node=node, namespace=namespace)
    if device.name.startswith("feth"):
        # Its descriptor joins several others, and no other process can use it.
        raise OSError(errno.ENOTSUP, f"{name} is a pair of interfaces, which the helper cannot pass on: ask for a utun")
    return device


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


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
