"""
Tests for the bounds of TCP's tables: connections, half-open ones, orphans, and those in TIME-WAIT.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.limited import peerWith
from tests.tcp.rawpeer import THEIRS, RawConnection, RawPeer, Readers
from txtuntap.tcp import Limits, TCPProtocol, endpoints
from txtuntap.tcp.orphans import Orphans
from txtuntap.wire.address import packAddress
from txtuntap.wire.tcp import ACK, FIN, RST, packSynOptions, packTimestamps


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
