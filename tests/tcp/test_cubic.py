"""
Tests for CUBIC (RFC 9438) and HyStart++ (RFC 9406), against the formulas of the RFCs.
"""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.cubic import Cubic

SIZE = 1000
C = 0.4
BETA = 0.7
ALPHA = 3 * (1 - BETA) / (1 + BETA)


def reduced(window: float, roundTrip: float = 0.1) -> Cubic:
    """
    Make a congestion control that has reduced its window after a loss.

    @param window: the window before the loss, in segments.
    """
    control = Cubic()
    control.started(SIZE)
    control.sampled(roundTrip, 0.0)
    control.window = window * SIZE
    control.lost(int(control.window), 0.0)
    return control


class CubicTests(SynchronousTestCase):
    """
    Tests for the cubic function.
    """

    def test_lossesAndMarksReduceTheWindow(self) -> None:
        """
        A loss reduces the window to 0.7 of it, and a mark to 0.85 (RFC 8511). The least window is two segments.
        """
        self.assertAlmostEqual(reduced(100).window, 70 * SIZE)
        self.assertAlmostEqual(reduced(100).threshold, 70 * SIZE)
        self.assertAlmostEqual(reduced(2).window, 2 * SIZE)
        control = reduced(100)
        control.window = 100 * SIZE
        control.echoed(0, 0.0)
        self.assertAlmostEqual(control.window, 85 * SIZE)

    def test_theWindowFollowsTheCubicFunction(self) -> None:
        """
        At each acknowledged segment, the window grows by the formulas of sections 4.2 to 4.5. This is checked over the
        concave part, the plateau and the convex part.
        """
        roundTrip = 0.1
        control = reduced(500, roundTrip)
        window = estimate = 350.0
        most = 500.0
        k = ((most - window) / C) ** (1 / 3)
        now = begun = 5.0
        regions = set()
        while now < begun + 2 * k:
            control.acknowledged(SIZE, 1, 2, now)
            t = now - begun
            estimate += (ALPHA if estimate < 500 else 1) / window
            if C * (t - k) ** 3 + most < estimate:
                window = max(window, estimate)
                regions.add("friendly")
            else:
                target = min(max(C * (t + roundTrip - k) ** 3 + most, window), 1.5 * window)
                window += (target - window) / window
                regions.add("concave" if t < k else "convex")
            self.assertAlmostEqual(control.window / SIZE, window, 6)
            now += roundTrip / window
        self.assertEqual(regions, {"friendly", "concave", "convex"})
        self.assertGreater(window, 550)

    def test_theWindowIsAtLeastThatOfNewReno(self) -> None:
        """
        If the cubic function grows slowly, the window is the one of NewReno (section 4.3). Above the window before the
        loss, it grows by one segment a round trip.
        """
        roundTrip = 0.001
        control = reduced(20, roundTrip)
        estimate = window = 14.0
        now = 5.0
        for _ in range(3000):
            control.acknowledged(SIZE, 1, 2, now)
            estimate += (ALPHA if estimate < 20 else 1) / window
            window = max(window, estimate)
            now += roundTrip / window
            self.assertAlmostEqual(control.window / SIZE, window, 2)
        self.assertGreater(window, 60)

    def test_fastConvergenceLowersTheMaximum(self) -> None:
        """
        After a loss below the last maximum, the function returns to (1 + 0.7) / 2 of the window only.
        """
        control = reduced(500)
        control.acknowledged(SIZE, 1, 2, 0.0)
        control.window = 400 * SIZE
        control.lost(0, 0.0)
        now, k = 1.0, ((400 * 0.85 - 280) / C) ** (1 / 3)
        while now < 1 + k - 0.1:
            control.acknowledged(SIZE, 1, 2, now)
            now += 0.1 / (control.window / SIZE)
        self.assertAlmostEqual(control.window / SIZE, 400 * 0.85, 2)

    def test_theFunctionStartsAgainAfterATimeout(self) -> None:
        """
        After a timeout, the plateau of the function is at the end of slow start (section 4.8).
        """
        control = reduced(100)
        control.window = 100 * SIZE
        control.timedOut(0, 0.0)
        self.assertEqual(control.window, SIZE)
        control.acknowledged(69 * SIZE, 1, 2, 1.0)
        self.assertAlmostEqual(control.window, 70 * SIZE)
        control.acknowledged(SIZE, 1, 2, 1.0)
        # K is 0, so the target is C * RTT^3 above the window, less than what NewReno adds.
        self.assertAlmostEqual(control.window / SIZE, 70 + ALPHA / 70, 6)

    def test_undoingRestoresTheFunction(self) -> None:
        """
        Undoing restores the window, and the function continues as before (section 4.9).
        """
        control, same = reduced(500), reduced(500)
        for each in (control, same):
            each.acknowledged(SIZE, 1, 2, 5.0)
        control.timedOut(0, 5.05)
        control.undone(5.1)
        for each in (control, same):
            each.acknowledged(SIZE, 1, 2, 5.15)
        self.assertEqual(control.window, same.window)
        self.assertEqual(control.threshold, same.threshold)

    def test_timeWithoutAFullWindowDoesNotCount(self) -> None:
        """
        Time in which the window was not full does not count, so the window does not jump afterwards (section 5.8).
        """
        control, same = reduced(500), reduced(500)
        for each in (control, same):
            each.acknowledged(SIZE, 1, 2, 5.0)
        same.acknowledged(SIZE, 1, 2, 5.1)
        control.acknowledged(SIZE, 1, 2, 1000.0)
        self.assertAlmostEqual(control.window, same.window)


