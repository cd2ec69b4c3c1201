"""
The service C{twistd tuntap host} in its own process, and kernel sockets that send it datagrams.
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
    Start C{twistd} in a fork of the warm interpreter (L{tests.real.lab.warm}). Its output goes to the file
    C{twistd.log} in C{cwd}.
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
    Start the installed program C{twistd}. Its output goes to the file C{twistd.log} in C{cwd}.
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
    End a process by SIGTERM, if it still runs. If it does not end, kill it and raise an error.
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
    Whether a process has a handler for a signal (C{SigCgt} in C{proc_pid_status(5)}). A service installs its handlers
    last, so it has started then.
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
    Make the arguments after C{twistd tuntap host}.
    """
    arguments = [f"--{mode}", INTERFACE]
    for name, values in ("address", addresses), ("kernel-address", kernelAddresses), ("udp", udp):
        for value in values:
            arguments += [f"--{name}", value]
    return arguments


class Host:
    """
    A context manager that runs a host service until it is left.

    @ivar pidfile: the path of the file with the process id.
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
        @param directory: the working directory of the process.
        @param mode: C{"tun"} or C{"tap"}.
        @param addresses: the addresses of the host.
        @param kernelAddresses: the kernel's addresses on the interface.
        @param udp: the UDP services, such as C{"7=echo"}.
        @param twistdOptions: options of C{twistd}.
        @param more: more options of the host.
        @param installed: whether to start the installed C{twistd} instead of a fork of the warm interpreter.
        """
        self._twistd = installedTwistd if installed else twistd
        self._directory = directory
        self._kernelAddresses = kernelAddresses
        self.pidfile = directory / "twistd.pid"
        self._arguments = ["-n", f"--pidfile={self.pidfile}", *twistdOptions, "tuntap", "host"]
        self._arguments += [*options(mode, addresses, kernelAddresses, udp), *more]

    def __enter__(self) -> Host:
        self.process = self._twistd(*self._arguments, cwd=self._directory)
        # The host has started once it answers.
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
        Send SIGTERM, and wait for the end of the process.
        """
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def log(self) -> str:
        """
        The text of its log so far.
        """
        return (self._directory / "twistd.log").read_text()

    def _stays(self) -> None:
        assert self.process.poll() is None, f"the host has ended: {self.log()}"


def ask(
    address: str, data: bytes, port: int = 7, seconds: float = PATIENCE, source: tuple[str, int] | None = None
) -> bytes | None:
    """
    Send a datagram from a kernel socket, and wait for an answer from the same address and port.

    @return: the answer; L{None}: there was none in time.
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
    Make a UDP socket of the kernel that is connected to one address and port.
    """
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if source is not None:
        client.bind(source)
    client.connect((address, port))
    client.settimeout(PATIENCE)
    return client
