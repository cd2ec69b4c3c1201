"""
The choice of a device on FreeBSD, OpenBSD and NetBSD. Not run on a real FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

from txtuntap.device.bsd.freebsd import FreeBSDOpening
from txtuntap.device.bsd.netbsd import NetBSDOpening
from txtuntap.device.bsd.nodes import DRIVERS, AdoptedNode, NodeOpening
from txtuntap.device.bsd.openbsd import OpenBSDOpening
from txtuntap.device.platform import platformName
from txtuntap.device.unix.device import UnixDevice
from txtuntap.device.unix.opening import numberOf
from txtuntap.device.unix.system import RealSystem

#: The class of each platform, by its name (L{platformName}).
_OPENINGS: dict[str, type[NodeOpening]] = {
    "freebsd": FreeBSDOpening,
    "openbsd": OpenBSDOpening,
    "netbsd": NetBSDOpening,
}


def makeDevice(name: str | bytes, mode: int, system: Any = None, descriptor: int | None = None) -> UnixDevice:
    """
    Make a device of the BSD that this program runs on. The device is not open yet.

    @param name: the interface's name: C{tun0} or C{tap0}; C{tun%d}, C{tap%d} or empty: any free number.
    @param mode: C{TUN} or C{TAP}.
    @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.
    @param descriptor: a descriptor of the node that was opened elsewhere. C{None}: the device opens the node.

    @raise ValueError: C{name}, C{mode} or C{descriptor} is not valid.
    @raise OSError: this platform is none of the three (C{ENOTSUP}).
    """
    kind = _OPENINGS.get(platformName())
    if kind is None:
        raise OSError(errno.ENOTSUP, f"{sys.platform} is none of {', '.join(_OPENINGS)}")
    driver, number = numberOf(name, mode, DRIVERS, kind.LAYOUT.title)
    system = RealSystem if system is None else system
    opening = kind(mode, number, system)
    shown = f"{driver}{'%d' if number is None else number}"
    if descriptor is None:
        return UnixDevice(shown, mode, opening, system)
    return UnixDevice(shown, mode, AdoptedNode(descriptor, "" if number is None else shown, opening, system), system)
