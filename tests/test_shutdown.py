"""
Tests for stopping a reactor, by a call or by SIGHUP.
"""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.shutdown import endOnHangUp, isShuttingDown, stop


class ShutdownTests(SynchronousTestCase):
    """
    Tests for L{isShuttingDown} and L{stop}.
    """

    def test_aReactorThatHasStoppedRunningIsShuttingDown(self) -> None:
        reactor = MemoryReactorClock()
        reactor.running = True
        self.assertFalse(isShuttingDown(reactor))
        reactor.running = False
        self.assertTrue(isShuttingDown(reactor))

    def test_aClockNeverShutsDown(self) -> None:
        self.assertFalse(isShuttingDown(Clock()))

    def test_stoppingTwiceIsHarmless(self) -> None:
        calls = []

        def stopped() -> None:
            calls.append(1)
            if len(calls) > 1:
                raise ReactorNotRunning()

        for _ in range(2):
            stop(SimpleNamespace(stop=stopped))
        self.assertEqual(2, len(calls))


@pytest.mark.unix("SIGHUP")
class HangUpTests(SynchronousTestCase):
    """
    Tests for the function L{endOnHangUp}.
    """

    def setUp(self) -> None:
        for number in signal.SIGHUP, signal.SIGTERM:
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_sighupIsHandledAsSigterm(self) -> None:
        got: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        endOnHangUp()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual([signal.SIGTERM], got)

    def test_anIgnoredSighupStaysIgnored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        endOnHangUp()
        self.assertIs(signal.SIG_IGN, signal.getsignal(signal.SIGHUP))

    def test_aHandlerOfTheProgramIsKept(self) -> None:
        def mine(*ignored: object) -> None: ...

        signal.signal(signal.SIGHUP, mine)
        endOnHangUp()
        self.assertIs(mine, signal.getsignal(signal.SIGHUP))
