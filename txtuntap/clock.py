"""
Time that passes when it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

#: Calls that were cancelled or put forward are swept once they are more than these, and more than half of all.
_MOST_STALE = 64


@implementer(IReactorTime)
class SimulationClock:
    """
    A clock for long simulations: L{advance} stops at the time of each call, which sees that time, and is made again as
    often as it asks for it. (C{task.Clock} jumps to the end first, and looks through all calls each time.)
    """

    def __init__(self) -> None:
        self._now = 0.0
        # Times first; calls of one time in the order in which they were asked for.
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._numbers = count()
        # Which of its entries a call is made by.
        self._entries: dict[DelayedCall, int] = {}

    def seconds(self) -> float:
        """
        The time, in seconds since the clock was made.
        """
        return self._now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """
        See C{IReactorTime}.

        @raise ValueError: C{delay} is negative.
        """
        if delay < 0:
            raise ValueError(f"a call is made after 0 seconds or more, not after {delay!r}")
        call = DelayedCall(self._now + delay, callable, args, kwargs, self._cancel, self._reset, self.seconds)
        self._push(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        """
        See C{IReactorTime}.
        """
        return list(self._entries)

    def advance(self, seconds: float) -> None:
        """
        Let time pass, and make the calls whose time it is.

        @param seconds: how much.

        @raise ValueError: it is negative.
        """
        if seconds < 0:
            raise ValueError(f"time passes by 0 seconds or more, not by {seconds!r}")
        end = self._now + seconds
        calls = self._calls
        while calls and calls[0][0] <= end:
            time, number, call = heappop(calls)
            if self._entries.get(call) != number:
                continue
            if call.getTime() > time:
                # It was put off.
                self._push(call)
                continue
            del self._entries[call]
            self._now = max(self._now, time)
            call.called = 1
            call.func(*call.args, **call.kw)
        self._now = max(self._now, end)

    def pump(self, timings: Any) -> None:
        """
        L{advance} by each of some durations, as C{task.Clock.pump} does.
        """
        for each in timings:
            self.advance(each)

    def _push(self, call: DelayedCall) -> None:
        number = self._entries[call] = next(self._numbers)
        heappush(self._calls, (call.getTime(), number, call))

    def _cancel(self, call: DelayedCall) -> None:
        del self._entries[call]
        stale = len(self._calls) - len(self._entries)
        if stale > _MOST_STALE and stale * 2 > len(self._calls):
            self._calls[:] = [each for each in self._calls if self._entries.get(each[2]) == each[1]]
            heapify(self._calls)

    def _reset(self, call: DelayedCall) -> None:
        # Of one that is put off, this is found out when its old time has come. This is one that is put forward.
        self._push(call)
