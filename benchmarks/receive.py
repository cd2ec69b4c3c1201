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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.children.receiver import TURNS
from benchmarks.measure import Missing, Section, rateRow
from benchmarks.pythons import ROOT
from benchmarks.stacks import FLOOR

__all__ = ["ROOT", "child", "compileProgram", "privateNetwork", "run"]

ABOUT = (
    "A kernel socket sends UDP datagrams over IPv4 through a tun device to a `DatagramProtocol`, one datagram in a"
    " packet. The sender is a separate process, and faster than the receiver. The figures are datagrams per second of"
    " the receiver's CPU time, user and system. More is better. Sizes are those of whole IP packets. The kernel has"
    ' verified the UDP checksums (offload), except where "nobody vouches" for them. `twisted.pair` cannot deliver from'
    f" a tun by itself, so the benchmark adds the missing call. The limit is the rate of {FLOOR}, and a `read()` that"
    " blocks. Where nobody vouches, the loop also verifies the checksums."
)

SIZES = (64, 1400)

#: The variants of txtuntap.
CHECKS = ("every check", "checksums off", "nobody vouches")

#: The least ratios of rates that meet the goal, by size and variant.
GOALS = {(64, "every check"): 1.5, (1400, "every check"): 1.5, (1400, "nobody vouches"): 0.75}


#: The name of the measurement of the limit, by variant, if it is not "limit".
LIMITS = {"nobody vouches": "limit, verified"}


def run(rounds: int) -> Section:
    """
    Measure both sizes, with and without verifying checksums.

    @raise Missing: there is no compiler, no device, no C{unshare}, or no permission to make a network namespace.
    """
    namespace = privateNetwork()
    rows = []
    faster = 0
    with tempfile.TemporaryDirectory() as directory:
        compileProgram("flood.c", directory)
        for size in SIZES:
            found = child("receiver", directory, size, rounds, namespace=namespace)
            faster += found["faster"]
            rows += [
                rateRow(
                    f"{size} octets, {variant}",
                    found["rounds"],
                    variant,
                    "twisted.pair",
                    GOALS.get((size, variant)),
                    LIMITS.get(variant, "limit"),
                )
                for variant in CHECKS
            ]
    turns = len(SIZES) * rounds * TURNS * (len(CHECKS) + 3)
    notes = f"In {faster} of {turns} turns the sender was faster, so the device dropped packets."
    return Section("receive", ABOUT, ("txtuntap", "twisted.pair"), rows, notes)


def child(name: str, *arguments: object, namespace: Sequence[str] = ()) -> Any:
    """
    Run a module of C{benchmarks.children} in a process of its own.

    @param name: the name of the module.
    @param arguments: its arguments.
    @param namespace: the words of L{privateNetwork}; empty: run it in this network namespace.

    @return: what it prints, decoded from JSON.
    """
    command = [*namespace, sys.executable, "-m", f"benchmarks.children.{name}", *map(str, arguments)]
    return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)


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
