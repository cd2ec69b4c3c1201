"""
Tests for L{txtuntap.network.clock}: the clock of a simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txtuntap.network.clock import MOST_AT_ONCE, EndlessError, SimulationClock

#: A step of a test: the action, the number of the call that it changes, and a number of seconds.
Step: TypeAlias = "tuple[str, int, int]"

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["later", "later", "cancel", "reset", "delay", "advance"]), st.integers(0, 5), st.integers(0, 9)
    ),
    max_size=40,
)


def play(clock: Any, steps: list[Step], advance: Callable[[int], None]) -> list[Any]:
    """
    Do some steps with a clock.

    @param advance: a function that advances the clock by a number of seconds.

    @return: the calls that were made, each with its time; the times of the scheduled calls after each step; and the
        errors of refused steps.
    """
    made: list[Any] = []
    calls: list[IDelayedCall] = []
    for action, which, seconds in steps:
        if action == "later":
            # Each call has a fraction of its own, so that no two calls are due at one time. The order of such calls is
            # not specified.
            moment = seconds + (len(calls) + 1) / 1024
            calls.append(clock.callLater(moment, lambda number: made.append((clock.seconds(), number)), len(calls)))
        elif action == "advance":
            advance(seconds)
        elif which < len(calls):
            try:
                if action == "cancel":
                    calls[which].cancel()
                elif action == "reset":
                    calls[which].reset(seconds + (which + 1) / 1024)
                else:
                    calls[which].delay(seconds - 4)
            except (AlreadyCalled, AlreadyCancelled) as e:
                made.append(type(e))
        made.append(sorted(each.getTime() for each in clock.getDelayedCalls()))
    advance(100)
    return made


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SimulationClock()

    def test_theClockProvidesIReactorTime(self) -> None:
        verifyObject(IReactorTime, self.clock)
        verifyObject(IDelayedCall, self.clock.callLater(0, list))

    @given(STEPS)
    def test_theSameCallsAreMadeAsByTwistedsClock(self, steps: list[Step]) -> None:
        theirs, ours = Clock(), SimulationClock()

        def advanceCallByCall(seconds: int) -> None:
            # Twisted's clock jumps to the end, so it is advanced to the time of each call.
            end = theirs.seconds() + seconds
            while (due := [each.getTime() for each in theirs.calls]) and min(due) <= end:
                theirs.advance(max(0, min(due) - theirs.seconds()))
            theirs.advance(end - theirs.seconds())

        self.assertEqual(play(ours, steps, ours.advance), play(theirs, steps, advanceCallByCall))

    def test_eachCallSeesItsOwnTime(self) -> None:
        seen: list[float] = []
        for moment in 3, 1, 2:
            self.clock.callLater(moment, lambda: seen.append(self.clock.seconds()))
        self.clock.advance(10)
        self.assertEqual((seen, self.clock.seconds()), ([1, 2, 3], 10))

    def test_aRepeatedCallIsMadeEachTime(self) -> None:
        seen: list[float] = []

        def again() -> None:
            seen.append(self.clock.seconds())
            self.clock.callLater(1, again)

        again()
        self.clock.advance(3)
        self.assertEqual(seen, [0, 1, 2, 3])

    def test_callsForOneTimeAreMadeInTheOrderOfScheduling(self) -> None:
        seen: list[int] = []
        for number in range(5):
            self.clock.callLater(1, seen.append, number)
        self.clock.advance(1)
        self.assertEqual(seen, [0, 1, 2, 3, 4])

    def test_aDelayedCallCanBeMovedEarlierAgain(self) -> None:
        seen: list[float] = []
        call = self.clock.callLater(10, lambda: seen.append(self.clock.seconds()))
        call.reset(20)
        self.clock.advance(12)
        call.reset(3)
        self.clock.advance(10)
        self.assertEqual(seen, [15])

    def test_pumpAdvancesByEachDuration(self) -> None:
        self.clock.pump([1, 2, 3])
        self.assertEqual(self.clock.seconds(), 6)

    def test_untilNextIsTheTimeToTheFirstCall(self) -> None:
        self.assertIsNone(self.clock.untilNext())
        first = self.clock.callLater(1, list)
        self.clock.callLater(5, list)
        self.assertEqual(self.clock.untilNext(), 1)
        first.cancel()
        self.assertEqual(self.clock.untilNext(), 5)

    def test_negativeTimesAreRefused(self) -> None:
        for seconds in -1, float("nan"):
            self.assertRaises(ValueError, self.clock.advance, seconds)
            self.assertRaises(ValueError, self.clock.callLater, seconds, list)

    def test_anExceptionStopsTheClockAtItsCall(self) -> None:
        seen: list[int] = []
        self.clock.callLater(1, int, "no number")
        self.clock.callLater(2, seen.append, 2)
        self.assertRaises(ValueError, self.clock.advance, 5)
        self.assertEqual((self.clock.seconds(), seen), (1, []))
        self.clock.advance(1)
        self.assertEqual(seen, [2])

    def test_cancelledCallsAreSwept(self) -> None:
        kept = self.clock.callLater(1000, list)
        for _ in range(1000):
            self.clock.callLater(500, list).cancel()
            kept.reset(self.clock.seconds() + 900)
            self.assertLess(len(self.clock._calls), 200)
        self.assertEqual(self.clock.getDelayedCalls(), [kept])

    def test_entriesOfCallsMovedEarlierAreSwept(self) -> None:
        call = self.clock.callLater(10_000, list)
        for number in range(5000):
            call.reset(9_000 - number)
            self.assertLess(len(self.clock._calls), 200)


class EndlessTests(SynchronousTestCase):
    """
    Tests of calls that schedule further calls at the same instant.
    """

    def setUp(self) -> None:
        self.clock = SimulationClock(mostAtOnce=5000)
        self.made = 0

    def again(self, count: float, delay: float = 0) -> None:
        self.made += 1
        if self.made < count:
            self.clock.callLater(delay, self.again, count, delay)

    def test_theErrorNamesTheLatestCalls(self) -> None:
        self.clock.advance(3)
        self.again(math.inf)
        error = self.assertRaises(EndlessError, self.clock.advance, 10)
        self.assertIn("5000 calls were made at 3 seconds", str(error))
        self.assertIn(f"1000 times EndlessTests.again of {self!r}", str(error))
        self.assertEqual((self.made, self.clock.seconds()), (6001, 3))

    def test_delaysBelowThePrecisionOfTheClockAreEndless(self) -> None:
        self.clock.advance(1e9)
        self.again(math.inf, 1e-9)
        self.assertRaises(EndlessError, self.clock.advance, 10)

    def test_aFewMoreCallsThanTheLimitAreMade(self) -> None:
        self.again(6000)
        self.clock.advance(1)
        self.assertEqual((self.made, self.clock.seconds()), (6000, 1))

    def test_theLimitCountsAnewAtEachInstant(self) -> None:
        self.again(50_000, 1e-6)
        for _ in range(10):
            self.clock.callLater(0.5, self.again, 0)
        self.clock.advance(1)
        self.assertEqual(self.made, 50_010)

    def test_theDefaultLimitIsTenMillion(self) -> None:
        self.assertEqual(MOST_AT_ONCE, 10_000_000)
        self.assertRaises(ValueError, SimulationClock, 0)
