"""
Tests for L{txtuntap.stack.neighbours}: the neighbour cache.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.steps import steps
from txtuntap.interfaces import INeighbours
from txtuntap.stack import neighbours
from txtuntap.stack.neighbours import NeighbourCache
from txtuntap.wire.address import addressText

A = b"\x0a\0\0\x01"
B = b"\xfd" + bytes(14) + b"\x02"
PEER = b"\x02\0\0\0\0\x02"
OTHER = b"\x02\0\0\0\0\x03"
KIB = 1024


def number(index: int) -> bytes:
    """
    Make a packed IPv4 address from a number.
    """
    return b"\x0b\0" + index.to_bytes(2, "big")


class Middle(Random):
    """
    A random source that always returns the middle of a range, so that random times have their mean.
    """

    def random(self) -> float:
        return 0.5


class CacheTestCase(SynchronousTestCase):
    """
    The base class of tests with a cache.

    @ivar asked: for each request sent, its time, the address asked for, and the station asked.
    @ivar sent: the names of the datagrams sent, each with the station that it was sent to.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[float, bytes, bytes | None]] = []
        self.sent: list[tuple[str, bytes | None]] = []
        self.cache = NeighbourCache(self.clock, Middle(), self.solicit)

    def solicit(self, address: bytes, station: bytes | None) -> None:
        self.asked.append((self.clock.seconds(), address, station))

    def sender(self, name: str) -> Callable[[bytes | None], None]:
        return lambda station: self.sent.append((name, station))

    def hold(self, *names: str, address: bytes = A, octets: int = 100) -> None:
        for name in names:
            self.cache.hold(address, self.sender(name), octets)

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)

    def known(self, address: bytes = A, station: bytes = PEER) -> None:
        """
        Make a reachable entry, without traces in C{asked} and C{sent}.
        """
        self.cache.hold(address, self.sender("first"), 1)
        self.cache.confirmed(address, station)
        del self.asked[:], self.sent[:]


class ResolutionTests(CacheTestCase):
    def test_theInterfaceOfNeighboursIsProvided(self) -> None:
        self.assertTrue(verifyObject(INeighbours, self.cache))

    def test_aRequestForAnUnknownStationIsSentAtOnce(self) -> None:
        self.hold("one")
        self.assertEqual(self.asked, [(0.0, A, None)])

    def test_threeRequestsAreSentOneSecondApart(self) -> None:
        self.hold("one")
        self.wait(20)
        self.assertEqual([time for time, _, _ in self.asked], [0.0, 1.0, 2.0])
        self.assertEqual(self.cache.counters["outSolicits"], 3)

    def test_furtherDatagramsSendNoRequest(self) -> None:
        self.hold("one", "two", "three")
        self.assertEqual(len(self.asked), 1)

    def test_theResolutionEndsWithoutAnAnswer(self) -> None:
        self.hold("one")
        self.wait(2.75)
        self.assertEqual(list(self.cache.incomplete), [A])
        self.wait(0.25)
        self.assertEqual(list(self.cache.incomplete), [])
        self.assertEqual((self.cache.counters["unresolved"], self.cache.counters["outDiscards"]), (1, 1))
        self.assertEqual(self.sent, [("one", None)])

    def test_aDatagramCanBeHeldAgainAfterAFailure(self) -> None:
        def again(station: bytes | None) -> None:
            self.hold("two")

        self.cache.hold(A, again, 100)
        self.wait(4)
        self.cache.confirmed(A, PEER)
        self.assertEqual(self.sent, [("two", PEER)])

    def test_aLaterDatagramStartsANewResolution(self) -> None:
        self.hold("one")
        self.wait(10)
        self.hold("two")
        self.assertEqual([time for time, _, _ in self.asked], [0.0, 1.0, 2.0, 10.0])

    def test_aStationIsUnknownWhileItIsResolved(self) -> None:
        self.hold("one")
        self.assertIsNone(self.cache.lookup(A))

    def test_anAnswerSendsTheWaitingDatagramsInOrder(self) -> None:
        self.hold("one", "two")
        self.cache.confirmed(A, PEER)
        self.assertEqual(self.sent, [("one", PEER), ("two", PEER)])
        self.assertEqual(self.cache.lookup(A), PEER)

    def test_anAnswerEndsTheRequests(self) -> None:
        self.hold("one")
        self.cache.confirmed(A, PEER)
        self.wait(5)
        self.assertEqual(len(self.asked), 1)

    def test_anAnswerMayArriveWithinTheRequest(self) -> None:
        cache = NeighbourCache(self.clock, Middle(), lambda address, station: cache.confirmed(address, PEER))
        cache.hold(A, self.sender("one"), 100)
        self.assertEqual(self.sent, [("one", PEER)])
        self.assertEqual(cache._waitingOctets, 0)

    def test_anAnswerWithoutARequestMakesNoEntry(self) -> None:
        self.cache.confirmed(A, PEER)
        self.assertIsNone(self.cache.lookup(A))

    def test_anAnswerWithoutAStationIsIgnored(self) -> None:
        self.hold("one")
        self.cache.confirmed(A, None)
        self.assertIsNone(self.cache.lookup(A))

    def test_addressesOfBothVersionsAreResolved(self) -> None:
        self.hold("four")
        self.hold("six", address=B)
        self.cache.confirmed(B, OTHER)
        self.assertEqual(self.sent, [("six", OTHER)])


