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
    A control after a loss.

    @param window: the segments at the time of that.
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

    def test_reduction(self) -> None:
        """
        A loss leaves 0.7 of the window, a mark 0.85 (RFC 8511); two segments are the least.
        """
        self.assertAlmostEqual(reduced(100).window, 70 * SIZE)
        self.assertAlmostEqual(reduced(100).threshold, 70 * SIZE)
        self.assertAlmostEqual(reduced(2).window, 2 * SIZE)
        control = reduced(100)
        control.window = 100 * SIZE
        control.echoed(0, 0.0)
        self.assertAlmostEqual(control.window, 85 * SIZE)

    def test_function(self) -> None:
        """
        In each acknowledgment of a segment, the window grows as sections 4.2 to 4.5 have it: over the concave part, the
        plateau, and the convex part.
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

    def test_friendly(self) -> None:
        """
        Where the cubic function is slow, the window is the one that NewReno would have (section 4.3): from the window
        before the loss on, a segment a round trip.
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

    def test_fastConvergence(self) -> None:
        """
        A loss below the last maximum makes room: the function comes back to (1 + 0.7) / 2 of the window.
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

    def test_afterTimeout(self) -> None:
        """
        After a timeout and slow start, the function begins with its plateau where slow start ends (section 4.8).
        """
        control = reduced(100)
        control.window = 100 * SIZE
        control.timedOut(0, 0.0)
        self.assertEqual(control.window, SIZE)
        control.acknowledged(69 * SIZE, 1, 2, 1.0)
        self.assertAlmostEqual(control.window, 70 * SIZE)
        control.acknowledged(SIZE, 1, 2, 1.0)
        # K is 0: C * RTT^3 above the window.
        self.assertAlmostEqual(control.window / SIZE, 70 + ALPHA / 70, 6)

    def test_undone(self) -> None:
        """
        Undoing brings the window back, and the function goes on where it was (section 4.9).
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

    def test_timeThatIsNotLimited(self) -> None:
        """
        Time in which the window was not full does not count: the window does not jump afterwards (section 5.8).
        """
        control, same = reduced(500), reduced(500)
        for each in (control, same):
            each.acknowledged(SIZE, 1, 2, 5.0)
        same.acknowledged(SIZE, 1, 2, 5.1)
        control.acknowledged(SIZE, 1, 2, 1000.0)
        self.assertAlmostEqual(control.window, same.window)


class HyStartTests(SynchronousTestCase):
    """
    Tests for HyStart++: C{round} has a window acknowledged, with the round-trip times given. The next one has as many.
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

    def test_steady(self) -> None:
        """
        With the same round-trip time, the window doubles.
        """
        self.round(10, 0.1)
        self.round(20, 0.1)
        self.assertEqual(self.control.window, 40 * SIZE)

    def test_slower(self) -> None:
        """
        Where each round trip of eight samples takes an eighth longer, the window grows by a quarter only; after five
        rounds, slow start is over.
        """
        self.round(10, 0.1)
        self.round(10, 0.1126)
        # Seven samples are too few; from the eighth on, growth is slow.
        self.assertEqual(self.control.window, (20 + 7 + 3 / 4) * SIZE)
        for _ in range(3):
            self.round(8, 0.1126)
        self.assertEqual(self.control.window, (27.75 + 3 * 2) * SIZE)
        self.assertEqual(self.control.threshold, inf)
        self.round(10, 0.1126)
        self.round(10, 0.1126)
        self.assertLess(self.control.threshold, inf)

    def test_notEnough(self) -> None:
        """
        A rise of less than an eighth, or less than 4 ms, means nothing.
        """
        for roundTrip in (0.1, 0.112, 0.001, 0.0049, 0.008):
            self.round(10, roundTrip)
        self.assertEqual(self.control.window, 60 * SIZE)

    def test_rise(self) -> None:
        """
        A rise of 4 ms is enough where that is more than an eighth, and one of 16 ms where that is less.
        """
        self.round(10, 0.001)
        self.round(10, 0.0051)
        self.assertEqual(self.control.window, 27.75 * SIZE)
        self.setUp()
        self.round(10, 1.0)
        self.round(10, 1.017)
        self.assertEqual(self.control.window, 27.75 * SIZE)

    def test_falseAlarm(self) -> None:
        """
        A round-trip time that is smaller again brings fast growth back.
        """
        self.round(10, 0.1)
        self.round(10, 0.12)
        self.round(10, 0.101)
        window = self.control.window
        self.round(10, 0.101)
        self.assertEqual(self.control.window, window + 10 * SIZE)
