"""
Tests for the helper's limits of log lines, L{txtuntap.device.helper.limits}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.helper import limits


class LogLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

        class Log:
            def info(_, format: str, **fields: object) -> None:
                self.lines.append(format.format(**fields))

        self.clock = Clock()
        self.limit = limits.LogLimit(self.clock)
        self.patch(limits.LogLimit, "_log", Log())

    def test_threeLinesASecondAreLoggedForEachUser(self) -> None:
        allowed = [[self.limit.allows(user, "refusals") for user in (1000, None)] for _ in range(100)]
        self.assertEqual(allowed, [[True, True]] * 3 + [[False, False]] * 97)
        self.clock.advance(1)
        self.assertEqual(self.lines, ["97 more refusals of user 1000", "97 more refusals of users without any rule"])
        self.assertTrue(self.limit.allows(1000, "refusals"))
        self.clock.advance(1)
        self.assertEqual(len(self.lines), 2)

    def test_eachKindOfLineHasItsOwnLimit(self) -> None:
        for _ in range(100):
            self.limit.allows(1000, "refusals")
        self.assertTrue(self.limit.allows(1000, "leases"))

    def test_tablesReportTheNumberOfLines(self) -> None:
        for size in 0, 1, 2, 3, 3:
            self.assertEqual([(state.size, state.bound) for state in self.limit.tables()], [(size, limits.MAX_LOGGED)])
            self.limit.allows(1000, "refusals")
            self.limit.allows(1001, "leases")
        self.clock.advance(1)
        self.assertEqual(self.limit.tables()[0].size, 0)

    def test_countsAreForgottenAfterASecond(self) -> None:
        for user in range(100):
            self.limit.allows(user, "refusals")
        self.clock.advance(1)
        self.assertEqual((len(self.limit._counts), self.clock.getDelayedCalls()), (0, []))


class ExcerptTests(SynchronousTestCase):
    def test_excerptEscapesAndCutsText(self) -> None:
        self.assertEqual(limits.excerpt("tt0: it's in use"), "tt0: it's in use")
        self.assertEqual(limits.excerpt("\x1b[31m\nFAKE\ud800\u202e"), r"\x1b[31m\nFAKE\ud800\u202e")
        self.assertEqual(len(limits.excerpt("\n" * 1000)), 200)
