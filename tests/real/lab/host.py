"""
C{twistd tuntap host} in a process of its own, and the kernel's sockets to ask it with.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.paths import CHECKOUT
from tests.real.lab.asking import untilEchoed
from tests.real.lab.link import untilHas
from tests.real.lab.namespace import PATIENCE
from tests.real.lab.warm import Program

INTERFACE = "tt0"
ADDRESSES = ("10.9.0.2/24", "fd09::2/64")
KERNEL_ADDRESSES = ("10.9.0.1/24", "fd09::1/64")


def twistd(*arguments: str, cwd: Path) -> Program:
    """
    Start C{twistd} in a fork of the warm interpreter; what it says goes to C{twistd.log} in C{cwd}.
    """
    with open(cwd / "twistd.log", "w") as log:
        return Program(
            "twisted.scripts.twistd:run",
            ["twistd", *arguments],
            cwd=cwd,
            stdout=log,
            environment={"PYTHONPATH": str(CHECKOUT)},
        )


def installedTwistd(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """
    Start C{twistd} as it is installed; what it says goes to C{twistd.log} in C{cwd}.
    """
    program = Path(sys.executable).with_name("twistd")
    assert program.exists(), f"there is no {program}: Twisted is not installed where this Python is"
    with open(cwd / "twistd.log", "w") as log:
        return subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )


def endProcess(process: Program | subprocess.Popen[str]) -> None:
    """
    End a process that may still run, as an administrator does. One that does not, is killed, and an error.
    """
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def handles(process: int, number: int) -> bool:
    """
    Whether a process has a handler for a signal (C{SigCgt} in C{proc_pid_status(5)}). A service installs them last.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def options(
    mode: str = "tun",
    addresses: tuple[str, ...] = ADDRESSES,
    kernelAddresses: tuple[str, ...] = KERNEL_ADDRESSES,
    udp: tuple[str, ...] = ("7=echo",),
) -> list[str]:
    """
    The arguments after C{host}.
    """
    arguments = [f"--{mode}", INTERFACE]
    for name, values in ("address", addresses), ("kernel-address", kernelAddresses), ("udp", udp):
        for value in values:
            arguments += [f"--{name}", value]
    return arguments


class Host:
    """
    A host that runs until it is stopped, as a context manager.

    @ivar pidfile: where its process id is.
    @ivar process: the process.
    """

    def __init__(
        self,
        directory: Path,
        mode: str = "tun",
        addresses: tuple[str, ...] = ADDRESSES,
        kernelAddresses: tuple[str, ...] = KERNEL_ADDRESSES,
        udp: tuple[str, ...] = ("7=echo",),
        twistdOptions: tuple[str, ...] = (),
        more: tuple[str, ...] = (),
        installed: bool = False,
    ) -> None:
        """
        @param more: options of the host, as they are.
        @param installed: whether to start C{twistd} as it is installed, and not in a fork of the warm interpreter.
        """
        self._twistd = installedTwistd if installed else twistd
        self._directory = directory
        self._kernelAddresses = kernelAddresses
        self.pidfile = directory / "twistd.pid"
        self._arguments = ["-n", f"--pidfile={self.pidfile}", *twistdOptions, "tuntap", "host"]
        self._arguments += [*options(mode, addresses, kernelAddresses, udp), *more]

    def __enter__(self) -> Host:
        self.process = self._twistd(*self._arguments, cwd=self._directory)
        # An answer is the proof that all is in place.
        try:
            untilEchoed("10.9.0.2", self._stays)
            untilHas(INTERFACE, *self._kernelAddresses)
        except BaseException:
            print(self.log())
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored: object) -> None:
        endProcess(self.process)

    def terminate(self) -> None:
        """
        Send SIGTERM and wait for the end.
        """
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def log(self) -> str:
        """
        All it has said.
        """
        return (self._directory / "twistd.log").read_text()

    def _stays(self) -> None:
        assert self.process.poll() is None, f"it did not stay: {self.log()}"


def ask(
    address: str, data: bytes, port: int = 7, seconds: float = PATIENCE, source: tuple[str, int] | None = None
) -> bytes | None:
    """
    Send a datagram from a kernel socket, and wait for the answer from just there.

    @return: the answer, or L{None} if there was none in time.
    """
    with connected(address, port, source) as client:
        client.settimeout(seconds)
        client.send(data)
        try:
            return client.recv(65535)
        except TimeoutError:
            return None


def connected(address: str, port: int = 7, source: tuple[str, int] | None = None) -> socket.socket:
    """
    A kernel socket that talks to one address only.
    """
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if source is not None:
        client.bind(source)
    client.connect((address, port))
    client.settimeout(PATIENCE)
    return client
