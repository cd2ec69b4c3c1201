"""
Tests for L{txtuntap.stack.ndp}: what RFC 4861 and RFC 4862 require of a host.
"""

from __future__ import annotations

from typing import Any

from tests.recorders import Echo
from txtuntap.stack import neighbours
from txtuntap.testing import TUN, ipPacket, udpPacket
from txtuntap.wire import ndp
from txtuntap.wire.address import addressText, packAddress, solicitedNode

from .link import (
    OTHER,
    OWN,
    PEER,
    LinkTestCase,
    Message,
    discovery,
    echo,
    frame,
    icmpPacket,
    messages,
    pieces,
)

OURS, THEIRS = "fd00::2", "fd00::1"
OUR_GROUP, THEIR_GROUP = "ff02::1:ff00:2", "ff02::1:ff00:1"
LINK_LOCAL = "fe80::ff:fe00:1"
GROUP_STATION = bytes.fromhex("3333ff000002")
ALL_NODES = bytes.fromhex("333300000001")
NONCE = b"\x0e\x01nonce!"


def ourBody(target: str = OURS) -> bytes:
    return packAddress(target) + b"\x02\x01" + OWN


class NDPTestCase(LinkTestCase):
    def setUp(self) -> None:
        self.make("fd00::2/64")

    def solicit(self, source: str = THEIRS, dest: str = OUR_GROUP, target: str = OURS, **fields: Any) -> list[Message]:
        fields.setdefault("option", None if source == "::" else ndp.SOURCE_LINK)
        station = fields.pop("station", PEER)
        packet = discovery(ndp.SOLICITATION, source, dest, target, **fields)
        return messages(self.receive(frame(packet, GROUP_STATION if dest[:2] == "ff" else OWN, station)))

    def advertise(self, dest: str = OURS, target: str = THEIRS, **fields: Any) -> list[bytes]:
        fields.setdefault("flags", ndp.SOLICITED | ndp.OVERRIDE)
        fields.setdefault("option", ndp.TARGET_LINK)
        source = fields.pop("source", THEIRS)
        station = fields.pop("station", PEER)
        packet = discovery(ndp.ADVERTISEMENT, source, dest, target, **fields)
        return self.receive(frame(packet, ALL_NODES if dest[:2] == "ff" else OWN, station))

    def write(self, dest: str = THEIRS) -> list[bytes]:
        before = len(self.device.sent)
        self.host.ip.write(b"payload", dest, 253)
        return self.device.sent[before:]

    def state(self, address: str = THEIRS) -> tuple[str, bytes | None] | None:
        cache = self.host.neighbours
        packed = packAddress(address)
        entry = cache.entries.get(packed) or cache.incomplete.get(packed)
        return None if entry is None else (entry.state, entry.station)


class AnswerTests(NDPTestCase):
    def test_aSolicitationIsAnswered(self) -> None:
        flags = ndp.SOLICITED | ndp.OVERRIDE
        expected = Message(PEER, OURS, THEIRS, 255, ndp.ADVERTISEMENT, 0, flags, ourBody())
        self.assertEqual(self.solicit(), [expected])

    def test_aUnicastSolicitationIsAnswered(self) -> None:
        self.assertEqual(len(self.solicit(dest=OURS)), 1)

    def test_anAnswerWithoutALinkAddressOptionIsSentToTheSourceStation(self) -> None:
        (sent,) = self.solicit(dest=OURS, option=None)
        self.assertEqual(sent.station, PEER)

    def test_anAnswerIsSentToTheLinkAddressInTheOption(self) -> None:
        (sent,) = self.solicit(link=OTHER)
        self.assertEqual(sent.station, OTHER)

    def test_aSolicitationForTheLinkLocalAddressIsAnswered(self) -> None:
        (sent,) = self.solicit("fe80::1", "ff02::1:ff00:1", LINK_LOCAL)
        self.assertEqual((sent.source, sent.dest, sent.body), (LINK_LOCAL, "fe80::1", ourBody(LINK_LOCAL)))

    def test_unknownOptionsAreSkipped(self) -> None:
        self.assertEqual(len(self.solicit(extra=NONCE)), 1)

    def test_theSenderOfASolicitationIsRemembered(self) -> None:
        self.solicit()
        self.assertEqual(self.state(), (neighbours.STALE, PEER))

    def test_duplicateAddressDetectionIsAnswered(self) -> None:
        expected = Message(ALL_NODES, OURS, "ff02::1", 255, ndp.ADVERTISEMENT, 0, ndp.OVERRIDE, ourBody())
        self.assertEqual(self.solicit("::"), [expected])

    def test_duplicateAddressDetectionIsNotRemembered(self) -> None:
        self.solicit("::")
        self.assertEqual(self.host.neighbours.entries, {})

    def test_messagesAreCounted(self) -> None:
        self.solicit()
        self.assertEqual(self.host.ndp.counters, {"inSolicits": 1, "outAdvertisements": 1})


