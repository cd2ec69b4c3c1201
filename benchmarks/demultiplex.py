"""
Measure the time that the layers take for one frame in memory.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare
from benchmarks.stacks import FLOOR

ABOUT = (
    "One UDP datagram in an Ethernet frame passes the layers in memory, from `bytes` to `datagramReceived`. The figures"
    " are the CPU time per frame. Less is better. `twisted.pair` verifies nothing and has no IPv6, so rows of IPv6 have"
    f" its figure for IPv4. The limit is the time of {FLOOR}."
)

#: The octets of UDP payload. Over IPv4, 22 make a frame of 64 octets.
SIZES = (22, 1400)

#: The greatest ratio that meets the goal, by the payload of UDP over IPv4 and by whether checksums are verified.
GOALS = {(22, True): 0.6, (22, False): 0.6, (1400, True): 1.4}

#: The number of frames in one turn.
FRAMES = 500


def run(rounds: int) -> Section:
    """
    Measure both sizes and both IP versions, with and without verifying checksums.
    """
    rows = []
    for payload in SIZES:
        for version in (4, 6):
            data = stacks.frame(payload, version)
            pair = stacks.pairStack().task([stacks.frame(payload)] * FRAMES)
            ours = [stacks.layerStack(True), stacks.layerStack(False), stacks.floorStack(version=version)]
            theirs, *times, limit = compare([pair, *(stack.task([data] * FRAMES) for stack in ours)], rounds)
            for verify, figures in zip((True, False), times, strict=True):
                case = f"IPv{version}, {len(data)} octets, {'every check' if verify else 'checksums off'}"
                goal = GOALS.get((payload, verify)) if version == 4 else None
                rows.append(Row(case, figures, theirs, goal, limit=limit))
    return Section("demultiplex", ABOUT, ("txtuntap", "twisted.pair"), rows)
