"""
Tests for NewReno, and for what every control does.
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

    def test_interface(self) -> None:
        """
        Both controls provide the interface.
        """
        verifyObject(ICongestionControl, NewReno())
        verifyObject(ICongestionControl, Cubic())

    def test_initial(self) -> None:
        """
        The first window is ten segments, whatever their size.
        """
        self.assertEqual(started(NewReno()).window, 10 * SIZE)

    def test_slowStart(self) -> None:
        """
        Each octet that is acknowledged adds one, however few acknowledgments tell of them.
        """
        control = started(NewReno())
        control.acknowledged(10 * SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 20 * SIZE)

    def test_avoidance(self) -> None:
        """
        Beyond the threshold, a window of acknowledgments adds one segment.
        """
        control = started(NewReno())
        control.threshold = 12 * SIZE
        control.acknowledged(5 * SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 12 * SIZE)
        control.acknowledged(8 * SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 12 * SIZE)
        control.acknowledged(SIZE, 1, 2, 0.0)
        self.assertEqual(control.window, 13 * SIZE)

    def test_loss(self) -> None:
        """
        A loss halves the window; two segments are the least.
        """
        control = started(NewReno())
        control.lost(10 * SIZE, 0.0)
        self.assertEqual((control.window, control.threshold), (5 * SIZE, 5 * SIZE))
        for _ in range(5):
            control.lost(SIZE, 0.0)
        self.assertEqual(control.threshold, 2 * SIZE)

    def test_timeout(self) -> None:
        """
        A timeout leaves one segment, and slow start to half of the window before.
        """
        control = started(NewReno())
        control.timedOut(10 * SIZE, 0.0)
        self.assertEqual((control.window, control.threshold), (SIZE, 5 * SIZE))

    def test_undone(self) -> None:
        """
        Undoing brings the window back, once, and takes nothing away.
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

    def test_idle(self) -> None:
        """
        Idleness halves the window for each timeout that it lasts, to the initial window. The threshold remembers three
        quarters.
        """
        control = started(NewReno())
        control.window, control.threshold = 100 * SIZE, 50 * SIZE
        control.idle(0.9, 1.0)
        self.assertEqual(control.window, 100 * SIZE)
        control.idle(2.5, 1.0)
        self.assertEqual((control.window, control.threshold), (25 * SIZE, 75 * SIZE))
        control.idle(1e9, 1.0)
        self.assertEqual(control.window, 10 * SIZE)

    def test_size(self) -> None:
        """
        Another segment size leaves the window, but for one segment at least.
        """
        control = started(NewReno())
        control.segmentSizeChanged(100)
        self.assertEqual(control.window, 10 * SIZE)
        control.window = 50
        control.segmentSizeChanged(200)
        self.assertEqual(control.window, 200)


class WaitingTests(SynchronousTestCase):
    """
    A superpacket that waits for more room in the window.
    """

    def test_aPartOfAnOctet(self) -> None:
        """
        Superpackets are as large where the window is no whole number of octets, as that of CUBIC.
        """
        writes = [self.writes(octets) for octets in (200_000, 200_000.5)]
        self.assertEqual(*writes)

    def writes(self, window: float) -> int:
        """
        How many writes a megabyte takes.

        @param window: that of the control, which never changes.
        """

        class Fixed(NewReno):
            def started(self, segmentSize: int) -> None:
                super().started(segmentSize)
                self.window = window

            def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
                """
                The window stays.
                """

        pair = Pair(first=Parameters(congestion=Fixed), rate=5e6)
        pair.open()
        pair.write(0, bytes(1_000_000))
        pair.run(5)
        self.assertEqual(len(pair.text(1)), 1_000_000)
        return pair.wires[0].writes
