"""
How much may be under way: the interface of every congestion control, and NewReno (RFC 5681, RFC 6582).

A control is an object of one connection. The sender tells it what happens on the path, and reads its C{window}. While
losses are repaired, the sender itself lets out as much as arrives (proportional rate reduction), down to C{threshold}.
"""

from __future__ import annotations

from math import inf

from zope.interface import Attribute, Interface, implementer

#: The segments that may be under way at first (RFC 6928; Linux counts segments whatever their size).
INITIAL_SEGMENTS = 10

#: The least window after a reduction, in segments.
_LEAST_SEGMENTS = 2


class ICongestionControl(Interface):
    """
    The control of one connection. A factory of controls, such as the class, is called without arguments.

    All sizes are in octets, all times in seconds of the connection's clock.
    """

    window: float = Attribute("How many octets may be under way, a finite number.")
    threshold: float = Attribute("The window at which slow start ends; infinity before the first loss.")
    rate: float | None = Attribute("Octets a second at which to send at most; L{None}: as the window allows.")

    def started(segmentSize: int) -> None:
        """
        The connection has been opened.

        @param segmentSize: the most octets of data in one segment.
        """

    def segmentSizeChanged(segmentSize: int) -> None:
        """
        The path takes segments of another size now. The window stays.
        """

    def acknowledged(octets: int, acknowledged: int, sent: int, now: float) -> None:
        """
        The peer has acknowledged data, no loss is being repaired, and the window was full: it may grow.

        @param octets: how many were delivered.
        @param acknowledged: the position up to which all is acknowledged: octets since the connection's beginning.
        @param sent: the position up to which data was sent.
        """

    def sampled(roundTrip: float, now: float) -> None:
        """
        A round-trip time was measured.
        """

    def lost(flight: int, now: float) -> None:
        """
        A segment was lost, the first since the last reduction was done: set C{threshold}, and C{window} to it.

        @param flight: octets under way before that.
        """

    def echoed(flight: int, now: float) -> None:
        """
        A router has marked a segment in place of dropping it (ECN): likewise. At most once a round trip.
        """

    def timedOut(flight: int, now: float) -> None:
        """
        The retransmission timer has run out: set C{threshold}, and C{window} to one segment.
        """

    def undone(now: float) -> None:
        """
        The last reduction was for nothing: the segment had only come late. Take it back.
        """

    def idle(seconds: float, timeout: float) -> None:
        """
        Nothing was under way for a while, and now something is about to be sent.

        @param timeout: the retransmission timeout.
        """


@implementer(ICongestionControl)
class NewReno:
    """
    Additive increase, multiplicative decrease: the oldest control, and the base of others.

    @cvar beta: what the window is multiplied with after a loss.
    """

    __slots__ = ("_before", "_credit", "rate", "segmentSize", "threshold", "window")

    beta = 0.5
    #: The factor of the window after a mark (RFC 3168; RFC 8511 allows more).
    betaOfMark = 0.5

    def __init__(self) -> None:
        self.segmentSize = 0
        self.window: float = 0
        self.threshold: float = inf
        self.rate: float | None = None
        self._credit = 0.0
        # Window and threshold before the last reduction.
        self._before: tuple[float, float] | None = None

    def started(self, segmentSize: int) -> None:
        """
        See L{ICongestionControl.started}.
        """
        self.segmentSize = segmentSize
        self.window = INITIAL_SEGMENTS * segmentSize

    def segmentSizeChanged(self, segmentSize: int) -> None:
        """
        See L{ICongestionControl.segmentSizeChanged}.
        """
        self.segmentSize = segmentSize
        self.window = max(self.window, segmentSize)

    def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
        """
        See L{ICongestionControl.acknowledged}.
        """
        octets = self._slowStarted(octets, octets)
        if octets:
            # One segment a window.
            self._credit += octets
            if self._credit >= self.window:
                self._credit -= self.window
                self.window += self.segmentSize

    def _slowStarted(self, octets: int, growth: float) -> int:
        """
        Grow the window in slow start, if that is not over.

        @param growth: by how much, at most.

        @return: how many of the octets that were delivered are left for the avoidance of congestion.
        """
        room = self.threshold - self.window
        if room <= 0:
            return octets
        if growth <= room:
            self.window += growth
            return 0
        self.window = self.threshold
        return octets - int(room)

    def sampled(self, roundTrip: float, now: float) -> None:
        """
        See L{ICongestionControl.sampled}.
        """

    def lost(self, flight: int, now: float) -> None:
        """
        See L{ICongestionControl.lost}.
        """
        self._reduce(self.beta)

    def echoed(self, flight: int, now: float) -> None:
        """
        See L{ICongestionControl.echoed}.
        """
        self._reduce(self.betaOfMark)

    def timedOut(self, flight: int, now: float) -> None:
        """
        See L{ICongestionControl.timedOut}.
        """
        self._reduce(self.beta)
        self.window = self.segmentSize

    def _reduce(self, beta: float) -> None:
        self._before = self.window, self.threshold
        self.threshold = max(self.window * beta, _LEAST_SEGMENTS * self.segmentSize)
        self.window = self.threshold
        self._credit = 0.0

    def undone(self, now: float) -> None:
        """
        See L{ICongestionControl.undone}.
        """
        if self._before is not None:
            window, threshold = self._before
            self._before = None
            self.window = max(self.window, window)
            self.threshold = max(self.threshold, threshold)

    def idle(self, seconds: float, timeout: float) -> None:
        """
        See L{ICongestionControl.idle}: the window falls by half for each timeout, to the initial one at least, as with
        Linux. The threshold keeps what was known of the path.
        """
        least = INITIAL_SEGMENTS * self.segmentSize
        if seconds <= timeout or self.window <= least:
            return
        if self.threshold < inf:
            self.threshold = max(self.threshold, self.window * 3 / 4)
        self.window = max(least, self.window * 0.5 ** int(seconds / timeout))
