"""
The choice of a device of Windows by its name. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import errno
from typing import Any

from txtuntap.device import TAP, TUN
from txtuntap.device.windows.wintun import WintunDevice
from txtuntap.interfaces import IDevice


def makeDevice(name: str | bytes, mode: int, system: Any = None, descriptor: int | None = None) -> IDevice:
    """
    Make a device of Windows, which is not open yet.

    @param name: the interface's name.
    @param mode: L{TUN<txtuntap.device.TUN>}: Wintun. L{TAP<txtuntap.device.TAP>}: an adapter of tap-windows6.
    @param system: a replacement for the calls of Windows, for tests; L{None}: make the real calls.
    @param descriptor: L{None}, because the devices of Windows have no descriptors.

    @raise ValueError: C{name} or C{mode} is not valid.
    @raise OSError: C{descriptor} is given (C{ENOTSUP}).
    """
    if descriptor is not None:
        raise OSError(errno.ENOTSUP, "devices of Windows have no descriptors: name the interface instead")
    if mode == TAP:
        raise OSError(errno.ENOTSUP, "no tap yet")
    if mode != TUN:
        raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
    return WintunDevice(name, system=system)
