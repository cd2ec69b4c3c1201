"""
Measure TCP and UDP through tunnels between two network namespaces.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    "`iperf3` runs between two network namespaces that are joined by a veth pair, through a tunnel between two"
    " processes. `twistd tuntap tunnel` over TCP, with and without TLS, is compared with `socat TUN:... UDP:...`"
    " (socat over TCP does not keep the bounds of packets). Tunnel, sender and receiver share the machine. The figures"
    " are megabits per second. More is better."
)

#: The comparisons: case, the names of two measurements of L{benchmarks.children.tunneler}, and the least ratio that
#: meets the goal.
COMPARED = (
    ("TCP over TCP / socat over UDP", "plain", "socat", 6.0),
    ("TCP over TLS / socat over UDP", "TLS", "socat", 2.0),
    ("UDP over TCP / socat over UDP", "plain, UDP", "socat, UDP", None),
)


def run(rounds: int) -> Section:
    """
    Measure all tunnels, in another process.

    @raise Missing: there is no C{iperf3}, C{socat}, C{ip}, C{nsenter} or C{unshare}, no device, or no permission to
        make a network namespace.
    """
    for program, package in ("iperf3", "iperf3"), ("socat", "socat"), ("ip", "iproute2"), ("nsenter", "util-linux"):
        if shutil.which(program) is None:
            raise Missing(f"the program {program!r}: run 'apt-get install {package}'")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.tunneler", str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, float]] = json.loads(finished.stdout)
    rows = [
        Row(case, [each[ours] for each in found], [each[theirs] for each in found], goal, rate=True)
        for case, ours, theirs, goal in COMPARED
    ]
    return Section("tunnel", ABOUT, ("ours", "socat"), rows)
