"""
Tests for L{txtuntap.layer.batches}: which datagrams wait, and until when.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txtuntap.interfaces import IBatches, ITrain
from txtuntap.layer.batches import Batches
from txtuntap.layer.counters import Counters
from txtuntap.layer.life import FailureLog


@implementer(ITrain)
class Waiting:
    """
    A train that records when it leaves.
    """

    def __init__(self, left: list[str], name: str, count: int = 2, error: Exception | None = None) -> None:
        self._left = left
        self._name = name
        self._count = count
        self._error = error

    def leave(self) -> int:
        self._left.append(self._name)
        if self._error is not None:
            raise self._error
        return self._count


class BatchesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters: Counters = Counters()
        self.batches = Batches(self.clock, FailureLog(self, self.counters))
        self.left: list[str] = []

    def hold(self, name: str, count: int = 2, error: Exception | None = None) -> None:
        """
        Hold a train that appends its name to C{left} when it leaves.

        @param count: the number of its datagrams.
        @param error: the exception that it raises when it leaves.
        """
        self.batches.hold(Waiting(self.left, name, count, error))

    def collected(self, *flows: bytes) -> list[bool]:
        """
        Ask for a datagram of each flow whether it may wait.

        @return: the answers.
        """
        return [self.batches.collects(flow) for flow in flows]

    def test_batchesProvideIBatches(self) -> None:
        self.assertTrue(verifyObject(IBatches, self.batches))

    def test_outsideOfReadsAndBatchesNoDatagramWaits(self) -> None:
        self.assertEqual(self.collected(b"a", b"a"), [False, False])

    def test_inAReadTheSecondDatagramOfAFlowWaits(self) -> None:
        self.batches.beginRead()
        self.assertEqual(self.collected(b"a", b"a", b"b", b"b", b"a"), [False, True, False, True, False])
        self.batches.endRead()
        self.assertEqual(self.collected(b"a"), [False])

    def test_inEachReadTheFirstDatagramOfAFlowDoesNotWait(self) -> None:
        for _ in range(2):
            self.batches.beginRead()
            self.assertEqual(self.collected(b"a", b"a"), [False, True])
            self.batches.endRead()

    def test_answersToASuperpacketAllWait(self) -> None:
        self.batches.beginRead()
        self.batches.answering = True
        self.assertEqual(self.collected(b"a", b"b"), [True, True])

    def test_inABatchTheFirstDatagramWaits(self) -> None:
        with self.batches.batch():
            self.assertEqual(self.collected(b"a", b"b"), [True, True])
        self.assertEqual(self.collected(b"b"), [False])

    def test_afterATrainOfOneTheFirstDatagramOfAnotherFlowDoesNotWait(self) -> None:
        with self.batches.batch():
            self.assertTrue(self.batches.collects(b"a"))
            self.hold("one", count=1)
            self.batches.release()
            self.assertEqual(self.collected(b"b", b"b"), [False, True])
            self.hold("many")
            self.batches.release()
            self.assertEqual(self.collected(b"a"), [True])

    def test_holdingATrainSendsTheOneBefore(self) -> None:
        self.hold("first")
        self.assertEqual(self.left, [])
        self.hold("second")
        self.assertEqual(self.left, ["first"])
        self.batches.release()
        self.batches.release()
        self.assertEqual(self.left, ["first", "second"])
        self.assertIsNone(self.batches.train)

    def test_theTrainLeavesAtTheEndOfTheOuterBatch(self) -> None:
        with self.batches.batch():
            with self.batches.batch():
                self.hold("one")
            self.assertEqual(self.left, [])
        self.assertEqual(self.left, ["one"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aBatchThatIsLeftOpenEndsWithTheTurn(self) -> None:
        self.batches.batch().__enter__()
        self.hold("one")
        self.clock.advance(0)
        self.assertEqual((self.left, self.clock.getDelayedCalls()), (["one"], []))
        self.assertEqual(self.collected(b"a"), [False])

    def test_aBatchInAReadEndsWithTheRead(self) -> None:
        self.batches.beginRead()
        with self.batches.batch():
            self.hold("one")
        self.assertEqual((self.left, self.clock.getDelayedCalls()), ([], []))
        self.batches.batch().__enter__()
        self.batches.endRead()
        self.assertEqual(self.left, ["one"])
        self.assertEqual(self.collected(b"a"), [False])

    def test_anExceptionAtTheEndOfTheTurnIsLoggedAndCounted(self) -> None:
        self.hold("one", error=ZeroDivisionError())
        self.batches.endTurn()
        self.assertEqual(self.counters, {"protocolFailures": 1})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_eachReadBatchAndRouteChangeBeginsAnEpoch(self) -> None:
        epochs = [self.batches.epoch]
        self.batches.beginRead()
        epochs.append(self.batches.epoch)
        with self.batches.batch():
            self.assertEqual(self.batches.epoch, epochs[-1])
        self.batches.endRead()
        with self.batches.batch():
            epochs.append(self.batches.epoch)
        self.hold("one")
        self.batches.routesChanged()
        epochs.append(self.batches.epoch)
        self.assertEqual(len(set(epochs)), len(epochs))
        self.assertEqual(self.left, ["one"])
