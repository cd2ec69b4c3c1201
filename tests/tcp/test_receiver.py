"""
Tests for the receiving half of a connection.
"""

from __future__ import annotations

from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.bufferpool import BufferPool
from txtuntap.tcp.receiver import INITIAL_BUFFER, MAX_BUFFER, MAX_GAPS, PIECE_OVERHEAD, QUICK, Receiver

TEXT = bytes(range(256)) * 4


def opened(most: int = 4 * 1024 * 1024, scale: int = 7) -> Receiver:
    receiver = Receiver(most)
    receiver.open(scale)
    receiver.window()
    return receiver


def receive(receiver: Receiver, start: int, data: bytes, now: float = 1.0) -> None:
    receiver.receive(start, data, now, 0.3)


class OrderTests(SynchronousTestCase):
    """
    Tests for putting data in order.
    """

    @given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=60))
    def test_anyOrderGivesTheSameData(self, pieces: list[tuple[int, int]]) -> None:
        """
        Segments may arrive in any order. The data in order is right, and SACKed data is never discarded.
        """
        receiver = opened()
        got = bytearray()
        reported: set[int] = set()
        for start, length in pieces:
            receive(receiver, 1 + start, TEXT[start : start + length])
            got += b"".join(receiver.take())
            self.assertEqual(receiver.next, 1 + len(got))
            blocks = set().union(*(range(*block) for block in receiver.ranges)) if receiver.ranges else set()
            self.assertTrue({each for each in reported if each >= receiver.next} <= blocks)
            reported |= blocks
            receiver.advertised()
        self.assertEqual(bytes(got), TEXT[: len(got)])

    def test_aFullPoolLooksAtNoPiece(self) -> None:
        """
        If a full pool refuses a segment that covers many pieces, no piece is looked at. Otherwise each further segment
        would cause the same search.
        """
        looks: list[object] = []

        class Piece(tuple[int, int, bytes]):
            def __getitem__(self, index: Any) -> Any:
                looks.append(index)
                return super().__getitem__(index)

        receiver = opened()
        receiver.pool = pool = BufferPool("buffers", 1000)
        for start in range(100):
            receive(receiver, 100 + 2 * start, b"x")
        receiver._pieces = [Piece(each) for each in receiver._pieces]
        pool.changed(500)
        looks.clear()
        receive(receiver, 99, bytes(300))
        self.assertEqual(pool.dropped, 1)
        self.assertLess(len(looks), 10)

    def test_dataGivenBackDoesNotGrowTheBuffer(self) -> None:
        """
        The buffer does not grow by data that the application was given and has given back.
        """
        receiver = opened()
        receive(receiver, 1, bytes(60_000))
        for now in range(2, 10):
            chunks = receiver.take()
            receiver.giveBack(chunks)
            receiver.tune(0.1, now)
        self.assertEqual(receiver.buffer, INITIAL_BUFFER)
        receiver.take()
        receiver.tune(0.1, 10)
        self.assertGreater(receiver.buffer, INITIAL_BUFFER)

    def test_dataGivenBackIsJoined(self) -> None:
        receiver = opened()
        for _ in range(1000):
            receive(receiver, receiver.next, bytes(300))
        chunks = receiver.take()
        receiver.giveBack(chunks)
        self.assertEqual((receiver.unread, b"".join(receiver.ready)), (300_000, bytes(300_000)))
        self.assertLess(len(receiver.ready), 6)
        large = [bytes(70_000), b"x", bytes(70_000)]
        receiver.take()
        receive(receiver, receiver.next, b"y")
        receiver.giveBack(large)
        self.assertIs(receiver.ready[0], large[0])
        self.assertEqual([len(each) for each in receiver.ready], [70_000, 70_001, 1])
        self.assertEqual(receiver.unread, 140_002)

    def test_theLatestBlockIsFirst(self) -> None:
        """
        The block of the latest segment is the first one.
        """
        receiver = opened()
        for start in (11, 31, 21):
            receive(receiver, start, b"abcde")
        self.assertEqual(receiver.blocks(3), ((21, 26), (31, 36), (11, 16)))
        self.assertEqual(receiver.blocks(2), ((21, 26), (31, 36)))
        receive(receiver, 16, b"fghij")
        self.assertEqual(receiver.blocks(3), ((11, 26), (31, 36)))

    def test_filledBlocksAreReplaced(self) -> None:
        """
        If the latest blocks are in order now, older ones are reported in their place.
        """
        receiver = opened()
        for start in (21, 31, 41, 51, 61, 16, 11, 6):
            receive(receiver, start, b"ab")
        self.assertEqual(receiver.blocks(4), ((6, 8), (11, 13), (16, 18), (61, 63)))
        receive(receiver, 1, bytes(15))
        self.assertEqual(receiver.next, 18)
        self.assertEqual(receiver.blocks(4), ((61, 63), (21, 23), (31, 33), (41, 43)))

    def test_aFINOutOfOrderIsSACKed(self) -> None:
        """
        A FIN out of order is SACKed as one octet, in the block that it ends or in a block of its own. A D-SACK of it
        has the same octet.
        """
        receiver = opened()
        receive(receiver, 11, b"abc")
        receiver.finish(14)
        self.assertEqual(receiver.blocks(4), ((11, 15),))
        receive(receiver, 11, b"abc")
        receiver.finish(14)
        self.assertEqual(receiver.blocks(4), ((11, 15), (11, 15)))
        receive(receiver, 1, bytes(10))
        receiver.checkEnd()
        self.assertEqual((receiver.next, receiver.finished, receiver.ranges), (15, True, []))
        alone = opened()
        alone.finish(6, True)
        self.assertEqual(alone.blocks(4), ((6, 7),))
        alone.finish(6, True)
        self.assertEqual(alone.blocks(4), ((6, 7), (6, 7)))
        alone.advertised()
        receive(alone, 1, bytes(5))
        alone.checkEnd()
        self.assertEqual((alone.next, alone.finished, alone.blocks(4)), (7, True, ()))

    def test_aDuplicateIsTheFirstBlock(self) -> None:
        """
        A duplicate is the first block. It is below the acknowledgment, or the range around it follows (RFC 2883).
        """
        receiver = opened()
        receive(receiver, 1, b"abcde")
        receive(receiver, 1, b"abc")
        self.assertEqual(receiver.blocks(4), ((1, 4),))
        receiver.advertised()
        self.assertEqual(receiver.blocks(4), ())
        receive(receiver, 11, b"abcde")
        receive(receiver, 21, b"abcde")
        receive(receiver, 12, b"bc")
        self.assertEqual(receiver.blocks(4), ((12, 14), (11, 16), (21, 26)))
        receiver.advertised()
        receive(receiver, 19, b"xxabcdexx")
        self.assertEqual(receiver.blocks(4), ((21, 26), (19, 28), (11, 16)))

    def test_theLowerOfTwoOverlappingPiecesIsUsed(self) -> None:
        """
        A piece that covers another one replaces it. If two pieces overlap, the octets of the lower one are used.
        """
        receiver = opened()
        receive(receiver, 4, b"BB")
        receive(receiver, 2, b"AAAAAA")
        receive(receiver, 6, b"CCCC")
        receive(receiver, 1, b"x")
        self.assertEqual(b"".join(receiver.take()), b"xAAAAAACC")

    def test_oneGapTooManyIsDropped(self) -> None:
        """
        A piece that would make one gap too many is dropped and not SACKed. A piece next to a range is accepted.
        """
        receiver = opened()
        receiver.buffer = MAX_BUFFER
        for number in range(MAX_GAPS + 1):
            receive(receiver, 11 + 10 * number, b"ab")
        self.assertEqual(len(receiver.ranges), MAX_GAPS)
        self.assertNotIn((11 + 10 * MAX_GAPS, 13 + 10 * MAX_GAPS), receiver.ranges)
        receive(receiver, 13, b"cd")
        self.assertIn((11, 15), receiver.ranges)

    def test_theOverheadOfPiecesIsCounted(self) -> None:
        """
        Pieces out of order count with their overhead of memory, so that tiny ones fill the queue before the window.
        """
        receiver = opened(INITIAL_BUFFER)
        for position in range(3, 3000):
            receive(receiver, position, b"a")
        most = 2 * INITIAL_BUFFER // (PIECE_OVERHEAD + 1)
        self.assertEqual(receiver.ranges, [(3, 3 + most)])
        receive(receiver, 1, b"bb")
        self.assertEqual((receiver.next, receiver.queued), (3 + most, 0))

    def test_tinyPiecesAreJoined(self) -> None:
        """
        Tiny pieces that the application does not read are joined, because each takes a multiple of its length.
        """
        receiver = opened()
        for number in range(10_000):
            receive(receiver, 1 + 2 * number, b"ab")
        self.assertLess(len(receiver.ready), 300)
        self.assertEqual(b"".join(receiver.take()), b"ab" * 10_000)
        receive(receiver, 20_001, b"cd")
        self.assertEqual(receiver.take(), [b"cd"])

    def test_aFINWaitsForTheDataBeforeIt(self) -> None:
        """
        A FIN is accepted when all data before it was received.
        """
        receiver = opened()
        receiver.finish(4)
        self.assertEqual((receiver.finished, receiver.next), (False, 1))
        receive(receiver, 1, b"abc")
        receiver.checkEnd()
        self.assertEqual((receiver.finished, receiver.next), (True, 5))


