"""
Tests for the sending half of a connection: which segment leaves when.
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

#: Octets of data in a segment, with timestamps and without.
SIZE = 1448
LARGE = 1460

PLAIN = Parameters(timestamps=False)
RENO = Parameters(congestion=NewReno)


class Half:
    """
    One end sends to the other, which reads.

    @ivar begun: when data was written, in seconds.
    """

    def __init__(self, segments: float, size: int = SIZE, delay: float = 0.05, **options: Any) -> None:
        """
        @param segments: how many are written at once; 0: none.
        @param options: for the L{Pair}.
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
        The place of a segment in the stream, in segments; 0 is the first one.
        """
        place = (segment.sequence - self.pair.initial[0] - 1 & 0xFFFFFFFF) / self.size
        return int(place) if place == int(place) else place

    def lose(self, *numbers: int) -> None:
        """
        Lose these segments, the first time.
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
        The numbers of the segments that have left, in a time since data was written.
        """
        return [
            self.number(each)
            for each in self.pair.data(0, self.first)
            if since - 1e-9 <= each.at - self.begun < until - 1e-9
        ]

    def times(self, number: float) -> list[float]:
        """
        When a segment has left each time, in seconds since data was written.
        """
        return [round(each.at - self.begun, 3) for each in self.pair.data(0, self.first) if self.number(each) == number]

    def finish(self, seconds: float = 100.0) -> None:
        """
        Run until all has arrived.
        """
        self.pair.run(seconds, lambda: self.sender.acknowledged > self.written)
        assert len(self.pair.text(1)) == self.written, "not all has arrived"


class WindowTests(SynchronousTestCase):
    """
    Tests for how much leaves.
    """

    def test_initial(self) -> None:
        """
        Ten segments leave, and twenty when those are acknowledged.
        """
        half = Half(100)
        half.pair.run(0.15)
        self.assertEqual(half.sent(0, 0.1), list(range(10)))
        self.assertEqual(half.sent(0.1, 0.2), list(range(10, 30)))

    def test_bursts(self) -> None:
        """
        One write holds what the window sends in a millisecond, and two segments at least; where that is all, all.
        """
        half = Half(1000)
        half.finish()
        writes = Counter(each.burst for each in half.pair.data(0, half.first))
        self.assertGreater(max(writes.values()), 2)
        self.assertLessEqual(max(writes.values()), ceil(half.sender.control.window / SIZE / 100))
        half = Half(8, delay=0.0001)
        self.assertEqual(half.pair.wires[0].sent[-1].burst, half.pair.wires[0].sent[-8].burst)

    def test_uncut(self) -> None:
        """
        Where nobody cuts superpackets, each write is one segment.
        """
        half = Half(100, cuts=False)
        half.finish()

    def test_idle(self) -> None:
        """
        After idleness, the window begins anew.
        """
        half = Half(300)
        half.finish()
        half.pair.run(20)
        self.assertGreater(half.sender.control.window, 100 * SIZE)
        half.begun = half.pair.now
        half.write(100)
        self.assertEqual(len(half.sent()), 10)

    def test_notLimited(self) -> None:
        """
        A window that limits nothing does not grow.
        """
        half = Half(0)
        for _ in range(50):
            half.write(2)
            half.pair.run(0.12)
        self.assertEqual(half.sender.control.window, 10 * SIZE)

    def test_smallWindow(self) -> None:
        """
        Into a window of 4000 octets, two full segments leave; what does not fill one waits (silly window avoidance).
        """
        half = Half(10, LARGE, second=Parameters(receiveBuffer=4000, timestamps=False))
        self.assertEqual([len(each.data) for each in half.pair.data(0)], [LARGE, LARGE])
        half.finish()

    def test_tinyWindow(self) -> None:
        """
        A window that is never larger than a segment gets small segments.
        """
        half = Half(3, LARGE, second=Parameters(receiveBuffer=700, timestamps=False))
        half.finish()
        self.assertEqual({len(each.data) for each in half.pair.data(0)[:-1]}, {700})

    def test_nagle(self) -> None:
        """
        A small segment waits while another one is under way; a full one does not, nor the small one behind it.
        """
        half = Half(0)
        half.pair.write(0, bytes(100))
        half.pair.write(0, bytes(100))
        half.pair.write(0, bytes(100))
        self.assertEqual([len(each.data) for each in half.pair.data(0)], [100])
        half.pair.run(1)
        half.pair.write(0, bytes(SIZE + 100))
        half.pair.write(0, bytes(100))
        self.assertEqual([len(each.data) for each in half.pair.data(0)], [100, 200, SIZE, 100])

    def test_noDelay(self) -> None:
        """
        Without Nagle's algorithm, each write leaves at once.
        """
        half = Half(0)
        half.sender.noDelay = True
        for _ in range(3):
            half.pair.write(0, bytes(100))
        self.assertEqual([len(each.data) for each in half.pair.data(0)], [100] * 3)

    def test_shrunkWindow(self) -> None:
        """
        What is lost beyond a window that has become smaller is not sent again; the first segment is, as a probe.
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

    def test_paced(self) -> None:
        """
        A control's rate is kept on average, and waiting for it costs one call a segment.
        """

        class Paced(NewReno):
            __slots__ = ()

            def started(self, segmentSize: int) -> None:
                super().started(segmentSize)
                self.rate = 100_000.0

        half = Half(200, first=Parameters(congestion=Paced))
        calls = half.pair.calls
        half.finish()
        self.assertAlmostEqual(200 * SIZE / 100_000, half.pair.now - half.begun - 0.1, 0)
        self.assertLess(half.pair.calls - calls, 5 * 200)


