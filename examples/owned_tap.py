"""
Run a program without root on a tap that an administrator has made for the program's user.

    # python examples/owned_tap.py make alice
    made tap0 for alice
    $ python examples/owned_tap.py
    tap0 is mine: ping 10.0.0.2
    ^C
    # python examples/owned_tap.py delete

The first command does the same as "txtuntap add tap0 --mode tap --user alice --address 10.0.0.1/24", the last the same
as "txtuntap delete tap0". The device is persistent: it stays when the user's program ends. The second command has an
optional argument NODE: the device node to open in place of /dev/net/tun.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txtuntap import Host, TuntapPort
from txtuntap.command import main as command
from txtuntap.device import TAP
from txtuntap.device.configure import configure, configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.device import NODE
from txtuntap.device.settings import InterfaceSettings

#: The settings that the administrator gives the interface and that the user's program expects.
SETTINGS = InterfaceSettings(addresses=["10.0.0.1/24"])


def make(user: str) -> None:
    """
    Make the persistent device, as its administrator.

    @param user: the name of the user who may open the device.
    """
    with LinuxDevice("tap0", TAP, exclusive=True) as device:
        configureInterface("tap0", ["10.0.0.1/24"], device=device, owner=user, persistent=True)
    print(f"made tap0 for {user}", flush=True)


async def serve(reactor: Any, node: str) -> None:
    """
    Open the device as its user, and put a host on it.

    @param node: the path of the device node.
    """
    host = Host(["10.0.0.2/24"], reactor)
    device = LinuxDevice("tap0", TAP, node=node)
    TuntapPort("tap0", host.ethernet, reactor=reactor, device=device).startListening()
    # The interface has these settings already, so nothing is changed and no privilege is needed. Otherwise the error
    # names the settings that are missing.
    await configure("tap0", SETTINGS, device, reactor)
    print("tap0 is mine: ping 10.0.0.2", flush=True)
    await Deferred()


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"] and len(sys.argv) == 3:
        make(sys.argv[2])
    elif sys.argv[1:] == ["delete"]:
        sys.exit(command(["delete", "tap0"]))
    elif len(sys.argv) > 2 or sys.argv[1:] == ["make"]:
        sys.exit("usage: python examples/owned_tap.py [make USER | delete | NODE]")
    else:
        path = sys.argv[1] if sys.argv[1:] else NODE.decode()
        react(lambda reactor: Deferred.fromCoroutine(serve(reactor, path)))
