"""
The clock of a simulation, whose time passes only when L{SimulationClock.advance} is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from txtuntap.layer.timer import Timer

#: The most calls that are made at one instant. The clock regards more calls as an endless loop. A bulk transfer over a
#: link without delay needs a few calls for each of its packets.
MOST_AT_ONCE = 10_000_000

#: The number of further calls that are made and recorded, so that the error can name the functions in the loop.
_RECORDED = 1000

#: The C{number} of a call that was made, and of one that was cancelled.
_CALLED, _CANCELLED = -1, -2

#: The number of stale entries that may stay. An entry is stale once its call was cancelled, or moved to an earlier
#: time. Stale entries are removed when there are more of them than this, and more than half of all entries are stale.
_MOST_STALE = 64


class EndlessError(RuntimeError):
    """
    The error of a simulation in which time stands still: each call schedules another one at the same instant.
    """


@implementer(IDelayedCall)
class _Call:
    """
    A call that a L{SimulationClock} is to make. A simulation has very many of them, and Twisted's C{DelayedCall} takes
    five times the memory.

    @ivar time: the time of the call, in seconds.
    @ivar entered: the time in the valid entry of the call. It is earlier than C{time} if the call was delayed.
    @ivar number: the number of the valid entry. All other entries of the call are stale.
    """

    __slots__ = ("_clock", "args", "entered", "func", "kw", "number", "time")

    def __init__(
        self, clock: SimulationClock, time: float, func: Callable[..., Any], args: Any, kw: dict[str, Any], number: int
    ) -> None:
        self._clock = clock
        self.time = self.entered = time
        self.func = func
        self.args = args
        # Few calls have keyword arguments, and an empty dictionary takes as much memory as half of this object.
        self.kw = kw or None
        self.number = number

    def getTime(self) -> float:
        """
        Return the time of the call: see C{IDelayedCall.getTime}.
        """
        return self.time

    def cancel(self) -> None:
        """
        Cancel the call: see C{IDelayedCall.cancel}.
        """
        self._check()
        self.number = _CANCELLED
        # The stale entry must not keep objects alive.
        self.func, self.args, self.kw = _nothing, (), None
        self._clock._outdated()

    def reset(self, secondsFromNow: float) -> None:
        """
        Move the call: see C{IDelayedCall.reset}.
        """
        self._check()
        self._move(self._clock.seconds() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        """
        Delay the call: see C{IDelayedCall.delay}.
        """
        self._check()
        self._move(self.time + secondsLater)

    def active(self) -> bool:
        """
        Return whether the call is still to be made: see C{IDelayedCall.active}.
        """
        return self.number >= 0

    def _check(self) -> None:
        if self.number < 0:
            raise AlreadyCancelled if self.number == _CANCELLED else AlreadyCalled

    def _move(self, time: float) -> None:
        self.time = time
        if time < self.entered:
            self._clock._enter(self)
            self._clock._outdated()


def _nothing() -> None:
    """
    The function of a cancelled call, which is never called.
    """


@implementer(IReactorTime)
class SimulationClock:
    """
    A clock for long simulations. L{advance} stops at the time of each delayed call, so that each call sees its own
    time. A call that schedules itself again is made at each of its times. C{task.Clock} is different: it jumps to the
    end before it makes any call, and it sorts all calls whenever a call is scheduled.
    """

    def __init__(self, mostAtOnce: int = MOST_AT_ONCE) -> None:
        """
        @param mostAtOnce: the most calls that are made at one instant before L{advance} gives up.

        @raise ValueError: C{mostAtOnce} is less than 1.
        """
        if not mostAtOnce >= 1:
            raise ValueError(f"mostAtOnce is a number of calls, 1 or more, not {mostAtOnce!r}")
        self._mostAtOnce = mostAtOnce
        self._now = 0.0
        # A heap of entries: the time, a number, and the call. The number keeps calls for one time in the order in which
        # they were scheduled.
        self._calls: list[tuple[float, int, _Call]] = []
        self._numbers = count()
        self._stale = 0
        # All objects of a simulation share this bound method. Otherwise each of them would keep one of 64 octets.
        self.seconds = self.seconds  # type: ignore[method-assign]

    def seconds(self) -> float:
        """
        The time, in seconds since the clock was made.
        """
        return self._now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """
        Schedule a call: see C{IReactorTime}.

        @raise ValueError: C{delay} is negative.
        """
        if not delay >= 0:
            raise ValueError(f"a call is made after 0 seconds or more, not after {delay!r}")
        time = self._now + delay
        number = next(self._numbers)
        call = _Call(self, time, callable, args, kwargs, number)
        # This line repeats _enter(), because a simulation does this most often, and a function call would slow it down.
        heappush(self._calls, (time, number, call))
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """
        List the scheduled calls, in no order: see C{IReactorTime}.
        """
        return [call for _, number, call in self._calls if call.number == number]

    def untilNext(self) -> float | None:
        """
        The number of seconds until the next scheduled call; C{None} if no call is scheduled.
        """
        call = self._next()
        return None if call is None else max(0.0, call.time - self._now)

    def advance(self, seconds: float) -> None:
        """
        Let time pass, and make the calls that fall due. If a call raises, its exception is raised here, and the clock
        stays at the time of that call.

        @param seconds: the number of seconds that pass.

        @raise ValueError: C{seconds} is negative.
        @raise EndlessError: more calls than C{mostAtOnce} are made at one instant. The error names the latest of them.
        """
        if not seconds >= 0:
            raise ValueError(f"time passes by 0 seconds or more, not by {seconds!r}")
        end = self._now + seconds
        left = most = self._mostAtOnce
        seen: Counter[str] = Counter()
        calls = self._calls
        while calls:
            time, number, call = calls[0]
            if call.number != number or call.time > time:
                # The entry is stale, or its call was delayed. _next() removes or moves it.
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
                if left < -_RECORDED:
                    raise EndlessError(_explained(most, self._now, seen))
                seen[_described(call.func)] += 1
            heappop(calls)
            call.number = _CALLED
            if call.kw is None:
                call.func(*call.args)
            else:
                call.func(*call.args, **call.kw)
        self._now = max(self._now, end)

    def pump(self, timings: Iterable[float]) -> None:
        """
        Call L{advance} for each of some durations in seconds, as C{task.Clock.pump} does.
        """
        for each in timings:
            self.advance(each)

    def _next(self) -> _Call | None:
        """
        Return the call that is due first, and remove stale entries before it; C{None} if there is no call.
        """
        calls = self._calls
        while calls:
            time, number, call = calls[0]
            if call.number != number:
                heappop(calls)
                self._stale -= 1
            elif call.time > time:
                # The call was delayed, so its entry moves to the new time.
                heappop(calls)
                self._enter(call)
            else:
                return call
        return None

    def _enter(self, call: _Call) -> None:
        """
        Make a new entry for the present time of a call. The previous entry becomes stale.
        """
        call.entered = call.time
        call.number = next(self._numbers)
        heappush(self._calls, (call.time, call.number, call))

    def _outdated(self) -> None:
        """
        Count a stale entry, and remove all if there are many.
        """
        self._stale += 1
        if self._stale > _MOST_STALE and self._stale * 2 > len(self._calls):
            self._calls[:] = [each for each in self._calls if each[2].number == each[1]]
            heapify(self._calls)
            self._stale = 0


def _described(function: Callable[..., Any]) -> str:
    """
    Name a function for an error text, with the object that it is a method of.
    """
    name = getattr(function, "__qualname__", None) or repr(function)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, Timer):
        return _described(owner.due)
    return name if owner is None else f"{name} of {owner!r}"


def _explained(most: int, now: float, seen: Counter[str]) -> str:
    """
    Return the text of an L{EndlessError}.

    @param most: the number of calls that were allowed at one instant.
    @param now: the time of the clock, in seconds.
    @param seen: the number of recent calls by the name of their function.
    """
    lately = "; ".join(f"{count} times {name}" for name, count in seen.most_common(10))
    return (
        f"{most} calls were made at {now:g} seconds, and they do not end: does a packet circulate on links"
        f" without a delay? The latest {seen.total()} calls: {lately}"
    )
