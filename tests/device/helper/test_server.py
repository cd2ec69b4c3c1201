"""
What of L{txtuntap.device.helper} takes no kernel.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.helper import server as helper


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
