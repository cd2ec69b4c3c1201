"""
What a packet costs when many protocols have been added.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.measure import Row, Section, compare
from txtuntap.rawudp import MAX_FLOWS
from txtuntap.wire.ethernet import FIRST_TYPE, IPV4

ABOUT = (
    "A frame of 64 octets, every check on. First, through layers with many protocols added and with one, to the same"
    " one. Then to each of many ports in turn. Time per frame: less is better."
)
NOTES = (
    f"txtuntap remembers {MAX_FLOWS:,} flows (who sends from where to which port). Where more take turns, a packet is"
    " the first of its flow each time."
)

MANY = 10_000
GOAL = 1.1

#: The ports that are sent to in turn: all of them remembered, or more than can be.
FEW = 4_000

#: The frames of one turn, where they are all the same.
FRAMES = 500

#: The turns of a round, where the frames of one are many.
TURNS = 10


def run(rounds: int) -> Section:
    """
    UDP ports, IP protocol numbers and EtherTypes; then ports in turn.
    """
    return Section(
        "scale", ABOUT, ("first", "second"), _added(rounds) + _inTurn(FEW, rounds) + _inTurn(MANY, rounds), NOTES
    )


def _added(rounds: int) -> list[Row]:
    frames = [stacks.frame(22)] * FRAMES
    crowds = {
        f"{MANY:,} UDP ports / 1": stacks.ours(ports=range(stacks.PORT, stacks.PORT + MANY)),
        "256 IP protocol numbers / 1": stacks.ours(numbers=range(256)),
        f"{MANY:,} EtherTypes / 1": stacks.ours(etherTypes=range(FIRST_TYPE, FIRST_TYPE + MANY)),
    }
    alone = stacks.ours(etherTypes=[IPV4])
    one, *many = compare([stack.task(frames) for stack in (alone, *crowds.values())], rounds)
    return [Row(case, times, one, GOAL) for case, times in zip(crowds, many, strict=True)]


def _inTurn(count: int, rounds: int) -> list[Row]:
    ports = range(stacks.PORT, stacks.PORT + count)
    frames = [stacks.frame(22, port=port) for port in ports]
    ours, one, pair = compare(
        [
            stacks.ours(ports=ports).task(frames),
            stacks.ours().task([frames[0]] * FRAMES),
            stacks.ofPair(ports).task(frames),
        ],
        rounds,
        TURNS,
    )
    case = f"to {count:,} UDP ports in turn"
    return [Row(f"{case} / to 1", ours, one), Row(f"{case} / `twisted.pair` likewise", ours, pair)]
