"""
Congestion control: the interface of all congestion controls, and NewReno.

Read RFC 5681 first, then RFC 6582. A control is an object of one connection. The sender calls its methods at events on
the path, and reads its C{window}. During a recovery, the sender itself reduces the data in flight to C{threshold}, in
proportion to the data that arrives (PRR, RFC 6937).
"""

from __future__ import annotations

from math import inf

from zope.interface import Attribute, Interface, implementer

#: The initial congestion window in segments (RFC 6928). As in Linux, the number is the same for each segment size.
INITIAL_SEGMENTS = 10

#: The least congestion window after a reduction, in segments.
_LEAST_SEGMENTS = 2


class ICongestionControl(Interface):
    """
    The congestion control of one connection. Its factory, which may be its class, is called without arguments.

    All sizes are in octets. All times are in seconds of the connection's clock.
    """

    window: float = Attribute(
        "The congestion window: the most octets in flight. It is a finite number. The sender sets it, too: to one"
        " segment after a timeout, and to C{threshold} after a recovery."
    )
    threshold: float = Attribute("The window at which slow start ends. Infinity: the first slow start has not ended.")
    rate: float | None = Attribute("The most octets to send a second. C{None}: only the window limits.")

    def started(segmentSize: int) -> None:
        """
        Begin, because the handshake is complete.

        @param segmentSize: the octets of data in one full segment.
        """

    def segmentSizeChanged(segmentSize: int) -> None:
        """
        Use another segment size from now on, because the path has changed. The window stays the same.

        @param segmentSize: the octets of data in one full segment.
        """

    def acknowledged(octets: int, acknowledged: int, sent: int, now: float) -> None:
        """
        Grow the window, because the peer has acknowledged data. The window was full when that data was sent. In slow
        start, it is enough that more than half of the window was in flight. No fast recovery is in progress.

        @param octets: the number of newly delivered octets.
        @param acknowledged: the acknowledged position, which is the number of octets since the connection's beginning.
        @param sent: the position up to which data was sent.
        """

    def sampled(roundTrip: float, now: float) -> None:
        """
        Note a measured round-trip time.

        @param roundTrip: the round-trip time in seconds.
        """

    def lost(flight: int, now: float) -> None:
        """
        Reduce the window at the first loss of a recovery: set C{threshold}, and set C{window} to the same value.

        @param flight: the octets in flight before the loss.
        """

    def echoed(flight: int, now: float) -> None:
        """
        Reduce the window as C{lost} does, because a router has marked a segment instead of dropping it (ECN). The
        sender calls this at most once a round trip.

        @param flight: the octets in flight before the mark.
        """

    def timedOut(flight: int, now: float) -> None:
        """
        Reduce the window after a retransmission timeout: set C{threshold}, and set C{window} to one segment. At a
        timeout after another timeout or during a fast recovery, the sender only sets C{window}, without this call.

        @param flight: the octets in flight before the timeout.
        """

    def undone(now: float) -> None:
        """
        Undo the last reduction, because the segments were not lost but only late.
        """

    def idle(seconds: float, timeout: float) -> None:
        """
        Reduce the window after an idle time, before new data is sent.

        @param seconds: the time since data was sent last.
        @param timeout: the retransmission timeout.
        """


@implementer(ICongestionControl)
class NewReno:
    """
    NewReno, the oldest congestion control: additive increase and multiplicative decrease. Other controls inherit from
    it.

    @cvar beta: the factor by which a loss reduces the window.
    """

    __slots__ = ("_before", "_credit", "rate", "segmentSize", "threshold", "window")

    beta = 0.5
    #: The factor by which an ECN mark reduces the window (RFC 3168). RFC 8511 allows a larger one.
    betaOfMark = 0.5

    def __init__(self) -> None:
        self.segmentSize = 0
        self.window: float = 0
        self.threshold: float = inf
        self.rate: float | None = None
        self._credit = 0.0
        # The window and the threshold before the last reduction.
        self._before: tuple[float, float] | None = None

    def started(self, segmentSize: int) -> None:
        """
        Begin with the initial window. See L{ICongestionControl.started}.
        """
        self.segmentSize = segmentSize
        self.window = INITIAL_SEGMENTS * segmentSize

    def segmentSizeChanged(self, segmentSize: int) -> None:
        """
        Use another segment size. See L{ICongestionControl.segmentSizeChanged}.
        """
        self.segmentSize = segmentSize
        self.window = max(self.window, segmentSize)

    def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
        """
        Grow the window by slow start or by congestion avoidance. See L{ICongestionControl.acknowledged}.
        """
        octets = self._slowStarted(octets, octets)
        if octets:
            # Grow by one segment for each window of delivered data.
            self._credit += octets
            if self._credit >= self.window:
                self._credit -= self.window
                self.window += self.segmentSize

    def _slowStarted(self, octets: int, growth: float) -> int:
        """
        Grow the window in slow start, if it is below the threshold.

        @param octets: the number of newly delivered octets.
        @param growth: the most octets by which the window grows.

        @return: the delivered octets that are left for congestion avoidance.
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
        Ignore a round-trip time. See L{ICongestionControl.sampled}.
        """

    def lost(self, flight: int, now: float) -> None:
        """
        Reduce the window after a loss. See L{ICongestionControl.lost}.
        """
        self._reduce(self.beta)

    def echoed(self, flight: int, now: float) -> None:
        """
        Reduce the window after an ECN mark. See L{ICongestionControl.echoed}.
        """
        self._reduce(self.betaOfMark)

    def timedOut(self, flight: int, now: float) -> None:
        """
        Reduce the window to one segment after a timeout. See L{ICongestionControl.timedOut}.
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
        Undo the last reduction of the window. See L{ICongestionControl.undone}.
        """
        if self._before is not None:
            window, threshold = self._before
            self._before = None
            self.window = max(self.window, window)
            self.threshold = max(self.threshold, threshold)

    def idle(self, seconds: float, timeout: float) -> None:
        """
        Halve the window for each retransmission timeout of idle time, like Linux, but not below the initial window. A
        finite threshold becomes at least three quarters of the previous window, so that slow start leads back to about
        that size. See L{ICongestionControl.idle}.
        """
        least = INITIAL_SEGMENTS * self.segmentSize
        if seconds <= timeout or self.window <= least:
            return
        if self.threshold < inf:
            self.threshold = max(self.threshold, self.window * 3 / 4)
        self.window = max(least, self.window * 0.5 ** int(seconds / timeout))
