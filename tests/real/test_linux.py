"""
What Linux does with the rows of L{tests.real.test_input}: the same, but for what C{docs/input.md} tells of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.real.linux import Linux
from tests.real.machine import Machine
from tests.real.namespace import Namespace, need
from tests.real.test_input import (
    ROWS_4,
    ROWS_6,
    ROWS_FRAMES_4,
    ROWS_FRAMES_6,
    SILENT,
    STATIONS,
    Row,
    Wire,
    described,
)

#: What Linux does otherwise, by the row's name.
DIFFERENCES: dict[tuple[int, str], list[str]] = {
    (4, "truncated-timestamp-request"): ["icmp 14/0"],
    (4, "TCP"): ["tcp"],
    (4, "ARP-for-other-hardware"): ["arp reply"],
    (6, "echo-to-a-group"): ["icmp6 129/0"],
    (6, "TCP"): ["tcp"],
    (6, "nine-extension-headers"): ["icmp6 129/0"],
}


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """
    A wire with Linux behind it.
    """
    need()
    with Namespace(), Linux(STATIONS) as linux:
        yield Wire(cast(Machine, linux))


def rows(version: int, *tables: tuple[list[Any], bool]) -> list[Any]:
    """
    Rows with what Linux answers.

    @param tables: rows, and whether they are packets and not frames.
    """
    found = []
    for table, packet in tables:
        for each in table:
            make, answer = each.values
            expected = DIFFERENCES.get((version, each.id), [] if answer == SILENT else [answer])
            found.append(pytest.param(make, expected, packet, id=each.id))
    return found


@pytest.mark.parametrize(("make", "expected", "packet"), rows(4, (ROWS_4, True), (ROWS_FRAMES_4, False)))
def test_IPv4(wire: Wire, make: Row, expected: list[str], packet: bool) -> None:
    _, came = wire.answers(4, make, packet)
    assert [described(each) for each in came] == expected


@pytest.mark.parametrize(("make", "expected", "packet"), rows(6, (ROWS_6, True), (ROWS_FRAMES_6, False)))
def test_IPv6(wire: Wire, make: Row, expected: list[str], packet: bool) -> None:
    _, came = wire.answers(6, make, packet)
    assert [described(each) for each in came] == expected
