"""
The devices of the helper on Linux: how the helper opens them, opens them again, and deletes them.
"""

from __future__ import annotations

import errno

from txtuntap.device import TAP, TUN
from txtuntap.device.linux.device import NODE, LinuxDevice
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.linux.netlink import Conversation, delete
from txtuntap.device.settings import InterfaceState
from txtuntap.interfaces import IDevice

#: Whether the helper can harden the interfaces of this platform.
HARDENS = True

#: Whether the helper has the device open, too, as long as the program has it. Here the helper can delete it without.
KEEPS_OPEN = False


def makeLeased(name: str, mode: int, isNew: bool, node: str | None, namespace: Namespace | None) -> LinuxDevice:
    """
    Make a device for a program, not open yet.

    @param isNew: whether opening it fails with C{EBUSY} if there is an interface of this name.
    """
    return LinuxDevice(name, mode, exclusive=isNew, node=node or NODE, namespace=namespace)


def checkLeased(device: IDevice) -> None:
    """
    Do nothing, because the kernel deletes any device at the helper's request.
    """


def openUnused(state: InterfaceState, node: str | None, namespace: Namespace | None) -> LinuxDevice:
    """
    Open an existing device that no program has open, without a change of its settings.

    @raise OSError: a program has the device open, or it was deleted.
    """
    device = makeLeased(state.name, TAP if state.kind == "tap" else TUN, False, node, namespace)
    device.openAsItIs(state)
    return device


def deleting(index: int, name: str) -> Conversation[None]:
    """
    Make a conversation that deletes the interface of a device that a program may still have open.
    """
    try:
        yield delete("link", f"delete {name}", index=index)
    except OSError as e:
        if e.errno != errno.ENODEV:
            raise
