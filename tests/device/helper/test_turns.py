"""
Tests for the queue of calls in L{txtuntap.device.helper.turns}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.helper.turns import Turns


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns = Turns()
        self.begun: list[str] = []
        self.underWay: list[Deferred[str]] = []

    def take(self, user: int, name: str) -> Deferred[str]:
        """
        Queue a call that does not end before L{end}.
        """

        def call(name: str) -> Deferred[str]:
            self.begun.append(name)
            self.underWay.append(Deferred())
            return self.underWay[-1]

        return self.turns.take(user, call, name)

    def end(self, result: str | Exception = "") -> None:
        """
        End the only running call.
        """
        (only,) = self.underWay
        self.underWay = []
        if isinstance(result, Exception):
            only.errback(result)
        else:
            only.callback(result)

    def test_callsAreMadeOneAtATime(self) -> None:
        for name in "abc":
            self.take(1, name)
        self.assertEqual(self.begun, ["a"])
        self.end()
        self.assertEqual(self.begun, ["a", "b"])

    def test_usersTakeTurns(self) -> None:
        for number in range(32):
            self.take(1, f"a{number}")
        self.take(2, "b0")
        self.take(3, "c0")
        self.take(2, "b1")
        for _ in range(7):
            self.end()
        self.assertEqual(self.begun, ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"])

    def test_theCallerReceivesTheOutcome(self) -> None:
        one, other, third = self.take(1, "a"), self.take(1, "b"), self.take(1, "c")
        self.end("result")
        self.assertEqual(self.successResultOf(one), "result")
        self.end(ValueError("reason"))
        self.failureResultOf(other, ValueError)
        self.assertNoResult(third)
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_aCancelledCallIsNotMade(self) -> None:
        self.take(1, "a")
        waiting = [self.take(user, name) for user, name in ((1, "b"), (2, "c"), (1, "d"))]
        for each in waiting[:2]:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.end()
        self.assertEqual(self.begun, ["a", "d"])
        self.end()
        self.assertEqual((self.turns._waiting, self.successResultOf(self.turns.whenIdle())), ({}, None))

    def test_anExceptionOfACallIsAFailure(self) -> None:
        def call() -> Deferred[None]:
            raise ValueError("reason")

        self.failureResultOf(self.turns.take(1, call), ValueError)
        self.take(1, "a")
        self.assertEqual(self.begun, ["a"])

    def test_thousandsOfCallsEndAtOnce(self) -> None:
        self.take(1, "a")
        results = [self.turns.take(1, lambda: succeed(None)) for _ in range(5000)]
        self.end()
        for each in results:
            self.successResultOf(each)

    def test_mostWaiting(self) -> None:
        self.assertEqual(self.turns.mostWaiting, 0)
        for user, count in (1, 3), (2, 4), (3, 1):
            for number in range(count):
                self.take(user, f"{user}{number}")
        self.assertEqual(self.turns.mostWaiting, 4)

    def test_whenIdleWaitsForAllCalls(self) -> None:
        self.successResultOf(self.turns.whenIdle())
        for name in "ab":
            self.take(1, name)
        idle = self.turns.whenIdle()
        self.end()
        self.assertNoResult(idle)
        self.end()
        self.successResultOf(idle)
