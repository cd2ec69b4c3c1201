"""
Measure the configuration of an interface on a running reactor, and how long it keeps the reactor from other work.
"""

from __future__ import annotations

import shutil
from statistics import median

from benchmarks.children.configurer import ADDRESSES, CROWD, ROUTES
from benchmarks.measure import Missing, Row, Section, timeRow
from benchmarks.receive import child, privateNetwork

ABOUT = (
    f"`configure` gives a tun interface {len(ADDRESSES)} addresses and {len(ROUTES)} routes, half of them IPv6, on a"
    " running reactor. Some rows compare the CPU time of this process with that of programs that block the reactor, and"
    " of the processes that they start. The rows about gaps are about a reactor that has a little other work in each"
    " turn. They compare the longest time between two turns of this work with its limit. Less is better."
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
    alone, crowded = child("configurer", ip, rounds, namespace=privateNetwork())
    rows = []
    for case, found in ("", alone), (f"{CROWD:,} other routes: ", crowded):
        rows += [
            timeRow(f"{case}all of it / {words}", found["turns"], "configure", what) for what, words in PROGRAMS.items()
        ]
        figures = {what: [each[what] for each in found["gaps"]] for what in found["gaps"][0]}
        most = [MOST] * rounds
        rows.append(Row(f"{case}longest gap / {MOST * 1e3:.0f} ms", figures["gap"], most, 1))
        rows.append(Row(f"{case}longest gap without `configure` / {MOST * 1e3:.0f} ms", figures["idle gap"], most))
    longest = [max(each["gap"] for each in found["gaps"]) * 1e3 for found in (alone, crowded)]
    notes = NOTES.format(*longest, median(each["collecting"] for each in alone["gaps"]) * 1e3)
    return Section("configure", ABOUT, ("first", "second"), rows, notes)
