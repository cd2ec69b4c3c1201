"""
A program without privilege, called the guest, that has a device which another process has opened or made.

The guest is C{python -m tests.real.lab.guest HOW NAME MODE}. It runs a L{Host<txtuntap.stack.host.Host>} with an echo.
It prints that it runs, or why it cannot. Then it reads commands from its standard input, one a line, and prints the
result of each, until standard input ends. It prints only JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.paths import CHECKOUT
from tests.real.lab.machine import ADDRESSES, KERNEL_ADDRESSES
from tests.real.lab.namespace import NODE, PATIENCE, needRoot, tool
from txtuntap import Host, TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configureNow
from txtuntap.device.helper.descriptors import fromSystemd, receiveDescriptor
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.ioctl import IFF_NO_PI, IFF_TUN, TUNGETDEVNETNS, TUNSETIFF, TUNSETOWNER
from txtuntap.device.settings import InterfaceSettings
from txtuntap.udp.echo import Echo

NOBODY = 65534

#: The settings of the kernel's side of the interface.
SETTINGS = InterfaceSettings(addresses=KERNEL_ADDRESSES, mtu=1400)


def unprivileged(user: int = NOBODY, groups: Sequence[int] = ()) -> list[str]:
    """
    Make the beginning of a command line that runs a program as another user and without capabilities. The program keeps
    C{CAP_DAC_READ_SEARCH}, because the Python interpreter may be in a directory that only root can read.
    """
    capabilities = "-all,+dac_read_search"
    sets = [f"--{name}={capabilities}" for name in ("bounding-set", "inh-caps", "ambient-caps")]
    others = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
    return [tool("setpriv"), f"--reuid={user}", f"--regid={user}", *others, *sets, "--no-new-privs"]


def openNode(directory: Path) -> Path:
    """
    Make a device node that every user may open.
    """
    needRoot()
    path = directory / "tun"
    os.mknod(path, stat.S_IFCHR | 0o666, os.stat(NODE).st_rdev)
    path.chmod(0o666)
    try:
        os.close(os.open(path, os.O_RDWR))
    except PermissionError:
        raise SkipTest(f"no device nodes in {directory}: its file system is mounted with nodev") from None
    return path


#: C{linux/sockios.h}, C{linux/if_tun.h}, C{linux/if_arp.h}
_SIOCSIFMTU, _SIOCSIFHWADDR = 0x8922, 0x8924
_TUNSETLINK = TUNSETOWNER + 1
_SIT = 776


class Guest:
    """
    A context manager that runs the guest.

    @ivar said: the first line that the guest has printed, decoded.
    """

    def __init__(
        self,
        how: str,
        name: str,
        mode: str,
        user: int = NOBODY,
        groups: Sequence[int] = (),
        descriptors: Sequence[int] = (),
        before: Sequence[str] = (),
    ) -> None:
        """
        @param how: the source of the device: C{node PATH}, C{descriptor NUMBER}, C{systemd NAME}, C{socket NUMBER} or
            C{helper PATH}. The last one may be followed by settings as JSON.
        @param name: the interface's name.
        @param mode: C{"tun"} or C{"tap"}.
        @param user: the number of the user that the guest runs as.
        @param groups: the numbers of the user's groups.
        @param descriptors: the descriptors that the guest inherits.
        @param before: a command that runs the guest, whose command line is appended to its arguments.
        """
        command = [*unprivileged(user, groups), sys.executable, "-m", __name__, how, name, mode]
        self._process = subprocess.Popen(
            [*before, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            pass_fds=descriptors,
        )

    def __enter__(self) -> Guest:
        self.said = self._read()
        return self

    def __exit__(self, *ignored: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def kill(self) -> None:
        """
        Kill the guest, and wait for its end.
        """
        self._process.kill()
        self._process.wait(PATIENCE)

    def tries(self, what: str) -> Any:
        """
        Send a command to the guest.

        @return: C{"done"}, or the error.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the guest has ended without an answer"
        return json.loads(line)


def _device(how: str, name: str, mode: int) -> LinuxDevice | HelpedDevice:
    source, _, argument = how.partition(" ")
    if source == "helper":
        path, _, settings = argument.partition(" ")
        wanted = InterfaceSettings(**json.loads(settings)) if settings else SETTINGS
        return HelpedDevice(name, mode, wanted, path)
    if source == "node":
        return LinuxDevice(name, mode, node=argument)
    if source == "systemd":
        descriptor = fromSystemd(argument)
    elif source == "socket":
        with socket.socket(fileno=int(argument)) as parent:
            descriptor, _ = receiveDescriptor(parent)
    else:
        descriptor = int(argument)
    return LinuxDevice(name, mode, descriptor=descriptor)


class _Orders(LineOnlyReceiver):
    delimiter = b"\n"

    def __init__(self, device: LinuxDevice | HelpedDevice, done: Deferred[None]) -> None:
        self._device = device
        self._done = done
        # A copy, because the port closes its descriptor when its interface is deleted.
        self._kept = os.dup(device.fileno())

    def lineReceived(self, line: bytes) -> None:
        device = self._device
        orders: dict[str, Any] = {
            "configure": lambda: configureNow(device.name, SETTINGS, device),
            "persist": lambda: device.setPersistent(True),
            "own": lambda: device.setOwner(os.getuid()),
            "link address": lambda: self._ioctl(_SIOCSIFHWADDR, "H6s", 1, bytes.fromhex("020000000099")),
            "MTU": lambda: self._ioctl(_SIOCSIFMTU, "i", 1300),
            "link type": lambda: fcntl.ioctl(device.fileno(), _TUNSETLINK, _SIT),
            "namespace": lambda: fcntl.ioctl(device.fileno(), TUNGETDEVNETNS),
            "lose carrier": lambda: device.setCarrier(False),
            "another": lambda: LinuxDevice("tt9", TUN, node=f"/proc/self/fd/{device.fileno()}").open(),
            # The helper takes the device back, and the descriptor stays.
            "end the lease": lambda: cast(Any, device)._lease.shutdown(socket.SHUT_RDWR),
            "attach ttfree": lambda: fcntl.ioctl(self._kept, TUNSETIFF, _asked("ttfree")),
            "attach ttowned": lambda: fcntl.ioctl(self._kept, TUNSETIFF, _asked("ttowned")),
            "attach ttnew": lambda: fcntl.ioctl(self._kept, TUNSETIFF, _asked("ttnew")),
            "up": lambda: configureNow(device.name, InterfaceSettings(up=True, mtu=1300), device),
        }
        try:
            orders[line.decode()]()
        except OSError as e:
            say(e.strerror)
        else:
            say("done")

    def _ioctl(self, number: int, format: str, *fields: object) -> None:
        request = struct.pack("16s" + format, self._device.name.encode(), *fields).ljust(40, b"\0")
        fcntl.ioctl(self._device.fileno(), number, request)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._done.callback(None)


def _asked(name: str) -> bytes:
    return struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI)


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def main(reactor: Any) -> None:
    how, name, kind = sys.argv[1:]
    mode = TAP if kind == "tap" else TUN
    host = Host(ADDRESSES, reactor)
    host.listenUDP(7, Echo())
    try:
        device = _device(how, name, mode)
        port = TuntapPort(name, host.ethernet if mode == TAP else host.ip, reactor=reactor, device=device)
        port.startListening()
    except Exception as e:
        say(str(e))
        return
    say({"name": device.name, "mtu": device.mtu, "user": os.getuid()})
    done: Deferred[None] = Deferred()
    StandardIO(_Orders(device, done), reactor=reactor)
    await done
    await port.stopListening()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
