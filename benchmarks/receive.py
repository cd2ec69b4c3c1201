"""
Measure how fast datagrams are received through a real tun device, while the kernel sends them faster than that.
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
    "A kernel socket sends UDP datagrams over IPv4 through a tun device to a `DatagramProtocol`, one datagram in a"
    " packet. The sender is a separate process, and faster than the receiver. The figures are datagrams per second,"
    " and datagrams per second of the receiver's CPU time, user and system. More is better. Sizes are those of whole"
    " IP packets. The kernel has verified the UDP checksums (offload). `twisted.pair` cannot deliver from a tun by"
    " itself, so the benchmark adds the missing call."
)

SIZES = (64, 1400)

#: The variants of txtuntap.
CHECKS = ("every check", "checksums off")

#: The least ratios of rates that meet the goal, by size, variant and unit.
GOALS = {(size, "every check", "second"): 1.15 for size in SIZES}

ROOT = Path(__file__).parent.parent


def run(rounds: int) -> Section:
    """
    Measure both sizes, with and without verifying checksums.

    @raise Missing: there is no compiler, no device, no C{unshare}, or no permission to make a network namespace.
    """
    namespace = privateNetwork()
    with tempfile.TemporaryDirectory() as directory:
        flood = compileProgram("flood.c", directory)
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
    notes = f"In {sum(turns):.0f} of {len(turns) * TURNS} turns the sender was faster, so the device dropped packets."
    return Section("receive", ABOUT, ("txtuntap", "twisted.pair"), rows, notes)


def compileProgram(source: str, directory: str) -> Path:
    """
    Compile a C program of C{benchmarks/children} into a directory.

    @param source: the name of the source file.

    @return: the path of the program.

    @raise Missing: there is no working compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("a C compiler, for the programs in C: run 'apt-get install gcc'")
    program = Path(directory, source).with_suffix("")
    if subprocess.run(
        [compiler, "-O2", "-o", program, Path(__file__).parent / "children" / source], check=False
    ).returncode:
        raise Missing("a working C compiler, for the programs in C: run 'apt-get install gcc libc6-dev'")
    return program


def privateNetwork() -> list[str]:
    """
    Return the first words of a command line. These words run the rest of the line in a network namespace of its own.

    @raise Missing: this process cannot open a device, there is no C{unshare}, or C{unshare} cannot make a namespace.
    """
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as e:
        raise Missing(f"/dev/net/tun ({e.strerror}): run 'modprobe tun', or run this as root") from e
    if shutil.which("unshare") is None:
        raise Missing("the program 'unshare': run 'apt-get install util-linux'")
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Missing(f"a network namespace ({tried.stderr.strip()}): run this as root, or allow user namespaces")
    return command
