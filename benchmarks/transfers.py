"""
Transfers over a bad path between hosts or kernels: bulk data, and pages that are fetched one after the other.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from txtuntap import Host
from txtuntap.middleware import GEModel, Netem

#: The TCP ports of a server: for endless bulk data, and for pages.
BULK, PAGES = 5001, 5002

#: The request for a page, and the number of octets in the page.
REQUEST = b"GET /\r\n"
PAGE = 100 * 1024

#: The number of fetches in one measurement, and the seconds after which no further fetch begins.
FETCHES = 20
PATIENCE = 300.0

#: The rate of the path, in bits per second.
RATE = 100_000_000

#: The number of packets that the queue of the path holds: the default of netem, and a short queue.
QUEUE = 1000
SHORT_QUEUE = 30

#: The least round-trip time, in seconds, of a path that reorders packets. A path without a delay cannot reorder them.
_REORDERED = 0.002

#: The names of both measurements.
MEASURES = ("bulk", "fetches")

#: The octets of one write of bulk data, and the seconds of a bulk transfer.
CHUNK = bytes(65536)
SECONDS = 10


@attrs.frozen
class Path:
    """
    A path between two ends, the same in both directions.

    @ivar fault: the impairment, in words.
    @ivar faults: the impairment, as arguments of L{Netem}.
    @ivar roundTrip: the round-trip time in seconds.
    @ivar queue: the greatest number of packets in the queue.
    """

    fault: str
    faults: dict[str, Any]
    roundTrip: float
    queue: int = QUEUE

    def __str__(self) -> str:
        return f"{self.fault}, {1000 * self.roundTrip:g} ms"

    @property
    def sendingSide(self) -> Netem:
        """
        Make the impairment at the sender's side of the path. This side has the rate and the queue.
        """
        return Netem(rate=RATE, limit=self.queue)

    def receivingSide(self, added: float = 0.0) -> Netem:
        """
        Make the impairment at the receiver's side of the path. This side has the delay and the faults.

        @param added: seconds that are added to the round-trip time.
        """
        # The limit is high, so that only the queue of the other side drops packets.
        return Netem(delay=(self.roundTrip + added) / 2, limit=100_000, **self.faults)


#: The faults of a path: the words, the arguments of L{Netem}, and the greatest number of packets in the queue.
FAULTS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("no loss", {}, QUEUE),
    ("no loss, a queue of 30", {}, SHORT_QUEUE),
    ("0.1 % lost", {"loss": 0.001}, QUEUE),
    ("1 % lost", {"loss": 0.01}, QUEUE),
    ("5 % lost", {"loss": 0.05}, QUEUE),
    ("10 % lost", {"loss": 0.1}, QUEUE),
    ("lost in bursts", {"gemodel": GEModel(0.01, 0.3)}, QUEUE),
    ("1 % reordered", {"reorder": 0.01}, QUEUE),
    ("25 % reordered", {"reorder": 0.25}, QUEUE),
    ("1 % duplicated", {"duplicate": 0.01}, QUEUE),
    ("10 % duplicated", {"duplicate": 0.1}, QUEUE),
    ("1 % corrupted", {"corrupt": 0.01}, QUEUE),
)

#: All round-trip times, in seconds.
ROUND_TRIPS = (0.0, 0.02, 0.1)

PATHS = tuple(
    Path(fault, faults, max(roundTrip, _REORDERED) if "reorder" in faults else roundTrip, queue)
    for fault, faults, queue in FAULTS
    for roundTrip in ROUND_TRIPS
)


class _Source(Protocol):
    """
    A pull producer that writes without an end.
    """

    transport: Any

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        Write one more chunk.
        """
        self.transport.write(CHUNK)

    def stopProducing(self) -> None:
        """
        Do nothing when the connection is lost.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport.unregisterProducer()


class _Pages(Protocol):
    """
    Answers a request with a page, and closes the connection.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(bytes(PAGE))
        self.transport.loseConnection()


class _Counter(Protocol):
    """
    A protocol that counts the octets it receives.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)


class _Getter(_Counter):
    """
    A client that requests a page and tells its factory the result.
    """

    factory: _Fetch

    def connectionMade(self) -> None:
        self.transport.write(REQUEST)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.received >= PAGE:
            self.transport.loseConnection()
            self.factory.finish(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.finish(False)


class _Fetch(ClientFactory):
    """
    The factory of one fetch.

    @ivar done: fires at the end of the fetch, with whether the whole page was received.
    """

    noisy = False
    protocol = _Getter  # type: ignore[assignment]

    def __init__(self) -> None:
        self.done: Deferred[bool] = Deferred()

    def finish(self, isWhole: bool) -> None:
        """
        Report the end of the fetch.

        @param isWhole: whether the whole page was received.
        """
        if not self.done.called:
            self.done.callback(isWhole)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.finish(False)


def serve(host: Host) -> None:
    """
    Listen on a host for clients of bulk data and of pages.
    """
    for port, kind in (BULK, _Source), (PAGES, _Pages):
        host.listenTCP(port, _quiet(Factory.forProtocol(kind)))


async def measured(measure: str, host: Host, server: str, clock: IReactorTime) -> float:
    """
    Measure a transfer from a server to a host.

    @param measure: one of L{MEASURES}.
    @param server: the address of the server.

    @return: the octets per second that the host has received. For fetches, only whole pages count. The time begins when
        the host begins to connect.
    """
    return await (_bulk if measure == "bulk" else _fetches)(host, server, clock)


async def _bulk(host: Host, server: str, clock: IReactorTime) -> float:
    counter = _Counter()
    factory = _quiet(ClientFactory())
    factory.buildProtocol = lambda _: counter
    connector: Any = host.connectTCP(server, BULK, factory)
    await deferLater(clock, SECONDS, lambda: None)
    received = counter.received
    connector.disconnect()
    return received / SECONDS


async def _fetches(host: Host, server: str, clock: IReactorTime) -> float:
    began = clock.seconds()
    count = 0
    while count < FETCHES and clock.seconds() - began < PATIENCE:
        fetch = _Fetch()
        host.connectTCP(server, PAGES, fetch)
        # A server that has given up says nothing more, and its reset may be lost: a client would wait for ever.
        giveUp = clock.callLater(began + PATIENCE - clock.seconds(), fetch.finish, False)
        count += await fetch.done
        if giveUp.active():
            giveUp.cancel()
    return PAGE * count / (clock.seconds() - began)


def _quiet(factory: Any) -> Any:
    factory.noisy = False
    return factory
