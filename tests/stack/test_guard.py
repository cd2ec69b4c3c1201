"""
Tests for L{txtuntap.stack.guard}, by itself and in a host.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import TuntapPort
from txtuntap.stack.guard import AddressGuard
from txtuntap.stack.host import Host
from txtuntap.testing import TAP, TUN, MemoryDevice, join
from txtuntap.wire import ndp
from txtuntap.wire.address import LINK_BROADCAST, packAddress
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
        self.guard = AddressGuard(
            self.clock,
            Random(1),
            lambda address: self.probed.append(self.clock.seconds()),
            lambda address: self.announced.append(self.clock.seconds()),
            lambda address, station: self.lost.append((address, station)),
        )

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 64)):
            self.clock.advance(1 / 64)

    def test_fourIsAskedForThreeTimesAndAnnouncedTwice(self) -> None:
        self.guard.claim(FOUR)
        self.wait(60)
        self.assertEqual((len(self.probed), len(self.announced)), (3, 2))

    def test_sixIsAskedForOnce(self) -> None:
        self.guard.claim(SIX)
        self.wait(60)
        self.assertEqual((len(self.probed), len(self.announced)), (1, 2))

    def test_aSecondBetweenAnyTwo(self) -> None:
        self.guard.claim(FOUR)
        self.wait(60)
        times = [*self.probed, *self.announced]
        for one, other in pairwise(times):
            self.assertAlmostEqual(other - one, 1.0, delta=0.05)

    def test_beginsAfterARandomDelay(self) -> None:
        for _ in range(10):
            self.guard.claim(FOUR)
            self.wait(60)
        begun = {time % 60 for time in self.probed[::3]}
        self.assertGreater(len(begun), 3)
        self.assertLessEqual(max(begun), 0.25 + 1 / 64)

    def test_tentativeWhileAskedFor(self) -> None:
        self.guard.claim(FOUR)
        self.assertTrue(self.guard.isTentative(FOUR))
        self.wait(10)
        self.assertFalse(self.guard.isTentative(FOUR))

    def test_unclaimedIsNotTentative(self) -> None:
        self.assertFalse(self.guard.isTentative(FOUR))

    def test_conflictWhileAskedForLoses(self) -> None:
        self.guard.claim(FOUR)
        self.wait(1)
        self.guard.conflict(FOUR, PEER)
        self.assertEqual(self.lost, [(FOUR, PEER)])

    def test_lostIsAskedForNoMore(self) -> None:
        self.guard.claim(FOUR)
        self.wait(1)
        self.guard.conflict(FOUR, PEER)
        self.wait(60)
        self.assertEqual((len(self.probed), self.announced), (1, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lostOnce(self) -> None:
        self.guard.claim(FOUR)
        self.guard.conflict(FOUR, PEER)
        self.guard.conflict(FOUR, PEER)
        self.assertEqual(len(self.lost), 1)

    def test_conflictLaterIsDefended(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        self.guard.conflict(FOUR, PEER)
        self.assertEqual((len(self.announced), self.lost), (3, []))

    def test_defendedOnceInTenSeconds(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        del self.announced[:]
        for _ in range(300):
            self.guard.conflict(FOUR, PEER)
            self.clock.advance(0.1)
        self.assertEqual(len(self.announced), 3)

    def test_defendedAgainAfterTheClockHasSteppedBack(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        self.guard.conflict(FOUR, PEER)
        self.clock.rightNow -= 15
        self.guard.conflict(FOUR, PEER)
        self.assertEqual(len(self.announced), 4)

    def test_conflictAboutWhatIsNotClaimed(self) -> None:
        self.guard.conflict(FOUR, PEER)
        self.assertEqual((self.lost, self.announced), ([], []))

    def test_releasedIsNeitherAskedForNorDefended(self) -> None:
        self.guard.claim(FOUR)
        self.guard.release(FOUR)
        self.guard.conflict(FOUR, PEER)
        self.wait(60)
        self.assertEqual((self.probed, self.announced, self.lost), ([], [], []))

    def test_clearReleasesAll(self) -> None:
        self.guard.claim(FOUR)
        self.guard.claim(SIX)
        self.guard.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_claimedAgainBeginsAgain(self) -> None:
        self.guard.claim(FOUR)
        self.wait(20)
        self.guard.claim(FOUR)
        self.assertTrue(self.guard.isTentative(FOUR))
        self.wait(20)
        self.assertEqual((len(self.probed), len(self.announced)), (6, 4))


class HostTests(LinkTestCase):
    def setUp(self) -> None:
        self.lost: list[tuple[str, bytes]] = []
        self.make(settle=False, addressLost=lambda address, station: self.lost.append((address, station)))

    def test_fourOnTheLink(self) -> None:
        sent = arps(self.wait(10))
        probe = (LINK_BROADCAST, ARP(REQUEST, OWN, bytes(4), bytes(6), FOUR))
        announcement = (LINK_BROADCAST, ARP(REQUEST, OWN, FOUR, bytes(6), FOUR))
        self.assertEqual(sent, [probe] * 3 + [announcement] * 2)

    def test_sixOnTheLink(self) -> None:
        sent = [message for message in messages(self.wait(10)) if SIX in message.body]
        probe, *announcements = [(message.source, message.dest, message.kind, message.rest) for message in sent]
        self.assertEqual(probe, ("::", "ff02::1:ff00:2", ndp.SOLICITATION, 0))
        self.assertEqual(announcements, [("fd00::2", "ff02::1", ndp.ADVERTISEMENT, ndp.OVERRIDE)] * 2)

    def test_probeOfSixNamesNoStation(self) -> None:
        probes = [message for message in messages(self.wait(10)) if message.kind == ndp.SOLICITATION]
        self.assertEqual({message.body for message in probes}, {SIX, packAddress("fe80::ff:fe00:1")})
        self.assertEqual({message.hopLimit for message in probes}, {255})

    def test_linkLocalAddressIsAskedForToo(self) -> None:
        dests = {message.dest for message in messages(self.wait(10))}
        self.assertIn("ff02::1:ff00:1", dests)

    def test_lostWhileAskedFor(self) -> None:
        self.wait(1)
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY, dest=OWN, targetLink=OWN))
        self.assertEqual(self.lost, [("10.0.0.2", PEER)])
        self.assertNotIn("10.0.0.2/24", self.host.addresses)

    def test_sixLostWhileAskedFor(self) -> None:
        self.wait(1)
        claim = discovery(ndp.ADVERTISEMENT, "fd00::2", "ff02::1", "fd00::2", ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        self.receive(frame(claim, b"\x33\x33\0\0\0\x01", OTHER))
        self.assertEqual(self.lost, [("fd00::2", OTHER)])
        self.assertNotIn("fd00::2/64", self.host.addresses)

    def test_lostIsNotAnsweredFor(self) -> None:
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY))
        self.assertEqual(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")), [])

    def test_lostLaterIsKept(self) -> None:
        self.wait(10)
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY))
        self.assertEqual(self.lost, [])
        self.assertIn("10.0.0.2/24", self.host.addresses)

    def test_callbackThatRaisesIsLogged(self) -> None:
        self.make(settle=False, addressLost=lambda address, station: 1 // 0)
        self.receive(arpFrame(REPLY, "10.0.0.2", NOBODY))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotIn("10.0.0.2/24", self.host.addresses)

    def test_addressAddedWhileRunningIsAskedFor(self) -> None:
        self.wait(10)
        self.host.addAddress("10.0.0.3/24")
        targets = [packet.target for _, packet in arps(self.wait(10))]
        self.assertEqual(targets, [packAddress("10.0.0.3")] * 5)

    def test_addressRemovedIsNotAnnounced(self) -> None:
        self.host.removeAddress("10.0.0.2")
        self.assertEqual(arps(self.wait(10)), [])

    def test_nothingIsAskedAfterThePortHasStopped(self) -> None:
        self.wait(1)
        self.port.stopListening()
        self.assertEqual(self.wait(10), [])

    def test_askedForAgainWhenThePortIsStartedAgain(self) -> None:
        self.wait(10)
        self.port.stopListening()
        self.clock.advance(0)
        self.port.startListening()
        self.assertEqual(len(arps(self.wait(10))), 5)

    def test_nothingIsAskedOnATun(self) -> None:
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
        @return: how many frames were sent.
        """
        before = sum(len(cable.sent) for cable in self.cables)
        for _ in range(int(seconds * 64)):
            self.clock.advance(1 / 64)
        return sum(len(cable.sent) for cable in self.cables) - before

    def owners(self, address: str) -> list[bool]:
        return [address in host.addresses for host in self.hosts]

    def test_theFirstKeepsIt(self) -> None:
        self.ports[0].startListening()
        self.wait(20)
        self.ports[1].startListening()
        self.wait(20)
        for address in ("10.0.0.2/24", "fd00::2/64"):
            self.assertEqual(self.owners(address), [True, False])

    def test_bothAtOnce(self) -> None:
        for port in self.ports:
            port.startListening()
        self.wait(20)
        for address in ("10.0.0.2/24", "fd00::2/64"):
            self.assertLessEqual(sum(self.owners(address)), 1)

    def test_joinedLaterTheyDoNotStorm(self) -> None:
        for cable in self.cables:
            cable.up = False
        for port in self.ports:
            port.startListening()
        self.wait(20)
        for cable in self.cables:
            cable.up = True
        # Each sees the other's address in what it asks, and defends its own.
        for host in self.hosts:
            host.ip.write(b"payload", "10.0.0.9", 253)
        self.assertLess(self.wait(60), 40)
        self.assertEqual(self.owners("10.0.0.2/24"), [True, True])

    def test_theyFallSilent(self) -> None:
        for port in self.ports:
            port.startListening()
        self.wait(20)
        self.assertEqual(self.wait(60), 0)
