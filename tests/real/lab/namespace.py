"""
A new network namespace for each test that sends packets.

The thread of the test enters the namespace and returns afterwards, so programs that it starts are in there, too. The
namespace has no name and no mount. It is deleted with the last process and socket in it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar
from unittest import SkipTest

from txtuntap.device.linux import device
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.testing.namespace import CLONE_NEWNET, THIS, NetworkNamespace, lackingDevice, unshare

CLONE_NEWUSER = 0x10000000

NODE = os.fsdecode(device.NODE)

#: The number of seconds that tests wait for an event before they fail. On a busy machine, a new interpreter needs a
#: third of that for its imports.
PATIENCE = 60.0

#: The Debian package of each tool that the tests use.
PACKAGES = {
    "arping": "arping",
    "bridge": "iproute2",
    "capinfos": "wireshark-common",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "ethtool": "ethtool",
    "hping3": "hping3",
    "ip": "iproute2",
    "iperf3": "iperf3",
    "nft": "nftables",
    "nginx": "nginx-light",
    "nmap": "nmap",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "ping": "iputils-ping",
    "qemu-system-sparc": "qemu-system-sparc",
    "radvd": "radvd",
    "socat": "socat",
    "setpriv": "util-linux",
    "ss": "iproute2",
    "tc": "iproute2",
    "ssh": "openssh-client",
    "tcpdump": "tcpdump",
    "traceroute": "traceroute",
    "tshark": "tshark",
    "unshare": "util-linux",
    "wg": "wireguard-tools",
    "wg-quick": "wireguard-tools",
    "wireguard-go": "wireguard-go",
    "wrk": "wrk",
    "zsh": "zsh",
}

_T = TypeVar("_T")


_NET_ADMIN = 1 << 12
_SYS_ADMIN = 1 << 21


def _isRoot() -> bool:
    status = Path("/proc/self/status").read_text().splitlines()
    (capabilities,) = (int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    everybody = Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]
    return os.geteuid() == 0 and everybody and capabilities & _NET_ADMIN != 0 and capabilities & _SYS_ADMIN != 0


#: Whether this process is root with its capabilities, and in no user namespace. This is found out at the import, before
#: the process may enter one.
ROOT = _isRoot()


def needRoot() -> None:
    """
    Skip a test that needs real root, unless this process is root outside of any user namespace.
    """
    if not ROOT:
        raise SkipTest("this test needs real root, not that of a user namespace")


def tool(name: str) -> str:
    """
    Find the path of a program. If it is missing, the test fails for root, and is skipped for other users.
    """
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if found is None:
        text = f"{name} is missing: apt-get install {PACKAGES[name]}"
        if ROOT:
            raise AssertionError(text)
        raise SkipTest(text)
    return found


def ip(*arguments: str) -> str:
    """
    Run C{ip} in the network namespace of this thread, and return its output.
    """
    return run("ip", *arguments)


def run(name: str, *arguments: str, status: int = 0) -> str:
    """
    Run a program to its end in the network namespace of this thread.

    @param status: the exit status that is expected.

    @return: the text that it has written to its standard output.
    """
    finished = subprocess.run(
        [tool(name), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    text = f"{name} {' '.join(arguments)}: {finished.stdout}{finished.stderr}"
    assert finished.returncode == status, text
    return finished.stdout


def interfaces() -> set[str]:
    """
    The names of the interfaces in this thread's network namespace, without the loopback.
    """
    return {name for _, name in socket.if_nameindex()} - {"lo"}


def until(
    condition: Callable[[], _T],
    what: str,
    turn: Callable[[], object] = lambda: time.sleep(0.005),
    patience: float = PATIENCE,
) -> _T:
    """
    Call C{condition} again and again until it returns a true value, and return that value.

    @param what: the event to wait for, for the text of the failure.
    @param turn: a function that is called between two calls.
    @param patience: the number of seconds after which the test fails.
    """
    deadline = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {patience:.0f} seconds in vain: {what}"
        turn()
    return result


@cache
def lacking() -> str | None:
    """
    Find out why these tests cannot run on this machine. If they need a user namespace, the process enters one for good.

    @return: the reason; L{None}: the tests can run.
    """
    reason = lackingDevice()
    if reason is not None:
        return reason
    try:
        with NetworkNamespace():
            pass
    except PermissionError:
        # Tried in another process, because a process cannot leave a user namespace again.
        tried = subprocess.run([tool("unshare"), "-rn", "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            return f"no network namespaces: not root (CAP_SYS_ADMIN), and no user namespaces ({tried.stderr.strip()})"
        _enterUserNamespace()
    return None


def need() -> None:
    """
    Skip a test on a machine where these tests cannot run.
    """
    reason = lacking()
    if reason is not None:
        raise SkipTest(reason)


class Namespace(NetworkNamespace):
    """
    A context manager that enters a new network namespace. Leaving it kills the processes that still run there, and
    fails if there are any.
    """

    def open(self) -> None:
        """
        Make the namespace, and enter it. If these tests cannot run on this machine, the test is skipped.
        """
        need()
        super().open()
        self._inode = os.stat(THIS).st_ino

    def close(self) -> None:
        """
        Return to the namespace that the thread was in before.
        """
        left = self._left()
        super().close()
        assert not left, f"left running in the namespace: {left}"

    def processes(self) -> dict[int, str]:
        """
        The other processes in the namespace: the command line of each, by its process id.
        """
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if (entry / "ns/net").stat().st_ino == self._inode:
                        command = (entry / "cmdline").read_bytes()
                        found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    # The process has ended, or belongs to another user.
                    continue
        return found

    def _left(self) -> dict[int, str]:
        # A process that has just received a signal gets the time to end.
        deadline = time.monotonic() + PATIENCE
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        for process in left:
            os.kill(process, 9)
        return left


@contextmanager
def another() -> Iterator[int]:
    """
    Make another network namespace, and return a descriptor of it in a context manager.
    """
    with Namespace() as there:
        descriptor = os.open(THIS, os.O_RDONLY)
        try:
            with there.stepOut():
                yield descriptor
        finally:
            os.close(descriptor)


def names(namespace: int) -> set[str]:
    """
    The names of the interfaces in another namespace, without the loopback.
    """
    return inNamespace(namespace, interfaces)


def _enterUserNamespace() -> None:
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
