"""
Tests for timers and steady time, L{txtuntap.layer.timer}.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txtuntap import Host
from txtuntap.layer.timer import Timer, callLater, clockStepped, steadySeconds
from txtuntap.testing import SettableClock, SimulationClock


class SteadySecondsTests(SynchronousTestCase):
    def test_theSteadyTimeOfAReactorIsTheMachines(self) -> None:
        seconds: Callable[[], float] = time.perf_counter
        if sys.platform != "win32":
            clock = time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC
            seconds = partial(time.clock_gettime, clock)
        before = seconds()
        now = steadySeconds(IReactorTime(reactor))()
        self.assertTrue(before <= now <= seconds())

    def test_theSteadyTimeOfASettableClockIsItsOwn(self) -> None:
        clock = SettableClock()
        clock.setBy(1000)
        clock.advance(1)
        self.assertEqual((clock.seconds(), steadySeconds(clock)()), (1001, 1))

    def test_theSteadyTimeOfOtherClocksIsTheirSeconds(self) -> None:
        for clock in Clock(), SimulationClock(), MemoryReactorClock():
            clock.advance(3)
            self.assertEqual(steadySeconds(clock)(), 3)

    def test_theSteadyTimeOfAHostIsThatOfItsReactor(self) -> None:
        clock = SettableClock()
        host = Host([], reactor=clock)
        clock.setBy(-1000)
        clock.advance(1)
        self.assertEqual((host.seconds(), steadySeconds(host)()), (-999, 1))


class TimerTests(SynchronousTestCase):
    """
    Tests for a timer on a clock that is never set.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.rung: list[float] = []
        self.timer = Timer(self.clock, self.ring)

    def ring(self, *arguments: object) -> None:
        self.rung.append(self.clock.seconds())

    def pump(self, seconds: int) -> list[float]:
        self.clock.pump([1] * seconds)
        return self.rung

    def test_anArmedTimerCallsOnce(self) -> None:
        self.timer.arm(3)
        self.assertEqual((self.timer.armed, self.timer.deadline, self.timer.left), (True, 103, 3))
        self.assertEqual(self.pump(2), [])
        self.assertEqual(self.timer.left, 1)
        self.assertEqual(self.pump(10), [103])
        self.assertEqual((self.timer.armed, self.timer.deadline, self.timer.left), (False, None, inf))

    def test_aNewTimerIsNotArmed(self) -> None:
        self.assertEqual((self.timer.armed, self.timer.deadline, self.timer.left), (False, None, inf))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aTimerPassesItsArguments(self) -> None:
        called: list[object] = []
        Timer(self.clock, lambda *each: called.append(each), 1, "two").arm(0)
        self.clock.advance(0)
        self.assertEqual(called, [(1, "two")])

    def test_armingAgainDelaysOrAdvancesTheCall(self) -> None:
        self.timer.arm(2)
        self.timer.arm(5)
        self.assertEqual(self.pump(4), [])
        self.timer.arm(4)
        self.assertEqual(self.pump(1), [])
        self.timer.arm(1)
        self.assertEqual(self.pump(10), [106])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_armAtSetsTheDeadline(self) -> None:
        self.timer.armAt(102)
        self.assertEqual(self.pump(3), [102])
        self.timer.armAt(50)
        self.assertEqual(self.timer.left, 0)
        self.clock.advance(0)
        self.assertEqual(self.rung, [102, 103])

    def test_aStoppedTimerDoesNotCall(self) -> None:
        self.timer.stop()
        self.timer.arm(1)
        self.timer.stop()
        self.timer.stop()
        self.assertEqual((self.timer.armed, self.clock.getDelayedCalls()), (False, []))
        self.assertEqual(self.pump(3), [])

    def test_armingForInfinityStopsTheTimer(self) -> None:
        self.timer.arm(inf)
        self.assertFalse(self.timer.armed)
        self.timer.arm(1)
        self.timer.arm(inf)
        self.assertEqual((self.timer.armed, self.clock.getDelayedCalls()), (False, []))

    def test_aTimerMayBeArmedAgainByItsFunction(self) -> None:
        def again() -> None:
            self.assertFalse(timer.armed)
            self.ring()
            if len(self.rung) < 3:
                timer.arm(2)

        timer = Timer(self.clock, again)
        timer.arm(2)
        self.assertEqual(self.pump(20), [102, 104, 106])

    def test_aTimerIsNotArmedAfterItsFunctionRaises(self) -> None:
        timer = Timer(self.clock, lambda: 1 // 0)
        timer.arm(1)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1)
        self.assertFalse(timer.armed)
        timer.arm(1)
        self.assertTrue(timer.armed)

    def test_aRoundedDeadlineIsReached(self) -> None:
        # Sums of times are rounded, by a tenth of a microsecond at today's date.
        for clock in SettableClock(), SimulationClock():
            rung: list[float] = []
            clock.advance(1.8e9 + 1 / 3)
            timer = Timer(clock, lambda rung=rung: rung.append(1))
            for number in range(1, 100):
                timer.armAt(steadySeconds(clock)() + 1 / (7 * number))
                clock.advance(1)
                self.assertEqual(len(rung), number)


