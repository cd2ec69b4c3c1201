"""
The round-trip time, and the retransmission timeout that follows from it (RFC 6298, with the bounds of Linux).
"""

from __future__ import annotations

#: The retransmission timeout before there is a sample, in seconds (RFC 6298 section 2.1).
INITIAL_RTO = 1.0

#: The timeout after the SYN had to be sent again, and there is still no sample (RFC 6298 section 5.7).
RTO_AFTER_SYN = 3.0

#: The least time that the timeout is beyond the smoothed round-trip time, and the longest that backing off leads to.
#: (RFC 6298 has 1 s for the least timeout; Linux, which most peers are, has this.)
MIN_VARIATION = 0.2
MAX_RTO = 120.0

#: The seconds after which the least round-trip time is forgotten, since a path may have become longer.
_WINDOW = 300.0


class RoundTrip:
    """
    The estimate of the round-trip time of one connection. All times are in seconds.

    @ivar smoothed: the smoothed round-trip time (SRTT); 0 before the first sample.
    @ivar variation: how far samples are from it (RTTVAR).
    @ivar least: the least of the last five minutes; infinity before the first sample.
    @ivar latest: the latest sample.
    @ivar timeout: the retransmission timeout (RTO), before it is backed off.
    """

    __slots__ = ("_leastAt", "latest", "least", "smoothed", "timeout", "variation")

    def __init__(self) -> None:
        self.smoothed = 0.0
        self.variation = 0.0
        self.least = float("inf")
        self.latest = 0.0
        self.timeout = INITIAL_RTO
        self._leastAt = 0.0

    def sampled(self, seconds: float, now: float) -> None:
        """
        Take a sample. The caller has made sure that it is of something sent once, or identified by a timestamp (Karn).
        """
        self.latest = seconds
        if seconds <= self.least or now - self._leastAt > _WINDOW:
            self.least, self._leastAt = seconds, now
        smoothed = self.smoothed
        if smoothed:
            off = seconds - smoothed
            self.variation += ((off if off > 0 else -off) - self.variation) / 4
            self.smoothed = smoothed + off / 8
        else:
            # A round trip in the same instant, of a simulation, is a sample like any other.
            self.smoothed = seconds or 1e-9
            self.variation = seconds / 2
        variation = 4 * self.variation
        timeout = self.smoothed + (variation if variation > MIN_VARIATION else MIN_VARIATION)
        self.timeout = timeout if timeout < MAX_RTO else MAX_RTO
