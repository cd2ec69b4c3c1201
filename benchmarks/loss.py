"""
Compare the TCP of hosts with that of Linux, on paths that lose, reorder, duplicate and corrupt packets.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import exp, log

from benchmarks.measure import Row, Section
from benchmarks.receive import ROOT, privateNetwork
from benchmarks.transfers import MEASURES, PATHS

ABOUT = {
    "bulk": (
        "A server sends for ten seconds. Two hosts of a simulated network, in virtual time, are compared with two Linux"
        " kernels with CUBIC, in real time through the same impairment. The figures are the octets per second that the"
        " client has received. More is better."
    ),
    "fetches": (
        "The same ends transfer twenty pages of 100 KiB, one after the other, each on a new connection. The figures are"
        " octets of pages per second. More is better. On a path with a short round-trip time, one or two timeouts take"
        " most of the time, so each round has five seeds there."
    ),
    "mixed": (
        "A host at one end and Linux at the other are compared with Linux at both ends, in real time through the same"
        " impairment. The figures are the octets per second that the client has received. More is better."
    ),
}

#: The paths that are also measured between a host and Linux: the impairment, and the round-trip time in seconds.
MIXED = (
    ("1 % lost", 0.02),
    ("5 % lost", 0.02),
    ("10 % lost", 0.1),
    ("lost in bursts", 0.02),
    ("25 % reordered", 0.02),
    ("1 % corrupted", 0.02),
)

#: The least ratio that meets the goal.
GOAL = 0.5

#: The greatest round-trip time, in seconds, of a path that counts as short.
_SHORT = 0.02

#: The number of seeds in a round: for fetches over a short path, and for all other measurements.
_SEEDS_OF_SHORT, _SEEDS = 5, 1

#: The number of measurements that run at one time. All measurements but the fastest are idle most of the time.
_AT_ONCE = 3

#: The number of attempts at a measurement. Other load on the machine may make an attempt fail.
_TRIES = 3

#: A measurement: server, client, index of the path, seed, measure.
_Run = tuple[str, str, int, int, str]


def run(rounds: int) -> Sequence[Section]:
    """
    Measure all paths, with new seeds in each round.

    @raise Missing: there is no device, no C{unshare}, or no permission to make a network namespace.
    """
    namespace = privateNetwork()
    everything = range(len(PATHS))
    mixed = [index for index in everything if (PATHS[index].fault, PATHS[index].roundTrip) in MIXED]
    pairs = {
        ("linux", "linux"): everything,
        ("host", "linux"): mixed,
        ("linux", "host"): mixed,
        ("host", "host"): everything,
    }
    runs: list[_Run] = [
        (*pair, index, seed, measure)
        for pair, indices in pairs.items()
        for measure in MEASURES
        for index in indices
        for seed in _seeds(rounds, index, measure)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(runs, pool.map(partial(_measured, namespace), runs), strict=True))

    def row(case: str, pair: tuple[str, str], index: int, measure: str) -> Row:
        ours, theirs = (
            [found[server, client, index, seed, measure] for seed in _seeds(rounds, index, measure)]
            for server, client in (pair, ("linux", "linux"))
        )
        return Row(case, ours, theirs, GOAL, rate=True)

    sections = [
        ("bulk transfer", "bulk", [row(str(PATHS[index]), ("host", "host"), index, "bulk") for index in everything]),
        ("fetches", "fetches", [row(str(PATHS[index]), ("host", "host"), index, "fetches") for index in everything]),
        (
            "a host and Linux",
            "mixed",
            [
                row(f"{PATHS[index]}: {measure}, {' to '.join(pair)}", pair, index, measure)
                for index in mixed
                for measure in MEASURES
                for pair in (("host", "linux"), ("linux", "host"))
            ],
        ),
    ]
    return [
        Section(name, ABOUT[about], ("host", "Linux"), rows, f"The geometric mean of all ratios is {_mean(rows):.2f}.")
        for name, about, rows in sections
    ]


def _seeds(rounds: int, index: int, measure: str) -> range:
    """
    The seeds of all rounds for a path and a measure.
    """
    isShort = measure == "fetches" and PATHS[index].roundTrip <= _SHORT
    return range(rounds * (_SEEDS_OF_SHORT if isShort else _SEEDS))


def _mean(rows: Sequence[Row]) -> float:
    """
    Compute the geometric mean of the ratios of all rows and rounds.
    """
    ratios = [ratio for row in rows for ratio in row.ratios]
    return exp(sum(map(log, ratios)) / len(ratios))


def _measured(namespace: Sequence[str], run: _Run) -> float:
    """
    Run one measurement in a process of its own.

    @return: the octets per second.
    """
    command = [sys.executable, "-m", "benchmarks.children.losspath", *map(str, run)]
    for _ in range(_TRIES):
        finished = subprocess.run([*namespace, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if not finished.returncode and finished.stdout.strip():
            # At least 1, so that a transfer of no octets has a ratio, too.
            return max(float(finished.stdout), 1.0)
    raise RuntimeError(f"{' '.join(command)} has failed")
