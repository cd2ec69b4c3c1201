"""
Measure the time that middleware around a host adds to each packet.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare
from txtuntap.middleware import Capture, CaptureFile, Impairment, Meter, Middleware, Netem

ABOUT = (
    "A UDP datagram of 22 octets is delivered to an open port of a `Host` on a tap in memory, with and without"
    " middleware. `Middleware` does nothing. An `Impairment` draws random numbers for each packet, but changes none"
    ' here. A `Capture` "for nobody" has no sink, as in a service without a client; the other one writes to'
    " `/dev/null`. The figures are the time per packet. Less is better."
)

#: The number of frames in one turn.
FRAMES = 500


def run(rounds: int) -> Section:
    """
    Measure each kind of middleware alone, and two of them together.
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
    tasks = [stacks.hostStack(around=make).task(frames) for make in (None, *around.values())]
    bare, *times = compare(tasks, rounds)
    rows = [Row(case, figures, bare) for case, figures in zip(around, times, strict=True)]
    return Section("middleware", ABOUT, ("with", "without"), rows)
