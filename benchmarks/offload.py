"""
Measure how fast superpackets pass real tun devices. One system call reads or writes a superpacket of many datagrams.
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
from benchmarks.receive import ROOT, compileProgram, privateNetwork
from benchmarks.table import machine

ABOUT = (
    "UDP datagrams over IPv4, in packets of 1,400 octets, are sent between kernel sockets and a tun device. Each"
    ' program in C is a separate process, and sends 46 datagrams in a system call (`UDP_SEGMENT`). "Received" counts'
    " the datagrams that a `DatagramProtocol` receives. It is compared with `twisted.pair`, and with programs that"
    ' only read packets. "Written" counts the datagrams that reach a kernel socket from `transport.write` within'
    " `transport.batch()`. It is compared with a Python loop that makes each packet, with headers and checksums, and"
    ' writes it. "Echoed" counts the datagrams that return to a kernel socket from a `DatagramProtocol`, which calls'
    " `transport.write` for each. It is compared with `twisted.pair` in one direction. A socket with GRO (`UDP_GRO`)"
    " receives many datagrams in a system call. The figures are datagrams per second. More is better."
)

PROGRAMS = ("flood.c", "sink.c", "reader.c", "roundtrip.c")

#: The comparisons: case, name of the figure of txtuntap, name of the peer's figure, and the least ratio that meets the
#: goal.
COMPARED = (
    ("received / `twisted.pair`", "received", "twisted.pair", 6.0),
    ("received / `read()` in C", "received", "C", 1.0),
    ("received / python-pytun", "received", "pytun", None),
    ("written / a loop", "written", "loop", 4.0),
    ("written, to a socket with GRO / a loop", "written, GRO", "loop", None),
    ("echoed / received by `twisted.pair`", "echoed", "twisted.pair", 3.0),
    ("echoed, to a socket with GRO / received by `twisted.pair`", "echoed, GRO", "twisted.pair", 4.0),
)

#: The bars of the plot: label, name of the figure, and whether it is a figure of txtuntap.
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
    "One datagram of 64 octets at a time is sent to an echo server and back. One server is on a port of a `Host` behind"
    " a tun device, the other on a UDP port of Twisted on the loopback interface. Client and server run on different"
    " CPUs. The figures are round-trip times. Less is better."
)

#: The greatest ratio of times that meets the goal.
LATENCY_GOAL = 1.5


def run(rounds: int, plot: Path | None = None) -> list[Section]:
    """
    Measure rates and latency.

    @param plot: the SVG file for the plot of the rates, or C{None}.

    @raise Missing: there is no compiler, no device, no C{unshare}, or no permission to make a network namespace.
    """
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        for source in PROGRAMS:
            compileProgram(source, directory)
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