class LossTests(SynchronousTestCase):
    """
    Tests for finding losses.
    """

    def thirdDuplicate(self, **options: Any) -> None:
        half = Half(0, rate=1e6, **options)
        half.lose(10)
        half.write(100)
        half.finish()
        order = half.sent()
        at = order.index(10)
        again = order.index(10, at + 1)
        arrived = [each for each in half.pair.wires[1].sent if each.at > half.begun]
        self.assertGreater(len(arrived), 0)
        self.assertEqual(half.sender.sentAgain, 1)
        self.assertEqual(order.count(10), 2)
        # Segments 11 and 12 have arrived out of order: each lets one leave (RFC 3042). The third one tells of a loss.
        first, second, third = half.pair.data(0, half.first)[again - 2 : again + 1]
        self.assertEqual(half.number(third), 10)
        self.assertLess(first.at, second.at)
        self.assertAlmostEqual(second.at - first.at, 1500 / 1e6, 4)
        self.assertAlmostEqual(third.at - second.at, 1500 / 1e6, 4)

    def test_thirdBlock(self) -> None:
        """
        With SACK, two segments out of order let new ones leave, and the third one brings the retransmission.
        """
        self.thirdDuplicate()

    def test_thirdDuplicate(self) -> None:
        """
        Without SACK, so do duplicate acknowledgments.
        """
        self.thirdDuplicate(second=Parameters(sack=False, timestamps=False), size=LARGE)

    def test_withoutSACK(self) -> None:
        """
        Without SACK, each partial acknowledgment brings the next retransmission, and no more than what is lost is sent
        again (RFC 6582).
        """
        half = Half(0, LARGE, second=Parameters(sack=False, timestamps=False))
        half.lose(12, 15, 17)
        half.write(100)
        half.finish()
        self.assertEqual(half.sender.sentAgain, 3)
        self.assertEqual(half.sender.phase, Phase.OPEN)

    def test_many(self) -> None:
        """
        With SACK, only what is lost is sent again, in one recovery.
        """
        half = Half(0)
        half.lose(31, 33, 34, 40, 50, 51, 52)
        half.write(200)
        half.finish()
        self.assertEqual(half.sender.sentAgain, 7)
        self.assertEqual(
            [number for number, times in Counter(half.sent()).items() if times > 1], [31, 33, 34, 40, 50, 51, 52]
        )

    def test_superpacketAgain(self) -> None:
        """
        What is lost side by side is sent again in superpackets, however it was sent before.
        """
        half = Half(0, delay=0.0001)
        for _ in range(20):
            half.write(0.3)
        half.sender.noDelay = True
        half.write(0.3)
        sent = len(half.pair.data(0))
        half.pair.wires[0].room -= 100
        half.connection.pathChanged()
        half.pair.after(0)
        again = half.pair.data(0)[sent:]
        self.assertGreater(len(again), 3)
        self.assertEqual(len({each.burst for each in again}), 1)
        half.finish()

    def test_reordering(self) -> None:
        """
        Once the path was seen to reorder, a segment is lost only a quarter of a round trip later; after a D-SACK, two
        quarters (RFC 8985 section 6.2).
        """
        half = Half(0)
        late = {5: 0.011}
        half.pair.latency = lambda end, index, segment: (
            0.05 + (late.pop(int(half.number(segment)), 0.0) if segment.data and not end else 0.0)
        )
        half.lose(200)
        half.write(300)
        half.pair.run(0.3)
        self.assertEqual(half.sender.sentAgain, 1)
        self.assertTrue(half.sender.board.reordered)
        half.finish()
        first, again = half.times(200)
        self.assertAlmostEqual(again - first, 0.15, 2)
        self.assertEqual(half.sender.sentAgain, 2)

    def test_tailLossProbe(self) -> None:
        """
        After two round trips without an acknowledgment, the last segment is sent again, and what comes of that repairs
        the others (RFC 8985 section 7). There is no timeout.
        """
        half = Half(0)
        half.lose(7, 8, 9)
        half.write(10)
        half.finish()
        # The last acknowledgment has come after a round trip.
        self.assertEqual(half.times(9), [0, round(0.1 + 2 * 0.1 + 0.002, 3)])
        self.assertEqual(half.times(7), [0, 0.402])
        self.assertEqual(half.sender.sentAgain, 3)
        self.assertLess(half.sender.control.window, 10 * SIZE)

    def test_probeWithNew(self) -> None:
        """
        A probe has new data where there is some that the window keeps.
        """
        half = Half(0)
        half.pair.drop = lambda end, index, segment: not end and half.pair.now < half.begun + 0.05
        half.write(12)
        half.pair.run(0.25)
        self.assertEqual(half.sent(0.1), [10])
        half.finish()

    def test_probeRepairs(self) -> None:
        """
        A probe that has repaired a loss reduces the window, when later data shows that nothing came twice.
        """
        half = Half(0, first=RENO)
        half.lose(9)
        lose = half.pair.drop
        # The last segment is lost, and the acknowledgment of the one before.
        last = half.pair.initial[0] + 1 + 9 * SIZE & 0xFFFFFFFF
        half.pair.drop = lambda end, index, segment: (
            lose(end, index, segment) or (end == 1 and segment.acknowledgment == last)
        )
        half.write(10)
        half.finish()
        self.assertEqual(half.times(9), [0, 0.302])
        half.pair.run(1)
        self.assertEqual(half.sender.phase, Phase.OPEN)
        window = half.sender.control.window
        half.write(5)
        half.finish()
        self.assertLess(half.sender.control.window, window)

    def test_proportion(self) -> None:
        """
        In a recovery, half as much leaves as arrives, and the window after it is the threshold (RFC 6937).
        """
        half = Half(0, first=RENO)
        half.lose(100)
        half.write(500)
        half.pair.run(10, lambda: half.sender.phase is Phase.RECOVERY)
        window = half.sender.control.threshold * 2
        before = len(half.sent())
        half.pair.run(10, lambda: half.sender.phase is Phase.OPEN)
        left = len(half.sent()) - before
        self.assertAlmostEqual(left / (window / SIZE / 2), 1, 1)
        self.assertAlmostEqual(half.sender.control.window / window, 0.5, 1)


