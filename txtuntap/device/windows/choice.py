"""
The choice of a device of Windows by its name. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.settings import InterfaceAddress
from txtuntap.device.windows.system import WindowsSystem
from txtuntap.device.windows.tap import TapDevice
from txtuntap.device.windows.wintun import WintunDevice
from txtuntap.interfaces import IDevice


def makeDevice(
    name: str | bytes,
    mode: int,
    system: Any = None,
    descriptor: int | None = None,
    address: str | InterfaceAddress | None = None,
    library: str | None = None,
) -> IDevice:
    """
    Make a device of Windows, which is not open yet.

    @param name: the interface's name. A tap is an adapter of tap-windows6, which exists: L{TapDevice}. A tun is an
        adapter of tap-windows6, too, if one has this name. Otherwise it is made by Wintun: L{WintunDevice}.
    @param mode: C{TUN} or C{TAP}.
    @param system: a replacement for the calls of Windows, for tests; C{None}: make the real calls.
    @param descriptor: C{None}, because the devices of Windows have no descriptors.
    @param address: the address of Windows' end of the interface, such as C{"10.0.0.1/24"}, which only a tun of
        tap-windows6 needs. The device does not set it.
    @param library: the path of C{wintun.dll}; C{None}: as for L{WintunDevice}. Devices of tap-windows6 ignore it.

    @raise ValueError: C{name} or C{mode} is not valid, or a tun of tap-windows6 has no address.
    @raise OSError: C{descriptor} is given (C{ENOTSUP}).
    """
    if descriptor is not None:
        raise OSError(errno.ENOTSUP, "devices of Windows have no descriptors: name the interface instead")
    system = WindowsSystem() if system is None else system
    if mode == TAP:
        return TapDevice(name, system=system)
    if mode != TUN:
        raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
    called = os.fsdecode(interfaceName(name)).casefold()
    if called and any(each.name.casefold() == called for each in system.tapAdapters()):
        return TapDevice(name, TUN, address, system)
    return WintunDevice(name, library, system=system)
