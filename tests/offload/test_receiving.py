"""
Tests for superpackets and open checksums that a port receives, up to the application.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.offload.case import LINK, OWN, PEER, OffloadTestCase
from tests.recorders import CarrierRecorder, PacketRecorder, PairRecorder
from tests.superpackets import udpSuperpacket
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.testing import TAP, ipPacket, udpPacket
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import DATA_VALID, NEEDS_CHECKSUM, NONE, Offload, finish


class UpTests(OffloadTestCase):
    def test_anApplicationReceivesEachDatagramOfASuperpacket(self) -> None:
        self.host()
        for version in 4, 6:
            self.deliver(udpSuperpacket(version, b"first one", b"other one", b"last"))
            expected = [(data, (PEER[version], 4000)) for data in (b"first one", b"other one", b"last")]
            self.assertEqual(self.proto.received, expected)
            self.proto.received.clear()
        self.assertEqual(self.port.counters["inSuperpackets"], 2)
        self.assertEqual(self.port.counters["inPackets"], 6)

    def test_transportPacketIsThePacketOfEachDatagram(self) -> None:
        self.host()
        self.deliver(udpSuperpacket(4, b"first", b"other", b"last"), udpSuperpacket(6, b"more", b"most"))
        self.assertEqual([packet.offload for packet in self.proto.packets], [None] * 5)
        datagrams = [packet.data[packet.transport + 8 : packet.end] for packet in self.proto.packets]
        self.assertEqual(datagrams, [b"first", b"other", b"last", b"more", b"most"])
        self.assertEqual({packet.dest for packet in self.proto.packets}, {OWN[4], OWN[6]})
        self.assertIsNone(self.transport.packet)

    def test_anApplicationThatRaisesReceivesTheOtherDatagrams(self) -> None:
        self.host()
        self.proto.then = lambda *_: 1 / 0
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.proto.data, [b"1", b"2", b"3"])
        self.assertEqual(self._host.udp.counters["protocolFailures"], 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_anApplicationThatStopsListeningReceivesNoMore(self) -> None:
        self.host()
        self.proto.then = lambda *_: self.transport.stopListening()
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.proto.data, [b"1"])
        self.assertEqual(self._host.udp.counters["noPorts"], 2)

    def test_anApplicationThatTakesOverThePortReceivesTheRest(self) -> None:
        self.host()
        successor = CarrierRecorder()

        def handOver(data: bytes, addr: Any) -> None:
            self.transport.stopListening()
            self._host.listenUDP(7, successor)

        self.proto.then = handOver
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual((self.proto.data, successor.data), ([b"1"], [b"2", b"3"]))

    def test_anApplicationThatConnectsToAnotherPeerReceivesNoMore(self) -> None:
        self.host()
        self.proto.then = lambda *_: self.transport.connect(PEER[4], 4001)
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.proto.data, [b"1"])
        self.assertEqual(self._host.udp.counters["noPorts"], 2)

    def test_aReadEndsWithTheSuperpacketThatReachesMaxPackets(self) -> None:
        self.host()
        self.port.maxPackets = 100
        for _ in range(10):
            self.device.deliver(*udpSuperpacket(4, *[b"1"] * 40))
        self.port.doRead()
        self.assertEqual(len(self.proto.data), 120)

    def test_inOctetsCountsTheSegmentsWithTheirHeaders(self) -> None:
        self.host()
        self.deliver(udpSuperpacket(4, b"12345", b"12345", b"1"))
        self.assertEqual(self.port.counters["inOctets"], 3 * 28 + 11)

    def test_anApplicationThatConnectsToTheSenderReceivesTheRest(self) -> None:
        self.host()

        def connect(data: bytes, addr: Any) -> None:
            if data == b"1":
                self.transport.connect(*addr)

        self.proto.then = connect
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.proto.data, [b"1", b"2", b"3"])

    def test_transportPacketIsThatOfTheDatagramAfterTheApplicationConnects(self) -> None:
        self.host()
        payloads: list[bytes] = []

        def connect(data: bytes, addr: Any) -> None:
            if data == b"2":
                self.transport.connect(*addr)
            packet = self.transport.packet
            payloads.append(packet.data[packet.transport + 8 : packet.end])

        self.proto.then = connect
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"), udpSuperpacket(4, b"4", b"5"))
        self.assertEqual(payloads, [b"1", b"2", b"3", b"4", b"5"])

    def test_answersToASuperpacketLeaveFromItsDestinationAfterADatagramToAnotherAddress(self) -> None:
        self.host()
        self._host.addAddress("10.9.0.3/24")
        other = udpPacket(PEER[4], "10.9.0.3", 4000, 7, b"other")

        def nest(data: bytes, addr: Any) -> None:
            if data == b"1":
                self._host.ip.packetReceived(Packet(other, port=self.port))
            self.transport.write(data, tuple(addr))

        self.proto.then = nest
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.proto.data, [b"1", b"other", b"2", b"3"])
        sources = [(Packet(data).source, data[28:]) for data in self.device.sent]
        self.assertEqual(sources, [("10.9.0.3", b"other"), ("10.9.0.3", b"1"), (OWN[4], b"2"), (OWN[4], b"3")])

    def test_anApplicationThatConnectsWithinASuperpacketWithinAnotherReceivesNoMoreOfEither(self) -> None:
        self.host()
        inner, offload = udpSuperpacket(4, b"3", b"4")
        nested = Packet(inner, port=self.port)
        nested.offload = offload

        def nest(data: bytes, addr: Any) -> None:
            if data == b"1":
                self._host.ip.packetReceived(nested)
            elif data == b"3":
                self.transport.connect(PEER[4], 4001)

        self.proto.then = nest
        self.deliver(udpSuperpacket(4, b"1", b"2"))
        self.assertEqual(self.proto.data, [b"1", b"3"])
        self.assertEqual(self._host.udp.counters["noPorts"], 2)

    def test_anApplicationConnectedToAnotherPeerReceivesNothing(self) -> None:
        self.host()
        self.transport.connect(PEER[4], 4001)
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual((self.proto.data, self._host.udp.counters["noPorts"]), ([], 3))

    def test_aSuperpacketToAClosedPortIsAnsweredForItsFirstDatagram(self) -> None:
        self.host()
        self.transport.stopListening()
        self.deliver(udpSuperpacket(4, b"1" * 30, b"2" * 30, b"3"))
        self.assertEqual(self._host.udp.counters["noPorts"], 3)
        # The error quotes the first datagram, because the sender does not know the superpacket.
        quoted = self.device.sent[0][28:]
        self.assertEqual(quoted[28:], b"1" * 30)
        self.assertEqual(int.from_bytes(quoted[2:4], "big"), 58)

    def test_severalApplicationsReceiveEachDatagram(self) -> None:
        ip, udp, other = IPProtocol(), RawUDPProtocol(), CarrierRecorder()
        ip.addProto(17, udp)
        udp.addProto(7, self.proto)
        udp.addProto(7, other)
        self.on(ip)
        self.deliver(udpSuperpacket(6, b"1", b"2", b"3"))
        self.assertEqual([self.proto.data, other.data], [[b"1", b"2", b"3"]] * 2)

    def test_anOpenChecksumIsCompletedAndNotVerified(self) -> None:
        self.host()
        for version in 4, 6:
            packet, offload = udpSuperpacket(version, b"hello")
            self.deliver((packet, replace(offload, type=NONE, size=0)))
        self.assertEqual(self.proto.data, [b"hello"] * 2)
        first = self.proto.packets[0]
        self.assertEqual(bytes(first), b"hello")
        # The packet is the same as on the wire.
        self.assertEqual(first.data, udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"))

    def test_aChecksumThatWasVerifiedIsNotVerifiedAgain(self) -> None:
        self.host()
        data = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")
        self.deliver((data[:26] + b"\1\1" + data[28:], Offload(DATA_VALID)))
        self.assertEqual(self.proto.data, [b"hello"])

    def test_aVerifiedDatagramWithoutChecksumOverIPv6IsDropped(self) -> None:
        self.host()
        data = udpPacket(PEER[6], OWN[6], 4000, 7, b"hello")
        self.deliver((data[:46] + b"\0\0" + data[48:], Offload(DATA_VALID)))
        self.assertEqual((self.proto.data, self._host.udp.counters["inErrors"]), ([], 1))

    def test_aChecksumThatWasNotVerifiedIsVerified(self) -> None:
        self.host()
        data = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")
        self.deliver((data[:26] + b"\1\1" + data[28:], None))
        self.assertEqual((self.proto.data, self._host.udp.counters["inCsumErrors"]), ([], 1))

    def test_anOpenChecksumInsideThePayloadDoesNotVouchForUDP(self) -> None:
        # The open checksum is inside the payload, as in the packet of a tunnel. After its completion, UDP's own
        # checksum is correct in the first packet, and wrong in the second.
        self.host()
        data = udpPacket(PEER[4], OWN[4], 4000, 7, bytes(40))
        offload = Offload(NEEDS_CHECKSUM, NONE, 0, 0, 40, 6)
        self.deliver((data[:60] + b"\1" + data[61:], offload))
        self.assertEqual(self.proto.data, [bytes(18) + b"\xfe\xff" + bytes(12) + b"\1" + bytes(7)])
        self.deliver((data[:30] + b"\1" + data[31:], offload))
        self.assertEqual((len(self.proto.data), self._host.udp.counters["inCsumErrors"]), (1, 1))

    def test_aSuperpacketWithIPOptionsIsDelivered(self) -> None:
        self.host()
        packet, offload = udpSuperpacket(4, b"1", b"2", b"3")
        header = bytearray(packet[:20] + b"\x94\x04\x00\x00")
        header[0] = 0x46
        header[3] += 4
        header[10:12] = b"\0\0"
        header[10:12] = (-onesSum(bytes(header)) % 0xFFFF).to_bytes(2, "big")
        offload = replace(offload, checksumStart=24, headerLength=32)
        self.deliver((bytes(header) + packet[20:], offload))
        self.assertEqual(self.proto.data, [b"1", b"2", b"3"])

    def test_aFragmentWithAnOpenChecksumIsDropped(self) -> None:
        self.host()
        data = ipPacket(PEER[4], OWN[4], 17, bytes(16), fragment=0x2000)
        self.deliver((data, Offload(NEEDS_CHECKSUM, NONE, 0, 0, 20, 6)))
        self.assertEqual(self._host.ip.counters["inOffloadErrors"], 1)

    def test_fragmentsWithVerifiedChecksumsAreReassembled(self) -> None:
        self.host()
        data = udpPacket(PEER[4], OWN[4], 4000, 7, bytes(24))[20:]
        for offset, more in (0, 0x2000), (16, 0):
            piece = data[offset : offset + 16]
            fragment = more | offset >> 3
            self.deliver((ipPacket(PEER[4], OWN[4], 17, piece, fragment=fragment), Offload(DATA_VALID)))
        self.assertEqual(self.proto.data, [bytes(24)])

    def test_packetsLongerThanMaxPacketSizeAreCut(self) -> None:
        proto = PacketRecorder()
        self.on(proto, maxPacketSize=100)
        packet, offload = udpSuperpacket(4, bytes(200), b"short")
        data, single = udpSuperpacket(4, bytes(300))
        self.deliver((packet, offload), (data, replace(single, type=NONE, size=0)), (data, Offload(DATA_VALID)))
        self.assertEqual([len(each) for each in proto.packets], [100, 33, 100, 100])
        self.assertEqual([each.partial for each in proto.packets], [True, False, True, True])
        self.assertEqual(proto.packets[0].data[2:4], (228).to_bytes(2, "big"))

    def test_maxPacketSizeBoundsEachSegment(self) -> None:
        self.host(maxPacketSize=128)
        self.deliver(udpSuperpacket(4, *[bytes(60)] * 10))
        self.assertEqual(self.proto.data, [bytes(60)] * 10)

    def test_aDeviceWithoutOffloadDeliversTheSameDatagrams(self) -> None:
        self.device.features = 0
        self.host()
        self.assertEqual(self.port.offloads, 0)
        self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None))
        self.assertEqual(self.proto.data, [b"hello"])


class UpOnEthernetTests(OffloadTestCase):
    mode = TAP

    def test_anApplicationReceivesEachDatagramOfASuperpacket(self) -> None:
        proto = CarrierRecorder()
        ethernet, ip, udp = EthernetProtocol(), IPProtocol(), RawUDPProtocol()
        ethernet.addProto(0x0800, ip)
        ethernet.addProto(0x86DD, ip)
        ip.addProto(17, udp)
        udp.addProto(7, proto)
        self.on(ethernet)
        self.deliver(udpSuperpacket(4, b"12", b"34", b"5", link=LINK + b"\x08\0"))
        self.deliver(udpSuperpacket(6, b"67", b"89", link=LINK + b"\x86\xdd"))
        self.assertEqual(proto.data, [b"12", b"34", b"5", b"67", b"89"])

    def test_aSuperpacketInAVLANIsDelivered(self) -> None:
        ethernet, ip, udp = EthernetProtocol(), IPProtocol(), RawUDPProtocol()
        ethernet.addProto(0x0800, ip, vlan=5)
        ip.addProto(17, udp)
        udp.addProto(7, self.proto)
        self.on(ethernet)
        self.deliver(udpSuperpacket(4, b"12", b"34", b"5", link=LINK + b"\x81\0\0\5\x08\0"))
        self.assertEqual(self.proto.data, [b"12", b"34", b"5"])

    def test_aProtocolWithoutTakesOffloadReceivesSegmentsOfAFrame(self) -> None:
        frame, offload = udpSuperpacket(4, b"12", b"34", b"5", link=LINK + b"\x08\0")
        for above in PairRecorder(), PacketRecorder():
            ethernet = EthernetProtocol()
            ethernet.addProto(0x0800, above)
            self.device.close()
            self.on(ethernet)
            self.deliver((frame, offload))
            self.assertEqual(above.data, [each[14:] for each in finish(frame, offload, 14)])
