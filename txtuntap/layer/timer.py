"""
Timers, and a steady time that is never set.

The time of Twisted's reactors is the wall clock, which users and NTP set. A reactor's delayed call is early when the
clock is set forward, and late when the clock is set back. The timers here take deadlines and ages from a steady clock.
L{clockStepped} re-arms the delayed calls of all timers after the wall clock was set.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.runtime import seconds as wallSeconds
from zope.interface import implementer

#: The number of seconds by which a call may be early. The sum of two times is rounded, so a timer that waited for the
#: smallest remainder could wait without end.
GRAIN = 1e-6


def _machineClock() -> Callable[[], float]:
    """
    Choose the machine's steady clock. On Linux and Windows, the time during which the machine is suspended counts, too.
    """
    if sys.platform == "win32":
        # Before Python 3.13, time.monotonic advances only each 15.6 ms there.
        return time.perf_counter
    return partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


#: The machine's steady time in seconds.
_machineSeconds = _machineClock()


def steadySeconds(clock: IReactorTime) -> Callable[[], float]:
    """
    Return the function that returns the steady time of a clock. An object calls this once, and not for each packet.

    @param clock: the clock. If it has a method C{steadySeconds}, that method is the result. For a reactor, whose
        C{seconds} is the machine's wall clock, the result is the machine's steady clock. For any other clock, such as a
        C{task.Clock}, the result is its C{seconds}.

    @return: a function without arguments, which returns seconds since a start that depends on the clock.
    """
    return _otherTime(clock) or clock.seconds


def _otherTime(clock: IReactorTime) -> Callable[[], float] | None:
    """
    Return the function that returns the steady time of a clock; C{None} if the method C{seconds} of the clock is that
    function.
    """
    own: Callable[[], float] | None = getattr(clock, "steadySeconds", None)
    if own is not None:
        return own
    # A test for IReactorCore would be wrong: Twisted's MemoryReactorClock provides it, but its seconds are its own.
    return _machineSeconds if clock.seconds is wallSeconds else None


class Timer:
    """
    A timer, which calls a function once each time that it is armed. An armed timer can be armed again for an earlier or
    a later time, or stopped.

    @ivar due: the function to call.
    @ivar deadline: the time of the call, in steady seconds of the clock; C{None}: the timer is not armed.
    """

    __slots__ = ("_arguments", "_call", "_clock", "_steady", "deadline", "due")

    def __init__(self, clock: IReactorTime, due: Callable[..., object], *arguments: object) -> None:
        """
        @param clock: an C{IReactorTime}, whose C{callLater} makes the call.
        @param due: called with C{arguments} at the deadline. At that time the timer is not armed.
        """
        self._clock = clock
        # None where the clock's seconds() are steady. A bound method would take as much memory as the timer itself.
        self._steady = _otherTime(clock)
        self.due = due
        self._arguments = arguments
        self._call: IDelayedCall | None = None
        self.deadline: float | None = None

    @property
    def armed(self) -> bool:
        """
        Whether a call is pending.
        """
        return self.deadline is not None

    @property
    def left(self) -> float:
        """
        The number of seconds until the deadline, at least 0; infinity if the timer is not armed.
        """
        if self.deadline is None:
            return inf
        return max(0.0, self.deadline - (self._clock.seconds() if self._steady is None else self._steady()))

    def arm(self, seconds: float) -> None:
        """
        Set the deadline to a number of seconds from now. It replaces the previous deadline.

        @param seconds: 0 or more. With 0, the call is made at the next turn of the reactor. Infinity stops the timer.
        """
        if seconds == inf:
            self.stop()
            return
        call, before = self._call, self.deadline
        steady = self._steady
        deadline = self.deadline = (self._clock.seconds() if steady is None else steady()) + seconds
        if before is None or call is None:
            self._call = self._clock.callLater(seconds, self._ring)
        elif deadline >= before:
            # Delaying a call is cheap in Twisted: the reactor moves it only when its old time is reached.
            call.reset(seconds)
        else:
            call.cancel()
            self._call = self._clock.callLater(seconds, self._ring)

    def armAt(self, deadline: float) -> None:
        """
        Set the deadline to a time. If that is in the past, the call is made at the next turn of the reactor.

        @param deadline: the time, in steady seconds of the clock.
        """
        self.arm(max(0.0, deadline - (self._clock.seconds() if self._steady is None else self._steady())))

    def stop(self) -> None:
        """
        Cancel the pending call. Do nothing if the timer is not armed.
        """
        call, self._call, self.deadline = self._call, None, None
        if call is not None:
            call.cancel()

    def clockStepped(self) -> None:
        """
        Make a new delayed call for the remaining time, because the wall clock was set.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = self._clock.callLater(self.left, self._ring)

    def _ring(self) -> None:
        if self._steady is not None and self.left > GRAIN:
            # The wall clock was set forward, so the reactor made the call too early.
            self._call = self._clock.callLater(self.left, self._ring)
            return
        self._call = self.deadline = None
        self.due(*self._arguments)


@implementer(IDelayedCall)
class TimerCall(Timer):
    """
    A timer with the interface of a reactor's delayed call, for code that expects one, such as Twisted's own classes.
    L{callLater} makes it.
    """

    __slots__ = ()

    def getTime(self) -> float:
        """
        Return the time of the call in seconds, by the clock's C{seconds}.
        """
        return self._clock.seconds() + self.left

    def cancel(self) -> None:
        """
        Cancel the call, as in C{IDelayedCall}.
        """
        self.stop()

    def delay(self, secondsLater: float) -> None:
        """
        Delay the call by a number of seconds, as in C{IDelayedCall}.
        """
        self.arm(self.left + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        """
        Set the call to a number of seconds from now, as in C{IDelayedCall}.
        """
        self.arm(secondsFromNow)

    def active(self) -> bool:
        """
        Return whether the call is pending, as in C{IDelayedCall}.
        """
        return self.armed


def callLater(clock: IReactorTime, delay: float, due: Callable[..., object], *arguments: object) -> TimerCall:
    """
    Call a function later, as C{IReactorTime.callLater} does, but in time even if the wall clock is set meanwhile.

    @param delay: the number of seconds, 0 or more. With 0, the call is made at the next turn of the reactor.
    """
    call = TimerCall(clock, due, *arguments)
    call.arm(delay)
    return call


def clockStepped(clock: IReactorTime) -> None:
    """
    Re-arm every timer of a clock for its remaining time, because the wall clock was set. Timers of other clocks, such
    as a reactor in another thread, are left alone.

    @param clock: the clock that makes the calls, such as the reactor. Its timers are found among its delayed calls.
    """
    # The list is copied, because task.Clock returns its own list, and re-arming changes that.
    for call in list(clock.getDelayedCalls()):
        timer = getattr(getattr(call, "func", None), "__self__", None)
        if isinstance(timer, Timer):
            timer.clockStepped()


__all__ = ["GRAIN", "Timer", "TimerCall", "callLater", "clockStepped", "steadySeconds"]
