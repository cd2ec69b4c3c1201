"""
Tests for the token bucket, L{txtuntap.layer.tokenbucket}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.layer.tokenbucket import TokenBucket


class TokenBucketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bucket = TokenBucket(2.0, 3.0)

    def taken(self, now: float) -> int:
        """
        Count how many events are permitted at a time.
        """
        count = 0
        while count < 100 and self.bucket.take(now):
            count += 1
        return count

    def test_aBurstIsPermittedAtOnce(self) -> None:
        self.assertEqual(self.taken(5.0), 3)

    def test_theRateIsPermittedInTheLongRun(self) -> None:
        self.taken(0.0)
        self.assertEqual([self.taken(second / 2) for second in range(1, 9)], [1] * 8)

    def test_fractionsOfTokensAddUp(self) -> None:
        self.taken(0.0)
        self.assertEqual([self.taken(0.25), self.taken(0.5)], [0, 1])

    def test_tokensAreBoundedByTheBurst(self) -> None:
        self.taken(0.0)
        self.assertEqual(self.taken(1e6), 3)

    def test_aClockThatStepsBackKeepsTheTokens(self) -> None:
        self.bucket.take(100.0)
        self.assertEqual(self.taken(0.0), 2)

    def test_tokensAreAddedAfterTheClockHasSteppedBack(self) -> None:
        self.taken(100.0)
        self.assertEqual([self.taken(0.0), self.taken(0.5)], [0, 1])

    def test_spareTokensAreKept(self) -> None:
        self.assertTrue(self.bucket.take(0.0, 2))
        self.assertFalse(self.bucket.take(0.0, 2))
        self.assertEqual(self.taken(0.0), 2)

    def test_severalEventsMakeTheTokensNegative(self) -> None:
        self.assertTrue(self.bucket.take(0.0, count=5))
        self.assertEqual([self.taken(0.5), self.taken(1.0), self.taken(1.5)], [0, 0, 1])
