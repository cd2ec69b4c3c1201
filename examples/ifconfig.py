"""
Configure an interface as PyTap's ifconfig() and ifconfig(8) do: its address, netmask, broadcast address, MTU, hardware
address and state.

    python examples/ifconfig.py

Run it as root. The kernel deletes tap0 when the program ends. The program makes tap0, configures it, and sets it down
and up again. Last, it asks for an MTU that is too small for IPv6. The program prints:

    tap0: up, 10.0.0.1/24 broadcast 10.0.0.255, MTU 1300, 02:00:00:00:00:01
    tap0: down
    tap0: up
    refused: an MTU under 1280 disables IPv6: with 1000, the interface cannot have fd00::1/64
"""

from __future__ import annotations

from typing import Any

from txtuntap.device import TAP
from txtuntap.device.configure import configureNow
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.settings import InterfaceAddress, InterfaceSettings
from txtuntap.device.state import readInterface
from txtuntap.wire.address import linkAddressText


def ifconfig(
    device: LinuxDevice,
    address: str | None = None,
    netmask: str = "255.255.255.255",
    broadcast: str | None = None,
    mtu: int | None = None,
    hwaddr: str | None = None,
    up: bool | None = True,
) -> None:
    """
    Configure an interface with the arguments of ifconfig. A setting whose argument is C{None} stays as it is.
    """
    addresses = [] if address is None else [InterfaceAddress(f"{address}/{netmask}", broadcast=broadcast)]
    settings: dict[str, Any] = {"addresses": addresses, "mtu": mtu, "linkAddress": hwaddr, "up": up}
    configureNow(device.name, InterfaceSettings(**settings), device)


def main() -> None:
    with LinuxDevice("tap0", TAP) as device:
        ifconfig(device, "10.0.0.1", "255.255.255.0", "10.0.0.255", 1300, "02:00:00:00:00:01")
        now = readInterface(device.name)
        assert now.linkAddress is not None
        (address,) = (each for each in now.addresses if each.interface.version == 4)
        print(
            f"{now.name}: {'up' if now.up else 'down'}, {address} broadcast {address.broadcast}, MTU {now.mtu},"
            f" {linkAddressText(now.linkAddress)}"
        )
        for up in False, True:
            ifconfig(device, up=up)
            print(f"{device.name}: {'up' if readInterface(device.name).up else 'down'}")
        try:
            # IPv6 needs an MTU of 1280, so the call raises and changes neither the address nor the MTU.
            ifconfig(device, "fd00::1", "64", mtu=1000)
        except ValueError as e:
            print(f"refused: {e}")


if __name__ == "__main__":
    main()
