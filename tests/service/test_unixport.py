"""
The file of a service's UNIX socket.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase


@pytest.mark.unix("UNIX sockets")
class UNIXPortTests(SynchronousTestCase):
    """
    The file is deleted once, and only if it is the port's own.
    """

    def setUp(self) -> None:
        # Windows cannot import this module.
        from txtuntap.service.unixport import UNIXPort

        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "socket"
        self.reactor = MemoryReactorClock()
        self.port = UNIXPort(os.fsencode(self.path), Factory(), reactor=self.reactor)
        self.port.startListening()

    def stop(self) -> None:
        """
        Stop the port, and let the reactor turn.
        """
        stopped = self.port.stopListening()
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(stopped))

    def test_theFileIsDeletedAtOnce(self) -> None:
        self.assertTrue(self.port.isThere)
        stopped = self.port.stopListening()
        self.assertFalse(self.path.exists())
        self.assertFalse(self.port.isThere)
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(stopped))

    def test_aFileThatIsGoneIsNoError(self) -> None:
        self.path.unlink()
        self.assertFalse(self.port.isThere)
        self.stop()

    def test_theFileOfAnotherProgramStays(self) -> None:
        self.path.rename(self.path.with_name("moved"))
        self.path.touch()
        self.assertFalse(self.port.isThere)
        self.stop()
        self.assertTrue(self.path.exists())

    def test_aFileThatIsMadeMeanwhileStays(self) -> None:
        stopped = self.port.stopListening()
        self.path.touch()
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertTrue(self.path.exists())
