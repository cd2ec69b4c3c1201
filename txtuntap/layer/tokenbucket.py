"""
A token bucket, which limits the rate of events.
"""

from __future__ import annotations


class TokenBucket:
    """
    A rate limit that permits C{burst} events at once, and C{rate} events a second in the long run.
    """

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled: float | None = None

    def take(self, now: float, spare: float = 0.0, count: int = 1) -> bool:
        """
        Take tokens for one or more events.

        @param now: the time in seconds. It may step backwards.
        @param spare: the number of tokens that must be left after the first event.
        @param count: the number of events. All are permitted if the first one is. The number of tokens may then become
            negative, so that later events wait longer.

        @return: whether the events may happen now.
        """
        if now != self._filled:
            # All packets of one read have the same time, and during a flood these are hundreds.
            self._fill(now)
        if self._tokens < 1 + spare:
            return False
        self._tokens -= count
        return True

    def has(self, now: float) -> bool:
        """
        Whether L{take} would permit an event now.

        @param now: the time in seconds.
        """
        if now != self._filled:
            self._fill(now)
        return self._tokens >= 1

    def charge(self, tokens: float) -> None:
        """
        Take tokens for something else that competes with the events, such as their refusal. The number of tokens may
        become negative, down to C{-burst}, so that later events wait longer.
        """
        self._tokens = max(-self._burst, self._tokens - tokens)

    def _fill(self, now: float) -> None:
        """
        Add the tokens of the time that has passed.
        """
        if self._filled is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
