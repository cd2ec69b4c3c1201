"""
Tests for the sending half of a connection: which segments are sent at which time.
"""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.pair import End, Pair, Segment
from txtuntap.tcp.congestion import NewReno
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.recovery import Phase
from txtuntap.tcp.sender import Sender
from txtuntap.wire.tcp import FIN

#: The octets of data in a segment, with timestamps and without.
SIZE = 1448
LARGE = 1460

PLAIN = Parameters(timestamps=False)
RENO = Parameters(congestion=NewReno)


class OneWay:
    """
    A L{Pair} whose first end sends data, and whose second end reads it.

    @ivar begun: when data was written first, in seconds.
    """

    def __init__(self, segments: float, size: int = SIZE, delay: float = 0.05, **options: Any) -> None:
        """
        @param segments: the number of segments to write at once. 0: none.
        @param options: the arguments of the L{Pair}.
        """
        self.size = size
        self.pair = Pair(delay, **options)
        self.pair.open()
        self.pair.run(0.2)
        self.connection: Connection = self.pair.ends[0]
        self.sender: Sender = self.connection.sender
        self.begun = self.pair.now
        self.first = len(self.pair.wires[0].sent)
        self.written = 0
        if segments:
            self.write(segments)

    def write(self, segments: float) -> None:
        octets = int(segments * self.size)
        self.written += octets
        self.pair.write(0, bytes(octets))

    def number(self, segment: Segment) -> float:
        """
        Return the number of a segment in the stream. The first one has the number 0.
        """
        place = (segment.sequence - self.pair.initial[0] - 1 & 0xFFFFFFFF) / self.size
        return int(place) if place == int(place) else place

    def lose(self, *numbers: int) -> None:
        """
        Lose some segments when they are sent first.

        @param numbers: the numbers of the segments in the stream.
        """
        left = set(numbers)

        def drop(end: int, index: int, segment: Segment) -> bool:
            number = self.number(segment)
            if end or not segment.data or number not in left:
                return False
            left.remove(int(number))
            return True

        self.pair.drop = drop

    def sent(self, since: float = 0.0, until: float = 1e9) -> list[float]:
        """
        Return the numbers of the segments that were sent in a span of time after data was written.
        """
        return [
            self.number(each)
            for each in self.pair.data(0, self.first)
            if since - 1e-9 <= each.at - self.begun < until - 1e-9
        ]

    def times(self, number: float) -> list[float]:
        """
        Return the times at which a segment was sent, in seconds after data was written.
        """
        return [round(each.at - self.begun, 3) for each in self.pair.data(0, self.first) if self.number(each) == number]

    def finish(self, seconds: float = 100.0) -> None:
        """
        Run until all data is acknowledged.
        """
        self.pair.run(seconds, lambda: self.sender.acknowledged > self.written)
        assert len(self.pair.text(1)) == self.written, "not all has arrived"


