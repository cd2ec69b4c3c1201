"""
Measure the memory of simulated hosts and of UDP flows, each in a process of its own.
"""

from __future__ import annotations

from benchmarks.measure import Row, Section
from benchmarks.receive import child
from txtuntap.udp.layer import MAX_ANSWERED, MAX_FLOWS

ABOUT = (
    "The first rows are about the hosts of a `Network` that use no TCP, twenty at each switch, with their links and"
    " their share of the switch: when they have been made, and when each of them has resolved a neighbour and pinged"
    f" it. The last rows are about a flow of UDP, if a `Host` has so many of them, each from its own address, and has"
    f" answered two datagrams of each. {MAX_FLOWS:,} is the most that a host remembers. The figure of a flow includes"
    " its part of all tables that its datagrams fill. Three of them have at most"
    f" {MAX_ANSWERED:,} entries: answers, admitted pairs of addresses, and addresses as text. The figures are octets of"
    " resident memory, compared with the most that the goal allows. Less is better."
)

MANY_ABOUT = (
    "Hosts of a `Network` that use no TCP, twenty at each switch, are simulated in one process. Each has resolved a"
    " neighbour, and pinged it once. The figures are octets of resident memory of the whole process, compared with the"
    " most that the goal allows. Less is better."
)

#: The most octets of a simulated host, of a UDP flow, and of a process with many hosts.
HOST, FLOW, MANY_HOSTS = 14_000, 1000, 2_500_000_000

#: The numbers of simulated hosts.
HOSTS, MANY = 1000, 100_000

#: The most octets of a simulated host after a ping.
KNOWING = MANY_HOSTS // MANY


def run(rounds: int) -> Section:
    """
    Measure hosts and flows, in new processes for each round.
    """
    hosts = [_simulated(HOSTS) for _ in range(rounds)]
    flows = {count: [child("flows", count) for _ in range(rounds)] for count in (MAX_ANSWERED, MAX_FLOWS)}
    rows = [
        _row(f"a simulated host, made / {HOST:,} octets", [each["made"] for each in hosts], HOST, 1),
        _row(f"a simulated host, after a ping / {KNOWING:,} octets", [each["known"] for each in hosts], KNOWING, 1),
        _row(f"a UDP flow, of {MAX_ANSWERED:,} / {FLOW:,} octets", flows[MAX_ANSWERED], FLOW),
        _row(f"a UDP flow, of {MAX_FLOWS:,} / {FLOW:,} octets", flows[MAX_FLOWS], FLOW, 1),
    ]
    return Section("memory", ABOUT, ("it takes", "it may take"), rows)


def runMany(rounds: int) -> Section:
    """
    Measure one process with many hosts.
    """
    found = [_simulated(MANY) for _ in range(rounds)]
    row = _row(f"{MANY:,} hosts / {MANY_HOSTS / 1e9:g} GB", [each["resident"] for each in found], MANY_HOSTS, 1)
    return Section("hosts", MANY_ABOUT, ("they take", "they may take"), [row])


def _row(case: str, octets: list[float], most: int, goal: float | None = None) -> Row:
    return Row(case, octets, [most] * len(octets), goal, octets=True)


def _simulated(hosts: int) -> dict[str, float]:
    found: dict[str, float] = child("simulator", hosts, "SimulationClock", 0)
    return found
