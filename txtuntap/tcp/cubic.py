"""
CUBIC with HyStart++: the congestion control of most hosts, and the default here.

Read RFC 9438 (CUBIC) and RFC 9406 (HyStart++) first.
"""

from __future__ import annotations

from math import inf
from typing import Final

from txtuntap.tcp.congestion import NewReno

#: The steepness of the cubic function, in segments per cubic second (RFC 9438 section 5).
_C: Final = 0.4

# The constants of HyStart++ (RFC 9406 section 4.3). Slow start becomes conservative slow start (CSS) when the least
# round-trip time of a round exceeds that of the previous round by a certain rise.

#: The least rise, in seconds (MIN_RTT_THRESH).
_LEAST_RISE = 0.004
#: The greatest rise, in seconds (MAX_RTT_THRESH).
_MOST_RISE = 0.016
#: The divisor by which the rise is computed from the least round-trip time of the previous round (MIN_RTT_DIVISOR).
_RISE_DIVISOR = 8
#: The number of round-trip times that a round needs before it is compared (N_RTT_SAMPLE).
_SAMPLES = 8
#: The divisor of the window's growth in CSS (CSS_GROWTH_DIVISOR).
_CSS_DIVISOR = 4
#: The number of rounds of CSS after which slow start has ended (CSS_ROUNDS).
_CSS_ROUNDS = 5


