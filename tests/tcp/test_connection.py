"""
Tests for the module L{txtuntap.tcp.connection}, without a kernel.

L{tests.real.test_tcp_differences} has more tests, which compare with Linux.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.bench import Bench
from txtuntap.tcp.closing import FIN_TIMEOUT
from txtuntap.tcp.connection import PAWS_WINDOW
from txtuntap.tcp.handshake import DEFAULT_MSS, KEEPALIVE_IDLE, KEEPALIVE_PAUSE, KEEPALIVE_PROBES, MIN_MSS, Parameters
from txtuntap.tcp.sender import MAX_TIMEOUTS, ORPHAN_PATIENCE
from txtuntap.tcp.state import End, State
from txtuntap.wire.tcp import CWR, ECE, SYN, Options, packSacks, packSynOptions

_TIMES = Options(1460, sackPermitted=True, timestamp=100)
_ACKNOWLEDGED = ("A", 1, 1, b"")


class BenchTestCase(SynchronousTestCase):
    """
    Tests of one established connection.
    """

    options: Options | None = None

    def setUp(self) -> None:
        self.bench = Bench()
        self.bench.accept(self.options)
        self.bench.flush()
        self.connection = self.bench.connection

    def assertWorks(self) -> None:
        """
        Assert that the connection still receives data, and has received nothing before.
        """
        self.assertEqual(self.connection.state, State.ESTABLISHED)
        stamp = None if self.options is None else self.options.timestamp
        self.bench.receive("PA", 1, 1, b"hello", timestamp=stamp)
        self.assertEqual(self.bench.text, b"hello")


class AcceptanceTests(BenchTestCase):
    def test_aSegmentOutsideTheWindowIsAcknowledged(self) -> None:
        edge = self.connection.receiver.edge
        for sequence, data in (edge + 1, b"x"), (-5, b"old"), (edge + 1000, b""), (-5, b""):
            self.bench.now += 1
            self.assertEqual(self.bench.receive("A", sequence, 1, data), [_ACKNOWLEDGED], sequence)
        self.assertWorks()

    def test_answersToSegmentsWithoutDataAreLimited(self) -> None:
        for _ in range(5):
            self.bench.receive("A", -5, 1)
        self.assertEqual(self.connection.segmentsOut, 1)
        self.assertEqual([len(self.bench.receive("A", -5, 1, b"x")) for _ in range(5)], [1] * 5)

    def test_dataBeyondTheWindowIsCut(self) -> None:
        edge = self.connection.receiver.edge
        self.bench.receive("A", 1, 1, b"x" * (edge + 1000))
        self.assertEqual(len(self.bench.text), edge - 1)

    def test_aFINBeyondTheWindowIsIgnored(self) -> None:
        edge = self.connection.receiver.edge
        self.bench.receive("FA", 1, 1, b"x" * edge)
        self.assertEqual(len(self.bench.text), edge - 1)
        self.assertEqual(self.connection.state, State.ESTABLISHED)

    def test_aClosedWindowAcceptsAFINButNoData(self) -> None:
        edge = self.connection.receiver.edge
        self.bench.receive("A", 1, 1, b"x" * (edge - 1))
        self.assertEqual(self.bench.wire.window, 0)
        self.assertEqual(self.bench.receive("A", edge, 1, b"y"), [("A", 1, edge, b"")])
        self.assertEqual(self.bench.receive("FA", edge, 1), [("A", 1, edge + 1, b"")])
        self.assertEqual(self.connection.state, State.CLOSE_WAIT)

    def test_aSegmentWithoutACKIsDropped(self) -> None:
        for letters in "", "F", "P", "U":
            self.assertEqual(self.bench.receive(letters, 1, 0, b"wrong"), [], letters)
            self.assertEqual(self.bench.receive(letters, 100_000, 0, b"wrong"), [], letters)
        self.assertWorks()

    def test_anAcknowledgmentOfUnsentDataIsChallenged(self) -> None:
        self.assertEqual(self.bench.receive("PA", 1, 2, b"wrong"), [_ACKNOWLEDGED])
        self.assertEqual(self.bench.receive("PA", 1, 2, b"wrong"), [])
        self.assertWorks()

    def test_anAcknowledgmentOlderThanTheLargestWindowIsChallenged(self) -> None:
        self.bench.write(b"x" * 100)
        self.bench.receive("A", 1, 101)
        self.assertEqual(self.bench.receive("PA", 1, 1 - 70_000, b"wrong"), [("A", 101, 1, b"")])
        self.bench.receive("PA", 1, 50, b"taken")
        self.assertEqual(self.bench.text, b"taken")


class ChallengeTests(BenchTestCase):
    def test_aResetWithTheNextNumberEndsTheConnection(self) -> None:
        self.assertEqual(self.bench.receive("RA", 1, 77, b"why"), [])
        self.assertIs(self.connection.ended, End.RESET)

    def test_aResetAheadIsChallenged(self) -> None:
        self.assertEqual(self.bench.receive("R", 2), [_ACKNOWLEDGED])
        self.assertEqual(self.bench.receive("R", 2), [])
        self.assertWorks()

    def test_aResetElsewhereIsIgnored(self) -> None:
        for sequence in -1, 0, 100_000:
            self.assertEqual(self.bench.receive("R", sequence), [], sequence)
        self.assertWorks()

    def test_aSYNIsChallenged(self) -> None:
        for letters, sequence in ("S", 1), ("S", 0), ("SA", 1), ("S", 100_000), ("SF", 1):
            self.bench.now += 1
            self.assertEqual(self.bench.receive(letters, sequence, 1), [_ACKNOWLEDGED], letters)
        self.assertWorks()

    def test_challengesAreLimited(self) -> None:
        for _ in range(20):
            self.bench.receive("S", 5)
            self.bench.receive("R", 5)
            self.bench.receive("A", 1, 9)
        self.assertEqual(self.connection.segmentsOut, 1)
        self.bench.now += 0.5
        self.assertEqual(self.bench.receive("S", 5), [_ACKNOWLEDGED])


class SACKTests(BenchTestCase):
    options = Options(1460, sackPermitted=True)

    def test_aResetAtTheEdgeOfTheHighestBlockEndsTheConnection(self) -> None:
        self.bench.receive("A", 10, 1, b"x")
        self.bench.receive("A", 20, 1, b"x")
        self.assertEqual(self.bench.receive("R", 11), [_ACKNOWLEDGED])
        self.bench.receive("R", 21)
        self.assertIs(self.connection.ended, End.RESET)

    def test_aDSACKIsFollowedByTheBlockAroundIt(self) -> None:
        for sequence in 10, 20, 30:
            self.bench.receive("A", sequence, 1, b"xx")
        self.bench.receive("A", 10, 1, b"x")
        blocks = [(start - 0xFFFFFF00, end - 0xFFFFFF00) for start, end in self.bench.wire.options.sacks]
        self.assertEqual(blocks, [(10, 11), (10, 12), (30, 32), (20, 22)])


class TimestampTests(BenchTestCase):
    options = _TIMES

    def test_anOldTimestampIsAcknowledgedAndDropped(self) -> None:
        self.assertEqual(self.bench.receive("A", 1, 1, b"wrong", timestamp=100 - PAWS_WINDOW - 1), [_ACKNOWLEDGED])
        self.assertWorks()

    def test_aReorderedAcknowledgmentIsIgnored(self) -> None:
        self.assertEqual(self.bench.receive("A", 1, 1, timestamp=50), [])
        self.assertWorks()

    def test_aResetMayHaveAnOldTimestamp(self) -> None:
        self.bench.receive("R", 1, timestamp=1)
        self.assertIs(self.connection.ended, End.RESET)

    def test_after24DaysAnyTimestampIsAccepted(self) -> None:
        self.bench.now += 25 * 24 * 3600
        self.bench.receive("A", 1, 1, b"hello", timestamp=1)
        self.assertEqual(self.bench.text, b"hello")

    def test_theSegmentThatFillsAGapIsEchoed(self) -> None:
        self.bench.receive("A", 2, 1, b"b", timestamp=120)
        self.assertEqual(self.bench.wire.options.echo, 100)
        self.bench.receive("A", 1, 1, b"a", timestamp=110)
        self.assertEqual(self.bench.wire.options.echo, 110)


class SegmentSizeTests(SynchronousTestCase):
    def size(self, options: Options, version: int = 4, room: int = 1480) -> int:
        bench = Bench(version=version, room=room)
        bench.accept(options)
        return bench.connection.sender.segmentSize

    def test_aSYNWithoutMSSMeansTheDefault(self) -> None:
        for version in 4, 6:
            self.assertEqual(self.size(Options(), version), DEFAULT_MSS[version])
            self.assertEqual(self.size(Options(0), version), DEFAULT_MSS[version])

    def test_aTinyMSSIsRaised(self) -> None:
        self.assertEqual(self.size(Options(1)), MIN_MSS)
        self.assertEqual(self.size(Options(1, timestamp=1)), MIN_MSS - 12)

    def test_thePathMayLimitTheSegmentSize(self) -> None:
        self.assertEqual(self.size(Options(9000), room=1480), 1460)
        self.assertEqual(self.size(Options(9000, timestamp=1), room=1480), 1448)


class ConnectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()
        self.connection = self.bench.connection
        self.assertEqual(self.bench.call("connect", 1000.0), [("S", 0, 0, b"")])

    def test_aSYNACKEstablishes(self) -> None:
        self.assertEqual(self.bench.receive("SA", 0, 1, options=packSynOptions(1460)), [_ACKNOWLEDGED])
        self.assertIs(self.connection.state, State.ESTABLISHED)

    def test_theWindowOfASYNIsNotScaled(self) -> None:
        self.assertEqual(self.bench.wire.window, 65535)
        self.bench.receive("SA", 0, 1, options=packSynOptions(1460, 7), window=100)
        self.assertEqual(self.connection.sender.window, 100)

    def test_aWrongNumberIsResetAndTheSYNRetransmitted(self) -> None:
        for letters, number in ("SA", 7), ("A", 0), ("A", 2):
            self.setUp()
            self.assertEqual(self.bench.receive(letters, 0, number), [("R", number, 0, b""), ("S", 0, 0, b"")])
            # The SYN is retransmitted only once, and resets have the rate of challenges. Otherwise, each forged segment
            # would cause two segments of ours.
            self.assertEqual(self.bench.receive(letters, 0, number), [])
            self.assertEqual(self.bench.wait(0.5), [])
            self.assertEqual(self.bench.receive(letters, 0, number), [("R", number, 0, b"")])
            self.assertIsNone(self.connection.ended)
        self.setUp()
        self.assertEqual(self.bench.receive("RA", 0, 7), [("S", 0, 0, b"")])
        self.assertIsNone(self.connection.ended)

    def test_anEchoOfAnUnsentTimestampIsReset(self) -> None:
        options = packSynOptions(1460, timestamps=(5, 6))
        self.assertEqual(self.bench.receive("SA", 0, 1, options=options), [("R", 1, 0, b""), ("S", 0, 0, b"")])

    def test_onlyAnExactResetRefuses(self) -> None:
        self.bench.receive("R", 0)
        self.bench.receive("F", 0)
        self.bench.receive("", 0)
        self.assertIsNone(self.connection.ended)
        self.bench.receive("RA", 0, 1)
        self.assertIs(self.connection.ended, End.REFUSED)

    def test_simultaneousOpen(self) -> None:
        self.assertEqual(self.bench.receive("S", 0, options=packSynOptions(1460)), [("SA", 0, 1, b"")])
        self.assertIs(self.connection.state, State.SYN_RECEIVED)
        self.assertEqual(self.bench.wire.options, Options(1460))
        self.assertEqual(self.bench.receive("SA", 0, 1), [_ACKNOWLEDGED])
        self.assertIs(self.connection.state, State.ESTABLISHED)

    def test_simultaneousOpenWithAnAcknowledgment(self) -> None:
        self.bench.receive("S", 0)
        self.assertEqual(self.bench.receive("A", 1, 7), [("R", 7, 0, b"")])
        self.bench.receive("A", 1, 1)
        self.assertIs(self.connection.state, State.ESTABLISHED)

    def test_aSYNACKMayHaveDataAndFIN(self) -> None:
        self.assertEqual(self.bench.receive("SFA", 0, 1, b"hello"), [("A", 1, 7, b"")])
        self.assertEqual((self.bench.text, self.connection.state), (b"hello", State.CLOSE_WAIT))

    def test_unansweredSYNsTimeOut(self) -> None:
        sent = self.bench.wait(200)
        self.assertEqual([at for at, _ in sent], [1, 2, 3, 4, 5, 7, 11, 19, 35, 67])
        self.assertEqual({each for _, each in sent}, {("S", 0, 0, b"")})
        self.assertIs(self.connection.ended, End.TIMED_OUT)


class CloseTests(BenchTestCase):
    def test_thePeerClosesFirst(self) -> None:
        self.assertEqual(self.bench.receive("FA", 1, 1), [("A", 1, 2, b"")])
        self.assertIs(self.connection.state, State.CLOSE_WAIT)
        self.assertEqual(self.bench.call("shutdown"), [("FA", 1, 2, b"")])
        self.assertIs(self.connection.state, State.LAST_ACK)
        self.assertEqual(self.bench.receive("PA", 2, 1, b"late"), [])
        self.assertEqual(self.bench.receive("FA", 1, 1), [("A", 2, 2, b"")])
        self.bench.receive("A", 2, 2)
        self.assertIs(self.connection.ended, End.DONE)

    def test_weCloseFirst(self) -> None:
        self.assertEqual(self.bench.call("shutdown"), [("FA", 1, 1, b"")])
        self.bench.receive("A", 1, 2)
        self.assertIs(self.connection.state, State.FIN_WAIT_2)
        self.bench.receive("A", 1, 2, b"more")
        self.assertEqual(self.bench.text, b"more")
        self.assertEqual(self.bench.receive("FA", 5, 2), [("A", 2, 6, b"")])
        self.assertIs(self.connection.state, State.TIME_WAIT)

    def test_simultaneousClose(self) -> None:
        self.bench.call("shutdown")
        self.assertEqual(self.bench.receive("FA", 1, 1), [("A", 2, 2, b"")])
        self.assertIs(self.connection.state, State.CLOSING)
        self.bench.receive("A", 2, 2)
        self.assertIs(self.connection.state, State.TIME_WAIT)

    def test_aFINOutOfOrderWaits(self) -> None:
        self.assertEqual(self.bench.receive("FA", 6, 1), [_ACKNOWLEDGED])
        self.assertEqual(self.bench.receive("A", 1, 1, b"hello"), [("A", 1, 7, b"")])
        self.assertIs(self.connection.state, State.CLOSE_WAIT)

    def test_dataAfterCloseIsReset(self) -> None:
        self.bench.call("close", 1000.0)
        self.assertEqual(self.bench.receive("A", 1, 2, b"hello"), [("R", 2, 0, b"")])
        self.assertIs(self.connection.ended, End.RESET)

    def test_closeWithUnreadDataResets(self) -> None:
        self.bench.receive("A", 1, 1, b"hello")
        self.assertEqual(self.bench.call("close", 1000.0), [("FA", 1, 6, b""), ("RA", 2, 6, b"")])
        self.assertIs(self.connection.ended, End.ABORTED)

    def test_FIN_WAIT_2WithoutAReaderEnds(self) -> None:
        self.bench.call("close", 1000.0)
        self.bench.receive("A", 1, 2)
        self.assertEqual(self.bench.wait(FIN_TIMEOUT), [])
        self.assertIs(self.connection.ended, End.DONE)

    def test_abortSendsAReset(self) -> None:
        self.bench.write(b"hello")
        self.assertEqual(self.bench.call("abort", 1000.0), [("RA", 6, 1, b"")])
        self.assertIs(self.connection.ended, End.ABORTED)


class TimerTests(BenchTestCase):
    def test_keepaliveProbesAndThenResets(self) -> None:
        self.connection.keepAlive = True
        sent = self.bench.wait(KEEPALIVE_IDLE + KEEPALIVE_PROBES * KEEPALIVE_PAUSE + 1)
        expected = [(KEEPALIVE_IDLE + number * KEEPALIVE_PAUSE, ("A", 0, 1, b"")) for number in range(KEEPALIVE_PROBES)]
        end = KEEPALIVE_IDLE + KEEPALIVE_PROBES * KEEPALIVE_PAUSE
        self.assertEqual(sent, [*expected, (end, ("RA", 1, 1, b""))])
        self.assertIs(self.connection.ended, End.TIMED_OUT)

    def test_keepaliveTimesAreParameters(self) -> None:
        bench = Bench(Parameters(keepAliveIdle=2.0, keepAlivePause=1.0, keepAliveProbes=3))
        bench.accept()
        bench.wait(0.5)
        bench.connection.keepAlive = True
        sent = bench.wait(10)
        self.assertEqual([each for _, each in sent], [("A", 0, 1, b"")] * 3 + [("RA", 1, 1, b"")])
        first = sent[0][0]
        self.assertEqual([time - first for time, _ in sent], [0.0, 1.0, 2.0, 3.0])

    def test_anAnswerRestartsTheKeepalive(self) -> None:
        self.connection.keepAlive = True
        self.assertEqual(len(self.bench.wait(KEEPALIVE_IDLE)), 1)
        self.bench.receive("A", 1, 1)
        self.assertEqual(self.bench.wait(KEEPALIVE_IDLE - 1), [])

    def test_unacknowledgedDataIsGivenUp(self) -> None:
        self.bench.write(b"hello")
        sent = self.bench.wait(3000)
        self.assertEqual({each for _, each in sent}, {("PA", 1, 1, b"hello")})
        self.assertEqual(len(sent), MAX_TIMEOUTS)
        self.assertIs(self.connection.ended, End.TIMED_OUT)

    def test_theUserTimeoutEndsTheConnection(self) -> None:
        self.connection.userTimeout = 10
        self.bench.write(b"hello")
        self.bench.wait(30)
        self.assertIs(self.connection.ended, End.TIMED_OUT)

    def test_roundingDoesNotDelayTheUserTimeout(self) -> None:
        # The sum of two times and their difference may be rounded differently.
        for step in range(100):
            bench = Bench(Parameters(userTimeout=0.1))
            bench.now = 3.01 + step / 100
            bench.accept()
            bench.write(b"hello")
            bench.connection.timeout(bench.connection.deadline)
            self.assertIs(bench.connection.ended, End.TIMED_OUT, bench.now)

    def test_aClosedWindowIsProbedAsLongAsThePeerAnswers(self) -> None:
        self.bench.receive("A", 1, 1, window=0)
        self.assertEqual(self.bench.write(b"hello"), [])
        for _ in range(2 * MAX_TIMEOUTS):
            self.assertEqual(self.bench.wait(120)[-1][1], ("A", 0, 1, b""))
            self.bench.receive("A", 1, 1, window=0)
        self.assertEqual(self.bench.receive("A", 1, 1, window=9), [("PA", 1, 1, b"hello")])

    def test_anOrphanWithAClosedWindowIsGivenUp(self) -> None:
        for windows in (0,), (65535,), (0, 65535):
            bench = Bench()
            bench.accept()
            bench.write(b"hello")
            bench.call("close", bench.now)
            begin = bench.now
            while bench.connection.ended is None and bench.now < begin + 1000:
                bench.wait(5)
                for window in windows:
                    if bench.connection.ended is None:
                        bench.receive("A", 1, 1, window=window)
            self.assertIs(bench.connection.ended, End.TIMED_OUT, windows)
            self.assertGreater(bench.now - begin, ORPHAN_PATIENCE)

    def test_aWindowThatOnlyShrinksIsIgnored(self) -> None:
        self.bench.receive("A", 1, 1, window=3)
        self.assertEqual(self.bench.write(b"hello"), [("PA", 1, 1, b"hello")])


class PathTests(BenchTestCase):
    def test_aSmallerMTURetransmitsAtOnce(self) -> None:
        self.bench.write(b"x" * 1460)
        self.bench.wire.room = 580
        self.connection.pathChanged()
        self.assertEqual([(each[1], len(each[3])) for each in self.bench.flush()], [(1, 560), (561, 560), (1121, 340)])

    def test_onlyUnacknowledgedNumbersAreAccepted(self) -> None:
        self.bench.write(b"hello")
        first = (0xFFFFFFF0 + 1) & 0xFFFFFFFF
        believed = [self.connection.isUnacknowledged((first + offset) & 0xFFFFFFFF) for offset in (-1, 0, 4, 5)]
        self.assertEqual(believed, [False, True, True, False])

    def test_aBlackHoleReducesTheSegmentSize(self) -> None:
        self.bench.write(b"x" * 1460)
        sizes = {len(each[3]) for _, each in self.bench.wait(30)}
        self.assertEqual(sizes, {1460, 1024, 512})


class ECNTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench()
        self.bench.accept(flags=SYN | ECE | CWR)
        self.bench.flush()

    def test_aMarkIsEchoedUntilCWR(self) -> None:
        letters = [
            self.bench.receive("A", 1, 1, b"a", isMarked=True)[0][0],
            self.bench.receive("A", 2, 1, b"b")[0][0],
            self.bench.receive("AC", 3, 1, b"c")[0][0],
        ]
        self.assertEqual(letters, ["AE", "AE", "A"])

    def test_onlyNewDataIsMarkable(self) -> None:
        self.bench.receive("A", 1, 1, b"a")
        self.assertFalse(self.bench.wire.isMarkable)
        self.bench.write(b"hello")
        self.assertTrue(self.bench.wire.isMarkable)
        self.bench.wait(1)
        self.assertFalse(self.bench.wire.isMarkable)

    def test_anEchoReducesTheWindowOnceARoundTrip(self) -> None:
        before = self.bench.connection.sender.control.window
        self.bench.write(b"x" * 2920)
        self.bench.receive("AE", 1, 1461)
        reduced = self.bench.connection.sender.control.threshold
        self.assertLess(reduced, before)
        self.assertEqual(self.bench.write(b"new")[0][0], "PAC")
        self.bench.receive("AE", 1, 2921)
        self.assertEqual(self.bench.connection.sender.control.threshold, reduced)

    def test_ECNIsAskedForByParameter(self) -> None:
        bench = Bench(Parameters(ecn=True))
        self.assertEqual(bench.call("connect", 1000.0), [("SEC", 0, 0, b"")])
        bench.receive("SAE", 0, 1)
        self.assertTrue(bench.connection.agreement.ecn)


class SuperpacketTests(BenchTestCase):
    options = Options(1460, sackPermitted=True)

    def test_aSuperpacketHasOneAcknowledgment(self) -> None:
        data = bytes(44 * 1460)
        self.assertEqual(self.bench.receive("PA", 1, 1, data), [("A", 1, 1 + len(data), b"")])
        self.assertEqual(self.bench.text, data)

    def test_onlyTheLostPartOfASuperpacketIsRetransmitted(self) -> None:
        self.connection.sender.superpacket = 65000
        sent = self.bench.write(b"x" * 14600)
        self.assertEqual(sum(len(each[3]) for each in sent), 14600)
        blocks = packSacks(
            [((0xFFFFFFF0 + start) & 0xFFFFFFFF, (0xFFFFFFF0 + end) & 0xFFFFFFFF) for start, end in ((1461, 7301),)]
        )
        again = self.bench.receive("A", 1, 1, options=blocks)
        self.assertEqual([(each[1], len(each[3])) for each in again], [(1, 1460)])
