"""
Tests for L{txtuntap.tcp.transport}: C{startTLS}.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates

from tests.certificates import certificate
from tests.tcp.producing import Producer

from .hosts import Client, HostsTestCase, Server


class TLSTests(HostsTestCase):
    """
    Tests for C{startTLS} on both sides, with Twisted's TLS.
    """

    def options(self) -> tuple[Any, Any]:
        """
        Make the TLS contexts of a server, and of a client that trusts it.
        """
        with tempfile.TemporaryDirectory() as directory:
            made = certificate(Path(directory), "far.example", server=True)
            own = PrivateCertificate.loadPEM(Path(made.file).read_bytes())
            trusted = trustRootFromCertificates([Certificate.loadPEM(Path(made.public).read_bytes())])
        return own.options(), optionsForClientTLS("far.example", trusted)

    def test_startTLS(self) -> None:
        server, client = self.options()
        self.connect()
        self.client.transport.write(b"before")
        self.wait()
        self.server.transport.startTLS(server)
        self.client.transport.startTLS(client)
        self.client.transport.write(b"question" * 10_000)
        self.server.transport.writeSequence([b"ans", b"wer"])
        self.wait(5)
        self.assertEqual(self.server.data, b"before" + b"question" * 10_000)
        self.assertEqual(self.client.data, b"answer")
        self.assertTrue(ISSLTransport.providedBy(self.client.transport))
        self.assertEqual(self.client.transport.getPeerCertificate().get_subject().CN, "far.example")
        self.client.transport.loseConnection()
        self.wait(5)
        for protocol in self.server, self.client:
            self.assertIsInstance(protocol.lost, ConnectionDone)

    def test_aServerMayBeTheTLSClient(self) -> None:
        server, client = self.options()
        self.connect()
        self.server.transport.startTLS(client, normal=False)
        self.client.transport.startTLS(server, normal=False)
        self.server.transport.write(b"x")
        self.wait()
        self.assertEqual(self.client.data, b"x")

    def test_aProducerIsPausedThroughTLS(self) -> None:
        server, client = self.options()
        self.connect()
        self.server.transport.startTLS(server)
        self.client.transport.startTLS(client)
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.write(b"x" * 1_000_000)
        self.wait(30)
        self.assertEqual(producer.events, ["pause", "resume"])
        self.assertEqual(len(self.server.data), 1_000_000)

    def test_aLateProducerIsStoppedWithTLS(self) -> None:
        """
        After the connection is lost, a producer can be unregistered, and a registered one is stopped, as without TLS.
        """
        server, client = self.options()
        self.connect()
        self.server.transport.startTLS(server)
        self.client.transport.startTLS(client)
        self.wait()
        self.client.transport.abortConnection()
        self.wait()
        producer = Producer()
        self.server.transport.unregisterProducer()
        self.server.transport.registerProducer(producer, True)
        self.assertEqual(producer.events, ["stop"])

    def test_aWrongContextChangesNothing(self) -> None:
        """
        If C{startTLS} gets an object that makes no contexts, the connection and its producer stay as they were.
        """
        self.connect()
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The AttributeError is that of Twisted before 26.4.
            self.assertRaises((TypeError, AttributeError), self.client.transport.startTLS, object())
        self.client.transport.write(b"x" * 200_000)
        self.wait()
        self.assertEqual(self.server.data, b"x" * 200_000)
        self.assertEqual(producer.events, ["pause", "resume"])

    def test_listenSSLAndConnectSSL(self) -> None:
        server, client = self.options()
        servers, clients = Server(), Client()
        self.far.listenSSL(443, servers, server)
        self.near.connectSSL("10.0.0.2", 443, clients, client)
        self.wait()
        clients.made[0].transport.write(b"x")
        self.wait()
        self.assertEqual(servers.made[0].data, b"x")

    def test_aWrongCertificateNameEndsTheConnection(self) -> None:
        server, _ = self.options()
        clients = Client()
        self.far.listenSSL(443, Server(), server)
        self.near.connectSSL("10.0.0.2", 443, clients, optionsForClientTLS("other.example"))
        self.wait()
        self.assertNotIsInstance(clients.made[0].lost, (ConnectionDone, type(None)))
