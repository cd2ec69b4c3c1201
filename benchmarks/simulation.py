"""
Measure networks of thousands of simulated hosts that ping each other in memory.
"""

from __future__ import annotations

from typing import Any

from benchmarks.measure import Row, Section
from benchmarks.receive import child

ABOUT = (
    "A `Network` has hosts with IPv4 and IPv6, twenty at each switch. (In a single broadcast domain, the first"
    " messages of each host would reach all others: 10^9 frames among ten thousand hosts.) All hosts have resolved"
    " their neighbours. In each simulated second, each host pings another. A ping passes four links: to the switch and"
    " from it, in both directions. The figures are packets that have passed a link, per second of CPU time. More is"
    " better. Two rows compare a network with a smaller one. One row compares the smallest network with the same"
    " network on Twisted's `task.Clock`, which is advanced from call to call."
)

#: The comparisons: case, number of hosts and clock of the first network, number of hosts and clock of the second.
COMPARED = (
    ("200 hosts / on `task.Clock`", (200, "SimulationClock"), (200, "Clock")),
    ("1,000 hosts / 200", (1000, "SimulationClock"), (200, "SimulationClock")),
    ("10,000 hosts / 1,000", (10_000, "SimulationClock"), (1000, "SimulationClock")),
)


def run(rounds: int) -> Section:
    """
    Measure each network in a process of its own.
    """
    found: dict[tuple[int, str], Any] = {}
    for _, *networks in COMPARED:
        for hosts, clock in networks:
            if (hosts, clock) not in found:
                found[hosts, clock] = child("simulator", hosts, clock, rounds)
    rows = [Row(case, found[one]["rates"], found[other]["rates"], rate=True) for case, one, other in COMPARED]
    notes = " ".join(
        f"The start of {hosts:,} hosts takes {each['packets']:,} packets in {each['seconds']:.1f} s of CPU time."
        for (hosts, clock), each in found.items()
        if clock == "SimulationClock"
    )
    return Section("simulation", ABOUT, ("first", "second"), rows, notes)