class WindowTests(SynchronousTestCase):
    """
    Tests for the amount of data that is sent.
    """

    def test_theInitialWindowIsTenSegments(self) -> None:
        """
        Ten segments are sent at first, and twenty when those are acknowledged.
        """
        flow = OneWay(100)
        flow.pair.run(0.15)
        self.assertEqual(flow.sent(0, 0.1), list(range(10)))
        self.assertEqual(flow.sent(0.1, 0.2), list(range(10, 30)))

    def test_aWriteHoldsAMillisecondOfData(self) -> None:
        """
        One write has the data that is sent in a millisecond, but at least two segments.
        """
        flow = OneWay(1000)
        flow.finish()
        writes = Counter(each.burst for each in flow.pair.data(0, flow.first))
        self.assertGreater(max(writes.values()), 2)
        self.assertLessEqual(max(writes.values()), ceil(flow.sender.control.window / SIZE / 100))
        flow = OneWay(8, delay=0.0001)
        self.assertEqual(flow.pair.wires[0].sent[-1].burst, flow.pair.wires[0].sent[-8].burst)

    def test_withoutSegmentationAWriteIsASegment(self) -> None:
        """
        If the port segments no superpackets, each write is one segment.
        """
        flow = OneWay(100, cuts=False)
        flow.finish()

    def test_idleTimeResetsTheWindow(self) -> None:
        """
        After a long idle time, the window is the initial one again.
        """
        flow = OneWay(300)
        flow.finish()
        flow.pair.run(20)
        self.assertGreater(flow.sender.control.window, 100 * SIZE)
        flow.begun = flow.pair.now
        flow.write(100)
        self.assertEqual(len(flow.sent()), 10)

    def test_anUnusedWindowDoesNotGrow(self) -> None:
        """
        A window that is never full does not grow.
        """
        flow = OneWay(0)
        for _ in range(50):
            flow.write(2)
            flow.pair.run(0.12)
        self.assertEqual(flow.sender.control.window, 10 * SIZE)

    def test_aSmallWindowGetsFullSegments(self) -> None:
        """
        Into a window of 4000 octets, two full segments are sent. The rest of the window is not used (silly window
        avoidance).
        """
        flow = OneWay(10, LARGE, second=Parameters(receiveBuffer=4000, timestamps=False))
        self.assertEqual([len(each.data) for each in flow.pair.data(0)], [LARGE, LARGE])
        flow.finish()

    def test_aTinyWindowGetsSmallSegments(self) -> None:
        """
        If the window is never larger than a segment, small segments are sent.
        """
        flow = OneWay(3, LARGE, second=Parameters(receiveBuffer=700, timestamps=False))
        flow.finish()
        self.assertEqual({len(each.data) for each in flow.pair.data(0)[:-1]}, {700})

    def test_aSmallSegmentWaits(self) -> None:
        """
        A small segment waits while another one is unacknowledged. A full segment does not wait, nor does the small one
        behind it.
        """
        flow = OneWay(0)
        flow.pair.write(0, bytes(100))
        flow.pair.write(0, bytes(100))
        flow.pair.write(0, bytes(100))
        self.assertEqual([len(each.data) for each in flow.pair.data(0)], [100])
        flow.pair.run(1)
        flow.pair.write(0, bytes(SIZE + 100))
        flow.pair.write(0, bytes(100))
        self.assertEqual([len(each.data) for each in flow.pair.data(0)], [100, 200, SIZE, 100])

    def test_withoutNagleEachWriteLeaves(self) -> None:
        """
        Without Nagle's algorithm, each write is sent at once.
        """
        flow = OneWay(0)
        flow.sender.noDelay = True
        for _ in range(3):
            flow.pair.write(0, bytes(100))
        self.assertEqual([len(each.data) for each in flow.pair.data(0)], [100] * 3)

    def test_aShrunkWindowLimitsRetransmissions(self) -> None:
        """
        Lost data beyond a smaller window is not retransmitted. Only the first segment is retransmitted, as a probe.
        """
        sender = Sender(NewReno(), 4)
        sender.usesSACK = True
        sender.open(1000)
        sender.acknowledged = sender.next = 1
        sender.window = 10_000
        sender.buffer.append(bytes(10_000))
        while sender.nextRange(0.0) is not None:
            pass
        self.assertEqual(sender.next, 10_001)
        sender.arm(0.0, True)
        self.assertEqual(sender.timedOut(1.0), (1, 1001, True))
        sender.ackReceived(1001, 1500, (), False, None, 1.1)
        self.assertEqual(sender.nextRange(1.1), (1001, 2001, True))
        self.assertEqual(sender.nextRange(1.1), (2001, 2501, True))
        self.assertIsNone(sender.nextRange(1.1))
        sender.ackReceived(2501, 0, (), False, None, 1.2)
        self.assertEqual(sender.nextRange(1.2), (2501, 3501, True))
        self.assertIsNone(sender.nextRange(1.2))

    def test_theRateOfAControlIsKept(self) -> None:
        """
        The rate of a congestion control is kept on average, at the cost of one timer call for each segment.
        """

        class Paced(NewReno):
            __slots__ = ()

            def started(self, segmentSize: int) -> None:
                super().started(segmentSize)
                self.rate = 100_000.0

        flow = OneWay(200, first=Parameters(congestion=Paced))
        calls = flow.pair.calls
        flow.finish()
        self.assertAlmostEqual(200 * SIZE / 100_000, flow.pair.now - flow.begun - 0.1, 0)
        self.assertLess(flow.pair.calls - calls, 5 * 200)


