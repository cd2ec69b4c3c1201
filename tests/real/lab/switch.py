"""
The service C{twistd tuntap switch} in its own process, between network namespaces that play machines.
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
    A network namespace with one tap interface.

    @ivar number: the last part of its addresses 10.9.0.NUMBER and fd09::NUMBER.
    @ivar namespace: a descriptor of the namespace.
    """

    def __init__(self, number: int, namespace: int) -> None:
        self.number = number
        self.namespace = namespace

    @property
    def path(self) -> str:
        """
        The path of the namespace for other processes.
        """
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    @property
    def address(self) -> str:
        """
        The IPv4 address of the machine.
        """
        return f"10.9.0.{self.number}"

    @property
    def station(self) -> bytes:
        """
        The link address of the machine, six octets.
        """
        return packLinkAddress(self.do(lambda: show(INTERFACE))["address"])

    def do(self, call: Callable[[], _T]) -> _T:
        """
        Call a function in the namespace.
        """
        return inNamespace(self.namespace, call)

    def run(self, name: str, *arguments: str, status: int = 0) -> str:
        """
        Run a program to its end in the namespace, and return its output.
        """
        return self.do(lambda: run(name, *arguments, status=status))

    def pings(self, address: str) -> bool:
        """
        Whether an address answers a ping from this machine.
        """
        return self._ping("-c", "1", "-w", f"{PATIENCE:.0f}", "-i", "0.2", address)

    def isSilent(self, address: str) -> bool:
        """
        Whether an address answers neither of two pings from this machine.
        """
        return not self._ping("-c", "2", "-W", "0.3", "-i", "0.2", address)

    def _ping(self, *arguments: str) -> bool:
        command = [tool("ping"), *arguments]
        return self.do(lambda: subprocess.run(command, capture_output=True, check=False)).returncode == 0

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """
        Run a program in the namespace within a context manager.
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
        Open a packet socket on the machine's interface.
        """
        return self.do(lambda: PacketSocket(INTERFACE, TAP))


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """
    Make machines, numbered from 1, in a context manager.
    """
    with ExitStack() as stack:
        yield [Machine(number, stack.enter_context(another())) for number in range(1, count + 1)]


class RunningSwitch:
    """
    A context manager that runs a switch between machines. Entering it waits until each machine has its addresses.

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
        @param directory: the working directory of the process.
        @param members: the machines to connect.
        @param options: the options of each machine's port, such as C{"vlan=10"}.
        @param more: options of the switch.
        @param six: whether the machines have IPv6 addresses, too, which slows the start.
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
        The text of its log so far.
        """
        return (self._directory / "twistd.log").read_text()

    def counters(self, machine: Machine) -> dict[str, int]:
        """
        The counters of the port that a machine is connected to, read from the log.
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
            # A tentative address does not count, because nobody answers packets from it.
            return has(INTERFACE, *addresses) and not (
                self._six and "tentative" in ip("address", "show", "dev", INTERFACE)
            )

        return machine.do(isReady)

    def _stays(self) -> bool:
        assert self.process.poll() is None, f"the switch has ended: {self.log()}"
        return True
