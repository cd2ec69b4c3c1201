"""
Measure how fast a host on a real tun device answers echo requests and DNS queries.
"""

from __future__ import annotations

import shutil
import tempfile

from benchmarks.measure import Missing, Section, elapsedRow, rateRow
from benchmarks.receive import child, compileProgram, privateNetwork

ABOUT = (
    "A `Host` on a tun device answers the echo requests of `ping -f`. It is compared with a bare loop in Python, which"
    " reads an echo request, swaps the addresses, adjusts the checksum and writes the answer, in a process of its own."
    " Then the host and the kernel carry the DNS queries to one server of `twisted.names`, on a port of the host and on"
    " a UDP port of the kernel. The client is a separate process. The figures are answers per second of the CPU time,"
    " user and system, of the process that answers. More is better. The limit of echo is the bare loop. The kernel"
    " itself answers pings within the system call that sends them and has no process, so the last row is about elapsed"
    " time."
)

#: The goal for the echo requests of C{ping -f}, which sends the next one when it has the answer.
ECHO_GOAL = 0.5

#: The comparisons: case, name of the measurement of the host, name of the peer's, and the least ratio that meets the
#: goal.
COMPARED = (
    ("echo, one at a time / a bare loop", "echo 1, host", "echo 1, bare", ECHO_GOAL),
    ("echo, 32 under way / a bare loop", "echo 32, host", "echo 32, bare", None),
    ("names, one at a time / the kernel's port", "names 1, host", "names 1, kernel", None),
    ("names, 32 under way / the kernel's port", "names 32, host", "names 32, kernel", None),
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
        found = child("answerer", ping, ask, rounds, namespace=namespace)
    rows = [
        rateRow(case, found, ours, theirs, goal, theirs if theirs.endswith("bare") else None)
        for case, ours, theirs, goal in COMPARED
    ]
    rows.append(elapsedRow("echo, 32 under way / the kernel", found, "echo 32, host", "echo 32, kernel"))
    return Section("answers", ABOUT, ("a host", "the other"), rows)