class UndoTests(SynchronousTestCase):
    """
    Tests for retransmissions that were for nothing.
    """

    def late(self, seconds: float, number: int, **options: Any) -> Half:
        """
        Have a segment come late.
        """
        half = Half(0, **options)
        late = {number: seconds}
        half.pair.latency = lambda end, index, segment: (
            0.05 + (late.pop(half.number(segment), 0.0) if segment.data and not end else 0.0)  # type: ignore[call-overload]
        )
        half.write(200)
        half.finish()
        self.assertGreater(half.sender.sentAgain, 0)
        self.assertEqual(half.sender.phase, Phase.OPEN)
        return half

    def test_timestamps(self) -> None:
        """
        An echoed timestamp from before the retransmission undoes the reduction.
        """
        half = self.late(0.08, 20, first=RENO)
        self.assertEqual(half.sender.sentAgain, 1)
        self.assertGreater(half.sender.control.window, 100 * SIZE)
        self.assertEqual(half.sender.control.threshold, float("inf"))

    def test_duplicates(self) -> None:
        """
        So does a D-SACK for all that was sent again.
        """
        half = self.late(0.08, 20, size=LARGE, first=Parameters(congestion=NewReno, timestamps=False))
        self.assertEqual(half.sender.sentAgain, 1)
        self.assertEqual(half.sender.control.threshold, float("inf"))

    def forwardRTO(self, sack: bool) -> None:
        half = Half(0, LARGE, first=Parameters(congestion=NewReno, timestamps=False, sack=sack))
        # A route that is slow for a while.
        half.pair.latency = lambda end, index, segment: max(0.05, half.begun + 0.5 - half.pair.now)
        half.write(100)
        half.finish()
        self.assertGreater(half.sender.sentAgain, 0)
        self.assertLessEqual(half.sender.sentAgain, 3)
        self.assertEqual(half.sender.control.threshold, float("inf"))

    def test_forwardRTO(self) -> None:
        """
        After a timeout, an acknowledgment of what was sent before it, and not again, undoes the reduction (F-RTO): few
        segments were sent for nothing.
        """
        self.forwardRTO(True)

    def test_forwardRTOWithoutSACK(self) -> None:
        """
        So it does without SACK (RFC 5682 section 2.1).
        """
        self.forwardRTO(False)

    def test_networksDuplicates(self) -> None:
        """
        D-SACKs of what the network has doubled undo nothing, and do not make the sender patient.
        """
        half = Half(0, LARGE, first=Parameters(congestion=NewReno, timestamps=False))
        half.lose(100)
        half.write(300)
        half.pair.onto = lambda end, index, segment: [(0.05, segment), (0.05, segment)]
        half.finish()
        self.assertEqual(half.sender.sentAgain, 1)
        self.assertLess(half.sender.control.threshold, float("inf"))


