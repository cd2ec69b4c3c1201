"""
Datagrams from the kernel through a real tun device, more of them than can be taken.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.children.receiver import TURNS
from benchmarks.measure import Missing, Row, Section

ABOUT = (
    "UDP over IPv4 from a kernel socket through a tun device into a `DatagramProtocol`, one datagram at a time; the"
    " sender, a process of its own, is faster. Datagrams per second, and per second of the receiver's CPU time, user"
    " and system: more is better. Sizes are of whole IP packets. The kernel vouches for the checksums of UDP (offload)."
    " `twisted.pair` is given what it lacks to deliver from a tun at all."
)

SIZES = (64, 1400)

#: The variants of ours.
CHECKS = ("every check", "checksums off")

#: What the ratio of rates has to be.
GOALS = {(size, "every check", "second"): 1.15 for size in SIZES}

ROOT = Path(__file__).parent.parent


def run(rounds: int) -> Section:
    """
    Both sizes, with checksums and without.

    @raise Missing: no compiler, no device, or no right to make a network namespace.
    """
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        flood = compiled("flood.c", directory)
        found: dict[int, list[dict[str, dict[str, float]]]] = {}
        for size in SIZES:
            command = [sys.executable, "-m", "benchmarks.children.receiver", str(flood), str(size), str(rounds)]
            finished = subprocess.run([*namespace, *command], cwd=ROOT, stdout=subprocess.PIPE, check=True)
            found[size] = json.loads(finished.stdout)
    rows = []
    for size, totals in found.items():
        for time, unit in (("elapsed", "second"), ("cpu", "CPU second")):
            rates = {
                variant: [total[variant]["received"] / total[variant][time] for total in totals]
                for variant in (*CHECKS, "twisted.pair")
            }
            for variant in CHECKS:
                goal = GOALS.get((size, variant, unit))
                case = f"{size} octets, {variant}, per {unit}"
                rows.append(Row(case, rates[variant], rates["twisted.pair"], goal, rate=True))
    turns = [turn["faster"] for totals in found.values() for total in totals for turn in total.values()]
    notes = f"The sender was faster in {sum(turns):.0f} of {len(turns) * TURNS} turns: the device had to drop packets."
    return Section("receive", ABOUT, ("txtuntap", "twisted.pair"), rows, notes)


def compiled(source: str, directory: str) -> Path:
    """
    Make a program of ours, written in C, in C{directory}.

    @raise Missing: there is no compiler, or none that works.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("a C compiler, for the sender: 'apt-get install gcc', say")
    program = Path(directory, source).with_suffix("")
    if subprocess.run(
        [compiler, "-O2", "-o", program, Path(__file__).parent / "children" / source], check=False
    ).returncode:
        raise Missing("a C compiler that works, for the sender: 'apt-get install gcc libc6-dev', say")
    return program


def privateNetwork() -> list[str]:
    """
    The beginning of a command line: what comes after it runs in a network namespace of its own.

    @raise Missing: there can be none, or no device in it.
    """
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as e:
        raise Missing(f"/dev/net/tun ({e.strerror}): 'modprobe tun', or be root") from e
    if shutil.which("unshare") is None:
        raise Missing("the program 'unshare': 'apt-get install util-linux', say")
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Missing(f"a network namespace ({tried.stderr.strip()}): be root, or allow user namespaces")
    return command