class LossTests(SynchronousTestCase):
    """
    Tests for the detection and repair of losses.
    """

    def checkThirdDuplicate(self, **options: Any) -> None:
        flow = OneWay(0, rate=1e6, **options)
        flow.lose(10)
        flow.write(100)
        flow.finish()
        order = flow.sent()
        at = order.index(10)
        again = order.index(10, at + 1)
        arrived = [each for each in flow.pair.wires[1].sent if each.at > flow.begun]
        self.assertGreater(len(arrived), 0)
        self.assertEqual(flow.sender.sentAgain, 1)
        self.assertEqual(order.count(10), 2)
        # Segments 11 and 12 have arrived out of order, and each allows a new one (RFC 3042). The third one shows a
        # loss.
        first, second, third = flow.pair.data(0, flow.first)[again - 2 : again + 1]
        self.assertEqual(flow.number(third), 10)
        self.assertLess(first.at, second.at)
        self.assertAlmostEqual(second.at - first.at, 1500 / 1e6, 4)
        self.assertAlmostEqual(third.at - second.at, 1500 / 1e6, 4)

    def test_theThirdSACKRetransmits(self) -> None:
        """
        With SACK, two segments out of order allow new segments, and the third one causes the retransmission.
        """
        self.checkThirdDuplicate()

    def test_theThirdDuplicateRetransmits(self) -> None:
        """
        Without SACK, duplicate acknowledgments have the same effect.
        """
        self.checkThirdDuplicate(second=Parameters(sack=False, timestamps=False), size=LARGE)

    def test_partialAcknowledgmentsRetransmit(self) -> None:
        """
        Without SACK, each partial acknowledgment causes the next retransmission. Only lost segments are retransmitted
        (RFC 6582).
        """
        flow = OneWay(0, LARGE, second=Parameters(sack=False, timestamps=False))
        flow.lose(12, 15, 17)
        flow.write(100)
        flow.finish()
        self.assertEqual(flow.sender.sentAgain, 3)
        self.assertEqual(flow.sender.phase, Phase.OPEN)

    def test_onlyLostSegmentsAreRetransmitted(self) -> None:
        """
        With SACK, only lost segments are retransmitted, in one recovery.
        """
        flow = OneWay(0)
        flow.lose(31, 33, 34, 40, 50, 51, 52)
        flow.write(200)
        flow.finish()
        self.assertEqual(flow.sender.sentAgain, 7)
        self.assertEqual(
            [number for number, times in Counter(flow.sent()).items() if times > 1], [31, 33, 34, 40, 50, 51, 52]
        )

    def test_lossesAreRetransmittedInSuperpackets(self) -> None:
        """
        Lost segments side by side are retransmitted in superpackets, even if they were sent alone before.
        """
        flow = OneWay(0, delay=0.0001)
        for _ in range(20):
            flow.write(0.3)
        flow.sender.noDelay = True
        flow.write(0.3)
        sent = len(flow.pair.data(0))
        flow.pair.wires[0].room -= 100
        flow.connection.pathChanged()
        flow.pair.after(0)
        again = flow.pair.data(0)[sent:]
        self.assertGreater(len(again), 3)
        self.assertEqual(len({each.burst for each in again}), 1)
        flow.finish()

    def test_reorderingDelaysTheLossMark(self) -> None:
        """
        Once the path has reordered segments, a segment is lost only a quarter of a round trip later. After a D-SACK,
        the delay is two quarters (RFC 8985 section 6.2).
        """
        flow = OneWay(0)
        late = {5: 0.011}
        flow.pair.latency = lambda end, index, segment: (
            0.05 + (late.pop(int(flow.number(segment)), 0.0) if segment.data and not end else 0.0)
        )
        flow.lose(200)
        flow.write(300)
        flow.pair.run(0.3)
        self.assertEqual(flow.sender.sentAgain, 1)
        self.assertTrue(flow.sender.board.reordered)
        flow.finish()
        first, again = flow.times(200)
        self.assertAlmostEqual(again - first, 0.15, 2)
        self.assertEqual(flow.sender.sentAgain, 2)

    def test_aTailLossProbeReplacesATimeout(self) -> None:
        """
        After two round trips without an acknowledgment, the last segment is sent as a probe. Its acknowledgment reveals
        the other losses (RFC 8985 section 7). There is no timeout.
        """
        flow = OneWay(0)
        flow.lose(7, 8, 9)
        flow.write(10)
        flow.finish()
        # The last acknowledgment before the probe was received after one round trip.
        self.assertEqual(flow.times(9), [0, round(0.1 + 2 * 0.1 + 0.002, 3)])
        self.assertEqual(flow.times(7), [0, 0.402])
        self.assertEqual(flow.sender.sentAgain, 3)
        self.assertLess(flow.sender.control.window, 10 * SIZE)

    def test_aProbeMayHaveNewData(self) -> None:
        """
        A probe has new data, if the congestion window holds some back.
        """
        flow = OneWay(0)
        flow.pair.drop = lambda end, index, segment: not end and flow.pair.now < flow.begun + 0.05
        flow.write(12)
        flow.pair.run(0.25)
        self.assertEqual(flow.sent(0.1), [10])
        flow.finish()

    def test_aProbeThatRepairsReducesTheWindow(self) -> None:
        """
        A probe that has repaired a loss reduces the window, once later data shows that it was no duplicate.
        """
        flow = OneWay(0, first=RENO)
        flow.lose(9)
        lose = flow.pair.drop
        # The last segment is lost, and so is the acknowledgment of the one before it.
        last = flow.pair.initial[0] + 1 + 9 * SIZE & 0xFFFFFFFF
        flow.pair.drop = lambda end, index, segment: (
            lose(end, index, segment) or (end == 1 and segment.acknowledgment == last)
        )
        flow.write(10)
        flow.finish()
        self.assertEqual(flow.times(9), [0, 0.302])
        flow.pair.run(1)
        self.assertEqual(flow.sender.phase, Phase.OPEN)
        window = flow.sender.control.window
        flow.write(5)
        flow.finish()
        self.assertLess(flow.sender.control.window, window)

    def test_recoverySendsInProportion(self) -> None:
        """
        In a recovery, half as much data is sent as arrives. The window after it is the threshold (RFC 6937).
        """
        flow = OneWay(0, first=RENO)
        flow.lose(100)
        flow.write(500)
        flow.pair.run(10, lambda: flow.sender.phase is Phase.RECOVERY)
        window = flow.sender.control.threshold * 2
        before = len(flow.sent())
        flow.pair.run(10, lambda: flow.sender.phase is Phase.OPEN)
        left = len(flow.sent()) - before
        self.assertAlmostEqual(left / (window / SIZE / 2), 1, 1)
        self.assertAlmostEqual(flow.sender.control.window / window, 0.5, 1)


