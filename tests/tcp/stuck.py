"""
A suite that never ends, for the test of L{tests.tcp.classic}.
"""

from __future__ import annotations

import subprocess

from twisted.trial.unittest import TestCase


class Stuck(TestCase):
    def test_stuck(self) -> None:
        """
        Block the reactor, with a child process that outlives this one.
        """
        subprocess.run(["sleep", "infinity"], check=True)
