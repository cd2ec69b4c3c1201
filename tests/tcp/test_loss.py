"""
Tests for transfers over paths that lose, reorder and damage packets, in virtual time. They check the goodput and the
number of spurious retransmissions.
"""

from __future__ import annotations

from random import Random
from statistics import geometric_mean
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tests.long import lengths
from tests.tcp.pair import Pair, Segment
from tests.tcp.rawpeer import THEIRS, RawConnection, RawPeer, Readers
from txtuntap.middleware import Netem
from txtuntap.network import Network
from txtuntap.wire.tcp import packSynOptions, packTimestamps

SIZE = 1448


def transfer(pair: Pair, segments: int, seconds: float = 60.0) -> float:
    """
    Send segments from the first end to the second.

    @return: the duration in seconds.
    """
    # Checks of all records of a large window would take long.
    pair.checks = pair.keeps = False
    pair.open()
    begun = pair.now
    pair.write(0, bytes(segments * SIZE))
    pair.run(seconds, lambda: pair.ends[0].sender.acknowledged > segments * SIZE)
    assert len(pair.text(1)) == segments * SIZE, "not all has arrived"
    return pair.now - begun


class ReorderingTests(SynchronousTestCase):
    """
    Tests for segments that arrive in another order.
    """

    def test_oneLateSegmentWidensTheReorderingWindow(self) -> None:
        """
        One spurious retransmission is enough: the reordering window becomes as long as the delay of its segment.
        """
        pair = Pair(0.05)
        pair.latency = lambda end, index, segment: 0.1 if segment.data and not index % 20 else 0.05
        transfer(pair, 2000)
        self.assertEqual(pair.ends[0].sender.sentAgain, 1)

    def test_aShorterPathDoesNotStopGrowth(self) -> None:
        """
        If one packet in four takes a shorter path, the least round-trip time is too small, but the window still grows.
        """
        random = Random(1)
        pair = Pair(0.01, rate=12.5e6)
        pair.latency = lambda end, index, segment: 0.0 if random.random() < 0.25 else 0.01
        self.assertLess(transfer(pair, 10_000), 5.0)


class OverflowTests(SynchronousTestCase):
    """
    Tests for a queue that overflows on the path.
    """

    def test_everyLostSegmentIsRetransmittedOnce(self) -> None:
        """
        Slow start loses every other segment of a window. Each is retransmitted once, because the receiver has kept the
        segments between them.
        """
        pair = Pair(0.05, rate=12.5e6, queue=1000 * 1500)

        def isLost(end: int, index: int, segment: Segment) -> bool:
            # The window is about 1,200 segments by then.
            return not end and bool(segment.data) and 2000 <= index < 3000 and index % 2 == 0

        pair.drop = isLost
        transfer(pair, 8000)
        self.assertGreaterEqual(pair.lost, 500)
        self.assertEqual(pair.ends[0].sender.sentAgain, pair.lost)


class OpeningTests(SynchronousTestCase):
    """
    Tests for a handshake in which a segment is lost.
    """

    def test_theRoundTripOfARetransmittedSYNIsMeasured(self) -> None:
        """
        The echoed timestamp tells which SYN is answered, so the round-trip time is known.
        """
        pair = Pair(0.01)
        pair.drop = lambda end, index, segment: not end and not index
        pair.open()
        pair.run(0.1)
        self.assertAlmostEqual(pair.ends[0].sender.roundTrip.smoothed, 0.02, 2)
        self.assertLess(pair.ends[0].sender.roundTrip.timeout, 0.3)

    def firstTimeout(self, backlog: int, isRepeated: bool) -> float:
        """
        Open a connection to a host, and acknowledge its last SYN+ACK after 50 ms.

        @param isRepeated: whether the SYN is retransmitted after 0.9 s.

        @return: the first retransmission timeout of the host, in seconds.
        """
        peer = RawPeer()
        factory = Readers()
        peer.host.listenTCP(80, factory, backlog=backlog)
        said = packSynOptions(1460, 14, True, (1, 0))
        (answer,) = peer.syn(80, options=said)
        if isRepeated:
            peer.clock.advance(0.9)
            (answer,) = peer.syn(80, options=packSynOptions(1460, 14, True, (2, 0)))
            self.assertEqual(answer.options.echo, 2)
        peer.clock.advance(0.05)
        connection = RawConnection(peer, THEIRS, 4000, 80, answer.sequence)
        connection.send(b"hello", options=packTimestamps(2, answer.options.timestamp or 0))
        transport: Any = factory.made[0].transport
        return float(transport.connection.sender.roundTrip.timeout)

    def test_theRoundTripOfARetransmittedSYNACKIsMeasured(self) -> None:
        self.assertAlmostEqual(self.firstTimeout(5, False), 0.25, 2)
        self.assertAlmostEqual(self.firstTimeout(5, True), 0.25, 2)

    def test_theRoundTripOfACookieIsMeasured(self) -> None:
        # The lowest bits of its timestamp are the options, so the measured time may be up to 63 ms longer.
        self.assertLess(self.firstTimeout(0, False), 0.25 + 3 * 0.063)


