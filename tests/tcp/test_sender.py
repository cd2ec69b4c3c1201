"""
Tests for the sending half of a connection: which segments are sent at which time.
"""

from __future__ import annotations

from collections import Counter
from math import ceil

from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.oneway import LARGE, PLAIN, SIZE, OneWay
from tests.tcp.pair import End
from txtuntap.tcp.congestion import NewReno
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.sender import Sender
from txtuntap.wire.tcp import FIN


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
