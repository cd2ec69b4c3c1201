"""
TCP over paths that lose, reorder, duplicate and damage packets: hosts beside Linux.
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
        "A server sends for ten seconds. Both ends are hosts of a simulated network, in virtual time; compared is Linux"
        " to Linux, with CUBIC, in real time through the same impairment. Octets per second that the client has got:"
        " more is better."
    ),
    "fetches": (
        "Twenty pages of 100 KiB, one after the other, each on a connection of its own, likewise. Octets of them per"
        " second: more is better. Where the round trip is short, a timeout or two weigh more than all else: there, each"
        " round has five seeds."
    ),
    "mixed": (
        "A host at one end and Linux at the other, in real time through the same impairment, beside Linux to Linux."
        " Octets per second that the client has got: more is better."
    ),
}

#: Cells that are measured with a host at one end: what goes wrong, and the round trip in seconds.
MIXED = (
    ("1 % lost", 0.02),
    ("5 % lost", 0.02),
    ("10 % lost", 0.1),
    ("lost in bursts", 0.02),
    ("25 % reordered", 0.02),
    ("1 % corrupted", 0.02),
)

#: The least that each ratio has to be.
GOAL = 0.5

#: The seeds of a round: of fetches over a path that takes so many seconds at most; of all else.
_SHORT = 0.002
_SEEDS_OF_SHORT, _SEEDS = 5, 1

#: Measurements at one time: all but the fastest wait most of their time.
_AT_ONCE = 3

#: Tries of a measurement, of which another program on the machine may make one fail.
_TRIES = 3

#: Server, client, index of the path, seed, measure.
_Run = tuple[str, str, int, int, str]


def run(rounds: int) -> Sequence[Section]:
    """
    All cells, with other seeds in each round.

    @raise Missing: no device, or no right to make a network namespace.
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
    The seeds of a cell.
    """
    isShort = measure == "fetches" and PATHS[index].roundTrip <= _SHORT
    return range(rounds * (_SEEDS_OF_SHORT if isShort else _SEEDS))


def _mean(rows: Sequence[Row]) -> float:
    """
    The geometric mean of the ratios of all rounds.
    """
    ratios = [ratio for row in rows for ratio in row.ratios]
    return exp(sum(map(log, ratios)) / len(ratios))


def _measured(namespace: Sequence[str], run: _Run) -> float:
    """
    The octets per second of one measurement, in a process of its own.
    """
    command = [sys.executable, "-m", "benchmarks.children.losspath", *map(str, run)]
    for _ in range(_TRIES):
        finished = subprocess.run([*namespace, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if not finished.returncode and finished.stdout.strip():
            # A transfer in which nothing has come has a ratio, too.
            return max(float(finished.stdout), 1.0)
    raise RuntimeError(f"{' '.join(command)} has failed")