class SilenceTests(NDPTestCase):
    def errors(self, *args: Any, **fields: Any) -> int:
        self.host.ndp.counters.clear()
        self.assertEqual(self.solicit(*args, **fields), [])
        self.assertEqual(self.host.ndp.counters["outAdvertisements"], 0)
        return self.host.ndp.counters["inErrors"]

    def test_aForwardedSolicitationIsDropped(self) -> None:
        for hopLimit in (0, 1, 64, 254):
            self.assertEqual(self.errors(hopLimit=hopLimit), 1)

    def test_aSolicitationWithACodeIsDropped(self) -> None:
        self.assertEqual(self.errors(code=1), 1)

    def test_aSolicitationForAGroupIsDropped(self) -> None:
        self.assertEqual(self.errors(target="ff02::1"), 1)

    def test_aSolicitationWithAnEmptyOptionIsDropped(self) -> None:
        self.assertEqual(self.errors(extra=b"\x0e\0nonce!"), 1)

    def test_aSolicitationWithATruncatedOptionIsDropped(self) -> None:
        self.assertEqual(self.errors(extra=b"\x0e\x02nonce!"), 1)

    def test_aSolicitationWithALinkAddressOfNoStationIsDropped(self) -> None:
        for link in (b"\x01\0\x5e\0\0\x01", b"\xff" * 6, bytes(6)):
            self.assertEqual(self.errors(link=link), 1)

    def test_aFrameFromAGroupIsDropped(self) -> None:
        self.assertEqual(self.errors(station=b"\x03\0\0\0\0\x02"), 1)

    def test_duplicateAddressDetectionWithALinkAddressIsDropped(self) -> None:
        self.assertEqual(self.errors("::", option=ndp.SOURCE_LINK), 1)

    def test_unicastDuplicateAddressDetectionIsDropped(self) -> None:
        self.assertEqual(self.errors("::", OURS), 0)
        self.assertEqual(self.host.ip.counters["inAddrErrors"], 1)

    def test_duplicateAddressDetectionToAllNodesIsDropped(self) -> None:
        self.assertEqual(self.errors("::", "ff02::1"), 1)

    def test_aSolicitationForAnotherTargetIsDropped(self) -> None:
        self.assertEqual(self.errors(target="fd00::3", dest=OURS), 0)
        self.assertEqual(self.host.ndp.counters["inOthers"], 1)

    def test_theSenderOfASolicitationForAnotherTargetIsNotRemembered(self) -> None:
        self.solicit(target="fd00::3", dest=OURS)
        self.assertIsNone(self.state())

    def test_aWrongChecksumIsDropped(self) -> None:
        data = bytearray(frame(discovery(ndp.SOLICITATION, THEIRS, OURS, OURS)))
        data[-1] ^= 1
        self.assertEqual(self.receive(bytes(data)), [])

    def test_aTruncatedSolicitationIsDropped(self) -> None:
        for length in range(16):
            body = packAddress(OURS)[:length]
            packet = icmpPacket(THEIRS, OURS, ndp.SOLICITATION, 0, 0, body, hopLimit=255)
            self.assertEqual(self.receive(frame(packet)), [])

    def test_aFragmentedSolicitationIsDropped(self) -> None:
        solicitation = discovery(ndp.SOLICITATION, THEIRS, OURS, OURS, ndp.SOURCE_LINK)
        for packets in (pieces(solicitation, 16), pieces(solicitation, 16)[::-1], pieces(solicitation, 1000)):
            self.host.ndp.counters.clear()
            self.assertEqual(self.receive(*map(frame, packets)), [])
            self.assertEqual(self.host.ndp.counters, {"inFragments": 1})

    def test_aSolicitationWithDestinationOptionsIsAnswered(self) -> None:
        solicitation = discovery(ndp.SOLICITATION, THEIRS, OURS, OURS, ndp.SOURCE_LINK)
        options = ipPacket(THEIRS, OURS, 60, bytes((58, 0, 1, 4, 0, 0, 0, 0)) + solicitation[40:], hopLimit=255)
        self.assertEqual(len(self.receive(frame(options))), 1)

    def test_anOwnSolicitationThatComesBackIsDropped(self) -> None:
        self.assertEqual(self.errors("::", station=OWN), 1)

    def test_aSolicitationOnATunIsDropped(self) -> None:
        self.make("fd00::2/64", mode=TUN)
        self.assertEqual(self.receive(discovery(ndp.SOLICITATION, THEIRS, OURS, OURS)), [])
        self.assertEqual(self.host.ndp.counters["inErrors"], 1)


