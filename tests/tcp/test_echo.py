"""
Tests for the module L{txtuntap.tcp.echo}.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone

from tests.tcp.hosts import HalfTalker, HostsTestCase, Talker
from txtuntap.tcp.echo import Discard, Echo

MUCH = bytes(range(256)) * 16000


class EchoTests(HostsTestCase):
    """
    Tests with a client of the two services.
    """

    def test_dataIsSentBack(self) -> None:
        self.connect(server=Echo)  # type: ignore[arg-type]
        self.client.transport.write(b"hello")
        self.wait()
        self.assertEqual(self.client.data, b"hello")

    def test_aPeerThatClosesItsSideGetsTheRest(self) -> None:
        self.connect(server=Echo, client=HalfTalker)  # type: ignore[arg-type]
        self.client.transport.write(MUCH)
        self.client.transport.loseWriteConnection()
        self.wait(30)
        self.assertEqual(self.client.data, MUCH)
        self.client.transport.loseConnection()
        self.wait()
        self.assertIsInstance(self.client.lost, ConnectionDone)
        self.assertEqual(list(self.far.tcp.transports), [])

    def test_aPeerThatDoesNotReadIsNotReadFrom(self) -> None:
        self.connect(server=Echo)  # type: ignore[arg-type]
        self.client.transport.pauseProducing()
        self.client.transport.write(MUCH)
        self.wait(30)
        self.assertFalse(self.server.transport.reading)
        self.client.transport.resumeProducing()
        self.wait(30)
        self.assertEqual(self.client.data, MUCH)

    def test_aPeerThatResetsLeavesNothing(self) -> None:
        self.connect(server=Echo)  # type: ignore[arg-type]
        self.client.transport.write(MUCH)
        self.client.transport.abortConnection()
        self.wait()
        self.assertEqual(list(self.far.tcp.transports), [])

    def test_discardAnswersNothing(self) -> None:
        self.connect(server=Discard, client=Talker)  # type: ignore[arg-type]
        self.client.transport.write(MUCH)
        self.wait(30)
        self.assertEqual(self.client.events, ["made"])
        self.client.transport.loseConnection()
        self.wait()
        self.assertEqual(list(self.far.tcp.transports), [])
