"""
A suite that never ends, for the test of what runs suites.
"""

from __future__ import annotations

import subprocess

from twisted.trial.unittest import TestCase


class Stuck(TestCase):
    def test_stuck(self) -> None:
        """
        Hold up the reactor, with a process that outlives this one.
        """
        subprocess.run(["sleep", "infinity"], check=True)
