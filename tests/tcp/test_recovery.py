"""
Tests for the sending half of a connection: how it detects and repairs losses.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.oneway import LARGE, RENO, SIZE, OneWay
from txtuntap.tcp.congestion import NewReno
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.recovery import Phase


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
