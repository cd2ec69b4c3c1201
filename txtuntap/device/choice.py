"""
The choice of the device under a port: the one that is given, or a Linux device by the interface's name.
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
    Find the device for a protocol.

    @param proto: the protocol, for error messages.
    @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}, which C{proto} needs.
    @param device: the device to use; L{None}: a Linux device, made of all that follows.
    @param interface: the name of the interface; empty for whatever name C{device} has.
    @param protocolInformation: whether the kernel sends flags and EtherType with each packet.
    @param system: what stands in for the operating system; L{None} for nothing.

    @raise TypeError: C{device} is no device.
    @raise ValueError: C{device} is of the wrong kind, has another name, or came with what is for a new one.
    """
    name = interfaceName(interface)
    if device is None:
        # On other platforms there is no such module, and may be another device.
        from txtuntap.device.linux.device import LinuxDevice

        return LinuxDevice(name, mode, protocolInformation, system)
    if not IDevice.providedBy(device):
        raise TypeError(f"{device!r} is no device, such as LinuxDevice(name, TUN) or MemoryDevice(TUN)")
    if device.mode != mode:
        wanted, kind = ("tap", "tun") if mode == TAP else ("tun", "tap")
        raise ValueError(f"{proto!r} goes on a {wanted}, and the device is a {kind}")
    if protocolInformation or system is not None:
        raise ValueError("protocolInformation and system go with the device: give them to LinuxDevice")
    if name and device.name and b"%" not in name and name != os.fsencode(device.name):
        raise ValueError(f"the interface is {interface!r}, and that of the device {device.name!r}: give one name")
    given: IDevice = device
    return given
