"""
Tests for the filter of SYNs without an answer.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.refusedsyns import INTERVAL, RefusedSyns


class RefusedSynsTests(SynchronousTestCase):
    """
    Tests for L{RefusedSyns} with retransmitted and other SYNs.
    """

    def setUp(self) -> None:
        self.syns = RefusedSyns()

    def isRetransmitted(self, flow: bytes, sequence: int, now: float) -> bool:
        self.syns.begin(now)
        return self.syns.isRetransmitted(flow, sequence)

    def test_aRetransmittedSYNIsRecognized(self) -> None:
        self.assertFalse(self.isRetransmitted(b"flow", 7, 100.0))
        self.assertTrue(self.isRetransmitted(b"flow", 7, 101.0))
        self.assertTrue(self.isRetransmitted(b"flow", 7, 103.0))

    def test_theClockMayBeginAtZero(self) -> None:
        self.assertFalse(self.isRetransmitted(b"flow", 7, 0.5))
        self.assertTrue(self.isRetransmitted(b"flow", 7, 1.5))

    def test_otherSYNsAreNotRecognized(self) -> None:
        self.isRetransmitted(b"flow", 7, 100.0)
        self.assertFalse(self.isRetransmitted(b"flow", 8, 100.0))
        self.assertFalse(self.isRetransmitted(b"wolf", 7, 100.0))

    def test_aSYNIsForgottenAfterTwoIntervals(self) -> None:
        # The first interval begins with the first SYN.
        self.isRetransmitted(b"begins", 7, 100.0)
        self.isRetransmitted(b"flow", 7, 100.0 + INTERVAL - 1)
        self.assertTrue(self.isRetransmitted(b"flow", 7, 100.0 + 2 * INTERVAL - 1))
        for later in 0, 2 * INTERVAL:
            self.assertFalse(self.isRetransmitted(b"begins", 7, 100.0 + 2 * INTERVAL + later))
        self.assertFalse(self.isRetransmitted(b"flow", 7, 1e6))

    def test_aClockThatStepsBackForgetsSYNs(self) -> None:
        self.isRetransmitted(b"flow", 7, 100.0)
        self.assertFalse(self.isRetransmitted(b"flow", 7, 50.0))
        self.assertTrue(self.isRetransmitted(b"flow", 7, 51.0))

    def test_fewSYNsAreMistakenForOthers(self) -> None:
        random = Random(1)
        count = 200_000
        taken = sum(self.isRetransmitted(random.randbytes(12), 7, 100.0) for _ in range(count))
        self.assertLess(taken, count / 500)