class TentativeTests(NDPTestCase):
    """
    Messages that are sent from a tentative address.
    """

    def setUp(self) -> None:
        self.make("fd00::2/64", settle=False)
        self.wait(0.5)

    def test_anAnswerHasNoOverrideFlag(self) -> None:
        expected = Message(PEER, OURS, THEIRS, 255, ndp.ADVERTISEMENT, 0, ndp.SOLICITED, ourBody())
        self.assertEqual(self.solicit(), [expected])

    def test_aProbeOfAnotherStationIsAConflict(self) -> None:
        self.assertEqual(self.solicit("::", station=OTHER), [])
        self.assertNotIn("fd00::2/64", self.host.addresses)
        self.assertEqual(self.host.ndp.counters["inConflicts"], 1)

    def test_aSolicitationHasNoLinkAddressOption(self) -> None:
        (first,) = messages(self.write())
        self.assertEqual((first.source, first.body), (OURS, packAddress(THEIRS)))
        later = [sent for sent in messages(self.wait(3)) if sent.body[:16] == packAddress(THEIRS)]
        self.assertEqual({(sent.source, sent.body[16:]) for sent in later}, {(OURS, b"\x01\x01" + OWN)})

    def test_aSolicitationIsFromAnAddressThatIsNotTentative(self) -> None:
        self.wait(10)
        self.host.addAddress("fd01::2/64")
        (sent,) = messages(self.write("fd01::9"))
        self.assertEqual(sent.source, OURS)
        self.wait(10)
        (sent,) = messages(self.write("fd01::8"))
        self.assertEqual(sent.source, "fd01::2")


