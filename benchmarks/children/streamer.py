"""
The services of L{benchmarks.tcp}, in the network namespace that this is started in.

    python -m benchmarks.children.streamer ROUNDS

Each service runs on a L{Host<txtuntap.Host>} behind a tun device, and on the TCP of the kernel over the loopback: one
program, one process. The peer, a process of its own, has the TCP of the kernel. What was found in each round goes to
standard output, as JSON: by case, the host's and the kernel's units per second of CPU time that this process took.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer

from benchmarks.children.streampeer import CASES
from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface

HOST, KERNEL = "10.1.0.2", "10.1.0.1"
LOOPBACK = "127.0.0.1"

#: The turns of each in a round: there and back.
TURNS = 3

PAGE = b"<html><body><h1>It works</h1></body></html>\n"
BLOCK = bytes(64 * 1024)


class Sink(Protocol):
    """
    Takes what comes.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Octets have come.
        """


class Echo(Protocol):
    """
    Sends back what comes.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Octets have come.
        """
        self.transport.write(data)  # type: ignore[union-attr]


@implementer(IPushProducer)
class Source(Protocol):
    """
    Sends as much as the transport takes, until the peer closes the connection.
    """

    def connectionMade(self) -> None:
        """
        The peer is there.
        """
        self._isPaused = False
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        The transport takes more.
        """
        self._isPaused = False
        while not self._isPaused:
            self.transport.write(BLOCK)  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """
        The transport has enough.
        """
        self._isPaused = True

    def stopProducing(self) -> None:
        """
        The transport takes no more.
        """
        self._isPaused = True


@attrs.frozen
class Service:
    """
    @ivar port: where it listens.
    @ivar make: makes its factory.
    """

    port: int
    make: Callable[[], Any]


#: The service that each case of the peer asks.
SERVICES = {
    "receive": Service(2001, lambda: Factory.forProtocol(Sink)),
    "send": Service(2002, lambda: Factory.forProtocol(Source)),
    "web": Service(2003, lambda: Site(Data(PAGE, "text/html"))),
    "connections": Service(2004, lambda: Factory.forProtocol(Echo)),
    "roundtrips": Service(2004, lambda: Factory.forProtocol(Echo)),
}


async def measure(reactor: Any, rounds: str) -> None:
    """
    The host and the kernel in turns.
    """
    host = Host([f"{HOST}/24"], reactor=reactor)
    TuntapPort("tun0", host.ip, reactor=reactor).startListening()
    configureInterface("tun0", [f"{KERNEL}/24"])
    configureInterface("lo")
    for service in {each.port: each for each in SERVICES.values()}.values():
        host.listenTCP(service.port, service.make(), interface=HOST)
        reactor.listenTCP(service.port, service.make(), interface=LOOPBACK)
    gc.disable()
    found: dict[str, list[list[float]]] = {case: [] for case in CASES}
    for _ in range(int(rounds)):
        for case, units in CASES.items():
            best = {HOST: 0.0, LOOPBACK: 0.0}
            for address in [HOST, LOOPBACK] * TURNS:
                cpu = process_time()
                await _ask(reactor, case, address, SERVICES[case].port)
                best[address] = max(best[address], units / (process_time() - cpu))
            found[case].append([best[HOST], best[LOOPBACK]])
        gc.collect()
    json.dump(found, sys.stdout)


async def _ask(reactor: Any, case: str, address: str, port: int) -> None:
    arguments = ["-m", "benchmarks.children.streampeer", case, address, str(port)]
    output, errors, status = await getProcessOutputAndValue(sys.executable, arguments, env=None, reactor=reactor)
    if status:
        raise RuntimeError(f"the peer of {case!r} failed: {output.decode()}{errors.decode()}")


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
