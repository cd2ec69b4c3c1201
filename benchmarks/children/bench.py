"""
The parts that the processes of L{benchmarks.receive} and L{benchmarks.offload} share: devices, floods and counts.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.internet.task import deferLater
from twisted.pair import ip as pairIP
from twisted.pair import tuntap as pairTuntap
from twisted.pair.raw import IRawPacketProtocol
from zope.interface import directlyProvides

from benchmarks.measure import Rounds, Stopwatch, Turn, inTurns
from benchmarks.stacks import PORT, Application, pairLayers
from txtuntap.device.configure import configureInterface

#: The seconds of a turn in which datagrams are counted.
MEASURED = 0.2

#: The seconds at the start of a turn in which the sender starts, and nothing is counted.
WARMUP = 0.06

#: The seconds after a turn, in which the remaining datagrams are read.
REST = 0.02

#: The seconds after which a sender ends by itself.
PATIENCE = 10

#: The seconds after which a process that has not made its device has failed.
START = 60

HOST = "10.1.{}.2"
KERNEL = "10.1.{}.1"


class PairOnTun(AbstractDatagramProtocol):
    """
    Adapts the call of C{twisted.pair}'s port on a tun to the arguments that its C{IPProtocol} takes.
    """

    def __init__(self, ip: pairIP.IPProtocol) -> None:
        self._receive: Callable[..., None] = ip.datagramReceived
        # The port only tests that the interface is provided.
        directlyProvides(self, IRawPacketProtocol)

    def datagramReceived(self, data: bytes, partial: int = 0) -> None:  # type: ignore[override]
        """
        Pass a packet to the C{IPProtocol}.
        """
        self._receive(data, partial, None, None, None)


class Count:
    """
    A count that another process writes to a file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)

    def __call__(self) -> int:
        return int(struct.unpack_from("=Q", self._memory)[0])


class Bench:
    """
    Measurements with tun devices, by name, and the programs that they start. The device C{tunN} has the addresses
    10.1.N.1, which is that of the kernel, and 10.1.N.2.

    @ivar measures: functions that run one turn of a measurement.
    @ivar faster: the number of turns in which the device of a flood dropped packets, because the sender was faster.
    """

    def __init__(self, reactor: Any, programs: Path) -> None:
        """
        @param programs: the directory of the programs in C, which also gets the files of the counts.
        """
        self.reactor = reactor
        self.programs = programs
        self.measures: dict[str, Callable[[], Awaitable[Turn]]] = {}
        self.faster = 0
        self._numbers: set[int] = set()
        self._counts = 0
        self._processes: list[subprocess.Popen[bytes]] = []

    def counter(self) -> Count:
        """
        Make a count for one more process.
        """
        self._counts += 1
        return Count(self.programs / f"count{self._counts}")

    def device(self, number: int) -> str:
        """
        Return the name of a device that the caller opens, and that is configured before the first turn.
        """
        self._numbers.add(number)
        return f"tun{number}"

    def addPair(self, number: int, size: int, count: int) -> None:
        """
        Add a measurement of C{twisted.pair}, whose name is that of the package.

        @param size: the octets of each packet.
        @param count: the datagrams in one system call of the sender.
        """
        ip, (application,) = pairLayers()
        name = self.device(number).encode()
        pairTuntap.TuntapPort(name, PairOnTun(ip), reactor=self.reactor).startListening()
        self.addReceived("twisted.pair", number, size, count, application)

    def addReceived(self, name: str, number: int, size: int, count: int, application: Application) -> None:
        """
        Add a measurement of the datagrams of a flood that an application in this process receives.
        """
        self.addFlood(name, number, size, count, lambda: application.received, 0)

    def addReader(self, name: str, number: int, size: int, count: int, *command: object) -> None:
        """
        Start a process that counts the packets of a flood, and add a measurement of it.

        @param command: its command line, to which the names of the device and of the file of its count are added.
        """
        counted = self.counter()
        process = self.start(*command, self.device(number), counted.file)
        self.addFlood(name, number, size, count, counted, process)

    def addFlood(self, name: str, number: int, size: int, count: int, counted: Callable[[], int], process: int) -> None:
        """
        Add a measurement of the datagrams that are received from a flood to a device.

        @param counted: returns the number of datagrams so far.
        @param process: the identifier of the process that receives them. 0 stands for this process.
        """
        flood = self.programs / "flood", HOST.format(number), PORT, size, PATIENCE, count

        async def measure() -> Turn:
            dropped = _drops()[f"tun{number}"]
            with self.running(*flood):
                turn = await self.counted(counted, name, process)
            await self.wait(REST)
            self.faster += _drops()[f"tun{number}"] > dropped
            return turn

        self.measures[name] = measure

    def start(self, *command: object) -> int:
        """
        Start a program that runs until the end of the benchmark.

        @return: the identifier of its process.
        """
        self._processes.append(subprocess.Popen([str(part) for part in command]))
        return self._processes[-1].pid

    @contextmanager
    def running(self, *command: object) -> Iterator[None]:
        """
        Run a program while the C{with} block runs.
        """
        process = subprocess.Popen([str(part) for part in command])
        try:
            yield
        finally:
            process.kill()
            process.wait()

    async def counted(self, count: Callable[[], int], what: str, process: int = 0) -> Turn:
        """
        Measure the CPU time that a process takes while a count grows.

        @param what: the name of the measurement.
        @param process: the identifier of the process. 0 stands for this process.
        """
        await self.wait(WARMUP)
        watch, before = Stopwatch(process), count()
        await self.wait(MEASURED)
        # Other load on the machine may keep a program from running for some time.
        while count() == before:
            if watch.turn(0)[2] > PATIENCE / 2:
                raise RuntimeError(f"{what}: nothing was received")
            await self.wait(MEASURED)
        return watch.turn(count() - before)

    async def wait(self, seconds: float) -> None:
        """
        Let the reactor and the other processes run.
        """
        await deferLater(self.reactor, seconds, lambda: None)

    async def run(self, rounds: int, turns: int) -> Rounds:
        """
        Configure the devices, run all measurements in turns, and end the programs.

        @param turns: the number of turns of each measurement in a round.
        """
        try:
            configureInterface("lo")
            for number in sorted(self._numbers):
                await self._madeDevice(f"tun{number}")
                configureInterface(f"tun{number}", [f"{KERNEL.format(number)}/24"])
            return await inTurns(self.measures, rounds, turns)
        finally:
            for process in self._processes:
                process.kill()

    async def _madeDevice(self, name: str) -> None:
        """
        Wait until a device exists, which another process may have to make.
        """
        watch = Stopwatch()
        while name not in _drops():
            if watch.turn(0)[2] > START:
                raise RuntimeError(f"no process has made the device {name}")
            await self.wait(REST)


def bare(*arguments: object) -> tuple[object, ...]:
    """
    Return the command line of a bare loop in Python.

    @param arguments: those of L{benchmarks.children.bare}.
    """
    return sys.executable, "-m", "benchmarks.children.bare", *arguments


@contextmanager
def onOneCPU() -> Iterator[int]:
    """
    Keep this process on one CPU while the C{with} block runs.

    @return: the number of another CPU, or of the same if there is only one.
    """
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[:1])
    try:
        yield cpus[-1]
    finally:
        os.sched_setaffinity(0, cpus)


def _drops() -> dict[str, int]:
    """
    The number of packets that each device has dropped because its queue was full.
    """
    lines = [line.partition(":") for line in Path("/proc/self/net/dev").read_text().splitlines()]
    return {name.strip(): int(numbers.split()[11]) for name, colon, numbers in lines if colon}