class NetworkTests(NDPTestCase):
    """
    Answers for the addresses of AnyIP networks (C{answerFor}).
    """

    TARGET, GROUP = "fd00:0:0:1::abcd", "ff02::1:ff00:abcd"

    def setUp(self) -> None:
        self.make(
            "fd00::2/64",
            gateways=["fd00::fe"],
            anyAddresses=["fd00::/32"],
            answerFor=["fd00::/48"],
            answerExcept=["fd00::7", "fd00:0:0:8::/64"],
        )

    def solicit(self, source: str = THEIRS, dest: str = "", target: str = TARGET, **fields: Any) -> list[Message]:
        dest = dest or addressText(solicitedNode(packAddress(target)))
        return super().solicit(source, dest, target, **fields)

    def test_aSolicitationIsAnswered(self) -> None:
        for dest in ("", self.TARGET):
            body = packAddress(self.TARGET) + b"\x02\x01" + OWN
            expected = Message(PEER, self.TARGET, THEIRS, 255, ndp.ADVERTISEMENT, 0, ndp.SOLICITED, body)
            self.assertEqual(self.solicit(dest=dest), [expected])
        self.assertEqual(self.host.ndp.counters, {"inSolicits": 2, "outAnyAdvertisements": 2})

    def test_anAnswerWithoutALinkAddressOptionIsSentToTheSourceStation(self) -> None:
        (sent,) = self.solicit(dest=self.TARGET, option=None)
        self.assertEqual(sent.station, PEER)

    def test_solicitationsOutsideTheNetworksAreNotAnswered(self) -> None:
        for target in ("fd00:0:1::1", "fd00::7", "fd00:0:0:8::9", "fd01::1", "fd00::fe"):
            self.assertEqual(self.solicit(target=target), [], target)
        self.assertEqual(self.host.ndp.counters["inOthers"], 5)

    def test_anOwnAddressIsStillAnswered(self) -> None:
        (sent,) = self.solicit(target=OURS)
        self.assertEqual(sent.rest, ndp.SOLICITED | ndp.OVERRIDE)
        (sent,) = self.solicit("::", target=OURS)
        self.assertEqual(sent.dest, "ff02::1")
        self.assertIsNone(self.state(OURS))

    def test_duplicateAddressDetectionIsNotAnswered(self) -> None:
        self.assertEqual(self.solicit("::", station=OTHER), [])

    def test_aProbingStationIsRemembered(self) -> None:
        self.solicit("::", station=OTHER)
        self.assertEqual(self.state(self.TARGET), (neighbours.STALE, OTHER))
        self.assertEqual(self.solicit(), [])

    def test_aProbeOutsideTheNetworksMakesNoEntry(self) -> None:
        for target in ("fd00::7", "fd00:0:1::1"):
            self.solicit("::", target=target)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_theSenderOfASolicitationForAnotherAddressIsRemembered(self) -> None:
        self.solicit(self.TARGET, target="fd00::7", station=OTHER, link=OTHER)
        self.assertEqual(self.state(self.TARGET), (neighbours.STALE, OTHER))
        self.assertEqual(self.solicit(), [])

    def test_aSenderOutsideTheNetworksIsNotRemembered(self) -> None:
        for source in ("fd00::7", "fd00:0:1::1"):
            self.solicit(source, target="fd00::7")
        self.assertEqual(self.host.neighbours.entries, {})

    def test_theSenderOfAnAdvertisementIsRemembered(self) -> None:
        for dest, flags in (("ff02::1", 0), (OURS, ndp.SOLICITED)):
            for option in (ndp.TARGET_LINK, None):
                self.setUp()
                self.advertise(dest, self.TARGET, flags=flags, station=OTHER, link=OTHER, option=option)
                self.assertEqual(self.state(self.TARGET), (neighbours.STALE, OTHER))
                self.assertEqual(self.solicit(), [])

    def test_anAddressBeingResolvedIsNotAnsweredFor(self) -> None:
        self.write("fd00::77")
        self.assertEqual(self.solicit(target="fd00::77"), [])
        self.wait(10)
        self.assertEqual(len(self.solicit(target="fd00::77")), 1)

    def test_aClaimOfAnAddressInTheNetworksIsNoConflict(self) -> None:
        self.assertEqual(self.advertise("ff02::1", self.TARGET, flags=ndp.OVERRIDE), [])
        self.assertEqual(self.host.ndp.counters["inConflicts"], 0)

    def test_theEntriesAreBounded(self) -> None:
        for index in range(2 * neighbours.MAX_ENTRIES):
            self.solicit("::", target=f"fd00::1:{index:x}", station=OTHER)
        self.assertEqual(len(self.host.neighbours.entries), neighbours.MAX_ENTRIES)

    def test_aDatagramToASolicitedNodeGroupIsNotAnsweredFromTheTarget(self) -> None:
        self.host.listenUDP(7, Echo())
        (sent,) = self.receive(frame(udpPacket(THEIRS, self.GROUP, 1, 7, b"payload"), b"\x33\x33\xff\0\xab\xcd"))
        self.assertEqual(sent[22:38], packAddress(OURS))
        self.assertEqual(self.receive(frame(echo(THEIRS, self.GROUP), b"\x33\x33\xff\0\xab\xcd")), [])

    def test_aHostWithoutAnswerForReceivesNoOtherSolicitedNodeGroups(self) -> None:
        for answerFor in ([], ["10.0.0.0/8"]):
            self.make("fd00::2/64", anyAddresses=["fd00::/32", "10.0.0.0/8"], answerFor=answerFor)
            self.assertEqual(self.solicit(), [])
            self.assertEqual(self.host.ip.counters["inAddrErrors"], 1)


