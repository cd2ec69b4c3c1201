"""
What of L{txtuntap.device.helper} takes no kernel.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.helper import server as helper


class LogLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

        class Log:
            def info(_, format: str, **fields: object) -> None:
                self.lines.append(format.format(**fields))

        self.clock = Clock()
        self.limit = helper.LogLimit(self.clock)
        self.patch(helper.LogLimit, "_log", Log())

    def test_aFewOfEachUser(self) -> None:
        allowed = [[self.limit.allows(user, "refusals") for user in (1000, None)] for _ in range(100)]
        self.assertEqual(allowed, [[True, True]] * 3 + [[False, False]] * 97)
        self.clock.advance(1)
        self.assertEqual(self.lines, ["97 more refusals of user 1000", "97 more refusals of users in no rule"])
        self.assertTrue(self.limit.allows(1000, "refusals"))
        self.clock.advance(1)
        self.assertEqual(len(self.lines), 2)

    def test_refusalsHideNoLeases(self) -> None:
        for _ in range(100):
            self.limit.allows(1000, "refusals")
        self.assertTrue(self.limit.allows(1000, "leases"))

    def test_nothingIsRemembered(self) -> None:
        for user in range(100):
            self.limit.allows(user, "refusals")
        self.clock.advance(1)
        self.assertEqual((len(self.limit._counts), self.clock.getDelayedCalls()), (0, []))


class PrintableTests(SynchronousTestCase):
    def test_whatOthersSay(self) -> None:
        self.assertEqual(helper.excerpt("tt0: it's in use"), "tt0: it's in use")
        self.assertEqual(helper.excerpt("\x1b[31m\nFAKE\ud800\u202e"), r"\x1b[31m\nFAKE\ud800\u202e")
        self.assertEqual(len(helper.excerpt("\n" * 1000)), 200)


class OptionsTests(SynchronousTestCase):
    def test_whatTheAdministratorGotWrongIsSaid(self) -> None:
        for options, words in (
            ([], "--allow"),
            (["--allow", "nobody"], "'nobody' is no rule: give WHO:NAMES"),
            (["--allow", "nobody:"], "is no rule"),
            (["--allow", ":tt0"], "is no rule"),
            (["--allow", "no-such-user:tt0"], "there is no user 'no-such-user'"),
            (["--allow", "@no-such-group:tt0"], "there is no group 'no-such-group'"),
            (["--allow", "nobody:tt0:10.9.0.1/24"], "10.9.0.1/24 has host bits set"),
        ):
            said = StringIO()
            with redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                helper.main(options)
            self.assertNotIn(ended.exception.code, (None, 0))
            self.assertIn(words, said.getvalue().splitlines()[-1])
