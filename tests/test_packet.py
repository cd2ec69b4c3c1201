"""
Tests for packets, L{txtuntap.packet}.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import RecordingPort
from tests.recorders import PacketRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet
from txtuntap.packet import Reassembled, UnfinishableError
from txtuntap.testing import ethernetFrame, ipPacket, udpPacket
from txtuntap.wire.fault import Fault
from txtuntap.wire.offload import NEEDS_CHECKSUM, Offload

STATION = "02:00:00:00:00:01"
OTHER = "02:00:00:00:00:02"

#: The names of all properties of a packet.
PROPERTIES = [name for name, value in vars(Packet).items() if isinstance(value, property)]


class FramePort(RecordingPort):
    """
    A port without a device whose packets are Ethernet frames.
    """

    ethernet = 1


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

    def test_reprReadsLikeALineOfTcpdump(self) -> None:
        data = udpPacket("10.0.0.1", "10.0.0.2", 5353, 53, bytes(32))
        line = "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 32"
        self.assertEqual(repr(Packet(data)), line)
        self.assertEqual(str(Packet(b"abc" + data, 3)), line)
        self.assertEqual(repr(Packet(data, partial=True)), line + ", partial")
        self.assertEqual(repr(Packet(b"")), "unknown, length 0")

    def test_reprIsTheSameAtEachLayer(self) -> None:
        line = "vlan 10, IP 10.0.0.1.5353 > 10.0.0.2.7: UDP, length 5"
        data = udpPacket("10.0.0.1", "10.0.0.2", 5353, 7, b"hello")
        lines: list[str] = []
        recorder = PacketRecorder(then=lambda packet: lines.append(repr(packet)))
        ethernet, ip = EthernetProtocol(), IPProtocol()
        for number in range(256):
            ip.addProto(number, recorder)
        for proto in recorder, ip:
            ethernet.addProto(0x0800, proto, vlan=10)
        packet = Packet(ethernetFrame(STATION, OTHER, 0x8100, b"\0\x0a\x08\0" + data))
        lines.append(repr(packet))
        ethernet.packetReceived(packet)
        self.assertEqual(lines, 3 * [line])


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
    Tests for the method L{Packet.finished}. L{tests.offload} tests its results.
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

    def test_aFrameThatNoLayerHasReadHasItsProperties(self) -> None:
        for tag in b"", b"\x81\0\0\x0a":
            data = ethernetFrame(STATION, OTHER, 0x0800, ipPacket("10.0.0.1", "10.0.0.2", 17, b"", hopLimit=9, tos=3))
            data = data[:12] + tag + data[12:]
            for packet in Packet(data), Packet(bytes(3) + data, 3), Packet(data, port=FramePort()):
                self.assertEqual((packet.source, packet.dest, packet.protocol), ("10.0.0.1", "10.0.0.2", 17))
                self.assertEqual((packet.version, packet.hopLimit, packet.trafficClass), (4, 9, 3))
                self.assertEqual((packet.linkSource, packet.linkDest), (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"))
                self.assertEqual(packet.etherType, 0x0800)

    def test_thePortTellsWhetherAPacketIsAFrame(self) -> None:
        # The destination of this frame looks like the start of an IPv4 packet of the same length.
        frame = ethernetFrame(STATION, "45:00:00:2e:00:00", 0x0800, bytes(32))
        self.assertEqual(Packet(frame).version, 4)
        self.assertEqual(Packet(frame, port=FramePort()).version, 0)
        self.assertEqual(Packet(frame, port=FramePort()).linkSource, b"\2\0\0\0\0\1")
        self.assertEqual(Packet(frame, port=RecordingPort()).linkSource, None)

    def test_theEtherTypeOfTheDeviceTellsThatAPacketIsNoFrame(self) -> None:
        data = ipPacket("10.0.0.1", "10.0.0.2", 17, b"payload")
        packet = Packet(b"\0\0\x08\0" + data, 4, etherType=0x0800)
        self.assertEqual((packet.source, packet.etherType, packet.linkSource), ("10.0.0.1", 0x0800, None))
        self.assertEqual(repr(packet), "IP 10.0.0.1 > 10.0.0.2: UDP, truncated, length 7")

    def test_theProtocolIsBehindExtensionHeadersAndInFragments(self) -> None:
        options = bytes((44, 0, 1, 4, 0, 0, 0, 0))
        for fragment, expected in ((0, 17), (1448, 17), (1449, 17)):
            header = bytes((17, 0)) + fragment.to_bytes(2, "big") + bytes(4)
            self.assertEqual(Packet(ipPacket("fd00::1", "fd00::2", 60, options + header + bytes(8))).protocol, expected)
        self.assertEqual(Packet(ipPacket("10.0.0.1", "10.0.0.2", 17, bytes(8), fragment=185)).protocol, 17)
        self.assertIsNone(Packet(ipPacket("fd00::1", "fd00::2", 60, options[:4])).protocol)

    def test_anythingElseHasNoAddresses(self) -> None:
        random = Random(22)
        whole = ethernetFrame(STATION, OTHER, 0x0800, ipPacket("10.0.0.1", "10.0.0.2", 17, b""))
        strange = [b"", bytes(13), b"\x45", bytes(60), whole[:33], *(random.randbytes(14) for _ in range(100))]
        for data in strange:
            for port in None, FramePort(), RecordingPort():
                packet = Packet(data, port=port)
                self.assertEqual((packet.source, packet.dest, packet.protocol), ("", "", None))
                self.assertEqual((packet.sourceAddress, packet.destAddress), (b"", b""))
                self.assertEqual((packet.version, packet.hopLimit, packet.trafficClass), (0, 0, 0))
                self.assertTrue(repr(packet).isprintable())

    def test_noOctetsRaise(self) -> None:
        random = Random(22)
        for _ in range(20_000):
            data = random.choice((b"\x45", b"\x60", bytes(12) + b"\x08\0\x46", b"")) + random.randbytes(
                random.randrange(64)
            )
            packet = Packet(data, random.randrange(4), random.choice((None, FramePort(), RecordingPort())))
            for name in PROPERTIES:
                getattr(packet, name)
            self.assertTrue(repr(packet).isprintable())

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
