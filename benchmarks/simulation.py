"""
Simulated hosts by the thousand, pinging each other in memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.measure import Row, Section
from benchmarks.receive import ROOT

ABOUT = (
    "A `Network` of hosts with IPv4 and IPv6, twenty at each switch. (In one broadcast domain, each host's first words"
    " would come to all others: with ten thousand, 10^9 frames.) All know their neighbours; in each simulated second,"
    " each pings another. A packet is one that has come to the other end of a link, of which there are four in a ping:"
    " to the switch, from it, and the same back. Packets per second of CPU time: more is better. Compared is a network"
    " to a smaller one; and the smallest to the same on Twisted's `task.Clock`, stopped at each call."
)

#: What is compared: label, hosts and clock of the first, of the second.
COMPARED = (
    ("200 hosts / on `task.Clock`", (200, "SimulationClock"), (200, "Clock")),
    ("1,000 hosts / 200", (1000, "SimulationClock"), (200, "SimulationClock")),
    ("10,000 hosts / 1,000", (10_000, "SimulationClock"), (1000, "SimulationClock")),
)


def run(rounds: int) -> Section:
    """
    All of it, each network in a process of its own.
    """
    found: dict[tuple[int, str], Any] = {}
    for _, *networks in COMPARED:
        for hosts, clock in networks:
            if (hosts, clock) not in found:
                command = [sys.executable, "-m", "benchmarks.children.simulator", str(hosts), clock, str(rounds)]
                printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
                found[hosts, clock] = json.loads(printed)
    rows = [Row(case, found[one]["rates"], found[other]["rates"], rate=True) for case, one, other in COMPARED]
    notes = " ".join(
        f"{hosts:,} hosts: {each['made']:,.0f} octets of memory a host when they are made, {each['known']:,.0f} once"
        f" they know each other; until then, {each['packets']:,} packets in {each['seconds']:.1f} s."
        for (hosts, clock), each in found.items()
        if clock == "SimulationClock"
    )
    return Section("simulation", ABOUT, ("first", "second"), rows, notes)