class SteppedTests(SynchronousTestCase):
    """
    Tests for timers when the wall clock is set.
    """

    def setUp(self) -> None:
        self.clock = SettableClock()
        self.clock.advance(1e6)
        self.rung: list[float] = []
        self.timer = Timer(self.clock, lambda: self.rung.append(self.clock.steadySeconds() - 1e6))

    def test_aStepForwardMakesNoCallEarly(self) -> None:
        for noticed in True, False:
            self.timer.arm(10)
            self.clock.setBy(3600, noticed)
            self.clock.pump([1] * 9)
            self.assertEqual(self.rung, [])
            self.assertEqual(self.timer.left, 1)
            self.clock.advance(1)
            self.assertEqual(len(self.rung), 1)
            del self.rung[:]

    def test_aStepBackMakesNoCallLate(self) -> None:
        self.timer.arm(10)
        self.clock.advance(4)
        self.clock.setBy(-3600)
        self.assertEqual(self.timer.left, 6)
        self.clock.pump([1] * 5)
        self.assertEqual(self.rung, [])
        self.clock.pump([1] * 5)
        self.assertEqual(self.rung, [10])

    def test_anUnnoticedStepBackMakesTheCallLate(self) -> None:
        # Twisted's reactors make every call late in this case. The other tests prove something only if the clock of
        # these tests does the same.
        self.timer.arm(10)
        self.clock.setBy(-3600, noticed=False)
        self.clock.pump([10] * 360)
        self.assertEqual(self.rung, [])
        self.clock.advance(10)
        self.assertEqual(self.rung, [3610])

    def test_armingAfterAnUnnoticedStepWaitsOnlyTheNewTime(self) -> None:
        self.timer.arm(10)
        self.clock.setBy(-3600, noticed=False)
        self.timer.arm(20)
        self.clock.pump([1] * 20)
        self.assertEqual(self.rung, [20])

    def test_anOverdueCallIsMadeAtTheNextTurn(self) -> None:
        self.timer.arm(10)
        self.clock.setBy(-3600, noticed=False)
        self.clock.advance(60)
        clockStepped(self.clock)
        self.clock.advance(0)
        self.assertEqual(self.rung, [60])

    def test_aStepDoesNotArmAStoppedTimer(self) -> None:
        self.timer.arm(10)
        self.timer.stop()
        self.clock.setBy(-3600)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timersOfOtherClocksAreNotReArmed(self) -> None:
        # Another clock may be the reactor of another thread, whose calls must not be touched from this one.
        for other in SettableClock(), Clock():
            timer = Timer(other, self.fail)
            timer.arm(10)
            (call,) = other.getDelayedCalls()
            self.timer.arm(10)
            (own,) = self.clock.getDelayedCalls()
            self.clock.setBy(-3600)
            self.assertEqual(other.getDelayedCalls(), [call])
            self.assertEqual(call.getTime(), 10)
            self.assertNotEqual(self.clock.getDelayedCalls(), [own])
            self.clock.advance(10)
            self.assertEqual(len(self.rung), 1)
            self.assertTrue(timer.armed)
            del self.rung[:]

    def test_everyTimerOfTheClockIsReArmed(self) -> None:
        # The second timer uses a host as its clock, which makes its calls by the same clock.
        for clock in self.clock, Host([], reactor=self.clock), self.clock:
            Timer(clock, self.rung.append, clock.seconds()).arm(10)
        self.clock.setBy(-3600)
        self.clock.advance(10)
        self.assertEqual(self.rung, [1e6, 1e6, 1e6])

    def test_delayedCallsWithoutATimerAreLeftAlone(self) -> None:
        # Other implementations of a reactor may list objects that are no DelayedCall.
        calls = [self.clock.callLater(10, self.fail), self.clock.callLater(10, int)]
        self.clock.calls.append(cast(Any, object()))
        clockStepped(self.clock)
        self.assertEqual(self.clock.calls.pop().__class__, object)
        self.assertEqual(self.clock.getDelayedCalls(), calls)

    def test_anUnreferencedTimerIsFreed(self) -> None:
        class Watched(Timer):
            gone = 0

            def __del__(self) -> None:
                Watched.gone += 1

        for armed in True, False:
            timer = Watched(self.clock, int)
            if armed:
                timer.arm(10)
            del timer
            gc.collect()
            self.assertEqual(Watched.gone, int(not armed))
        self.clock.advance(10)
        gc.collect()
        self.assertEqual(Watched.gone, 2)

    @given(
        st.lists(st.tuples(st.sampled_from(["arm", "advance", "set", "stop"]), st.integers(-4000, 4000)), max_size=40)
    )
    def test_callsAreMadeAsOnAClockThatIsNotSet(self, steps: list[tuple[str, int]]) -> None:
        rung: dict[bool, list[float]] = {}
        for isSet in True, False:
            clock = SettableClock()
            times = rung[isSet] = []
            timer = Timer(clock, lambda clock=clock, times=times: times.append(clock.steadySeconds()))
            for what, number in steps:
                if what == "arm":
                    timer.arm(abs(number))
                elif what == "advance":
                    for _ in range(abs(number) // 50):
                        clock.advance(50)
                elif what == "stop":
                    timer.stop()
                elif isSet:
                    clock.setBy(number)
        self.assertEqual(rung[True], rung[False])


class CallLaterTests(SynchronousTestCase):
    """
    Tests for C{callLater}, which serves Twisted's own classes.
    """

    def setUp(self) -> None:
        self.clock = SettableClock()
        self.calls: list[object] = []
        self.call = callLater(self.clock, 5, self.calls.append, "made")

    def test_callLaterReturnsADelayedCall(self) -> None:
        verifyObject(IDelayedCall, self.call)
        self.assertEqual((self.call.active(), self.call.getTime()), (True, 5))
        self.call.delay(2)
        self.assertEqual(self.call.getTime(), 7)
        self.call.reset(3)
        self.assertEqual(self.call.getTime(), 3)
        self.clock.advance(3)
        self.assertEqual((self.calls, self.call.active()), (["made"], False))

    def test_aCancelledCallIsNotMade(self) -> None:
        self.call.cancel()
        self.assertFalse(self.call.active())
        self.clock.advance(10)
        self.assertEqual((self.calls, self.clock.getDelayedCalls()), ([], []))

    def test_aCallIsInTimeWhenTheWallClockIsSet(self) -> None:
        for step in 3600, -3600:
            self.call.reset(5)
            self.calls.clear()
            self.clock.setBy(step)
            self.clock.advance(4.5)
            self.assertEqual(self.calls, [])
            self.clock.advance(0.5)
            self.assertEqual(self.calls, ["made"])
            self.call = callLater(self.clock, 5, self.calls.append, "made")
