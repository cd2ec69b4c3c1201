"""
Header fields that each host fills in by its own rule: identifications and flow labels. In a sequence of answers, such a
field is constant, counts up, or is random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import attrs

from tests.real.lab.oddities.frames import Frames, discovers, fragments, packet
from tests.real.lab.oddities.messages import asksClosed, asksForTheTime
from tests.real.test_input import asks, echo
from txtuntap.wire import ipv6

#: The number of requests for each row. Hosts limit the rate of errors, and send no more of them at once.
TIMES = 6

#: The largest difference between two numbers of a sequence that counts up.
_STEP = 0x1000

ZERO, CONSTANT, COUNTING, RANDOM = "zero", "constant", "counting", "random"


@attrs.frozen
class Habit:
    """
    One row of the table: a field, and its progress in the answers of both hosts.

    @ivar name: the row's name, which becomes part of the test's id.
    @ivar version: the IP version.
    @ivar make: a function that makes frames with one answer.
    @ivar field: a function that reads the field from an IP packet.
    @ivar here: the progress of the field with a host of this package: L{ZERO}, L{CONSTANT}, L{COUNTING} or L{RANDOM}.
    @ivar linux: the progress of the field with Linux.
    @ivar difference: the name of the difference in C{docs/input.md}; empty: both are equal.
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
    Classify the progress of a sequence of numbers.
    """
    if not any(numbers):
        return ZERO
    if len(set(numbers)) == 1:
        return CONSTANT
    # IPv4 identifications wrap after 0xffff.
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

#: A datagram whose answer is larger than the MTU.
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
