"""
Tests for the bounds of all tables, buffers and rates of TCP that the network can fill.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import Echo, Oops
from tests.tcp.bench import Bench
from tests.tcp.rawpeer import OURS, THEIRS, RawConnection, RawPeer, Reader, Readers
from txtuntap import Host
from txtuntap.tcp import Limits, TCPProtocol, endpoints
from txtuntap.tcp.bufferpool import BufferPool
from txtuntap.tcp.handshake import MIN_MSS
from txtuntap.tcp.orphans import Orphans
from txtuntap.tcp.output import MAX_WRITES
from txtuntap.tcp.receiver import MAX_BUFFER, MAX_GAPS, Receiver
from txtuntap.tcp.scoreboard import MAX_RECORDS
from txtuntap.tcp.sender import LEAST_SHARE, MAX_TAKEN
from txtuntap.testing import udpPacket
from txtuntap.wire.address import packAddress
from txtuntap.wire.tcp import ACK, FIN, PSH, RST, SYN, URG, Options, packSynOptions, packTimestamps


def peerWith(**limits: int) -> RawPeer:
    """
    Make a host whose TCP layer has some bounds, and its peer.
    """
    return RawPeer(TCPProtocol(limits=Limits(**limits)))


class HalfOpenTests(SynchronousTestCase):
    """
    Tests for half-open connections and SYN cookies.
    """

    def test_aSYNBeyondTheBacklogGetsNoAnswer(self) -> None:
        peer = peerWith(cookies=0)
        peer.host.listenTCP(80, Readers(), backlog=3)
        answers = [peer.syn(80, sourcePort=4000 + number) for number in range(5)]
        self.assertEqual([len(each) for each in answers], [1, 1, 1, 0, 0])
        self.assertEqual(peer.counters["backlogOverflows"], 2)
        state = peer.table("half open of a port")
        self.assertEqual((state.size, state.bound), (3, 3))

    def test_eachPortHasItsOwnBacklog(self) -> None:
        peer = peerWith(cookies=0)
        for port in 80, 81:
            peer.host.listenTCP(port, Readers(), backlog=1)
            self.assertEqual(len(peer.syn(port)), 1)

    def test_allPortsShareABound(self) -> None:
        peer = peerWith(halfOpen=2, cookies=0)
        for port in 80, 81, 82:
            peer.host.listenTCP(port, Readers())
        self.assertEqual([len(peer.syn(port)) for port in (80, 81, 82)], [1, 1, 0])
        self.assertEqual(peer.table("half open").size, 2)

    def test_cookiesHaveARate(self) -> None:
        peer = peerWith(cookies=5)
        peer.host.listenTCP(80, Readers(), backlog=1)
        # The 28 refusals of the first second take time that two cookies would have taken.
        for burst in 6, 3:
            answers = [peer.syn(80, sourcePort=4000 + 100 * burst + number) for number in range(34)]
            self.assertEqual(sum(map(len, answers)), burst)
            peer.clock.advance(1)
            peer.sent()
        self.assertEqual(peer.counters["cookiesSent"], 8)
        self.assertEqual(peer.table("half open").size, 1)

    def test_aFloodThatIsMostlyRefusedGetsNoCookies(self) -> None:
        peer = peerWith(cookies=5)
        peer.host.listenTCP(80, Readers(), backlog=0)
        sent = []
        for second in range(5):
            sent.append(sum(len(peer.syn(80, sourcePort=4000 + 100 * second + number)) for number in range(100)))
            peer.clock.advance(1)
        self.assertEqual(sent, [5, 0, 0, 0, 0])
        # The debt has a bound, so that the host sends cookies again soon after the flood.
        peer.clock.advance(2)
        self.assertEqual(len(peer.syn(80, sourcePort=9000)), 1)

    def test_retransmittedSYNsHaveTheirOwnCookieRate(self) -> None:
        peer = peerWith(cookies=2)
        peer.host.listenTCP(80, Readers(), backlog=0)
        first, again = ([len(peer.syn(80, sourcePort=4000 + number)) for number in range(6)] for _ in range(2))
        # Four of the six have had no answer. Two of these get a cookie now.
        self.assertEqual(first, [1, 1, 0, 0, 0, 0])
        self.assertEqual(again, [0, 0, 1, 1, 0, 0])
        self.assertEqual(peer.counters["cookiesSent"], 4)
        self.assertEqual(peer.counters["backlogOverflows"], 8)

    def test_aRetransmittedSYNGetsACookieDuringAFlood(self) -> None:
        # A flood uses up all cookies of each second, but the retransmitted SYN of a peer gets one.
        peer = peerWith(cookies=3)
        factory = Readers()
        peer.host.listenTCP(80, factory, backlog=0)
        for second in range(3):
            for number in range(20):
                peer.syn(80, sourcePort=5000 + 20 * second + number)
            answers = peer.syn(80)
            self.assertEqual(len(answers), min(second, 1))
            if answers:
                break
            peer.clock.advance(1)
        RawConnection(peer, THEIRS, 4000, 80, answers[0].sequence).send(b"hello")
        self.assertEqual([reader.data for reader in factory.made], [b"hello"])

    def test_aCookieBecomesAConnection(self) -> None:
        peer = peerWith()
        factory = Readers()
        peer.host.listenTCP(80, factory, backlog=1)
        peer.syn(80)
        peer.open(80, sourcePort=4001).send(b"hello")
        self.assertEqual([reader.data for reader in factory.made], [b"hello"])
        self.assertEqual(peer.counters["cookiesReceived"], 1)

    def test_noTimestampIsOlderThanThatOfTheCookie(self) -> None:
        # The timestamp of a cookie encodes options. A peer drops later segments with an older timestamp (PAWS).
        peer = peerWith()
        peer.host.listenTCP(80, Readers(), backlog=0)
        for number in range(64):
            said = packSynOptions(1460, 14, True, (1, 0))
            (cookie,) = peer.syn(80, sourcePort=4000 + number, options=said)
            connection = RawConnection(peer, THEIRS, 4000 + number, 80, cookie.sequence)
            echo = cookie.options.timestamp or 0
            (answer,) = connection.send(b"hello", options=packTimestamps(2, echo))
            self.assertLess(((answer.options.timestamp or 0) - echo) & 0xFFFFFFFF, 64)
            peer.clock.advance(0.001)
            peer.sent()

    def test_halfOpenConnectionsEnd(self) -> None:
        peer = peerWith()
        peer.host.listenTCP(80, Readers())
        peer.syn(80)
        answers = 0
        for _ in range(140):
            peer.clock.advance(0.5)
            answers += len(peer.sent())
        self.assertEqual(answers, 5)
        self.assertEqual(peer.table("half open").size, 0)
        self.assertEqual(peer.counters["attemptFails"], 1)


class ConnectionTests(SynchronousTestCase):
    """
    Tests for established connections.
    """

    def countEstablished(self, peer: RawPeer, port: int = 80, source: str = THEIRS, count: int = 4) -> int:
        """
        Open connections, and return how many are established.
        """
        before = int(peer.counters.currEstab)
        for number in range(count):
            answers = peer.syn(port, source=source, sourcePort=5000 + number)
            if answers:
                RawConnection(peer, source, 5000 + number, port, answers[0].sequence).send(b"")
        return int(peer.counters.currEstab) - before

    def test_allConnectionsHaveABound(self) -> None:
        peer = peerWith(connections=3)
        for port in 80, 81:
            peer.host.listenTCP(port, Readers())
        self.assertEqual(self.countEstablished(peer, count=2), 2)
        self.assertEqual(self.countEstablished(peer, 81), 1)
        self.assertEqual(peer.counters["connectionsRefused"], 3)
        self.assertEqual(peer.table("connections").size, 3)

    def test_theConnectionsOfAPortHaveABound(self) -> None:
        peer = peerWith(portConnections=3)
        for port in 80, 81:
            peer.host.listenTCP(port, Readers())
            self.assertEqual(self.countEstablished(peer, port), 3)
        state = peer.table("connections of a port")
        self.assertEqual((state.size, state.bound), (3, 3))

    def test_aPortMayHaveItsOwnBound(self) -> None:
        peer = peerWith()
        peer.host.tcp.listen(80, Readers(), maxConnections=2)
        self.assertEqual(self.countEstablished(peer), 2)
        self.assertEqual(peer.table("connections of a port").bound, 2)
        self.assertRaises(ValueError, peer.host.tcp.listen, 81, Readers(), maxConnections=-1)

    def test_theConnectionsOfAPeerHaveABound(self) -> None:
        peer = peerWith(peerConnections=2)
        peer.host.listenTCP(80, Readers())
        self.assertEqual(self.countEstablished(peer), 2)
        self.assertEqual(self.countEstablished(peer, source="10.0.0.9"), 2)
        self.assertEqual(peer.table("connections of a peer").size, 2)

    def test_halfOpenConnectionsWaitForRoom(self) -> None:
        # More connections are half open than may be established.
        peer = peerWith(peerConnections=2)
        peer.host.listenTCP(80, Readers())
        answers = [peer.syn(80, sourcePort=5000 + number)[0] for number in range(4)]
        connections = [RawConnection(peer, THEIRS, sent.destPort, 80, sent.sequence) for sent in answers]
        for connection in connections:
            self.assertEqual(connection.send(b""), [])
        self.assertEqual(peer.counters.currEstab, 2)
        connections[0].send(b"", flags=RST)
        connections[2].send(b"")
        self.assertEqual(peer.counters.currEstab, 2)
        self.assertEqual(peer.table("half open").size, 1)

    def test_cookiesKeepTheBounds(self) -> None:
        peer = peerWith(peerConnections=1)
        peer.host.listenTCP(80, Readers(), backlog=0)
        first, second = (peer.syn(80, sourcePort=5000 + number)[0] for number in range(2))
        for sent in first, second:
            RawConnection(peer, THEIRS, sent.destPort, 80, sent.sequence).send(b"")
        self.assertEqual(peer.counters.currEstab, 1)

    def test_aClosedConnectionMakesRoom(self) -> None:
        peer = peerWith(connections=1, portConnections=1, peerConnections=1)
        peer.host.listenTCP(80, Readers())
        for _ in range(3):
            self.assertEqual(peer.open(80).send(b"", flags=RST), [])
        self.assertEqual(peer.counters["passiveOpens"], 3)
        self.assertEqual(peer.counters.currEstab, 0)
        self.assertEqual({peer.table(f"connections{of}").size for of in ("", " of a port", " of a peer")}, {0})

    def test_wrongLimitsAreRefused(self) -> None:
        for wrong in -1, "5", 1.5, True:
            error = self.assertRaises(ValueError, Limits, orphans=wrong)
            self.assertIn("Limits.orphans", str(error))


class OrphanTests(SynchronousTestCase):
    """
    Tests for orphans, which the application has closed and the peer has not acknowledged.
    """

    def test_theOldestOfTheBusiestPeerIsEvicted(self) -> None:
        orphans: Orphans[str] = Orphans(4)
        for peer, name in (b"a", "1"), (b"b", "2"), (b"b", "3"), (b"c", "4"):
            self.assertIsNone(orphans.add(peer, name.encode(), name))
        self.assertEqual(orphans.add(b"c", b"5", "5"), "2")
        orphans.remove(b"b", b"2")
        self.assertEqual(orphans.add(b"a", b"6", "6"), "4")
        orphans.remove(b"c", b"4")
        self.assertEqual(sorted(orphans), ["1", "3", "5", "6"])

    def test_anOrphanIsAddedOnce(self) -> None:
        orphans: Orphans[str] = Orphans(1)
        for _ in range(3):
            self.assertIsNone(orphans.add(b"a", b"1", "1"))
        orphans.remove(b"a", b"2")
        orphans.remove(b"b", b"1")
        self.assertEqual(len(orphans), 1)

    def test_theIndexIsRightAfterAnyOrder(self) -> None:
        # The counts stay right in any order of adding and removing.
        orphans: Orphans[int] = Orphans(50)
        there: dict[bytes, list[int]] = {}
        number = 0
        for step in range(2000):
            peer = b"%d" % (step * step % 7)
            if step % 3 and there.get(peer):
                gone = there[peer].pop(step % len(there[peer]))
                orphans.remove(peer, b"%d" % gone)
            else:
                number += 1
                there.setdefault(peer, []).append(number)
                victim = orphans.add(peer, b"%d" % number, number)
                if victim is not None:
                    most = max(map(len, there.values()))
                    busiest = next(each for each in there if victim in there[each])
                    self.assertEqual((len(there[busiest]), there[busiest][0]), (most, victim))
                    there[busiest].remove(victim)
                    orphans.remove(busiest, b"%d" % victim)
            self.assertEqual(sorted(orphans), sorted(each for peer in there.values() for each in peer))
        self.assertEqual(orphans.state.size, len(orphans))

    def test_anEvictedOrphanIsReset(self) -> None:
        factory = Readers()
        peer = peerWith(orphans=3)
        peer.host.listenTCP(80, factory)
        for source, port in (("10.0.0.8", 5000), *((THEIRS, 5000 + number) for number in range(4))):
            peer.open(80, source, port)
        for reader in factory.made:
            transport: Any = reader.transport
            transport.loseConnection()
        resets = [sent for sent in peer.sent() if sent.flags & RST]
        self.assertEqual([(sent.dest, sent.destPort) for sent in resets], [(THEIRS, 5000), (THEIRS, 5001)])
        self.assertEqual(peer.table("orphans").size, 3)
        self.assertEqual(peer.counters["orphansReset"], 2)
        self.assertEqual(peer.table("connections").size, 3)


class TimeWaitTests(SynchronousTestCase):
    """
    Tests for connections in TIME-WAIT.
    """

    def test_theOldestIsEvicted(self) -> None:
        factory = Readers()
        peer = peerWith(timeWait=2)
        peer.host.listenTCP(80, factory)
        for number in range(3):
            connection = peer.open(80, sourcePort=5000 + number)
            transport: Any = factory.made[-1].transport
            transport.loseConnection()
            connection.expected = peer.sent()[-1].sequence + 1
            connection.send(b"", flags=FIN | ACK)
        self.assertEqual(peer.table("time wait").size, 2)
        peers = [each.peer.port for each in peer.host.connections if each.state == "TIME-WAIT"]
        self.assertEqual(peers, [5001, 5002])


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


class BoundClientTests(SynchronousTestCase):
    """
    Tests for the local addresses and ports of clients.
    """

    def test_overlappingAddressesAreTaken(self) -> None:
        one, other, six = packAddress("10.0.0.2"), packAddress("10.0.0.3"), packAddress("fd00::2")
        zeros4, zeros6 = bytes(4), bytes(16)
        for bound, isTaken in (
            (one, {one, zeros4, b""}),
            (zeros4, {one, other, zeros4, b""}),
            (six, {six, zeros6, b""}),
            (b"", {one, other, six, zeros4, zeros6, b""}),
        ):
            tcp = TCPProtocol()
            first = tcp.bindClient(bound, 4000)
            taken = set()
            for address in one, other, six, zeros4, zeros6, b"":
                try:
                    tcp.unbindClient(tcp.bindClient(address, 4000))
                except OSError:
                    taken.add(address)
                tcp.unbindClient(tcp.bindClient(address, 4001))
            self.assertEqual(taken, isTaken)
            tcp.unbindClient(first)
            tcp.bindClient(b"", 4000)

    def test_aFreePortIsFoundWithoutComparisons(self) -> None:
        # A proxy has a reservation for each connection that its peers make it open.
        tcp = TCPProtocol()
        for number in range(1000):
            tcp.bindClient(packAddress(f"10.1.{number >> 8}.{number & 255}"), 4000)
            tcp.bindClient(packAddress("10.0.0.2"), 0)
        calls: list[Any] = []
        self.patch(endpoints, "overlap", lambda *addresses: calls.append(addresses))
        tcp.bindClient(packAddress("10.0.0.2"), 0)
        tcp.bindClient(packAddress("10.0.0.2"), 4000)
        self.assertEqual(calls, [])


class AnswerTests(SynchronousTestCase):
    """
    Tests for answers to addresses that may be forged.
    """

    def test_resetsHaveARate(self) -> None:
        peer = peerWith(resets=20)
        count = sum(len(peer.syn(81, sourcePort=4000 + number)) for number in range(100))
        self.assertEqual(count, 20)
        self.assertEqual(peer.counters["outLimited"], 80)
        self.assertEqual(peer.counters["outRsts"], 20)
        peer.clock.advance(0.5)
        count = sum(len(peer.syn(81, sourcePort=4000 + number)) for number in range(100))
        self.assertEqual(count, 10)

    def test_resetsOfHalfOpenConnectionsHaveARate(self) -> None:
        peer = peerWith(resets=2)
        peer.host.listenTCP(80, Readers())
        resets = 0
        for number in range(5):
            (answer,) = peer.syn(80, sourcePort=4000 + number)
            resets += len(peer.send(THEIRS, OURS, 4000 + number, 80, 1001, answer.sequence + 9, ACK))
            resets += len(peer.send(THEIRS, OURS, 4000 + number, 80, 1005, 0, SYN))
        self.assertEqual(resets, 2)

    def test_repeatedSYNACKsHaveARate(self) -> None:
        peer = peerWith(repeats=10)
        peer.host.listenTCP(80, Readers())
        count = sum(len(peer.syn(80)) for _ in range(100))
        self.assertEqual(count, 1 + 10)
        self.assertEqual(peer.counters.retransSegs, 10)

    def test_SYNACKsToManySilentPeersHaveARate(self) -> None:
        peer = peerWith(repeats=10)
        peer.host.listenTCP(80, Readers())
        for number in range(40):
            peer.syn(80, sourcePort=4000 + number)
        peer.clock.advance(1)
        self.assertEqual(len(peer.sent()), 10)

    def test_challengesHaveARate(self) -> None:
        peer = peerWith()
        peer.host.listenTCP(80, Readers())
        connection = peer.open(80)
        for flags in RST, SYN:
            answers = [answer for _ in range(20) for answer in connection.send(b"", ahead=9, flags=flags)]
            self.assertEqual([answer.flags for answer in answers], [ACK])
            peer.clock.advance(1)
        self.assertEqual(peer.counters["inUnacceptable"], 40)
        self.assertEqual(peer.counters["outLimited"], 38)

    def test_droppedSegmentsOfAConnectionAreCounted(self) -> None:
        peer = peerWith()
        peer.host.listenTCP(80, Readers())
        connection = peer.open(80)
        expected = connection.expected
        outside = [connection.send(b"x", ahead=1 << 20, flags=flags) for flags in (ACK, ACK | FIN, RST, 0)]
        self.assertEqual([len(each) for each in outside], [1, 1, 0, 0])
        connection.expected += 1 << 20
        self.assertEqual(len(connection.send(b"x", ahead=1)), 1)
        connection.expected = expected
        connection.send(b"", ahead=1, flags=FIN)
        self.assertEqual(peer.counters["inUnacceptable"], 6)
        connection.send(b"x")
        self.assertEqual(peer.counters["inUnacceptable"], 6)

    def test_droppedSegmentsOfAHalfOpenConnectionAreCounted(self) -> None:
        peer = peerWith()
        peer.host.listenTCP(80, Readers())
        (answer,) = peer.syn(80)
        for sequence, flags in (1001 + (1 << 20), RST), (1001 + (1 << 20), ACK), (1009, RST), (1001, FIN):
            peer.send(THEIRS, OURS, 4000, 80, sequence, answer.sequence + 1, flags)
        self.assertEqual(peer.counters["inUnacceptable"], 4)
        self.assertEqual(peer.counters["outLimited"], 1)

    def test_challengesOfHalfOpenConnectionsHaveARate(self) -> None:
        peer = peerWith()
        peer.host.listenTCP(80, Readers())
        peer.syn(80)
        answers = [peer.send(THEIRS, OURS, 4000, 80, 1009, 0, RST) for _ in range(20)]
        self.assertEqual(sum(map(len, answers)), 1)
        self.assertEqual(peer.counters["outLimited"], 19)

    def test_aClientLimitsItsRepliesToForgedAnswers(self) -> None:
        # Many forged answers cause one more SYN, and one reset in half a second.
        peer = peerWith()
        peer.host.connectTCP(THEIRS, 80, _Clients())
        (syn,) = peer.sent()
        answers = [
            each for _ in range(20) for each in peer.send(THEIRS, OURS, 80, syn.sourcePort, 1, syn.sequence + 9, ACK)
        ]
        self.assertEqual(sum(bool(each.flags & SYN) for each in answers), 1)
        self.assertEqual(sum(bool(each.flags & RST) for each in answers), 1)
        # After a simultaneous open, they cause one reset.
        peer.clock.advance(0.6)
        peer.sent()
        peer.send(THEIRS, OURS, 80, syn.sourcePort, 1, 0, SYN)
        answers = [
            each for _ in range(20) for each in peer.send(THEIRS, OURS, 80, syn.sourcePort, 2, syn.sequence + 9, ACK)
        ]
        self.assertEqual([each.flags for each in answers], [RST])

    def test_noAnswerIsLargerThanItsSegment(self) -> None:
        # TCP options do not count, because a SYN+ACK always has an MSS option.
        options = packSynOptions(1460, 7, True, (5, 0)), packTimestamps(5, 0), b""
        for numbers in (1000, 0), (1001, 0), (1001, 1), (1009, 1), (0, 0), (5000, 1), (90000, 0):
            for given in options:
                peer = peerWith()
                peer.host.listenTCP(80, Readers())
                peer.syn(80, options=given)
                opened = peer.open(80, sourcePort=4001, options=given)
                for port, source in (80, 4000), (80, 4001), (80, 4002), (81, 4000):
                    for flags in range(64):
                        if flags & (SYN | RST | FIN) == FIN and source == 4001:
                            continue
                        acknowledgment = opened.expected if numbers[1] else numbers[1]
                        for payload in b"", b"payload":
                            sequence = numbers[0] + (flags & (PSH | URG) > 0)
                            answers = peer.send(
                                *(THEIRS, OURS, source, port, sequence, acknowledgment, flags, payload), options=given
                            )
                            self.assertLessEqual(len(answers), 1)
                            for answer in answers:
                                asked = 40 + len(given) + len(payload)
                                self.assertLessEqual(answer.length - answer.optionsLength, asked)


class FailureTests(SynchronousTestCase):
    """
    Tests for the log of exceptions that applications raise.
    """

    def logged(self, factory: Any, isClaimed: bool = False) -> tuple[int, int]:
        """
        Return how many failures are logged for five connections at once, and for one a second later.

        @param isClaimed: whether no port listens, and C{unclaimed} returns the factory.
        """
        peer = RawPeer(TCPProtocol(unclaimed=lambda syn: factory) if isClaimed else None)
        if not isClaimed:
            peer.host.listenTCP(80, factory)
        counts = []
        for sources in range(5000, 5005), (5005,):
            for source in sources:
                peer.open(80, sourcePort=source).send(b"data")
            counts.append(len(self.flushLoggedErrors(Oops)))
            peer.clock.advance(1.1)
            peer.sent()
        self.assertEqual(peer.counters["protocolFailures"], 6)
        self.assertEqual(peer.counters.currEstab, 0)
        return counts[0], counts[1]

    def test_failuresOfProtocolsAreLoggedOnceASecond(self) -> None:
        class Failing(Reader):
            def dataReceived(self, data: bytes) -> None:
                raise Oops

        factory = Factory.forProtocol(Failing)
        factory.noisy = False
        self.assertEqual(self.logged(factory), (1, 1))
        self.assertEqual(self.logged(factory, isClaimed=True), (1, 1))

    def test_failuresOfFactoriesAreLoggedOnceASecond(self) -> None:
        class Failing(Readers):
            def buildProtocol(self, addr: Any) -> Any:
                raise Oops

        self.assertEqual(self.logged(Failing()), (1, 1))
        self.assertEqual(self.logged(Failing(), isClaimed=True), (1, 1))


class _Clients(Readers):
    def startedConnecting(self, connector: Any) -> None:
        pass

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        pass

    def clientConnectionLost(self, connector: Any, reason: Any) -> None:
        pass


class UnusedTCPTests(SynchronousTestCase):
    """
    Tests for a host that does not use TCP.
    """

    def test_aHostWithoutTCPHasNoTables(self) -> None:
        peer = RawPeer()
        peer.host.listenUDP(7, Echo())
        peer.device.deliver(udpPacket(THEIRS, OURS, 9, 7, b"hello"))
        peer.clock.advance(100)
        self.assertFalse(peer.host.usesTCP)
        self.assertNotIn("tcp", peer.host.counters)
        self.assertNotIn("half open", [state.name for state in peer.host.tables()])
        self.assertEqual(peer.host.connections, [])
        gc.collect()
        host: Any = peer.host
        made = [each for each in gc.get_objects() if isinstance(each, TCPProtocol) and each.transport is host.ip]
        self.assertEqual(made, [])

    def test_aHostWithoutTCPTakesNoMemory(self) -> None:
        def taken(use: Any) -> int:
            tracemalloc.start()
            try:
                hosts = [Host(["10.0.0.2/24"], RawPeer().clock) for _ in range(20)]
                for host in hosts:
                    use(host)
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()

        taken(lambda host: host.tcp)
        self.assertGreater(taken(lambda host: host.tcp) - taken(lambda host: None), 20 * 1500)
