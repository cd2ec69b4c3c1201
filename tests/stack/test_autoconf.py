"""
Tests for L{txtuntap.stack.autoconf}: what a host does with the router advertisements that it receives.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from txtuntap.packet import Packet
from txtuntap.stack.autoconf import MAX_PREFIXES, MAX_ROUTERS, TWO_HOURS
from txtuntap.testing import TUN
from txtuntap.wire import ndp
from txtuntap.wire.address import addressText, packAddress

from .link import (
    OTHER,
    OWN,
    PEER,
    LinkTestCase,
    Message,
    discovery,
    echo,
    frame,
    messages,
    pieces,
    prefix,
    routerAdvertisement,
)

LINK_LOCAL = "fe80::ff:fe00:1"
PREFIX = "2001:db8:0:1::/64"
FORMED = "2001:db8:0:1:0:ff:fe00:1"
ROUTER = "fe80::1"
NEIGHBOUR, STRANGER = "2001:db8:0:1::9", "2001:db8:7::9"

ALL_NODES = bytes.fromhex("333300000001")
ALL_ROUTERS = bytes.fromhex("333300000002")

FOREVER = 0xFFFFFFFF


def link(station: bytes = PEER) -> bytes:
    return b"\x01\x01" + station


def mtu(octets: int) -> bytes:
    return b"\x05\x01\0\0" + octets.to_bytes(4, "big")


class AutoconfTestCase(LinkTestCase):
    """
    The base class of tests with a host whose router solicitations had no answer.
    """

    def setUp(self) -> None:
        self.make("10.0.0.2/24", autoconfigure=True)
        self.wait(10)
        del self.device.sent[:]

    def advertise(self, *options: bytes, station: bytes = PEER, **fields: Any) -> list[bytes]:
        """
        Deliver a router advertisement with these options.

        @return: the frames that the host sent in answer.
        """
        return self.receive(frame(routerAdvertisement(*options, **fields), ALL_NODES, station))

    def passTime(self, seconds: float) -> None:
        """
        Advance the clock by a long time, in four steps.
        """
        self.clock.pump([seconds / 4] * 4)

    def formed(self) -> list[str]:
        """
        List the global IPv6 addresses of the host in CIDR notation.
        """
        return [each for each in self.host.addresses if ":" in each and not each.startswith("fe80")]

    def nextHop(self, dest: str = STRANGER) -> str | None:
        hop = self.host.routes.lookup(packAddress(dest))
        return None if hop is None else addressText(hop)

    def source(self, dest: str = STRANGER) -> str | None:
        found = self.host.ip.sourceFor(packAddress(dest))
        return None if found is None else addressText(found)

    def counter(self, name: str) -> int:
        return self.host.counters["autoconfiguration"].get(name, 0)


def solicitations(frames: Iterable[bytes]) -> list[Message]:
    return [message for message in messages(frames) if message.kind == ndp.ROUTER_SOLICITATION]


class SolicitationTests(AutoconfTestCase):
    def setUp(self) -> None:
        self.begin()

    def begin(self, seed: int = 1) -> None:
        self.make("10.0.0.2/24", settle=False, autoconfigure=True, random=Random(seed))

    def times(self, seconds: int = 60) -> list[float]:
        """
        Advance the clock in small steps.

        @return: the times at which router solicitations were sent.
        """
        found = []
        for _ in range(seconds * 64):
            before = len(self.device.sent)
            self.clock.advance(1 / 64)
            found += [self.clock.seconds()] * len(solicitations(self.device.sent[before:]))
        return found

    def test_threeSolicitationsAreSentFourSecondsApart(self) -> None:
        one, two, three = self.times()
        self.assertAlmostEqual(two - one, 4, delta=1 / 32)
        self.assertAlmostEqual(three - two, 4, delta=1 / 32)

    def test_theFirstSolicitationIsSentAfterARandomTime(self) -> None:
        begun = []
        for seed in range(12):
            self.begin(seed)
            begun.append(self.times(2)[0])
        self.assertGreater(len(set(begun)), 6)
        self.assertTrue(min(begun) < 0.5 < max(begun) <= 1 + 1 / 64, begun)

    def test_aSolicitationFromATentativeHostHasNoSource(self) -> None:
        first = solicitations(self.wait(1))
        self.assertEqual(first, [Message(ALL_ROUTERS, "::", "ff02::2", 255, ndp.ROUTER_SOLICITATION, 0, 0, b"")])

    def test_aLaterSolicitationHasTheLinkLocalSource(self) -> None:
        last = solicitations(self.wait(20))[-1]
        expected = Message(ALL_ROUTERS, LINK_LOCAL, "ff02::2", 255, ndp.ROUTER_SOLICITATION, 0, 0, link(OWN))
        self.assertEqual(last, expected)

    def test_anAdvertisementEndsTheSolicitations(self) -> None:
        self.wait(1)
        self.advertise()
        self.assertEqual(self.times(), [])

    def test_oneSolicitationIsSentAfterAnEarlierAdvertisement(self) -> None:
        self.advertise()
        (_, *others) = self.times(2)
        self.assertEqual(others, [])
        self.advertise()
        self.assertEqual(self.times(), [])

    def test_anAdvertisementOfNoDefaultRouterEndsNoSolicitations(self) -> None:
        self.wait(1)
        self.advertise(lifetime=0)
        self.assertEqual(len(self.times()), 2)

    def test_solicitationsAreSentAgainOnANewLink(self) -> None:
        self.wait(20)
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(self.times(), [])
        self.port.startListening()
        self.assertEqual(len(self.times()), 3)

    def test_thereIsNoAutoconfigurationOnATun(self) -> None:
        self.make("10.0.0.2/24", mode=TUN, settle=False, autoconfigure=True)
        self.assertEqual(self.wait(20), [])
        self.assertEqual(self.receive(routerAdvertisement(prefix(PREFIX))), [])
        self.assertEqual(self.formed(), [])

    def test_solicitationsAreCounted(self) -> None:
        self.wait(20)
        self.assertEqual(self.host.ndp.counters["outRouterSolicits"], 3)


class DisabledTests(AutoconfTestCase):
    def setUp(self) -> None:
        self.make("10.0.0.2/24", settle=False)

    def test_noSolicitationIsSent(self) -> None:
        self.assertEqual(solicitations(self.wait(20)), [])

    def test_advertisementsAreCountedAndIgnored(self) -> None:
        self.wait(10)
        self.advertise(prefix(PREFIX), mtu(1280), link())
        self.assertEqual((self.formed(), self.nextHop(), self.host.ip.mtu6), ([], None, None))
        self.assertEqual(self.host.icmp.counters["inUnknown"], 1)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_redirectsAreAlwaysIgnored(self) -> None:
        for autoconfigure in (False, True):
            self.make("10.0.0.2/24", autoconfigure=autoconfigure)
            before = self.host.icmp.counters["inUnknown"]
            self.receive(frame(discovery(137, ROUTER, LINK_LOCAL, ROUTER, ndp.TARGET_LINK)))
            self.assertEqual(self.host.icmp.counters["inUnknown"], before + 1)


class ValidityTests(AutoconfTestCase):
    """
    The checks of a router advertisement (RFC 4861 section 6.1.2).
    """

    def refused(self, *options: bytes, **fields: Any) -> int:
        """
        Deliver an advertisement that must have no effect.

        @return: the number of advertisements that were counted as errors.
        """
        before = self.host.ndp.counters["inErrors"]
        self.advertise(prefix(PREFIX), *options, **fields)
        self.assertEqual((self.formed(), self.nextHop()), ([], None))
        self.assertEqual(self.host.ndp.counters["inRouterAdvertisements"], 0)
        return self.host.ndp.counters["inErrors"] - before

    def test_anAdvertisementFromAGlobalAddressIsDropped(self) -> None:
        for source in ("2001:db8:0:1::1", "fd00::1", "fec0::1"):
            self.assertEqual(self.refused(source=source), 1)

    def test_aForwardedAdvertisementIsDropped(self) -> None:
        for hopLimit in (0, 64, 254):
            self.assertEqual(self.refused(hopLimit=hopLimit), 1)

    def test_anAdvertisementWithACodeIsDropped(self) -> None:
        self.assertEqual(self.refused(code=1), 1)

    def test_anAdvertisementWithAnEmptyOptionIsDropped(self) -> None:
        self.assertEqual(self.refused(b"\x0e\0nonce!"), 1)

    def test_anAdvertisementWithATruncatedOptionIsDropped(self) -> None:
        self.assertEqual(self.refused(b"\x0e\x02nonce!"), 1)

    def test_anAdvertisementWithAGroupLinkAddressIsDropped(self) -> None:
        self.assertEqual(self.refused(link(b"\x01\0\x5e\0\0\x01")), 1)

    def test_aFrameFromAGroupIsDropped(self) -> None:
        self.assertEqual(self.refused(station=b"\x03\0\0\0\0\x02"), 1)

    def test_anOwnMessageThatComesBackIsDropped(self) -> None:
        self.assertEqual(self.refused(station=OWN), 1)

    def test_anAdvertisementWithAWrongChecksumIsDropped(self) -> None:
        data = bytearray(frame(routerAdvertisement(prefix(PREFIX)), ALL_NODES))
        data[-1] ^= 1
        self.receive(bytes(data))
        self.assertEqual(self.formed(), [])

    def test_aFragmentedAdvertisementIsDropped(self) -> None:
        for size in (16, 1000):
            for piece in pieces(routerAdvertisement(prefix(PREFIX)), size):
                self.receive(frame(piece, ALL_NODES))
        self.assertEqual(self.formed(), [])
        self.assertEqual(self.host.ndp.counters["inFragments"], 2)

    def test_aUnicastAdvertisementIsAccepted(self) -> None:
        self.receive(frame(routerAdvertisement(prefix(PREFIX), dest=LINK_LOCAL)))
        self.assertEqual(self.formed(), [f"{FORMED}/64"])


class RouterTests(AutoconfTestCase):
    def test_aRouterIsTheNextHopToAllIPv6Destinations(self) -> None:
        self.assertIsNone(self.nextHop())
        self.advertise()
        self.assertEqual(self.nextHop(), ROUTER)
        self.assertIsNone(self.host.routes.lookup(packAddress("8.8.8.8")))

    def test_theLinkAddressOfARouterIsResolved(self) -> None:
        self.advertise(prefix(PREFIX))
        self.wait(10)
        before = len(self.device.sent)
        self.host.ip.write(b"payload", STRANGER, 253)
        (asked,) = messages(self.device.sent[before:])
        self.assertEqual((asked.kind, asked.body[:16]), (ndp.SOLICITATION, packAddress(ROUTER)))
        answer = discovery(ndp.ADVERTISEMENT, ROUTER, asked.source, ROUTER, ndp.TARGET_LINK, flags=0xE0000000)
        (sent,) = self.receive(frame(answer))
        self.assertEqual((sent[:6], sent[22:38], sent[38:54]), (PEER, packAddress(FORMED), packAddress(STRANGER)))

    def test_anAdvertisedLinkAddressIsRemembered(self) -> None:
        self.advertise(link(), prefix(PREFIX))
        self.wait(10)
        before = len(self.device.sent)
        self.host.ip.write(b"payload", STRANGER, 253)
        (sent,) = self.device.sent[before:]
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))

    def test_theLinkAddressOfNoDefaultRouterIsNotRemembered(self) -> None:
        self.advertise(link(), lifetime=0)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_anAdvertisementReplacesNoKnownStation(self) -> None:
        self.advertise(link())
        self.advertise(link(OTHER), station=OTHER)
        self.assertEqual(self.host.neighbours.lookup(packAddress(ROUTER)), PEER)

    def test_theLifetimeEnds(self) -> None:
        self.advertise(lifetime=100)
        self.passTime(99)
        self.assertEqual(self.nextHop(), ROUTER)
        self.passTime(2)
        self.assertIsNone(self.nextHop())

    def test_anAdvertisementRenewsTheLifetime(self) -> None:
        self.advertise(lifetime=100)
        self.passTime(99)
        self.advertise(lifetime=100)
        self.passTime(99)
        self.assertEqual(self.nextHop(), ROUTER)

    def test_aLifetimeOfZeroEndsAtOnce(self) -> None:
        self.advertise(lifetime=100)
        self.advertise(lifetime=0)
        self.assertIsNone(self.nextHop())
        self.passTime(1000)

    def test_aRouterWithAKnownStationIsPreferred(self) -> None:
        self.advertise()
        self.advertise(link(OTHER), source="fe80::2", station=OTHER)
        self.assertEqual({self.nextHop() for _ in range(4)}, {"fe80::2"})

    def test_unresolvedRoutersAreUsedInTurn(self) -> None:
        for router in ("fe80::1", "fe80::2", "fe80::3"):
            self.advertise(source=router)
        self.assertEqual([self.nextHop() for _ in range(4)], ["fe80::1", "fe80::2", "fe80::3", "fe80::1"])

    def test_anUnreachableRouterIsReplacedByAnother(self) -> None:
        self.advertise(link(), prefix(PREFIX))
        self.advertise(link(OTHER), source="fe80::2", station=OTHER)
        self.assertEqual(self.nextHop(), ROUTER)
        self.host.ip.write(b"payload", STRANGER, 253)
        self.wait(20)
        self.assertEqual(self.nextHop(), "fe80::2")

    def test_aNeighbourAdvertisementWithoutTheRouterFlagRemovesTheRouter(self) -> None:
        for option, flags in ((ndp.TARGET_LINK, 0), (None, ndp.OVERRIDE)):
            self.advertise(link())
            claim = discovery(ndp.ADVERTISEMENT, ROUTER, "ff02::1", ROUTER, option, flags=flags)
            self.receive(frame(claim, ALL_NODES))
            self.assertIsNone(self.nextHop())

    def test_anotherStationCannotRemoveARouter(self) -> None:
        self.advertise(link())
        claim = discovery(ndp.ADVERTISEMENT, ROUTER, "ff02::1", ROUTER, ndp.TARGET_LINK, OTHER)
        self.receive(frame(claim, ALL_NODES, OTHER))
        self.assertEqual(self.nextHop(), ROUTER)

    def test_aNeighbourAdvertisementWithTheRouterFlagKeepsTheRouter(self) -> None:
        self.advertise(link())
        claim = discovery(ndp.ADVERTISEMENT, ROUTER, "ff02::1", ROUTER, ndp.TARGET_LINK, flags=ndp.ROUTER)
        self.receive(frame(claim, ALL_NODES))
        self.assertEqual(self.nextHop(), ROUTER)

    def test_aStaticGatewayWins(self) -> None:
        self.advertise()
        self.host.addRoute("::/0", "fe80::77")
        self.assertEqual(self.nextHop(), "fe80::77")
        self.host.removeRoute("::/0")
        self.assertEqual(self.nextHop(), ROUTER)

    def test_theTableIsBounded(self) -> None:
        self.advertise()
        for number in range(2, 100):
            self.advertise(source=f"fe80::{number:x}")
        self.assertEqual(len({self.nextHop() for _ in range(100)}), MAX_ROUTERS)
        self.assertEqual(self.counter("routerDiscards"), 99 - MAX_ROUTERS)
        self.assertTrue(self.host.autoconfiguration and self.host.autoconfiguration.isRouter(packAddress(ROUTER)))

    def test_aRouterIsNeverAnsweredFor(self) -> None:
        self.make("fd00::2/64", autoconfigure=True, anyAddresses=["fe80::/64"], answerFor=["fe80::/64"])
        asked = discovery(ndp.SOLICITATION, "fd00::9", "ff02::1:ff00:1", ROUTER, ndp.SOURCE_LINK)
        self.assertEqual(len(self.receive(frame(asked, ALL_NODES))), 1)
        self.advertise()
        self.assertEqual(self.receive(frame(asked, ALL_NODES)), [])


class OnLinkTests(AutoconfTestCase):
    """
    Prefixes that have the on-link flag alone.
    """

    def advertisePrefix(self, network: str = PREFIX, valid: int = 86400, **fields: Any) -> None:
        self.advertise(prefix(network, valid, flags=ndp.ON_LINK), **fields)

    def test_anOnLinkPrefixFormsNoAddress(self) -> None:
        self.advertisePrefix()
        self.assertEqual(self.formed(), [])

    def test_theNextHopIsTheDestination(self) -> None:
        self.advertisePrefix()
        self.assertEqual((self.nextHop(NEIGHBOUR), self.nextHop()), (NEIGHBOUR, ROUTER))

    def test_aPrefixMayHaveAnyLength(self) -> None:
        self.advertisePrefix("2001:db8::/32")
        self.advertisePrefix("2001:db8:8::7/128")
        self.assertEqual([self.nextHop(dest) for dest in (STRANGER, "2001:db9::1")], [STRANGER, ROUTER])

    def test_theLongestPrefixWins(self) -> None:
        self.host.addRoute("2001:db8:0:1:8000::/65", "fe80::77")
        self.host.addRoute("2001:db8::/32", "fe80::78")
        self.advertisePrefix()
        dests = "2001:db8:0:1:8000::1", NEIGHBOUR, STRANGER
        self.assertEqual([self.nextHop(dest) for dest in dests], ["fe80::77", NEIGHBOUR, "fe80::78"])

    def test_aStaticRouteWins(self) -> None:
        self.host.addRoute(PREFIX, "fe80::77")
        self.advertisePrefix()
        self.assertEqual(self.nextHop(NEIGHBOUR), "fe80::77")
        self.host.removeRoute(PREFIX)
        self.assertEqual(self.nextHop(NEIGHBOUR), NEIGHBOUR)

    def test_theLifetimeEnds(self) -> None:
        self.advertisePrefix(valid=100)
        self.passTime(99)
        self.assertEqual(self.nextHop(NEIGHBOUR), NEIGHBOUR)
        self.passTime(2)
        self.assertEqual(self.nextHop(NEIGHBOUR), ROUTER)

    def test_anAdvertisementCanShortenTheLifetime(self) -> None:
        self.advertisePrefix(valid=100)
        self.advertisePrefix(valid=50)
        self.passTime(51)
        self.assertEqual(self.nextHop(NEIGHBOUR), ROUTER)

    def test_aLifetimeOfZeroEndsAtOnce(self) -> None:
        self.advertisePrefix(valid=0)
        self.assertEqual(self.nextHop(NEIGHBOUR), ROUTER)
        self.advertisePrefix(valid=100)
        self.host.ethernet.packetReceived(Packet(frame(routerAdvertisement(prefix(PREFIX, 0)), ALL_NODES)))
        self.assertEqual(self.nextHop(NEIGHBOUR), ROUTER)
        self.passTime(1000)

    def test_anInfiniteLifetimeNeverEnds(self) -> None:
        self.advertisePrefix(valid=FOREVER)
        self.passTime(1e10)
        self.assertEqual(self.nextHop(NEIGHBOUR), NEIGHBOUR)

    def test_aStaticRouteAddedLaterStays(self) -> None:
        self.advertisePrefix(valid=100)
        self.host.addRoute(PREFIX)
        self.passTime(101)
        self.assertEqual(self.nextHop(NEIGHBOUR), NEIGHBOUR)

    def test_linkLocalAndMulticastPrefixesAreIgnored(self) -> None:
        self.advertisePrefix("fe80::/64", valid=0)
        self.advertisePrefix("fe80:0:0:1::/64")
        self.advertisePrefix("ff00::/8")
        self.assertEqual((self.nextHop("fe80::9"), self.nextHop("fe80:0:0:1::9")), ("fe80::9", ROUTER))
        self.assertEqual(self.nextHop("ff0e::9"), ROUTER)

    def test_theTableIsBounded(self) -> None:
        self.advertisePrefix()
        for number in range(2, 100):
            self.advertisePrefix(f"2001:db8:0:{number:x}::/64")
        onLink = [number for number in range(1, 100) if self.nextHop(f"2001:db8:0:{number:x}::9") != ROUTER]
        self.assertEqual(onLink, list(range(1, MAX_PREFIXES + 1)))
        self.assertEqual(self.counter("prefixDiscards"), 99 - MAX_PREFIXES)


class AddressTests(AutoconfTestCase):
    """
    Prefixes that have the autonomous flag alone.
    """

    def advertisePrefix(
        self, valid: int = 86400, preferred: int | None = None, network: str = PREFIX, flags: int = ndp.AUTONOMOUS
    ) -> list[bytes]:
        return self.advertise(prefix(network, valid, preferred, flags))

    def probes(self, frames: Iterable[bytes], target: str = FORMED) -> list[Message]:
        return [message for message in messages(frames) if message.body[:16] == packAddress(target)]

    def claim(self, station: bytes = OTHER) -> None:
        """
        Deliver a claim of another station for the formed address.
        """
        claim = discovery(ndp.ADVERTISEMENT, FORMED, "ff02::1", FORMED, ndp.TARGET_LINK, station, ndp.OVERRIDE)
        self.receive(frame(claim, ALL_NODES, station))

    def test_theIdentifierIsOfTheLinkAddress(self) -> None:
        self.advertisePrefix()
        self.assertEqual(self.formed(), [f"{FORMED}/64"])

    def test_aFormedAddressAnswersEchoRequests(self) -> None:
        self.advertisePrefix()
        self.wait(10)
        (sent,) = messages(self.receive(frame(echo(STRANGER, FORMED))))
        self.assertEqual((sent.source, sent.dest), (FORMED, STRANGER))

    def test_aFormedAddressIsProbedAndAnnounced(self) -> None:
        self.advertisePrefix()
        probe, *announcements = self.probes(self.wait(10))
        self.assertEqual((probe.source, probe.kind), ("::", ndp.SOLICITATION))
        self.assertEqual({(each.source, each.kind) for each in announcements}, {(FORMED, ndp.ADVERTISEMENT)})

    def test_aFormedAddressIsProbedOnce(self) -> None:
        self.advertisePrefix()
        self.wait(10)
        self.advertisePrefix()
        self.assertEqual((self.probes(self.wait(10)), self.formed()), ([], [f"{FORMED}/64"]))

    def test_aFormedAddressIsASource(self) -> None:
        self.advertisePrefix()
        self.assertEqual(self.source(), FORMED)

    def test_anAutonomousPrefixIsNotOnTheLink(self) -> None:
        self.advertisePrefix()
        self.assertEqual(self.nextHop(NEIGHBOUR), ROUTER)

    def test_noAddressIsFormedWithoutTheAutonomousFlag(self) -> None:
        self.advertisePrefix(flags=0)
        self.assertEqual(self.formed(), [])

    def test_noAddressIsFormedWithAPrefixOfAnotherLength(self) -> None:
        for length in (0, 63, 65, 128):
            self.advertisePrefix(network=f"2001:db8:0:1::/{length}")
        self.assertEqual((self.formed(), self.counter("inPrefixErrors")), ([], 4))

    def test_noAddressIsFormedWhenPreferredExceedsValid(self) -> None:
        self.advertisePrefix(100, 101)
        self.advertisePrefix(100, FOREVER)
        self.assertEqual((self.formed(), self.counter("inPrefixErrors")), ([], 2))

    def test_noAddressIsFormedWithALinkLocalOrMulticastPrefix(self) -> None:
        for network in ("fe80::/64", "fe80:0:0:1::/64", "ff02::/64", "ff0e::/64"):
            self.advertisePrefix(network=network)
        self.assertEqual(self.formed(), [])

    def test_noAddressIsFormedThatNoHostCanHave(self) -> None:
        self.make("10.0.0.2/24", autoconfigure=True, linkAddress=b"\x02\0\xff\0\0\x01")
        # The address would be ::ffff:254.0.0.1, an IPv4-mapped address.
        self.advertisePrefix(network="::/64")
        self.assertEqual((self.formed(), self.counter("inPrefixErrors")), ([], 1))

    def test_noAddressIsFormedWithAValidLifetimeOfZero(self) -> None:
        self.host.ethernet.packetReceived(Packet(frame(routerAdvertisement(prefix(PREFIX, 0)), ALL_NODES)))
        self.assertEqual((self.formed(), self.nextHop(NEIGHBOUR)), ([], ROUTER))

    def test_theLifetimeEnds(self) -> None:
        self.advertisePrefix(100)
        self.passTime(99)
        self.assertEqual(self.formed(), [f"{FORMED}/64"])
        self.passTime(2)
        self.assertEqual(self.formed(), [])
        self.assertEqual(self.receive(frame(echo(STRANGER, FORMED))), [])

    def test_anExpiredAddressIsNeitherDefendedNorAnnounced(self) -> None:
        self.advertisePrefix(1)
        self.assertEqual([each.source for each in self.probes(self.wait(10))], ["::"])
        self.claim()
        self.assertEqual(self.host.ndp.counters["inConflicts"], 0)

    def test_anExpiredAddressIsFormedAgain(self) -> None:
        self.advertisePrefix(100)
        self.passTime(101)
        self.advertisePrefix(100)
        self.assertEqual(self.formed(), [f"{FORMED}/64"])

    def test_anInfiniteLifetimeNeverEnds(self) -> None:
        self.advertisePrefix(FOREVER)
        self.passTime(1e10)
        self.assertEqual((self.formed(), self.source()), ([f"{FORMED}/64"], FORMED))

    def test_anAdvertisementRenewsTheLifetime(self) -> None:
        self.advertisePrefix(100)
        self.passTime(99)
        self.advertisePrefix(100)
        self.passTime(99)
        self.assertEqual(self.formed(), [f"{FORMED}/64"])

    def lasts(self, *lifetimes: int) -> float:
        """
        Advertise one lifetime after the other.

        @return: the seconds until the address is removed.
        """
        for seconds in lifetimes:
            self.advertise(prefix(PREFIX, seconds, min(seconds, 10), ndp.AUTONOMOUS), lifetime=0)
        calls = [call.getTime() - self.clock.seconds() for call in self.clock.getDelayedCalls()]
        longest = max(calls)
        self.passTime(longest - 1)
        self.assertEqual(self.formed(), [f"{FORMED}/64"])
        self.passTime(1)
        self.assertEqual(self.formed(), [])
        return longest

    def test_aLifetimeAboveTwoHoursIsSet(self) -> None:
        self.assertEqual(self.lasts(100, 90000), 90000)
        self.assertEqual(self.lasts(90000, 8000), 8000)

    def test_aLongerLifetimeIsSet(self) -> None:
        self.assertEqual(self.lasts(100, 200, 300), 300)

    def test_aShortLifetimeLeavesTwoHours(self) -> None:
        for seconds in (0, 1, 7200):
            self.assertEqual(self.lasts(90000, seconds), TWO_HOURS)

    def test_aShorterLifetimeBelowTwoHoursIsIgnored(self) -> None:
        for seconds in (0, 1, 4999):
            self.assertEqual(self.lasts(5000, seconds), 5000)

    def test_anInfiniteLifetimeIsReducedToTwoHours(self) -> None:
        self.assertEqual(self.lasts(FOREVER, 100), TWO_HOURS)

    def test_thePreferredLifetimeIsSetWhenTheValidOneIsNot(self) -> None:
        self.host.addAddress("2001:db8:0:2::2/64")
        self.advertisePrefix(5000, 5000)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)
        self.advertisePrefix(1, 0)
        self.assertEqual(self.source(NEIGHBOUR), "2001:db8:0:2::2")
        self.assertIn(f"{FORMED}/64", self.formed())

    def test_aDeprecatedAddressIsASourceOnlyWithoutAnother(self) -> None:
        self.advertisePrefix(1000, 100)
        self.passTime(101)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)
        self.host.addAddress("2001:db8:0:2::2/64")
        self.assertEqual(self.source(NEIGHBOUR), "2001:db8:0:2::2")
        (sent,) = messages(self.receive(frame(echo(STRANGER, FORMED))))
        self.assertEqual(sent.source, FORMED)

    def test_aDeprecatedAddressCanBePreferredAgain(self) -> None:
        self.host.addAddress("2001:db8:0:2::2/64")
        self.advertisePrefix(1000, 100)
        self.passTime(101)
        self.advertisePrefix(1000, 100)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)
        self.passTime(99)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)
        self.passTime(2)
        self.assertEqual(self.source(NEIGHBOUR), "2001:db8:0:2::2")

    def test_anInfinitePreferredLifetimeNeverEnds(self) -> None:
        self.host.addAddress("2001:db8:0:2::2/64")
        self.advertisePrefix(1000, 100)
        self.advertisePrefix(FOREVER, FOREVER)
        self.passTime(1e10)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)

    def test_aFormedAddressOfAnotherStationIsLost(self) -> None:
        lost: list[tuple[str, bytes]] = []
        self.make("10.0.0.2/24", autoconfigure=True, addressLost=lambda *what: lost.append(what))
        self.advertisePrefix(1000, 100)
        self.wait(0.5)
        self.claim()
        self.assertEqual((self.formed(), lost), ([], [(FORMED, OTHER)]))

    def test_aLostAddressIsProbedAgain(self) -> None:
        self.advertisePrefix(1000, 100)
        self.wait(0.5)
        self.claim()
        self.advertisePrefix(1000, 100)
        self.assertEqual(self.formed(), [])
        probe, *announcements = self.probes(self.wait(20))
        self.assertEqual((probe.source, [each.source for each in announcements]), ("::", [FORMED] * 2))
        self.assertEqual(self.formed(), [f"{FORMED}/64"])

    def test_aRegainedAddressKeepsItsLifetimes(self) -> None:
        self.host.addAddress("2001:db8:0:2::2/64")
        self.advertisePrefix(1000, 100)
        self.wait(0.5)
        self.claim()
        self.advertisePrefix(1000, 0)
        self.wait(20)
        self.assertIn(f"{FORMED}/64", self.formed())
        self.assertEqual(self.source(NEIGHBOUR), "2001:db8:0:2::2")
        self.passTime(1001)
        self.assertNotIn(f"{FORMED}/64", self.formed())

    def test_aLostAddressExpires(self) -> None:
        self.advertisePrefix(5, 5)
        for _ in range(40):
            self.claim()
            self.wait(0.25)
        self.assertEqual((self.formed(), self.probes(self.wait(100))), ([], []))

    def test_prefixesNoLongerAdvertisedAreForgotten(self) -> None:
        # One forged advertisement has an infinite lifetime. The router advertises another prefix.
        self.advertisePrefix(FOREVER, FOREVER, "2001:db8:0:66::/64")
        self.advertise(prefix("2001:db8:77::/48", FOREVER, flags=0x80), mtu(1300))
        for _ in range(48):
            self.advertisePrefix(FOREVER, FOREVER)
            self.passTime(1799)
        self.assertEqual(len(self.formed()), 2)
        self.assertEqual((self.nextHop("2001:db8:77::1"), self.host.ip.mtu6), ("2001:db8:77::1", 1300))
        for _ in range(2):
            self.advertisePrefix(FOREVER, FOREVER)
            self.passTime(1799)
        self.assertEqual(self.formed(), [f"{FORMED}/64"])
        self.assertEqual((self.nextHop("2001:db8:77::1"), self.host.ip.mtu6), ("fe80::1", None))

    def test_anotherPrefixFormsAnAddressAfterALoss(self) -> None:
        self.advertisePrefix()
        self.claim()
        self.advertisePrefix(network="2001:db8:0:2::/64")
        self.assertEqual(self.formed(), ["2001:db8:0:2:0:ff:fe00:1/64"])

    def test_anAddressTheProgramRemovedIsNotFormedAgain(self) -> None:
        self.advertisePrefix(1000, 100)
        self.host.removeAddress(FORMED)
        self.advertisePrefix(1000, 100)
        self.assertEqual(self.formed(), [])
        self.passTime(1001)

    def test_anAddressRemovedFromTheIPLayerExpires(self) -> None:
        self.advertisePrefix(1000, 100)
        self.host.ip.removeAddress(FORMED)
        self.passTime(1001)
        self.assertEqual(self.formed(), [])

    def test_aStaticAddressInPlaceOfAFormedOneStaysPreferred(self) -> None:
        self.host.addAddress("2001:db8:0:2::2/64")
        self.advertisePrefix(1000, 100)
        self.host.removeAddress(FORMED)
        self.host.addAddress(f"{FORMED}/64")
        self.passTime(101)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)
        self.advertisePrefix(1000, 0)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)
        self.passTime(1001)
        self.assertEqual(self.source(NEIGHBOUR), FORMED)

    def test_aStaticAddressDoesNotExpire(self) -> None:
        self.host.addAddress(f"{FORMED}/64")
        self.advertisePrefix(100)
        self.passTime(101)
        self.assertEqual(self.formed(), [f"{FORMED}/64"])

    def test_aStaticRouteStaysWhenTheAddressExpires(self) -> None:
        self.host.addRoute(PREFIX)
        self.advertisePrefix(100)
        self.passTime(101)
        self.assertEqual(self.nextHop(NEIGHBOUR), NEIGHBOUR)

    def test_theTableIsBounded(self) -> None:
        for number in range(1, 100):
            self.advertisePrefix(network=f"2001:db8:0:{number:x}::/64")
        self.assertEqual(len(self.formed()), MAX_PREFIXES)
        self.assertIn(f"{FORMED}/64", self.formed())
        self.assertEqual(self.counter("prefixDiscards"), 99 - MAX_PREFIXES)

    def test_theTableIsBoundedForOneAdvertisement(self) -> None:
        self.advertise(*(prefix(f"2001:db8:0:{number:x}::/64") for number in range(40)))
        self.assertEqual(len(self.formed()), MAX_PREFIXES)
        self.assertEqual(self.counter("prefixDiscards"), 2 * (40 - MAX_PREFIXES))


class MTUTests(AutoconfTestCase):
    def sizes(self, dest: str) -> list[int]:
        """
        Send a long datagram.

        @return: the lengths of its packets in octets.
        """
        self.know(dest)
        before = len(self.device.sent)
        self.host.ip.write(bytes(1400), dest, 253)
        return [len(sent) - 14 for sent in self.device.sent[before:]]

    def test_theAdvertisedMTUIsUsed(self) -> None:
        self.advertise(prefix(PREFIX), mtu(1280))
        first, second = self.sizes(NEIGHBOUR)
        self.assertEqual((first, second), (1280, 1400 - 1232 + 48))

    def test_theAdvertisedMTUIsNotUsedForIPv4(self) -> None:
        self.advertise(mtu(1280))
        self.assertEqual(self.sizes("10.0.0.9"), [1420])

    def test_anMTUOutOfRangeIsIgnored(self) -> None:
        for octets in (0, 68, 1279, 1501, 65535, 0xFFFFFFFF):
            self.advertise(prefix(PREFIX), mtu(octets))
            self.assertEqual(self.host.ip.mtu6, None, octets)
        self.assertEqual(self.sizes(NEIGHBOUR), [1440])
        self.assertEqual(self.counter("inMTUErrors"), 6)

    def test_theMTUCanGrowAgain(self) -> None:
        self.advertise(prefix(PREFIX), mtu(1280))
        self.advertise(mtu(1500))
        self.assertEqual(self.sizes(NEIGHBOUR), [1440])

    def test_aSmallerPathMTUIsUsed(self) -> None:
        self.advertise(prefix(PREFIX), mtu(1400))
        self.host.ip.paths.learn(packAddress(NEIGHBOUR), 1300, 1440, self.clock.seconds())
        self.assertEqual(self.sizes(NEIGHBOUR)[0], 1296)


class ArbitraryTests(AutoconfTestCase):
    """
    Advertisements with arbitrary contents: no exception is raised, and no table exceeds its bound.
    """

    octets = st.integers(0, 255)
    times = st.sampled_from((0, 1, 7200, 7201, FOREVER - 1, FOREVER)) | st.integers(0, FOREVER)
    prefixes = st.builds(
        lambda address, length, valid, preferred, flags: prefix(f"{address}/{length}", valid, preferred, flags),
        st.ip_addresses(v=6),
        st.sampled_from((0, 64, 128)) | octets,
        times,
        times,
        octets,
    )
    options = prefixes | st.binary(max_size=64) | st.builds(mtu, st.integers(0, FOREVER))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.lists(options, max_size=40), st.integers(0, 65535), st.floats(0, 1e6)), max_size=4))
    def test_noAdvertisementRaisesAnException(self, said: list[tuple[list[bytes], int, float]]) -> None:
        self.setUp()
        for options, lifetime, passed in said:
            self.advertise(*options, lifetime=lifetime)
            self.assertLessEqual(len(self.formed()), MAX_PREFIXES)
            self.passTime(passed)
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual((self.formed(), self.clock.getDelayedCalls()), ([], []))


class LinkLostTests(AutoconfTestCase):
    def test_advertisedDataIsForgottenWithTheLink(self) -> None:
        self.advertise(link(), prefix(PREFIX), prefix("2001:db8:0:2::/64", FOREVER), mtu(1280))
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual((self.formed(), self.nextHop(), self.nextHop(NEIGHBOUR)), ([], None, None))
        self.assertEqual((self.host.ip.mtu6, self.clock.getDelayedCalls()), (None, []))

    def test_advertisementsCountOnANewLink(self) -> None:
        self.advertise(prefix(PREFIX))
        self.port.stopListening()
        self.clock.advance(0)
        self.port.startListening()
        self.advertise(prefix(PREFIX))
        self.assertEqual((self.formed(), self.nextHop()), ([f"{FORMED}/64"], ROUTER))

    def test_anAddressRemovedOnALinkIsFormedOnTheNext(self) -> None:
        self.advertise(prefix(PREFIX))
        self.host.removeAddress(FORMED)
        self.port.stopListening()
        self.clock.advance(0)
        self.port.startListening()
        self.advertise(prefix(PREFIX))
        self.assertEqual(self.formed(), [f"{FORMED}/64"])
