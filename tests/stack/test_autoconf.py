"""
Tests for L{txtuntap.stack.autoconf}: when a host asks for router advertisements, and which ones it accepts.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.autoconf import (
    ALL_NODES,
    ALL_ROUTERS,
    FOREVER,
    FORMED,
    LINK_LOCAL,
    NEIGHBOUR,
    PREFIX,
    ROUTER,
    AutoconfTestCase,
    link,
    mtu,
)
from txtuntap.stack.autoconf import MAX_PREFIXES
from txtuntap.testing import TUN
from txtuntap.wire import ndp
from txtuntap.wire.address import packAddress

from .link import OWN, Message, discovery, frame, messages, pieces, prefix, routerAdvertisement


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
