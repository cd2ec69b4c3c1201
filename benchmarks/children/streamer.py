"""
The process of L{benchmarks.tcp} with the services. It runs in a network namespace of its own.

    python -m benchmarks.children.streamer ROUNDS

The same process runs each service on a L{Host<txtuntap.Host>} behind a tun device, and on the kernel's TCP over the
loopback interface. The client is a separate process, and uses the kernel's TCP. The process prints a JSON list of
rounds, with the sums of all turns, by the name of the measurement. The units of a case are megabytes, pages,
connections or round trips (L{CASES<benchmarks.children.streampeer.CASES>}).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer

from benchmarks.children.client import Client
from benchmarks.children.streampeer import CASES
from benchmarks.measure import Turn, inTurns
from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface

HOST, KERNEL = "10.1.0.2", "10.1.0.1"
LOOPBACK = "127.0.0.1"

#: The number of turns of each measurement in a round.
TURNS = 3

PAGE = b"<html><body><h1>It works</h1></body></html>\n"
BLOCK = bytes(64 * 1024)


class Sink(Protocol):
    """
    A service that ignores the data it receives.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Ignore the received data.
        """


class Echo(Protocol):
    """
    A service that sends received data back.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Send the data back.
        """
        self.transport.write(data)  # type: ignore[union-attr]


@implementer(IPushProducer)
class Source(Protocol):
    """
    A service that sends as much as the transport takes, until the peer closes the connection.
    """

    def connectionMade(self) -> None:
        """
        Register as a producer, and begin to send.
        """
        self._isPaused = False
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        Send until the transport pauses this producer.
        """
        self._isPaused = False
        while not self._isPaused:
            self.transport.write(BLOCK)  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """
        Stop the loop of L{resumeProducing} for now.
        """
        self._isPaused = True

    def stopProducing(self) -> None:
        """
        Stop the loop of L{resumeProducing} for good.
        """
        self._isPaused = True


@attrs.frozen
class Service:
    """
    A service that clients connect to.

    @ivar port: the TCP port that it listens on.
    @ivar make: makes its factory.
    """

    port: int
    make: Callable[[], Any]


#: The service that the client uses in each case.
SERVICES = {
    "receive": Service(2001, lambda: Factory.forProtocol(Sink)),
    "send": Service(2002, lambda: Factory.forProtocol(Source)),
    "web": Service(2003, lambda: Site(Data(PAGE, "text/html"))),
    "connections": Service(2004, lambda: Factory.forProtocol(Echo)),
    "roundtrips": Service(2004, lambda: Factory.forProtocol(Echo)),
}


async def measure(reactor: Any, rounds: str) -> None:
    """
    Measure the host and the kernel in turns, and print the results.
    """
    host = Host([f"{HOST}/24"], reactor=reactor)
    TuntapPort("tun0", host.ip, reactor=reactor).startListening()
    configureInterface("tun0", [f"{KERNEL}/24"])
    configureInterface("lo")
    for service in {each.port: each for each in SERVICES.values()}.values():
        host.listenTCP(service.port, service.make(), interface=HOST)
        reactor.listenTCP(service.port, service.make(), interface=LOOPBACK)
    client = Client(reactor)

    def using(case: str, address: str) -> Callable[[], Awaitable[Turn]]:
        arguments = "-m", "benchmarks.children.streampeer", case, address, str(SERVICES[case].port)
        return lambda: client.turn(lambda output: (CASES[case], float(output)), sys.executable, *arguments)

    measures = {
        f"{case}, {name}": using(case, address)
        for case in CASES
        for name, address in (("host", HOST), ("kernel", LOOPBACK))
    }
    json.dump(await inTurns(measures, int(rounds), TURNS), sys.stdout)


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
