"""
Tests for the round-trip time and the timeout (RFC 6298).
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.rtt import INITIAL_RTO, MAX_RTO, RoundTrip


class RoundTripTests(SynchronousTestCase):
    """
    Tests for the estimate in L{RoundTrip}.
    """

    def test_theFirstSampleSetsTheTimeout(self) -> None:
        """
        Before the first sample, the timeout is a second. The first sample R sets it to R + 4 * R/2.
        """
        estimate = RoundTrip()
        self.assertEqual(estimate.timeout, INITIAL_RTO)
        estimate.sampled(0.2, 1.0)
        self.assertEqual((estimate.smoothed, estimate.variation), (0.2, 0.1))
        self.assertAlmostEqual(estimate.timeout, 0.6)

    def test_laterSamplesAreSmoothed(self) -> None:
        """
        Later samples count an eighth for the round-trip time and a quarter for the variation (RFC 6298 section 2.3).
        """
        estimate = RoundTrip()
        random = Random(1)
        samples = [random.uniform(0.05, 2) for _ in range(50)]
        smoothed, variation = samples[0], samples[0] / 2
        estimate.sampled(samples[0], 0.0)
        for sample in samples[1:]:
            variation = 3 / 4 * variation + 1 / 4 * abs(smoothed - sample)
            smoothed = 7 / 8 * smoothed + 1 / 8 * sample
            estimate.sampled(sample, 1.0)
            self.assertAlmostEqual(estimate.smoothed, smoothed)
            self.assertAlmostEqual(estimate.timeout, smoothed + max(0.2, 4 * variation))

    def test_theTimeoutHasBounds(self) -> None:
        """
        The timeout is at least 200 ms longer than the round-trip time, and at most two minutes.
        """
        estimate = RoundTrip()
        for _ in range(100):
            estimate.sampled(0.001, 1.0)
        self.assertAlmostEqual(estimate.timeout, 0.201)
        estimate.sampled(1000.0, 1.0)
        self.assertEqual(estimate.timeout, MAX_RTO)

    def test_aSampleOfZeroCounts(self) -> None:
        """
        A round trip that takes no time is a sample.
        """
        estimate = RoundTrip()
        estimate.sampled(0.0, 1.0)
        self.assertEqual(estimate.least, 0.0)
        self.assertTrue(estimate.smoothed)
        self.assertAlmostEqual(estimate.timeout, 0.2)

    def test_theLeastSampleIsReplaced(self) -> None:
        """
        The least round-trip time is that of the last five minutes, because a path may become longer.
        """
        estimate = RoundTrip()
        estimate.sampled(0.01, 0.0)
        estimate.sampled(0.05, 100.0)
        self.assertEqual((estimate.least, estimate.latest), (0.01, 0.05))
        estimate.sampled(0.05, 301.0)
        self.assertEqual(estimate.least, 0.05)
