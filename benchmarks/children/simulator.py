"""
The process of L{benchmarks.simulation} and of L{benchmarks.memory} with one simulated network.

    python -m benchmarks.children.simulator HOSTS CLOCK ROUNDS

CLOCK is C{SimulationClock} or C{Clock}. The process prints the results as JSON: the rate of each round, the memory for
each host, the memory of the process, and the packets and seconds of the start.
"""

from __future__ import annotations

import json
import sys
from ipaddress import IPv4Address
from time import process_time
from typing import Any

from twisted.internet.task import Clock

from benchmarks.children.resident import resident
from txtuntap.network import Network
from txtuntap.network.clock import SimulationClock

#: The number of hosts at one switch.
AT_ONE = 20

#: The address of the first host.
FIRST = IPv4Address("10.0.0.1")

#: The simulated seconds after which all hosts have sent their initial messages.
SETTLED = 10


def advance(clock: Any, seconds: float) -> None:
    """
    Let simulated time pass on a clock, and make each call at its own time.
    """
    if isinstance(clock, SimulationClock):
        return clock.advance(seconds)
    end = clock.seconds() + seconds
    # A task.Clock keeps its calls in the order of their times.
    while clock.calls and clock.calls[0].getTime() <= end:
        clock.advance(max(0, clock.calls[0].getTime() - clock.seconds()))
    clock.advance(end - clock.seconds())


def packets(net: Network) -> int:
    """
    The number of packets that were sent over links.
    """
    return sum(end.counters.outPackets for link in net.links for end in link.ends)


def main() -> None:
    """
    Measure the network that the command line describes.
    """
    count, rounds = int(sys.argv[1]), int(sys.argv[3])
    net = Network(seed=1, clock=Clock() if sys.argv[2] == "Clock" else None)
    before = resident()
    for number in range(count):
        if number % AT_ONE == 0:
            switch = net.switch()
        net.host(f"{FIRST + number}/8", switch)
    made = resident() - before
    began = process_time()
    net.start()
    advance(net.clock, SETTLED)
    found: dict[str, Any] = {"seconds": process_time() - began, "packets": packets(net), "rates": []}
    answers: list[Any] = []

    def ping(number: int) -> None:
        # Ping the next host at the same switch.
        other = number - number % AT_ONE + (number + 1) % AT_ONE
        dest = net.hosts[other].addresses[0].partition("/")[0]
        net.hosts[number].ping(dest).addCallback(answers.append)

    for turn in range(rounds + 1):
        sent, began = packets(net), process_time()
        for number in range(count):
            net.clock.callLater(number / count, ping, number)
        advance(net.clock, 2)
        # The first turn does not count, because the hosts resolve their neighbours in it.
        if turn:
            found["rates"].append((packets(net) - sent) / (process_time() - began))
    if len(answers) != count * (rounds + 1):
        raise RuntimeError(f"{count * (rounds + 1) - len(answers)} pings were not answered")
    print(json.dumps({**found, "made": made / count, "known": (resident() - before) / count, "resident": resident()}))


if __name__ == "__main__":
    main()
