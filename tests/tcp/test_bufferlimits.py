"""
Tests for the bounds of TCP's buffers in both directions.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.bench import Bench
from tests.tcp.limited import peerWith
from tests.tcp.rawpeer import RawConnection, Readers
from txtuntap.tcp.bufferpool import BufferPool
from txtuntap.tcp.handshake import MIN_MSS
from txtuntap.tcp.output import MAX_WRITES
from txtuntap.tcp.receiver import MAX_BUFFER, MAX_GAPS, Receiver
from txtuntap.tcp.scoreboard import MAX_RECORDS
from txtuntap.tcp.sender import LEAST_SHARE, MAX_TAKEN
from txtuntap.wire.tcp import FIN, RST, Options


class OutOfOrderTests(SynchronousTestCase):
    """
    Tests for data out of order.
    """

    def test_gapsHaveABound(self) -> None:
        receiver = Receiver()
        receiver.buffer = MAX_BUFFER
        for number in range(MAX_GAPS + 100):
            receiver.receive(10 + 10 * number, b"four", 0.0, 1.0)
        self.assertEqual(len(receiver.ranges), MAX_GAPS)
        # A piece that closes a gap is accepted.
        receiver.receive(14, b"sixsix", 0.0, 1.0)
        self.assertEqual(len(receiver.ranges), MAX_GAPS - 1)

    def test_queuedOctetsHaveABound(self) -> None:
        receiver = Receiver()
        for number in range(100_000):
            receiver.receive(3 + number, b"1", 0.0, 1.0)
        self.assertLessEqual(receiver.queued, 2 * receiver.buffer)
        self.assertEqual(len(receiver.ranges), 1)

    def test_singleOctetsTakeLittleMemory(self) -> None:
        # Segments of one octet take hardly more memory than one large segment.
        receiver = Receiver()
        tracemalloc.start()
        try:
            for number in range(60_000):
                receiver.receive(1 + number, bytes((number & 255,)), 0.0, 1.0)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(b"".join(receiver.take()), bytes(number & 255 for number in range(60_000)))
        self.assertLess(taken, 100_000)


class BufferTests(SynchronousTestCase):
    """
    Tests for the receive buffers of all connections.
    """

    def setUp(self) -> None:
        self.factory = Readers()
        self.peer = peerWith(buffers=8000)
        self.peer.host.listenTCP(80, self.factory)

    def paused(self, number: int) -> tuple[RawConnection, Any]:
        connection = self.peer.open(80, sourcePort=5000 + number)
        transport: Any = self.factory.made[-1].transport
        transport.pauseProducing()
        return connection, transport

    def test_dataThatIsReadAtOnceIsNotCounted(self) -> None:
        connection = self.peer.open(80)
        for _ in range(20):
            connection.send(bytes(1000))
        self.assertEqual(self.peer.table("buffers").size, 0)
        self.assertEqual(len(self.factory.made[0].data), 20_000)

    def test_unreadDataIsCounted(self) -> None:
        connection, transport = self.paused(0)
        connection.send(bytes(1000))
        self.assertEqual(self.peer.table("buffers").size, 1000)
        connection.send(bytes(10), ahead=10)
        self.assertGreater(self.peer.table("buffers").size, 1010)
        connection.send(bytes(10))
        self.assertEqual(self.peer.table("buffers").size, 1020)
        transport.resumeProducing()
        self.peer.sent()
        self.assertEqual(self.peer.table("buffers").size, 0)

    def test_theEndOfAConnectionReleasesItsOctets(self) -> None:
        for number, end in enumerate((lambda each: each.send(b"", flags=RST), None)):
            connection, transport = self.paused(number)
            connection.send(bytes(1000))
            if end is None:
                transport.abortConnection()
                self.peer.sent()
            else:
                end(connection)
            self.assertEqual(self.peer.table("buffers").size, 0)

    def test_aFullPoolClosesWindowsAndRefusesSYNs(self) -> None:
        connections = [self.paused(number)[0] for number in range(5)]
        reading = self.peer.open(80, sourcePort=6000)
        for connection in connections:
            for _ in range(3):
                connection.send(bytes(1000))
        state = self.peer.table("buffers")
        self.assertEqual((state.size, state.bound), (8000, 8000))
        # The windows close, and no more data is accepted.
        sequence = connections[0].next
        (answer,) = connections[0].send(bytes(1000))
        self.assertEqual(answer.acknowledgment, sequence)
        self.assertLess(answer.window, 65535)
        self.assertEqual(self.peer.table("buffers").size, 8000)
        # A SYN gets no answer now.
        self.assertEqual(self.peer.syn(80, sourcePort=7000), [])
        self.assertEqual(self.peer.counters["buffersRefused"], 1)
        # A connection whose application reads continues.
        reading.send(b"hello")
        self.assertEqual(self.factory.made[5].data, b"hello")

    def test_aFullPoolClosesTheWindow(self) -> None:
        pool = BufferPool("buffers", 100)
        receiver = Receiver()
        receiver.pool = pool
        receiver.edge = receiver.next + 3000
        pool.changed(100)
        receiver.isPaused = True
        receiver.receive(1, bytes(1000), 0.0, 1.0)
        self.assertEqual((receiver.unread, pool.dropped), (0, 1))
        pool.changed(-100)
        receiver.receive(1, bytes(3000), 0.0, 1.0)
        pool.changed(100)
        self.assertEqual(receiver.window(), 0)
        self.assertFalse(receiver.needsWindowUpdate())
        pool.changed(-100)
        self.assertTrue(receiver.needsWindowUpdate())
        self.assertGreater(receiver.window(), 50_000)

    def test_readingMakesRoom(self) -> None:
        (first, transport), (second, _) = self.paused(0), self.paused(1)
        for _ in range(9):
            first.send(bytes(1000))
        transport.resumeProducing()
        self.peer.sent()
        self.assertLess(len(self.factory.made[0].data), 9000)
        second.send(b"more")
        self.assertEqual(self.peer.table("buffers").size, 4)
        self.assertEqual(len(self.peer.syn(80, sourcePort=7000)), 1)

    def test_dataOutOfOrderMayFillHalf(self) -> None:
        for number in range(4):
            connection = self.peer.open(80, sourcePort=5000 + number)
            for step in range(1, 10):
                connection.send(bytes(900), ahead=1000 * step)
        self.assertLess(self.peer.table("buffers").size, 4000 + 1200)
        # Losses of some peers do not prevent new connections.
        self.assertEqual(len(self.peer.syn(80, sourcePort=7000)), 1)


class PausingTests(SynchronousTestCase):
    """
    Tests for an application that pauses after each piece of data.
    """

    def test_smallPiecesAreJoined(self) -> None:
        peer = peerWith()
        factory = Readers()
        peer.host.listenTCP(80, factory)
        connection = peer.open(80)
        (reader,) = factory.made
        transport: Any = reader.transport
        pieces: list[int] = []

        def take(data: bytes) -> None:
            pieces.append(len(data))
            transport.pauseProducing()

        reader.dataReceived = take  # type: ignore[method-assign]
        transport.pauseProducing()
        for _ in range(200):
            connection.send(bytes(300))
        while sum(pieces) < 60_000:
            transport.resumeProducing()
            peer.sent()
        self.assertEqual(pieces, [300, 59_700])


class SendBuffersTests(SynchronousTestCase):
    """
    Tests for the send buffers of all connections, which peers have not acknowledged.
    """

    def setUp(self) -> None:
        self.factory = Readers()
        self.peer = peerWith(sendBuffers=100_000, buffers=8000)
        self.peer.host.listenTCP(80, self.factory)

    def sending(self, octets: int = 1_000_000) -> tuple[RawConnection, Any]:
        """
        Establish a connection whose application has written data, and whose peer acknowledges nothing.
        """
        connection = self.peer.open(80, sourcePort=5000 + len(self.factory.made))
        transport: Any = self.factory.made[-1].transport
        transport.write(bytes(octets))
        self.learn(connection, self.peer.sent())
        return connection, transport

    def learn(self, connection: RawConnection, answers: list[Any]) -> None:
        """
        Advance the peer's expected sequence number behind some segments.
        """
        for each in answers:
            connection.expected = (each.sequence + len(each.payload) + bool(each.flags & FIN)) & 0xFFFFFFFF

    def acknowledgeAll(self, connection: RawConnection) -> int:
        """
        Acknowledge all segments as the peer, until no more are sent.

        @return: the number of octets received.
        """
        got = 0
        while answers := connection.send(b""):
            got += sum(len(each.payload) for each in answers)
        return got

    def size(self) -> int:
        """
        Return the octets that the pool of send buffers counts.
        """
        size: int = self.peer.table("send buffers").size
        return size

    def test_takenOctetsAreCounted(self) -> None:
        self.sending()
        self.assertEqual(self.size(), 65536)
        # Small writes are not counted.
        for _ in range(10):
            self.sending(20_000)
        self.assertEqual(self.size(), 65536)
        self.assertEqual(self.peer.table("buffers").size, 0)

    def test_acknowledgedOctetsAreReleased(self) -> None:
        """
        Acknowledged octets are released, and so are all octets of a connection that has ended in any way.
        """
        connection, transport = self.sending(70_000)
        self.assertEqual(self.size(), 65536)
        self.acknowledgeAll(connection)
        self.assertEqual((transport.waiting, self.size()), (0, 0))
        for end in "reset", "abort", "stop":
            connection, transport = self.sending()
            self.assertEqual(self.size(), 65536)
            if end == "reset":
                connection.send(b"", flags=RST)
            elif end == "abort":
                transport.abortConnection()
                self.peer.sent()
            else:
                self.peer.port.stopListening()
                self.peer.clock.advance(0)
            self.assertEqual(self.size(), 0, end)

    def test_aFINIsNotCounted(self) -> None:
        connection, transport = self.sending(1000)
        transport.loseConnection()
        self.learn(connection, self.peer.sent())
        connection.send(b"")
        self.assertEqual((self.size(), self.peer.table("connections").size), (0, 1))

    def test_aFullPoolLeavesALeastShare(self) -> None:
        """
        If the pool is full, a connection takes its least share only, and its producer is paused. But windows stay open,
        and SYNs are answered.
        """
        for _ in range(2):
            self.sending()
        state = self.peer.table("send buffers")
        self.assertEqual((state.size, state.bound), (131072, 100_000))
        connection, transport = self.sending(50_000)
        self.assertEqual(transport.waiting, 50_000 - LEAST_SHARE)
        self.assertEqual(self.size(), 131072)
        self.assertEqual(connection.send(b"hello")[0].window, 65535 - 5)
        self.assertEqual(len(self.peer.syn(80, sourcePort=7000)), 1)
        self.assertEqual(self.peer.counters["buffersRefused"], 0)

    def test_eachConnectionMakesProgress(self) -> None:
        """
        The producer of a connection with the least share only is still resumed, and all its data arrives.
        """
        for _ in range(2):
            self.sending()
        connection, transport = self.sending(0)
        producer = Producing(transport, 10)
        transport.registerProducer(producer, True)
        producer.resumeProducing()
        self.assertTrue(producer.isPaused)
        first = connection.expected
        self.learn(connection, self.peer.sent())
        self.acknowledgeAll(connection)
        self.assertEqual((connection.expected - first) & 0xFFFFFFFF, 1_000_000)
        self.assertEqual((producer.left, self.size()), (0, 131072))


class Producing:
    """
    A producer that writes pieces of 100,000 octets until it is paused.
    """

    def __init__(self, transport: Any, pieces: int) -> None:
        self.transport = transport
        self.left = pieces
        self.written = 0
        self.isPaused = True

    def resumeProducing(self) -> None:
        self.isPaused = False
        while self.left and not self.isPaused:
            self.left -= 1
            self.written += 100_000
            self.transport.write(bytes(100_000))
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.isPaused = True

    def stopProducing(self) -> None:
        self.left = 0


class SendingTests(SynchronousTestCase):
    """
    Tests for a peer with a large window that acknowledges fast. One connection still sends and keeps a bounded amount.
    """

    def setUp(self) -> None:
        self.bench = Bench()
        self.bench.accept(Options(MIN_MSS, 14))
        self.sender = self.bench.connection.sender
        self.sender.control.window = 1e9
        self.sender.superpacket = 0
        self.bench.receive("A", 1, 1)

    def test_TCPTakesABoundedAmount(self) -> None:
        self.bench.connection.write(bytes(MAX_TAKEN + 100))
        for acknowledged in 1, 51:
            self.bench.receive("A", 1, acknowledged)
            self.sender.take()
            self.assertEqual(self.sender.taken, MAX_TAKEN + acknowledged)

    def test_aFullPoolLimitsTCPToTheLeastShare(self) -> None:
        """
        While the pool is full, a connection takes its least share only. Data that it has taken before stays taken.
        """
        self.sender.pool = pool = BufferPool("send buffers", 100)
        self.bench.connection.write(bytes(100_000))
        pool.changed(100)
        self.sender.take()
        self.assertEqual(self.sender.taken, 1 + LEAST_SHARE)
        pool.changed(-1)
        self.sender.take()
        self.assertEqual(self.sender.taken, 100_001)
        pool.changed(1)
        self.bench.connection.write(bytes(100_000))
        self.sender.take()
        self.assertEqual(self.sender.taken, 100_001)

    def test_theWritesOfATurnHaveABound(self) -> None:
        self.assertEqual(len(self.bench.write(bytes(100 * MIN_MSS))), MAX_WRITES)
        self.assertEqual(self.bench.connection.deadline, self.bench.now)
        self.assertEqual(len(self.bench.wait(0)), 100 - MAX_WRITES)
        self.assertGreater(self.bench.connection.deadline, self.bench.now)

    def test_unacknowledgedWritesHaveABound(self) -> None:
        first = self.bench.write(bytes((MAX_RECORDS + 20) * MIN_MSS))
        self.assertEqual(len(first) + len(self.bench.wait(0)), MAX_RECORDS)
        self.assertEqual(len(self.bench.receive("A", 1, 1 + 5 * MIN_MSS)), 5)
        self.assertEqual(len(self.sender.board.records), MAX_RECORDS)
