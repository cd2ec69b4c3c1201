"""
CUBIC (RFC 9438) with HyStart++ (RFC 9406): the congestion control of most hosts, and so the default here.
"""

from __future__ import annotations

from math import inf
from typing import Final

from txtuntap.tcp.congestion import NewReno

#: How steep the cubic function is, in segments a second cubed (RFC 9438 section 5).
_C: Final = 0.4

#: HyStart++ (RFC 9406 section 4.3): by how much the least round-trip time of a round, in seconds, has to be above that
#: of the one before; samples that a round needs; how much slower the window grows in conservative slow start (CSS), and
#: for how many rounds.
_LEAST_RISE, _MOST_RISE, _RISE_DIVISOR = 0.004, 0.016, 8
_SAMPLES = 8
_CSS_DIVISOR = 4
_CSS_ROUNDS = 5


class Cubic(NewReno):
    """
    The window is a cubic function of the time since the last reduction: it comes back fast to where the loss was, stays
    there for a while, and only then looks for more.

    Windows of the function are counted in segments, as in the RFC.
    """

    __slots__ = (
        "_baseline",
        "_cssRounds",
        "_epoch",
        "_estimate",
        "_grownAt",
        "_isOver",
        "_k",
        "_leastBefore",
        "_leastNow",
        "_most",
        "_origin",
        "_prior",
        "_reduced",
        "_roundEnd",
        "_roundTrip",
        "_samples",
    )

    beta = 0.7
    #: A mark comes from a queue that is short (RFC 8511 section 3.1).
    betaOfMark = 0.85

    def __init__(self) -> None:
        super().__init__()
        #: The window before the last reduction (cwnd_prior), and what the function comes back to (W_max).
        self._prior = 0.0
        self._most = 0.0
        #: When this epoch of congestion avoidance has begun; L{None}: at the next acknowledgment.
        self._epoch: float | None = None
        self._k = 0.0
        self._origin = 0.0
        #: The window that NewReno would have by now (W_est).
        self._estimate = 0.0
        self._roundTrip = 0.0
        #: When the window was full last.
        self._grownAt = 0.0
        #: The function before the last reduction.
        self._reduced: tuple[bool, float, float, float | None, float, float, float] | None = None
        # HyStart++
        self._isOver = False
        self._roundEnd = 0
        self._leastBefore = inf
        self._leastNow = inf
        self._samples = 0
        #: The round-trip time at which CSS has begun; infinity: it has not.
        self._baseline = inf
        self._cssRounds = 0

    def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
        """
        See L{ICongestionControl.acknowledged<txtuntap.tcp.congestion.ICongestionControl.acknowledged>}.
        """
        if self.window < self.threshold:
            if not self._isOver and acknowledged >= self._roundEnd:
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
            self._origin = max(window, self._most)
            self._k = ((self._origin - window) / _C) ** (1 / 3)
        elif pause > 2 * self._roundTrip:
            # The time in which less was sent than the window allows does not count (RFC 9438 section 5.8).
            self._epoch += pause - self._roundTrip
        # Reno-friendly: the window is never less than what NewReno would have (RFC 9438 section 4.3).
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
        See L{ICongestionControl.sampled<txtuntap.tcp.congestion.ICongestionControl.sampled>}.
        """
        self._roundTrip = roundTrip
        if self._isOver or self.window >= self.threshold:
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
            # The delay had another cause than a queue of ours.
            self._baseline = inf

    def _roundEnds(self, sent: int) -> None:
        """
        A round of HyStart++ is over: all that was under way when it began is acknowledged.
        """
        isFirst = not self._roundEnd
        self._roundEnd = sent
        if isFirst:
            # The first round is that of the initial window.
            return
        if self._baseline < inf:
            self._cssRounds += 1
            if self._cssRounds >= _CSS_ROUNDS:
                self.threshold = self.window
                self._isOver = True
        self._leastBefore, self._leastNow, self._samples = self._leastNow, inf, 0

    def _reduce(self, beta: float) -> None:
        self._reduced = self._isOver, self._prior, self._most, self._epoch, self._k, self._origin, self._estimate
        window = self._prior = self.window / self.segmentSize
        # Fast convergence: a smaller maximum than before leaves room to others (RFC 9438 section 4.7).
        self._most = window * (1 + self.beta) / 2 if window < self._most else window
        self._epoch = None
        self._isOver = True
        super()._reduce(beta)

    def timedOut(self, flight: int, now: float) -> None:
        """
        See L{ICongestionControl.timedOut<txtuntap.tcp.congestion.ICongestionControl.timedOut>}. The function begins
        anew where slow start ends (RFC 9438 section 4.8).
        """
        super().timedOut(flight, now)
        self._most = 0.0

    def undone(self, now: float) -> None:
        """
        See L{ICongestionControl.undone<txtuntap.tcp.congestion.ICongestionControl.undone>}: the function goes on, too
        (RFC 9438 section 4.9).
        """
        super().undone(now)
        if self._reduced is not None:
            (self._isOver, self._prior, self._most, self._epoch, self._k, self._origin, self._estimate) = self._reduced
            self._reduced = None
