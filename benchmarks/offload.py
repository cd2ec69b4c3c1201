"""
Many datagrams in one system call: superpackets, through real tun devices.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.measure import Row, Section
from benchmarks.plot import bars
from benchmarks.receive import ROOT, compiled, privateNetwork
from benchmarks.table import machine

ABOUT = (
    "UDP over IPv4, 1,400 octets a packet, between kernel sockets and a tun device; whoever sends or takes in C is a"
    " process of its own. A sender in C has 46 datagrams in a call (`UDP_SEGMENT`). Received: by a `DatagramProtocol`,"
    " beside what `twisted.pair` gets to one, and beside programs that read packets and do no more. Written: by"
    " `transport.write` within `transport.batch()`, until they are counted at a kernel socket, beside a loop in Python"
    " that makes each packet, headers and checksums, and writes it. Echoed: from the kernel to a `DatagramProtocol`"
    " that calls `transport.write` for each, and back to a kernel socket, beside what `twisted.pair` gets one way. A"
    " socket with GRO (`UDP_GRO`) takes many in a call. More is better."
)

PROGRAMS = ("flood.c", "sink.c", "reader.c", "roundtrip.c")

#: What is compared: name, ours, theirs, and the least that the ratio has to be.
COMPARED = (
    ("received / `twisted.pair`", "received", "twisted.pair", 6.0),
    ("received / `read()` in C", "received", "C", 1.0),
    ("received / python-pytun", "received", "pytun", None),
    ("written / a loop", "written", "loop", 4.0),
    ("written, to a socket with GRO / a loop", "written, GRO", "loop", None),
    ("echoed / received by `twisted.pair`", "echoed", "twisted.pair", 3.0),
    ("echoed, to a socket with GRO / received by `twisted.pair`", "echoed, GRO", "twisted.pair", 4.0),
)

#: The bars of the plot: label, name, and whether it is ours.
BARS = (
    ("received by twisted.pair", "twisted.pair", False),
    ("read with python-pytun, no more", "pytun", False),
    ("read in C, no more", "C", False),
    ("received by txtuntap", "received", True),
    ("made and written by a loop in Python", "loop", False),
    ("written by txtuntap", "written", True),
    ("written by txtuntap, to a socket with GRO", "written, GRO", True),
    ("echoed by txtuntap", "echoed", True),
    ("echoed by txtuntap, to a socket with GRO", "echoed, GRO", True),
)

LATENCY = (
    "One datagram of 64 octets at a time, there and back: to an echo behind a `Host` on a tun device, and to the same"
    " on Twisted's own UDP port on the loopback. Both ends have a CPU of their own. Less is better."
)

#: The most that the ratio of times may be.
LATENCY_GOAL = 1.5


def run(rounds: int, plot: Path | None = None) -> list[Section]:
    """
    All of it.

    @param plot: a file to draw it into.

    @raise Missing: no compiler, no device, or no right to make a network namespace.
    """
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        for source in PROGRAMS:
            compiled(source, directory)
        command = [*namespace, sys.executable, "-m", "benchmarks.children.offloader", directory, str(rounds)]
        finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, float]] = json.loads(finished.stdout)
    if plot is not None:
        drawn = [(label, median(each[name] for each in found), ours) for label, name, ours in BARS if name in found[0]]
        bars(plot, "UDP datagrams of 1,400 octets through a tun device", machine(), drawn)
    rows = [
        Row(case, [figures[ours] for figures in found], [figures[theirs] for figures in found], goal, rate=True)
        for case, ours, theirs, goal in COMPARED
        if theirs in found[0]
    ]
    notes = "" if "pytun" in found[0] else "python-pytun is not installed here."
    times = [[figures[name] for figures in found] for name in ("returned", "returned by the kernel")]
    latency = Row("there and back", times[0], times[1], LATENCY_GOAL)
    return [
        Section("offload", ABOUT, ("first", "second"), rows, notes),
        Section("latency", LATENCY, ("a host on a tun", "a kernel port"), [latency]),
    ]
