"""
Tests for L{txtuntap.device.helper.server} that need no kernel device.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.helper import server as helper
from txtuntap.device.helper.permission import Peer


@pytest.mark.unix("UNIX sockets")
class OptionsTests(SynchronousTestCase):
    def test_mistakesInTheCommandLineAreExplained(self) -> None:
        for options, words in (
            ([], "--allow"),
            (["--allow", "nobody"], "'nobody' is not a rule: give WHO:NAMES"),
            (["--allow", "nobody:"], "is not a rule"),
            (["--allow", ":tt0"], "is not a rule"),
            (["--allow", "no-such-user:tt0"], "there is no user 'no-such-user'"),
            (["--allow", "@no-such-group:tt0"], "there is no group 'no-such-group'"),
            (["--allow", "nobody:tt0:10.9.0.1/24"], "10.9.0.1/24 has host bits set"),
        ):
            said = StringIO()
            with redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                helper.main(options)
            self.assertNotIn(ended.exception.code, (None, 0))
            self.assertIn(words, said.getvalue().splitlines()[-1])


@pytest.mark.unix("UNIX sockets")
class HelperTests(SynchronousTestCase):
    def test_connectionsAreBoundedAndTablesReportThem(self) -> None:
        made = helper.Helper([], MemoryReactorClock())
        peers = [Peer(number, 1000 + number, frozenset()) for number in range(10)]
        entered = [peer for peer in peers for _ in range(40) if made.admit(peer)]
        self.assertEqual(len(entered), helper.MAX_CONNECTIONS)
        self.assertEqual([entered.count(peer) for peer in peers], [helper.MAX_OF_USER] * 8 + [0, 0])
        self.assertEqual([state.size for state in made.tables()], [32, 256, 0, 0])
        for peer in entered[:40]:
            made.release(peer)
        self.assertEqual([state.size for state in made.tables()], [32, 216, 0, 0])