class ResolutionTests(NDPTestCase):
    def test_aDatagramCausesASolicitation(self) -> None:
        body = packAddress(THEIRS) + b"\x01\x01" + OWN
        station = bytes.fromhex("3333ff000001")
        expected = Message(station, OURS, THEIR_GROUP, 255, ndp.SOLICITATION, 0, 0, body)
        self.assertEqual(messages(self.write()), [expected])

    def test_aSolicitationForALinkLocalAddressIsFromOne(self) -> None:
        (sent,) = messages(self.write("fe80::9"))
        self.assertEqual(sent.source, LINK_LOCAL)

    def test_anAdvertisementSendsTheWaitingDatagram(self) -> None:
        self.write()
        (sent,) = self.advertise()
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))
        self.assertEqual(self.state(), (neighbours.REACHABLE, PEER))

    def test_anAdvertisementWithoutOverrideCompletesTheResolution(self) -> None:
        self.write()
        self.assertEqual(len(self.advertise(flags=ndp.SOLICITED)), 1)

    def test_theOptionOfAnAdvertisementHasTheLinkAddress(self) -> None:
        self.write()
        self.advertise(link=OTHER)
        self.assertEqual(self.state(), (neighbours.REACHABLE, OTHER))

    def test_anAdvertisementWithoutALinkAddressIsIgnored(self) -> None:
        self.write()
        self.assertEqual(self.advertise(option=None), [])
        self.assertEqual(self.state(), (neighbours.INCOMPLETE, None))

    def test_anUnsolicitedAdvertisementCompletesTheResolution(self) -> None:
        self.write()
        self.assertEqual(len(self.advertise(dest="ff02::1", flags=ndp.OVERRIDE)), 1)
        self.assertEqual(self.state(), (neighbours.STALE, PEER))

    def test_aSolicitedAdvertisementToAGroupIsDropped(self) -> None:
        self.write()
        self.assertEqual(self.advertise(dest="ff02::1"), [])
        self.assertEqual(self.state(), (neighbours.INCOMPLETE, None))

    def test_aForwardedAdvertisementIsDropped(self) -> None:
        self.write()
        self.assertEqual(self.advertise(hopLimit=254), [])

    def test_anAdvertisementOfAnotherTargetIsIgnored(self) -> None:
        self.write()
        self.assertEqual(self.advertise(target="fd00::9"), [])

    def test_anUnsolicitedAdvertisementMakesNoEntry(self) -> None:
        for flags in (0, ndp.SOLICITED, ndp.OVERRIDE, ndp.SOLICITED | ndp.OVERRIDE):
            self.advertise(flags=flags)
        self.assertIsNone(self.state())

    def test_anUnsolicitedAdvertisementReplacesNoStation(self) -> None:
        for flags in (0, ndp.SOLICITED, ndp.OVERRIDE, ndp.SOLICITED | ndp.OVERRIDE):
            self.make("fd00::2/64")
            self.solicit()
            self.advertise(flags=flags, link=OTHER)
            self.assertEqual(self.write()[-1][:6], PEER)

    def test_aProbeIsSentToTheStationAndItsAddress(self) -> None:
        self.solicit()
        self.write()
        (sent,) = messages(self.wait(5))
        self.assertEqual((sent.station, sent.dest, sent.kind), (PEER, THEIRS, ndp.SOLICITATION))

    def test_theLastProbeIsSentToTheGroup(self) -> None:
        self.solicit()
        self.write()
        sent = messages(self.wait(10))
        self.assertEqual([message.dest for message in sent], [THEIRS, THEIRS, THEIR_GROUP])

    def test_anAnswerToAProbeNeedsNoLinkAddress(self) -> None:
        self.solicit()
        self.write()
        self.wait(5)
        self.advertise(option=None)
        self.assertEqual(self.state(), (neighbours.REACHABLE, PEER))

    def test_anAnswerOfAnotherStationToAProbeReplaces(self) -> None:
        self.solicit()
        self.write()
        self.wait(5)
        self.advertise(link=OTHER)
        self.assertEqual(self.state(), (neighbours.REACHABLE, OTHER))

    def test_anAnswerWithoutOverrideReplacesNoStation(self) -> None:
        self.solicit()
        self.write()
        self.wait(5)
        self.advertise(link=OTHER, flags=ndp.SOLICITED)
        self.assertEqual(self.state(), (neighbours.PROBE, PEER))

    def test_aGroupNeedsNoResolution(self) -> None:
        (sent,) = self.write("ff02::1")
        self.assertEqual(sent[:6], ALL_NODES)


