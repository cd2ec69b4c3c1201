"""
The process of L{benchmarks.receive} with the receivers, on tun devices in a network namespace of its own.

    python -m benchmarks.children.receiver FLOOD SIZE ROUNDS

FLOOD is the path of the sender. The process prints the totals of each round, as JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.internet.task import deferLater, react
from twisted.pair import ip as pairIP
from twisted.pair import tuntap as pairTuntap
from twisted.pair.raw import IRawPacketProtocol
from zope.interface import directlyProvides

from benchmarks.stacks import PORT, Application, ourLayers, pairLayers
from txtuntap import TuntapPort
from txtuntap.device.configure import configureInterface

#: The seconds of a turn in which datagrams are counted.
MEASURED = 0.15

#: The seconds at the start of a turn in which the sender starts, and nothing is counted.
WARMUP = 0.04

#: The seconds after a turn, in which the remaining datagrams are read.
REST = 0.02

#: The number of turns of each receiver in a round. The order of the receivers is reversed after each turn, so that slow
#: changes of the machine's load affect all receivers alike.
TURNS = 4

#: The seconds after which a sender ends by itself.
PATIENCE = 10


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


@attrs.frozen
class Receiver:
    """
    A stack on a tun device that receives a flood of datagrams.

    @ivar variant: the name of the stack.
    @ivar number: the number of the device, which is also part of its address.
    @ivar port: the C{TuntapPort}.
    @ivar application: the protocol that counts datagrams.
    """

    variant: str
    number: int
    port: Any
    application: Application

    async def turn(self, reactor: Any, flood: str, size: str) -> dict[str, float]:
        """
        Receive a flood for L{MEASURED} seconds.

        @return: the datagrams received, the seconds, the seconds of CPU time, and whether the device dropped packets.
        """
        dropped = self.dropped()
        sender = subprocess.Popen([flood, f"10.1.{self.number}.2", str(PORT), size, str(PATIENCE), "1"])
        try:
            await deferLater(reactor, WARMUP, lambda: None)
            begin, cpu, received = perf_counter(), process_time(), self.application.received
            await deferLater(reactor, MEASURED, lambda: None)
            received = self.application.received - received
            elapsed, cpu = perf_counter() - begin, process_time() - cpu
        finally:
            sender.kill()
            sender.wait()
        await deferLater(reactor, REST, lambda: None)
        if not received:
            raise RuntimeError(f"{self.variant}: nothing was received")
        return {"received": received, "elapsed": elapsed, "cpu": cpu, "faster": self.dropped() > dropped}

    def dropped(self) -> int:
        """
        The number of packets that the device has dropped because its queue was full.
        """
        for line in Path("/proc/self/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == f"tun{self.number}":
                return int(numbers.split()[11])
        raise RuntimeError(f"tun{self.number} is gone")


def makeTxtuntap(number: int, verifyChecksum: bool, reactor: Any) -> Receiver:
    """
    Make a receiver with the port and layers of txtuntap.
    """
    ip, (application,) = ourLayers(verifyChecksum)
    variant = "every check" if verifyChecksum else "checksums off"
    return Receiver(variant, number, TuntapPort(f"tun{number}", ip, reactor=reactor), application)


def makePair(number: int, reactor: Any) -> Receiver:
    """
    Make a receiver with the port and layers of C{twisted.pair}.
    """
    ip, (application,) = pairLayers()
    port = pairTuntap.TuntapPort(b"tun%d" % number, PairOnTun(ip), reactor=reactor)
    return Receiver("twisted.pair", number, port, application)


async def measure(reactor: Any, flood: str, size: str, rounds: str) -> None:
    """
    Measure all receivers in turns, one at a time, and print the totals.
    """
    receivers = [makePair(0, reactor), makeTxtuntap(1, True, reactor), makeTxtuntap(2, False, reactor)]
    for receiver in receivers:
        receiver.port.startListening()
        configureInterface(f"tun{receiver.number}", [f"10.1.{receiver.number}.1/24"])
    gc.disable()
    found = []
    for _ in range(int(rounds)):
        totals: dict[str, dict[str, float]] = {}
        for _ in range(TURNS):
            for receiver in receivers:
                total = totals.setdefault(receiver.variant, {})
                for name, figure in (await receiver.turn(reactor, flood, size)).items():
                    total[name] = total.get(name, 0) + figure
            receivers.reverse()
        found.append(totals)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