class TailTests(SynchronousTestCase):
    """
    Tests for the end of a transfer.
    """

    def test_aFINOutOfOrderRevealsALoss(self) -> None:
        """
        A segment with a FIN is SACKed when it arrives out of order. This shows at once that the one before it is lost.
        """
        pair = Pair(0.01)
        pair.open()
        lost: list[Segment] = []

        def isLost(end: int, index: int, segment: Segment) -> bool:
            isOne = not end and len(segment.data) == SIZE and not lost
            lost.extend([segment] * isOne)
            return isOne

        pair.drop = isLost
        begun = pair.now
        pair.ends[0].write(bytes(SIZE + 100))
        pair.shutdown(0)
        pair.run(10, lambda: pair.ends[0].sender.isFinished)
        self.assertEqual((len(lost), pair.ends[0].sender.timeouts), (1, 0))
        self.assertLess(pair.now - begun, 0.06)


class _Sink(Protocol):
    """
    A protocol that fires C{done} when it has received all octets.
    """

    def __init__(self, octets: int) -> None:
        self.done: Deferred[None] = Deferred()
        self._left = octets

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if not self._left:
            self.done.callback(None)


class _Source(Protocol):
    """
    A protocol that writes a number of octets.
    """

    transport: Any

    def __init__(self, octets: int) -> None:
        self._octets = octets

    def connectionMade(self) -> None:
        self.transport.write(bytes(self._octets))


def goodput(netem: str, seed: int, octets: int) -> float:
    """
    Send data from one host to another over a link of 100 Mbit/s.

    @return: the goodput in megabits a second of virtual time.
    """
    with Network(seed) as net:
        near, far = net.host("10.0.0.1/24"), net.host("10.0.0.2/24")
        link = net.link(near, far, "rate 100mbit")
        sink = _Sink(octets)
        far.listenTCP(80, Factory.forProtocol(lambda: sink))
        net.result(near.ping("10.0.0.2"))
        impairment = net.impairment(link)
        impairment.up = impairment.down = Netem.of(f"{netem} rate 100mbit")
        begun = net.clock.seconds()
        near.connectTCP("10.0.0.2", 80, ClientFactory.forProtocol(lambda: _Source(octets)))
        net.result(sink.done)
        took: float = net.clock.seconds() - begun
        return 8e-6 * octets / took


#: The impairments of a link, and the least goodput in megabits a second. It is that of Linux, or a little less.
PATHS = (
    ("delay 10ms loss 0.1%", 25.0),
    ("delay 10ms loss 1%", 6.0),
    ("delay 10ms loss 5%", 1.9),
    ("delay 50ms loss 10%", 0.3),
    ("delay 10ms loss gemodel 1% 30%", 3.0),
    ("delay 10ms reorder 25%", 20.0),
    ("delay 50ms reorder 1%", 7.0),
    ("delay 10ms duplicate 10%", 50.0),
    ("delay 10ms corrupt 1%", 6.0),
)


@lengths("seeds", 1, 20, "loss")
@pytest.mark.parametrize(("netem", "least"), PATHS)
def test_goodputIsThatOfLinux(netem: str, least: float, seeds: int) -> None:
    """
    The goodput over a bad link is about that of Linux, in virtual time.
    """
    octets = 3_000_000 if least >= 1 else 500_000
    reached = [goodput(netem, seed, octets) for seed in range(seeds)]
    assert geometric_mean(reached) > least
