"""
What middleware around a host costs a packet.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare
from txtuntap.middleware import Capture, CaptureFile, Impairment, Meter, Middleware, Netem

ABOUT = (
    "A UDP datagram of 22 octets to an open port of a `Host` on a tap, in memory, through middleware, and without."
    " `Middleware` does nothing; an `Impairment` draws what becomes of each packet, here nothing; a `Capture` has"
    " nobody to tell, as in any service that nobody asks, or writes to `/dev/null`. Time per packet: less is better."
)

#: Frames in one turn.
FRAMES = 500


def run(rounds: int) -> Section:
    """
    Each alone, and two of them.
    """
    frames = [stacks.frame(22)] * FRAMES
    around = {
        "`Middleware`": Middleware,
        "`Meter`": Meter,
        "`Impairment`": Impairment,
        "`Impairment`, that corrupts one in 10^9": lambda proto: Impairment(proto, Netem(corrupt=1e-9)),
        "`Meter` around `Impairment`": lambda proto: Meter(Impairment(proto)),
        "`Capture`, for nobody": lambda proto: Capture(None, proto),
        "`Capture`": lambda proto: Capture(CaptureFile("/dev/null"), proto),
    }
    tasks = [stacks.ofHost(around=make).task(frames) for make in (None, *around.values())]
    bare, *times = compare(tasks, rounds)
    rows = [Row(case, figures, bare) for case, figures in zip(around, times, strict=True)]
    return Section("middleware", ABOUT, ("with", "without"), rows)
