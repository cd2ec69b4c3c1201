"""
WireGuard between wireguard-go and a C{twistd tuntap wireguard} whose wall clock is set. No test sets the machine's
clock: see L{tests.real.lab.settableclock}.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.long import lengths
from tests.real.lab.namespace import until
from tests.real.lab.settableclock import SettableClock
from tests.real.lab.tunnel import Service
from tests.real.lab.wireguard import End, Pair
from txtuntap.wireguard.keys import keyText

HOUR = 3600

#: The clock is set back first, or forward first. In the end it is right again.
STEPS = pytest.mark.parametrize("steps", [(-HOUR, HOUR, 0), (HOUR, -HOUR, 0)], ids=["back", "forward"])


@pytest.fixture
def clock(wireguards: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SettableClock]:
    """
    Give our end a clock that can be set.
    """
    clock = SettableClock(tmp_path)
    monkeypatch.setattr(Service, "twistd", staticmethod(clock.twistd))
    yield clock


def beginAgain(pair: Pair, end: End) -> None:
    """
    End the session at one end alone, so that its next packet begins another one.
    """
    if end is pair.theirs:
        for state in "down", "up":
            end.place.run("ip", "link", "set", end.name, state)
    else:
        key = end.directory / "key"
        key.touch(0o600)
        key.write_text(keyText(end.key.secret()))
        end.wg("set", "private-key", str(key))


@STEPS
@lengths("seconds", 1, 65, "wireguard")
def test_aSessionGoesOnWhenTheClockIsSet(
    wireguards: Pair, clock: SettableClock, steps: tuple[int, ...], seconds: int
) -> None:
    ours, theirs = wireguards.both
    wireguards.begin(ours)
    before = theirs.lastHandshake
    for ahead in steps:
        clock.set(ahead)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ours.pings(theirs)
            theirs.pings(ours)
            time.sleep(0.5)
    # In the long test, the keys were replaced after 120 s, and as often as without a step.
    assert ours.counter("outInitiations") == (2 if 3 * seconds > 120 else 1)
    assert (theirs.lastHandshake > before + 115) is (3 * seconds > 120)


@STEPS
def test_eitherEndBeginsAnotherSessionAfterTheClockWasSet(
    wireguards: Pair, clock: SettableClock, steps: tuple[int, ...]
) -> None:
    ours, theirs = wireguards.both
    wireguards.begin(ours)
    for number, ahead in enumerate(steps):
        clock.set(ahead)
        for end in wireguards.both:
            beginAgain(wireguards, end)
            end.untilReaches(wireguards.other(end))
            wireguards.other(end).pings(end)
            # Each end shows the time of its own clock.
            assert abs(ours.lastHandshake - ahead - theirs.lastHandshake) <= 5
        assert ours.counter("outInitiations") >= number + 2
    assert "replay" not in theirs.log()


def test_keepalivesPassWhenTheClockIsSet(wireguards: Pair, clock: SettableClock) -> None:
    ours, theirs = wireguards.both
    wireguards.begin(ours, PersistentKeepalive="1")
    # Keepalives of the other end would put off those of this end.
    theirs.set("persistent-keepalive", "0")
    for ahead in -HOUR, HOUR:
        clock.set(ahead)
        before = ours.counter("outKeepalives")
        began = time.monotonic()
        until(lambda: ours.counter("outKeepalives") >= before + 2, "keepalives from this end")  # noqa: B023
        # No more than one a second: a clock that was set forward makes none early.
        assert ours.counter("outKeepalives") - before <= time.monotonic() - began + 2


def test_theEndOfTheSocketIsNoticedAfterTheClockWasSetBack(wireguards: Pair, clock: SettableClock) -> None:
    ours, _ = wireguards.both
    wireguards.start(ours)
    clock.set(-HOUR)
    ours.pings(ours)
    ours.socketFile.unlink()
    until(lambda: ours.service.process.poll() is not None, "the end of the service")


def test_aProcessThatStartsWithAnEarlierClockIsRefusedUntilTheClockIsRight(
    wireguards: Pair, clock: SettableClock
) -> None:
    ours, theirs = wireguards.both
    wireguards.begin(ours)
    before = theirs.lastHandshake
    ours.kill()
    clock.set(-HOUR)
    ours.start()
    assert not ours.reaches(theirs)
    until(lambda: "handshake replay" in theirs.log(), "the refusal in wireguard-go's log")
    assert (ours.lastHandshake, theirs.lastHandshake) == (0, before)
    clock.set(0)
    # The initiation is repeated with the right time.
    ours.untilReaches(theirs)
    assert theirs.lastHandshake > before


def test_aProcessThatStartsWithAnEarlierClockAnswersItsPeer(wireguards: Pair, clock: SettableClock) -> None:
    ours, theirs = wireguards.both
    wireguards.begin(theirs)
    ours.kill()
    clock.set(-HOUR)
    ours.start()
    beginAgain(wireguards, theirs)
    theirs.untilReaches(ours)
    ours.pings(theirs)
    assert ours.counter("outInitiations") == 0
