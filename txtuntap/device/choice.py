"""
The choice of a port's device: the device object that the application gives, or a new device of this platform for an
interface name.
"""

from __future__ import annotations

import os
from typing import Any

from txtuntap.device import TAP, interfaceName
from txtuntap.device.platform import platformModule, platformName, requirePlatform
from txtuntap.device.settings import InterfaceAddress
from txtuntap.interfaces import IDevice

#: The platform that has each argument that not all devices have, and the advice on other platforms.
_ARGUMENTS = {
    "protocolInformation": (
        "linux",
        "leave it out, because the device reads and writes the header of its platform itself",
    ),
    "multiQueue": ("linux", "leave it out, and run one process"),
    "exclusive": ("linux", "leave it out, or name 'utun%d' or 'tun%d' for a new interface"),
    "node": ("linux", "leave it out, because the name of the interface names the node"),
    "namespace": ("linux", "leave it out, and start the program where the interface is"),
    "library": ("win32", "leave it out, because the kernel makes the interface"),
}


def makeDevice(
    name: str | bytes,
    mode: int,
    system: Any = None,
    descriptor: int | None = None,
    address: str | InterfaceAddress | None = None,
    **options: Any,
) -> IDevice:
    """
    Make a device of this platform, not open yet.

    @param name: the interface's name.
    @param mode: C{TUN} or C{TAP}.
    @param system: a replacement for the calls of the operating system, for tests; C{None}: make the real calls.
    @param descriptor: the descriptor of a device that was opened elsewhere; C{None}: open one. The device owns it, and
        closes it when the device is closed, even if it was never opened, or cannot be opened. If this function raises
        an exception, the descriptor stays open.
    @param address: the address of the kernel's end of the interface. Only one device needs to know it, and does not set
        it: a tun of tap-windows6 on Windows.
    @param options: further arguments of L{LinuxDevice<txtuntap.device.linux.device.LinuxDevice>}, or the C{library} of
        L{WintunDevice<txtuntap.device.windows.wintun.WintunDevice>}. Their false values are allowed on every platform.

    @raise ValueError: C{name}, C{mode} or C{descriptor} is not valid.
    @raise OSError: this platform has no such device, or lacks a thing that C{options} ask for (C{ENOTSUP}).
    """
    asked = {option: value for option, value in options.items() if value}
    for option in asked:
        if option not in _ARGUMENTS:
            raise TypeError(f"a device has no argument {option!r}, only {', '.join(_ARGUMENTS)}")
        platform, instead = _ARGUMENTS[option]
        requirePlatform(platform, option, instead)
    if address is not None and platformName() == "win32":
        asked["address"] = address
    made: IDevice = platformModule("choice").makeDevice(name, mode, system=system, descriptor=descriptor, **asked)
    return made


def deviceFor(
    proto: object, mode: int, device: Any, interface: str | bytes, protocolInformation: bool, system: Any
) -> IDevice:
    """
    Check the device that the application gives for a protocol, or make a device of this platform.

    @param proto: the protocol, for error messages.
    @param mode: the kind of device that C{proto} needs: C{TUN} or C{TAP}.
    @param device: the device to use; C{None}: make one from the arguments that follow.
    @param interface: the name of the interface; empty: accept the name that C{device} has.
    @param protocolInformation: whether the kernel puts flags and EtherType before each packet.
    @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.

    @return: C{device}, or the new one.

    @raise TypeError: C{device} does not provide L{IDevice}.
    @raise ValueError: C{interface} is not a valid name. Or C{device} is of the wrong kind, has another name, or was
        given together with an argument that only a new device can use.
    @raise OSError: as for L{makeDevice}.
    """
    name = interfaceName(interface)
    if device is None:
        return makeDevice(name, mode, system, protocolInformation=protocolInformation)
    if not IDevice.providedBy(device):
        raise TypeError(f"{device!r} is no device, such as LinuxDevice(name, TUN) or MemoryDevice(TUN)")
    if device.mode != mode:
        wanted, kind = ("tap", "tun") if mode == TAP else ("tun", "tap")
        raise ValueError(f"{proto!r} needs a {wanted}, and the device is a {kind}")
    if protocolInformation or system is not None:
        raise ValueError("protocolInformation and system belong to the device: give them to LinuxDevice")
    if name and device.name and b"%" not in name and name != os.fsencode(device.name):
        raise ValueError(f"the interface is {interface!r}, but that of the device is {device.name!r}: give one name")
    given: IDevice = device
    return given
