"""
The choice of a port's device: the device object that the application gives, or a new Linux device for an interface
name.
"""

from __future__ import annotations

import os
from typing import Any

from txtuntap.device import TAP, interfaceName
from txtuntap.interfaces import IDevice


def deviceFor(
    proto: object, mode: int, device: Any, interface: str | bytes, protocolInformation: bool, system: Any
) -> IDevice:
    """
    Check the device that the application gives for a protocol, or make a Linux device.

    @param proto: the protocol, for error messages.
    @param mode: the kind of device that C{proto} needs: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
    @param device: the device to use; L{None}: make a Linux device from the arguments that follow.
    @param interface: the name of the interface; empty: accept the name that C{device} has.
    @param protocolInformation: whether the kernel puts flags and EtherType before each packet.
    @param system: a replacement for the operating system's calls, for tests; L{None}: make the real calls.

    @return: C{device}, or the new one.

    @raise TypeError: C{device} does not provide L{IDevice}.
    @raise ValueError: C{interface} is not a valid name. Or C{device} is of the wrong kind, has another name, or was
        given together with an argument that only a new device can use.
    """
    name = interfaceName(interface)
    if device is None:
        # The import is here, because the module of LinuxDevice cannot be imported on other platforms.
        from txtuntap.device.linux.device import LinuxDevice

        return LinuxDevice(name, mode, protocolInformation, system)
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
