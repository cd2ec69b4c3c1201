"""
Tests for L{txtuntap.stack.guard}: the guard alone, the guard of a host, and two hosts with one address.
"""

from __future__ import annotations

import errno
from itertools import pairwise
from random import Random
from typing import Any, cast

from twisted.internet.error import TimeoutError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import Echo
from txtuntap import TuntapPort
from txtuntap.stack.guard import MAX_CONFLICTS, RATE_LIMIT_INTERVAL, AddressGuard
from txtuntap.stack.host import Host
from txtuntap.stack.resolution import LINES_BURST
from txtuntap.testing import TAP, TUN, MemoryDevice, join, udpPacket
from txtuntap.wire import ndp
from txtuntap.wire.address import LINK_BROADCAST, addressText, packAddress
from txtuntap.wire.arp import ARP, REPLY, REQUEST

from .link import NOBODY, OTHER, OWN, PEER, LinkTestCase, arpFrame, arps, discovery, frame, messages

FOUR = b"\x0a\0\0\x02"
SIX = packAddress("fd00::2")


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.probed: list[float] = []
        self.announced: list[float] = []
        self.lost: list[tuple[bytes, bytes]] = []
        self.kept: list[bytes] = []
        self.guard = AddressGuard(
            self.clock,
            Random(1),
            lambda address: self.probed.append(self.clock.seconds()),
            lambda address: self.announced.append(self.clock.seconds()),
            lambda address, station: self.lost.append((address, station)),
            self.kept.append,
        )

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 64)):
            self.clock.advance(1 / 64)

    def test_anIPv4AddressIsProbedThreeTimesAndAnnouncedTwice(self) -> None:
        self.guard.claim(FOUR)
        self.wait(60)
        self.assertEqual((len(self.probed), len(self.announced)), (3, 2))

    def test_anIPv6AddressIsProbedOnceAndAnnouncedTwice(self) -> None:
        self.guard.claim(SIX)
        self.wait(60)
        self.assertEqual((len(self.probed), len(self.announced)), (1, 2))

    def test_stepsAreOneSecondApart(self) -> None:
        self.guard.claim(FOUR)
        self.wait(60)
        times = [*self.probed, *self.announced]
        for one, other in pairwise(times):
            self.assertAlmostEqual(other - one, 1.0, delta=0.05)

    def test_theFirstProbeIsSentAfterARandomDelay(self) -> None:
        for _ in range(10):
            self.guard.claim(FOUR)
            self.wait(60)
        begun = {time % 60 for time in self.probed[::3]}
        self.assertGreater(len(begun), 3)
        self.assertLessEqual(max(begun), 0.25 + 1 / 64)

    def test_anAddressIsTentativeWhileItIsProbed(self) -> None:
        self.guard.claim(FOUR)
        self.assertTrue(self.guard.isTentative(FOUR))
        self.wait(10)
        self.assertFalse(self.guard.isTentative(FOUR))

    def test_anUnclaimedAddressIsNotTentative(self) -> None:
        self.assertFalse(self.guard.isTentative(FOUR))

    def test_aConflictWhileProbingLosesTheAddress(self) -> None:
        self.guard.claim(FOUR)
        self.wait(1)
        self.guard.conflict(FOUR, PEER)
        self.assertEqual(self.lost, [(FOUR, PEER)])

    def test_aLostAddressIsProbedAgain(self) -> None:
        self.guard.claim(FOUR)
        self.wait(1)
        self.guard.conflict(FOUR, PEER)
        self.assertEqual((len(self.probed), self.kept), (1, []))
        self.wait(60)
        self.assertEqual((len(self.probed), len(self.announced), self.kept), (4, 2, [FOUR]))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.guard.isTentative(FOUR))

    def test_aLostAddressIsProbedAgainAfterARandomTime(self) -> None:
        waited = []
        for _ in range(10):
            del self.probed[:]
            self.guard.claim(FOUR)
            self.guard.conflict(FOUR, PEER)
            began = self.clock.seconds()
            self.wait(20)
            waited.append(self.probed[0] - began)
        self.assertGreater(len(set(waited)), 6)
        self.assertTrue(min(waited) >= 1 and max(waited) <= 10 + 1 / 64, waited)

    def test_aConflictOfASuspendedAddressIsIgnored(self) -> None:
        self.guard.claim(FOUR)
        self.guard.conflict(FOUR, PEER)
        for _ in range(30):
            self.guard.conflict(FOUR, PEER)
        self.assertEqual(len(self.lost), 1)
        self.assertEqual((self.guard.isTentative(FOUR), self.guard.isProbing(FOUR)), (True, False))
        self.wait(60)
        self.assertEqual(self.kept, [FOUR])

    def contest(self, seconds: int) -> None:
        """
        Claim the address, and report a conflict after each of its probes.
        """
        self.guard.claim(FOUR)
        for _ in range(seconds * 64):
            before = len(self.probed)
            self.clock.advance(1 / 64)
            if len(self.probed) > before:
                self.guard.conflict(FOUR, PEER)

    def test_aContestedAddressIsProbedAtABoundedRate(self) -> None:
        self.contest(3600)
        self.assertEqual((len(self.probed), self.announced, self.kept), (len(self.lost), [], []))
        later = [after - before for before, after in pairwise(self.probed[MAX_CONFLICTS - 1 :])]
        self.assertGreater(len(later), 40)
        self.assertGreaterEqual(min(later), RATE_LIMIT_INTERVAL)
        self.assertLess(self.probed[MAX_CONFLICTS - 1], 120)

    def test_anAddressIsConfirmedWhenConflictsEnd(self) -> None:
        self.contest(600)
        self.wait(80)
        self.assertEqual((self.kept, len(self.announced)), ([FOUR], 2))

    def test_theCallbackMayReleaseTheAddress(self) -> None:
        self.patch(self.guard, "_confirmed", self.guard.release)
        self.guard.claim(FOUR)
        self.wait(20)
        self.assertEqual((self.announced, self.clock.getDelayedCalls()), ([], []))

    def test_aConflictAfterTheDetectionIsDefended(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        self.guard.conflict(FOUR, PEER)
        self.assertEqual((len(self.announced), self.lost), (3, []))

    def test_anAddressIsDefendedOnceInTenSeconds(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        del self.announced[:]
        for _ in range(300):
            self.guard.conflict(FOUR, PEER)
            self.clock.advance(0.1)
        self.assertEqual(len(self.announced), 3)

    def test_anAddressIsDefendedAfterTheClockHasSteppedBack(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        self.guard.conflict(FOUR, PEER)
        self.clock.rightNow -= 15
        self.guard.conflict(FOUR, PEER)
        self.assertEqual(len(self.announced), 4)

    def test_aConflictOfAnUnclaimedAddressIsIgnored(self) -> None:
        self.guard.conflict(FOUR, PEER)
        self.assertEqual((self.lost, self.announced), ([], []))
        self.assertFalse(self.guard.isProbing(FOUR))

    def test_aReleasedAddressIsNeitherProbedNorDefended(self) -> None:
        self.guard.claim(FOUR)
        self.guard.release(FOUR)
        self.guard.conflict(FOUR, PEER)
        self.wait(60)
        self.assertEqual((self.probed, self.announced, self.lost), ([], [], []))

    def test_clearReleasesAllAddresses(self) -> None:
        self.guard.claim(FOUR)
        self.guard.claim(SIX)
        self.guard.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aSecondClaimRestartsTheDetection(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        self.guard.claim(FOUR)
        self.assertTrue(self.guard.isTentative(FOUR))
        self.wait(20)
        self.assertEqual((len(self.probed), len(self.announced)), (6, 4))


class HostTests(LinkTestCase):
    def setUp(self) -> None:
        self.lost: list[tuple[str, bytes]] = []
        self.regained: list[str] = []
        self.begin()

    def begin(self, *addresses: str, **options: Any) -> None:
        self.make(
            *addresses,
            settle=False,
            addressLost=lambda address, station: self.lost.append((address, station)),
            addressRegained=self.regained.append,
            **options,
        )

    def take(self, address: str) -> list[bytes]:
        """
        Send a claim of another station for an address of the host.

        @return: the frames that the host sent in answer.
        """
        if ":" not in address:
            return self.receive(arpFrame(REPLY, address, NOBODY, OTHER, source=OTHER))
        claim = discovery(ndp.ADVERTISEMENT, address, "ff02::1", address, ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        return self.receive(frame(claim, b"\x33\x33\0\0\0\x01", OTHER))

    def test_IPv4ProbesAndAnnouncementsOnTheLink(self) -> None:
        sent = arps(self.wait(10))
        probe = (LINK_BROADCAST, ARP(REQUEST, OWN, bytes(4), bytes(6), FOUR))
        announcement = (LINK_BROADCAST, ARP(REQUEST, OWN, FOUR, bytes(6), FOUR))
        self.assertEqual(sent, [probe] * 3 + [announcement] * 2)

    def test_IPv6ProbesAndAnnouncementsOnTheLink(self) -> None:
        sent = [message for message in messages(self.wait(10)) if SIX in message.body]
        probe, *announcements = [(message.source, message.dest, message.kind, message.rest) for message in sent]
        self.assertEqual(probe, ("::", "ff02::1:ff00:2", ndp.SOLICITATION, 0))
        self.assertEqual(announcements, [("fd00::2", "ff02::1", ndp.ADVERTISEMENT, ndp.OVERRIDE)] * 2)

    def test_anIPv6ProbeHasNoLinkAddressOption(self) -> None:
        probes = [message for message in messages(self.wait(10)) if message.kind == ndp.SOLICITATION]
        self.assertEqual({message.body for message in probes}, {SIX, packAddress("fe80::ff:fe00:1")})
        self.assertEqual({message.hopLimit for message in probes}, {255})

    def test_theLinkLocalAddressIsProbed(self) -> None:
        dests = {message.dest for message in messages(self.wait(10))}
        self.assertIn("ff02::1:ff00:1", dests)

    def test_anIPv4AddressIsLostByAReplyToAProbe(self) -> None:
        self.wait(1)
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY, dest=OWN, targetLink=OWN))
        self.assertEqual(self.lost, [("10.0.0.2", PEER)])
        self.assertNotIn("10.0.0.2/24", self.host.addresses)

    def test_anIPv6AddressIsLostByAnAdvertisement(self) -> None:
        self.wait(1)
        claim = discovery(ndp.ADVERTISEMENT, "fd00::2", "ff02::1", "fd00::2", ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        self.receive(frame(claim, b"\x33\x33\0\0\0\x01", OTHER))
        self.assertEqual(self.lost, [("fd00::2", OTHER)])
        self.assertNotIn("fd00::2/64", self.host.addresses)

    def test_aLostAddressIsNotAnsweredFor(self) -> None:
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY))
        self.assertEqual(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")), [])

    def test_aLostAddressIsRegainedWhenNoStationAnswers(self) -> None:
        for address in "10.0.0.2", "fd00::2":
            self.begin()
            self.wait(0.5)
            self.take(address)
            self.assertNotIn(packAddress(address), [own.packed for own in self.host.ip.addresses])
            self.wait(20)
            self.assertEqual(self.regained.pop(), address)
            self.assertEqual(self.host.addresses[:2], ["10.0.0.2/24", "fd00::2/64"])

    def test_aRegainedAddressIsAnsweredForAndDefended(self) -> None:
        self.take("10.0.0.2")
        self.wait(30)
        self.assertEqual(len(arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")))), 1)
        self.take("10.0.0.2")
        self.assertEqual(self.lost, [("10.0.0.2", OTHER)])
        self.assertIn("10.0.0.2/24", self.host.addresses)

    def test_eachCallbackIsCalledOnceForManyConflicts(self) -> None:
        for _ in range(40):
            self.take("10.0.0.2")
            self.wait(0.5)
        self.wait(100)
        self.assertEqual((self.lost, self.regained), ([("10.0.0.2", OTHER)], ["10.0.0.2"]))

    def test_aRegainedAddressHasItsOldPlaceInTheOrder(self) -> None:
        self.begin("10.0.0.2/24", "10.0.0.3/24")
        self.take("10.0.0.2")
        self.assertEqual(self.source("10.0.0.9"), "10.0.0.3")
        self.wait(30)
        self.assertEqual(self.source("10.0.0.9"), "10.0.0.2")

    def source(self, dest: str) -> str:
        return addressText(self.host.ip.sourceFor(packAddress(dest)))

    def test_theStationWithALostAddressIsANeighbour(self) -> None:
        self.take("10.0.0.2")
        self.receive(arpFrame(REQUEST, "10.0.0.2", "10.0.0.1", OTHER, source=OTHER))
        self.host.addAddress("10.0.0.3/24")
        self.host.neighbours.add("10.0.0.2", OTHER)
        self.host.ip.write(b"payload", "10.0.0.2", 253)
        self.assertEqual(self.device.sent[-1][:6], OTHER)

    def test_writingWithALostAddressDoesNotRaise(self) -> None:
        bound = self.host.listenUDP(0, DatagramProtocol(), "10.0.0.2")
        free = self.host.listenUDP(0, DatagramProtocol())
        for address in "10.0.0.2", "fd00::2", "fe80::ff:fe00:1":
            self.take(address)
        before = self.wait(0)
        for dest in "10.0.0.9", "192.0.2.1", "239.1.2.3":
            bound.write(b"payload", (dest, 9))
        for dest in "10.0.0.9", "192.0.2.1", "fd00::9", "2001:db8::1", "239.1.2.3", "ff05::1", "fe80::9":
            free.write(b"payload", (dest, 9))
            self.host.ip.write(b"payload", dest, 253)
        self.host.ip.write(b"payload", "10.0.0.9", 253, "10.0.0.2")
        self.assertEqual(self.wait(0), before)
        self.assertEqual(self.host.ip.counters["outNoRoutes"], 18)

    def test_aPingWithALostAddressTimesOut(self) -> None:
        self.take("10.0.0.2")
        asked = self.host.ping("10.0.0.9", timeout=0.5)
        self.wait(1)
        self.failureResultOf(asked, TimeoutError)

    def test_writingWithoutAnAddressOfTheVersionRaises(self) -> None:
        self.make("fd00::2/64", settle=False)
        self.take("fd00::2")
        error = self.assertRaises(OSError, self.host.ip.write, b"", "10.0.0.9", 253)
        self.assertEqual(error.errno, errno.EADDRNOTAVAIL)

    def test_aLostAddressCanBeListenedOnAndRemoved(self) -> None:
        self.take("10.0.0.2")
        self.host.listenUDP(9, DatagramProtocol(), "10.0.0.2")
        self.assertRaises(ValueError, self.host.addAddress, "10.0.0.2/24")
        self.host.removeAddress("10.0.0.2")
        self.wait(30)
        self.assertEqual(self.regained, [])
        self.assertNotIn("10.0.0.2/24", self.host.addresses)

    def test_noAnswerIsSentFromALostAddress(self) -> None:
        self.wait(10)
        echo = Echo()
        transport = self.host.listenUDP(7, echo)
        question = frame(udpPacket("10.0.0.1", "10.0.0.2", 1234, 7, b"question"))
        self.assertEqual(len(self.receive(question, question, question)), 3)
        # The detection starts again, as after the link was down.
        self.host.ethernet.linkUp()
        self.take("10.0.0.2")
        before = len(self.device.sent)
        transport.write(b"later", ("10.0.0.1", 1234))
        self.assertEqual(len(self.device.sent), before)

    def test_aProbeOfAnotherStationSuspendsAnIPv4Address(self) -> None:
        self.take("10.0.0.2")
        while not self.host._guard.isProbing(FOUR):
            self.wait(0.25)
        self.assertEqual(arps(self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2", OTHER, source=OTHER))), [])
        self.assertFalse(self.host._guard.isProbing(FOUR))
        self.assertEqual(self.regained, [])

    def test_aProbeOfAnotherStationSuspendsAnIPv6Address(self) -> None:
        self.take("fd00::2")
        while not self.host._guard.isProbing(SIX):
            self.wait(0.25)
        probe = discovery(ndp.SOLICITATION, "::", "ff02::1:ff00:2", "fd00::2")
        self.receive(frame(probe, b"\x33\x33\xff\0\0\x02", OTHER))
        self.assertFalse(self.host._guard.isProbing(SIX))

    def test_aLostAddressIsRegainedWhenTheLinkGoesDown(self) -> None:
        self.take("10.0.0.2")
        self.port.stopListening()
        self.clock.advance(0)
        self.assertIn("10.0.0.2/24", self.host.addresses)
        self.assertEqual(self.regained, ["10.0.0.2"])

    def test_theLogLinesOfManyLossesAreLimited(self) -> None:
        lines: list[LogEvent] = []
        observer = cast(ILogObserver, lines.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(100):
            self.host.ethernet.linkUp()
            self.take("10.0.0.2")
        self.wait(20)
        self.host.ethernet.linkUp()
        for number in range(3, 100):
            self.host.addAddress(f"10.0.0.{number}/24")
            self.take(f"10.0.0.{number}")
        self.assertEqual(len(self.lost), 98)
        self.assertLessEqual(len(lines), LINES_BURST + 1)

    def test_anAddressIsKeptAfterTheDetection(self) -> None:
        self.wait(10)
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY))
        self.assertEqual(self.lost, [])
        self.assertIn("10.0.0.2/24", self.host.addresses)

    def test_anExceptionOfACallbackIsLogged(self) -> None:
        self.make(settle=False, addressLost=lambda address, station: 1 // 0, addressRegained=lambda address: 1 // 0)
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotIn("10.0.0.2/24", self.host.addresses)
        self.wait(30)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("10.0.0.2/24", self.host.addresses)

    def test_anAddressAddedLaterIsProbed(self) -> None:
        self.wait(10)
        self.host.addAddress("10.0.0.3/24")
        targets = [packet.target for _, packet in arps(self.wait(10))]
        self.assertEqual(targets, [packAddress("10.0.0.3")] * 5)

    def test_aRemovedAddressIsNeitherProbedNorAnnounced(self) -> None:
        self.host.removeAddress("10.0.0.2")
        self.assertEqual(arps(self.wait(10)), [])

    def test_nothingIsProbedAfterThePortHasStopped(self) -> None:
        self.wait(1)
        self.port.stopListening()
        self.assertEqual(self.wait(10), [])

    def test_addressesAreProbedAgainWhenThePortStartsAgain(self) -> None:
        self.wait(10)
        self.port.stopListening()
        self.clock.advance(0)
        self.port.startListening()
        self.assertEqual(len(arps(self.wait(10))), 5)

    def test_nothingIsProbedOnATun(self) -> None:
        self.make(mode=TUN, settle=False)
        self.host.addAddress("10.0.0.3/24")
        self.assertEqual(self.wait(10), [])


class TwoHostsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.cables = MemoryDevice(TAP), MemoryDevice(TAP)
        join(self.clock, *self.cables)
        self.hosts = tuple(
            Host(["10.0.0.2/24", "fd00::2/64"], self.clock, link, random=Random(seed))
            for seed, link in enumerate((OWN, OTHER))
        )
        self.ports = [
            TuntapPort("", host.ethernet, reactor=self.clock, device=cable)
            for host, cable in zip(self.hosts, self.cables, strict=True)
        ]

    def wait(self, seconds: float) -> int:
        """
        Advance the clock in small steps.

        @return: the number of frames sent by both hosts.
        """
        before = sum(len(cable.sent) for cable in self.cables)
        for _ in range(int(seconds * 64)):
            self.clock.advance(1 / 64)
        return sum(len(cable.sent) for cable in self.cables) - before

    def owners(self, address: str) -> list[bool]:
        return [address in host.addresses for host in self.hosts]

    def test_theFirstOfTwoHostsKeepsTheAddress(self) -> None:
        self.ports[0].startListening()
        self.wait(20)
        self.ports[1].startListening()
        self.wait(20)
        for address in ("10.0.0.2/24", "fd00::2/64"):
            self.assertEqual(self.owners(address), [True, False])

    def test_atMostOneOfTwoHostsStartedTogetherHasTheAddress(self) -> None:
        for port in self.ports:
            port.startListening()
        self.wait(20)
        for address in ("10.0.0.2/24", "fd00::2/64"):
            self.assertLessEqual(sum(self.owners(address)), 1)

    def test_twoHostsWithOneAddressDoNotStorm(self) -> None:
        for cable in self.cables:
            cable.up = False
        for port in self.ports:
            port.startListening()
        self.wait(20)
        for cable in self.cables:
            cable.up = True
        # Each host sees its own address as the sender of the other's request, and defends it.
        for host in self.hosts:
            host.ip.write(b"payload", "10.0.0.9", 253)
        self.assertLess(self.wait(60), 40)
        self.assertEqual(self.owners("10.0.0.2/24"), [True, True])

    def test_twoHostsWithOneAddressFallSilent(self) -> None:
        for port in self.ports:
            port.startListening()
        self.wait(20)
        self.assertEqual(self.wait(60), 0)
