"""
Measure how fast a host on a real tun device answers echo requests and DNS queries.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile

from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, compileProgram, privateNetwork

ABOUT = (
    "A `Host` on a tun device is compared with the kernel on its loopback interface. Both answer echo requests of"
    " `ping -f`. Both also carry the DNS queries to one server of `twisted.names`, on a port of the host and on a UDP"
    " port of the kernel. The client is a separate process. The figures are answers per second, and for DNS also"
    " answers per second of the server's CPU time. More is better."
)

#: The notes, with three values in microseconds of CPU time. They are the times for an echo reply of the host, for a DNS
#: answer through the host, and for a DNS answer through a port of the kernel.
NOTES = (
    "The CPU time of the answering process limits the rate. At best, an echo reply took {:.0f} µs. A DNS answer took"
    " {:.0f} µs through the host, and {:.0f} µs through a port of the kernel. `twisted.names` and the reactor take most"
    " of the CPU time in both cases. The kernel answers an echo request within the system call that sends the request,"
    " so there `ping` limits the rate."
)


def run(rounds: int) -> Section:
    """
    Measure echo requests and DNS queries, with one and with several of them under way.

    @raise Missing: there is no compiler, no C{ping}, no device, no C{unshare}, or no permission to make a network
        namespace.
    """
    ping = shutil.which("ping")
    if ping is None:
        raise Missing("the program 'ping': run 'apt-get install iputils-ping'")
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        ask = compileProgram("ask.c", directory)
        command = [*namespace, sys.executable, "-m", "benchmarks.children.answerer", ping, str(ask), str(rounds)]
        finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[list[list[float]]]] = json.loads(finished.stdout)
    rows = []
    costs = {}
    for case, rates in found.items():
        ours, kernels = zip(*rates, strict=True)
        for index, unit in enumerate(("second", "CPU second")):
            # The kernel itself answers pings, so the CPU time of the process says nothing about them.
            if case.startswith("names") or not index:
                figures = [[rate[index] for rate in side] for side in (ours, kernels)]
                rows.append(Row(f"{case}, per {unit}", figures[0], figures[1], rate=True))
        costs[case.partition(",")[0]] = [1e6 / max(rate[1] for rate in side) for side in (ours, kernels)]
    notes = NOTES.format(costs["echo"][0], *costs["names"])
    return Section("answers", ABOUT, ("a host", "the kernel"), rows, notes)
