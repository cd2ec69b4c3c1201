"""
Tests for L{txtuntap.stack.arp}: the rows about ARP of what an IPv4 host does with what it is sent.
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
        Deliver what is not to be answered.
        """
        self.host.arp.counters.clear()
        self.assertEqual(self.receive(data), [])
        return dict(self.host.arp.counters)


class AnswerTests(ARPTestCase):
    def test_request(self) -> None:
        self.assertEqual(
            arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))),
            [(PEER, ARP(REPLY, OWN, OURS, PEER, THEIRS))],
        )

    def test_everyAddress(self) -> None:
        ((_, packet),) = arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.3")))
        self.assertEqual(packet.sender, packAddress("10.0.0.3"))

    def test_replyLeavesFromOurStation(self) -> None:
        (sent,) = self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        self.assertEqual((sent[:6], sent[6:12]), (PEER, OWN))

    def test_unicastRequest(self) -> None:
        self.assertEqual(len(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", dest=OWN))), 1)

    def test_probe(self) -> None:
        self.assertEqual(
            arps(self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2"))), [(PEER, ARP(REPLY, OWN, OURS, PEER, bytes(4)))]
        )

    def test_probeIsNotRemembered(self) -> None:
        self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2"))
        self.assertEqual(self.host.neighbours.entries, {})

    def test_replyGoesToWhomThePacketNames(self) -> None:
        ((station, _),) = arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", senderLink=OTHER)))
        self.assertEqual(station, OTHER)

    def test_priorityTag(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        tagged = ethernetFrame(PEER, LINK_BROADCAST, 0x0806, data[14:], vlan=0)
        self.assertEqual(len(self.receive(tagged)), 1)

    def test_padding(self) -> None:
        self.assertEqual(len(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2") + bytes(18))), 1)

    def test_addressAddedLater(self) -> None:
        self.host.addAddress("10.0.0.4/24")
        self.assertEqual(len(arps(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.4")))), 1)

    def test_addressRemoved(self) -> None:
        self.host.removeAddress("10.0.0.3")
        self.assertEqual(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.3")), [])


class SilenceTests(ARPTestCase):
    def test_anotherAddress(self) -> None:
        for target in ("10.0.0.1", "10.0.0.4", "10.0.0.255", "255.255.255.255", NOBODY):
            found = self.counters(arpFrame(REQUEST, "10.0.0.9", target))
            self.assertEqual(found, {"inRequests": 1, "inOthers": 1}, target)

    def test_anotherVLAN(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        self.assertEqual(self.counters(ethernetFrame(PEER, LINK_BROADCAST, 0x0806, data[14:], vlan=7)), {})

    def test_anotherStation(self) -> None:
        self.assertEqual(self.counters(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", dest=OTHER)), {})

    def test_wrongHardwareProtocolLengthOrOpcode(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        for at, octet in ((15, 6), (16, 0x86), (18, 8), (19, 16), (21, 0), (21, 3)):
            wrong = data[:at] + bytes((octet,)) + data[at + 1 :]
            self.assertEqual(self.counters(wrong), {"inErrors": 1}, at)

    def test_truncated(self) -> None:
        data = arpFrame(REQUEST, "10.0.0.1", "10.0.0.2")
        for length in range(14, len(data)):
            self.assertEqual(self.counters(data[:length]), {"inErrors": 1})

    def test_senderThatIsAGroupOfStations(self) -> None:
        for link in (LINK_BROADCAST, GROUP, bytes(6)):
            found = self.counters(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", senderLink=link))
            self.assertEqual(found, {"inErrors": 1})

    def test_frameFromAGroupOfStations(self) -> None:
        for link in (LINK_BROADCAST, GROUP, bytes(6)):
            found = self.counters(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2", source=link))
            self.assertEqual(found, {"inErrors": 1})

    def test_senderWhoseAddressIsNoHosts(self) -> None:
        for sender in ("10.0.0.255", "255.255.255.255", "224.0.0.1", "127.0.0.1"):
            found = self.counters(arpFrame(REQUEST, sender, "10.0.0.2"))
            self.assertEqual(found, {"inRequests": 1, "inErrors": 1}, sender)
            self.assertEqual(self.host.neighbours.entries, {})

    def test_replyToAQuestionNeverAsked(self) -> None:
        found = self.counters(arpFrame(REPLY, "10.0.0.1", "10.0.0.2", dest=OWN, targetLink=OWN))
        self.assertEqual((found, self.host.neighbours.entries), ({"inReplies": 1}, {}))


class ConflictTests(ARPTestCase):
    def test_claimIsDefended(self) -> None:
        for opcode in (REQUEST, REPLY):
            self.wait(10)
            sent = arps(self.receive(arpFrame(opcode, "10.0.0.2", "10.0.0.2")))
            self.assertEqual(sent, [(LINK_BROADCAST, ARP(REQUEST, OWN, OURS, bytes(6), OURS))])

    def test_claimInARequestForAnother(self) -> None:
        sent = arps(self.receive(arpFrame(REQUEST, "10.0.0.2", "10.0.0.9")))
        self.assertEqual(sent, [(LINK_BROADCAST, ARP(REQUEST, OWN, OURS, bytes(6), OURS))])

    def test_defendedOnceInTenSeconds(self) -> None:
        sent = []
        for _ in range(40):
            sent += self.receive(arpFrame(REPLY, "10.0.0.2", "10.0.0.2"))
            self.clock.advance(0.25)
        self.assertEqual(len(sent), 1)
        self.assertEqual(len(self.receive(arpFrame(REPLY, "10.0.0.2", "10.0.0.2"))), 1)

    def test_claimantIsNoNeighbour(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.2", "10.0.0.3"))
        self.assertEqual(self.host.neighbours.entries, {})

    def test_ourOwnComeBack(self) -> None:
        found = self.counters(arpFrame(REQUEST, "10.0.0.2", "10.0.0.2", senderLink=OWN, source=OWN))
        self.assertEqual(found, {"inRequests": 1})


class NetworkTests(ARPTestCase):
    """
    Networks of ours that are answered for.
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
        Have a station ask for an address.
        """
        asked = arpFrame(REQUEST, sender, target, station, source=station)
        return [packet.sender for _, packet in arps(self.receive(asked))] == [packAddress(target)]

    def test_request(self) -> None:
        for target in ("10.0.0.3", "10.0.3.4", "10.0.255.254"):
            packed = packAddress(target)
            sent = arps(self.receive(arpFrame(REQUEST, "10.0.0.1", target)))
            self.assertEqual(sent, [(PEER, ARP(REPLY, OWN, packed, PEER, THEIRS))])
        self.assertEqual(self.host.arp.counters, {"inRequests": 3, "outAnyReplies": 3})

    def test_unicastRequest(self) -> None:
        self.assertEqual(len(self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.3.4", dest=OWN))), 1)

    def test_othersAreNot(self) -> None:
        for target in ("10.1.0.1", "11.0.0.1", "10.0.7.7", "10.0.8.9", "10.0.0.255", "255.255.255.255", NOBODY):
            self.assertFalse(self.answered(target), target)

    def test_ownAddressIsAsEver(self) -> None:
        self.assertTrue(self.answered("10.0.0.2"))
        self.assertEqual(len(self.receive(arpFrame(REQUEST, NOBODY, "10.0.0.2"))), 1)
        self.assertEqual(self.host.arp.counters["outReplies"], 2)

    def test_nextHopIsNot(self) -> None:
        self.assertFalse(self.answered("10.0.0.254"))
        self.host.addRoute("192.168.0.0/16", "10.0.3.4")
        self.assertFalse(self.answered("10.0.3.4"))

    def test_probeIsNot(self) -> None:
        self.assertFalse(self.answered(sender=NOBODY))

    def test_whoProbesHasItNext(self) -> None:
        self.answered(sender=NOBODY, station=OTHER)
        self.assertFalse(self.answered())
        self.assertEqual(self.host.neighbours.entries[packAddress("10.0.3.4")].station, OTHER)

    def test_probesForOtherAddressesAreNotRemembered(self) -> None:
        for target in ("10.0.0.2", "10.0.7.7", "10.1.0.1"):
            self.answered(target, NOBODY, OTHER)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_announcementIsNotAndIsRemembered(self) -> None:
        for opcode in (REQUEST, REPLY):
            self.make("10.0.0.2/24", anyAddresses=["10.0.0.0/16"], answerFor=["10.0.0.0/16"])
            claim = arpFrame(opcode, "10.0.3.4", "10.0.3.4", OTHER, source=OTHER)
            self.assertEqual(self.receive(claim), [])
            self.assertFalse(self.answered())

    def test_whoAsksForAnotherIsRemembered(self) -> None:
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        self.assertFalse(self.answered())

    def test_answerToUsThatWasNotAskedForIsRemembered(self) -> None:
        self.receive(arpFrame(REPLY, "10.0.3.4", "10.0.0.2", OTHER, dest=OWN, source=OTHER, targetLink=OWN))
        self.assertFalse(self.answered())

    def test_repliesToOthersAreNone(self) -> None:
        self.receive(arpFrame(REPLY, "10.1.0.1", "10.0.3.4"))
        self.assertEqual(self.host.arp.counters, {"inReplies": 1, "inOthers": 1})

    def test_whoIsOutsideIsNotRemembered(self) -> None:
        for sender in ("10.0.7.7", "10.1.0.1"):
            self.answered("10.9.9.9", sender, OTHER)
        self.assertEqual(self.host.neighbours.entries, {})

    def test_stationEnteredIsNot(self) -> None:
        self.know("10.0.3.4", OTHER)
        self.assertFalse(self.answered())

    def test_addressBeingAskedForIsNot(self) -> None:
        self.host.ip.write(b"payload", "10.0.0.77", 253)
        self.assertFalse(self.answered("10.0.0.77"))
        self.wait(10)
        self.assertTrue(self.answered("10.0.0.77"))

    def test_lookingDoesNotTouchTheNeighbour(self) -> None:
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        self.answered("10.9.9.9", "10.0.3.5", OTHER)
        self.answered("10.0.3.4", NOBODY)
        self.answered("10.0.3.4", "10.7.0.1")
        entries = self.host.neighbours.entries
        self.assertEqual(list(entries)[:2], [packAddress("10.0.3.4"), packAddress("10.0.3.5")])
        self.assertEqual(entries[packAddress("10.0.3.5")].state, neighbours.STALE)

    def test_whoeverIsToHaveItIsAskedAfter(self) -> None:
        # One forged packet must not have us be silent for ever.
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        self.assertFalse(self.answered())
        asked = [packet for _, packet in arps(self.wait(10)) if packet.target == packAddress("10.0.3.4")]
        self.assertEqual(len(asked), neighbours.TRIES)
        self.assertTrue(self.answered())

    def test_whoeverReallyHasItKeepsIt(self) -> None:
        self.answered("10.9.9.9", "10.0.3.4", OTHER)
        for _ in range(100):
            self.assertFalse(self.answered())
            for _, asked in arps(self.wait(1)):
                if asked.target == packAddress("10.0.3.4"):
                    asker = addressText(asked.sender)
                    self.receive(arpFrame(REPLY, "10.0.3.4", asker, OTHER, OWN, OTHER, targetLink=OWN))

    def test_nobodyElsesClaimIsContested(self) -> None:
        for opcode in (REQUEST, REPLY):
            self.assertEqual(self.receive(arpFrame(opcode, "10.0.3.4", "10.0.3.4", OTHER, source=OTHER)), [])
        self.assertEqual(self.host.arp.counters["inConflicts"], 0)

    def test_theyAreNotProbedFor(self) -> None:
        self.make(settle=False, anyAddresses=["10.0.0.0/8"], answerFor=["10.0.0.0/16"])
        self.assertEqual({packet.target for _, packet in arps(self.wait(10))}, {OURS})

    def test_ourAnswerComesBack(self) -> None:
        (sent,) = self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.3.4"))
        self.receive(sent, LINK_BROADCAST + sent[6:])
        self.assertTrue(self.answered())

    def test_noMoreAreRememberedThanFit(self) -> None:
        for index in range(2 * neighbours.MAX_ENTRIES):
            self.answered("10.9.9.9", f"10.0.{100 + index // 250}.{1 + index % 250}", OTHER)
        self.assertEqual(len(self.host.neighbours.entries), neighbours.MAX_ENTRIES)
        self.assertFalse(self.answered(f"10.0.{100 + index // 250}.{1 + index % 250}"))


class QuestionTests(ARPTestCase):
    def write(self, dest: str = "10.0.0.1") -> list[bytes]:
        before = len(self.device.sent)
        self.host.ip.write(b"payload", dest, 253)
        return self.device.sent[before:]

    def test_question(self) -> None:
        sent = arps(self.write())
        self.assertEqual(sent, [(LINK_BROADCAST, ARP(REQUEST, OWN, OURS, bytes(6), THEIRS))])

    def test_questionLeavesFromAnAddressOfItsNetwork(self) -> None:
        self.host.addAddress("192.168.0.2/24")
        ((_, packet),) = arps(self.write("192.168.0.1"))
        self.assertEqual(packet.sender, packAddress("192.168.0.2"))

    def test_answer(self) -> None:
        self.write()
        (sent,) = self.receive(arpFrame(REPLY, "10.0.0.1", "10.0.0.2", dest=OWN, targetLink=OWN))
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))
        self.assertEqual(self.host.neighbours.entries[THEIRS].state, neighbours.REACHABLE)

    def test_answerToEverybodyIsNotTakenForGranted(self) -> None:
        self.write()
        self.assertEqual(len(self.receive(arpFrame(REPLY, "10.0.0.1", "10.0.0.2", targetLink=OWN))), 1)
        self.assertEqual(self.host.neighbours.entries[THEIRS].state, neighbours.STALE)

    def test_whoAsksForUsNeedNotBeAskedFor(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        (sent,) = self.write()
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))

    def test_whoAsksForAnotherIsNotRemembered(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.9"))
        self.assertEqual(self.host.neighbours.entries, {})

    def test_unaskedReplyReplacesNothing(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        forged = arpFrame(REPLY, "10.0.0.1", "10.0.0.2", senderLink=OTHER, dest=OWN, targetLink=OWN)
        self.receive(forged)
        self.assertEqual(self.write()[-1][:6], PEER)

    def test_everyKnownStationIsAskedByItself(self) -> None:
        self.receive(arpFrame(REQUEST, "10.0.0.1", "10.0.0.2"))
        self.write()
        self.assertEqual(arps(self.wait(5)), [(PEER, ARP(REQUEST, OWN, OURS, bytes(6), THEIRS))])

    def test_nothingGoesAboveARP(self) -> None:
        self.assertFalse(hasattr(self.host.arp, "addProto"))

    def test_answersNeedNoQuestion(self) -> None:
        self.host.listenUDP(7, Echo())
        (sent,) = self.receive(frame(udpPacket("10.0.0.1", "10.0.0.2", 1, 7, b"payload")))
        self.assertEqual((sent[:6], sent[-7:]), (PEER, b"payload"))