class UndoTests(SynchronousTestCase):
    """
    Tests for undoing the reduction after spurious retransmissions.
    """

    def late(self, seconds: float, number: int, **options: Any) -> OneWay:
        """
        Send data, of which one segment arrives late.
        """
        flow = OneWay(0, **options)
        late = {number: seconds}
        flow.pair.latency = lambda end, index, segment: (
            0.05 + (late.pop(flow.number(segment), 0.0) if segment.data and not end else 0.0)  # type: ignore[call-overload]
        )
        flow.write(200)
        flow.finish()
        self.assertGreater(flow.sender.sentAgain, 0)
        self.assertEqual(flow.sender.phase, Phase.OPEN)
        return flow

    def test_anOldEchoUndoesTheReduction(self) -> None:
        """
        An echoed timestamp from before the retransmission undoes the reduction.
        """
        flow = self.late(0.08, 20, first=RENO)
        self.assertEqual(flow.sender.sentAgain, 1)
        self.assertGreater(flow.sender.control.window, 100 * SIZE)
        self.assertEqual(flow.sender.control.threshold, float("inf"))

    def test_aDSACKUndoesTheReduction(self) -> None:
        """
        A D-SACK for all retransmissions undoes the reduction.
        """
        flow = self.late(0.08, 20, size=LARGE, first=Parameters(congestion=NewReno, timestamps=False))
        self.assertEqual(flow.sender.sentAgain, 1)
        self.assertEqual(flow.sender.control.threshold, float("inf"))

    def checkFRTO(self, sack: bool) -> None:
        flow = OneWay(0, LARGE, first=Parameters(congestion=NewReno, timestamps=False, sack=sack))
        # The path is slow for half a second.
        flow.pair.latency = lambda end, index, segment: max(0.05, flow.begun + 0.5 - flow.pair.now)
        flow.write(100)
        flow.finish()
        self.assertGreater(flow.sender.sentAgain, 0)
        self.assertLessEqual(flow.sender.sentAgain, 3)
        self.assertEqual(flow.sender.control.threshold, float("inf"))

    def test_FRTOUndoesTheReduction(self) -> None:
        """
        After a timeout, an acknowledgment of data that was sent before it and not retransmitted undoes the reduction
        (F-RTO). There are few spurious retransmissions.
        """
        self.checkFRTO(True)

    def test_FRTOWithoutSACKUndoesTheReduction(self) -> None:
        """
        F-RTO works without SACK, too (RFC 5682 section 2.1).
        """
        self.checkFRTO(False)

    def test_duplicatesOfTheNetworkUndoNothing(self) -> None:
        """
        D-SACKs of segments that the network has duplicated undo nothing, and do not widen the reordering window.
        """
        flow = OneWay(0, LARGE, first=Parameters(congestion=NewReno, timestamps=False))
        flow.lose(100)
        flow.write(300)
        flow.pair.onto = lambda end, index, segment: [(0.05, segment), (0.05, segment)]
        flow.finish()
        self.assertEqual(flow.sender.sentAgain, 1)
        self.assertLess(flow.sender.control.threshold, float("inf"))


