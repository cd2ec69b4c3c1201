"""
Measure how the time for a packet grows with the number of protocols. Also measure how the time to configure one route,
address or tap grows with their number.
"""

from __future__ import annotations

from benchmarks import stacks
from benchmarks.children.setter import FEW as FEW_THINGS
from benchmarks.children.setter import FEW_TAPS, MANY_TAPS, THINGS
from benchmarks.children.setter import MANY as MANY_THINGS
from benchmarks.configure import MOST
from benchmarks.measure import Missing, Row, Section, compare
from benchmarks.receive import child, privateNetwork
from txtuntap.udp.layer import MAX_FLOWS
from txtuntap.wire.ethernet import FIRST_TYPE, IPV4

ABOUT = (
    "The first rows are about frames of 64 octets with every check on. First, all frames go to the same protocol."
    " Layers with many protocols are compared with layers that have one. Then the frames go to many ports in turn. The"
    " figures are the time per frame. The other rows are about configuration. `configure` sets routes or addresses that"
    " the interface has already, or a switch starts with its taps. The figures are the CPU time per route, address or"
    " tap. Many of them are compared with few. The CPU time of the longest turn of the reactor is compared with its"
    " limit. Less is better."
)
NOTES = (
    f"txtuntap remembers {MAX_FLOWS:,} flows, by source address, source port and destination port. With more flows in"
    " turn, each packet would be the first one of its flow."
)

#: The large number of UDP ports and of EtherTypes.
MANY = 10_000

#: The greatest ratio of the time per frame that meets the goal.
GOAL = 1.1

#: The greatest ratio for configuration that meets the goal. It allows for the load of other programs.
GOAL_SET = 1.25

#: The smaller number of UDP ports that receive frames in turn.
FEW = 4_000

#: The number of frames in a turn of equal frames.
FRAMES = 500

#: The number of turns in a round, if each turn has frames to many ports.
TURNS = 10


def run(rounds: int) -> Section:
    """
    Measure many UDP ports, IP protocol numbers and EtherTypes, then ports in turn, then configuration.
    """
    rows = _added(rounds) + _inTurn(FEW, rounds) + _inTurn(MANY, rounds)
    notes = NOTES
    try:
        rows += _set(rounds)
    except Missing as e:
        notes += f" Configuration was not measured, because this machine lacks {e}."
    return Section("scale", ABOUT, ("first", "second"), rows, notes)


def _added(rounds: int) -> list[Row]:
    frames = [stacks.frame(22)] * FRAMES
    crowds = {
        f"{MANY:,} UDP ports / 1": stacks.layerStack(ports=range(stacks.PORT, stacks.PORT + MANY)),
        "256 IP protocol numbers / 1": stacks.layerStack(numbers=range(256)),
        f"{MANY:,} EtherTypes / 1": stacks.layerStack(etherTypes=range(FIRST_TYPE, FIRST_TYPE + MANY)),
    }
    alone = stacks.layerStack(etherTypes=[IPV4])
    one, *many = compare([stack.task(frames) for stack in (alone, *crowds.values())], rounds)
    return [Row(case, times, one, GOAL) for case, times in zip(crowds, many, strict=True)]


def _inTurn(count: int, rounds: int) -> list[Row]:
    ports = range(stacks.PORT, stacks.PORT + count)
    frames = [stacks.frame(22, port=port) for port in ports]
    ours, one, pair = compare(
        [
            stacks.layerStack(ports=ports).task(frames),
            stacks.layerStack().task([frames[0]] * FRAMES),
            stacks.pairStack(ports).task(frames),
        ],
        rounds,
        TURNS,
    )
    case = f"to {count:,} UDP ports in turn"
    return [Row(f"{case} / to 1", ours, one), Row(f"{case} / `twisted.pair` likewise", ours, pair)]


def _set(rounds: int) -> list[Row]:
    """
    Measure the configuration of routes, addresses and taps.

    @raise Missing: there is no device, no C{unshare}, or no permission to make a network namespace.
    """
    found = child("setter", rounds, namespace=privateNetwork())
    figures = {what: [each[what] for each in found] for what in found[0]}
    rows = []
    for field in THINGS:
        many, few = figures[f"{MANY_THINGS} {field}"], figures[f"{FEW_THINGS} {field}"]
        rows.append(Row(f"{MANY_THINGS:,} {field} again, each / {FEW_THINGS}, each", many, few, GOAL_SET))
        gap = figures[f"{MANY_THINGS} {field} gap"]
        rows.append(Row(f"{MANY_THINGS:,} {field} again: longest turn / {MOST * 1e3:.0f} ms", gap, [MOST] * rounds, 1))
    many, few = figures[f"{MANY_TAPS} taps"], figures[f"{FEW_TAPS} taps"]
    rows.append(Row(f"{MANY_TAPS} taps at a switch, each / {FEW_TAPS}, each", many, few, GOAL_SET))
    return rows
