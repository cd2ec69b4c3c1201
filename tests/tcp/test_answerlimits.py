"""
Tests for the rates of TCP's answers, for the failures of applications, and for hosts that do not use TCP.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import Echo, Oops
from tests.tcp.limited import peerWith
from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Reader, Readers
from txtuntap import Host
from txtuntap.tcp import TCPProtocol
from txtuntap.testing import udpPacket
from txtuntap.wire.tcp import ACK, FIN, PSH, RST, SYN, URG, packSynOptions, packTimestamps


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
