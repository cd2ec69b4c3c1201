"""
Read and write settings of an interface that are attributes of a TunTapDevice in pytun.

    python examples/attributes.py

Run it as root. The kernel deletes tun0 when the program ends. The program makes tun0, configures it, prints its
settings, and then describes a packet that it has received:

    tun0: 10.0.0.1 to 10.0.0.2 by 255.255.255.255, MTU 1400
    a packet of 84 octets from 10.0.0.1
"""

from __future__ import annotations

import select
import subprocess
from ipaddress import ip_interface
from typing import Any

from txtuntap.device import TUN
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceAddress, InterfaceState
from txtuntap.device.state import readInterface


class Attributes:
    """
    The settings of a device's interface, under pytun's names. A program does not need this class: the class shows which
    call of txtuntap replaces which attribute of pytun.
    """

    def __init__(self, device: LinuxDevice) -> None:
        self._device = device

    def _set(self, **settings: Any) -> None:
        configureInterface(self._device.name, device=self._device, **{"up": None, **settings})

    @property
    def _state(self) -> InterfaceState:
        return readInterface(self._device.name)

    @property
    def _address(self) -> InterfaceAddress:
        return next(each for each in self._state.addresses if each.interface.version == 4)

    @property
    def name(self) -> str:
        return self._device.name

    @property
    def addr(self) -> str:
        return str(self._address.interface.ip)

    @property
    def dstaddr(self) -> str | None:
        return self._address.peer

    @property
    def netmask(self) -> str:
        return str(ip_interface(self._address.address).netmask)

    @property
    def mtu(self) -> int:
        return self._state.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        self._set(mtu=mtu)

    def pointToPoint(self, addr: str, dstaddr: str) -> None:
        # One call in place of pytun's three assignments, so that the address never exists without its peer.
        self._set(addresses=[f"{addr} peer {dstaddr}/32"])

    def up(self) -> None:
        self._set(up=True)

    def persist(self, flag: bool) -> None:
        self._device.setPersistent(flag)


def main() -> None:
    with LinuxDevice("tun0", TUN) as device:
        tun = Attributes(device)
        tun.pointToPoint("10.0.0.1", "10.0.0.2")
        tun.mtu = 1400
        tun.up()
        print(f"{tun.name}: {tun.addr} to {tun.dstaddr} by {tun.netmask}, MTU {tun.mtu}")
        with subprocess.Popen(["ping", "-c1", "-W1", "10.0.0.2"], stdout=subprocess.DEVNULL):
            # receive() returns None when no packet waits. The kernel's own packets (IPv6) may come before the ping.
            while select.select([device], [], [], 5)[0]:
                packet = device.receive()
                if packet is not None and bytes(packet)[:1] == b"\x45":
                    print(f"a packet of {len(bytes(packet))} octets from {'.'.join(map(str, bytes(packet)[12:16]))}")
                    break


if __name__ == "__main__":
    main()
