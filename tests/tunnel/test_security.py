"""
Tests for TLS with certificates from each end: L{txtuntap.tunnel.security}.
"""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Certificate, certificate
from txtuntap.tunnel.security import Identity, isPrivate
from txtuntap.tunnel.stream import _reasonText


class Recorder(Protocol):
    """
    A protocol that records what it receives and why it ends.
    """

    def __init__(self) -> None:
        self.received = b""
        self.reason = Failure(ConnectionDone())

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class IdentityTests(SynchronousTestCase):
    """
    Tests for the class L{Identity}.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.one, self.other = self.made("one"), self.made("other")

    def made(self, name: str, issuer: Certificate | None = None, days: int = 1, server: bool = False) -> Certificate:
        """
        Make a new certificate and its files.
        """
        return certificate(self.directory, name, issuer, days, server)

    def exchanged(self, listening: Identity, connecting: Identity) -> tuple[bytes, bytes]:
        """
        Connect two ends, each of which sends a text.

        @return: the octets that the listening end received, and those that the connecting end received.
        """
        clock = Clock()
        ends: list[tuple[Any, StringTransport, Recorder]] = []
        for identity, isClient in (listening, False), (connecting, True):
            factory = TLSMemoryBIOFactory(identity, isClient, Factory.forProtocol(Recorder), clock)
            proto = factory.buildProtocol(None)
            assert proto is not None
            transport: Any = StringTransport()
            transport.abortConnection = transport.loseConnection
            proto.makeConnection(transport)
            recorder: Any = proto.wrappedProtocol
            recorder.transport.write(b"from client" if isClient else b"from server")
            ends.append((proto, transport, recorder))
        for _ in range(8):
            clock.advance(1)
            for here, there in (ends[0], ends[1]), (ends[1], ends[0]):
                said = here[1].value()
                here[1].clear()
                if said:
                    there[0].dataReceived(said)
        for end in ends:
            end[0].connectionLost(Failure(ConnectionDone()))
        self.reason, self.refused = ends[0][2].reason, ends[1][2].reason
        return ends[0][2].received, ends[1][2].received

    def test_endsThatTrustEachOtherExchangeData(self) -> None:
        one, other = self.one, self.other
        own = one.pin
        for listening, connecting in (
            (Identity(one.file, trust=[other.public]), Identity(other.file, trust=[one.public])),
            (Identity(one.file, pins=[other.pin]), Identity(other.file, pins=["00" * 32, one.pin.upper()])),
            (
                Identity(one.public, one.file, [other.public], [other.pin], "other"),
                Identity(other.file, pins=[own]),
            ),
        ):
            self.assertEqual((b"from client", b"from server"), self.exchanged(listening, connecting))

    def test_dataOfAnUntrustedEndIsNotReceived(self) -> None:
        one, other = self.one, self.other
        stranger = self.made("stranger")
        good = Identity(other.file, pins=[one.pin])
        bad = Identity(stranger.file, pins=[one.pin])
        for known in (
            Identity(one.file, trust=[other.public]),
            Identity(one.file, pins=[other.pin]),
            Identity(one.file, trust=[other.public, stranger.public], pins=[other.pin]),
        ):
            self.assertEqual(b"from client", self.exchanged(known, good)[0])
            self.assertEqual(b"", self.exchanged(known, bad)[0])
        # A connecting end sends no data to a listening end that it does not trust.
        self.assertEqual((b"", b""), self.exchanged(bad, Identity(one.file, pins=[other.pin])))

    def test_certificatesOfATrustedAuthorityAreAccepted(self) -> None:
        authority = self.made("authority")
        member, friend = self.made("member", authority), self.made("friend", authority)
        forged = self.made("forged", self.made("authority2"))
        here = Identity(member.file, trust=[authority.public])
        for shown, names in (friend, ("friend", None)), (forged, ()):
            for name in names or (None,):
                known = Identity(member.file, trust=[authority.public], peerName=name)
                there = Identity(shown.file, trust=[authority.public])
                self.assertEqual(b"from client" if names else b"", self.exchanged(known, there)[0])
        named = Identity(member.file, trust=[authority.public], peerName="somebody")
        self.assertEqual(b"", self.exchanged(named, Identity(friend.file, trust=[authority.public]))[0])
        self.assertEqual(b"from client", self.exchanged(here, Identity(friend.file, trust=[authority.public]))[0])

    def test_aTrustedCertificateNeedsNoTrustedAuthority(self) -> None:
        member = self.made("member", self.made("authority"))
        there = Identity(member.file, trust=[self.one.public])
        self.assertEqual(b"from client", self.exchanged(Identity(self.one.file, trust=[member.public]), there)[0])

    def test_theReasonOfARefusalIsReported(self) -> None:
        authority = self.made("authority")
        old, server = self.made("old", authority, 0), self.made("server", authority, server=True)
        friend = self.made("friend", authority)
        for shown, known, text in (
            (friend, {"pins": [server.pin]}, "its certificate is not one of the pinned ones"),
            (friend, {"trust": [self.other.public]}, "its certificate is not trusted"),
            (old, {"trust": [authority.public]}, "its certificate has expired"),
            (old, {"trust": [authority.public], "pins": [old.pin]}, "its certificate has expired"),
            (friend, {"trust": [authority.public], "peerName": "fred"}, "its certificate is for another name"),
            (server, {"trust": [authority.public]}, r"its certificate does not permit this use \(its key usage\)"),
        ):
            made: Any = known
            there = Identity(shown.file, pins=[self.one.pin])
            self.assertEqual(b"", self.exchanged(Identity(self.one.file, **made), there)[0])
            self.assertRegex(_reasonText(self.reason), f"^TLS: {text}$")
            # The alert names no certificate, and reads as if this end refused that of the peer.
            self.assertRegex(_reasonText(self.refused), r"^TLS: the peer refuses this end.*\(.* alert .*\)$")

    def test_aCertificateThatOnlyOpenSSLCanParseIsRefusedWithAReason(self) -> None:
        # The certificate has a version that does not exist.
        der = self.other.certificate.public_bytes(Encoding.DER).replace(
            b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"
        )
        pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
        odd = self.directory / "odd.crt"
        odd.write_bytes(pem)
        shown = Identity(str(odd), self.other.file, pins=[self.one.pin])
        self.assertEqual(b"", self.exchanged(Identity(self.one.file, pins=[self.other.pin]), shown)[0])
        self.assertIn("not one of the pinned ones", _reasonText(self.reason))
        self.assertEqual(
            b"from client", self.exchanged(Identity(self.one.file, pins=[sha256(der).hexdigest()]), shown)[0]
        )
        named = Identity(self.one.file, trust=[str(odd)], peerName="other")
        self.assertEqual(b"", self.exchanged(named, shown)[0])

    def test_sessionsAreNotResumed(self) -> None:
        context = Identity(self.one.file, trust=[self.other.public])._context
        self.assertEqual(SSL.SESS_CACHE_OFF, context.get_session_cache_mode())
        self.assertTrue(context.set_options(0) & SSL.OP_NO_TICKET)

    def test_anExpiredCertificateIsAcceptedOnlyIfPinned(self) -> None:
        old = self.made("old", days=0)
        there = Identity(old.file, trust=[self.one.public])
        self.assertEqual(b"", self.exchanged(Identity(self.one.file, trust=[old.public]), there)[0])
        self.assertEqual(b"from client", self.exchanged(Identity(self.one.file, pins=[old.pin]), there)[0])

    def test_invalidArgumentsAreRefused(self) -> None:
        one, other = self.one, self.other
        empty = self.directory / "empty"
        empty.write_text("")
        for arguments, text in (
            ((one.file,), "to authenticate the peer"),
            ((one.file, None, (), [other.pin], "name"), "the peer's name"),
            ((one.file, None, (), ["33"]), "64 digits"),
            ((one.public, None, (), [other.pin]), "has no private key"),
            ((one.file, other.file, (), [other.pin]), "is not the private key of"),
            ((str(empty), None, (), [other.pin]), "has no certificate"),
            ((one.file, None, [str(empty)]), "has no certificate"),
        ):
            made: Any = arguments
            self.assertRaisesRegex(ValueError, text, Identity, *made)
        self.assertRaises(FileNotFoundError, Identity, "nowhere.pem", pins=[other.pin])


class PrivacyTests(SynchronousTestCase):
    """
    Tests for the function L{isPrivate}.
    """

    def test_listeningEndpointsArePrivateOnThisMachine(self) -> None:
        for endpoint in "unix:/run/x", "tcp:4000:interface=127.0.0.1", r"tcp6:4000:interface=\:\:1", "unix:/x:mode=600":
            self.assertTrue(isPrivate(endpoint, True), endpoint)
        for endpoint in "tcp:4000", "tcp:4000:interface=10.0.0.1", "systemd:domain=INET:index=0", "tls:4000":
            self.assertFalse(isPrivate(endpoint, True), endpoint)

    def test_connectingEndpointsArePrivateOnThisMachineOrWithTLS(self) -> None:
        for endpoint in (
            "unix:/x",
            "tcp:127.0.0.1:4000",
            "tcp:host=localhost:port=4000",
            "tls:example.org:443",
            "UNIX:/x",
        ):
            self.assertTrue(isPrivate(endpoint, False), endpoint)
        for endpoint in "tcp:10.0.0.1:4000", "tcp:127.example.org:4000", "ssl:127.0.0.1:1", "tcp:10.0.0.1:1:host=::1":
            self.assertFalse(isPrivate(endpoint, False), endpoint)
