"""
Compare TCP through a switch between two taps with TCP through the kernel's bridge.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    "Two network namespaces are joined twice: by `twistd tuntap switch` between a tap in each, and by the kernel's"
    " bridge between veth pairs, the fastest path for frames that do not leave the kernel. One iperf3 stream at a time"
    " runs between two processes, in either direction. The figures are the received Mbit per second. More is better."
)

#: The cases: name, and options of iperf3.
CASES = {
    "TCP": [],
    "TCP, the other way": ["-R"],
}


def run(rounds: int) -> Section:
    """
    Measure all cases, in another process.

    @raise Missing: there is no C{iperf3}, C{ip}, C{nsenter} or C{unshare}, no device, or no permission to make a
        network namespace.
    """
    for program, package in ("iperf3", "iperf3"), ("ip", "iproute2"), ("nsenter", "util-linux"):
        if shutil.which(program) is None:
            raise Missing(f"the program '{program}': run 'apt-get install {package}'")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.switcher", str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, dict[str, list[float]]] = json.loads(finished.stdout)
    rows = [Row(case, each["switch"], each["bridge"], rate=True) for case, each in found.items()]
    return Section("switch", ABOUT, ("the switch", "the kernel's bridge"), rows)
