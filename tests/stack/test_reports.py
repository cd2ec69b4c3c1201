"""
Tests for L{txtuntap.stack.reports}: the times at which groups are reported.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.stack.reports import (
    MAX_AT_ONCE,
    MAX_CHANGES,
    OLDER_QUERIER_PRESENT,
    PAUSE,
    ROBUSTNESS,
    UNSOLICITED_INTERVAL,
    Reporter,
)
from txtuntap.wire.igmp import IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE, Query, Record

A, B, C = (bytes((239, 0, 0, number)) for number in (1, 2, 3))
ALL = bytes(4)

#: The number of records that fit into a packet of version 3 in these tests.
FITS = 10


def many(count: int, first: int = 0) -> set[bytes]:
    return {bytes((239, 9)) + number.to_bytes(2, "big") for number in range(first, first + count)}


class ReporterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        # The tests do not begin at time zero, which could hide the use of zero for "never".
        self.clock.advance(1000)
        self.sent: list[tuple[float, int, list[Record]]] = []
        self.reporter = Reporter(self.clock, Random(1), 3, lambda version: FITS if version == 3 else 1, self.send)

    def send(self, version: int, records: list[Record]) -> None:
        self.sent.append((self.clock.seconds(), version, records))

    def wait(self, seconds: float) -> list[tuple[float, int, list[Record]]]:
        """
        Advance the clock from call to call.

        @return: the reports sent in that time: for each, the time, the version and the records.
        """
        before = len(self.sent)
        end = self.clock.seconds() + seconds
        for call in iter(lambda: min((c.getTime() for c in self.clock.getDelayedCalls()), default=end + 1), None):
            if call > end:
                break
            self.clock.advance(max(0.0, call - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))
        return self.sent[before:]

    def records(self, seconds: float = 10) -> list[list[Record]]:
        return [records for _, _, records in self.wait(seconds)]

    def update(self, groups: set[bytes]) -> None:
        """
        Join and leave groups so that the host is in exactly these.
        """
        for group in groups ^ self.reporter.groups:
            self.reporter.changed(group, group in groups)

    def quiet(self, *groups: bytes) -> None:
        """
        Be in groups, and wait until all reports of that have been sent.
        """
        self.update(set(groups))
        self.wait(10)
        del self.sent[:]


class ChangeTests(ReporterTestCase):
    def test_aJoinIsReportedAtOnceAndOnceMore(self) -> None:
        self.update({A})
        now = self.clock.seconds()
        (first, _, records), (second, _, again) = self.wait(100)
        self.assertEqual(records, [(TO_EXCLUDE, A)])
        self.assertEqual(again, records)
        self.assertEqual((first, ROBUSTNESS), (now, 2))
        self.assertTrue(PAUSE <= second - first <= UNSOLICITED_INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aLeaveIsReportedAtOnceAndOnceMore(self) -> None:
        self.quiet(A, B)
        self.update({B})
        self.assertEqual(self.records(0), [[(TO_INCLUDE, A)]])
        self.assertEqual(self.records(), [[(TO_INCLUDE, A)]])

    def test_noReportIsSentWithinTheCall(self) -> None:
        self.update({A})
        self.assertEqual(self.sent, [])

    def test_changesOfOneReactorTurnAreOneReport(self) -> None:
        self.quiet(C)
        self.update({A, C})
        self.update({A, B})
        ((_, _, records),) = self.wait(0)
        self.assertEqual(sorted(records), [(TO_INCLUDE, C), (TO_EXCLUDE, A), (TO_EXCLUDE, B)])

    def test_anUnchangedGroupIsNotReported(self) -> None:
        self.quiet(A)
        self.update({A})
        self.assertEqual(self.records(), [])

    def test_theLatestStateOfAGroupIsReported(self) -> None:
        self.update({A})
        self.wait(0)
        self.update(set())
        self.assertEqual(self.records(), [[(TO_INCLUDE, A)]] * 2)

    def test_reportsOfChangesArePausesApart(self) -> None:
        for number in range(50):
            self.update(many(1, number))
            self.clock.advance(PAUSE / 10)
        times = [when for when, _, _ in self.sent]
        self.assertGreater(len(times), 3)
        self.assertGreaterEqual(min(b - a for a, b in pairwise(times)), PAUSE * 0.99)

    def test_firstReportsAreSentBeforeSecondOnes(self) -> None:
        groups = many(FITS * MAX_AT_ONCE * 2)
        self.update(groups)
        sent = self.wait(PAUSE * 1.5)
        self.assertEqual([len(records) for _, _, records in sent], [FITS * MAX_AT_ONCE] * 2)
        self.assertEqual({group for _, _, records in sent for _, group in records}, groups)

    def test_manyReportsAreSentInBursts(self) -> None:
        groups = many(1024)
        self.update(groups)
        sent = self.wait(100)
        self.assertLessEqual(max(len(records) for _, _, records in sent), FITS * MAX_AT_ONCE)
        told = sorted(group for _, _, records in sent for _, group in records)
        self.assertEqual(told, sorted([*groups, *groups]))

    def test_theTableOfChangesIsBounded(self) -> None:
        self.quiet(*many(MAX_CHANGES * 2))
        self.assertEqual(self.reporter._changes, {})
        self.update(set())
        self.assertEqual(len(self.reporter._changes), MAX_CHANGES)
        self.assertEqual(sum(map(len, self.records(1000))), MAX_CHANGES * ROBUSTNESS)

    def test_leavesAfterJoinsAreBounded(self) -> None:
        # All changes are within one reactor turn, so that nothing is reported in between.
        for group in many(MAX_CHANGES * 2):
            self.reporter.changed(group, True)
            self.reporter.changed(group, False)
        self.assertEqual(len(self.reporter._changes), MAX_CHANGES)
        self.assertEqual([state.size for state in self.reporter.tables()], [MAX_CHANGES])
        self.records(1000)
        self.assertEqual([state.size for state in self.reporter.tables()], [0])

    def test_repeatReportsAllGroups(self) -> None:
        self.quiet(A)
        self.reporter.repeat()
        self.assertEqual(self.records(), [[(TO_EXCLUDE, A)]] * 2)

    def test_stopEndsAllReports(self) -> None:
        self.update({A})
        self.reporter.queried(Query(3, ALL, 10.0))
        self.reporter.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.records()), ([], []))
        self.update({A})
        self.assertEqual(self.records(0), [[(TO_EXCLUDE, A)]])


class QueryTests(ReporterTestCase):
    def test_aGeneralQueryIsAnsweredForAllGroups(self) -> None:
        self.quiet(A, B)
        self.reporter.queried(Query(3, ALL, 10.0))
        ((_, version, records),) = self.wait(10)
        self.assertEqual((version, sorted(records)), (3, [(IS_EXCLUDE, A), (IS_EXCLUDE, B)]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anAnswerIsSentAtARandomTimeWithinTheDelay(self) -> None:
        self.quiet(A)
        delays = []
        for _ in range(200):
            self.reporter.queried(Query(3, ALL, 10.0))
            now = self.clock.seconds()
            ((when, _, _),) = self.wait(10)
            delays.append(when - now)
        self.assertTrue(PAUSE <= min(delays) < 1 and 9 < max(delays) <= 10, (min(delays), max(delays)))

    def test_anAnswerIsNeverSentAtOnce(self) -> None:
        self.quiet(A)
        self.reporter.queried(Query(3, ALL, 0.0))
        self.assertEqual(self.records(PAUSE * 0.9), [])
        self.assertEqual(self.records(PAUSE * 0.2), [[(IS_EXCLUDE, A)]])

    def test_aQueryForOneGroupIsAnsweredForThatGroup(self) -> None:
        self.quiet(A, B)
        self.reporter.queried(Query(3, B, 1.0))
        self.assertEqual(self.records(1), [[(IS_EXCLUDE, B)]])

    def test_aQueryForAnotherGroupIsNotAnswered(self) -> None:
        self.quiet(A)
        self.reporter.queried(Query(3, B, 1.0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aQueryIsNotAnsweredWithoutGroups(self) -> None:
        self.reporter.queried(Query(3, ALL, 1.0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aGroupLeftBeforeTheAnswerIsNotInIt(self) -> None:
        self.quiet(A, B)
        self.reporter.queried(Query(3, ALL, 10.0))
        self.update({B})
        self.assertIn([(IS_EXCLUDE, B)], self.records())
        self.assertNotIn((IS_EXCLUDE, A), [record for _, _, records in self.sent for record in records])

    def test_pendingQueriesHaveOneAnswer(self) -> None:
        self.quiet(A, B, C)
        self.reporter.queried(Query(3, A, 5.0))
        self.reporter.queried(Query(3, B, 5.0))
        ((_, _, records),) = self.wait(10)
        self.assertEqual(sorted(records), [(IS_EXCLUDE, A), (IS_EXCLUDE, B)])

    def test_aLongDelayDoesNotPostponeOtherAnswers(self) -> None:
        self.quiet(A)
        for _ in range(10):
            self.reporter.queried(Query(3, ALL, 3174.4))
        self.reporter.queried(Query(3, ALL, 1.0))
        self.assertEqual(self.records(1), [[(IS_EXCLUDE, A)]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aFloodOfQueriesIsAnsweredTenTimesASecond(self) -> None:
        groups = many(1024)
        self.quiet(*groups)
        for number in range(10_000):
            self.reporter.queried(Query(3, ALL if number % 2 else min(groups), 0.0))
            self.assertLessEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(0.001)
        self.assertLessEqual(len(self.sent), 10 / PAUSE + 1)
        self.assertLessEqual(max(len(records) for _, _, records in self.sent), FITS * MAX_AT_ONCE)

    def test_aLongAnswerIsSentInBursts(self) -> None:
        groups = many(1024)
        self.quiet(*groups)
        self.reporter.queried(Query(3, ALL, 1.0))
        sent = self.wait(10)
        self.assertEqual({group for _, _, records in sent for _, group in records}, groups)
        self.assertEqual(len(sent), 1 + 1024 // (FITS * MAX_AT_ONCE))
        times = [when for when, _, _ in sent]
        self.assertGreaterEqual(min(b - a for a, b in pairwise(times)), PAUSE * 0.99)


class OlderQuerierTests(ReporterTestCase):
    def versions(self, *queries: Query) -> list[int]:
        """
        Deliver queries one after the other, and return the versions of the reports that answer them.
        """
        found = []
        for query in queries:
            self.reporter.queried(query)
            found += [version for _, version, _ in self.wait(10)]
        return found

    def test_anAnswerHasTheVersionOfTheQuery(self) -> None:
        self.quiet(A)
        self.assertEqual(self.versions(Query(2, ALL, 1.0), Query(1, ALL, 10.0)), [2, 1])

    def test_aChangeIsReportedInTheVersionOfTheQuerier(self) -> None:
        self.quiet(A)
        self.versions(Query(2, ALL, 1.0))
        self.update({B})
        ((_, version, records),) = self.wait(0)
        self.assertEqual((version, sorted(records)), (2, [(TO_INCLUDE, A), (TO_EXCLUDE, B)]))

    def test_theOldestQuerierVersionIsUsed(self) -> None:
        self.quiet(A)
        self.assertEqual(self.versions(Query(1, ALL, 10.0), Query(2, ALL, 1.0), Query(3, ALL, 1.0)), [1, 1, 1])

    def test_anOlderVersionIsUsedForALimitedTime(self) -> None:
        self.quiet(A)
        self.reporter.queried(Query(1, ALL, 10.0))
        self.wait(100)
        self.reporter.queried(Query(2, ALL, 10.0))
        self.wait(OLDER_QUERIER_PRESENT - 100 - 0.1)
        self.assertEqual(self.reporter.version, 1)
        self.wait(0.2)
        self.assertEqual(self.reporter.version, 2)
        self.wait(100)
        self.assertEqual(self.reporter.version, 3)

    def test_aGroupSpecificQueryOfIGMPv2SetsNoVersion(self) -> None:
        self.quiet(A)
        self.assertEqual(self.versions(Query(2, A, 1.0)), [3])

    def test_aGroupSpecificQueryOfMLDv1SetsTheVersion(self) -> None:
        self.reporter = Reporter(self.clock, Random(1), 2, lambda _: 1, self.send)
        self.quiet(A)
        self.assertEqual(self.versions(Query(1, A, 1.0)), [1])

    def test_pendingReportsAreForgottenWhenTheVersionChanges(self) -> None:
        self.quiet(A)
        self.reporter.queried(Query(3, ALL, 10.0))
        self.update({A, B})
        self.wait(0)
        self.reporter.queried(Query(2, ALL, 10.0))
        ((_, version, records),) = self.wait(100)
        self.assertEqual((version, sorted(records)), (2, [(IS_EXCLUDE, A), (IS_EXCLUDE, B)]))

    def test_manyReportsAreSentInBursts(self) -> None:
        groups = many(1024)
        self.quiet(*groups)
        self.reporter.queried(Query(2, ALL, 1.0))
        sent = self.wait(10)
        self.assertEqual({len(records) for _, _, records in sent}, {MAX_AT_ONCE})
        self.assertEqual({group for _, _, records in sent for _, group in records}, groups)

    def test_aClockThatStepsBackEndsTheOlderVersion(self) -> None:
        self.quiet(A)
        self.reporter.queried(Query(1, ALL, 10.0))
        self.update({B})
        self.wait(10)
        self.clock.rightNow -= 500
        self.assertEqual(self.reporter.version, 3)
        self.update({C})
        self.assertEqual(len(self.wait(0)), 1)
