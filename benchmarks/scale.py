"""
What a packet costs when many protocols have been added; and what each thing costs that users set, when there are many.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks import stacks
from benchmarks.children.setter import FEW as FEW_THINGS
from benchmarks.children.setter import FEW_TAPS, MANY_TAPS, THINGS
from benchmarks.children.setter import MANY as MANY_THINGS
from benchmarks.configure import MOST
from benchmarks.measure import Missing, Row, Section, compare
from benchmarks.receive import ROOT, privateNetwork
from txtuntap.udp.layer import MAX_FLOWS
from txtuntap.wire.ethernet import FIRST_TYPE, IPV4

ABOUT = (
    "A frame of 64 octets, every check on. First, through layers with many protocols added and with one, to the same"
    " one. Then to each of many ports in turn. Time per frame. Then what users set: routes and addresses, by"
    " `configure` on an interface that has them already, and taps at a switch that starts. CPU time for each of them,"
    " where there are many, and few; and that of the longest turn of the reactor, beside what it may be. Less is"
    " better."
)
NOTES = (
    f"txtuntap remembers {MAX_FLOWS:,} flows (who sends from where to which port). Where more take turns, a packet is"
    " the first of its flow each time."
)

MANY = 10_000
GOAL = 1.1

#: The goal for things that are set: a disturbance by other programs has its part in it.
GOAL_SET = 1.25

#: The ports that are sent to in turn: all of them remembered, or more than can be.
FEW = 4_000

#: The frames of one turn, where they are all the same.
FRAMES = 500

#: The turns of a round, where the frames of one are many.
TURNS = 10


def run(rounds: int) -> Section:
    """
    UDP ports, IP protocol numbers and EtherTypes; then ports in turn; then what users set.
    """
    rows = _added(rounds) + _inTurn(FEW, rounds) + _inTurn(MANY, rounds)
    notes = NOTES
    try:
        rows += _set(rounds)
    except Missing as e:
        notes += f" What users set was left out: this machine lacks {e}."
    return Section("scale", ABOUT, ("first", "second"), rows, notes)


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


def _set(rounds: int) -> list[Row]:
    """
    @raise Missing: no device, or no right to make a network namespace.
    """
    command = [*privateNetwork(), sys.executable, "-m", "benchmarks.children.setter", str(rounds)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = json.loads(finished.stdout)
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
