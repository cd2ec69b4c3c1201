"""
Tests for the captures of a live page.
"""

from __future__ import annotations

from collections import Counter
from struct import unpack_from
from typing import Any

import pytest

from tests.service.observe.page.browser import Served
from txtuntap.service.observe.page import captures

#: The types of pcapng blocks: the beginning of a section, a packet, and the statistics.
SECTION, PACKET, STATISTICS = 0x0A0D0D0A, 6, 5


def ping(served: Served, count: int = 3) -> None:
    """
    Send pings to the host of the page.
    """
    for _ in range(count):
        served.far.ping("10.0.0.1", size=100).addErrback(lambda _: None)
        served.run(0.5)


def shown(served: Served) -> dict[str, Any]:
    """
    Read what the page shows of its only capture.
    """
    served.recorder.stop()
    ((found,),) = (each["captures"] for each in served.recorder.look()["interfaces"])
    return dict(found)


def blocks(served: Served) -> Counter[int]:
    """
    Count the blocks of the first capture by their type.
    """
    octets = served.ask("GET", "/captures/1.pcapng").body
    found: Counter[int] = Counter()
    at = 0
    while at < len(octets):
        kind, length = unpack_from("<II", octets, at)
        found[kind] += 1
        assert unpack_from("<I", octets, at + length - 4) == (length,)
        at += length
    return found


def test_theNumberOfPacketsIsThatOfTheFile() -> None:
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    ping(served)
    packets = shown(served)["packets"]
    assert packets == blocks(served)[PACKET] >= 6
    served.change("/captures", do="stop", number=1)
    ping(served)
    assert (shown(served)["packets"], shown(served)["isRunning"]) == (packets, False)
    assert blocks(served) == {SECTION: 1, 1: 1, PACKET: packets, STATISTICS: 1}


def test_packetsWithoutRoomAreNotCountedAsCaptured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MAX_OCTETS", captures._RESERVE + 1000)
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    ping(served)
    found = shown(served)
    assert (found["packets"], found["dropped"] > 3) == (blocks(served)[PACKET], True)
    served.change("/captures", do="stop", number=1)
    assert blocks(served)[STATISTICS] == 1


def test_aCaptureGoesOnWhenThePortStartsAgain() -> None:
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    ping(served)
    before = shown(served)["packets"]
    served.link.stop()
    served.run(1)
    assert shown(served)["packets"] == before
    served.link.start()
    ping(served)
    found = shown(served)
    assert (found["dropped"], found["isRunning"]) == (0, True)
    assert found["packets"] >= before + 6
    served.change("/captures", do="stop", number=1)
    assert blocks(served) == {SECTION: 2, 1: 2, PACKET: found["packets"], STATISTICS: 2}


def test_aFullCaptureStaysFullWhenThePortStartsAgain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MAX_OCTETS", captures._RESERVE + 1000)
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    ping(served, 10)
    for _ in range(3):
        served.link.stop()
        served.link.start()
        ping(served)
    packets = shown(served)["packets"]
    served.change("/captures", do="stop", number=1)
    assert blocks(served) == {SECTION: 1, 1: 1, PACKET: packets, STATISTICS: 1}


def test_aCaptureThatHasFailedIsNotRunning(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    served.change("/captures", do="start", interface="tap0")

    def fail(*arguments: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(captures.MemorySink, "write", fail)
    ping(served)
    assert not shown(served)["isRunning"]
    assert served.change("/captures", do="delete", number=1).status == 200


def test_theRatesOfFlowsAreNotNegativeWhenThePortStartsAgain() -> None:
    served = Served()
    served.recorder.look()
    ping(served)
    served.link.stop()
    served.link.start()
    ping(served, 1)
    served.run(1)
    (now,) = served.recorder.look()["interfaces"]
    assert now["flows"]
    assert all(rate >= 0 for flow in now["flows"] for rate in flow["rates"].values())
