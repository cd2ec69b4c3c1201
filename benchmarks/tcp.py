"""
Compare the TCP of a host on a real tun device with Twisted on the kernel's TCP.
"""

from __future__ import annotations

from benchmarks.children.streampeer import MEGABYTE
from benchmarks.measure import Row, Section, perSecond, rateRow
from benchmarks.receive import child, privateNetwork

ABOUT = (
    "A service of Twisted on a `Host` behind a tun device is compared with the same service on the kernel's TCP over"
    " the loopback interface, both with CUBIC. The client is a separate process, with the kernel's TCP. The figures"
    " are megabytes, pages, connections or round trips per second of the server's CPU time, user and system. More is"
    " better. Pages and round trips are requested over eight connections at once. In the last row, two hosts on a link"
    " in memory share one process, and the rate is compared with the lower one of the host's first two rates."
)

#: The name of each case, and the least ratio of rates that meets the goal.
CASES = {
    "receive": ("received, MB", 0.5),
    "send": ("sent, MB", 0.7),
    "web": ("`twisted.web`, a short page, keep-alive", 0.5),
    "connections": ("connections opened, used, closed", 0.3),
    "roundtrips": ("round trips of 64 octets", 0.4),
}

#: The least ratio of rates that meets the goal, for two hosts on a link in memory.
LINKED_GOAL = 0.5

#: The number of idle connections whose memory is measured.
IDLE = 100_000

NOTES = (
    "With {:,} idle connections in one process, each used once, a connection takes {:,.0f} octets of memory. A minimal"
    " protocol of the application is included."
)


def run(rounds: int) -> Section:
    """
    Measure all cases, then the memory of idle connections.

    @raise Missing: there is no device, no C{unshare}, or no permission to make a network namespace.
    """
    found = child("streamer", rounds, namespace=privateNetwork())
    rows = [rateRow(name, found, f"{case}, host", f"{case}, kernel", goal) for case, (name, goal) in CASES.items()]
    linked = [octets / MEGABYTE for octets in child("linked", rounds)]
    lesser = list(map(min, perSecond(found, "receive, host"), perSecond(found, "send, host")))
    rows.append(Row("two hosts on a link in memory, MB", linked, lesser, LINKED_GOAL, rate=True))
    return Section("tcp", ABOUT, ("a host", "the kernel"), rows, NOTES.format(IDLE, child("idler", IDLE)))
