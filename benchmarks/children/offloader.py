"""
The process of L{benchmarks.offload} that sends, receives and echoes, on tun devices in a network namespace of its own.

    python -m benchmarks.children.offloader PROGRAMS ROUNDS

PROGRAMS is the directory of the programs in C. The process prints a JSON list of rounds, with the sums of all
turns, by the name of the measurement. The units of the measurements are datagrams.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import react

from benchmarks.children.bench import HOST, KERNEL, MEASURED, PATIENCE, REST, WARMUP, Bench, bare, onOneCPU
from benchmarks.measure import Stopwatch, Turn
from benchmarks.stacks import PORT, Echo, ourLayers
from txtuntap import Host, TuntapPort
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.wire import ipv4, udp
from txtuntap.wire.address import packAddress

#: The octets of an IP packet, and of the UDP payload in it.
SIZE = 1400
PAYLOAD = SIZE - 28

#: The datagrams in one system call of a sender.
COUNT = 46

#: The number of turns of each measurement in a round.
TURNS = 2

#: The port of the kernel socket that receives written datagrams.
SINK = 7001

#: The octets of a datagram in the measurement of round trips.
SMALL = 64

#: The number of calls of C{doRead} in a turn.
CALLS = 5000

#: The most calls of C{doRead} until a datagram is answered.
_MOST_READS = 10

LOOPBACK = "127.0.0.1"


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


def addEcho(bench: Bench, name: str, number: int, gro: bool, process: int = 0) -> None:
    """
    Add a measurement of the datagrams of a flood that are echoed to the sender.

    @param process: the identifier of the process that echoes them. 0 stands for this process.
    """
    count = bench.counter()
    flood = bench.programs / "flood", HOST.format(number), PORT, SIZE, PATIENCE, COUNT, count.file, int(gro)

    async def measure() -> Turn:
        with bench.running(*flood):
            turn = await bench.counted(count, name, process)
        await bench.wait(REST)
        return turn

    bench.measures[name] = measure


def addWriter(bench: Bench, name: str, writer: Writer, gro: bool) -> None:
    """
    Add a measurement of the datagrams of an application that reach a kernel socket.
    """
    count = bench.counter()

    async def measure() -> Turn:
        with bench.running(bench.programs / "sink", SINK, PAYLOAD, count.file, int(gro)):
            # The program needs a moment to open its socket.
            await bench.wait(WARMUP)
            writer.running = True
            writer.write()
            try:
                return await bench.counted(count, name)
            finally:
                writer.running = False

    bench.measures[name] = measure


def addLoop(bench: Bench, name: str, number: int, write: Callable[[bytes], Any]) -> None:
    """
    Add a measurement of a loop that makes each packet and writes it.
    """
    count = bench.counter()
    source, dest = packAddress(HOST.format(number)), packAddress(KERNEL.format(number))
    payload = bytes(PAYLOAD)

    def loop(seconds: float) -> None:
        end = perf_counter() + seconds
        while perf_counter() < end:
            for _ in range(100):
                header = udp.packHeader(source, dest, PORT, SINK, payload)
                write(ipv4.packHeader(source, dest, udp.PROTOCOL, udp.HEADER_LENGTH + PAYLOAD) + header + payload)

    async def measure() -> Turn:
        with bench.running(bench.programs / "sink", SINK, PAYLOAD, count.file, 0):
            await bench.wait(WARMUP)
            loop(WARMUP)
            watch, before = Stopwatch(), count()
            loop(MEASURED)
            return watch.turn(count() - before)

    bench.measures[name] = measure


def addRoundTrip(bench: Bench, name: str, address: str) -> None:
    """
    Add a measurement of this process while one datagram at a time is sent to it and back.
    """
    count = bench.counter()

    async def measure() -> Turn:
        with onOneCPU() as other:
            program = bench.programs / "roundtrip"
            with bench.running(program, address, PORT, SMALL, PATIENCE, other, count.file):
                return await bench.counted(count, name)

    bench.measures[name] = measure


def addRead(bench: Bench, name: str, port: Any, address: str) -> None:
    """
    Add a measurement of the calls of C{doRead} that receive one datagram and send it back.

    @param port: the port to call.
    @param address: the address of its echo server.
    """

    async def measure() -> Turn:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((address, PORT))
            datagram = bytes(SMALL)
            cpu = elapsed = idle = 0.0
            for _ in range(CALLS):
                client.send(datagram)
                # A packet of the kernel's own may be waiting before it, and a port may read one packet a turn.
                for _ in range(_MOST_READS):
                    began, beganCPU = perf_counter(), thread_time()
                    port.doRead()
                    endedCPU, ended = thread_time(), perf_counter()
                    # To read the clock of CPU time takes part of a microsecond itself.
                    idle -= thread_time()
                    idle += thread_time()
                    cpu += endedCPU - beganCPU
                    elapsed += ended - began
                    with suppress(BlockingIOError):
                        client.recv(SMALL, socket.MSG_DONTWAIT)
                        break
                else:
                    raise RuntimeError("a datagram was not answered")
        return CALLS, cpu - idle, elapsed - idle

    bench.measures[name] = measure


async def run(reactor: Any, directory: str, rounds: str) -> None:
    """
    Open all devices, add all measurements, run them, and print the results.
    """
    bench = Bench(reactor, Path(directory))
    bench.addPair(0, SIZE, COUNT)

    layers, (ours,) = ourLayers()
    TuntapPort(bench.device(1), layers, reactor=reactor).startListening()
    bench.addReceived("received", 1, SIZE, COUNT, ours)
    bench.addReader("C", 2, SIZE, COUNT, bench.programs / "reader")
    if find_spec("pytun"):
        bench.addReader("pytun", 3, SIZE, COUNT, *bare("pytun"))
    bench.addReader("limit", 6, SIZE, COUNT, *bare("deliverSuperpackets"))

    host = Host([f"{HOST.format(4)}/24"], reactor)
    host.listenUDP(PORT, Echo())
    port = TuntapPort(bench.device(4), host.ip, reactor=reactor)
    port.startListening()
    addEcho(bench, "echoed", 4, False)
    addEcho(bench, "echoed, GRO", 4, True)
    echoing = bench.start(*bare("echo"), bench.device(7))
    addEcho(bench, "limit of echoed", 7, False, echoing)
    addEcho(bench, "limit of echoed, GRO", 7, True, echoing)
    addRoundTrip(bench, "host, reactor", HOST.format(4))
    addRead(bench, "host, doRead", port, HOST.format(4))
    kernelPort = reactor.listenUDP(PORT, Echo(), interface=LOOPBACK)
    addRoundTrip(bench, "kernel, reactor", LOOPBACK)
    addRead(bench, "kernel, doRead", kernelPort, LOOPBACK)

    writer = Writer(reactor, (KERNEL.format(4), SINK))
    host.listenUDP(PORT + 1, writer)
    addWriter(bench, "written", writer, False)
    addWriter(bench, "written, GRO", writer, True)
    device = LinuxDevice(bench.device(5), TUN)
    device.open()
    addLoop(bench, "loop", 5, lambda packet: device.send([packet]))
    json.dump(await bench.run(int(rounds), TURNS), sys.stdout)


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(run(*arguments)), sys.argv[1:])