class TimerTests(SynchronousTestCase):
    """
    Tests for timeouts, probes, and giving up.
    """

    def test_theTimerBacksOffAndGivesUp(self) -> None:
        """
        The pauses between retransmissions double up to two minutes. After fifteen retransmissions, the connection ends.
        """
        flow = OneWay(0, delay=0.00001)
        flow.pair.drop = lambda end, index, segment: True
        flow.write(1)
        flow.pair.run(2000, lambda: flow.connection.ended is not None)
        self.assertIs(flow.connection.ended, End.TIMED_OUT)
        times = flow.times(0)
        self.assertEqual([round(each, 1) for each in times[:8]], [0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4])
        self.assertEqual(len(times), 16)
        self.assertAlmostEqual(flow.pair.now - flow.begun, 924.6, 0)

    def test_anOrphanIsGivenUpEarlier(self) -> None:
        """
        An orphan is given up after eight retransmissions.
        """
        flow = OneWay(0, delay=0.00001)
        flow.pair.drop = lambda end, index, segment: True
        flow.write(1)
        flow.connection.close(flow.pair.now)
        flow.pair.after(0)
        flow.pair.run(2000, lambda: flow.connection.ended is not None)
        self.assertEqual(len(flow.times(0)), 9)
        self.assertAlmostEqual(flow.pair.now - flow.begun, 102.2, 0)

    def test_theUserTimeoutEndsTheConnection(self) -> None:
        """
        A user timeout ends the connection if data stays unacknowledged, or if the peer's window stays closed.
        """
        flow = OneWay(0, first=Parameters(userTimeout=7.0))
        flow.pair.drop = lambda end, index, segment: True
        flow.write(1)
        flow.pair.run(2000, lambda: flow.connection.ended is not None)
        self.assertAlmostEqual(flow.pair.now - flow.begun, 7, 3)
        flow = OneWay(0, first=Parameters(userTimeout=7.0))
        flow.pair.reads[1] = False
        flow.write(200)
        flow.pair.run(2000, lambda: flow.connection.ended is not None)
        self.assertIs(flow.connection.ended, End.TIMED_OUT)
        self.assertAlmostEqual(flow.pair.now - flow.pair.data(0)[-1].at, 7.1, 1)

    def test_aClosedWindowIsProbed(self) -> None:
        """
        A closed window is probed with pauses that double, by segments without data. The connection continues as long as
        the peer answers.
        """
        flow = OneWay(0, delay=0.00001)
        flow.pair.reads[1] = False
        flow.write(200)
        flow.pair.run(5)
        begun = flow.pair.data(0)[-1].at
        sent = len(flow.pair.wires[0].sent)
        flow.pair.run(5000)
        self.assertIsNone(flow.connection.ended)
        probes = [each for each in flow.pair.wires[0].sent if each.at > begun + 0.1]
        self.assertEqual([round((each.at - begun) / 0.21) for each in probes[:5]], [1, 3, 7, 15, 30])
        self.assertEqual({each.data for each in probes}, {b""})
        self.assertEqual({each.sequence for each in probes}, {flow.pair.wires[1].sent[-1].acknowledgment - 1})
        self.assertGreater(len(flow.pair.wires[0].sent), sent + 30)
        flow.pair.reads[1] = True
        flow.pair.after(1)
        flow.finish(1)

    def test_anOrphanWithAClosedWindowIsGivenUp(self) -> None:
        """
        An orphan does not probe a closed window for ever.
        """
        flow = OneWay(0)
        flow.pair.reads[1] = False
        flow.write(200)
        flow.connection.close(flow.pair.now)
        flow.pair.after(0)
        flow.pair.run(1000, lambda: flow.connection.ended is not None)
        self.assertIs(flow.connection.ended, End.TIMED_OUT)

    def test_theFINIsInTheLastSegment(self) -> None:
        """
        The FIN is in the same segment as the last data, also in a retransmission.
        """
        flow = OneWay(0)
        flow.pair.ends[0].write(bytes(100))
        flow.written = 100
        flow.lose(0)
        flow.pair.shutdown(0)
        flow.finish()
        self.assertEqual([(len(each.data), each.flags & FIN) for each in flow.pair.data(0)], [(100, FIN)] * 2)

    def test_theBackoffStaysUntilASample(self) -> None:
        """
        Without timestamps, the timeout keeps its backoff until data that was sent once is acknowledged.
        """
        flow = OneWay(1, LARGE, first=PLAIN)
        flow.pair.drop = lambda end, index, segment: flow.pair.now < flow.begun + 0.5
        flow.finish()
        self.assertEqual(flow.sender.timeouts, 2)
        flow.write(1)
        flow.finish()
        self.assertEqual(flow.sender.timeouts, 0)


