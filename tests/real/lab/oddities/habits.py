"""
Fields that nobody asks for: which are the same in all answers, count, or are chosen by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import attrs

from tests.real.lab.oddities.frames import Frames, discovers, fragments, packet
from tests.real.lab.oddities.messages import asksClosed, asksForTheTime
from tests.real.test_input import asks, echo
from txtuntap.wire import ipv6

#: How often each is asked: no host sends more errors at once.
TIMES = 6

#: What is not more than this after another is counted, however long it took.
_STEP = 0x1000

ZERO, CONSTANT, COUNTING, RANDOM = "zero", "constant", "counting", "random"


@attrs.frozen
class Habit:
    """
    A row.

    @ivar make: makes frames that have one answer.
    @ivar field: reads a field of an IP packet.
    @ivar here: what becomes of it from one answer to the next, with a host of ours; C{linux}: with Linux.
    @ivar difference: what C{docs/input.md} calls it, if that is not the same.
    """

    name: str
    version: int
    make: Frames
    field: Callable[[bytes], int]
    here: str
    linux: str
    difference: str = ""


def progress(numbers: Sequence[int]) -> str:
    """
    How numbers go on.
    """
    if not any(numbers):
        return ZERO
    if len(set(numbers)) == 1:
        return CONSTANT
    # Identifications of IPv4 begin anew after 0xffff; larger ones seldom get there.
    if all(
        0 < (after - before) % 0x10000 < _STEP and abs(after - before) < 0x10000 for before, after in pairwise(numbers)
    ):
        return COUNTING
    return RANDOM


def _identification(packet: bytes) -> int:
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[4:6], "big")
    assert packet[6] == ipv6.FRAGMENT
    return int.from_bytes(packet[44:48], "big")


def _flowLabel(packet: bytes) -> int:
    return int.from_bytes(packet[:4], "big") & 0xFFFFF


_TAKEN_APART = "IPv4: the identification of what may be taken apart"
_WHOLE = "IPv4: the identification of what may not be taken apart"
_LABEL = "IPv6: the flow label"

#: A datagram whose answer does not fit the link.
_large = fragments((0, 1400, True), (1400, 2008, False), data=bytes(2000))


HABITS = [
    *(
        Habit(f"IPv4: identification of {name}", 4, make, _identification, *habit)
        for name, make, habit in (
            ("an echo reply", packet(echo), (RANDOM, COUNTING, _TAKEN_APART)),
            ("a timestamp reply", packet(asksForTheTime), (RANDOM, COUNTING, _TAKEN_APART)),
            ("an error", packet(asksClosed), (RANDOM, COUNTING, _TAKEN_APART)),
            ("a datagram", packet(asks), (ZERO, COUNTING, _WHOLE)),
            ("fragments", _large, (RANDOM, COUNTING, _TAKEN_APART)),
        )
    ),
    Habit("IPv6: identification of fragments", 6, _large, _identification, RANDOM, RANDOM),
    *(
        Habit(f"IPv6: flow label of {name}", 6, make, _flowLabel, *habit)
        for name, make, habit in (
            ("an echo reply", packet(echo), (ZERO, CONSTANT, _LABEL)),
            ("a datagram", packet(asks), (ZERO, CONSTANT, _LABEL)),
            ("fragments", _large, (ZERO, CONSTANT, _LABEL)),
            ("an error", packet(asksClosed), (ZERO, CONSTANT, _LABEL)),
            ("an advertisement", discovers("fd09::1:1fe"), (ZERO, ZERO, "")),
        )
    ),
]
