"""
A network namespace behind a pair of C{veth}, with tunnels of other programs in it: QEMU, socat and the kernel's VXLAN.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.lab import tunnel
from tests.real.lab.asking import pingUntilAnswered
from tests.real.lab.link import delete, setUp
from tests.real.lab.namespace import another, interfaces, ip, tool, until
from txtuntap.device.configure import moveInterface
from txtuntap.device.linux.namespace import inNamespace

#: The addresses of the pair: near (this namespace) and far (the other one).
NEAR, FAR = tunnel.HERE, tunnel.THERE
NEAR6, FAR6 = "2001:db8::1", "2001:db8::2"

#: The addresses of the interfaces at both ends of a tunnel.
HERE_ADDRESS, THERE_ADDRESS, THERE_ADDRESS6 = tunnel.INNER_HERE, tunnel.INNER_THERE, "fd09::2"
THERE = f"{THERE_ADDRESS}/24", f"{THERE_ADDRESS6}/64"

#: The names of QEMU's programs. The tests need any one of them, because no guest runs.
QEMU = ["qemu-system-sparc", "qemu-system-x86_64", "qemu-system-aarch64", "qemu-system-ppc", "qemu-system-mips"]


class Beyond(tunnel.Place):
    """
    The other namespace, and the programs that run there.
    """

    def __init__(self, namespace: int) -> None:
        super().__init__(namespace, FAR, THERE_ADDRESS)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """
        Start a program there, which runs until the end of the test.
        """

        def started() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [tool(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        process = self.call(started)
        self._processes.append(process)
        return process

    def setUp(self, name: str) -> None:
        """
        Wait for an interface there, and give it the addresses of the tunnel's far end.
        """
        until(lambda: name in self.call(interfaces), f"the interface {name}")
        self.call(lambda: setUp(name, *THERE))

    def socket(self, *address: str | int) -> socket.socket:
        """
        Make a UDP socket there, bound to an address.
        """

        def made() -> socket.socket:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind(address)
            return bound

        return self.call(made)

    def listens(self, port: int, kind: str = "-t") -> None:
        """
        Wait until a program listens on a port there.
        """
        until(lambda: self.run("ss", "-Hln", kind, f"sport = :{port}"), f"a listener on port {port}")

    def stop(self) -> None:
        """
        Stop all programs that were started.
        """
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def linked() -> Iterator[Beyond]:
    """
    Make another namespace with the address C{FAR}, and a link to it from this one, which has C{NEAR}.
    """
    with another() as there:
        ip("link", "add", "ttv0", "type", "veth", "peer", "name", "ttv1")
        moveInterface("ttv1", there)
        setUp("ttv0", f"{NEAR}/24", f"{NEAR6}/64")
        inNamespace(there, lambda: setUp("ttv1", f"{FAR}/24", f"{FAR6}/64"))
        for address in FAR, FAR6:
            pingUntilAnswered(address)
        made = Beyond(there)
        try:
            yield made
        finally:
            made.stop()
            inNamespace(there, lambda: delete("ttv1"))


def qemu(beyond: Beyond, netdev: str) -> subprocess.Popen[bytes]:
    """
    Start QEMU without a guest. It connects a tap and a network backend through a hub.

    @param netdev: the network backend to test.
    """
    found = [each for each in QEMU if _has(each)]
    options = ["-machine", "none", "-nodefaults", "-display", "none", "-monitor", "none", "-serial", "none"]
    options += ["-netdev", f"{netdev},id=s", "-netdev", "hubport,id=h0,hubid=0,netdev=s"]
    options += ["-netdev", "tap,id=t,ifname=ttq0,script=no,downscript=no", "-netdev", "hubport,id=h1,hubid=0,netdev=t"]
    process = beyond.start(found[0] if found else QEMU[0], *options)
    beyond.setUp("ttq0")
    return process


def _has(name: str) -> bool:
    return any(os.access(Path(each) / name, os.X_OK) for each in os.environ.get("PATH", os.defpath).split(":"))


def socat(beyond: Beyond, mode: str, options: str, address: str) -> subprocess.Popen[bytes]:
    """
    Start socat with a TUN or TAP interface.

    @param mode: C{"tun"} or C{"tap"}.
    @param options: more options of the interface, each after a comma.
    @param address: the socat address of the other end.
    """
    process = beyond.start("socat", f"TUN,tun-type={mode},tun-name=tts0{options}", address)
    beyond.setUp("tts0")
    return process


def vxlan(beyond: Beyond, near: str = NEAR, far: str = FAR, *more: str) -> None:
    """
    Make a VXLAN interface of the kernel.

    @param more: more arguments of C{ip link add}.
    """
    arguments = ["local", far, "remote", near, "id", "42", "dstport", "4789", *more]
    beyond.run("ip", "link", "add", "ttx0", "mtu", "1430", "type", "vxlan", *arguments)
    # VXLAN leaves checksums to the interface below it, and veth does not compute them.
    beyond.run("ethtool", "-K", "ttx0", "tx", "off")
    beyond.setUp("ttx0")
