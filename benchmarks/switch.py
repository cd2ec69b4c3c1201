"""
TCP through a switch between two tap interfaces, beside the kernel's own bridge.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    "Two network namespaces, joined twice: by `twistd tuntap switch` between a tap in each, and by the kernel's bridge"
    " between veth pairs, the fastest way there is for frames that need not leave the kernel. One iperf3 stream at a"
    " time, of one process to another, in either direction; what arrives counts, in Mbit. More is better."
)

#: What is measured: name, and how iperf3 is told.
CASES = {
    "TCP": [],
    "TCP, the other way": ["-R"],
}


def run(rounds: int) -> Section:
    """
    All of it, in another process.

    @raise Missing: no iperf3, no device, or no right to make a network namespace.
    """
    for program, package in ("iperf3", "iperf3"), ("ip", "iproute2"), ("nsenter", "util-linux"):
        if shutil.which(program) is None:
            raise Missing(f"the program '{program}': 'apt-get install {package}', say")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.switcher", str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, dict[str, list[float]]] = json.loads(finished.stdout)
    rows = [Row(case, each["switch"], each["bridge"], rate=True) for case, each in found.items()]
    return Section("switch", ABOUT, ("the switch", "the kernel's bridge"), rows)
