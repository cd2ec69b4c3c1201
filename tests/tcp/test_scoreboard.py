"""
Tests for the scoreboard: SACKed, late and lost segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tcp.scoreboard import MAX_RECORDS, Scoreboard

SIZE = 100


def sent(*lengths: int, pause: float = 0.001) -> Scoreboard:
    """
    Make a scoreboard with records from position 1 on, each sent later than the one before.

    @param lengths: the length of each record, in segments.
    @param pause: the seconds between two records.
    """
    board = Scoreboard()
    position, now = 1, 0.0
    for length in lengths:
        board.sent(position, position + length * SIZE, SIZE, now)
        position += length * SIZE
        now += pause
    return board


def ranges(board: Scoreboard) -> list[tuple[int, int, str]]:
    return [(each.start, each.end, "sacked" if each.sacked else "lost" if each.lost else "") for each in board.records]


class ScoreboardTests(SynchronousTestCase):
    """
    Tests for the records of a L{Scoreboard}.
    """

    def test_acknowledgedRetransmissionsAreForgotten(self) -> None:
        """
        With a peer without SACK, acknowledged retransmissions are forgotten.
        """
        board = sent(*[1] * 1000)
        for position in range(1, 1000 * SIZE, SIZE):
            board.begin(1.0)
            board.acknowledged(position, 1.0)
            board.markFirstLost(SIZE)
            board.sentAgain(board.nextLost(SIZE, 10**9), SIZE, 1.0)
        self.assertLess(len(board._retransmitted), 3)

    def test_anAcknowledgmentRemovesRecords(self) -> None:
        """
        An acknowledgment removes whole records, and the front of another one.
        """
        board = sent(2, 2)
        board.begin(1.0)
        board.acknowledged(301, 1.0)
        self.assertEqual(ranges(board), [(301, 401, "")])
        self.assertEqual((board.delivered, board.flight, board.sampleAt), (300, 100, 0.001))

    def test_onlyWholeSegmentsAreSACKed(self) -> None:
        """
        A SACK block splits a record at the edges of segments. Parts of segments do not count.
        """
        board = sent(10)
        board.begin(1.0)
        board.sacksReceived([(250, 650)], 1.0)
        self.assertEqual(ranges(board), [(1, 301, ""), (301, 601, "sacked"), (601, 1001, "")])
        self.assertEqual((board.flight, board.sacked, board.delivered), (700, 300, 300))
        board.sacksReceived([(201, 701)], 1.0)
        self.assertEqual(ranges(board), [(1, 201, ""), (201, 701, "sacked"), (701, 1001, "")])

    def test_recordsHaveABound(self) -> None:
        """
        A peer cannot cause more records than the bound.
        """
        board = sent(3 * MAX_RECORDS)
        for number in range(1, MAX_RECORDS):
            start = 1 + 2 * number * SIZE
            board.sacksReceived([(start, start + SIZE)], 1.0)
        self.assertLessEqual(len(board.records), MAX_RECORDS)
        self.assertEqual(sum(end - start for start, end, _ in ranges(board)), 3 * MAX_RECORDS * SIZE)

    def test_lateRecordsAreLost(self) -> None:
        """
        A record that was sent before a delivered one is lost after the round-trip time and the reordering window. A
        record that was sent later is not lost (RFC 8985 section 6.2).
        """
        board = sent(1, 1, 1, 1)
        board.begin(0.102)
        board.sacksReceived([(201, 301)], 0.1)
        self.assertAlmostEqual(board.detectLosses(0.025, 0.102), 0.023, 5)
        self.assertEqual(board.lost, 0)
        self.assertAlmostEqual(board.detectLosses(0.025, 0.1255), 0.0005, 5)
        self.assertEqual(ranges(board), [(1, 101, "lost"), (101, 201, ""), (201, 301, "sacked"), (301, 401, "")])
        self.assertEqual(board.detectLosses(0.025, 0.2), inf)
        self.assertEqual(board.lost, 200)

    def test_roundingDoesNotDelayALoss(self) -> None:
        """
        After the returned time, the record is lost, even if times are rounded.
        """
        for now in (0.1, 1234.5678, 1e9 / 7):
            board = Scoreboard()
            board.sent(1, 101, SIZE, now)
            board.sent(101, 201, SIZE, now + 0.001)
            board.begin(now + 0.05)
            board.sacksReceived([(101, 201)], now)
            wait = board.detectLosses(0.0123, now + 0.05)
            self.assertEqual(board.lost, 0)
            board.detectLosses(0.0123, now + 0.05 + wait)
            self.assertEqual(board.lost, 100)

    def test_aRetransmissionMayBeLost(self) -> None:
        """
        A retransmission is lost when a record that was sent even later is delivered.
        """
        board = sent(1, 1, 1, 1)
        board.begin(0.1)
        board.sacksReceived([(301, 401)], 0.1)
        board.detectLosses(0.0, 0.11)
        self.assertEqual(board.lost, 300)
        for number in range(3):
            record = board.nextLost(SIZE, 401)
            board.sentAgain(record, SIZE, 0.11 + number / 1000)
        self.assertEqual((board.lost, board.flight), (0, 300))
        board.begin(0.212)
        board.sacksReceived([(101, 201)], 0.2)
        board.detectLosses(0.0, 0.212)
        self.assertEqual(ranges(board)[0], (1, 101, "lost"))
        self.assertEqual(board.lost, 100)

    def test_aRecentRetransmissionIsNoSample(self) -> None:
        """
        An acknowledgment that is too early for a retransmission is no sample of the round-trip time.
        """
        board = sent(1, 1, 1)
        board.begin(0.1)
        board.sacksReceived([(201, 301)], 0.0)
        board.detectLosses(0.0, 0.15)
        board.sentAgain(board.nextLost(SIZE, 301), SIZE, 0.15)
        board.begin(0.16)
        board.acknowledged(101, 0.06)
        self.assertEqual((board.repeatedAt, board.sampleAt), (0.15, None))
        self.assertEqual(board.detectLosses(0.0, 0.16), inf)

    def test_aLateSegmentMeansReordering(self) -> None:
        """
        The path reorders segments if one that was sent once arrives later than one that was sent after it.
        """
        board = sent(1, 1)
        board.begin(0.1)
        board.sacksReceived([(101, 201)], 0.1)
        self.assertFalse(board.reordered)
        board.begin(0.11)
        board.acknowledged(201, 0.11)
        self.assertTrue(board.reordered)

    def test_oneAcknowledgmentShowsNoOrder(self) -> None:
        """
        One acknowledgment of several segments does not show their order, because those between them may be lost.
        """
        board = sent(1, 1, 1, 1)
        board.begin(0.1)
        board.sacksReceived([(301, 401)], 0.1)
        board.acknowledged(201, 0.1)
        self.assertFalse(board.reordered)

    def test_theDelayOfALateSegmentIsMeasured(self) -> None:
        """
        The delay of a segment that was marked lost too early is the reordering window that would have been long enough.
        """
        board = sent(1, 1, pause=0.01)
        board.begin(0.11)
        board.sacksReceived([(101, 201)], 0.11)
        board.detectLosses(0.0, 0.111)
        self.assertEqual((board.lost, board.greatestDelay), (SIZE, 0.0))
        board.begin(0.14)
        board.acknowledged(101, 0.14)
        self.assertAlmostEqual(board.greatestDelay, 0.04)

    def test_lostNeighboursAreRetransmittedTogether(self) -> None:
        """
        Lost records side by side are retransmitted as one, up to the allowed octets. The rest stays lost. A FIN does
        not split a record.
        """
        board = sent(1, 2, 3, 1)
        board.sent(701, 702, SIZE, 0.1)
        board.markAllLost()
        self.assertEqual(board.firstLost, 1)
        record = board.nextLost(400, 701)
        self.assertEqual((record.start, record.end), (1, 401))
        board.sentAgain(record, SIZE, 1.0)
        self.assertEqual(board.firstLost, 401)
        record = board.nextLost(400, 701)
        self.assertEqual((record.start, record.end), (401, 702))
        board.sentAgain(record, SIZE, 1.0)
        self.assertEqual((board.lost, board.flight), (0, 701))

    def test_theLastSegmentKeepsTheFIN(self) -> None:
        """
        The last segment becomes a record of its own, and keeps the FIN.
        """
        board = Scoreboard()
        board.sent(1, 302, SIZE, 0.0)
        record = board.tail(SIZE, 301)
        self.assertEqual((record.start, record.end), (201, 302))
        board = sent(3)
        record = board.tail(SIZE, 1000)
        self.assertEqual((record.start, record.end), (201, 301))

    def test_lossMarksCanBeTakenBack(self) -> None:
        """
        SACKed records are marked lost if the peer may have discarded them. All marks are removed if nothing was lost.
        """
        board = sent(1, 1, 1)
        board.sacksReceived([(101, 201)], 0.1)
        board.markAllLost()
        board.markSackedLost()
        self.assertEqual((board.lost, board.sacked, board.firstLost), (300, 0, 1))
        board.unmarkAll()
        self.assertEqual((board.lost, board.flight), (0, 300))

    def test_searchesLookAtFewRecords(self) -> None:
        """
        In a recovery of a large window in which every other segment is lost, each record is looked at a few times only.
        """
        looks = [0]

        class Counting(list):  # type: ignore[type-arg]
            def __getitem__(self, index: Any) -> Any:
                looks[0] += 1
                return super().__getitem__(index)

            def __iter__(self) -> Iterator[Any]:
                for each in super().__iter__():
                    looks[0] += 1
                    yield each

        count = 1000
        board = sent(*[1] * (2 * count))
        board.records = Counting(board.records)
        for number in range(1, 2 * count, 2):
            board.begin(10.0 + number / 1000)
            start = 1 + number * SIZE
            board.sacksReceived([(start, start + SIZE)], 10.0)
            board.detectLosses(0.0, 10.0 + number / 1000)
            while board.lost:
                board.sentAgain(board.nextLost(SIZE, 10**9), SIZE, 10.0 + number / 1000)
        self.assertEqual((board.flight, board.sacked), (count * SIZE, count * SIZE))
        # A binary search looks at 11 records.
        self.assertLess(looks[0], 2 * count * 50)
