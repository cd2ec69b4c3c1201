"""
The search for the segment size that a path takes, where a router drops larger ones in silence (RFC 4821).

Such a black hole looks like loss. So the size is made smaller only after several timeouts, and larger ones are tried
later, one segment at a time.
"""

from __future__ import annotations

from math import inf

#: Timeouts in a row after which a size is suspected: one that was never delivered, and one that was.
_TIMEOUTS_UNPROVEN = 3
_TIMEOUTS_PROVEN = 6

#: The sizes to fall back to, in octets of data, by IP version. With timestamps, IPv6's least MTU has room for 1208.
_SMALLER = {4: (1024, 512), 6: (1208,)}

#: Seconds until a larger size is tried after a failure, and after the largest was found.
_PAUSE = 10.0
_LONG_PAUSE = 600.0

#: The search ends when it is off by less than so many octets.
_NEAR = 32


class SizeSearch:
    """
    The search of one connection. All sizes are octets of data in one segment.

    @ivar most: the size that the route and the peer allow.
    @ivar size: the size to try next.
    @ivar position: the first position of the segment that tries it; -1: none is under way.
    @ivar nextAt: when to try, in seconds; infinity: C{most} is in use.
    """

    __slots__ = ("_high", "_version", "most", "nextAt", "position", "size")

    def __init__(self, version: int) -> None:
        """
        @param version: that of IP, 4 or 6.
        """
        self._version = version
        self.most = self._high = self.size = 0
        self.position = -1
        self.nextAt = inf

    def begin(self, most: int) -> None:
        """
        Forget what was suspected: the route and the peer allow another size now, and that is in use.
        """
        self.most = self._high = self.size = most
        self.position = -1
        self.nextAt = inf

    def suspected(self, size: int, first: int, largest: int, timeouts: int, now: float) -> int:
        """
        Choose a size after a timeout.

        @param size: the size in use.
        @param first: octets of the segment that is lost.
        @param largest: the largest size that was delivered.
        @param timeouts: timeouts in a row.

        @return: the size to use.
        """
        if timeouts < (_TIMEOUTS_UNPROVEN if first > largest else _TIMEOUTS_PROVEN):
            return size
        smaller = next((each for each in _SMALLER[self._version] if each < first), size)
        if smaller < size:
            self._high = self.size = self.most
            self.position = -1
            self.nextAt = now + _PAUSE
            return smaller
        return size

    def ended(self, size: int, largest: int, now: float) -> int:
        """
        Take the outcome of a try.

        @param size: the size in use.
        @param largest: the largest size that was delivered since there was a suspicion.

        @return: the size to use.
        """
        self.position = -1
        if largest >= self.size:
            size = self.size
            self.nextAt = now
        else:
            self._high = self.size - 1
            self.nextAt = now + _PAUSE
        if self._high - size < _NEAR:
            self.nextAt = inf if size >= self.most else now + _LONG_PAUSE
            self._high = self.most
        self.size = self.most if self._high == self.most else (size + self._high + 1) // 2
        return size
