"""
The estimate of the round-trip time, and the retransmission timeout that is computed from it.

Read RFC 6298 first. The bounds of the timeout are those of Linux.
"""

from __future__ import annotations

#: The retransmission timeout before there is a sample, in seconds (RFC 6298 section 2.1).
INITIAL_RTO = 1.0

#: The timeout after a retransmitted SYN, if there is still no sample (RFC 6298 section 5.7), in seconds.
RTO_AFTER_SYN = 3.0

#: The least difference between the timeout and the smoothed round-trip time, in seconds. (RFC 6298 asks for a timeout
#: of at least 1 s. Linux, the system of most peers, has this bound and the next one.)
MIN_VARIATION = 0.2

#: The greatest timeout in seconds, with or without backoff.
MAX_RTO = 120.0

#: The age in seconds from which on any sample replaces the least round-trip time, because the path may have become
#: longer.
_WINDOW = 300.0


class RoundTrip:
    """
    The estimate of the round-trip time of one connection. All times are in seconds.

    @ivar smoothed: the smoothed round-trip time (SRTT). 0 before the first sample.
    @ivar variation: the mean deviation of the samples (RTTVAR).
    @ivar least: the least sample. After five minutes, the next sample replaces it. Infinity before the first sample.
    @ivar latest: the latest sample.
    @ivar timeout: the retransmission timeout (RTO), without backoff.
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
        Update the estimate by a sample. The measured segment was sent only once, or a timestamp identifies it (Karn's
        algorithm).

        @param seconds: the measured round-trip time.
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
            # A round trip in a simulation may take no time. The value 0 would mean that there is no sample.
            self.smoothed = seconds or 1e-9
            self.variation = seconds / 2
        variation = 4 * self.variation
        timeout = self.smoothed + (variation if variation > MIN_VARIATION else MIN_VARIATION)
        self.timeout = timeout if timeout < MAX_RTO else MAX_RTO
