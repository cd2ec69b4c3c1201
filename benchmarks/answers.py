"""
Answers from a host on a real tun device: to echo requests, and to questions for names.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile

from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, compiled, privateNetwork

ABOUT = (
    "A `Host` on a tun device answers, and the kernel answers over its loopback: echo requests of `ping -f`; and"
    " questions to one server of `twisted.names`, on a port of the host and on a kernel UDP port. The one who asks is a"
    " process of its own. Answers per second, and of names per second of the server's CPU time too: more is better."
)

#: With the microseconds of CPU time for an echo, for a name by the host, and by way of a kernel port.
NOTES = (
    "What limits is the process that answers. At best it took {:.0f} µs of CPU time for an echo; for a name {:.0f} µs,"
    " and {:.0f} µs on a kernel port, which `twisted.names` and the reactor take either way. The kernel answers echoes"
    " within the system call that sends them: there, `ping` is the limit."
)


def run(rounds: int) -> Section:
    """
    Echo requests one at a time and several; questions likewise.

    @raise Missing: no compiler, no C{ping}, no device, or no right to make a network namespace.
    """
    ping = shutil.which("ping")
    if ping is None:
        raise Missing("the program 'ping': 'apt-get install iputils-ping', say")
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        ask = compiled("ask.c", directory)
        command = [*namespace, sys.executable, "-m", "benchmarks.children.answerer", ping, str(ask), str(rounds)]
        finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[list[list[float]]]] = json.loads(finished.stdout)
    rows = []
    costs = {}
    for case, rates in found.items():
        ours, kernels = zip(*rates, strict=True)
        for index, unit in enumerate(("second", "CPU second")):
            # The kernel's own answers are not this process's work.
            if case.startswith("names") or not index:
                figures = [[rate[index] for rate in side] for side in (ours, kernels)]
                rows.append(Row(f"{case}, per {unit}", figures[0], figures[1], rate=True))
        costs[case.partition(",")[0]] = [1e6 / max(rate[1] for rate in side) for side in (ours, kernels)]
    notes = NOTES.format(costs["echo"][0], *costs["names"])
    return Section("answers", ABOUT, ("a host", "the kernel"), rows, notes)
