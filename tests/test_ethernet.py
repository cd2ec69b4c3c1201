"""
Tests for the Ethernet layer, L{txtuntap.ethernet}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.ports import RecordingPort
from tests.recorders import PacketRecorder
from txtuntap import EthernetProtocol, Packet
from txtuntap.ethernet import VLAN, EthernetHeader, randomLinkAddress, replySource
from txtuntap.interfaces import IEthernetProtocol, IEthernetTransport, IPacketReceiver
from txtuntap.testing import ethernetFrame
from txtuntap.wire import ethernet as wire

TYPE = 0x88B5
OWN = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
OTHER = b"\x02\0\0\0\0\x03"
GROUP = b"\x01\0\x5e\0\0\x01"
EVERYBODY = b"\xff" * 6


def frame(
    payload: bytes = b"payload",
    etherType: int = TYPE,
    dest: bytes = OWN,
    source: bytes = PEER,
    vlan: int | None = None,
) -> bytes:
    return ethernetFrame(source, dest, etherType, payload, vlan)


def tagged(*tags: tuple[int, int], etherType: int = TYPE) -> bytes:
    """
    Make a frame with tags of any kind.

    @param tags: the EtherType and the 16 bits of control information of each tag.
    """
    return OWN + PEER + b"".join(wire.TAG.pack(*tag) for tag in tags) + etherType.to_bytes(2, "big") + b"payload"


class UpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ethernet = EthernetProtocol()
        self.proto = PacketRecorder()
        self.ethernet.addProto(TYPE, self.proto)

    def receive(self, data: bytes) -> dict[str, int]:
        """
        Let the layer receive a frame.

        @return: the counters of the layer.
        """
        self.ethernet.packetReceived(Packet(data))
        return dict(self.ethernet.counters)

    def test_theLayerProvidesItsInterfaces(self) -> None:
        for interface in (IEthernetProtocol, IPacketReceiver, IEthernetTransport):
            self.assertTrue(verifyObject(interface, self.ethernet))

    def test_headerClassIsPublic(self) -> None:
        self.assertIs(EthernetHeader, wire.EthernetHeader)

    def test_aFrameIsDeliveredByItsEtherType(self) -> None:
        other = PacketRecorder()
        self.ethernet.addProto(TYPE + 1, other)
        self.assertEqual(self.receive(frame()), {})
        self.assertEqual((len(self.proto.packets), len(other.packets)), (1, 0))

    def test_theLayerRecordsPositionsAndStations(self) -> None:
        self.ethernet.packetReceived(Packet(b"--" + frame(), start=2))
        (packet,) = self.proto.packets
        self.assertEqual((packet.link, packet.start, bytes(packet)), (2, 16, b"payload"))
        self.assertEqual((packet.etherType, packet.ethernet), (TYPE, self.ethernet))
        self.assertEqual((packet.linkDest, packet.linkSource), (OWN, PEER))

    def test_aFrameWithoutPayloadIsDelivered(self) -> None:
        self.assertEqual(self.receive(frame(b"")), {})
        self.assertEqual(self.proto.data, [b""])

    def test_aFrameShorterThanItsHeaderIsCounted(self) -> None:
        self.assertEqual(self.receive(frame(b"")[:-1]), {"inErrors": 1})

    def test_unknownTypeIsCounted(self) -> None:
        self.assertEqual(self.receive(frame(etherType=TYPE + 1)), {"inUnknownProtos": 1})

    def test_aRemovedProtocolReceivesNothing(self) -> None:
        self.ethernet.removeProto(TYPE, self.proto)
        self.assertEqual(self.receive(frame()), {"inUnknownProtos": 1})
        self.assertEqual(self.ethernet.etherProtos, {})

    def test_lengthInPlaceOfATypeIsCounted(self) -> None:
        for length in (0, 46, 1500, 1501, 0x05FF):
            self.ethernet.counters.clear()
            self.assertEqual(self.receive(frame(etherType=length)), {"inLengthFrames": 1})

    def test_lengthIsNeverMistakenForAnEtherType(self) -> None:
        proto = PacketRecorder()
        self.ethernet.addProto(46, proto)
        self.flushWarnings()
        self.assertEqual(self.receive(frame(bytes(46), etherType=46)), {"inLengthFrames": 1})
        self.assertEqual(proto.packets, [])

    def test_theLeastEtherTypeIsDelivered(self) -> None:
        proto = PacketRecorder()
        self.ethernet.addProto(0x0600, proto)
        self.assertEqual(self.flushWarnings(), [])
        self.assertEqual(self.receive(frame(etherType=0x0600)), {})
        self.assertEqual(len(proto.packets), 1)

    def test_datagramReceivedDeliversAsInTwistedPair(self) -> None:
        self.ethernet.datagramReceived(frame(), partial=1)
        (packet,) = self.proto.packets
        self.assertEqual((bytes(packet), packet.partial), (b"payload", True))


class AddressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ethernet = EthernetProtocol("02:00:00:00:00:01")
        self.proto = PacketRecorder()
        self.ethernet.addProto(TYPE, self.proto)

    def test_framesToTheOwnAddressGroupsAndBroadcastAreDelivered(self) -> None:
        for dest in (OWN, GROUP, EVERYBODY):
            self.ethernet.packetReceived(Packet(frame(dest=dest)))
        self.assertEqual(len(self.proto.packets), 3)

    def test_framesToOtherStationsAreCounted(self) -> None:
        self.ethernet.packetReceived(Packet(frame(dest=OTHER)))
        self.assertEqual((self.proto.packets, self.ethernet.counters), ([], {"inOtherHosts": 1}))

    def test_withoutAnAddressEverythingIsDelivered(self) -> None:
        ethernet = EthernetProtocol()
        ethernet.addProto(TYPE, self.proto)
        ethernet.packetReceived(Packet(frame(dest=OTHER)))
        self.assertEqual(len(self.proto.packets), 1)

    def test_theAddressIsTheSourceOfFrames(self) -> None:
        self.assertEqual((self.ethernet.address, self.ethernet.linkAddress), (OWN, OWN))

    def test_withoutAnAddressTheLinkAddressIsRandom(self) -> None:
        self.assertEqual(len({EthernetProtocol().linkAddress for _ in range(8)}), 8)
        self.assertIsNone(EthernetProtocol().address)

    def test_anInvalidAddressIsAValueError(self) -> None:
        self.assertRaises(ValueError, EthernetProtocol, "here")

    def test_aGroupAddressIsAValueError(self) -> None:
        for group in (GROUP, EVERYBODY):
            with self.assertRaises(ValueError) as raised:
                EthernetProtocol(group)
            self.assertIn("group", str(raised.exception))


class VLANTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ethernet = EthernetProtocol()
        self.untagged, self.inFive = PacketRecorder(), PacketRecorder()
        self.ethernet.addProto(TYPE, self.untagged)
        self.ethernet.addProto(TYPE, self.inFive, vlan=5)

    def receive(self, data: bytes) -> tuple[int, int, dict[str, int]]:
        """
        Let the layer receive a frame.

        @return: the number of packets delivered without a tag, the number delivered in VLAN 5, and the counters.
        """
        self.ethernet.packetReceived(Packet(data))
        return len(self.untagged.packets), len(self.inFive.packets), dict(self.ethernet.counters)

    def test_aTaggedFrameReachesItsVLANOnly(self) -> None:
        self.assertEqual(self.receive(frame(vlan=5)), (0, 1, {}))

    def test_anUntaggedFrameReachesNoVLAN(self) -> None:
        self.assertEqual(self.receive(frame()), (1, 0, {}))

    def test_aPriorityTagCountsAsNoTag(self) -> None:
        self.assertEqual(self.receive(tagged((0x8100, 0xE000))), (1, 0, {}))

    def test_priorityBitsAreNotPartOfTheVLANNumber(self) -> None:
        self.assertEqual(self.receive(tagged((0x8100, 0xF005))), (0, 1, {}))

    def test_theTagIsNotPartOfThePayload(self) -> None:
        self.receive(frame(vlan=5))
        (packet,) = self.inFive.packets
        self.assertEqual((bytes(packet), packet.etherType, packet.link), (b"payload", TYPE, 0))

    def test_aFrameOfAnotherVLANIsCounted(self) -> None:
        self.assertEqual(self.receive(frame(vlan=6)), (0, 0, {"inVlans": 1}))

    def test_unknownTypeInAVLANIsCounted(self) -> None:
        self.assertEqual(self.receive(frame(vlan=5, etherType=TYPE + 1)), (0, 0, {"inUnknownProtos": 1}))

    def test_lengthBehindATagIsCounted(self) -> None:
        self.assertEqual(self.receive(frame(vlan=5, etherType=46)), (0, 0, {"inLengthFrames": 1}))

    def test_aTagThatIsCutShortIsCounted(self) -> None:
        for length in range(14, 18):
            self.ethernet.counters.clear()
            self.assertEqual(self.receive(frame(vlan=5)[:length]), (0, 0, {"inErrors": 1}))

    def test_aPriorityTagBeforeTheVLANTagIsSkipped(self) -> None:
        self.assertEqual(self.receive(tagged((0x8100, 0), (0x8100, 5))), (0, 1, {}))
        self.assertEqual(self.receive(tagged((0x88A8, 0), (0x8100, 5))), (0, 2, {}))

    def test_stackedVLANsAreCounted(self) -> None:
        self.assertEqual(self.receive(tagged((0x8100, 5), (0x8100, 5))), (0, 0, {"inVlans": 1}))

    def test_serviceVLANIsCounted(self) -> None:
        self.assertEqual(self.receive(tagged((0x88A8, 5))), (0, 0, {"inVlans": 1}))

    def test_aFrameWithThreeTagsIsCounted(self) -> None:
        self.assertEqual(self.receive(tagged(*[(0x8100, 0)] * 2)), (1, 0, {}))
        self.assertEqual(self.receive(tagged(*[(0x8100, 0)] * 3)), (1, 0, {"inVlans": 1}))

    def test_numbersOutOfRangeAreAValueError(self) -> None:
        for vlan in (-1, 0, 4095, 4096):
            with self.assertRaises(ValueError) as raised:
                self.ethernet.addProto(TYPE, PacketRecorder(), vlan=vlan)
            self.assertIn(str(vlan), str(raised.exception))

    def test_theGreatestVLANNumberIsAccepted(self) -> None:
        proto = PacketRecorder()
        self.ethernet.addProto(TYPE, proto, vlan=4094)
        self.receive(frame(vlan=4094))
        self.assertEqual(len(proto.packets), 1)

    def test_aRemovedProtocolReceivesNothing(self) -> None:
        self.ethernet.removeProto(TYPE, self.inFive, vlan=5)
        self.assertEqual(self.receive(frame(vlan=5)), (0, 0, {"inVlans": 1}))

    def test_removingFromAnUnknownVLANIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            self.ethernet.removeProto(TYPE, self.inFive, vlan=6)
        self.assertIn("vlan=6", str(raised.exception))

    def test_removingFromTheWrongVLANIsAValueError(self) -> None:
        self.assertRaises(ValueError, self.ethernet.removeProto, TYPE, self.inFive)
        self.assertRaises(ValueError, self.ethernet.removeProto, TYPE, self.untagged, vlan=5)

    def test_failedStartLeavesNoVLANBehind(self) -> None:
        class Failing(PacketRecorder):
            def startProtocol(self) -> None:
                raise ZeroDivisionError

        port: Any = RecordingPort(1400)
        self.ethernet.makeConnection(port)
        self.assertRaises(ZeroDivisionError, self.ethernet.addProto, TYPE, Failing(), vlan=6)
        self.assertEqual(self.receive(frame(vlan=6)), (0, 0, {"inVlans": 1}))


class AddProtoTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ethernet = EthernetProtocol()

    def test_protocolsAreListedByNumber(self) -> None:
        first, second = PacketRecorder(), PacketRecorder()
        self.ethernet.addProto(TYPE, first)
        self.ethernet.addProto(TYPE, second)
        self.assertEqual(self.ethernet.etherProtos, {TYPE: [first, second]})

    def test_numberMustFitSixteenBits(self) -> None:
        self.ethernet.addProto(0xFFFF, PacketRecorder())
        with self.assertRaises(TypeError) as raised:
            self.ethernet.addProto(0x10000, PacketRecorder())
        self.assertIn("16 bits", str(raised.exception))

    def test_numberMustNotBeNegative(self) -> None:
        with self.assertRaises(TypeError) as raised:
            self.ethernet.addProto(-1, PacketRecorder())
        self.assertIn("positive", str(raised.exception))

    def test_numberMustBeANumber(self) -> None:
        number: Any = "ip"
        with self.assertRaises(TypeError) as raised:
            self.ethernet.addProto(number, PacketRecorder())
        self.assertIn("'ip'", str(raised.exception))

    def test_aProtocolWithoutTheInterfaceIsATypeError(self) -> None:
        self.assertRaises(TypeError, self.ethernet.addProto, TYPE, object())

    def test_afterAnErrorNothingIsAdded(self) -> None:
        proto = PacketRecorder()
        self.assertRaises(TypeError, self.ethernet.addProto, 0x10000, proto)
        self.assertRaises(ValueError, self.ethernet.addProto, TYPE, proto, vlan=0)
        self.assertEqual(self.ethernet.etherProtos, {})

    def test_addingUnderALengthGivesAWarning(self) -> None:
        self.ethernet.addProto(0x05FF, PacketRecorder())
        (warning,) = self.flushWarnings([AddProtoTests.test_addingUnderALengthGivesAWarning])
        self.assertIn("802.3", warning["message"])


class DownTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.port = RecordingPort(1400)
        self.ethernet = EthernetProtocol(OWN)
        self.proto = PacketRecorder()
        self.ethernet.addProto(TYPE, self.proto)
        bottom: Any = self.port
        self.ethernet.makeConnection(bottom)

    def test_frameLeavesFromOurAddress(self) -> None:
        self.proto.transport.write(b"payload", PEER, TYPE)
        self.assertEqual(self.port.sent, [frame(dest=PEER, source=OWN)])

    def test_stationMayBeText(self) -> None:
        self.proto.transport.write(b"payload", "02:00:00:00:00:02", TYPE)
        self.assertEqual(self.port.sent, [frame(dest=PEER, source=OWN)])

    def test_framesSentIntoAVLANAreTagged(self) -> None:
        proto = PacketRecorder()
        self.ethernet.addProto(TYPE, proto, vlan=5)
        self.assertTrue(verifyObject(IEthernetTransport, proto.transport))
        self.assertIsInstance(proto.transport, VLAN)
        proto.transport.write(b"payload", PEER, TYPE)
        self.assertEqual(self.port.sent, [frame(dest=PEER, source=OWN, vlan=5)])

    def test_writingToAnInvalidStationIsAValueError(self) -> None:
        self.assertRaises(ValueError, self.ethernet.write, b"", "10.0.0.1", TYPE)

    def test_writingAnInvalidEtherTypeIsAValueError(self) -> None:
        for etherType in (-1, 0, 0x05FF, 0x10000):
            with self.assertRaises(ValueError) as raised:
                self.ethernet.write(b"", PEER, etherType)
            self.assertIn(str(etherType), str(raised.exception))
        self.assertEqual(self.port.sent, [])

    def test_writingOnNoPortIsARuntimeError(self) -> None:
        with self.assertRaises(RuntimeError) as raised:
            EthernetProtocol().write(b"", PEER, TYPE)
        self.assertIn("TuntapPort", str(raised.exception))

    def test_writeFrameOnNoPortIsCounted(self) -> None:
        ethernet = EthernetProtocol()
        ethernet.writeFrame([b"payload"], PEER, TYPE)
        self.assertEqual(ethernet.counters, {"outDiscards": 1})

    def test_writeFrameMayNameSourceAndPort(self) -> None:
        other = RecordingPort(1400)
        self.ethernet.writeFrame([b"pay", b"load"], PEER, TYPE, source=OTHER, port=other)
        self.assertEqual((self.port.sent, other.sent), ([], [frame(dest=PEER, source=OTHER)]))

    def test_mtuAndAddressAreThoseOfTheLink(self) -> None:
        self.ethernet.addProto(TYPE, self.proto, vlan=5)
        vlan = VLAN(self.ethernet, 5)
        self.assertEqual((self.ethernet.mtu, vlan.mtu), (1400, 1400))
        self.assertEqual(vlan.linkAddress, OWN)

    def test_theMTUOnNoPortIs1500(self) -> None:
        self.assertEqual(EthernetProtocol().mtu, 1500)


class AnswerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.port, self.other = RecordingPort(1400), RecordingPort(1400)
        self.ethernet = EthernetProtocol()
        bottom: Any = self.port
        self.ethernet.makeConnection(bottom)
        self.own = self.ethernet.linkAddress

    def answer(self, dest: bytes, to: bytes = PEER, port: RecordingPort | None = None, vlan: int | None = None) -> None:
        """
        Let the layer receive a frame from C{PEER} to C{dest}, and write to C{to} during its delivery.
        """
        proto = PacketRecorder(then=lambda _: proto.transport.write(b"answer", to, TYPE))
        self.ethernet.addProto(TYPE, proto, vlan=vlan)
        self.ethernet.packetReceived(Packet(frame(dest=dest, vlan=vlan), port=port or self.port))

    def test_anAnswerHasTheAskedStationAsItsSource(self) -> None:
        self.answer(OTHER)
        self.assertEqual(self.port.sent, [frame(b"answer", dest=PEER, source=OTHER)])

    def test_anAnswerNeverHasAGroupAsItsSource(self) -> None:
        for group in (GROUP, EVERYBODY):
            self.answer(group)
            self.assertEqual(self.port.sent[-1], frame(b"answer", dest=PEER, source=self.own))

    def test_anAnswerLeavesByThePortOfTheQuestion(self) -> None:
        self.answer(OWN, port=self.other)
        self.assertEqual((len(self.port.sent), len(self.other.sent)), (0, 1))

    def test_aFrameToAnotherStationIsNotAnAnswer(self) -> None:
        self.answer(OWN, to=OTHER, port=self.other)
        self.assertEqual(self.port.sent, [frame(b"answer", dest=OTHER, source=self.own)])

    def test_answerIntoAVLANIsTagged(self) -> None:
        self.answer(OTHER, vlan=5)
        self.assertEqual(self.port.sent, [frame(b"answer", dest=PEER, source=OTHER, vlan=5)])

    def test_protocolWithAndWithoutVLANAnswersWhereItWasAsked(self) -> None:
        proto = PacketRecorder(then=lambda _: proto.packets[-1].ethernet.write(b"answer", PEER, TYPE))  # type: ignore[union-attr]
        self.ethernet.addProto(TYPE, proto)
        self.ethernet.addProto(TYPE, proto, vlan=5)
        self.ethernet.packetReceived(Packet(frame(vlan=5), port=self.port))
        self.assertEqual(self.port.sent, [frame(b"answer", dest=PEER, source=OWN, vlan=5)])

    def test_replySourceIsTheAskedStationUnlessThatIsAGroup(self) -> None:
        proto = PacketRecorder()
        self.ethernet.addProto(TYPE, proto)
        for dest, source in ((OTHER, OTHER), (GROUP, None), (EVERYBODY, None)):
            self.ethernet.packetReceived(Packet(frame(dest=dest)))
            self.assertEqual(replySource(proto.packets.pop()), source)
        self.assertIsNone(replySource(Packet(frame())), "there is no link layer")


class RandomLinkAddressTests(SynchronousTestCase):
    def test_aRandomAddressIsUnicastAndLocallyAdministered(self) -> None:
        for _ in range(16):
            address = randomLinkAddress()
            self.assertEqual((len(address), address[0] & 3), (6, 2))

    def test_randomAddressesDiffer(self) -> None:
        self.assertEqual(len({randomLinkAddress() for _ in range(16)}), 16)
