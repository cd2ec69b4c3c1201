"""
Show a Twisted DatagramProtocol that answers the kernel through a tun and a tap device ("make demo" runs this).

    python examples/demo.py

The program enters a network namespace of its own, so that the machine's interfaces stay as they are. There it starts
the twistd plugin on both devices, with witness.Witness on UDP port 7 (demo_kernel.py). It sends datagrams to that port
through ordinary sockets, and prints the answers: the part of the datagram that each layer has read. Where it may not
open TUN/TAP devices, it prints the reason and uses devices in memory (demo_memory.py). A missing answer is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any, NoReturn

from demo_kernel import Kernel  # type: ignore[import-not-found]
from demo_memory import Memory  # type: ignore[import-not-found]

#: The IPv4 and IPv6 network of each device, without the last digit. The client's address ends in 1, the host's in 2.
NETWORKS = {"tun0": ("10.0.0.", "fd00::"), "tap0": ("10.0.1.", "fd01::")}


def main(inside: bool) -> str | None:
    """
    Enter a network namespace, unless the process is C{inside} one already, and run the demo there, or else in memory.

    @return: the text of the error, or C{None}.
    """
    try:
        if not inside:
            enterNamespace()
        from txtuntap.device import TUN
        from txtuntap.device.linux import LinuxDevice  # not on Windows

        with LinuxDevice("probe%d", TUN):
            pass
    except OSError as e:
        print(f"The kernel's devices are out of reach here:\n{e.strerror}.\n\nSo the demo runs in memory.")
        return converse(Memory())
    print("The demo runs in a network namespace of its own.")
    return converse(Kernel())


def enterNamespace() -> NoReturn:
    """
    Replace this process by one in a new network namespace (and in a new user namespace, if one can be made).

    @raise OSError: no namespace can be made. The text has the reason and what to do.
    """
    if shutil.which("unshare") is None:
        raise OSError(0, "there is no 'unshare' to make a network namespace with: on Linux, apt-get install util-linux")
    for unshare in ["unshare", "-rn"], ["unshare", "-n"]:
        tried = subprocess.run([*unshare, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            os.execvp("unshare", [*unshare, sys.executable, __file__, "inside"])
    raise OSError(
        0,
        f"no network namespace can be made ({tried.stderr.strip()}): run as root\n"
        "(in a container: with CAP_SYS_ADMIN), or permit user namespaces (sysctl kernel.unprivileged_userns_clone=1\n"
        "or kernel.apparmor_restrict_unprivileged_userns=0)",
    )


def converse(network: Any) -> str | None:
    """
    Send four datagrams through a L{Kernel} or a L{Memory}, one for each device and IP version, and print the answers.

    @return: the text of the error, or C{None}.
    """
    wrong = []
    print("A datagram climbs through the layers to a DatagramProtocol, which answers with what each of them saw.")
    with network:
        for device, prefixes in NETWORKS.items():
            network.attach(device, prefixes)
        for device, prefixes in NETWORKS.items():
            for version, prefix in zip((4, 6), prefixes, strict=True):
                title, host = f"{device[:3]}, IPv{version}", f"{prefix}2"
                print(f"\n{title}")
                try:
                    address, port, answer = network.ask(device, host, f"hello, {device}".encode())
                except OSError as e:
                    print("  no answer")
                    wrong.append(f"{title}: no answer from {host} port 7 ({e})")
                else:
                    print(f"  {network.name:<10}      {address} port {port} writes to {host} port 7")
                    print("".join(f"  {line}\n" for line in answer.decode().splitlines()), end="")
                    print(f"  {network.name:<10} {len(answer):>4}  octets come back from {host} port 7")
    if wrong:
        return "\n".join(["", *wrong, network.log()])
    print("\nFour conversations, four answers.")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["inside"]))
