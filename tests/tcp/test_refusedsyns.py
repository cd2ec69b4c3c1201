"""
The SYNs that had no answer lately.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.refusedsyns import INTERVAL, RefusedSyns


class RefusedSynsTests(SynchronousTestCase):
    """
    SYNs that come again.
    """

    def setUp(self) -> None:
        self.syns = RefusedSyns()

    def test_theSameAgain(self) -> None:
        self.assertFalse(self.syns.isRetransmitted(b"flow", 7, 100.0))
        self.assertTrue(self.syns.isRetransmitted(b"flow", 7, 101.0))
        self.assertTrue(self.syns.isRetransmitted(b"flow", 7, 103.0))

    def test_atTheBeginningOfTime(self) -> None:
        self.assertFalse(self.syns.isRetransmitted(b"flow", 7, 0.5))
        self.assertTrue(self.syns.isRetransmitted(b"flow", 7, 1.5))

    def test_others(self) -> None:
        self.syns.isRetransmitted(b"flow", 7, 100.0)
        self.assertFalse(self.syns.isRetransmitted(b"flow", 8, 100.0))
        self.assertFalse(self.syns.isRetransmitted(b"wolf", 7, 100.0))

    def test_howLong(self) -> None:
        # The first interval begins with the first SYN.
        self.syns.isRetransmitted(b"begins", 7, 100.0)
        self.syns.isRetransmitted(b"flow", 7, 100.0 + INTERVAL - 1)
        self.assertTrue(self.syns.isRetransmitted(b"flow", 7, 100.0 + 2 * INTERVAL - 1))
        for later in 0, 2 * INTERVAL:
            self.assertFalse(self.syns.isRetransmitted(b"begins", 7, 100.0 + 2 * INTERVAL + later))
        self.assertFalse(self.syns.isRetransmitted(b"flow", 7, 1e6))

    def test_aClockThatStepsBack(self) -> None:
        self.syns.isRetransmitted(b"flow", 7, 100.0)
        self.assertFalse(self.syns.isRetransmitted(b"flow", 7, 50.0))
        self.assertTrue(self.syns.isRetransmitted(b"flow", 7, 51.0))

    def test_fewAreTakenForOthers(self) -> None:
        random = Random(1)
        count = 20_000
        taken = sum(self.syns.isRetransmitted(random.randbytes(12), 7, 100.0) for _ in range(count))
        self.assertLess(taken, count / 100)