class WaitingTests(CacheTestCase):
    def test_aFourthDatagramDropsTheOldest(self) -> None:
        self.hold("one", "two", "three", "four")
        self.cache.confirmed(A, PEER)
        self.assertEqual([name for name, _ in self.sent], ["two", "three", "four"])
        self.assertEqual(self.cache.counters["outDiscards"], 1)

    def test_threeDatagramsWaitForEachAddress(self) -> None:
        self.hold("one", "two", "three")
        self.hold("four", address=B)
        self.cache.confirmed(A, PEER)
        self.assertEqual(len(self.sent), 3)

    def test_theWaitingOctetsAreBounded(self) -> None:
        self.hold("one", octets=200 * KIB)
        self.hold("two", address=B, octets=57 * KIB)
        self.hold("three", address=B, octets=56 * KIB)
        self.cache.confirmed(B, PEER)
        self.assertEqual([name for name, _ in self.sent], ["three"])
        self.assertEqual(self.cache.counters["outDiscards"], 1)

    def test_sentOctetsMakeRoom(self) -> None:
        self.hold("one", octets=256 * KIB)
        self.cache.confirmed(A, PEER)
        self.hold("two", address=B, octets=256 * KIB)
        self.cache.confirmed(B, PEER)
        self.assertEqual([name for name, _ in self.sent], ["one", "two"])

    def test_droppedOctetsMakeRoom(self) -> None:
        self.hold("one", octets=256 * KIB)
        self.wait(5)
        self.assertEqual(self.sent, [("one", None)])
        self.hold("two", octets=256 * KIB)
        self.cache.confirmed(A, PEER)
        self.assertEqual(self.sent[1:], [("two", PEER)])

    def test_theOctetsOfTheDroppedDatagramMakeRoom(self) -> None:
        self.hold("one", "two", "three", "four", octets=80 * KIB)
        self.cache.confirmed(A, PEER)
        self.assertEqual([name for name, _ in self.sent], ["two", "three", "four"])

    def test_aDatagramThatIsTooLongDropsNoOther(self) -> None:
        self.hold("one", "two", "three")
        self.hold("four", octets=300 * KIB)
        self.cache.confirmed(A, PEER)
        self.assertEqual([name for name, _ in self.sent], ["one", "two", "three"])


