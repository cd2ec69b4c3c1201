"""
Measure the configuration of an interface on a running reactor, and how long it keeps the reactor from other work.
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
    f"`configure` gives a tun interface {len(ADDRESSES)} addresses and {len(ROUTES)} routes, half of them IPv6, on a"
    " running reactor that has a little other work in each turn. Some rows compare the time to the end with that of"
    " programs that block the reactor. The rows about gaps compare the longest time between two turns of the other work"
    " with its limit. Less is better."
)

#: The notes, with three values in milliseconds: the longest gap without other routes, the longest gap with them, and
#: the time of a garbage collection.
NOTES = (
    "The longest gap of all rounds was {:.1f} ms without other routes, and {:.1f} ms with them. The garbage collector"
    " is off during the measurement. In this process, one full collection takes {:.0f} ms."
)

#: The greatest number of seconds for which C{configure} may keep the reactor from other work.
MOST = 0.025

#: The words for the work of C{ip}, by its name in L{benchmarks.children.configurer}.
PROGRAMS = {
    "ten calls": "half of it, by ten calls of `ip`",
    "twenty calls": "20 calls of `ip`",
    "batch": "one `ip -batch`",
}


def run(rounds: int) -> Section:
    """
    Measure in a network namespace first without other routes, then with many.

    @raise Missing: there is no C{ip}, no device, no C{unshare}, or no permission to make a network namespace.
    """
    ip = shutil.which("ip")
    if ip is None:
        raise Missing("the program 'ip': run 'apt-get install iproute2'")
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
