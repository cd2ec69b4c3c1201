"""
Tests for L{txtuntap.stack.arp}: which ARP packets a host answers, remembers and sends.
"""

from __future__ import annotations

from tests.recorders import Echo
from txtuntap.stack import neighbours
from txtuntap.testing import ethernetFrame, udpPacket
from txtuntap.wire.address import LINK_BROADCAST, addressText, packAddress
from txtuntap.wire.arp import ARP, REPLY, REQUEST

from .link import NOBODY, OTHER, OWN, PEER, LinkTestCase, arpFrame, arps, frame

OURS = packAddress("10.0.0.2")
THEIRS = packAddress("10.0.0.1")
GROUP = b"\x01\0\x5e\0\0\x01"


class ARPTestCase(LinkTestCase):
    def setUp(self) -> None:
        self.make("10.0.0.2/24", "10.0.0.3/24")

    def counters(self, data: bytes) -> dict[str, int]:
        """
        Deliver a frame that must not be answered, and return the counters that it has raised.
        """
        self.host.arp.counters.clear()
        self.assertEqual(self.receive(data), [])
        return dict(self.host.arp.counters)


class AnswerTests(ARPTestCase):
    def test_aRequestIsAnswered(self) -> None:
        self.assertEqual(
            arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))),
            [(PEER, ARP(REPLY, OWN, OURS, PEER, THEIRS))],
        )

    def test_requestsForEachAddressAreAnswered(self) -> None:
        ((_, packet),) = arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.3")))
        self.assertEqual(packet.sender, packAddress("10.0.0.3"))

    def test_aReplyIsSentFromTheLinkAddressOfTheHost(self) -> None:
        (sent,) = self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        self.assertEqual((sent[:6], sent[6:12]), (PEER, OWN))

    def test_aUnicastRequestIsAnswered(self) -> None:
        self.assertEqual(len(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", dest=OWN))), 1)

    def test_aProbeIsAnswered(self) -> None:
        self.assertEqual(
            arps(self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2"))), [(PEER, ARP(REPLY, OWN, OURS, PEER, bytes(4)))]
        )

    def test_aProbeMakesNoEntry(self) -> None:
        self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2"))
        self.assertEqual(self.host.neighbours.entries, {})

    def test_aReplyIsSentToTheSenderAddressInThePacket(self) -> None:
        ((station, _),) = arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", senderLink=OTHER)))
        self.assertEqual(station, OTHER)

    def test_aRequestWithAPriorityTagIsAnswered(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        tagged = ethernetFrame(PEER, LINK_BROADCAST, 0x0806, data[14:], vlan=0)
        self.assertEqual(len(self.receive(tagged)), 1)

    def test_aPaddedRequestIsAnswered(self) -> None:
        self.assertEqual(len(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2") + bytes(18))), 1)

    def test_anAddressAddedLaterIsAnswered(self) -> None:
        self.host.addAddress("10.0.0.4/24")
        self.assertEqual(len(arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.4")))), 1)

    def test_aRemovedAddressIsNotAnswered(self) -> None:
        self.host.removeAddress("10.0.0.3")
        self.assertEqual(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.3")), [])


class SilenceTests(ARPTestCase):
    def test_aRequestForAnotherAddressIsDropped(self) -> None:
        for target in ("10.0.0.1", "10.0.0.4", "10.0.0.255", "255.255.255.255", NOBODY):
            found = self.counters(arpFrame(REQUEST, "10.0.0.9", target))
            self.assertEqual(found, {"inRequests": 1, "inOthers": 1}, target)

    def test_aRequestInAnotherVLANIsDropped(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        self.assertEqual(self.counters(ethernetFrame(PEER, LINK_BROADCAST, 0x0806, data[14:], vlan=7)), {})

    def test_aRequestToAnotherStationIsDropped(self) -> None:
        self.assertEqual(self.counters(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", dest=OTHER)), {})

    def test_aPacketWithAWrongFieldIsDropped(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        for at, octet in ((15, 6), (16, 0x86), (18, 8), (19, 16), (21, 0), (21, 3)):
            wrong = data[:at] + bytes((octet,)) + data[at + 1 :]
            self.assertEqual(self.counters(wrong), {"inErrors": 1}, at)

    def test_aTruncatedPacketIsDropped(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        for length in range(14, len(data)):
            self.assertEqual(self.counters(data[:length]), {"inErrors": 1})

    def test_aPacketWhoseSenderIsNoStationIsDropped(self) -> None:
        for link in (LINK_BROADCAST, GROUP, bytes(6)):
            found = self.counters(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", senderLink=link))
            self.assertEqual(found, {"inErrors": 1})

    def test_aFrameFromAGroupIsDropped(self) -> None:
        for link in (LINK_BROADCAST, GROUP, bytes(6)):
            found = self.counters(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", source=link))
            self.assertEqual(found, {"inErrors": 1})

    def test_aPacketWhoseSenderAddressIsNoHostIsDropped(self) -> None:
        for sender in ("10.0.0.255", "255.255.255.255", "224.0.0.1", "127.0.0.1"):
            found = self.counters(arpFrame(REQUEST, sender, "10.0.0.2"))
            self.assertEqual(found, {"inRequests": 1, "inErrors": 1}, sender)
            self.assertEqual(self.host.neighbours.entries, {})

    def test_anUnsolicitedReplyMakesNoEntry(self) -> None:
        found = self.counters(arpFrame(REPLY, "10.0.0.1", "10.0.0.2", dest=OWN, targetLink=OWN))
        self.assertEqual((found, self.host.neighbours.entries), ({"inReplies": 1}, {}))


class ConflictTests(ARPTestCase):
    def test_aClaimOfAnOwnAddressIsAnsweredByAnAnnouncement(self) -> None:
        for opcode in (REQUEST, REPLY):
            self.wait(10)
            sent = arps(self.receive(arpFrame(opcode, "10.0.0.2", "10.0.0.2")))
            self.assertEqual(sent, [(LINK_BROADCAST, ARP(REQUEST, OWN, OURS, bytes(6), OURS))])

    def test_aRequestFromAnOwnAddressIsAConflict(self) -> None:
        sent = arps(self.receive(arpFrame(REQUEST, "10.0.0.2", "10.0.0.9")))
        self.assertEqual(sent, [(LINK_BROADCAST, ARP(REQUEST, OWN, OURS, bytes(6), OURS))])

    def test_anAddressIsDefendedOnceInTenSeconds(self) -> None:
        sent = []
        for _ in range(40):
            sent += self.receive(arpFrame(REPLY, "10.0.0.2", "10.0.0.2"))
            self.clock.advance(0.25)
        self.assertEqual(len(sent), 1)
        self.assertEqual(len(self.receive(arpFrame(REPLY, "10.0.0.2", "10.0.0.2"))), 1)

    def test_aClaimOfAnOwnAddressMakesNoEntry(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.2", "10.0.0.3"))
        self.assertEqual(self.host.neighbours.entries, {})

    def test_anOwnRequestThatComesBackIsIgnored(self) -> None:
        found = self.counters(arpFrame(REQUEST, "10.0.0.2", "10.0.0.2", senderLink=OWN, source=OWN))
        self.assertEqual(found, {"inRequests": 1})


class NetworkTests(ARPTestCase):
    """
    Answers for the addresses of AnyIP networks (C{answerFor}).
    """

    def setUp(self) -> None:
        self.make(
            "10.0.0.2/24",
            gateways=["10.0.0.254"],
            anyAddresses=["10.0.0.0/8"],
            answerFor=["10.0.0.0/16"],
            answerExcept=["10.0.7.7", "10.0.8.0/24"],
        )

    def answered(self, target: str = "10.0.3.4", sender: str = "10.0.0.1", station: bytes = PEER) -> bool:
        """
        Send a request of a station for an address, and return whether the host answered it.
        """
        asked = arpFrame(REQUEST, sender, target, station, source=station)
        return [packet.sender for _, packet in arps(self.receive(asked))] == [packAddress(target)]

    def test_aRequestIsAnswered(self) -> None:
        for target in ("10.0.0.3", "10.0.3.4", "10.0.255.254"):
            packed = packAddress(target)
            sent = arps(self.receive(arpFrame(REQUEST, "10.0.0.1", target)))
            self.assertEqual(sent, [(PEER, ARP(REPLY, OWN, packed, PEER, THEIRS))])
        self.assertEqual(self.host.arp.counters, {"inRequests": 3, "outAnyReplies": 3})

    def test_aUnicastRequestIsAnswered(self) -> None:
        self.assertEqual(len(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.3.4", dest=OWN))), 1)

    def test_requestsOutsideTheNetworksAreNotAnswered(self) -> None:
        for target in ("10.1.0.1", "11.0.0.1", "10.0.7.7", "10.0.8.9", "10.0.0.255", "255.255.255.255", NOBODY):
            self.assertFalse(self.answered(target), target)

    def test_anOwnAddressIsStillAnswered(self) -> None:
        self.assertTrue(self.answered("10.0.0.2"))
        self.assertEqual(len(self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2"))), 1)
        self.assertEqual(self.host.arp.counters["outReplies"], 2)

    def test_aNextHopIsNotAnsweredFor(self) -> None:
        self.assertFalse(self.answered("10.0.0.254"))
        self.host.addRoute("192.168.0.0/16", "10.0.3.4")
        self.assertFalse(self.answered("10.0.3.4"))

    def test_aProbeIsNotAnswered(self) -> None:
        self.assertFalse(self.answered(sender=NOBODY))

    def test_aProbingStationIsRemembered(self) -> None:
        self.answered(sender=NOBODY, station=OTHER)
        self.assertFalse(self.answered())
        self.assertEqual(self.host.neighbours.entries[packAddress("10.0.3.4")].station, OTHER)

    def test_aProbeOutsideTheNetworksMakesNoEntry(self) -> None:
        for target in ("10.0.0.2", "10.0.7.7", "10.1.0.1"):
            self.answered(target, NOBODY, OTHER)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_anAnnouncementIsRememberedAndNotAnswered(self) -> None:
        for opcode in (REQUEST, REPLY):
            self.make("10.0.0.2/24", anyAddresses=["10.0.0.0/16"], answerFor=["10.0.0.0/16"])
            claim = arpFrame(opcode, "10.0.3.4", "10.0.3.4", OTHER, source=OTHER)
            self.assertEqual(self.receive(claim), [])
            self.assertFalse(self.answered())

    def test_theSenderOfARequestForAnotherAddressIsRemembered(self) -> None:
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        self.assertFalse(self.answered())

    def test_theSenderOfAnUnsolicitedReplyIsRemembered(self) -> None:
        self.receive(arpFrame(REPLY, "10.0.3.4", "10.0.0.2", OTHER, dest=OWN, source=OTHER, targetLink=OWN))
        self.assertFalse(self.answered())

    def test_aReplyToAnotherStationIsNoRequest(self) -> None:
        self.receive(arpFrame(REPLY, "10.1.0.1", "10.0.3.4"))
        self.assertEqual(self.host.arp.counters, {"inReplies": 1, "inOthers": 1})

    def test_aSenderOutsideTheNetworksIsNotRemembered(self) -> None:
        for sender in ("10.0.7.7", "10.1.0.1"):
            self.answered("10.9.9.9", sender, OTHER)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_aPermanentNeighbourIsNotAnsweredFor(self) -> None:
        self.know("10.0.3.4", OTHER)
        self.assertFalse(self.answered())

    def test_anAddressBeingResolvedIsNotAnsweredFor(self) -> None:
        self.host.ip.write(b"payload", "10.0.0.77", 253)
        self.assertFalse(self.answered("10.0.0.77"))
        self.wait(10)
        self.assertTrue(self.answered("10.0.0.77"))

    def test_aRequestDoesNotCountAsAUseOfTheEntry(self) -> None:
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        self.answered("10.9.9.9", "10.0.3.5", OTHER)
        self.answered("10.0.3.4", NOBODY)
        self.answered("10.0.3.4", "10.7.0.1")
        entries = self.host.neighbours.entries
        self.assertEqual(list(entries)[:2], [packAddress("10.0.3.4"), packAddress("10.0.3.5")])
        self.assertEqual(entries[packAddress("10.0.3.5")].state, neighbours.STALE)

    def test_aForgedClaimIsCheckedAndForgotten(self) -> None:
        # Without the check, one forged packet would keep the host from answering for ever.
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        self.assertFalse(self.answered())
        asked = [packet for _, packet in arps(self.wait(10)) if packet.target == packAddress("10.0.3.4")]
        self.assertEqual(len(asked), neighbours.TRIES)
        self.assertTrue(self.answered())

    def test_aStationThatHasTheAddressKeepsIt(self) -> None:
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        for _ in range(100):
            self.assertFalse(self.answered())
            for _, asked in arps(self.wait(1)):
                if asked.target == packAddress("10.0.3.4"):
                    asker = addressText(asked.sender)
                    self.receive(arpFrame(REPLY, "10.0.3.4", asker, OTHER, OWN, OTHER, targetLink=OWN))

    def test_aClaimOfAnAddressInTheNetworksIsNoConflict(self) -> None:
        for opcode in (REQUEST, REPLY):
            self.assertEqual(self.receive(arpFrame(opcode, "10.0.3.4", "10.0.3.4", OTHER, source=OTHER)), [])
        self.assertEqual(self.host.arp.counters["inConflicts"], 0)

    def test_addressesOfTheNetworksAreNotProbed(self) -> None:
        self.make(settle=False, anyAddresses=["10.0.0.0/8"], answerFor=["10.0.0.0/16"])
        self.assertEqual({packet.target for _, packet in arps(self.wait(10))}, {OURS})

    def test_anOwnReplyThatComesBackIsIgnored(self) -> None:
        (sent,) = self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.3.4"))
        self.receive(sent, LINK_BROADCAST + sent[6:])
        self.assertTrue(self.answered())

    def test_theEntriesAreBounded(self) -> None:
        for index in range(2 * neighbours.MAX_ENTRIES):
            self.answered("10.9.9.9", f"10.0.{100 + index // 250}.{1 + index % 250}", OTHER)
        self.assertEqual(len(self.host.neighbours.entries), neighbours.MAX_ENTRIES)
        self.assertFalse(self.answered(f"10.0.{100 + index // 250}.{1 + index % 250}"))


class ResolutionTests(ARPTestCase):
    def write(self, dest: str = "10.0.0.1") -> list[bytes]:
        before = len(self.device.sent)
        self.host.ip.write(b"payload", dest, 253)
        return self.device.sent[before:]

    def test_aDatagramCausesARequest(self) -> None:
        sent = arps(self.write())
        self.assertEqual(sent, [(LINK_BROADCAST, ARP(REQUEST, OWN, OURS, bytes(6), THEIRS))])

    def test_theSenderAddressIsOfTheTargetsNetwork(self) -> None:
        self.host.addAddress("192.168.0.2/24")
        ((_, packet),) = arps(self.write("192.168.0.1"))
        self.assertEqual(packet.sender, packAddress("192.168.0.2"))

    def test_aReplySendsTheWaitingDatagram(self) -> None:
        self.write()
        (sent,) = self.receive(arpFrame(REPLY, "10.0.0.1", "10.0.0.2", dest=OWN, targetLink=OWN))
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))
        self.assertEqual(self.host.neighbours.entries[THEIRS].state, neighbours.REACHABLE)

    def test_aBroadcastReplyMakesAStaleEntry(self) -> None:
        self.write()
        self.assertEqual(len(self.receive(arpFrame(REPLY, "10.0.0.1", "10.0.0.2", targetLink=OWN))), 1)
        self.assertEqual(self.host.neighbours.entries[THEIRS].state, neighbours.STALE)

    def test_theSenderOfARequestIsRemembered(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        (sent,) = self.write()
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))

    def test_theSenderOfARequestForAnotherStationIsNotRemembered(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.9"))
        self.assertEqual(self.host.neighbours.entries, {})

    def test_anUnsolicitedReplyReplacesNoStation(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        forged = arpFrame(REPLY, "10.0.0.1", "10.0.0.2", senderLink=OTHER, dest=OWN, targetLink=OWN)
        self.receive(forged)
        self.assertEqual(self.write()[-1][:6], PEER)

    def test_aKnownStationIsAskedByAUnicastRequest(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        self.write()
        self.assertEqual(arps(self.wait(5)), [(PEER, ARP(REQUEST, OWN, OURS, bytes(6), THEIRS))])

    def test_ARPTakesNoLayerAboveIt(self) -> None:
        self.assertFalse(hasattr(self.host.arp, "addProto"))

    def test_anAnswerToADatagramNeedsNoResolution(self) -> None:
        self.host.listenUDP(7, Echo())
        (sent,) = self.receive(frame(udpPacket("10.0.0.1", "10.0.0.2", 1, 7, b"payload")))
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))