class AcknowledgmentTests(SynchronousTestCase):
    """
    Tests for the time of acknowledgments.
    """

    def setUp(self) -> None:
        self.receiver = opened()
        self.now = 1.0

    def acknowledgmentDelay(self, length: int = 100, pause: float = 0.01) -> float:
        """
        Receive data in order, and return the seconds until its acknowledgment. 0: at once.
        """
        self.now += pause
        self.receiver.receive(self.receiver.next, bytes(length), self.now, 0.3)
        at = self.receiver.acknowledgeAt
        return at and round(at - self.now, 6)

    def test_theFirstAcknowledgmentsAreSentAtOnce(self) -> None:
        """
        The first sixteen acknowledgments are sent at once. After them, those of small segments are delayed by 40 ms.
        """
        for _ in range(QUICK):
            self.assertEqual(self.acknowledgmentDelay(), 0)
            self.receiver.advertised()
        self.assertEqual(self.acknowledgmentDelay(), 0.04)

    def test_moreThanAFullSegmentIsAcknowledgedAtOnce(self) -> None:
        """
        Data of more than a full segment is acknowledged at once.
        """
        self.receiver.largest = 1000
        self.acknowledgmentDelay()
        for _ in range(QUICK):
            self.receiver.advertised()
        self.assertEqual(self.acknowledgmentDelay(1000), 0.04)
        self.assertEqual(self.acknowledgmentDelay(1000), 0)

    def test_anInteractiveApplicationDelaysAcknowledgments(self) -> None:
        """
        After the application has answered, an acknowledgment waits for the next answer. If none follows, the next
        acknowledgments are sent at once again.
        """
        self.acknowledgmentDelay()
        self.receiver.applicationAnswered()
        self.receiver.advertised()
        self.assertEqual(self.acknowledgmentDelay(), 0.04)
        self.receiver.delayExpired()
        self.receiver.advertised()
        self.assertEqual(self.acknowledgmentDelay(), 0)

    def test_theDelayFollowsThePauses(self) -> None:
        """
        The delay follows the pauses between segments. After a pause longer than the timeout, acknowledgments are sent
        at once again.
        """
        for _ in range(QUICK):
            self.acknowledgmentDelay(pause=0.03)
            self.receiver.advertised()
        self.assertGreater(self.acknowledgmentDelay(pause=0.03), 0.04)
        self.receiver.advertised()
        self.assertEqual(self.acknowledgmentDelay(pause=0.5), 0)

    def test_dataOutOfOrderIsAcknowledgedAtOnce(self) -> None:
        """
        Data out of order, data that fills a gap, and duplicates are acknowledged at once.
        """
        for _ in range(QUICK):
            self.receiver.advertised()
        for start, data in ((11, b"a"), (1, b"aaaaaaaaaa"), (1, b"a")):
            receive(self.receiver, start, data)
            self.assertEqual(self.receiver.acknowledgeAt, 0)
            self.receiver.advertised()
            self.assertEqual(self.receiver.acknowledgeAt, inf)


