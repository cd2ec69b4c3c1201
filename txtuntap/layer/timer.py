"""
Time that only passes, and calls that are due at a time.

Twisted's reactors tell the wall clock, which people and NTP set. A delayed call of theirs is kept by that clock: it
comes early when the clock is set forward, and sleeps through what the clock is set back by. Deadlines and ages are read
from a steady clock here, and L{clockStepped} sets right what waits in a reactor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.runtime import seconds as wallSeconds
from zope.interface import implementer

#: Seconds by which a call may be early. The sum of two times is rounded, and a wait for the rest could have no end.
GRAIN = 1e-6

#: The seconds that have passed on this machine, suspended or not, where the system has such a clock (Linux).
_machineSeconds: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


def steadySeconds(clock: IReactorTime) -> Callable[[], float]:
    """
    Find the function that tells the steady time of a clock. Look it up once for an object, not for each packet.

    @param clock: a reactor, whose own time is the machine's wall clock: it has the machine's steady time. A clock with
        a C{steadySeconds} of its own has that. Any other clock, such as a C{task.Clock}, has C{seconds}.

    @return: a function without arguments; its value is in seconds, from a beginning of the clock's own.
    """
    return _otherTime(clock) or clock.seconds


def _otherTime(clock: IReactorTime) -> Callable[[], float] | None:
    """
    Find the function that tells the steady time of a clock, where C{seconds} of that clock is another time; L{None}
    where it is the steady one.
    """
    own: Callable[[], float] | None = getattr(clock, "steadySeconds", None)
    if own is not None:
        return own
    # IReactorCore would not do: Twisted's MemoryReactorClock provides it, and has a time of its own.
    return _machineSeconds if clock.seconds is wallSeconds else None


class Timer:
    """
    One call that is due at a time, which may be put off, put forward, or stopped. Its function is called once for each
    time that it is armed.

    @ivar due: the function.
    @ivar deadline: when it is due, in steady seconds of its clock; L{None}: it is not armed.
    """

    __slots__ = ("_arguments", "_call", "_clock", "_steady", "deadline", "due")

    def __init__(self, clock: IReactorTime, due: Callable[..., object], *arguments: object) -> None:
        """
        @param clock: an C{IReactorTime}; the call is made by its C{callLater}.
        @param due: called with C{arguments} when the time has come. The timer is not armed then.
        """
        self._clock = clock
        # None where the clock's seconds() are steady: a bound method for each timer would cost as much memory as it.
        self._steady = _otherTime(clock)
        self.due = due
        self._arguments = arguments
        self._call: IDelayedCall | None = None
        self.deadline: float | None = None

    @property
    def armed(self) -> bool:
        """
        Whether a call is to come.
        """
        return self.deadline is not None

    @property
    def left(self) -> float:
        """
        The seconds until the call is due, 0 at least; infinity if none is.
        """
        if self.deadline is None:
            return inf
        return max(0.0, self.deadline - (self._clock.seconds() if self._steady is None else self._steady()))

    def arm(self, seconds: float) -> None:
        """
        Have the call come in so many seconds, and not when it was to come before.

        @param seconds: 0 (at the next turn of the reactor) or more; infinity: never.
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
            # Twisted puts a call off without a search for it.
            call.reset(seconds)
        else:
            call.cancel()
            self._call = self._clock.callLater(seconds, self._ring)

    def armAt(self, deadline: float) -> None:
        """
        Have the call come at a time, or at the next turn of the reactor where that is past.

        @param deadline: in steady seconds of the clock.
        """
        self.arm(max(0.0, deadline - (self._clock.seconds() if self._steady is None else self._steady())))

    def stop(self) -> None:
        """
        Have no call come. Where none was to come, nothing happens.
        """
        call, self._call, self.deadline = self._call, None, None
        if call is not None:
            call.cancel()

    def clockStepped(self) -> None:
        """
        Wait anew for what is left, because the wall clock was set.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = self._clock.callLater(self.left, self._ring)

    def _ring(self) -> None:
        if self._steady is not None and self.left > GRAIN:
            # The wall clock was set forward.
            self._call = self._clock.callLater(self.left, self._ring)
            return
        self._call = self.deadline = None
        self.due(*self._arguments)


@implementer(IDelayedCall)
class TimerCall(Timer):
    """
    A timer for a program that asks a reactor for delayed calls, such as one of Twisted's own classes: made by
    L{callLater}.
    """

    __slots__ = ()

    def getTime(self) -> float:
        """
        See C{IDelayedCall}.
        """
        return self._clock.seconds() + self.left

    def cancel(self) -> None:
        """
        See C{IDelayedCall}.
        """
        self.stop()

    def delay(self, secondsLater: float) -> None:
        """
        See C{IDelayedCall}.
        """
        self.arm(self.left + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        """
        See C{IDelayedCall}.
        """
        self.arm(secondsFromNow)

    def active(self) -> bool:
        """
        See C{IDelayedCall}.
        """
        return self.armed


def callLater(clock: IReactorTime, delay: float, due: Callable[..., object], *arguments: object) -> TimerCall:
    """
    Have a function called later, as C{IReactorTime.callLater} does; but neither early nor late where the wall clock is
    set meanwhile.

    @param delay: 0 seconds (at the next turn of the reactor) or more.
    """
    call = TimerCall(clock, due, *arguments)
    call.arm(delay)
    return call


def clockStepped(clock: IReactorTime) -> None:
    """
    Have every timer that waits by a clock wait for the time that is left, because the wall clock was set. A clock in
    another thread, and its timers, are left alone.

    @param clock: the clock that makes the calls, such as the reactor. Its timers are found among its delayed calls.
    """
    # A copy: task.Clock returns the very list that it keeps.
    for call in list(clock.getDelayedCalls()):
        timer = getattr(getattr(call, "func", None), "__self__", None)
        if isinstance(timer, Timer):
            timer.clockStepped()


__all__ = ["GRAIN", "Timer", "TimerCall", "callLater", "clockStepped", "steadySeconds"]
