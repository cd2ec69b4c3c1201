"""
TCP of a host on a real tun device, beside Twisted on the TCP of the kernel.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.children.streampeer import MEGABYTE
from benchmarks.measure import Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    "A service of Twisted on a `Host` behind a tun device, and the same service on the kernel's TCP over the loopback,"
    " both with CUBIC. The peer is a process of its own, with the kernel's TCP. Megabytes, pages, connections or round"
    " trips per second of the CPU time, user and system, of the process that serves: more is better. Eight connections"
    " ask at once for pages and round trips. In the last row, two hosts on a link in memory share one process; its rate"
    " is beside the lesser one of the host's first two."
)

#: The name of each case, and the least ratio of rates.
CASES = {
    "receive": ("received, MB", 0.5),
    "send": ("sent, MB", 0.7),
    "web": ("`twisted.web`, a short page, keep-alive", 0.5),
    "connections": ("connections opened, used, closed", 0.3),
    "roundtrips": ("round trips of 64 octets", 0.4),
}

LINKED_GOAL = 0.5

#: How many idle connections are looked at.
IDLE = 100_000

NOTES = (
    "An idle connection, one of {:,} in one process, each used once, takes {:,.0f} octets of memory, the least of an"
    " application's protocol included."
)


def run(rounds: int) -> Section:
    """
    All cases; then what idle connections take.

    @raise Missing: no device, or no right to make a network namespace.
    """
    found: dict[str, list[list[float]]] = _child([*privateNetwork(), *_module("streamer"), str(rounds)])
    rows = []
    for case, (name, goal) in CASES.items():
        ours, theirs = zip(*found[case], strict=True)
        rows.append(Row(name, ours, theirs, goal, rate=True))
    linked = [octets / MEGABYTE for octets in _child([*_module("linked"), str(rounds)])]
    lesser = [min(received[0], sent[0]) for received, sent in zip(found["receive"], found["send"], strict=True)]
    rows.append(Row("two hosts on a link in memory, MB", linked, lesser, LINKED_GOAL, rate=True))
    octets = _child([*_module("idler"), str(IDLE)])
    return Section("tcp", ABOUT, ("a host", "the kernel"), rows, NOTES.format(IDLE, octets))


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.children.{name}"]


def _child(command: list[str]) -> Any:
    return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
