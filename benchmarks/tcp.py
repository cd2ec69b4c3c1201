"""
Compare the TCP of a host on a real tun device with Twisted on the kernel's TCP.
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
    "A service of Twisted on a `Host` behind a tun device is compared with the same service on the kernel's TCP over"
    " the loopback interface, both with CUBIC. The client is a separate process, with the kernel's TCP. The figures"
    " are megabytes, pages, connections or round trips per second of the server's CPU time, user and system. More is"
    " better. Pages and round trips are requested over eight connections at once. In the last row, two hosts on a link"
    " in memory share one process, and the rate is compared with the lower one of the host's first two rates."
)

#: The name of each case, and the least ratio of rates that meets the goal.
CASES = {
    "receive": ("received, MB", 0.5),
    "send": ("sent, MB", 0.7),
    "web": ("`twisted.web`, a short page, keep-alive", 0.5),
    "connections": ("connections opened, used, closed", 0.3),
    "roundtrips": ("round trips of 64 octets", 0.4),
}

#: The least ratio of rates that meets the goal, for two hosts on a link in memory.
LINKED_GOAL = 0.5

#: The number of idle connections whose memory is measured.
IDLE = 100_000

NOTES = (
    "With {:,} idle connections in one process, each used once, a connection takes {:,.0f} octets of memory. A minimal"
    " protocol of the application is included."
)


def run(rounds: int) -> Section:
    """
    Measure all cases, then the memory of idle connections.

    @raise Missing: there is no device, no C{unshare}, or no permission to make a network namespace.
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