class TimerTests(SynchronousTestCase):
    """
    Tests for timeouts, probes and the end of patience.
    """

    def test_backsOff(self) -> None:
        """
        The pauses between retransmissions double to two minutes; after fifteen, the connection has ended.
        """
        half = Half(0, delay=0.00001)
        half.pair.drop = lambda end, index, segment: True
        half.write(1)
        half.pair.run(2000, lambda: half.connection.ended is not None)
        self.assertIs(half.connection.ended, End.TIMED_OUT)
        times = half.times(0)
        self.assertEqual([round(each, 1) for each in times[:8]], [0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4])
        self.assertEqual(len(times), 16)
        self.assertAlmostEqual(half.pair.now - half.begun, 924.6, 0)

    def test_orphan(self) -> None:
        """
        A connection that the application has closed is given up after eight.
        """
        half = Half(0, delay=0.00001)
        half.pair.drop = lambda end, index, segment: True
        half.write(1)
        half.connection.close(half.pair.now)
        half.pair.after(0)
        half.pair.run(2000, lambda: half.connection.ended is not None)
        self.assertEqual(len(half.times(0)), 9)
        self.assertAlmostEqual(half.pair.now - half.begun, 102.2, 0)

    def test_userTimeout(self) -> None:
        """
        With a user timeout, it ends then: with data under way, and with a window that stays closed.
        """
        half = Half(0, first=Parameters(userTimeout=7.0))
        half.pair.drop = lambda end, index, segment: True
        half.write(1)
        half.pair.run(2000, lambda: half.connection.ended is not None)
        self.assertAlmostEqual(half.pair.now - half.begun, 7, 3)
        half = Half(0, first=Parameters(userTimeout=7.0))
        half.pair.reads[1] = False
        half.write(200)
        half.pair.run(2000, lambda: half.connection.ended is not None)
        self.assertIs(half.connection.ended, End.TIMED_OUT)
        self.assertAlmostEqual(half.pair.now - half.pair.data(0)[-1].at, 7.1, 1)

    def test_closedWindow(self) -> None:
        """
        A closed window is asked for with pauses that double, by segments without data that the peer has to answer, and
        as long as it answers.
        """
        half = Half(0, delay=0.00001)
        half.pair.reads[1] = False
        half.write(200)
        half.pair.run(5)
        begun = half.pair.data(0)[-1].at
        sent = len(half.pair.wires[0].sent)
        half.pair.run(5000)
        self.assertIsNone(half.connection.ended)
        probes = [each for each in half.pair.wires[0].sent if each.at > begun + 0.1]
        self.assertEqual([round((each.at - begun) / 0.21) for each in probes[:5]], [1, 3, 7, 15, 30])
        self.assertEqual({each.data for each in probes}, {b""})
        self.assertEqual({each.sequence for each in probes}, {half.pair.wires[1].sent[-1].acknowledgment - 1})
        self.assertGreater(len(half.pair.wires[0].sent), sent + 30)
        half.pair.reads[1] = True
        half.pair.after(1)
        half.finish(1)

    def test_orphanWithClosedWindow(self) -> None:
        """
        A connection that the application has closed does not ask for ever.
        """
        half = Half(0)
        half.pair.reads[1] = False
        half.write(200)
        half.connection.close(half.pair.now)
        half.pair.after(0)
        half.pair.run(1000, lambda: half.connection.ended is not None)
        self.assertIs(half.connection.ended, End.TIMED_OUT)

    def test_finalSegment(self) -> None:
        """
        The FIN is in the same segment as the last data, also when that is sent again.
        """
        half = Half(0)
        half.pair.ends[0].write(bytes(100))
        half.written = 100
        half.lose(0)
        half.pair.shutdown(0)
        half.finish()
        self.assertEqual([(len(each.data), each.flags & FIN) for each in half.pair.data(0)], [(100, FIN)] * 2)

    def test_karn(self) -> None:
        """
        Without timestamps, the timeout stays backed off until something that was sent once is acknowledged.
        """
        half = Half(1, LARGE, first=PLAIN)
        half.pair.drop = lambda end, index, segment: half.pair.now < half.begun + 0.5
        half.finish()
        self.assertEqual(half.sender.timeouts, 2)
        half.write(1)
        half.finish()
        self.assertEqual(half.sender.timeouts, 0)


