"""
Tests for superpackets and open checksums, from the port to the application and back.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.ports import DeviceTestCase
from tests.recorders import CarrierRecorder, PacketRecorder, PairRecorder, PlainPacketRecorder, SuperpacketRecorder
from tests.superpackets import ACK, SUPERPACKETS, superpacket, udpSuperpacket
from txtuntap import EthernetProtocol, Host, IPProtocol, Packet, RawUDPProtocol
from txtuntap.device.refusals import MAX_REFUSALS
from txtuntap.interfaces import IEthernetProtocol
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket, udpPacket
from txtuntap.udp.headers import UDPHeaders
from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import (
    CSUM,
    DATA_VALID,
    ECN,
    NEEDS_CHECKSUM,
    NONE,
    TCP4,
    TSO4,
    TSO6,
    TSO_ECN,
    UDP,
    USO,
    Offload,
    fault,
    finish,
    segments,
)

ALL = CSUM | TSO4 | TSO6 | TSO_ECN | USO

OWN = {4: "10.9.0.2", 6: "fd09::2"}
PEER = {4: "10.9.0.1", 6: "fd09::1"}
LINK = bytes.fromhex("0200000000bb0200000000aa")


@implementer(IEthernetProtocol)
class SuperframeRecorder(SuperpacketRecorder):
    """
    A protocol for a tap that keeps frames unchanged, with their offload records.
    """


class Overriding(SuperpacketRecorder):
    """
    A subclass of a protocol with C{takesOffload}. It overrides C{packetReceived}, so that the attribute does not count.
    """

    def packetReceived(self, packet: Packet) -> None:
        super().packetReceived(packet)


class OffloadTestCase(DeviceTestCase):
    features = ALL

    def setUp(self) -> None:
        super().setUp()
        self.proto = CarrierRecorder()

    def host(self, **keywords: Any) -> None:
        self._host = Host([f"{OWN[4]}/24", f"{OWN[6]}/64"], self.clock)
        self._host.listenUDP(7, self.proto)
        self.on(self._host.ethernet if self.mode == TAP else self._host.ip, **keywords)
        self.transport = self.proto.transport
        # The time in which a host on a tap probes its addresses.
        self.clock.pump([0.5] * 10)
        self.device.sent.clear()

    def payloads(self, version: int = 4) -> list[bytes]:
        """
        Return the payloads of the UDP datagrams that were sent, after a check of their headers.
        """
        found = []
        for data in self.device.sent:
            packet = Packet(data)
            packet.network = at = 14 if self.mode == TAP else 0
            start = at + (20 if version == 4 else 40)
            segment = data[start:]
            pseudo = onesSum(packet.sourceAddress + packet.destAddress) + 17 + len(segment)
            self.assertEqual((pseudo + onesSum(segment)) % 0xFFFF, 0)
            self.assertEqual(int.from_bytes(segment[4:6], "big"), len(segment))
            if version == 4:
                self.assertEqual(onesSum(data[at:start]), 0)
            found.append(segment[8:])
        return found


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


class TakerTests(OffloadTestCase):
    """
    Tests for the protocols that receive superpackets unchanged, and the protocols that receive segments.
    """

    def test_aProtocolWithoutTakesOffloadReceivesSegments(self) -> None:
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        expected = finish(packet, offload)
        pair = PairRecorder()
        self.on(pair, offload=True)
        self.deliver((packet, offload))
        self.assertEqual(pair.data, expected)
        for kind in PacketRecorder, Overriding:
            proto = kind()
            self.device.close()
            self.on(proto, offload=True)
            self.deliver((packet, offload))
            self.assertEqual(proto.data, expected)

    def test_aProtocolWithTakesOffloadReceivesTheSuperpacket(self) -> None:
        proto = SuperpacketRecorder()
        self.on(proto)
        self.deliver(udpSuperpacket(4, b"12", b"34", b"5"))
        (packet,) = proto.packets
        self.assertEqual(packet.offload, replace(udpSuperpacket(4, b"12", b"34", b"5")[1]))

    def test_aPortOffersNoOffloadForAProtocolWithoutTakesOffload(self) -> None:
        self.on(PairRecorder())
        self.assertEqual(self.port.offloads, 0)
        self.device.close()
        self.on(SuperpacketRecorder())
        self.assertEqual(self.port.offloads, ALL)

    def test_aPacketReceivedSetOnAnInstanceReceivesSegments(self) -> None:
        proto = SuperpacketRecorder()
        seen: list[Packet] = []
        proto.packetReceived = seen.append  # type: ignore[method-assign, assignment]
        self.on(proto, offload=True)
        self.deliver(udpSuperpacket(4, b"12", b"34", b"5"))
        self.assertEqual([packet.offload for packet in seen], [None] * 3)

    def test_aSubclassOfIPProtocolReceivesSegments(self) -> None:
        seen = []

        class Looking(IPProtocol):
            def packetReceived(self, packet: Packet) -> None:
                seen.append(bytes(packet))
                super().packetReceived(packet)

        ip, udp = Looking(), RawUDPProtocol()
        ip.addProto(17, udp)
        udp.addProto(7, self.proto)
        self.on(ip, offload=True)
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        self.deliver((packet, offload))
        self.assertEqual(seen, finish(packet, offload))
        self.assertEqual(self.proto.data, [b"12", b"34", b"5"])

    def test_offloadFalseTurnsOffloadOff(self) -> None:
        self.on(SuperpacketRecorder(), offload=False)
        self.assertEqual(self.port.offloads, 0)

    def test_offloadTrueOnADeviceWithoutOffloadIsAnError(self) -> None:
        self.device.features = 0
        error = self.assertRaises(CannotListenError, self.on, SuperpacketRecorder(), offload=True)
        self.assertIn("no offload", str(error))

    def test_aTCPSuperpacketIsCutOnlyWithoutTakesOffload(self) -> None:
        packet, offload, _ = superpacket(4, TCP4, bytes(range(100)), 30, ACK)
        for kind in PlainPacketRecorder, SuperpacketRecorder:
            tcp, ip = kind(), IPProtocol()
            ip.addProto(6, tcp)
            self.device.close()
            self.on(ip)
            self.deliver((packet, offload))
            expected = [packet] if kind is SuperpacketRecorder else finish(packet, offload)
            self.assertEqual([each.data for each in tcp.packets], expected)
            self.assertEqual({each.offload for each in tcp.packets}, {offload if kind is SuperpacketRecorder else None})
            self.assertEqual(self.port.counters["inPackets"], 4)

    def test_twoProtocolsReceiveSegmentsOrTheSuperpacket(self) -> None:
        ip, first, second = IPProtocol(), PlainPacketRecorder(), SuperpacketRecorder()
        ip.addProto(6, first)
        ip.addProto(6, second)
        self.on(ip)
        packet, offload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
        self.deliver((packet, offload))
        self.assertEqual((len(first.packets), len(second.packets)), (4, 1))


#: The names of the fields of L{Offload}.
_FIELDS = ["flags", "type", "headerLength", "size", "checksumStart", "checksumOffset"]


class ForgedTests(OffloadTestCase):
    def test_forgedRecordsAreCountedByName(self) -> None:
        for proto in SuperpacketRecorder(), PacketRecorder():
            self.device.close()
            self.on(proto, offload=True)
            packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
            for forged in (
                replace(offload, size=0),
                replace(offload, size=60000),
                replace(offload, headerLength=60000),
                replace(offload, checksumStart=60000),
                replace(offload, checksumOffset=60000),
                replace(offload, flags=0),
                replace(offload, type=TCP4),
                Offload(NEEDS_CHECKSUM, NONE, 0, 0, len(packet) - 7, 6),
            ):
                self.deliver((packet, forged))
            self.deliver((packet, replace(offload, type=3)), (packet, replace(offload, type=UDP | 0x80)))
            self.assertEqual(proto.packets, [])
            self.assertEqual(self.port.counters["inOffloadErrors"], 8)
            self.assertEqual(self.port.counters["inUnknownOffloads"], 2)

    @given(SUPERPACKETS, st.sampled_from(_FIELDS), st.integers(-3, 3) | st.integers(0, 65535), st.booleans())
    def test_aForgedRecordOfAReceivedPacketRaisesNothing(
        self, made: tuple[bytes, Offload, int], name: str, change: int, isRelative: bool
    ) -> None:
        packet, real, network = made
        limit = 0xFF if name in ("flags", "type") else 0xFFFF
        forged = replace(real, **{name: (change + getattr(real, name) * isRelative) & limit})
        self.clock = Clock()
        self.mode = TAP if network else TUN
        self.device = MemoryDevice(self.mode, features=ALL)
        self.proto = CarrierRecorder(then=lambda data, addr: self.transport.write(data, addr))
        self.host()
        # The packet is received through the port, which checks the record first, and then directly by a layer.
        self.deliver((packet, forged))
        climbing = Packet(packet)
        climbing.offload = forged
        (self._host.ethernet if network else self._host.ip).packetReceived(climbing)
        self.assertEqual(self.flushLoggedErrors(), [])
        if fault(packet, forged, network) is not None:
            self.assertEqual(self.proto.data, [])

    def test_aSuperpacketWithAWrongUDPLengthIsDropped(self) -> None:
        self.host()
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        packet = packet[:25] + b"\x0b" + packet[26:]
        climbing = Packet(packet)
        climbing.offload = offload
        self._host.ip.packetReceived(climbing)
        self.deliver((packet, offload))
        self.assertEqual(self.proto.data, [])
        self.assertEqual(self.port.counters["inOffloadErrors"], 1)
        self.assertEqual(self._host.udp.counters["inOffloadErrors"], 1)

    def test_anEmptyRecordDoesNotVouchForTheChecksum(self) -> None:
        self.host()
        data = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")
        for offload in Offload(), Offload(0, 0, 42):
            self.deliver((data[:26] + b"\1\1" + data[28:], offload))
        self.assertEqual((self.proto.data, self._host.udp.counters["inCsumErrors"]), ([], 2))

    @given(st.binary(max_size=120), st.builds(Offload, *[st.integers(0, 255)] * 2, *[st.integers(0, 200)] * 4))
    def test_aForgedRecordOfASentPacketRaisesNothing(self, packet: bytes, offload: Offload) -> None:
        for features in 0, CSUM, ALL:
            self.device = MemoryDevice(TUN, features=features)
            self.on(SuperpacketRecorder())
            self.port.writePacket([packet], offload)
            if fault(packet, offload) is not None:
                self.assertEqual(self.device.sent, [])


class DownTests(OffloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host()
        self.peer = (PEER[4], 4000)

    def echo(self, data: bytes, addr: Any) -> None:
        self.transport.write(data, addr)

    def test_aSuperpacketIsAnsweredWithASuperpacket(self) -> None:
        self.proto.then = self.echo
        for version in 4, 6:
            self.device.sent.clear()
            self.device.superpackets.clear()
            self.deliver(udpSuperpacket(version, b"first", b"other", b"last"))
            self.assertEqual(self.payloads(version), [b"first", b"other", b"last"])
            ((_, offload),) = self.device.superpackets
            self.assertEqual((offload.type, offload.size), (UDP, 5))
        self.assertEqual(self.port.counters["outSuperpackets"], 2)
        self.assertEqual(self.port.counters["outPackets"], 6)

    def test_datagramsOfOneTurnLeaveTogether(self) -> None:
        self.proto.then = self.echo
        single = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None
        self.deliver(*[single] * 10)
        self.assertEqual(self.payloads(), [b"hello"] * 10)
        # The first datagram was not delayed, so the superpacket has nine.
        ((data, _),) = self.device.superpackets
        self.assertEqual(len(data), 28 + 9 * 5)

    def test_theFirstDatagramToEachPeerIsNotDelayed(self) -> None:
        sent = []

        def echo(data: bytes, addr: Any) -> None:
            self.transport.write(data, addr)
            sent.append(len(self.device.sent))

        self.proto.then = echo
        self.deliver(
            (udpPacket(PEER[4], OWN[4], 4000, 7, b"a"), None), (udpPacket(PEER[4], OWN[4], 4001, 7, b"b"), None)
        )
        self.assertEqual(sent, [1, 2])

    def test_outsideOfReadsAndBatchesNoDatagramWaits(self) -> None:
        for number in range(3):
            self.transport.write(b"hello", self.peer)
            self.assertEqual(len(self.device.sent), number + 1)

    def test_theDatagramsOfABatchLeaveAsOneSuperpacket(self) -> None:
        with self.transport.batch():
            for _ in range(5):
                self.transport.write(b"hello", self.peer)
            self.assertEqual(self.device.sent, [])
        self.assertEqual(self.payloads(), [b"hello"] * 5)
        self.assertEqual(len(self.device.superpackets), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_eachSuperpacketHasTheTrafficClassOfItsDatagrams(self) -> None:
        for trafficClass in 0, 2, 3, 0:
            self.device.sent.clear()
            with self.transport.batch():
                for each in trafficClass, trafficClass ^ 1:
                    self.transport.trafficClass = each
                    for _ in range(3):
                        self.transport.write(b"hello", self.peer)
            self.assertEqual(
                [Packet(each).trafficClass for each in self.device.sent],
                [trafficClass] * 3 + [trafficClass ^ 1] * 3,
            )

    def test_eachAnswerHasTheTrafficClassOfItsTime(self) -> None:
        single = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None

        def echo(data: bytes, addr: Any) -> None:
            self.transport.trafficClass = len(self.proto.received) // 4
            self.transport.write(data, addr)

        self.proto.then = echo
        for _ in range(12):
            self.deliver(single)
        self.assertEqual(
            [Packet(each).trafficClass for each in self.device.sent],
            [number // 4 for number in range(1, 13)],
        )

    def test_theDatagramsOfNestedBatchesLeaveWithTheOuterOne(self) -> None:
        with self.transport.batch():
            with self.transport.batch():
                self.transport.write(b"1", self.peer)
            self.transport.write(b"2", self.peer)
            self.assertEqual(self.device.sent, [])
        self.assertEqual(self.payloads(), [b"1", b"2"])

    def test_theDatagramsOfABatchThatRaisesAreSent(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.transport.batch():
            self.transport.write(b"1", self.peer)
            raise ZeroDivisionError
        self.assertEqual(self.payloads(), [b"1"])

    def test_aBatchThatIsLeftOpenEndsWithTheTurn(self) -> None:
        batch = self.transport.batch()
        batch.__enter__()
        self.transport.write(b"1", self.peer)
        self.clock.advance(0)
        self.assertEqual(self.payloads(), [b"1"])
        self.transport.write(b"2", self.peer)
        self.assertEqual(self.payloads(), [b"1", b"2"])
        batch.__exit__(None, None, None)

    def test_aBatchWithinAReadLeavesAsOneSuperpacket(self) -> None:
        def echo(data: bytes, addr: Any) -> None:
            with self.transport.batch():
                for _ in range(3):
                    self.transport.write(data, addr)

        self.proto.then = echo
        self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None))
        self.assertEqual(self.payloads(), [b"hello"] * 3)
        self.assertEqual(len(self.device.superpackets), 1)

    def test_aPortThatStopsWithinABatchSendsItsDatagrams(self) -> None:
        with self.transport.batch():
            self.transport.write(b"1", self.peer)
            self.port.stopListening()
            self.clock.advance(0)
            self.assertEqual(self.payloads(), [b"1"])
        self.assertEqual(self.port.connected, 0)

    def test_aBatchThatIsLeftOpenInAReadEndsWithTheRead(self) -> None:
        def echo(data: bytes, addr: Any) -> None:
            self.transport.batch().__enter__()
            self.transport.write(data, addr)

        self.proto.then = echo
        self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None))
        self.assertEqual(self.payloads(), [b"hello"])
        self.transport.write(b"later", self.peer)
        self.assertEqual(self.payloads(), [b"hello", b"later"])

    def test_eachAnswerHasTheAskedAddressAsItsSource(self) -> None:
        self._host.ip.addAddress("10.9.0.3/24")
        self.proto.then = self.echo
        asked = ["10.9.0.2", "10.9.0.2", "10.9.0.3", "10.9.0.3", "10.9.0.2", "10.9.0.3"]
        self.deliver(*[(udpPacket(PEER[4], dest, 4000, 7, b"hello"), None) for dest in asked])
        self.assertEqual([Packet(data).source for data in self.device.sent], asked)
        self.device.sent.clear()
        packets = [superpacket(4, UDP, b"hello" * 3, 5, ends=(PEER[4], dest))[:2] for dest in asked]
        self.deliver(*packets)
        self.assertEqual([Packet(data).source for data in self.device.sent], [dest for dest in asked for _ in range(3)])

    def test_eachAnswerHasTheAskedPortAsItsSource(self) -> None:
        self._host.udp.addProto(8, self.proto)
        self.proto.then = self.echo
        asked = [7, 7, 8, 8, 7, 8]
        self.deliver(*[(udpPacket(PEER[4], OWN[4], 4000, port, b"hello"), None) for port in asked])
        self.assertEqual([int.from_bytes(data[20:22], "big") for data in self.device.sent], asked)

    def test_datagramsOfABatchFollowALoweredPathMTU(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(bytes(1000), self.peer)
            self._host.ip.pathNarrowed(packAddress(PEER[4]), 600, 1028, 0.0)
            self.assertEqual(len(self.device.sent), 3)
            for _ in range(3):
                self.transport.write(bytes(1000), self.peer)
        self.assertEqual(len(self.device.sent), 3 + 6)

    def test_datagramsOfABatchFollowAnAddressAddedToTheHost(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(b"hello", self.peer)
            self._host.ip.addAddress(f"{PEER[4]}/24")
            # The datagrams that were written before the change have been sent.
            self.assertEqual(self.payloads(), [b"hello"] * 3)
            for _ in range(3):
                self.transport.write(b"hello", self.peer)
        self.clock.advance(0)
        self.assertEqual(len(self.device.sent), 3)
        self.assertEqual(self._host.udp.counters["noPorts"], 3)

    def test_anArrayIsAcceptedAsADatagram(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(array("H", [0x3131, 0x3131]), self.peer)
        self.assertEqual(self.payloads(), [b"1111"] * 3)

    def test_anExceptionOfTheDeviceIsLoggedOnce(self) -> None:
        def broken(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            raise ZeroDivisionError

        self.proto.then = self.echo
        self.device.send = broken  # type: ignore[method-assign]
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.port.connected, 1)
        self.assertEqual(self.port.counters["inPackets"], 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aShorterDatagramEndsASuperpacket(self) -> None:
        with self.transport.batch():
            for data in b"12", b"34", b"5", b"67", b"89", b"0123", b"45":
                self.transport.write(data, self.peer)
        self.assertEqual(self.payloads(), [b"12", b"34", b"5", b"67", b"89", b"0123", b"45"])
        self.assertEqual([len(data) - 28 for data, _ in self.device.superpackets], [5, 4, 6])

    def test_emptyDatagramsLeaveAlone(self) -> None:
        with self.transport.batch():
            for data in b"", b"12", b"", b"", b"34":
                self.transport.write(data, self.peer)
        self.assertEqual(self.payloads(), [b"", b"12", b"", b"", b"34"])
        self.assertEqual(self.device.superpackets, [])

    def test_datagramsLeaveInTheOrderOfWriting(self) -> None:
        other = CarrierRecorder()
        self._host.listenUDP(8, other)
        with self.transport.batch():
            self.transport.write(b"1", self.peer)
            self.transport.write(b"2", (PEER[4], 4001))
            other.transport.write(b"3", (PEER[4], 4001))
            other.transport.write(b"4", (PEER[4], 4001))
            self.transport.write(b"5", (PEER[4], 4001))
            self.port.writePacket([udpPacket(OWN[4], PEER[4], 7, 9, b"6")])
            self.transport.write(b"7", (PEER[4], 4001))
            self.port.write(udpPacket(OWN[4], PEER[4], 7, 9, b"8"))
            self.transport.write(b"9", (PEER[4], 4001))
        self.assertEqual(b"".join(self.payloads()), b"123456789")

    def test_superpacketsKeepTheBoundsOfTheKernel(self) -> None:
        with self.transport.batch():
            for size, count in (1, 300), (1400, 100), (1472, 50), (600, 120):
                for number in range(count):
                    self.transport.write(bytes([number & 0xFF]) * size, self.peer)
        self.assertEqual([len(data) for data in self.payloads()], [1] * 300 + [1400] * 100 + [1472] * 50 + [600] * 120)
        for data, offload in self.device.superpackets:
            self.assertLessEqual(len(data), 65535)
            self.assertLessEqual(-(-(len(data) - 28) // offload.size), 128)
        self.assertLess(len(self.device.superpackets), 13)

    def test_datagramsLongerThanTheMTUAreFragmented(self) -> None:
        with self.transport.batch():
            for _ in range(2):
                self.transport.write(bytes(1473), self.peer)
        self.assertEqual(len(self.device.sent), 4)
        self.assertEqual(self.device.superpackets, [])

    def test_aBufferMayBeChangedAfterWriting(self) -> None:
        buffer = bytearray(b"one")
        with self.transport.batch():
            self.transport.write(buffer, self.peer)
            self.transport.write(buffer, self.peer)
            buffer[:] = b"two"
            self.transport.write(memoryview(buffer), self.peer)
            buffer[:] = b"six"
        self.assertEqual(self.payloads(), [b"one", b"one", b"two"])

    def test_anInvalidWriteInABatchRaises(self) -> None:
        with self.transport.batch():
            self.transport.write(b"one", self.peer)
            self.assertRaises(TypeError, self.transport.write, "two", self.peer)
            self.assertRaises(ValueError, self.transport.write, b"two", None)
        self.assertEqual(self.payloads(), [b"one"])

    def test_aConnectedTransportBatchesDatagrams(self) -> None:
        self.transport.connect(*self.peer)
        with self.transport.batch():
            self.transport.write(b"1")
            self.transport.write(b"2", self.peer)
            self.transport.write(b"3")
            self.assertRaises(ValueError, self.transport.write, b"4", (PEER[4], 4001))
        self.assertEqual(self.payloads(), [b"1", b"2", b"3"])

    def test_connectingSendsTheDatagramsThatWait(self) -> None:
        with self.transport.batch():
            self.transport.write(b"1", self.peer)
            self.transport.connect(PEER[4], 4001)
            self.assertRaises(ValueError, self.transport.write, b"2", self.peer)
            self.transport.write(b"3")
        self.assertEqual(self.payloads(), [b"1", b"3"])

    def test_answersOfEveryLengthAreTheSameAsWithoutTemplates(self) -> None:
        # The second and later answers to a peer use templates of headers.
        for version in 4, 6:
            self.proto.then = self.echo
            for length in *range(40), 1400, 1452, 1500, 3000, 5:
                self.device.sent.clear()
                self.deliver((udpPacket(PEER[version], OWN[version], 4000, 7, bytes(length)), None))
                if length <= 1452:
                    self.assertEqual(self.payloads(version), [bytes(length)])
                    self.assertEqual(self.device.sent, [udpPacket(OWN[version], PEER[version], 7, 4000, bytes(length))])
                else:
                    self.assertGreater(len(self.device.sent), 1)

    def test_headerTemplatesFollowMTUAndAddresses(self) -> None:
        self.proto.then = self.echo
        question = udpPacket(PEER[4], OWN[4], 4000, 7, bytes(1000)), None
        for _ in range(3):
            self.deliver(question)
        self.assertEqual(len(self.device.sent), 3)
        self.device.mtu = 600
        self.deliver(question)
        self.assertEqual(len(self.device.sent), 5)
        self.device.mtu = 1500
        self._host.ip.addAddress(f"{PEER[4]}/24")
        self.deliver(question)
        self.assertEqual(len(self.device.sent), 5)

    def test_superpacketsOfSeveralTurnsFollowTheMTU(self) -> None:
        self.proto.then = self.echo
        pieces = [bytes([number]) * 500 for number in range(10)]
        for turn in range(6):
            self.device.sent.clear()
            self.device.superpackets.clear()
            if turn == 3:
                self.device.mtu = 500
            elif turn == 4:
                self.device.mtu = 1500
            self.deliver(udpSuperpacket(4, *pieces))
            if turn == 3:
                self.assertEqual((len(self.device.sent), self.device.superpackets), (20, []))
            else:
                self.assertEqual(self.payloads(), pieces)
                self.assertEqual(len(self.device.superpackets), 1)
            # A single datagram is not delayed because of the superpacket before.
            self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, bytes(500)), None))
            self.assertEqual(len(self.device.superpackets), turn != 3)

    def test_datagramsToTheHostItselfAreDelivered(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(b"hello", (OWN[4], 7))
        self.clock.advance(0)
        self.assertEqual(self.proto.data, [b"hello"] * 3)
        self.assertEqual(self.device.sent, [])

    def test_packetsThatTheDeviceCannotFinishAreFinished(self) -> None:
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        tcp, tcpOffload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
        for features, expected in ((ALL, 2), (CSUM | TSO4, 1), (CSUM, 0), (0, 0)):
            self.device = MemoryDevice(TUN, features=features)
            self.on(SuperpacketRecorder())
            self.port.writePacket([packet[:9], packet[9:]], offload)
            self.port.writePacket([tcp], tcpOffload)
            self.assertEqual(self.device.sent, finish(packet, offload) + finish(tcp, tcpOffload))
            self.assertEqual(len(self.device.superpackets), expected)
            self.assertEqual(self.port.counters["outPackets"], 7)


class NoRoomTests(OffloadTestCase):
    def test_aPacketThatTheKernelHasNoRoomForIsDroppedAndCounted(self) -> None:
        self.host()
        errors = [errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC]

        def full(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            raise OSError(errors.pop(), "no room")

        send, self.device.send = self.device.send, full  # type: ignore[method-assign]
        for count in 3, 6, 9, 12:
            with self.transport.batch():
                for _ in range(3):
                    self.transport.write(b"hello", (PEER[4], 4000))
            self.assertEqual(self.port.counters["outDiscards"], count)
        self.device.send = send  # type: ignore[method-assign]
        self.transport.write(b"later", (PEER[4], 4000))
        self.assertEqual(self.payloads(), [b"later"])


class RefusedTests(OffloadTestCase):
    """
    Tests with a kernel that refuses unfinished packets, although its device offers the offload features.

    @ivar refuses: the offload features whose packets the kernel refuses.
    @ivar tries: the offload features of each packet that was given to the kernel.
    """

    def setUp(self) -> None:
        super().setUp()
        self.error = errno.EINVAL
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.make(USO)

    def make(self, refuses: int, mode: int = TUN) -> None:
        """
        Make a device whose kernel refuses some features, and a port on it.
        """
        self.refuses = refuses
        self.tries: list[int] = []
        self.device = MemoryDevice(mode, features=ALL)
        self.send = self.device.send
        self.device.send = self.maySend  # type: ignore[method-assign]
        self.on(SuperframeRecorder() if mode == TAP else SuperpacketRecorder())

    def maySend(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        features = 0 if offload is None else offload.features
        self.tries.append(features)
        if features & self.refuses:
            raise OSError(self.error, "refused")
        return self.send(buffers, offload)

    def write(self, *packets: tuple[bytes, Offload]) -> None:
        for packet, offload in packets:
            self.port.writePacket([packet[:9], packet[9:]], offload)

    def warnings(self) -> list[LogEvent]:
        return [event for event in self.events if event["log_level"] == LogLevel.warn]

    def test_aRefusedSuperpacketIsSentAsSegments(self) -> None:
        for number, self.error in enumerate((errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP), 1):
            packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
            self.device.sent.clear()
            self.write((packet, offload))
            self.assertEqual(self.device.sent, finish(packet, offload))
            counters = self.port.counters
            self.assertEqual((counters["outRefusedOffloads"], counters["outPackets"]), (number, 3 * number))
            self.assertEqual((counters["outErrors"], counters["outSuperpackets"]), (0, 0))
        self.assertEqual(counters["outOctets"], 3 * (3 * 28 + 5))

    def test_afterAFewRefusalsTheFeatureIsWithdrawn(self) -> None:
        packet = udpSuperpacket(4, b"12", b"34", b"5")
        for count in range(1, MAX_REFUSALS + 3):
            self.write(packet)
            self.assertEqual(bool(self.port.offloads & USO), count < MAX_REFUSALS)
        self.assertEqual(self.port.offloads, ALL & ~USO)
        self.assertEqual(self.tries.count(CSUM | USO), MAX_REFUSALS)
        self.assertEqual(len(self.device.sent), 3 * (MAX_REFUSALS + 2))
        self.assertEqual(self.port.counters["outRefusedOffloads"], MAX_REFUSALS)
        (event,) = self.warnings()
        self.assertIn("has refused 4 unfinished packets", formatEvent(event))

    def test_otherFeaturesAreNotWithdrawn(self) -> None:
        tcp, offload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
        self.write(*[udpSuperpacket(4, b"12", b"34", b"5")] * MAX_REFUSALS, (tcp, offload))
        self.assertEqual(self.device.superpackets, [(tcp, offload)])

    def test_aRefusedTCPFeatureIsWithdrawn(self) -> None:
        for kind, refused in (TCP4, TSO4), (TCP4 | ECN, TSO_ECN):
            self.make(refused)
            packet, offload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
            offload = replace(offload, type=kind)
            self.write(*[(packet, offload)] * MAX_REFUSALS)
            self.assertEqual(self.device.sent, finish(packet, offload) * MAX_REFUSALS)
            self.assertEqual(self.port.offloads, ALL & ~refused)

    def test_refusedOpenChecksumsAreWithdrawn(self) -> None:
        self.make(CSUM)
        packet, offload = udpSuperpacket(4, b"12345")
        offload = replace(offload, type=NONE, size=0)
        for _ in range(MAX_REFUSALS + 1):
            self.write((packet, offload))
        self.assertEqual(self.device.sent, finish(packet, offload) * (MAX_REFUSALS + 1))
        self.assertEqual((self.port.offloads, self.tries.count(CSUM)), (0, MAX_REFUSALS))

    def test_aFeatureThatHasWorkedIsNotWithdrawn(self) -> None:
        # Otherwise, a peer of a tunnel could turn off a feature for all by sending packets that the kernel refuses.
        packet = udpSuperpacket(4, b"12", b"34", b"5")
        self.make(0)
        self.write(packet)
        self.refuses = USO
        self.write(*[packet] * (3 * MAX_REFUSALS))
        self.assertEqual((self.port.offloads, self.warnings()), (ALL, []))
        self.assertEqual(self.port.counters["outRefusedOffloads"], 3 * MAX_REFUSALS)
        self.assertEqual(self.port.counters["outPackets"], 3 * (3 * MAX_REFUSALS + 1))

    def test_aPacketThatIsRefusedAlsoWhenFinishedIsAnError(self) -> None:
        def refuse(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            raise OSError(errno.EINVAL, "refused")

        self.device.send = refuse  # type: ignore[method-assign]
        self.write(*[udpSuperpacket(4, b"12", b"34", b"5")] * (2 * MAX_REFUSALS))
        self.assertEqual((self.port.offloads, self.warnings()), (ALL, []))
        self.assertEqual(self.port.counters["outErrors"], 3 * 2 * MAX_REFUSALS)

    def test_aForgedRecordThatIsRefusedIsAnError(self) -> None:
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        self.write((packet, replace(offload, size=0)))
        self.assertEqual((self.device.sent, self.port.counters["outErrors"]), ([], 1))

    def test_afterALinkErrorThePacketIsNotSentAgain(self) -> None:
        for self.error, name in (errno.EIO, "outLinkDown"), (errno.ENOBUFS, "outDiscards"):
            self.tries.clear()
            self.write(udpSuperpacket(4, b"12", b"34", b"5"))
            self.assertEqual(self.port.counters[name], 3)
            self.assertEqual(self.tries, [CSUM | USO])
        self.assertEqual(self.port.counters["outRefusedOffloads"], 0)

    def test_aKernelThatTakesFewerDatagramsGetsSmallerSuperpackets(self) -> None:
        def few(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            if offload is not None and offload.size and segments(sum(map(len, buffers)), offload)[0] > 64:
                raise OSError(errno.EINVAL, "more than UDP_MAX_SEGMENTS, before Linux 6.9")
            return self.send(buffers, offload)

        self.device.send = few  # type: ignore[method-assign]
        for count, last, pieces in (128, b"12", [64, 64]), (65, b"1", [64]), (64, b"1", [64]), (100, b"1", [64, 36]):
            self.device.sent.clear()
            self.device.superpackets.clear()
            packet, offload = udpSuperpacket(4, *[b"12"] * (count - 1), last)
            self.write((packet, offload))
            self.assertEqual(self.device.sent, finish(packet, offload))
            self.assertEqual([segments(len(each), left)[0] for each, left in self.device.superpackets], pieces)
        self.assertEqual((self.port.offloads, self.port.counters["outErrors"]), (ALL, 0))

    def test_aRestartedPortUsesTheFeatureAgain(self) -> None:
        packet = udpSuperpacket(4, b"12", b"34", b"5")
        self.write(*[packet] * MAX_REFUSALS)
        self.port.stopListening()
        self.clock.advance(0)
        self.refuses = 0
        self.port.startListening()
        self.write(packet)
        self.assertEqual((self.port.offloads, len(self.device.superpackets)), (ALL, 1))

    def test_aHostSendsNoSuperpacketsAfterWithdrawal(self) -> None:
        self.port.stopListening()
        self.clock.advance(0)
        self.host()
        for count in range(1, MAX_REFUSALS + 3):
            self.tries.clear()
            with self.transport.batch():
                for each in b"one", b"two", b"x":
                    self.transport.write(each, (PEER[4], 4000))
            self.assertEqual(self.payloads(), [b"one", b"two", b"x"] * count)
        self.assertEqual(self.tries, [CSUM] * 3)

    def test_aRefusedSuperpacketOnATapIsSentAsSegments(self) -> None:
        self.make(USO, TAP)
        link = bytes(12) + b"\x81\0\0\x05\x08\0"
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5", link=link)
        self.write((packet, offload))
        self.assertEqual(self.device.sent, finish(packet, offload, len(link)))


class LittleOffloadTests(OffloadTestCase):
    """
    Tests with a kernel that has no USO, or no offload at all.
    """

    def test_datagramsLeaveOneByOne(self) -> None:
        for features in CSUM | TSO4 | TSO6, 0:
            self.device = MemoryDevice(TUN, features=features)
            self.proto = CarrierRecorder(then=lambda data, addr: self.transport.write(data, addr))
            self.host()
            self.deliver(udpSuperpacket(4, b"first", b"other", b"last"))
            with self.transport.batch():
                for _ in range(3):
                    self.transport.write(b"hello", (PEER[4], 4000))
            self.assertEqual(self.payloads(), [b"first", b"other", b"last", b"hello", b"hello", b"hello"])
            self.assertEqual(self.device.superpackets, [])

    def test_aBatchOnNoPortDoesNothing(self) -> None:
        udp = RawUDPProtocol()
        udp.addProto(7, self.proto)
        udp.doStart()
        with self.proto.transport.batch():
            pass


class DownOnEthernetTests(OffloadTestCase):
    mode = TAP

    def test_answersGoBackToTheStation(self) -> None:
        ethernet, ip, udp = EthernetProtocol(LINK[:6]), IPProtocol([f"{OWN[4]}/24"]), RawUDPProtocol()
        ethernet.addProto(0x0800, ip, vlan=5)
        ip.addProto(17, udp)
        self.proto.then = lambda data, addr: self.proto.transport.write(data, addr)
        udp.addProto(7, self.proto)
        self.on(ethernet)
        packet = udpSuperpacket(4, b"first", b"other", b"last", link=LINK + b"\x81\0\0\5\x08\0")
        for _ in range(3):
            self.device.sent.clear()
            self.deliver(packet, packet)
            self.assertEqual(
                [(data[:18], data[46:]) for data in self.device.sent],
                [(LINK[6:] + LINK[:6] + b"\x81\0\0\5\x08\0", each) for each in (b"first", b"other", b"last")] * 2,
            )
        self.assertEqual(len(self.device.superpackets), 6)

    def test_eachAnswerIsSentToTheAskingStation(self) -> None:
        self.host()
        own = self._host.ethernet.linkAddress
        self.proto.then = lambda data, addr: self.proto.transport.write(data, addr)
        stations = [bytes((2, 0, 0, 0, 0, number)) for number in (1, 1, 2, 2, 1, 3)]
        packet = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")
        self.deliver(*[(ethernetFrame(station, own, 0x0800, packet), None) for station in stations])
        self.assertEqual([data[:6] for data in self.device.sent], stations)

    def test_datagramsOfABatchWaitForTheNeighbour(self) -> None:
        self.host()
        with self.proto.transport.batch():
            for _ in range(3):
                self.proto.transport.write(b"hello", (PEER[4], 4000))
        (request,) = self.device.sent
        self.device.sent.clear()
        own = request[6:12]
        reply = b"\0\1\x08\0\6\4\0\2" + LINK[6:] + packAddress(PEER[4]) + own + packAddress(OWN[4])
        self.deliver((ethernetFrame(LINK[6:], own, 0x0806, reply), None))
        self.assertEqual(self.payloads(), [b"hello"] * 3)


class HeadersTests(OffloadTestCase):
    @given(st.sampled_from([4, 6]), st.integers(0, 1400), st.integers(1, 65535), st.integers(1, 65535))
    def test_templatesGiveTheHeadersOfTheLayers(self, version: int, length: int, source: int, dest: int) -> None:
        self.device = MemoryDevice(TUN, features=ALL)
        self.host()
        ip: Any = self._host.ip
        route = ip.route(packAddress(PEER[version]))
        headers = UDPHeaders(ip, self.port, route, (source, dest))
        self.assertTrue(headers.fit(length))
        data = headers.pack(length) + bytes(length)
        offload = Offload(NEEDS_CHECKSUM, NONE, 0, 0, headers.before, 6)
        expected = udpPacket(OWN[version], PEER[version], source, dest, bytes(length))
        self.assertEqual(finish(data, offload), [expected])
