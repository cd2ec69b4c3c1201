"""
The opening and closing of a device's descriptor on macOS and the BSDs. Not run on a real macOS, FreeBSD, OpenBSD or
NetBSD yet.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Any

import attrs

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.advice import advising
from txtuntap.device.packets import Prefix
from txtuntap.device.unix.layout import Layout

#: The largest number of nodes (C{/dev/tun0} and so on) that are tried to find a free one.
MAX_NODES = 256

#: A name of an interface: the driver's name, and a number or C{%d}.
_NAME = re.compile(r"([a-z]+)(%d|0|[1-9][0-9]{0,4})")


@attrs.define
class Attachment:
    """
    An open descriptor that is attached to an interface.

    @ivar fileno: the number of the descriptor.
    @ivar name: the name of the interface; empty: not known.
    @ivar prefix: the header before each packet; C{None}: there is none.
    @ivar hasOffloadHeader: whether a C{struct virtio_net_hdr} precedes each packet.
    @ivar offloads: the work that may be left to the interface, as bits of L{txtuntap.wire.offload}.
    @ivar longest: the most octets in a packet that the kernel accepts, without the header.
    @ivar created: whether this process has created the interface, and has to destroy it.
    """

    fileno: int
    name: str
    prefix: Prefix | None = None
    hasOffloadHeader: bool = False
    offloads: int = 0
    longest: int = 65535
    created: bool = False


class Opening:
    """
    The means to open and close the descriptor of a device. Each kind of device has a subclass.

    @cvar LAYOUT: the platform's numbers; C{None}: the interface cannot be asked for its state.
    @cvar LOST: the numbers of the platform's own errors of a read or a write after the interface was deleted.
    """

    LAYOUT: Layout | None = None
    LOST: frozenset[int] = frozenset()

    def open(self, offload: bool | None) -> Attachment:
        """
        Open a descriptor and attach it to the interface.

        @param offload: see L{IDevice.open<txtuntap.interfaces.IDevice.open>}. A kind of device without offload ignores
            it.

        @raise OSError: the system refuses. The text says what to do.
        """
        raise NotImplementedError

    def close(self, attachment: Attachment) -> None:
        """
        Close the descriptor of an interface. Destroy the interface if this process has created it and the kernel would
        keep it.
        """
        raise NotImplementedError

    def discard(self) -> None:
        """
        Close a descriptor that was given to a device and never used. Only L{AdoptedOpening
        <txtuntap.device.unix.adopted.AdoptedOpening>} has one.
        """

    def receiveFinished(self, attachment: Attachment) -> None:
        """
        Have the kernel finish all packets before they are received. Only an interface with offload needs this method.
        """
        raise NotImplementedError


def numberOf(
    name: str | bytes, mode: int, drivers: Mapping[int, tuple[str, ...]], title: str
) -> tuple[str, int | None]:
    """
    Check the name of an interface whose driver prescribes the form of the name.

    @param name: the name; empty: any number.
    @param mode: C{TUN} or C{TAP}.
    @param drivers: the names that the drivers have, for each mode.
    @param title: the name of the platform.

    @return: the name of the driver, and the number of the interface; C{None}: any free number.

    @raise ValueError: C{mode} is not valid, or no interface can have this name.
    """
    if mode not in (TUN, TAP):
        raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
    text = os.fsdecode(interfaceName(name))
    if not text:
        return drivers[mode][0], None
    found = _NAME.fullmatch(text)
    if found is None or found[1] not in drivers[mode]:
        kind = "tap" if mode == TAP else "tun"
        forms = " or ".join(f"{driver}0 or {driver}%d" for driver in drivers[mode])
        raise ValueError(f"the name of a {kind} is {forms} on {title}, not {text!r}")
    return found[1], None if found[2] == "%d" else int(found[2])


def openNode(system: Any, layout: Layout, path: str) -> int:
    """
    Open a device node.

    @return: the descriptor, which does not block, and which child processes do not inherit.

    @raise OSError: the system refuses. The text says what to do.
    """
    with advising(path, layout.advice):
        return int(system.open(path, system.O_RDWR | system.O_NONBLOCK | system.O_CLOEXEC))


def openFree(system: Any, layout: Layout, driver: str) -> tuple[int, int]:
    """
    Open the first node of a driver that no program has open: C{/dev/tun0}, C{/dev/tun1} and so on.

    @return: the descriptor, and the number of the node.

    @raise OSError: there is none (C{EBUSY}), or the system refuses. The text says what to do.
    """
    for number in range(MAX_NODES):
        path = f"/dev/{driver}{number}"
        try:
            return openNode(system, layout, path), number
        except OSError as e:
            if e.errno == errno.ENOENT and number:
                break
            # ENXIO: there is a node, but the driver has no interface for it.
            if e.errno not in (errno.EBUSY, errno.ENXIO):
                raise
    raise OSError(errno.EBUSY, f"each node of {driver} before {path} is in use: stop a program, or make more nodes")
