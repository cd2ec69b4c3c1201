"""
Two hosts of L{benchmarks.tcp} on a link in memory.

    python -m benchmarks.children.linked ROUNDS

One sends to the other. The octets per second of CPU time, which both share, go to standard output, as JSON: one number
for each round.
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
    Counts what comes, and closes the connection when it has enough.

    @ivar done: fires then.
    """

    def __init__(self, done: Deferred[None]) -> None:
        self._left = OCTETS
        self._done = done

    def dataReceived(self, data: bytes) -> None:
        """
        Octets have come.
        """
        self._left -= len(data)
        if self._left <= 0:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: object = None) -> None:
        """
        The connection is closed.
        """
        self._done.callback(None)


async def measure(reactor: Any, rounds: str) -> None:
    """
    One transfer after another.
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
