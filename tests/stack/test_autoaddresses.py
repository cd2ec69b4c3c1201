"""
Tests for L{txtuntap.stack.autoconf}: the addresses that a host forms.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.stack.autoconf import ALL_NODES, FOREVER, FORMED, NEIGHBOUR, PREFIX, ROUTER, STRANGER, AutoconfTestCase, mtu
from txtuntap.packet import Packet
from txtuntap.stack.autoconf import MAX_PREFIXES, TWO_HOURS
from txtuntap.wire import ndp
from txtuntap.wire.address import packAddress

from .link import OTHER, Message, discovery, echo, frame, messages, prefix, routerAdvertisement


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
