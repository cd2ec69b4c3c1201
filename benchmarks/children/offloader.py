"""
The process of L{benchmarks.offload} that sends, receives and echoes, on tun devices in a network namespace of its own.

    python -m benchmarks.children.offloader PROGRAMS ROUNDS

PROGRAMS is the directory of the programs in C. The process prints a JSON list of rounds. A round maps the name of each
measurement to its figure: datagrams per second, or the seconds of a round trip.

    python -m benchmarks.children.offloader pytun NAME FILE

This second command is one of the peers. It reads packets from the tun device NAME with python-pytun, and counts them in
FILE.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater, react
from twisted.internet.utils import getProcessOutputAndValue
from twisted.pair import tuntap as pairTuntap

from benchmarks.children.receiver import PairOnTun
from benchmarks.stacks import PORT, ourLayers, pairLayers
from txtuntap import Host, TuntapPort
from txtuntap.device import TUN
from txtuntap.device.configure import configureInterface
from txtuntap.device.linux import LinuxDevice
from txtuntap.wire import ipv4, udp
from txtuntap.wire.address import packAddress

#: The octets of an IP packet, and of the UDP payload in it.
SIZE = 1400
PAYLOAD = SIZE - 28

#: The datagrams in one system call of a sender.
COUNT = 46

#: The seconds of a turn in which datagrams are counted.
MEASURED = 0.2

#: The seconds at the start of a turn in which the sender starts, and nothing is counted.
WARMUP = 0.06

#: The seconds after a turn, in which the remaining datagrams are read.
REST = 0.02

#: The number of turns of each measurement in a round. The order of the measurements is reversed after each turn.
TURNS = 2

#: The seconds after which a sender ends by itself.
PATIENCE = 10

#: The port of the kernel socket that receives written datagrams.
SINK = 7001

#: The octets of a datagram in the measurement of round trips.
SMALL = 64

_HOST = "10.1.{}.2"
_KERNEL = "10.1.{}.1"


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


class Echo(DatagramProtocol):
    """
    An echo server that answers each datagram by itself.
    """

    noisy = False
    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Send the datagram back.
        """
        self.transport.write(datagram, addr)


class Writer(DatagramProtocol):
    """
    Writes many datagrams in each turn of the reactor.
    """

    noisy = False
    running = False

    def __init__(self, reactor: Any, address: tuple[str, int]) -> None:
        self._reactor = reactor
        self._address = address

    def write(self) -> None:
        """
        Write a batch of datagrams, and schedule the next batch for the next turn.
        """
        transport: Any = self.transport
        write, address, datagram = transport.write, self._address, bytes(PAYLOAD)
        with transport.batch():
            for _ in range(20 * COUNT):
                write(datagram, address)
        if self.running:
            self._reactor.callLater(0, self.write)


class Bench:
    """
    All measurements, by name, and the programs that they start.

    @ivar measures: functions that run one turn of a measurement and return its figure.
    """

    def __init__(self, reactor: Any, programs: Path) -> None:
        self._reactor = reactor
        self._programs = programs
        self._number = 0
        self.measures: dict[str, Callable[[], Awaitable[float]]] = {}

    def counter(self) -> Count:
        """
        Make a count for one more process.
        """
        self._number += 1
        return Count(self._programs / f"count{self._number}")

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

    async def rate(self, count: Callable[[], int], what: str) -> float:
        """
        Measure how fast a count grows.

        @param what: the name of the measurement.

        @return: the growth per second.
        """
        await self.wait(WARMUP)
        begin, before = perf_counter(), count()
        await self.wait(MEASURED)
        found = (count() - before) / (perf_counter() - begin)
        if not found:
            raise RuntimeError(f"{what}: nothing was received")
        return found

    async def wait(self, seconds: float) -> None:
        """
        Let the reactor and the other processes run.
        """
        await deferLater(self._reactor, seconds, lambda: None)

    def addFlood(self, name: str, number: int, count: Callable[[], int]) -> None:
        """
        Add a measurement of the datagrams that are received from a flood to a device.
        """

        async def measure() -> float:
            with self.running(self._programs / "flood", _HOST.format(number), PORT, SIZE, PATIENCE, COUNT):
                return await self.rate(count, name)

        self.measures[name] = measure

    def addEcho(self, name: str, number: int, gro: bool) -> None:
        """
        Add a measurement of the datagrams of a flood that are echoed to the sender.
        """
        count = self.counter()
        flood = self._programs / "flood"

        async def measure() -> float:
            to = _HOST.format(number)
            with self.running(flood, to, PORT, SIZE, PATIENCE, COUNT, count.file, int(gro)):
                return await self.rate(count, name)

        self.measures[name] = measure

    def addWriter(self, name: str, writer: Writer, gro: bool) -> None:
        """
        Add a measurement of the datagrams of an application that reach a kernel socket.
        """
        count = self.counter()

        async def measure() -> float:
            with self.running(self._programs / "sink", SINK, PAYLOAD, count.file, int(gro)):
                # The program needs a moment to open its socket.
                await self.wait(WARMUP)
                writer.running = True
                writer.write()
                try:
                    return await self.rate(count, name)
                finally:
                    writer.running = False

        self.measures[name] = measure

    def addLoop(self, name: str, number: int, write: Callable[[bytes], Any]) -> None:
        """
        Add a measurement of a loop that makes each packet and writes it.
        """
        count = self.counter()
        source, dest = packAddress(_HOST.format(number)), packAddress(_KERNEL.format(number))
        payload = bytes(PAYLOAD)

        def loop(seconds: float) -> None:
            end = perf_counter() + seconds
            while perf_counter() < end:
                for _ in range(100):
                    header = udp.packHeader(source, dest, PORT, SINK, payload)
                    write(ipv4.packHeader(source, dest, udp.PROTOCOL, udp.HEADER_LENGTH + PAYLOAD) + header + payload)

        async def measure() -> float:
            with self.running(self._programs / "sink", SINK, PAYLOAD, count.file, 0):
                await self.wait(WARMUP)
                loop(WARMUP)
                begin, before = perf_counter(), count()
                loop(MEASURED)
                return (count() - before) / (perf_counter() - begin)

        self.measures[name] = measure

    def addRoundTrip(self, name: str, address: str) -> None:
        """
        Add a measurement of the round-trip time of one datagram.
        """
        program = str(self._programs / "roundtrip")

        async def measure() -> float:
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cpus[:1])
            try:
                arguments = (address, str(PORT), str(SMALL), str(MEASURED), str(cpus[-1]))
                output, errors, status = await getProcessOutputAndValue(program, arguments, reactor=self._reactor)
            finally:
                os.sched_setaffinity(0, cpus)
            if status:
                raise RuntimeError(f"{name}: {errors.decode()}{status}")
            count, seconds = output.split()
            return float(seconds) / int(count)

        self.measures[name] = measure


