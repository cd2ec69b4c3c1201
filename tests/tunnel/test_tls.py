"""
Tests for TLS that hands over several records at once: L{txtuntap.tunnel.tls}.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import certificate
from tests.tunnel.test_security import Recorder
from txtuntap.tunnel import tls
from txtuntap.tunnel.atonce import BUFFER_SIZE
from txtuntap.tunnel.security import Identity
from txtuntap.tunnel.tls import RecordsTransport, factoryForTLS, writeRecordsTogether


class PieceRecorder(Recorder):
    """
    A protocol that also records the length of each piece that it receives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.lengths.append(len(data))


class End:
    """
    One end of a TLS connection in memory.
    """

    def __init__(self, identity: Identity, isClient: bool) -> None:
        recorders: Any = Factory.forProtocol(PieceRecorder)
        self.secured = cast(Any, factoryForTLS(identity, isClient, recorders, Clock()).buildProtocol(None))
        self.socket = cast(Any, StringTransport())
        self.socket.abortConnection = self.socket.loseConnection
        self.secured.makeConnection(self.socket)
        self.recorder: PieceRecorder = self.secured.wrappedProtocol
        self.transport: Any = self.recorder.transport


class RecordsTests(SynchronousTestCase):
    """
    Tests for two ends of a connection.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.one, self.other = (certificate(Path(directory.name), name) for name in ("one", "other"))
        self.connect(*self.identities())

    def identities(self) -> tuple[Identity, Identity]:
        """
        Make the identities of both ends.
        """
        one, other = self.one, self.other
        return Identity(one.file, pins=[other.pin]), Identity(other.file, pins=[one.pin])

    def connect(self, server: Identity, client: Identity) -> None:
        """
        Make both ends of a connection.
        """
        self.server, self.client = End(server, False), End(client, True)

    def exchange(self) -> None:
        """
        Deliver all octets that the ends have written, until they write no more.
        """
        ends = self.server, self.client
        while any(end.socket.value() for end in ends):
            for here, there in (ends, ends[::-1]):
                said = here.socket.value()
                here.socket.clear()
                if said:
                    there.secured.dataReceived(said)

    def test_recordsAreWrittenAndReceivedTogether(self) -> None:
        self.exchange()
        self.assertIsInstance(self.client.secured, RecordsTransport)
        data = bytes(range(256)) * 4000
        writes: list[int] = []

        def writeSequence(pieces: list[bytes]) -> None:
            writes.append(len(pieces))
            self.client.socket.write(b"".join(pieces))

        self.client.socket.writeSequence = writeSequence
        self.client.transport.write(data)
        self.assertEqual([16], writes)
        self.exchange()
        self.assertEqual(data, self.server.recorder.received)
        self.assertLess(len(self.server.recorder.lengths), len(data) // BUFFER_SIZE + 2)
        self.server.transport.writeSequence([b"short", b" answer"])
        self.exchange()
        self.assertEqual(b"short answer", self.client.recorder.received)

    def test_longSequencesAreEncryptedInParts(self) -> None:
        self.exchange()
        lengths: list[int] = []
        encrypt = self.client.transport.write

        def write(data: bytes) -> None:
            lengths.append(len(data))
            encrypt(data)

        self.patch(self.client.transport, "write", write)
        pieces = [bytes([number]) * size for number, size in enumerate((14, 65_000, 14, 65_000, *[1000] * 100, 14))]
        self.client.transport.writeSequence(iter(pieces))
        self.assertEqual([65_014, 65_014, 50_000, 50_000, 14], lengths)
        self.exchange()
        self.assertEqual(b"".join(pieces), self.server.recorder.received)

    def test_recordsThatArriveInOddPiecesAreReceived(self) -> None:
        data = b"".join(bytes([number]) * size for number, size in enumerate((1, 2**14, 2**14 + 1, 70_000, 3)))
        for pieces in ([1], [5, 16_400], [2**14, 1], [16_405, 16_406, 7], [BUFFER_SIZE]):
            self.connect(*self.identities())
            self.exchange()
            for start, size in ((0, 1), (1, 2**14), (2**14 + 1, 2**14 + 1), (2 * 2**14 + 2, len(data))):
                self.client.transport.write(data[start : start + size])
            said = self.client.socket.value()
            self.client.socket.clear()
            for length in cycle(pieces):
                if not said:
                    break
                self.server.secured.dataReceived(said[:length])
                said = said[length:]
            self.assertEqual(data, self.server.recorder.received)

    def test_aReadThatTheRecordsFillExactlyIsTheLast(self) -> None:
        self.exchange()
        self.client.transport.write(b"a")
        self.patch(tls, "_MOST_ADDED", len(self.client.socket.value()) - 1)
        for size in 1000, 2**14 - 1:
            # One read takes all octets, and OpenSSL has none for a second one.
            self.client.transport.write(bytes(size))
        self.exchange()
        self.assertEqual(b"a" + bytes(1000 + 2**14 - 1), self.server.recorder.received)

    def test_recordsThatFillSeveralReadsAreAllWritten(self) -> None:
        self.exchange()
        self.patch(tls, "_MOST_ADDED", 0)
        self.client.transport.write(bytes(200_000))
        self.exchange()
        self.assertEqual(bytes(200_000), self.server.recorder.received)

    def test_octetsAreWrittenByRecordsIfNothingElseIsPossible(self) -> None:
        server, client = self.identities()
        client._context.set_mode(1)
        self.connect(server, client)
        self.exchange()
        self.client.transport.write(bytes(100_000))
        self.exchange()
        self.assertEqual(bytes(100_000), self.server.recorder.received)
        # This is no error with a pyOpenSSL that cannot clear a mode.
        context: Any = object()
        writeRecordsTogether(context)

    def test_octetsBeforeTheHandshakeWait(self) -> None:
        self.client.transport.write(b"a" * 100_000)
        self.client.transport.write(b"b")
        self.exchange()
        self.assertEqual(b"a" * 100_000 + b"b", self.server.recorder.received)

    def test_dataBeforeTheEndIsDelivered(self) -> None:
        self.exchange()
        self.client.transport.write(b"a" * 100_000)
        self.client.transport.loseConnection()
        self.client.transport.write(b"too late")
        self.exchange()
        self.assertEqual(b"a" * 100_000, self.server.recorder.received)
        self.assertTrue(self.server.socket.disconnecting)
        self.server.secured.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.server.recorder.reason.check(ConnectionDone))
        self.server.transport.write(b"nothing" * 100_000)

    def test_anErrorBehindDataIsReported(self) -> None:
        self.exchange()
        self.client.transport.write(b"a" * 100_000)
        said = self.client.socket.value()
        self.server.secured.dataReceived(said[:-1] + bytes([said[-1] ^ 1]))
        # The last record is forged.
        self.assertEqual(100_000 // 2**14 * 2**14, len(self.server.recorder.received))
        self.assertTrue(self.server.socket.disconnecting)
        self.server.secured.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.server.recorder.reason.check(SSL.Error))