class SizeTests(SynchronousTestCase):
    """
    Tests for the size of segments.
    """

    def test_blackHole(self) -> None:
        """
        A router that drops large segments in silence is noticed after three timeouts, and the size found that it takes.
        """
        half = Half(0)
        half.pair.wires[0].hole = 1300
        half.write(100)
        half.finish()
        self.assertEqual(half.sender.segmentSize, 1024)
        self.assertLess(half.pair.now - half.begun, 10)
        for _ in range(100):
            half.write(100)
            half.finish()
            half.pair.run(2)
        # 20 octets of the header and 12 of timestamps.
        self.assertLessEqual(half.sender.segmentSize, 1268)
        self.assertGreater(half.sender.segmentSize, 1268 - 32)
        half.pair.wires[0].hole = 1500
        for _ in range(100):
            half.write(100)
            half.finish()
            half.pair.run(20)
        self.assertEqual(half.sender.segmentSize, SIZE)

    def test_lossyPath(self) -> None:
        """
        A path that has delivered large segments is not suspected so soon.
        """
        half = Half(20)
        half.finish()
        half.pair.drop = lambda end, index, segment: half.pair.now < half.begun + 3
        half.begun = half.pair.now
        half.write(10)
        half.finish()
        self.assertGreater(len(half.times(20)), 4)
        self.assertEqual(half.sender.segmentSize, SIZE)

    def test_smallSegments(self) -> None:
        """
        Segments that are small anyhow are not lost for their size.
        """
        half = Half(0)
        half.pair.drop = lambda end, index, segment: half.pair.now < half.begun + 10
        half.pair.write(0, bytes(300))
        half.pair.run(60)
        self.assertEqual(half.sender.segmentSize, SIZE)

    def test_narrowed(self) -> None:
        """
        When the path becomes narrower, what is under way is cut and sent again at once. The congestion window stays.
        """
        half = Half(100)
        window = half.sender.control.window
        half.pair.wires[0].room = 532
        half.connection.pathChanged()
        half.pair.after(0)
        self.assertGreaterEqual(len(half.pair.data(0)), 10 + 28)
        self.assertEqual({len(each.data) for each in half.pair.data(0)[10:]}, {500})
        self.assertEqual(half.sender.control.window, window)
        half.finish()
        self.assertGreaterEqual(half.sender.control.window, window)

    def test_least(self) -> None:
        """
        With IPv6, what a black hole leaves fits IPv6's least MTU with timestamps.
        """
        sender = Sender(NewReno(), 6)
        sender.open(1428)
        self.assertEqual(sender.search.suspected(1428, 1428, 0, 3, 0.0), 1280 - 40 - 20 - 12)
