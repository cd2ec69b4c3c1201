"""
Tests for sequence numbers.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.sequence import difference, unwrapped, wrapped


class SequenceTests(SynchronousTestCase):
    """
    Tests for sequence numbers and positions.
    """

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(-(2**31), 2**31 - 1))
    def test_aNumberBecomesItsPositionAgain(self, initial: int, position: int, off: int) -> None:
        """
        A sequence number is converted back to its position, if the given position is near enough.
        """
        self.assertEqual(unwrapped(wrapped(position, initial), initial, position - off), position)

    def test_numbersWrap(self) -> None:
        """
        The sequence number after the last one is 0.
        """
        self.assertEqual(wrapped(1, 0xFFFFFFFF), 0)
        self.assertEqual(unwrapped(0, 0xFFFFFFFF, 5), 1)
        self.assertEqual(unwrapped(0xFFFFFFFF, 0xFFFFFFFF, 2**32 + 5), 2**32)

    def test_aNumberMayBeBeforePositionZero(self) -> None:
        """
        A sequence number just before that of position 0 has a negative position.
        """
        self.assertEqual(unwrapped(0xFFFFFFFF, 0, 3), -1)

    def test_aWrappedTimestampIsAhead(self) -> None:
        """
        A timestamp that has wrapped is ahead of one that has not.
        """
        self.assertEqual(difference(2, 0xFFFFFFFE), 4)
        self.assertEqual(difference(0xFFFFFFFE, 2), -4)
        self.assertEqual(difference(7, 7), 0)
