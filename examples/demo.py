"""
A Twisted DatagramProtocol answers the kernel through a tun and a tap device: what "make demo" runs.

    python examples/demo.py

In a network namespace of its own, so that nothing outside changes, it starts the twistd plugin on both devices, with
witness.Witness on UDP port 7 (demo_kernel.py); writes to that through ordinary sockets; and prints what comes back,
which is what each layer saw of the datagram. Where the devices are out of reach it says why, and does the same in
memory (demo_memory.py). It fails if an answer is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any, NoReturn

from demo_kernel import Kernel  # type: ignore[import-not-found]
from demo_memory import Memory  # type: ignore[import-not-found]

from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice

#: The networks on each device. In each of them who asks has the address that ends in 1, the host the one in 2.
NETWORKS = {"tun0": ("10.0.0.", "fd00::"), "tap0": ("10.0.1.", "fd01::")}


def main(inside: bool) -> str | None:
    """
    Run the demo, or become another process that runs it in a namespace.

    @return: what went wrong, if anything did.
    """
    try:
        if not inside:
            enterNamespace()
        with LinuxDevice("probe%d", TUN):
            pass
    except OSError as e:
        print(f"The kernel's devices are out of reach here:\n{e.strerror}.\n\nSo this is the same in memory.")
        return converse(Memory())
    print("This is in a network namespace of its own.")
    return converse(Kernel())


def enterNamespace() -> NoReturn:
    """
    Become a process in a network namespace of its own. Who is not root needs a user namespace around it.

    @raise OSError: that cannot be; the text says why, and what to do.
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
    Have four conversations and print them.

    @return: what went wrong, if anything did.
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
