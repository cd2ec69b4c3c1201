"""
What PyTap's ifconfig() did, and ifconfig(8) does: an interface, set by its address, netmask, broadcast address, MTU and
hardware address, up or down.

    python examples/ifconfig.py

as root: it makes tap0, sets it, shows it, takes it down and up again, and ends; the interface goes with it.

    tap0: up, 10.0.0.1/24 broadcast 10.0.0.255, MTU 1300, 02:00:00:00:00:01
    tap0: down
    tap0: up
    not taken: an MTU under 1280 leaves no IPv6: 1000 does not go with fd00::1/64
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
    Set an interface by the words of ifconfig. What is not named stays as it is.
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
            # Six and a small MTU do not go together, and nothing of it is done.
            ifconfig(device, "fd00::1", "64", mtu=1000)
        except ValueError as e:
            print(f"not taken: {e}")


if __name__ == "__main__":
    main()
