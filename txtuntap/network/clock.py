"""
Time that passes when it is told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from txtuntap.layer.timer import Timer

#: Calls that are made at one instant before the clock takes them to go on for ever. A bulk transfer over a link without
#: delay takes some for each of its packets.
MOST_AT_ONCE = 10_000_000

#: Calls beyond these that are made to tell what goes on.
_LOOKED_AT = 1000

#: Calls that were cancelled or put forward are swept once they are more than these, and more than half of all.
_MOST_STALE = 64


class EndlessError(RuntimeError):
    """
    Time does not pass: one call leads to another at the same instant, and the number of them has no end.
    """


@implementer(IReactorTime)
class SimulationClock:
    """
    A clock for long simulations: L{advance} stops at the time of each call, which sees that time, and is made again as
    often as it asks for it. (C{task.Clock} jumps to the end first, and looks through all calls each time.)
    """

    def __init__(self, mostAtOnce: int = MOST_AT_ONCE) -> None:
        """
        @param mostAtOnce: how many calls are made at one instant before L{advance} gives up.

        @raise ValueError: it is less than 1.
        """
        if not mostAtOnce >= 1:
            raise ValueError(f"1 or more calls are made at one instant, not {mostAtOnce!r}")
        self._mostAtOnce = mostAtOnce
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
        if not delay >= 0:
            raise ValueError(f"a call is made after 0 seconds or more, not after {delay!r}")
        time = self._now + delay
        call = DelayedCall(time, callable, args, kwargs, self._cancel, self._reset, self.seconds)
        # As _push() does: a call less, in what a simulation does most.
        number = self._entries[call] = next(self._numbers)
        heappush(self._calls, (time, number, call))
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        """
        See C{IReactorTime}.
        """
        return list(self._entries)

    def untilNext(self) -> float | None:
        """
        How many seconds there are until the next call; L{None} if nothing will ever happen.
        """
        call = self._next()
        return None if call is None else max(0.0, call.time - self._now)

    def advance(self, seconds: float) -> None:
        """
        Let time pass, and make the calls whose time it is. What one of them raises comes out of here; the rest of time
        has not passed then.

        @param seconds: how much.

        @raise ValueError: it is negative.
        @raise EndlessError: more calls are made at one instant than may be; it names the latest of them.
        """
        if not seconds >= 0:
            raise ValueError(f"time passes by 0 seconds or more, not by {seconds!r}")
        end = self._now + seconds
        left = most = self._mostAtOnce
        seen: Counter[str] = Counter()
        calls, entries = self._calls, self._entries
        while calls:
            time, number, call = calls[0]
            if call.delayed_time or entries.get(call) != number:
                # An entry that is stale, or comes later than it is filed.
                if self._next() is None:
                    break
                continue
            if time > end:
                break
            if time > self._now:
                self._now = time
                left = most
            left -= 1
            if left < 0:
                if left < -_LOOKED_AT:
                    raise EndlessError(_explained(most, self._now, seen))
                seen[_described(call.func)] += 1
            heappop(calls)
            del entries[call]
            call.called = 1
            call.func(*call.args, **call.kw)
        self._now = max(self._now, end)

    def pump(self, timings: Iterable[float]) -> None:
        """
        L{advance} by each of some durations, as C{task.Clock.pump} does.
        """
        for each in timings:
            self.advance(each)

    def _next(self) -> DelayedCall | None:
        """
        The call that is to be made first: that of the first entry.
        """
        calls = self._calls
        while calls:
            _, number, call = calls[0]
            if self._entries.get(call) != number:
                heappop(calls)
            elif call.delayed_time:
                # It was put off. It is put forward again relative to the time that it is filed under.
                heappop(calls)
                call.activate_delay()
                self._push(call)
            else:
                return call
        return None

    def _push(self, call: DelayedCall) -> None:
        number = self._entries[call] = next(self._numbers)
        heappush(self._calls, (call.getTime(), number, call))

    def _cancel(self, call: DelayedCall) -> None:
        del self._entries[call]
        self._sweep()

    def _reset(self, call: DelayedCall) -> None:
        # The call has been put forward. (A call that was put off is found out when its old time has come.)
        self._push(call)
        self._sweep()

    def _sweep(self) -> None:
        stale = len(self._calls) - len(self._entries)
        if stale > _MOST_STALE and stale * 2 > len(self._calls):
            self._calls[:] = [each for each in self._calls if self._entries.get(each[2]) == each[1]]
            heapify(self._calls)


def _described(function: Callable[..., Any]) -> str:
    """
    Name a function for people, with the object that it is a method of.
    """
    name = getattr(function, "__qualname__", None) or repr(function)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, Timer):
        return _described(owner.due)
    return name if owner is None else f"{name} of {owner!r}"


def _explained(most: int, now: float, seen: Counter[str]) -> str:
    """
    Why the clock gives up.

    @param seen: how often each thing was called lately.
    """
    lately = "; ".join(f"{count} times {name}" for name, count in seen.most_common(10))
    return (
        f"{most} calls were made at {now:g} seconds, and there is no end of them: does a packet go round on links"
        f" without a delay? Of the latest {seen.total()} calls: {lately}"
    )
