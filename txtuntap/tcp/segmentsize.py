"""
The search for the segment size of a path whose routers drop larger segments without an ICMP error. Read RFC 4821 first.

A path of this kind (a black hole) looks like packet loss. So the size is reduced only after several timeouts. Larger
sizes are probed later, by one segment at a time.
"""

from __future__ import annotations

from math import inf

#: The consecutive timeouts after which a size is suspected, if no segment of this size was ever delivered.
_TIMEOUTS_UNPROVEN = 3
#: The consecutive timeouts after which a size is suspected, if a segment of this size was delivered.
_TIMEOUTS_PROVEN = 6

#: The sizes to fall back to, in octets of data, by IP version. With timestamps, 1208 octets fit the least MTU of IPv6.
_SMALLER = {4: (1024, 512), 6: (1208,)}

#: The seconds from a suspicion or a failed probe to the next probe.
_PAUSE = 10.0
#: The seconds until the next probe, after the search has ended below the largest size.
_LONG_PAUSE = 600.0

#: The search ends when the largest possible size and the size in use differ by fewer octets than this.
_NEAR = 32


class SizeSearch:
    """
    The search of one connection. All sizes are octets of data in one segment.

    @ivar most: the size that the route and the peer allow.
    @ivar size: the size to probe next.
    @ivar position: the first position of the probe. -1: no probe is unanswered.
    @ivar nextAt: when to send the next probe, in seconds. Infinity: never, because C{most} is in use.
    """

    __slots__ = ("_high", "_version", "most", "nextAt", "position", "size")

    def __init__(self, version: int) -> None:
        """
        @param version: the IP version, 4 or 6.
        """
        self._version = version
        self.most = self._high = self.size = 0
        self.position = -1
        self.nextAt = inf

    def begin(self, most: int) -> None:
        """
        Start with the size that the route and the peer allow, and forget all suspicions.
        """
        self.most = self._high = self.size = most
        self.position = -1
        self.nextAt = inf

    def suspected(self, size: int, first: int, largest: int, timeouts: int, now: float) -> int:
        """
        Choose the size to use after a timeout.

        @param size: the size in use.
        @param first: the size of the lost segment.
        @param largest: the largest size that was delivered.
        @param timeouts: the number of consecutive timeouts.
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
        Choose the size to use after a probe, and the size and time of the next one.

        @param size: the size in use.
        @param largest: the largest size that was delivered since the suspicion.
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
