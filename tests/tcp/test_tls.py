"""
Tests for TLS on hosts in virtual time. No part of it waits for the global reactor.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import ClientContextFactory, DefaultOpenSSLContextFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import certificate
from txtuntap.network import Network


class _Asking(Protocol):
    """
    A protocol that sends a question, and fires C{answered} with the answer.
    """

    transport: Any

    def __init__(self, starts: Any = None) -> None:
        self._starts = starts
        self.answered: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        if self._starts is not None:
            self.transport.startTLS(self._starts)
        self.transport.write(b"who is ")
        self.transport.write(b"there?")

    def dataReceived(self, data: bytes) -> None:
        self.answered.callback(data)


class _Answering(Protocol):
    """
    A protocol that answers in two writes.
    """

    transport: Any

    def __init__(self, starts: Any = None) -> None:
        self._starts = starts

    def connectionMade(self) -> None:
        if self._starts is not None:
            self.transport.startTLS(self._starts)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"you asked: ")
        self.transport.write(data)


class SimulatedTLSTests(SynchronousTestCase):
    """
    Tests for small writes, which TLS buffers until the next iteration of a reactor.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        file = certificate(Path(directory.name), "host.example", server=True).file
        self.context = DefaultOpenSSLContextFactory(file, file)
        self.network = Network()
        switch = self.network.switch()
        self.client, self.server = (self.network.host(f"10.0.0.{number}/24", at=switch) for number in (1, 2))

    def test_listenSSLAndConnectSSL(self) -> None:
        asking = _Asking()
        self.server.listenSSL(443, _once(_Answering()), self.context)
        with self.network as network:
            self.client.connectSSL("10.0.0.2", 443, _once(asking), ClientContextFactory())
            self.assertEqual(network.result(asking.answered), b"you asked: who is there?")

    def test_startTLS(self) -> None:
        asking = _Asking(ClientContextFactory())
        self.server.listenTCP(443, _once(_Answering(self.context)))
        with self.network as network:
            self.client.connectTCP("10.0.0.2", 443, _once(asking))
            self.assertEqual(network.result(asking.answered), b"you asked: who is there?")


def _once(protocol: Protocol) -> Factory:
    """
    Make a factory that always builds the same protocol.
    """

    class Once(Factory):
        def buildProtocol(self, addr: Any) -> Protocol:
            return protocol

        def startedConnecting(self, connector: Any) -> None:
            pass

        def clientConnectionLost(self, connector: Any, reason: Any) -> None:
            pass

    return Once()
