"""
The process of L{benchmarks.tcp} with two hosts on a link in memory.

    python -m benchmarks.children.linked ROUNDS

One host sends to the other. The process prints a JSON list with a number for each round: the octets per second of its
CPU time, in the best of L{TURNS} transfers.
"""

from __future__ import annotations

import gc
import json
import sys
from time import process_time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from benchmarks.children.streamer import TURNS, Source
from txtuntap import Host
from txtuntap.network.link import Link

OCTETS = 96_000_000


class Counter(Protocol):
    """
    Receives L{OCTETS} octets, and then aborts the connection.
    """

    def __init__(self, done: Deferred[None]) -> None:
        self._left = OCTETS
        self._done = done

    def dataReceived(self, data: bytes) -> None:
        """
        Count the received octets.
        """
        self._left -= len(data)
        if self._left <= 0:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: object = None) -> None:
        """
        Fire the Deferred of the transfer.
        """
        self._done.callback(None)


async def measure(reactor: Any, rounds: str) -> None:
    """
    Measure one transfer after another, and print the results.
    """
    near, far = Host(["10.0.0.1/24"], reactor), Host(["10.0.0.2/24"], reactor)
    Link(near.ip, far.ip, reactor).start()
    far.listenTCP(80, Factory.forProtocol(Source))
    gc.disable()
    found = []
    for _ in range(int(rounds)):
        best = 0.0
        for _ in range(TURNS):
            done: Deferred[None] = Deferred()
            factory = Factory()
            factory.buildProtocol = lambda addr, done=done: Counter(done)  # type: ignore[method-assign, misc]
            cpu = process_time()
            await TCP4ClientEndpoint(near, "10.0.0.2", 80).connect(factory)
            await done
            best = max(best, OCTETS / (process_time() - cpu))
        found.append(best)
        gc.collect()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
