"""
Tests for the budget of SYN cookies.
"""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.cookiebudget import (
    CAREFUL,
    CAREFUL_RATE,
    FEW,
    OVERLOAD,
    PAUSE,
    SUSTAINED,
    CookieBudget,
)

#: More cookies than the SYNs of a test.
PLENTY = 100_000

#: The turns that begin a test for an overload.
TURNS = SUSTAINED // OVERLOAD


class CookieBudgetTests(SynchronousTestCase):
    """
    Tests for L{CookieBudget} with SYNs of one turn of reading after the other.
    """

    def setUp(self) -> None:
        self.budget = CookieBudget(PLENTY)
        self._numbers = count()

    def taken(self, syns: int, now: float) -> int:
        """
        Let some SYNs take cookies in a turn of reading, and return how many get one.
        """
        return sum(self.budget.take(b"%d" % next(self._numbers), 7, now) for _ in range(syns))

    def flood(self, now: float) -> None:
        """
        Let as many SYNs arrive until C{now} as begin a test for an overload in the next turn.
        """
        for turn in range(TURNS, 0, -1):
            self.taken(OVERLOAD, now - turn / 20)

    def overload(self) -> None:
        """
        Overload the host at 10.0 s.
        """
        self.flood(9.95)
        self.taken(OVERLOAD, 9.95)
        self.taken(1, 10.0)

    def test_aBurstGetsCookies(self) -> None:
        self.assertEqual(self.taken(2 * OVERLOAD, 10.0), 2 * OVERLOAD)

    def test_aBurstOfFewSYNsBeginsNoTest(self) -> None:
        for start in range(10, 20):
            # The turns do not last longer than those of a flood, but there are fewer.
            sent = [self.taken(OVERLOAD, start + turn / 20) for turn in range(TURNS - 1)]
            sent += [self.taken(100, start + 0.5)]
            self.assertEqual(sent, [OVERLOAD] * (TURNS - 1) + [100])

    def test_burstsWithPausesBeginNoTest(self) -> None:
        sent = [self.taken(OVERLOAD, 10.0 + turn * (PAUSE + 0.01)) for turn in range(5 * TURNS)]
        self.assertEqual(sent, [OVERLOAD] * (5 * TURNS))

    def test_aTestThatWasDueEndsWithAPause(self) -> None:
        self.flood(10.0)
        self.assertEqual(self.taken(100, 10.0 + PAUSE), 100)
        self.flood(20.0)
        self.assertEqual(self.taken(OVERLOAD, 20.0), FEW)
        # The SYNs of the test were the last of the flood.
        self.assertEqual(self.taken(100, 20.01 + PAUSE), 100)

    def test_aHostThatReadsFastEnoughIsNotCareful(self) -> None:
        # The host reads slowly only because it sends cookies. Few SYNs wait when it is careful in a test.
        self.flood(10.0)
        self.assertEqual([self.taken(100, 10.0), self.taken(OVERLOAD, 10.05)], [FEW, OVERLOAD])
        # There is a test in a second at most.
        sent = [self.taken(OVERLOAD, 10.1 + turn / 20) for turn in range(18)]
        self.assertEqual(sent, [OVERLOAD] * 18)
        self.assertEqual([self.taken(100, 11.01), self.taken(100, 11.1)], [FEW, 100])

    def test_anOverloadedHostSendsFewCookies(self) -> None:
        for turns in 50, 250:
            self.overload()
            sent = sum(self.taken(OVERLOAD, 10.0 + turn / turns) for turn in range(1, turns))
            self.assertApproximates(sent, min(FEW * turns, CAREFUL_RATE), FEW)
            self.budget = CookieBudget(PLENTY)

    def test_cookiesAreSentAgainSomeTimeAfterAnOverload(self) -> None:
        self.overload()
        self.assertEqual(self.taken(100, 10.0 + 0.9 * CAREFUL), FEW)
        self.assertEqual(self.taken(100, 10.0 + CAREFUL), 100)

    def test_aClockThatStepsBackEndsTheCare(self) -> None:
        self.overload()
        self.assertEqual(self.taken(100, 5.0), 100)

    def test_aClockThatStepsBackBeginsNoTest(self) -> None:
        self.flood(10.0)
        self.assertEqual(self.taken(100, 5.0), 100)

    def test_aRetransmittedSYNGetsACookieDuringAnOverload(self) -> None:
        self.overload()
        self.taken(FEW, 10.1)
        self.assertFalse(self.budget.take(b"peer", 7, 10.1))
        self.taken(OVERLOAD, 10.2)
        self.taken(FEW, 11.1)
        self.assertTrue(self.budget.take(b"peer", 7, 11.1))

    def test_onlySYNsWithoutACookieAreRefusedAtOnce(self) -> None:
        self.assertFalse(self.budget.refuses(b"first", 7, 9.0))
        self.overload()
        self.taken(FEW, 10.0)
        self.assertTrue(self.budget.refuses(b"peer", 7, 10.0))
        self.taken(FEW + 1, 10.9)
        self.assertFalse(self.budget.refuses(b"peer", 7, 10.9))
        self.assertTrue(self.budget.take(b"peer", 7, 10.9))

    def test_SYNsThatAreRefusedAtOnceCountAsOthersDo(self) -> None:
        self.overload()
        self.taken(FEW, 10.0)
        for _ in range(OVERLOAD):
            self.assertTrue(self.budget.refuses(b"%d" % next(self._numbers), 7, 10.0))
        # So the host is careful for longer.
        self.taken(1, 10.5)
        self.assertEqual(self.taken(100, 10.4 + CAREFUL), FEW)

    def test_retransmittedSYNsAreRefusedAtOnceWithoutCookies(self) -> None:
        budget = CookieBudget(1)
        for name in b"1", b"2", b"3":
            budget.take(name, 7, 10.0)
        self.assertTrue(budget.take(b"2", 7, 10.0))
        self.assertTrue(budget.refuses(b"3", 7, 10.0))

    def test_allSYNsAreRefusedAtOnceIfNoCookiesAreAllowed(self) -> None:
        budget = CookieBudget(0)
        for _ in range(2):
            self.assertTrue(budget.refuses(b"peer", 7, 10.0))
            self.assertFalse(budget.take(b"peer", 7, 10.0))