class ConflictTests(NDPTestCase):
    def claim(self, **fields: Any) -> list[Message]:
        return messages(self.advertise("ff02::1", OURS, source=OURS[:-1] + "9", flags=ndp.OVERRIDE, **fields))

    def test_aClaimOfAnOwnAddressIsAnsweredByAnAdvertisement(self) -> None:
        expected = Message(ALL_NODES, OURS, "ff02::1", 255, ndp.ADVERTISEMENT, 0, ndp.OVERRIDE, ourBody())
        self.assertEqual(self.claim(), [expected])

    def test_anAddressIsDefendedOnceInTenSeconds(self) -> None:
        sent = []
        for _ in range(40):
            sent += self.claim()
            self.clock.advance(0.25)
        self.assertEqual(len(sent), 1)
        self.assertEqual(len(self.claim()), 1)

    def test_aClaimFromTheAddressItselfIsAConflict(self) -> None:
        claim = discovery(ndp.ADVERTISEMENT, OURS, "ff02::1", OURS, ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        self.assertEqual(len(messages(self.receive(frame(claim, ALL_NODES, OTHER)))), 1)
        self.assertEqual(self.host.ndp.counters["inConflicts"], 1)

    def test_aForwardedClaimIsNoConflict(self) -> None:
        claim = discovery(ndp.ADVERTISEMENT, OURS, "ff02::1", OURS, ndp.TARGET_LINK, OTHER, ndp.OVERRIDE, 254)
        self.assertEqual(self.receive(frame(claim, ALL_NODES, OTHER)), [])

    def test_aClaimWithAWrongChecksumIsNoConflict(self) -> None:
        claim = discovery(ndp.ADVERTISEMENT, OURS, "ff02::1", OURS, ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        self.assertEqual(self.receive(frame(claim[:-1] + b"\xff", ALL_NODES, OTHER)), [])

    def test_aClaimWithAWrongChecksumIsAConflictWithoutVerification(self) -> None:
        self.make(OURS + "/64", verifyChecksum=False)
        claim = discovery(ndp.ADVERTISEMENT, OURS, "ff02::1", OURS, ndp.TARGET_LINK, OTHER, ndp.OVERRIDE)
        self.assertEqual(len(messages(self.receive(frame(claim[:-1] + b"\xff", ALL_NODES, OTHER)))), 1)

    def test_anAdvertisementOfAnotherTargetFromAnOwnAddressIsDropped(self) -> None:
        self.write()
        self.advertise(source=OURS)
        self.assertEqual(self.state(), (neighbours.INCOMPLETE, None))

    def test_anOwnAdvertisementThatComesBackIsNoConflict(self) -> None:
        self.assertEqual(self.claim(station=OWN, link=OWN), [])
        self.assertEqual(self.host.ndp.counters["inConflicts"], 0)