class Cubic(NewReno):
    """
    The congestion control CUBIC, whose window is a cubic function of the time since the last reduction. The window
    grows fast to the size at which the loss occurred, stays near this size for a while, and then grows faster again.

    The function counts windows in segments, as in the RFC.
    """

    __slots__ = (
        "_baseline",
        "_cssRounds",
        "_epoch",
        "_estimate",
        "_grownAt",
        "_k",
        "_leastBefore",
        "_leastNow",
        "_origin",
        "_prior",
        "_reduced",
        "_roundEnd",
        "_roundTrip",
        "_samples",
        "_slowStartOver",
        "_wMax",
    )

    beta = 0.7
    #: The factor by which an ECN mark reduces the window. The factor is larger than C{beta}, because a router with a
    #: short queue sends marks, and a larger reduction would leave the link idle (RFC 8511 section 3.1).
    betaOfMark = 0.85

    def __init__(self) -> None:
        super().__init__()
        #: The window before the last reduction, in segments (cwnd_prior).
        self._prior = 0.0
        #: The window to which the function returns, in segments (W_max).
        self._wMax = 0.0
        #: When this epoch of congestion avoidance has begun, in seconds. C{None}: the next acknowledgment begins it.
        self._epoch: float | None = None
        #: The seconds from the beginning of the epoch until the function reaches C{_origin} (K).
        self._k = 0.0
        #: The window at which the function is flat, in segments.
        self._origin = 0.0
        #: The window that NewReno would have by now, in segments (W_est).
        self._estimate = 0.0
        self._roundTrip = 0.0
        #: The time of the last growth in congestion avoidance, in seconds. The window grows only after it was full.
        self._grownAt = 0.0
        #: The state of the function before the last reduction, which L{undone} restores. C{None}: there is none.
        self._reduced: tuple[bool, float, float, float | None, float, float, float] | None = None
        # HyStart++
        self._slowStartOver = False
        self._roundEnd = 0
        self._leastBefore = inf
        self._leastNow = inf
        self._samples = 0
        #: The least round-trip time of the round in which CSS has begun, in seconds. Infinity: CSS is not in progress.
        self._baseline = inf
        self._cssRounds = 0

    def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
        """
        Grow the window by slow start, CSS or the cubic function. See
        L{ICongestionControl.acknowledged<txtuntap.tcp.congestion.ICongestionControl.acknowledged>}.
        """
        if self.window < self.threshold:
            if not self._slowStartOver and acknowledged >= self._roundEnd:
                self._roundEnds(sent)
            growth = octets / _CSS_DIVISOR if self._baseline < inf else octets
            octets = self._slowStarted(octets, growth)
        if octets and self.window >= self.threshold:
            self._avoid(octets, now)

    def _avoid(self, octets: int, now: float) -> None:
        size = self.segmentSize
        window = self.window / size
        pause = now - self._grownAt
        self._grownAt = now
        if self._epoch is None:
            self._epoch = now
            self._estimate = window
            self._origin = max(window, self._wMax)
            self._k = ((self._origin - window) / _C) ** (1 / 3)
        elif pause > 2 * self._roundTrip:
            # Move the epoch by the time in which the window was not full, so that this time causes no growth (RFC 9438
            # section 5.8).
            self._epoch += pause - self._roundTrip
        # In the Reno-friendly region, the window is at least the one of NewReno (RFC 9438 section 4.3).
        alpha = 1.0 if self._estimate >= self._prior else 3 * (1 - self.beta) / (1 + self.beta)
        self._estimate += alpha * octets / size / window
        time = now - self._epoch - self._k
        if self._origin + _C * time**3 < self._estimate:
            self.window = max(self.window, self._estimate * size)
        else:
            target = min(max(window, self._origin + _C * (time + self._roundTrip) ** 3), 1.5 * window)
            self.window += (target - window) / window * octets

    def sampled(self, roundTrip: float, now: float) -> None:
        """
        Begin CSS if the round-trip time has risen. Return from CSS to slow start if the round-trip time has fallen
        again. See L{ICongestionControl.sampled<txtuntap.tcp.congestion.ICongestionControl.sampled>}.
        """
        self._roundTrip = roundTrip
        if self._slowStartOver or self.window >= self.threshold:
            return
        self._samples += 1
        if roundTrip < self._leastNow:
            self._leastNow = roundTrip
        least = self._leastNow
        if self._samples < _SAMPLES or self._leastBefore == inf:
            return
        if self._baseline == inf:
            rise = min(max(self._leastBefore / _RISE_DIVISOR, _LEAST_RISE), _MOST_RISE)
            if least >= self._leastBefore + rise:
                self._baseline, self._cssRounds = least, 0
        elif least < self._baseline:
            # The delay has fallen again, so our own queue was not its cause.
            self._baseline = inf

    def _roundEnds(self, sent: int) -> None:
        """
        End a round of HyStart++ and begin the next one. The peer has acknowledged all data that was sent before the
        ended round began.

        @param sent: the position up to which data was sent. The next round ends when the peer acknowledges it.
        """
        isFirst = not self._roundEnd
        self._roundEnd = sent
        if isFirst:
            # There was no round before this one.
            return
        if self._baseline < inf:
            self._cssRounds += 1
            if self._cssRounds >= _CSS_ROUNDS:
                self.threshold = self.window
                self._slowStartOver = True
        self._leastBefore, self._leastNow, self._samples = self._leastNow, inf, 0

    def _reduce(self, beta: float) -> None:
        self._reduced = self._slowStartOver, self._prior, self._wMax, self._epoch, self._k, self._origin, self._estimate
        window = self._prior = self.window / self.segmentSize
        # Fast convergence: reduce the maximum further, so that other connections get a share (RFC 9438 section 4.7).
        self._wMax = window * (1 + self.beta) / 2 if window < self._wMax else window
        self._epoch = None
        self._slowStartOver = True
        super()._reduce(beta)

    def timedOut(self, flight: int, now: float) -> None:
        """
        Reduce the window to one segment. The function starts again where slow start ends (RFC 9438 section 4.8). See
        L{ICongestionControl.timedOut<txtuntap.tcp.congestion.ICongestionControl.timedOut>}.
        """
        super().timedOut(flight, now)
        self._wMax = 0.0

    def undone(self, now: float) -> None:
        """
        Undo the last reduction of the window and of the function (RFC 9438 section 4.9). See
        L{ICongestionControl.undone<txtuntap.tcp.congestion.ICongestionControl.undone>}.
        """
        super().undone(now)
        if self._reduced is not None:
            (self._slowStartOver, self._prior, self._wMax, self._epoch, self._k, self._origin, self._estimate) = (
                self._reduced
            )
            self._reduced = None
