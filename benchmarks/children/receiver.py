"""
The receivers of L{benchmarks.receive}, on tun devices in the network namespace that this is started in.

    python -m benchmarks.children.receiver FLOOD SIZE ROUNDS

FLOOD is the program that sends. The totals of each round go to standard output, as JSON.
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

#: Seconds of a turn that count, those before them, and those in which what is left over drains.
MEASURED = 0.15
WARMUP = 0.04
REST = 0.02

#: The turns of each receiver in a round: there and back and so on, so that what changes slowly is shared out.
TURNS = 4

#: Seconds after which a sender ends by itself.
PATIENCE = 10


class PairOnTun(AbstractDatagramProtocol):
    """
    Goes between C{twisted.pair}'s port, which calls one thing on a tun, and its C{IPProtocol}, which takes another.
    """

    def __init__(self, ip: pairIP.IPProtocol) -> None:
        self._receive: Callable[..., None] = ip.datagramReceived
        # The port asks for no more of the interface than its name.
        directlyProvides(self, IRawPacketProtocol)

    def datagramReceived(self, data: bytes, partial: int = 0) -> None:  # type: ignore[override]
        """
        A packet has come.
        """
        self._receive(data, partial, None, None, None)


@attrs.frozen
class Receiver:
    """
    @ivar number: of the device, and in its address.
    @ivar port: the C{TuntapPort}.
    """

    variant: str
    number: int
    port: Any
    application: Application

    async def turn(self, reactor: Any, flood: str, size: str) -> dict[str, float]:
        """
        Be flooded for a while.

        @return: datagrams received, seconds, seconds of CPU time; and whether the device had to drop any.
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
        How many packets the device had no room for.
        """
        for line in Path("/proc/self/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == f"tun{self.number}":
                return int(numbers.split()[11])
        raise RuntimeError(f"tun{self.number} is gone")


def ours(number: int, verifyChecksum: bool, reactor: Any) -> Receiver:
    """
    Our port and layers.
    """
    ip, (application,) = ourLayers(verifyChecksum)
    variant = "every check" if verifyChecksum else "checksums off"
    return Receiver(variant, number, TuntapPort(f"tun{number}", ip, reactor=reactor), application)


def ofPair(number: int, reactor: Any) -> Receiver:
    """
    C{twisted.pair}'s port and layers.
    """
    ip, (application,) = pairLayers()
    port = pairTuntap.TuntapPort(b"tun%d" % number, PairOnTun(ip), reactor=reactor)
    return Receiver("twisted.pair", number, port, application)


async def measure(reactor: Any, flood: str, size: str, rounds: str) -> None:
    """
    All receivers in turns. Only one is sent to at a time.
    """
    receivers = [ofPair(0, reactor), ours(1, True, reactor), ours(2, False, reactor)]
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
