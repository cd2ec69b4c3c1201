"""
Tests for NewReno, and for the sender with any congestion control.
"""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.tcp.pair import Pair
from txtuntap.tcp.congestion import ICongestionControl, NewReno
from txtuntap.tcp.cubic import Cubic
from txtuntap.tcp.handshake import Parameters

SIZE = 1000


def started(control: NewReno) -> NewReno:
    control.started(SIZE)
    return control


class NewRenoTests(SynchronousTestCase):
    """
    Tests for L{NewReno} (RFC 5681).
    """

    def test_controlsProvideTheInterface(self) -> None:
        """
        Both congestion controls provide the interface.
        """
        verifyObject(ICongestionControl, NewReno())
        verifyObject(ICongestionControl, Cubic())

    def test_theInitialWindowIsTenSegments(self) -> None:
        """
        The initial window is ten segments of any size.
        """
        self.assertEqual(started(NewReno()).window, 10 * SIZE)

    def test_slowStartCountsOctets(self) -> None:
        """
        Each acknowledged octet adds one octet to the window, even if one acknowledgment covers many octets.
        """
        control = started(NewReno())
        control.acknowledged(10 * SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 20 * SIZE)

    def test_avoidanceAddsASegmentAWindow(self) -> None:
        """
        Above the threshold, each window of acknowledged data adds one segment.
        """
        control = started(NewReno())
        control.threshold = 12 * SIZE
        control.acknowledged(5 * SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 12 * SIZE)
        control.acknowledged(8 * SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 12 * SIZE)
        control.acknowledged(SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 13 * SIZE)

    def test_aLossHalvesTheWindow(self) -> None:
        """
        A loss halves the window, to two segments at least.
        """
        control = started(NewReno())
        control.lost(10 * SIZE, 0.0)
        self.assertEqual((control.window, control.threshold), (5 * SIZE, 5 * SIZE))
        for _ in range(5):
            control.lost(SIZE, 0.0)
        self.assertEqual(control.threshold, 2 * SIZE)

    def test_aTimeoutLeavesOneSegment(self) -> None:
        """
        A timeout leaves a window of one segment, and a threshold of half of the previous window.
        """
        control = started(NewReno())
        control.timedOut(10 * SIZE, 0.0)
        self.assertEqual((control.window, control.threshold), (SIZE, 5 * SIZE))

    def test_undoingRestoresTheWindow(self) -> None:
        """
        Undoing restores the window once. It never makes the window smaller.
        """
        control = started(NewReno())
        control.timedOut(10 * SIZE, 0.0)
        control.undone(0.0)
        self.assertEqual((control.window, control.threshold), (10 * SIZE, inf))
        control.lost(10 * SIZE, 0.0)
        control.window = 11 * SIZE
        control.undone(0.0)
        self.assertEqual(control.window, 11 * SIZE)
        control.window = SIZE
        control.undone(0.0)
        self.assertEqual(control.window, SIZE)

    def test_idleTimeHalvesTheWindow(self) -> None:
        """
        Idle time halves the window for each retransmission timeout, to the initial window at least. The threshold
        becomes three quarters of the previous window.
        """
        control = started(NewReno())
        control.window, control.threshold = 100 * SIZE, 50 * SIZE
        control.idle(0.9, 1.0)
        self.assertEqual(control.window, 100 * SIZE)
        control.idle(2.5, 1.0)
        self.assertEqual((control.window, control.threshold), (25 * SIZE, 75 * SIZE))
        control.idle(1e9, 1.0)
        self.assertEqual(control.window, 10 * SIZE)

    def test_anotherSegmentSizeKeepsTheWindow(self) -> None:
        """
        Another segment size keeps the window, unless it is less than one segment.
        """
        control = started(NewReno())
        control.segmentSizeChanged(100)
        self.assertEqual(control.window, 10 * SIZE)
        control.window = 50
        control.segmentSizeChanged(200)
        self.assertEqual(control.window, 200)


class WaitingTests(SynchronousTestCase):
    """
    Tests for superpackets that wait for a larger congestion window.
    """

    def test_aFractionalWindowFillsSuperpackets(self) -> None:
        """
        Superpackets have the same size if the window is not a whole number of octets, as with CUBIC.
        """
        writes = [self.writes(octets) for octets in (200_000, 200_000.5)]
        self.assertEqual(*writes)

    def writes(self, window: float) -> int:
        """
        Return the number of writes that a megabyte takes.

        @param window: the congestion window, which never changes.
        """

        class Fixed(NewReno):
            def started(self, segmentSize: int) -> None:
                super().started(segmentSize)
                self.window = window

            def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
                """
                Keep the window as it is.
                """

        pair = Pair(first=Parameters(congestion=Fixed), rate=5e6)
        pair.open()
        pair.write(0, bytes(1_000_000))
        pair.run(5)
        self.assertEqual(len(pair.text(1)), 1_000_000)
        return pair.wires[0].writes
