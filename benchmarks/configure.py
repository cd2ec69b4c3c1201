"""
An interface configured on a running reactor, and how long that keeps the reactor from all else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from statistics import median

from benchmarks.children.configurer import ADDRESSES, CROWD, ROUTES
from benchmarks.measure import Missing, Row, Section
from benchmarks.receive import ROOT, privateNetwork

ABOUT = (
    f"A tun interface is given {len(ADDRESSES)} addresses and {len(ROUTES)} routes, half of them IPv6, by `configure`"
    " on a running reactor, which has other work: a little in each turn. Seconds to the end, beside programs that are"
    " waited for; and the longest from one turn of the other work to the next, beside what it may be. Less is better."
)

#: With the longest gaps, without and with other routes, and the time of a collection, in milliseconds.
NOTES = (
    "The longest gap of all was {:.1f} ms without other routes, {:.1f} ms with them. They are those without the garbage"
    " collector, which is off: one collection of all there is takes {:.0f} ms in that process, whenever it comes."
)

#: Seconds that nothing may keep the reactor from other work.
MOST = 0.025

#: The work of C{ip} beside ours, by the name that L{benchmarks.children.configurer} has for it.
PROGRAMS = {
    "ten calls": "half of it, by ten calls of `ip`",
    "twenty calls": "20 calls of `ip`",
    "batch": "one `ip -batch`",
}


def run(rounds: int) -> Section:
    """
    Where there are no other routes, and among many.

    @raise Missing: no C{ip}, no device, or no right to make a network namespace.
    """
    ip = shutil.which("ip")
    if ip is None:
        raise Missing("the program 'ip': 'apt-get install iproute2', say")
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.configurer", ip, str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    alone, crowded = json.loads(finished.stdout)
    rows = []
    for case, found in ("", alone), (f"{CROWD:,} other routes: ", crowded):
        figures = {what: [each[what] for each in found] for what in found[0]}
        for what, words in PROGRAMS.items():
            rows.append(Row(f"{case}all of it / {words}", figures["configure"], figures[what]))
        most = [MOST] * rounds
        rows.append(Row(f"{case}longest gap / {MOST * 1e3:.0f} ms", figures["gap"], most, 1))
        rows.append(Row(f"{case}longest gap without `configure` / {MOST * 1e3:.0f} ms", figures["idle gap"], most))
    longest = [max(each["gap"] for each in found) * 1e3 for found in (alone, crowded)]
    notes = NOTES.format(*longest, median(each["collecting"] for each in alone) * 1e3)
    return Section("configure", ABOUT, ("first", "second"), rows, notes)
