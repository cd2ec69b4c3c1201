"""
The reactions of Linux to the rows of L{tests.real.test_input}. C{docs/input.md} lists each difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.real.lab.answers import LINUX
from tests.real.lab.linux import Linux
from tests.real.lab.machine import Machine
from tests.real.lab.namespace import Namespace, need
from tests.real.lab.oddities.headers import ROUTES_AND_TIMES
from tests.real.test_input import (
    ROWS_4,
    ROWS_6,
    ROWS_FRAMES_4,
    ROWS_FRAMES_6,
    SILENT,
    STATIONS,
    Row,
    Wire,
    whole,
)

#: The reactions of Linux that differ, by the row's version and name.
DIFFERENCES: dict[tuple[int, str], list[str]] = {
    (4, "truncated-timestamp-request"): ["icmp 14/0"],
    (4, "ARP-for-other-hardware"): ["arp reply"],
    (6, "echo-to-a-group"): ["icmp6 129/0"],
    (6, "nine-extension-headers"): ["icmp6 129/0"],
    (4, "echo-request-with-record-route"): ["icmp 0/0, options 0707080a09000200"],
}

#: The names in C{docs/input.md} of differences, if they are not the name of the row.
NAMES = {(4, "echo-request-with-record-route"): ROUTES_AND_TIMES}


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """
    Make a link with Linux behind it.
    """
    need()
    with Namespace(), Linux(STATIONS) as linux:
        yield Wire(cast(Machine, linux))


def rows(version: int, *tables: tuple[list[Any], bool]) -> list[Any]:
    """
    Pair the rows of tables with the answers of Linux.

    @param tables: pairs of rows and whether these are packets; otherwise they are frames.
    """
    found = []
    for table, packet in tables:
        for each in table:
            make, answer = each.values
            expected = DIFFERENCES.get((version, each.id), [] if answer == SILENT else [answer])
            found.append(pytest.param(make, expected, packet, id=each.id))
    return found


@pytest.mark.parametrize(("make", "expected", "packet"), rows(4, (ROWS_4, True), (ROWS_FRAMES_4, False)))
def test_LinuxAnswersRowsOfIPv4(wire: Wire, make: Row, expected: list[str], packet: bool) -> None:
    sent, came = wire.answers(4, make, packet)
    assert [whole(each, [sent], LINUX) for each in came] == expected


@pytest.mark.parametrize(("make", "expected", "packet"), rows(6, (ROWS_6, True), (ROWS_FRAMES_6, False)))
def test_LinuxAnswersRowsOfIPv6(wire: Wire, make: Row, expected: list[str], packet: bool) -> None:
    sent, came = wire.answers(6, make, packet)
    assert [whole(each, [sent], LINUX) for each in came] == expected
