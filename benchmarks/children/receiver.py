"""
The process of L{benchmarks.receive} with the receivers, on tun devices in a network namespace of its own.

    python -m benchmarks.children.receiver PROGRAMS SIZE ROUNDS

PROGRAMS is the directory of the programs in C. The process prints a JSON object: the sums of all turns of each round,
by the name of the measurement, and the number of turns in which the sender was faster than the receiver.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.children.bench import Bench, bare
from benchmarks.stacks import ourLayers
from txtuntap import TuntapPort

#: The number of turns of each receiver in a round.
TURNS = 4


async def measure(reactor: Any, programs: str, size: str, rounds: str) -> None:
    """
    Measure all receivers in turns, one at a time, and print the results.
    """
    bench = Bench(reactor, Path(programs))
    bench.addPair(0, int(size), 1)
    for number, name, verify, offload in (
        (1, "every check", True, None),
        (2, "checksums off", False, None),
        (3, "nobody vouches", True, False),
    ):
        ip, (application,) = ourLayers(verify)
        TuntapPort(bench.device(number), ip, reactor=reactor, offload=offload).startListening()
        bench.addReceived(name, number, int(size), 1, application)
    bench.addReader("limit", 4, int(size), 1, *bare("deliver"))
    bench.addReader("limit, verified", 5, int(size), 1, *bare("verify"))
    found = await bench.run(int(rounds), TURNS)
    json.dump({"rounds": found, "faster": bench.faster}, sys.stdout)


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(measure(*arguments)), sys.argv[1:])
