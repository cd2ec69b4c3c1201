"""
C{twistd tuntap switch} in a process of its own, between network namespaces that are each a machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.real.lab.host import endProcess, handles, twistd
from tests.real.lab.link import PacketSocket, has, show
from tests.real.lab.namespace import PATIENCE, another, ip, run, tool, until
from txtuntap.device import TAP
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.wire.address import packLinkAddress

_T = TypeVar("_T")

INTERFACE = "tt0"


class Machine:
    """
    A namespace with one tap interface.

    @ivar number: the last octet of its addresses: 10.9.0.NUMBER and fd09::NUMBER.
    @ivar namespace: a descriptor.
    """

    def __init__(self, number: int, namespace: int) -> None:
        self.number = number
        self.namespace = namespace

    @property
    def path(self) -> str:
        """
        The namespace, for other processes.
        """
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    @property
    def address(self) -> str:
        """
        Its IPv4 address.
        """
        return f"10.9.0.{self.number}"

    @property
    def station(self) -> bytes:
        """
        Its link address.
        """
        return packLinkAddress(self.do(lambda: show(INTERFACE))["address"])

    def do(self, call: Callable[[], _T]) -> _T:
        """
        Call something in there.
        """
        return inNamespace(self.namespace, call)

    def run(self, name: str, *arguments: str, status: int = 0) -> str:
        """
        Run a program to its end in there.
        """
        return self.do(lambda: run(name, *arguments, status=status))

    def pings(self, address: str) -> bool:
        """
        Whether an address answers.
        """
        return self._ping("-c", "1", "-w", f"{PATIENCE:.0f}", "-i", "0.2", address)

    def isSilent(self, address: str) -> bool:
        """
        Whether one does not, for a while.
        """
        return not self._ping("-c", "2", "-W", "0.3", "-i", "0.2", address)

    def _ping(self, *arguments: str) -> bool:
        command = [tool("ping"), *arguments]
        return self.do(lambda: subprocess.run(command, capture_output=True, check=False)).returncode == 0

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """
        Run a program in there meanwhile.
        """
        process = self.do(
            lambda: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)

    def socket(self) -> PacketSocket:
        """
        What reads and writes frames past the kernel's IP.
        """
        return self.do(lambda: PacketSocket(INTERFACE, TAP))


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """
    As many of them, numbered from 1.
    """
    with ExitStack() as stack:
        yield [Machine(number, stack.enter_context(another())) for number in range(1, count + 1)]


class RunningSwitch:
    """
    A switch between machines, as a context manager. Each has its addresses when it begins.

    @ivar process: the process.
    """

    def __init__(
        self,
        directory: Path,
        members: Sequence[Machine],
        options: Sequence[str] = (),
        more: Sequence[str] = (),
        six: bool = False,
    ) -> None:
        """
        @param options: of each port, such as C{"vlan=10"}.
        @param more: options of the switch.
        @param six: whether they have addresses of IPv6, too, which takes a while.
        """
        self._directory = directory
        self._members = members
        self._six = six
        self._arguments = ["-n", f"--pidfile={directory / 'twistd.pid'}", "tuntap", "switch", *more]
        for index, machine in enumerate(members):
            addresses = f"address={machine.address}/24" + (f"+fd09::{machine.number}/64" if six else "")
            own = f",{options[index]}" if index < len(options) and options[index] else ""
            self._arguments += ["--tap", f"{INTERFACE},netns={machine.path},{addresses}{own}"]

    def __enter__(self) -> RunningSwitch:
        self.process = twistd(*self._arguments, cwd=self._directory)
        try:
            for machine in self._members:
                until(lambda machine=machine: self._isReady(machine), "an interface")  # type: ignore[misc]
            until(lambda: self._stays() and handles(self.process.pid, signal.SIGUSR2), "the switch to start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored: object) -> None:
        endProcess(self.process)

    def log(self) -> str:
        """
        All it has said.
        """
        return (self._directory / "twistd.log").read_text()

    def counters(self, machine: Machine) -> dict[str, int]:
        """
        Those of the port that a machine is at.
        """
        before = len(self.log())
        self.process.send_signal(signal.SIGUSR2)
        until(lambda: "stations are known" in self.log()[before:], "the counters")
        (line,) = (each for each in self.log()[before:].splitlines() if f"{INTERFACE}@{machine.path}, switch: " in each)
        words = line.partition(", switch: ")[2]
        if words == "nothing":
            return {}
        return {name: int(count) for name, count in (each.split() for each in words.split(", "))}

    def _isReady(self, machine: Machine) -> bool:
        self._stays()
        addresses = [machine.address, *([f"fd09::{machine.number}"] if self._six else [])]

        def isReady() -> bool:
            # Not one that is still being asked for: what leaves from it is not answered.
            return has(INTERFACE, *addresses) and not (
                self._six and "tentative" in ip("address", "show", "dev", INTERFACE)
            )

        return machine.do(isReady)

    def _stays(self) -> bool:
        assert self.process.poll() is None, f"it did not stay: {self.log()}"
        return True
