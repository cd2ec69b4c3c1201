"""
Tests for L{txtuntap.stack.autoconf}: the routers and on-link prefixes that a host learns.
"""

from __future__ import annotations

from typing import Any

from tests.stack.autoconf import ALL_NODES, FOREVER, FORMED, NEIGHBOUR, PREFIX, ROUTER, STRANGER, AutoconfTestCase, link
from txtuntap.packet import Packet
from txtuntap.stack.autoconf import MAX_PREFIXES, MAX_ROUTERS
from txtuntap.wire import ndp
from txtuntap.wire.address import packAddress

from .link import OTHER, PEER, discovery, frame, messages, prefix, routerAdvertisement


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
