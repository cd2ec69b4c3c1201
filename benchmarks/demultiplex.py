"""
The way of one frame through the layers, in memory.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare

ABOUT = (
    "One UDP datagram in an Ethernet frame, in memory, from `bytes` to `datagramReceived`. Time per frame: less is"
    " better. `twisted.pair` checks nothing and has no IPv6: for that, its figure is that of IPv4."
)

#: Octets of payload; 22 make a frame of 64 over IPv4.
SIZES = (22, 1400)
GOALS = {True: 0.85, False: 0.6}

#: Frames in one turn.
FRAMES = 500


def run(rounds: int) -> Section:
    """
    Both sizes, both versions of IP, with checksums and without.
    """
    rows = []
    for payload in SIZES:
        for version in (4, 6):
            data = stacks.frame(payload, version)
            pair = stacks.ofPair().task([stacks.frame(payload)] * FRAMES)
            checked, unchecked = (stacks.ours(verify).task([data] * FRAMES) for verify in (True, False))
            theirs, *times = compare([pair, checked, unchecked], rounds)
            for verify, figures in zip((True, False), times, strict=True):
                case = f"IPv{version}, {len(data)} octets, {'every check' if verify else 'checksums off'}"
                goal = GOALS[verify] if version == 4 and payload == SIZES[0] else None
                rows.append(Row(case, figures, theirs, goal))
    return Section("demultiplex", ABOUT, ("txtuntap", "twisted.pair"), rows)
