"""
What of L{txtuntap.device.helper} takes no kernel.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device import helper


class RefusalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

        class Log:
            def info(_, format: str, **fields: object) -> None:
                self.lines.append(format.format(**fields))

        self.clock = Clock()
        self.refusals = helper.Refusals(self.clock)
        self.patch(helper.Refusals, "_log", Log())

    def test_aFewOfEachUser(self) -> None:
        for _ in range(100):
            self.refusals.add(1000, "one")
            self.refusals.add(None, "other")
        self.assertEqual(self.lines, ["one", "other"] * 3)
        self.clock.advance(1)
        self.assertEqual(self.lines[6:], ["97 more refusals of user 1000", "97 more refusals of users in no rule"])
        self.refusals.add(1000, "one")
        self.clock.advance(1)
        self.assertEqual(self.lines[8:], ["one"])

    def test_nothingIsRemembered(self) -> None:
        for user in range(100):
            self.refusals.add(user, "one")
        self.clock.advance(1)
        self.assertEqual((len(self.refusals._counts), self.clock.getDelayedCalls()), (0, []))


class PrintableTests(SynchronousTestCase):
    def test_whatOthersSay(self) -> None:
        self.assertEqual(helper.printable("tt0: it's in use"), "tt0: it's in use")
        self.assertEqual(helper.printable("\x1b[31m\nFAKE\ud800\u202e"), r"\x1b[31m\nFAKE\ud800\u202e")
        self.assertEqual(len(helper.printable("\n" * 1000)), 200)


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