def prepare(bench: Bench, reactor: Any, programs: Path) -> list[subprocess.Popen[bytes]]:
    """
    Open all devices, start the programs that read them, and add all measurements.

    @return: the processes to end at the end of the benchmark.
    """
    ip, (application,) = pairLayers()
    pairTuntap.TuntapPort(b"tun0", PairOnTun(ip), reactor=reactor).startListening()
    bench.addFlood("twisted.pair", 0, lambda: application.received)

    layers, (ours,) = ourLayers()
    TuntapPort("tun1", layers, reactor=reactor).startListening()
    bench.addFlood("received", 1, lambda: ours.received)

    count = bench.counter()
    processes = [subprocess.Popen([programs / "reader", "tun2", count.file])]
    bench.addFlood("C", 2, count)

    count = bench.counter()
    try:
        import pytun  # noqa: F401
    except ImportError:
        pass
    else:
        command = [sys.executable, "-m", "benchmarks.children.offloader", "pytun", "tun3", str(count.file)]
        processes.append(subprocess.Popen(command))
        bench.addFlood("pytun", 3, count)

    host = Host([f"{_HOST.format(4)}/24"], reactor)
    host.listenUDP(PORT, Echo())
    TuntapPort("tun4", host.ip, reactor=reactor).startListening()
    bench.addEcho("echoed", 4, False)
    bench.addEcho("echoed, GRO", 4, True)
    bench.addRoundTrip("returned", _HOST.format(4))
    reactor.listenUDP(PORT, Echo(), interface="127.0.0.1")
    bench.addRoundTrip("returned by the kernel", "127.0.0.1")

    writer = Writer(reactor, (_KERNEL.format(4), SINK))
    host.listenUDP(PORT + 1, writer)
    bench.addWriter("written", writer, False)
    bench.addWriter("written, GRO", writer, True)
    device = LinuxDevice("tun5", TUN)
    device.open()
    bench.addLoop("loop", 5, lambda packet: device.send([packet]))
    return processes


async def run(reactor: Any, directory: str, rounds: str) -> None:
    """
    Run all measurements in turns, and print the results.
    """
    programs = Path(directory)
    bench = Bench(reactor, programs)
    processes = prepare(bench, reactor, programs)
    try:
        configureInterface("lo")
        # The other processes need a moment to make their devices.
        await bench.wait(1)
        for number in range(6):
            if number != 3 or "pytun" in bench.measures:
                configureInterface(f"tun{number}", [f"{_KERNEL.format(number)}/24"])
        gc.disable()
        found = []
        order = list(bench.measures)
        for _ in range(int(rounds)):
            figures = dict.fromkeys(order, 0.0)
            for _ in range(TURNS):
                for name in order:
                    figures[name] += await bench.measures[name]() / TURNS
                    await bench.wait(REST)
                order.reverse()
            found.append(figures)
            gc.collect()
        json.dump(found, sys.stdout)
    finally:
        for process in processes:
            process.kill()


def readWithPytun(name: str, file: str) -> None:
    """
    Read packets from a tun device with python-pytun, and count them in a file.
    """
    import pytun

    tun = pytun.TunTapDevice(name=name, flags=pytun.IFF_TUN | pytun.IFF_NO_PI)
    with open(file, "r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 8)
    count = 0
    while True:
        tun.read(SIZE)
        count += 1
        if not count % 64:
            struct.pack_into("=Q", memory, 0, count)


if __name__ == "__main__":
    if sys.argv[1] == "pytun":
        readWithPytun(*sys.argv[2:])
    else:
        react(lambda *arguments: Deferred.fromCoroutine(run(*arguments)), sys.argv[1:])
