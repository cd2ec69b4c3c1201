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
    " questions to the same server of `twisted.names`, on a port of the host and on a kernel UDP port. The one who asks"
    " is a process of its own. Answers per second: more is better."
)

NOTES = (
    "One at a time is a round trip: for a host it is two switches between processes, while the kernel answers before"
    " the request has returned. Several under way keep the host at work; what it does for one answer is then the limit"
    " (`ping` may be, too: it prints nothing, but takes a system call or two for each). For names, it is what"
    " `twisted.names` does."
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
        command = [*namespace, sys.executable, "-m", "benchmarks.answerer", ping, str(ask), str(rounds)]
        finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[list[float]]] = json.loads(finished.stdout)
    rows = []
    for case, rates in found.items():
        ours, kernels = zip(*rates, strict=True)
        rows.append(Row(case, ours, kernels, rate=True))
    return Section("answers", ABOUT, ("a host", "the kernel"), rows, NOTES)