class HyStartTests(SynchronousTestCase):
    """
    Tests for slow start with HyStart++. The method C{round} acknowledges one window of segments with a given round-trip
    time.
    """

    def setUp(self) -> None:
        self.control = Cubic()
        self.control.started(SIZE)
        self.position = 0

    def round(self, count: int, roundTrip: float) -> None:
        end = self.position + 1000 * count
        for _ in range(count):
            self.position += 1000
            self.control.sampled(roundTrip, 0.0)
            sent = end + 1000 * count if self.position == end else end
            self.control.acknowledged(SIZE, self.position, sent, 0.0)

    def test_aSteadyRoundTripDoublesTheWindow(self) -> None:
        """
        If the round-trip time stays the same, the window doubles in each round.
        """
        self.round(10, 0.1)
        self.round(20, 0.1)
        self.assertEqual(self.control.window, 40 * SIZE)

    def test_aLongerRoundTripStartsCSS(self) -> None:
        """
        If eight samples of a round are longer by an eighth, the window grows at a quarter of the speed. After five such
        rounds, slow start ends.
        """
        self.round(10, 0.1)
        self.round(10, 0.1126)
        # Seven samples are too few, so growth is slow from the eighth on.
        self.assertEqual(self.control.window, (20 + 7 + 3 / 4) * SIZE)
        for _ in range(3):
            self.round(8, 0.1126)
        self.assertEqual(self.control.window, (27.75 + 3 * 2) * SIZE)
        self.assertEqual(self.control.threshold, inf)
        self.round(10, 0.1126)
        self.round(10, 0.1126)
        self.assertLess(self.control.threshold, inf)

    def test_aSmallRiseIsIgnored(self) -> None:
        """
        A rise of the round-trip time by less than an eighth or less than 4 ms is ignored.
        """
        for roundTrip in (0.1, 0.112, 0.001, 0.0049, 0.008):
            self.round(10, roundTrip)
        self.assertEqual(self.control.window, 60 * SIZE)

    def test_theNecessaryRiseHasBounds(self) -> None:
        """
        The necessary rise is an eighth of the round-trip time, but at least 4 ms and at most 16 ms.
        """
        self.round(10, 0.001)
        self.round(10, 0.0051)
        self.assertEqual(self.control.window, 27.75 * SIZE)
        self.setUp()
        self.round(10, 1.0)
        self.round(10, 1.017)
        self.assertEqual(self.control.window, 27.75 * SIZE)

    def test_aShorterRoundTripEndsCSS(self) -> None:
        """
        A shorter round-trip time ends CSS, and the window grows fast again.
        """
        self.round(10, 0.1)
        self.round(10, 0.12)
        self.round(10, 0.101)
        window = self.control.window
        self.round(10, 0.101)
        self.assertEqual(self.control.window, window + 10 * SIZE)