class StateTests(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.known()

    def state(self) -> str:
        return self.cache.entries[A].state

    def stale(self) -> None:
        self.wait(31)
        self.assertEqual(self.state(), neighbours.STALE)

    def test_aDatagramForAKnownStationIsSentAtOnce(self) -> None:
        # A route that was looked up before the answer arrived holds a datagram although the station is known now.
        before = len(self.asked)
        self.hold("again")
        self.assertEqual(self.sent[-1], ("again", PEER))
        self.assertEqual((len(self.asked), len(self.cache.incomplete)), (before, 0))

    def test_noTimerOutlivesItsEntry(self) -> None:
        for forget in self.cache.clear, lambda: self.cache.remove(addressText(A)):
            self.known()
            forget()
            self.cache.add(addressText(A), PEER)
            self.wait(100)
            self.assertEqual(self.state(), neighbours.PERMANENT)
            self.cache.remove(addressText(A))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anEntryIsReachableForHalfAMinute(self) -> None:
        self.wait(29.75)
        self.assertEqual(self.state(), neighbours.REACHABLE)
        self.wait(0.25)
        self.assertEqual(self.state(), neighbours.STALE)

    def test_theReachableTimeIsRandom(self) -> None:
        self.cache = NeighbourCache(self.clock, Random(1), self.solicit)
        for index in range(200):
            self.known(number(index))
        stale = []
        for seconds in 14.9, 3, 24, 4:
            self.wait(seconds)
            stale.append(sum(entry.state == neighbours.STALE for entry in self.cache.entries.values()))
        self.assertTrue(stale[0] == 0 < stale[1] < stale[2] < 200 == stale[3], stale)

    def test_oneCallOfTheClockServesAllEntries(self) -> None:
        self.cache = NeighbourCache(self.clock, Random(1), self.solicit)
        before = len(self.clock.getDelayedCalls())
        for index in range(200):
            self.known(number(index))
        self.assertEqual(len(self.clock.getDelayedCalls()), before + 1)
        self.cache.clear()
        self.assertEqual(len(self.clock.getDelayedCalls()), before)

    def test_aConfirmationExtendsTheReachableTime(self) -> None:
        self.wait(20)
        self.cache.confirmed(A, PEER)
        self.wait(20)
        self.assertEqual(self.state(), neighbours.REACHABLE)

    def test_noRequestIsSentForAReachableEntry(self) -> None:
        for _ in range(29):
            self.cache.lookup(A)
            self.wait(1)
        self.assertEqual(self.asked, [])

    def test_noRequestIsSentForAnUnusedStaleEntry(self) -> None:
        self.wait(1000)
        self.assertEqual(self.asked, [])
        self.assertEqual(self.cache.lookup(A), PEER)

    def test_aUsedStaleEntryIsProbedFiveSecondsLater(self) -> None:
        self.stale()
        self.assertEqual(self.cache.lookup(A), PEER)
        self.assertEqual(self.state(), neighbours.DELAY)
        self.wait(4.75)
        self.assertEqual(self.asked, [])
        self.wait(0.25)
        self.assertEqual((self.state(), self.asked), (neighbours.PROBE, [(36.0, A, PEER)]))

    def test_aFurtherUseDoesNotPostponeTheProbe(self) -> None:
        self.stale()
        for _ in range(6):
            self.cache.lookup(A)
            self.wait(1)
        self.assertEqual(self.asked[0][0], 36.0)

    def test_theLastProbeIsSentToAllStations(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(20)
        self.assertEqual(self.asked, [(36.0, A, PEER), (37.0, A, PEER), (38.0, A, None)])

    def test_aStationIsKnownWhileItIsProbed(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(6)
        self.assertEqual(self.cache.lookup(A), PEER)

    def test_aStationThatDoesNotAnswerIsForgotten(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(8)
        self.assertIsNone(self.cache.lookup(A))
        self.assertEqual(self.cache.counters["unresolved"], 1)

    def test_anAnswerMakesAnEntryReachable(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(5)
        self.cache.confirmed(A, PEER)
        self.wait(5)
        self.assertEqual((self.state(), len(self.asked)), (neighbours.REACHABLE, 1))

    def test_anAnswerWithoutAStationConfirmsTheKnownOne(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(5)
        self.cache.confirmed(A, None)
        self.assertEqual((self.state(), self.cache.lookup(A)), (neighbours.REACHABLE, PEER))

    def test_anAnswerOfAnotherStationReplacesTheKnownOne(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(5)
        self.cache.confirmed(A, OTHER)
        self.assertEqual((self.state(), self.cache.lookup(A)), (neighbours.REACHABLE, OTHER))

    def test_anAnswerWithoutOverrideReplacesNoStation(self) -> None:
        self.stale()
        self.cache.lookup(A)
        self.wait(5)
        self.cache.confirmed(A, OTHER, override=False)
        self.assertEqual((self.state(), self.cache.lookup(A)), (neighbours.PROBE, PEER))


class ClaimTests(CacheTestCase):
    def test_aClaimMakesNoEntry(self) -> None:
        self.cache.claimed(A, PEER, False)
        self.assertIsNone(self.cache.lookup(A))

    def test_aClaimToBeRememberedMakesAnEntry(self) -> None:
        self.cache.claimed(A, PEER, True)
        self.assertEqual((self.cache.lookup(A), self.asked), (PEER, []))

    def test_aRememberedClaimIsProbedWhenUsed(self) -> None:
        self.cache.claimed(A, PEER, True)
        self.cache.lookup(A)
        self.wait(5)
        self.assertEqual(self.asked, [(5.0, A, PEER)])

    def test_aClaimCompletesAResolution(self) -> None:
        self.hold("one")
        self.cache.claimed(A, PEER, False)
        self.assertEqual(self.sent, [("one", PEER)])
        self.assertEqual(self.cache.entries[A].state, neighbours.STALE)

    def test_aClaimOfTheKnownStationChangesNothing(self) -> None:
        self.known()
        self.cache.claimed(A, PEER, False)
        self.wait(5)
        self.assertEqual((self.cache.lookup(A), self.asked), (PEER, []))

    def test_aClaimOfAnotherStationProbesTheKnownOne(self) -> None:
        self.known()
        self.wait(2)
        self.cache.claimed(A, OTHER, False)
        self.clock.advance(0)
        self.assertEqual((self.cache.lookup(A), self.asked), (PEER, [(2.0, A, PEER)]))

    def test_theKnownStationStaysWhenItAnswers(self) -> None:
        self.known()
        self.cache.claimed(A, OTHER, True)
        self.wait(1)
        self.cache.confirmed(A, PEER)
        self.wait(20)
        self.assertEqual(self.cache.lookup(A), PEER)

    def test_theClaimingStationReplacesWhenItAnswers(self) -> None:
        self.known()
        self.cache.claimed(A, OTHER, False)
        self.wait(1)
        self.cache.confirmed(A, OTHER)
        self.assertEqual(self.cache.lookup(A), OTHER)

    def test_anAnswerWithoutAProbeReplacesNoStation(self) -> None:
        self.known()
        self.cache.confirmed(A, OTHER)
        self.assertEqual(self.cache.lookup(A), PEER)

    def test_anAnswerBeforeTheProbeReplacesNoStation(self) -> None:
        self.known()
        self.wait(31)
        self.cache.lookup(A)
        self.cache.confirmed(A, OTHER)
        self.assertEqual(self.cache.lookup(A), PEER)

    def test_aClaimStartsTheProbeSooner(self) -> None:
        self.known()
        self.wait(31)
        self.cache.lookup(A)
        self.cache.claimed(A, OTHER, False)
        self.clock.advance(0)
        self.assertEqual([time for time, _, _ in self.asked], [31.0])

    def test_claimsCauseAtMostOneProbeASecond(self) -> None:
        self.known()
        for _ in range(100):
            self.cache.claimed(A, OTHER, True)
            self.clock.advance(0.0625)
            self.cache.confirmed(A, PEER)
        times = [time for time, _, _ in self.asked]
        self.assertGreater(len(times), 3)
        self.assertGreaterEqual(min(b - a for a, b in pairwise(times)), 1.0)


class TableTests(CacheTestCase):
    def fill(self, count: int) -> None:
        for index in range(count):
            self.known(number(index))

    def test_aPermanentEntryIsNeitherProbedNorReplaced(self) -> None:
        self.cache.add("10.0.0.1", PEER)
        for _ in range(100):
            self.cache.claimed(A, OTHER, True)
            self.cache.confirmed(A, OTHER)
            self.assertEqual(self.cache.lookup(A), PEER)
            self.wait(1)
        self.assertEqual(self.asked, [])

    def test_aPermanentEntrySendsTheWaitingDatagrams(self) -> None:
        self.hold("one")
        self.cache.add("10.0.0.1", "02:00:00:00:00:02")
        self.assertEqual(self.sent, [("one", PEER)])

    def test_aPermanentEntryReplacesALearnedOne(self) -> None:
        self.known()
        self.cache.add(A, OTHER)
        self.wait(100)
        self.assertEqual((self.cache.lookup(A), self.asked), (OTHER, []))

    def test_aTextThatIsNoAddressIsRefused(self) -> None:
        self.assertRaises(ValueError, self.cache.add, "here", PEER)
        self.assertRaises(ValueError, self.cache.add, A, "there")

    def test_anEntryCanBeRemoved(self) -> None:
        self.known()
        self.cache.remove("10.0.0.1")
        self.assertIsNone(self.cache.lookup(A))

    def test_removingAnEntryEndsItsResolution(self) -> None:
        self.hold("one")
        self.cache.remove(A)
        self.wait(5)
        self.assertEqual((len(self.asked), self.cache.counters["outDiscards"]), (1, 1))

    def test_removingAnUnknownEntryIsRefused(self) -> None:
        self.assertRaises(ValueError, self.cache.remove, A)

    def test_theLeastRecentlyUsedEntryIsEvicted(self) -> None:
        self.fill(512)
        self.cache.lookup(number(0))
        self.known()
        self.assertEqual(len(self.cache.entries), 512)
        self.assertEqual((self.cache.lookup(number(0)), self.cache.lookup(number(1))), (PEER, None))
        self.assertEqual(self.cache.counters["evicted"], 1)

    def test_aPermanentEntryIsNeverEvicted(self) -> None:
        self.cache.add(A, PEER)
        self.fill(600)
        self.assertEqual((self.cache.lookup(A), len(self.cache.entries)), (PEER, 512))

    def test_aPermanentEntryEvictsALearnedOne(self) -> None:
        self.fill(512)
        for index in range(400):
            # The first station is known already, the second one is new.
            self.cache.add(number(index), PEER)
            self.cache.add(number(index + 1000), PEER)
            self.assertEqual(len(self.cache.entries), max(512, 2 * index + 2))
        self.assertEqual((self.cache.lookup(number(399)), self.cache.lookup(number(400))), (PEER, None))

    def test_oneLearnedEntryHasRoomBesidePermanentOnes(self) -> None:
        for index in range(600):
            self.cache.add(number(index), PEER)
        self.known(A)
        self.known(B)
        self.assertEqual((self.cache.lookup(A), self.cache.lookup(B)), (None, PEER))
        self.cache.remove(addressText(number(0)))
        self.cache.add(number(0), PEER)
        self.assertEqual((self.cache.lookup(B), len(self.cache.entries)), (None, 600))

    def test_theCostOfAPermanentEntryDoesNotDependOnTheirNumber(self) -> None:
        counted = []
        for count in 600, 2000:
            for index in range(count):
                self.cache.add(number(index), PEER)
            # The first entry is permanent already, the second one is added and removed.
            self.cache.add(number(0), PEER)
            self.cache.add(number(5000), PEER)
            self.cache.remove(number(5000))
            counted.append([steps(self.cache.add, number(5000), PEER), steps(self.cache.remove, number(5000))])
        self.assertEqual(*counted)

    def test_theOldestResolutionIsEvicted(self) -> None:
        for index in range(65):
            self.hold("one", address=number(index))
        self.assertEqual(len(self.cache.incomplete), 64)
        self.assertNotIn(number(0), self.cache.incomplete)
        self.assertEqual(self.cache.counters["outDiscards"], 1)

    def test_resolutionsEvictNoKnownStation(self) -> None:
        self.fill(512)
        for index in range(1000, 1200):
            self.hold("one", address=number(index))
        self.assertEqual([self.cache.lookup(number(index)) for index in range(512)], [PEER] * 512)

    def test_clearKeepsPermanentEntries(self) -> None:
        self.known(B)
        self.cache.add(A, PEER)
        self.hold("one", address=number(1))
        self.cache.clear()
        self.assertEqual((list(self.cache.entries), self.cache.incomplete), ([A], {}))

    def test_clearStopsAllTimers(self) -> None:
        self.known(B)
        self.hold("one")
        self.cache.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])
