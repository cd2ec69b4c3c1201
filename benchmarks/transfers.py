"""
Transfers over a bad path: octets in bulk, and fetches one after the other, between two ends of any kind.
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

#: The ports of what a server serves: octets without an end, and pages.
BULK, PAGES = 5001, 5002

#: The request for a page, and the octets of the page.
REQUEST = b"GET /\r\n"
PAGE = 100 * 1024

#: The fetches of one measurement; and the seconds after which no more are waited for.
FETCHES = 20
PATIENCE = 300.0

#: The rate of the path, in bits per second; packets that wait for it at most, as in netem, and where a queue is short.
RATE = 100_000_000
QUEUE = 1000
SHORT_QUEUE = 30

#: The seconds that a path takes at least where it has to reorder packets: one that takes none keeps their order.
_REORDERED = 0.002

#: The names of both measurements.
MEASURES = ("bulk", "fetches")

#: The octets of one write in bulk, and the seconds of a transfer.
CHUNK = bytes(65536)
SECONDS = 10


@attrs.frozen
class Path:
    """
    A path between two ends, the same in both directions.

    @ivar fault: what goes wrong, in words.
    @ivar faults: the same, as arguments of L{Netem}.
    @ivar roundTrip: the seconds that it takes there and back.
    @ivar queue: packets that wait to leave, at most.
    """

    fault: str
    faults: dict[str, Any]
    roundTrip: float
    queue: int = QUEUE

    def __str__(self) -> str:
        return f"{self.fault}, {1000 * self.roundTrip:g} ms"

    @property
    def leaving(self) -> Netem:
        """
        Make the impairment of packets where they leave: they wait for the rate.
        """
        return Netem(rate=RATE, limit=self.queue)

    def travelling(self, added: float = 0.0) -> Netem:
        """
        Make the impairment of packets on their way.

        @param added: seconds that the path takes beside, there and back.
        """
        # Nothing is dropped here for want of room.
        return Netem(delay=(self.roundTrip + added) / 2, limit=100_000, **self.faults)


#: The faults of a path: words, arguments of L{Netem}, and packets that wait at most.
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
    Writes without an end, as a producer that is asked for more.
    """

    transport: Any

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        Write more.
        """
        self.transport.write(CHUNK)

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport.unregisterProducer()


class _Pages(Protocol):
    """
    Answers each request with a page, and closes.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(bytes(PAGE))
        self.transport.loseConnection()


class _Counter(Protocol):
    """
    Counts what it gets.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)


class _Getter(_Counter):
    """
    Asks for a page.
    """

    factory: _Fetch

    def connectionMade(self) -> None:
        self.transport.write(REQUEST)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.received >= PAGE:
            self.transport.loseConnection()
            self.factory.over(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.over(False)


class _Fetch(ClientFactory):
    """
    One fetch.

    @ivar done: fires when it is over, with whether the whole page has come.
    """

    noisy = False
    protocol = _Getter  # type: ignore[assignment]

    def __init__(self) -> None:
        self.done: Deferred[bool] = Deferred()

    def over(self, isWhole: bool) -> None:
        """
        No more will come.
        """
        if not self.done.called:
            self.done.callback(isWhole)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.over(False)


def serve(host: Host) -> None:
    """
    Have a host serve octets in bulk, and pages.
    """
    for port, kind in (BULK, _Source), (PAGES, _Pages):
        host.listenTCP(port, _quiet(Factory.forProtocol(kind)))


async def measured(measure: str, host: Host, server: str, clock: IReactorTime) -> float:
    """
    Have a host be the client of a server.

    @param measure: one of L{MEASURES}.

    @return: the octets that it gets in a second, from the time at which it begins to connect.
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
        count += await fetch.done
    return PAGE * count / (clock.seconds() - began)


def _quiet(factory: Any) -> Any:
    factory.noisy = False
    return factory
