"""
Compare TCP through a switch between two taps with TCP through the kernel's bridge.
"""

from __future__ import annotations

import shutil

from benchmarks.measure import Missing, Section, elapsedRow, rateRow
from benchmarks.receive import child, privateNetwork

ABOUT = (
    "Two network namespaces are joined three times: by `twistd tuntap switch` between a tap in each, by a bare loop in"
    " Python that reads each frame or superpacket from a tap and writes it to another one, and by the kernel's bridge"
    " between veth pairs. One iperf3 stream at a time runs between two processes, in either direction. The figures are"
    " the received Mbit per second of the CPU time, user and system, of the process between them. More is better. The"
    " kernel's bridge has no process, so the rows about it are about elapsed time."
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
    found = child("switcher", rounds, namespace=privateNetwork())
    rows = [rateRow(f"{case} / a bare loop", found, f"{case}, switch", f"{case}, loop") for case in CASES]
    rows += [elapsedRow(f"{case} / the kernel's bridge", found, f"{case}, switch", f"{case}, bridge") for case in CASES]
    return Section("switch", ABOUT, ("the switch", "the other"), rows)
