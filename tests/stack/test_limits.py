"""
Tests for L{txtuntap.stack.limits}: the rate limit of ICMP errors.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.stack.limits import ErrorLimit

PEER = b"\x0a\0\0\x01"


class Always(Random):
    """
    A random source that always returns one number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(0)
        self._number = number

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return self._number


class ErrorLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limit = ErrorLimit(Always(0))

    def permitted(self, dest: bytes, now: float) -> int:
        return sum(self.limit.permits(dest, now) for _ in range(20))

    def everybody(self, now: float) -> int:
        """
        The number of 200 destinations to which an error is permitted at a time.
        """
        return sum(self.limit.permits(bytes((10, 1, 0, number)), now) for number in range(200))

    def test_aBurstToADestinationIsSix(self) -> None:
        self.assertEqual(self.permitted(PEER, 0.0), 6)

    def test_oneErrorASecondIsPermittedToADestination(self) -> None:
        self.permitted(PEER, 0.0)
        self.assertEqual([self.permitted(PEER, second) for second in (0.5, 1.0, 1.5, 2.0)], [0, 1, 0, 1])

    def test_eachDestinationHasALimit(self) -> None:
        self.permitted(PEER, 0.0)
        self.assertEqual(self.permitted(bytes(16), 0.0), 6)

    def test_aBurstToAllDestinationsIsFifty(self) -> None:
        self.assertEqual(self.everybody(0.0), 50)

    def test_aThousandASecondArePermittedInAll(self) -> None:
        self.everybody(0.0)
        self.assertEqual(self.everybody(0.0105), 10)

    def test_theLimitForAllIsReducedAtRandom(self) -> None:
        self.limit = ErrorLimit(Always(2))
        self.assertEqual(self.everybody(0.0), 48)

    def test_theTableOfDestinationsIsBounded(self) -> None:
        self.patch(ErrorLimit, "MAX_DESTINATIONS", 8)
        self.limit = ErrorLimit(Always(0))
        for number in range(20):
            self.limit.permits(bytes((10, 0, 0, number)), 0.0)
            self.assertLessEqual(self.limit.tables()[0].size, 8)

    def test_theOldestDestinationIsEvicted(self) -> None:
        self.patch(ErrorLimit, "MAX_DESTINATIONS", 2)
        self.limit = ErrorLimit(Always(0))
        self.permitted(PEER, 0.0)
        self.limit.permits(bytes((10, 0, 0, 2)), 0.0)
        self.assertEqual(self.permitted(PEER, 0.0), 0)
        self.limit.permits(bytes((10, 0, 0, 3)), 0.0)
        self.assertEqual(self.permitted(PEER, 0.0), 6)