class WindowTests(SynchronousTestCase):
    """
    Tests for the advertised window.
    """

    def test_theWindowClosesAndItsEdgeStays(self) -> None:
        """
        The window closes while the application does not read, and its edge stays.
        """
        receiver = opened(scale=0)
        edge = receiver.edge
        while receiver.next < edge:
            receive(receiver, receiver.next, bytes(min(1000, edge - receiver.next)))
            receiver.window()
            self.assertEqual(receiver.edge, edge)
        self.assertEqual(receiver.window(), 0)

    def test_theWindowOpensInLargeSteps(self) -> None:
        """
        A window update is sent when two segments or half of the buffer are free, and the window has doubled. The window
        grows by at least a segment (RFC 9293 section 3.8.6.2.2).
        """
        receiver = opened(INITIAL_BUFFER, 0)
        receiver.largest = 1000
        receive(receiver, 1, bytes(65535))
        self.assertEqual(receiver.window(), 0)
        receiver.unread = 65535 - 999
        self.assertFalse(receiver.needsWindowUpdate())
        self.assertEqual(receiver.window(), 0)
        receiver.unread = 65535 - 1999
        self.assertFalse(receiver.needsWindowUpdate())
        receiver.unread = 65535 - 2000
        self.assertTrue(receiver.needsWindowUpdate())
        self.assertEqual(receiver.window(), 2000)
        self.assertFalse(receiver.needsWindowUpdate())

    def test_aSmallBufferOpensByHalf(self) -> None:
        """
        For a buffer smaller than two segments, a window update is sent when half of it is free.
        """
        receiver = opened(1000, 0)
        receiver.largest = 1460
        receive(receiver, 1, bytes(1000))
        self.assertEqual(receiver.window(), 0)
        receiver.unread = 501
        self.assertFalse(receiver.needsWindowUpdate())
        receiver.unread = 500
        self.assertTrue(receiver.needsWindowUpdate())
        self.assertEqual(receiver.window(), 500)

    def test_withoutScalingTheBufferIsBounded(self) -> None:
        """
        Without scaling, the buffer is at most the largest window, so that no window update exceeds it.
        """
        receiver = opened(scale=0)
        for number in range(10):
            receive(receiver, receiver.next, bytes(60_000), number)
            receiver.window()
            receiver.take()
            receiver.needsWindowUpdate()
            receiver.window()
            receiver.tune(0.5, number)
        self.assertFalse(receiver.needsWindowUpdate())
        self.assertEqual(receiver.buffer, 0xFFFF)

    def read(self, receiver: Receiver, octets: int, now: float) -> None:
        receive(receiver, receiver.next, bytes(octets), now)
        receiver.window()
        receiver.take()
        receiver.tune(0.001, now)

    def test_theBufferGrowsWithTheDataRead(self) -> None:
        """
        The buffer grows to twice the data that is read in a round trip. Timestamps measure the round trip, because that
        of the handshake may be of an empty path.
        """
        receiver = opened()
        self.read(receiver, 20_000, 0.002)
        receiver.sample = 0.1
        self.read(receiver, 1, 0.2)
        for number in range(1, 4):
            self.read(receiver, 20_000, 0.2 + 0.02 * number)
        self.assertEqual(receiver.buffer, INITIAL_BUFFER)
        self.read(receiver, 20_000, 0.301)
        self.assertEqual(receiver.buffer, 2 * 80_000 + 16 * receiver.largest)

    def test_aSlowPeerDoesNotGrowTheBuffer(self) -> None:
        """
        If a peer sends less than half of the buffer in a round trip, the buffer does not grow.
        """
        receiver = opened()
        receiver.sample = 0.1
        for number in range(1, 100):
            self.read(receiver, 30_000, 0.11 * number)
        self.assertEqual(receiver.buffer, INITIAL_BUFFER)
