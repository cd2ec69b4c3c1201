"""
Tests for the module L{txtuntap.tcp.turns}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Readers, Sent, segment
from txtuntap.tcp.congestion import NewReno
from txtuntap.tcp.handshake import Parameters
from txtuntap.testing import udpPacket
from txtuntap.wire.tcp import ACK, SYN, packSynOptions, packTimestamps


class ReadTests(SynchronousTestCase):
    """
    Tests for segments that are read together.

    @ivar peer: the peer of a host with a connection to its port 80.
    """

    def start(self, factory: Any, **options: Any) -> None:
        """
        Set up a listening host with a connection.
        """
        self.peer = RawPeer()
        self.peer.host.listenTCP(80, factory)
        self.connection = self.peer.open(80, **options)
        self.peer.sent()

    def sendTogether(self, *payloads: bytes, ahead: int = 0, options: bytes = b"") -> list[Sent]:
        """
        Let the host read several segments at once. Return its answers.

        @param ahead: the octets that are skipped before the first segment.
        """
        at = self.connection.next + ahead
        for payload in payloads:
            ends = THEIRS, OURS, 4000, 80
            self.peer.device.deliver(segment(*ends, at, self.connection.expected, ACK, payload, options))
            at += len(payload)
        return self.peer.sent()

    def test_aReadHasOneAcknowledgment(self) -> None:
        """
        Segments of one read get one acknowledgment.
        """
        self.start(readers := Readers())
        (answer,) = self.sendTogether(*[bytes(1000)] * 5)
        self.assertEqual(answer.acknowledgment, self.connection.next + 5000)
        self.assertEqual(len(readers.made[0].data), 5000)

    def test_aLongReadIsAcknowledgedEarly(self) -> None:
        """
        In a long read, the peer gets an acknowledgment before the end, so that it can send more.
        """
        self.start(Readers(), options=packSynOptions(9000, 14), window=4)
        for count in 7, 14, 28, 60:
            # The buffer grows because the application reads at once.
            for _ in range(3):
                answers = self.sendTogether(*[bytes(8000)] * count)
                self.connection.next += count * 8000
                self.assertEqual(answers[-1].acknowledgment, self.connection.next)
                self.peer.clock.advance(1)
        self.assertEqual(len(answers), 2)

    def test_eachSegmentOutOfOrderIsAcknowledged(self) -> None:
        """
        Each segment out of order gets an acknowledgment of its own, because a peer without SACK counts them.
        """
        self.start(Readers())
        answers = self.sendTogether(*[bytes(1000)] * 4, ahead=500)
        self.assertEqual([each.acknowledgment for each in answers], [self.connection.next] * 4)

    def test_timestampsNeverGoBack(self) -> None:
        """
        Timestamps never go back, even if the application takes long for its data. Otherwise, the peer would drop
        segments as old duplicates.
        """

        class Slow(Protocol):
            def dataReceived(self, data: bytes) -> None:
                peer.clock.rightNow += 3
                self.transport.write(data)  # type: ignore[union-attr]

        class Busy(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                peer.clock.rightNow += 3

        class Writer(Slow):
            def connectionMade(self) -> None:
                self.transport.write(b"first")  # type: ignore[union-attr]

        peer = self.peer = RawPeer()
        peer.host.listenUDP(7, Busy())
        peer.host.connectTCP(THEIRS, 80, ClientFactory.forProtocol(Writer))
        (syn,) = peer.sent()
        ends = THEIRS, OURS, 80, syn.sourcePort
        peer.device.deliver(udpPacket(THEIRS, OURS, 5000, 7, b""))
        options = packSynOptions(1460, 2, True, (8, syn.options.timestamp or 0))
        peer.device.deliver(segment(*ends, 1000, syn.sequence + 1, SYN | ACK, b"", options))
        found = [syn, *peer.sent()]
        for at, payload in (1004, b"z"), (1001, b"abc"), (1006, b"z"):
            peer.device.deliver(segment(*ends, at, syn.sequence + 6, ACK, payload, packTimestamps(9, 0)))
        found += peer.sent()
        times = [each.options.timestamp for each in found if each.options.timestamp is not None]
        self.assertGreater(len(set(times)), 2)
        self.assertEqual(times, sorted(times))

    def test_aProducerFillsSegments(self) -> None:
        """
        A producer is resumed before its last data is sent, so that its small writes fill segments.
        """

        class Source(Protocol):
            def connectionMade(self) -> None:
                self.transport.registerProducer(self, False)  # type: ignore[union-attr]

            def resumeProducing(self) -> None:
                self.transport.write(bytes(30_000))  # type: ignore[union-attr]

            def stopProducing(self) -> None:
                pass

        self.start(Factory.forProtocol(Source), options=packSynOptions(1000))
        sizes = []
        for _ in range(20):
            ends = THEIRS, OURS, 4000, 80
            self.peer.device.deliver(segment(*ends, self.connection.next, self.connection.expected, ACK))
            sent = self.peer.sent()
            sizes += [len(each.payload) for each in sent]
            self.connection.expected = sent[-1].sequence + len(sent[-1].payload)
        self.assertEqual(set(sizes), {1000})

    def test_acknowledgmentsOfAReadAreProcessedTogether(self) -> None:
        """
        Only the last acknowledgment of a read is processed. A duplicate one is processed by itself, because it may
        indicate a loss.
        """
        taken: list[tuple[int, int, int]] = []

        class Noting(NewReno):
            def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
                taken.append((octets, acknowledged, sent))
                super().acknowledged(octets, acknowledged, sent, now)

        class Source(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(bytes(200_000))  # type: ignore[union-attr]

        peer = self.peer = RawPeer()
        peer.host.tcp.listen(80, Factory.forProtocol(Source), parameters=Parameters(congestion=Noting))
        connection = self.connection = peer.open(80, options=packSynOptions(1000, 7, True, (7, 0)))
        first = (connection.expected - 10 * 988) & 0xFFFFFFFF
        ends = THEIRS, OURS, 4000, 80, connection.next

        def acknowledge(*segments: int) -> int:
            for count in segments:
                options = packTimestamps(8, 0)
                peer.device.deliver(segment(*ends, (first + 988 * count) & 0xFFFFFFFF, ACK, b"", options))
            return sum(len(each.payload) for each in peer.sent()) // 988

        self.assertEqual(acknowledge(2, 4, 6, 8), 16)
        self.assertEqual([each[:2] for each in taken], [(8 * 988, 1 + 8 * 988)])
        self.assertEqual(acknowledge(9, 9, 10), 4)
        self.assertEqual([each[0] // 988 for each in taken[1:]], [1, 1])
