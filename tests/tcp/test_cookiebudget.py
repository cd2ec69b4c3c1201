"""
Tests for the budget of SYN cookies.
"""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.cookiebudget import CAREFUL, CAREFUL_RATE, FEW, OVERLOAD, CookieBudget

#: More cookies than the SYNs of a test.
PLENTY = 100_000


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

    def overload(self) -> None:
        """
        Overload the host at 10.0 s.
        """
        for now in 9.8, 9.9:
            self.taken(OVERLOAD, now)
        self.taken(1, 10.0)

    def test_aBurstGetsCookies(self) -> None:
        self.assertEqual(self.taken(2 * OVERLOAD, 10.0), 2 * OVERLOAD)

    def test_aHostThatReadsFastEnoughIsNotCareful(self) -> None:
        # The host reads slowly only because it sends cookies. Few SYNs wait when it is careful in a test.
        self.assertEqual([self.taken(OVERLOAD, 10.0), self.taken(100, 10.1)], [OVERLOAD, FEW])
        self.assertEqual([self.taken(OVERLOAD, 10.1 + turn / 10) for turn in range(1, 10)], [OVERLOAD] * 9)
        self.assertEqual([self.taken(100, 11.2), self.taken(100, 11.3)], [FEW, 100])

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
