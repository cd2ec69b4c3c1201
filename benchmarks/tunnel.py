"""
TCP through tunnels between two network namespaces.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    "`iperf3` between two network namespaces that are joined by veth, through a tunnel whose ends are two processes:"
    " `twistd tuntap tunnel` over TCP, with and without TLS at both ends, beside `socat TUN:... UDP:...` (whose tunnel"
    " over TCP does not keep packets apart). All share the machine, sender and receiver too. Megabits per second: more"
    " is better."
)

#: The pairs that are compared, as benchmarks.children.tunneler names them, and the least that each ratio has to be.
COMPARED = (
    ("TCP over TCP / socat over UDP", "plain", "socat", 6.0),
    ("TCP over TLS / socat over UDP", "TLS", "socat", 2.0),
    ("UDP over TCP / socat over UDP", "plain, UDP", "socat, UDP", None),
)


def run(rounds: int) -> Section:
    """
    All of it.

    @raise Missing: no C{iperf3} or C{socat}, no device, or no right to make a network namespace.
    """
    for program, package in ("iperf3", "iperf3"), ("socat", "socat"), ("ip", "iproute2"), ("nsenter", "util-linux"):
        if shutil.which(program) is None:
            raise Missing(f"the program {program!r}: 'apt-get install {package}', say")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.tunneler", str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, float]] = json.loads(finished.stdout)
    rows = [
        Row(case, [each[ours] for each in found], [each[theirs] for each in found], goal, rate=True)
        for case, ours, theirs, goal in COMPARED
    ]
    return Section("tunnel", ABOUT, ("ours", "socat"), rows)
