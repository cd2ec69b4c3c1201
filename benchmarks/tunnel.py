"""
Measure TCP and UDP through tunnels between two network namespaces.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from tempfile import TemporaryDirectory

from benchmarks.children.tunneler import BARE, BEFORE
from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    "`iperf3` runs between two network namespaces that are joined by a veth pair, through a tunnel between two"
    " processes. `twistd tuntap tunnel` over TCP, with and without TLS, is compared with `socat TUN:... UDP:...`"
    " (socat over TCP does not keep the bounds of packets). Tunnel, sender and receiver share the machine. The figures"
    " are megabits per second of elapsed time, which depend on the machine and its other load. More is better."
)

BEFORE_ABOUT = (
    "The same transfers through tunnels of this tree and of the commit {}, in turns. The figures are octets per second"
    " of the CPU time of both ends, user and system. More is better. The datagrams have 1400 octets. The limit is"
    " a bare loop in Python at each end, which carries the same packets over TCP or TLS, validates nothing and has no"
    " back pressure."
)

#: The comparisons with socat: case, the names of two measurements of L{benchmarks.children.tunneler}, and the least
#: ratio of elapsed rates that meets the goal.
COMPARED = (
    ("TCP over TCP / socat over UDP", "plain", "socat", 6.0),
    ("TCP over TLS / socat over UDP", "TLS", "socat", 2.0),
    ("UDP over TCP / socat over UDP", "plain, UDP", "socat, UDP", None),
)

#: The commit that the tunnels of this tree are compared with.
COMMIT = "f63592c"

#: The comparisons with that commit: case, the name of the measurement, the least ratio that meets the goal, and whether
#: L{benchmarks.children.baretunnel} has the limit. It joins no datagrams, so that it is slower with these.
COMPARED_BEFORE = (
    ("TCP over TCP", "plain", 1.2, True),
    ("TCP over TLS", "TLS", 1.4, True),
    ("UDP over TCP, single datagrams", "plain, UDP", 2.0, False),
)


def run(rounds: int) -> list[Section]:
    """
    Measure all tunnels, in another process.

    @raise Missing: there is no C{iperf3}, C{socat}, C{ip}, C{nsenter} or C{unshare}, no device, no permission to make a
        network namespace, or no C{COMMIT} in the repository.
    """
    for program, package in ("iperf3", "iperf3"), ("socat", "socat"), ("ip", "iproute2"), ("nsenter", "util-linux"):
        if shutil.which(program) is None:
            raise Missing(f"the program {program!r}: run 'apt-get install {package}'")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.tunneler", str(rounds)]
    with TemporaryDirectory() as directory:
        unpackCommit(COMMIT, directory)
        finished = subprocess.run([*command, directory], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, tuple[float, float]]] = json.loads(finished.stdout)
    rows = [
        Row(case, [each[ours][0] for each in found], [each[theirs][0] for each in found], goal, rate=True)
        for case, ours, theirs, goal in COMPARED
    ]
    since = [
        Row(
            case,
            [each[ours][1] for each in found],
            [each[f"{BEFORE}{ours}"][1] for each in found],
            goal,
            rate=True,
            limit=[each[f"{BARE}{ours}"][1] for each in found] if hasLimit else (),
        )
        for case, ours, goal, hasLimit in COMPARED_BEFORE
    ]
    return [
        Section("tunnel", ABOUT, ("ours", "socat"), rows),
        Section(f"tunnel, over commit {COMMIT}", BEFORE_ABOUT.format(COMMIT), ("this tree", COMMIT), since),
    ]


def unpackCommit(commit: str, directory: str) -> None:
    """
    Write the files of a commit of this repository into a directory.

    @raise Missing: there is no repository, or it does not have the commit.
    """
    archived = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archived.returncode:
        raise Missing(f"the commit {commit}: run this in a complete clone of the repository")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as files:
        files.extractall(directory, filter="data")
