"""
Tests for the protocols on a port that receive superpackets or segments, and for forged records.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock

from tests.offload.case import ALL, OWN, PEER, OffloadTestCase, Overriding
from tests.recorders import CarrierRecorder, PacketRecorder, PairRecorder, PlainPacketRecorder, SuperpacketRecorder
from tests.superpackets import ACK, SUPERPACKETS, superpacket, udpSuperpacket
from txtuntap import IPProtocol, Packet, RawUDPProtocol
from txtuntap.testing import TAP, TUN, MemoryDevice, udpPacket
from txtuntap.wire.offload import CSUM, NEEDS_CHECKSUM, NONE, TCP4, UDP, Offload, fault, finish


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
