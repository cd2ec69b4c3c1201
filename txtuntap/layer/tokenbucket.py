"""
How often something may happen.
"""

from __future__ import annotations


class TokenBucket:
    """
    Permits C{burst} at once, and C{rate} a second in the long run.
    """

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled: float | None = None

    def take(self, now: float, spare: float = 0.0, count: int = 1) -> bool:
        """
        @param now: seconds; may step backwards.
        @param spare: tokens that must be left over.
        @param count: how many things are about to happen. One is permitted if the first of them is, and what they are
            more than there are tokens for is owed.

        @return: whether it may happen now.
        """
        if self._filled is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1 + spare:
            return False
        self._tokens -= count
        return True
