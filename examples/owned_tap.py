"""
A tap that an administrator has made for a user, and the user's program on it, without root.

    # python examples/owned_tap.py make alice
    made tap0 for alice
    $ python examples/owned_tap.py
    tap0 is mine: ping 10.0.0.2
    ^C
    # python examples/owned_tap.py delete

The first is as "txtuntap add tap0 --mode tap --user alice --address 10.0.0.1/24", the last as "txtuntap delete tap0".
The device stays between the user's programs. An argument NODE to the second opens that in place of /dev/net/tun.
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

#: What the administrator has made of the interface, and the program expects.
SETTINGS = InterfaceSettings(addresses=["10.0.0.1/24"])


def make(user: str) -> None:
    """
    The administrator's part.
    """
    with LinuxDevice("tap0", TAP, exclusive=True) as device:
        configureInterface("tap0", ["10.0.0.1/24"], device=device, owner=user, persistent=True)
    print(f"made tap0 for {user}", flush=True)


async def serve(reactor: Any, node: str) -> None:
    """
    The user's part.
    """
    host = Host(["10.0.0.2/24"], reactor)
    device = LinuxDevice("tap0", TAP, node=node)
    TuntapPort("tap0", host.ethernet, reactor=reactor, device=device).startListening()
    # All is so already, and to leave it alone takes no privilege. Were it not, this would say what is missing.
    await configure("tap0", SETTINGS, device, reactor)
    print("tap0 is mine: ping 10.0.0.2", flush=True)
    await Deferred()


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(sys.argv[2])
    elif sys.argv[1:] == ["delete"]:
        sys.exit(command(["delete", "tap0"]))
    else:
        path = sys.argv[1] if sys.argv[1:] else NODE.decode()
        react(lambda reactor: Deferred.fromCoroutine(serve(reactor, path)))