class SizeTests(SynchronousTestCase):
    """
    Tests for the size of segments.
    """

    def test_aBlackHoleIsFound(self) -> None:
        """
        If a router drops large segments without an error, the size is reduced after three timeouts. Then the search
        finds the largest size that passes.
        """
        flow = OneWay(0)
        flow.pair.wires[0].hole = 1300
        flow.write(100)
        flow.finish()
        self.assertEqual(flow.sender.segmentSize, 1024)
        self.assertLess(flow.pair.now - flow.begun, 10)
        for _ in range(100):
            flow.write(100)
            flow.finish()
            flow.pair.run(2)
        # The header has 20 octets, and the timestamps option 12.
        self.assertLessEqual(flow.sender.segmentSize, 1268)
        self.assertGreater(flow.sender.segmentSize, 1268 - 32)
        flow.pair.wires[0].hole = 1500
        for _ in range(100):
            flow.write(100)
            flow.finish()
            flow.pair.run(20)
        self.assertEqual(flow.sender.segmentSize, SIZE)

    def test_aProvenSizeIsSuspectedLater(self) -> None:
        """
        A size that was delivered before is suspected only after more timeouts.
        """
        flow = OneWay(20)
        flow.finish()
        flow.pair.drop = lambda end, index, segment: flow.pair.now < flow.begun + 3
        flow.begun = flow.pair.now
        flow.write(10)
        flow.finish()
        self.assertGreater(len(flow.times(20)), 4)
        self.assertEqual(flow.sender.segmentSize, SIZE)

    def test_smallSegmentsAreNotSuspected(self) -> None:
        """
        After the loss of small segments, the size is not reduced.
        """
        flow = OneWay(0)
        flow.pair.drop = lambda end, index, segment: flow.pair.now < flow.begun + 10
        flow.pair.write(0, bytes(300))
        flow.pair.run(60)
        self.assertEqual(flow.sender.segmentSize, SIZE)

    def test_aSmallerMTURetransmitsAtOnce(self) -> None:
        """
        If the path MTU shrinks, unacknowledged data is retransmitted at once in smaller segments. The congestion window
        stays the same.
        """
        flow = OneWay(100)
        window = flow.sender.control.window
        flow.pair.wires[0].room = 532
        flow.connection.pathChanged()
        flow.pair.after(0)
        self.assertGreaterEqual(len(flow.pair.data(0)), 10 + 28)
        self.assertEqual({len(each.data) for each in flow.pair.data(0)[10:]}, {500})
        self.assertEqual(flow.sender.control.window, window)
        flow.finish()
        self.assertGreaterEqual(flow.sender.control.window, window)

    def test_theFallbackFitsTheLeastMTUOfIPv6(self) -> None:
        """
        With IPv6, the smaller size after a black hole fits the least MTU of IPv6 with timestamps.
        """
        sender = Sender(NewReno(), 6)
        sender.open(1428)
        self.assertEqual(sender.search.suspected(1428, 1428, 0, 3, 0.0), 1280 - 40 - 20 - 12)
