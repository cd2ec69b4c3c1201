"""
Tests for packets, L{txtuntap.packet}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import PacketRecorder
from txtuntap import EthernetProtocol, Packet
from txtuntap.packet import Reassembled, UnfinishableError
from txtuntap.testing import ethernetFrame, ipPacket
from txtuntap.wire.fault import Fault
from txtuntap.wire.offload import NEEDS_CHECKSUM, Offload

STATION = "02:00:00:00:00:01"
OTHER = "02:00:00:00:00:02"


class PacketTests(SynchronousTestCase):
    def test_aNewPacketCoversTheWholeBuffer(self) -> None:
        packet = Packet(b"abcdef")
        self.assertEqual((packet.start, packet.end, bytes(packet), len(packet)), (0, 6, b"abcdef", 6))

    def test_bytesAndLengthCoverTheUnreadOctets(self) -> None:
        packet = Packet(b"abcdef", start=2)
        packet.end = 5
        self.assertEqual((bytes(packet), len(packet)), (b"cde", 3))

    def test_emptyPacketIsFalse(self) -> None:
        self.assertFalse(Packet(b"abc", start=3))

    def test_theAttributesHaveDefaults(self) -> None:
        packet = Packet(b"")
        self.assertEqual((packet.time, packet.partial, packet.etherType), (0.0, False, 0))
        self.assertEqual((packet.port, packet.ethernet, packet.ip), (None, None, None))
        self.assertEqual((packet.link, packet.network, packet.transport), (0, 0, 0))

    def test_reprTellsHowMuchIsLeft(self) -> None:
        self.assertEqual(repr(Packet(b"abcdef", start=2)), "<Packet 2:6 of 6 octets>")
        self.assertEqual(repr(Packet(b"abcdef", partial=True)), "<Packet 0:6 of 6 octets partial>")


class CopyTests(SynchronousTestCase):
    def test_copyHasEveryAttribute(self) -> None:
        packet = Packet(b"abcdef")
        others = [name for name in Packet.__slots__ if name != "data"]
        for index, name in enumerate(others):
            setattr(packet, name, index)
        copy = packet.copy()
        self.assertEqual([getattr(copy, name) for name in others], list(range(len(others))))

    def test_aCopyKeepsItsClassOrHasTheGivenOne(self) -> None:
        self.assertTrue(Reassembled(b"abcdef").copy().reassembled)
        self.assertTrue(Packet(b"abcdef").copy(Reassembled).reassembled)
        self.assertFalse(Packet(b"abcdef").copy().reassembled)

    def test_aCopyHasItsOwnPositions(self) -> None:
        packet = Packet(b"abcdef")
        packet.copy().start = 3
        self.assertEqual(packet.start, 0)

    def test_aCopySharesTheBuffer(self) -> None:
        packet = Packet(b"abcdef")
        self.assertIs(packet.copy().data, packet.data)


class FinishedTests(SynchronousTestCase):
    """
    Tests for the method L{Packet.finished}. L{tests.test_offload} tests its results.
    """

    def test_aFinishedPacketIsReturnedItself(self) -> None:
        packet = Packet(b"\x45" + bytes(40))
        self.assertEqual([packet], packet.finished())

    def test_anOffloadThatContradictsThePacketIsAnErrorWithItsFault(self) -> None:
        packet = Packet(b"\x45" + bytes(40))
        for offload, why in (
            (Offload(NEEDS_CHECKSUM, 0, 0, 0, 60000, 6), Fault.OFFLOAD),
            (Offload(NEEDS_CHECKSUM, 99, 0, 10, 20, 6), Fault.UNKNOWN_OFFLOAD),
        ):
            packet.offload = offload
            error = self.assertRaises(UnfinishableError, packet.finished)
            self.assertIs(why, error.fault)
            self.assertEqual(why.value, str(error))
            self.assertIsInstance(error, ValueError)


class HeaderTests(SynchronousTestCase):
    def test_propertiesOfAnIPv4Packet(self) -> None:
        packet = Packet(ipPacket("10.0.0.1", "10.0.0.2", 17, b"", hopLimit=9))
        self.assertEqual((packet.version, packet.hopLimit), (4, 9))
        self.assertEqual((packet.source, packet.dest), ("10.0.0.1", "10.0.0.2"))
        self.assertEqual((packet.sourceAddress, packet.destAddress), (b"\x0a\0\0\x01", b"\x0a\0\0\x02"))

    def test_protocolIsTheNumberOfTheUpperLayer(self) -> None:
        packet = Packet(ipPacket("10.0.0.1", "10.0.0.2", 17, b""))
        self.assertEqual(packet.protocol, 17)
        chain = ipPacket("fd00::1", "fd00::2", 60, bytes((44, 0, 1, 4, 0, 0, 0, 0)) + bytes((17, *bytes(7))))
        packet = Packet(chain)
        for packet.transport, expected in ((40, 60), (48, 44), (56, 17)):
            self.assertEqual(packet.protocol, expected)

    def test_propertiesOfAnIPv6Packet(self) -> None:
        packet = Packet(ipPacket("fd00::1", "fd00::2", 17, b"", hopLimit=9))
        self.assertEqual((packet.version, packet.hopLimit), (6, 9))
        self.assertEqual((packet.source, packet.dest), ("fd00::1", "fd00::2"))
        self.assertEqual(packet.sourceAddress, b"\xfd" + bytes(14) + b"\x01")
        self.assertEqual(packet.destAddress, b"\xfd" + bytes(14) + b"\x02")

    def test_trafficClassIsReadForBothVersions(self) -> None:
        for version, pair in (4, ("10.0.0.1", "10.0.0.2")), (6, ("fd00::1", "fd00::2")):
            for tos in (0, 0x5A, 0xFF):
                packet = Packet(ipPacket(*pair, 17, b"", tos=tos))
                self.assertEqual((packet.version, packet.trafficClass), (version, tos))

    def test_propertiesAreReadFromTheNetworkPosition(self) -> None:
        packet = Packet(bytes(7) + ipPacket("10.0.0.1", "10.0.0.2", 17, b""))
        packet.network = 7
        self.assertEqual((packet.version, packet.source, packet.dest), (4, "10.0.0.1", "10.0.0.2"))

    def test_linkAddressesAreThoseOfTheFrame(self) -> None:
        recorder, ethernet = PacketRecorder(), EthernetProtocol()
        ethernet.addProto(0x88B5, recorder)
        ethernet.packetReceived(Packet(bytes(3) + ethernetFrame(STATION, OTHER, 0x88B5, b""), start=3))
        (packet,) = recorder.packets
        self.assertEqual((packet.linkSource, packet.linkDest), (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"))

    def test_withoutALinkLayerLinkAddressesAreNone(self) -> None:
        packet = Packet(ipPacket("10.0.0.1", "10.0.0.2", 17, b""))
        self.assertIsNone(packet.linkSource)
        self.assertIsNone(packet.linkDest)
