"""
Tests for the bounded log of connections: L{txtuntap.tunnel.sparselog}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tunnel import sparselog
from txtuntap.tunnel.sparselog import SparseLog


class SparseLogTests(SynchronousTestCase):
    """
    Tests for the class L{SparseLog}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        log: Any = self
        self.log = SparseLog(log, self.clock)

    def emit(self, level: object, format: str, **fields: object) -> None:
        """
        Record a line, in the place of a logger.
        """
        self.lines.append(format.format(**fields))

    def test_eachReasonIsLoggedOnceAMinute(self) -> None:
        for _ in range(3):
            self.log.say("one", "{reason}")
            self.log.say("other", "{reason}")
        self.clock.advance(sparselog.INTERVAL)
        self.log.say("one", "{reason}")
        self.assertEqual(["one", "other", "one (2 more such lines were suppressed)"], self.lines)

    def test_theNumberOfReasonsIsBounded(self) -> None:
        for number in range(10000):
            self.log.say(f"reason {number}", "{reason}")
            self.clock.advance(sparselog.INTERVAL / 20000)
        self.assertEqual(sparselog.MAX_REASONS, len(self.lines))
        self.clock.advance(sparselog.INTERVAL)
        self.log.say("a new one", "{reason}")
        self.assertEqual("a new one", self.lines[-1])

    def test_linesAreWrittenAfterTheClockWasSetBack(self) -> None:
        self.log.say("one", "{reason}")
        self.clock.rightNow -= 1000
        self.log.say("one", "{reason}")
        self.assertEqual(2, len(self.lines))
