"""
Tests for L{txtuntap.tunnel.tunnel}: packets from the peer to the interface, and their validation.
"""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.ports import OffloadPort
from tests.superpackets import SUPERPACKETS, superpacket
from tests.tunnel.case import DEST, LINK_HEADER, SOURCE, Carrier, TunnelTestCase, packet, segments
from txtuntap import TuntapPort
from txtuntap.device import TAP, TUN
from txtuntap.device.memory import MemoryDevice
from txtuntap.layer.relay import EVERYTHING
from txtuntap.tunnel import Allowed, Tunnel
from txtuntap.wire import icmp, ipv4
from txtuntap.wire.offload import MAX_TAGS, NEEDS_CHECKSUM, TCP4, UDP, Offload, finish, shifted


class FromPeerTests(TunnelTestCase):
    """
    Tests for the packets that a L{Tunnel} writes, and for those that it drops.
    """

    def test_segmentsThatArriveTogetherAreWrittenAsOne(self) -> None:
        for mode, link in (TUN, b""), (TAP, LINK_HEADER):
            data, offload, network = superpacket(4, TCP4, bytes(5000), 1000, link=link)
            pieces = finish(data, offload, network)
            device = MemoryDevice(mode, features=EVERYTHING)
            tunnel = Tunnel(mode)
            TuntapPort("", tunnel, reactor=Clock(), device=device).startListening()
            other = link + packet(1000)
            tunnel.carriedTogether([(memoryview(each), None) for each in [*pieces, other, *pieces[:1], b"wrong"]])
            self.assertEqual(device.sent, [*pieces, other, pieces[0]])
            self.assertEqual([each.type for _, each in device.superpackets], [TCP4])
            octets = sum(map(len, device.sent))
            self.assertEqual({"inPackets": 7, "inOctets": octets, "inErrors": 1}, dict(tunnel.counters))

    def test_segmentsThatMayNotPassAreNotJoined(self) -> None:
        data, offload, _ = superpacket(4, TCP4, bytes(5000), 1000)
        pieces = finish(data, offload)
        device = MemoryDevice(TUN, features=EVERYTHING)
        tunnel = Tunnel(TUN, Allowed(["10.77.0.0/16"]))
        TuntapPort("", tunnel, reactor=Clock(), device=device).startListening()
        tunnel.carriedTogether([(each, None) for each in pieces])
        self.assertEqual((device.sent, dict(tunnel.counters)), ([], {"inForbidden": 5}))

    def test_aSuperpacketBetweenSegmentsKeepsItsPlace(self) -> None:
        data, offload, _ = superpacket(4, TCP4, bytes(4000), 1000)
        pieces = finish(data, offload)
        device = MemoryDevice(TUN, features=EVERYTHING)
        tunnel = Tunnel(TUN)
        TuntapPort("", tunnel, reactor=Clock(), device=device).startListening()
        tunnel.carriedTogether([(pieces[0], None), (pieces[1], None), (data, offload), (pieces[2], None)])
        self.assertEqual(device.sent, [*pieces[:2], *pieces, pieces[2]])

    def test_onALinkNothingIsJoined(self) -> None:
        data, offload, _ = superpacket(4, TCP4, bytes(4000), 1000)
        wire = OffloadPort()
        tunnel, _ = self.made(wire=wire)
        tunnel.carriedTogether([(each, None) for each in finish(data, offload)])
        self.assertEqual(len(wire.written), 4)

    def test_superpacketsAreWrittenWholeToAnInterfaceThatAcceptsThem(self) -> None:
        data, offload = segments(3000, 1400)
        wire = OffloadPort()
        tunnel, _ = self.made(wire=wire)
        self.assertEqual(EVERYTHING, tunnel.offloads)
        self.assertTrue(tunnel.carried(data, offload))
        self.assertEqual([(data, offload)], wire.written)
        tunnel, plain = self.made()
        self.assertTrue(tunnel.carried(memoryview(data), offload))
        self.assertEqual([1440, 1440, 240], [len(each) for each in plain.sent])

    @given(SUPERPACKETS)
    def test_aSuperpacketCountsAsItsSegments(self, made: tuple[bytes, Offload, int]) -> None:
        data, offload, network = made
        wire = OffloadPort()
        wire.mtu = 9000
        tunnel, _ = self.made(TAP if network else TUN, wire)
        self.assertTrue(tunnel.carried(data, offload))
        packets = finish(data, offload, network)
        count, octets = len(packets), sum(map(len, packets))
        self.assertEqual({"inPackets": count, "inOctets": octets}, dict(tunnel.counters))

    def test_packetsLongerThanTheMTUAreDropped(self) -> None:
        tunnel, _wire = self.made()
        self.assertTrue(tunnel.carried(packet(1500)))
        self.assertFalse(tunnel.carried(packet(1501)))
        self.assertTrue(tunnel.carried(*segments(3000, 1460)))
        self.assertFalse(tunnel.carried(*segments(3000, 1461)))
        tap, _ = self.made(TAP)
        for tags in b"", b"\x81\x00\x00\x05", b"\x88\xa8\x00\x05\x81\x00\x00\x05":
            self.assertTrue(tap.carried(bytes(12) + tags + b"\x08\x00" + bytes(1500)))
            self.assertFalse(tap.carried(bytes(12) + tags + b"\x08\x00" + bytes(1501)))
        self.assertFalse(tap.carried(bytes(12) + b"\x81\x00\x00\x05" * 1000 + b"\x08\x00" + bytes(100)))
        data, offload = segments(3000, 1400)
        for etherType, accepted in (b"\x08\x00", True), (b"\x81\x00", False):
            link = bytes(12) + b"\x81\x00\x00\x05" * MAX_TAGS + etherType
            self.assertIs(accepted, tap.carried(link + data, shifted(offload, len(link))))

    def test_anICMPErrorAnswersAPacketThatIsTooLong(self) -> None:
        for version, ends in (4, ("10.0.0.2", "10.0.0.1")), (6, ("fd00::2", "fd00::1")):
            link = bytes.fromhex("02000000000102000000000281000005") + (b"\x08\0" if version == 4 else b"\x86\xdd")
            back = link[6:12] + link[:6] + link[12:]
            whole, offload, _ = superpacket(version, UDP, bytes(9000), 3000, ends=ends)
            cut = finish(whole, offload)
            for mode, before, after in (TUN, b"", b""), (TAP, link, back):
                tunnel, wire = self.made(mode)
                carrier = Carrier()
                tunnel.carrierUp(carrier)
                self.assertFalse(tunnel.carried(before + cut[0]))
                self.assertFalse(tunnel.carried(before + whole, shifted(offload, len(before))))
                answer = icmp.tooBig(cut[0], 1500)
                assert answer is not None
                self.assertEqual([(after + answer, None)] * 2, carrier.sent)
                self.assertEqual([], wire.sent)
                counters = tunnel.counters
                self.assertEqual((2, 2, 0), (counters["inTooLong"], counters["outTooBigs"], counters["inPackets"]))

    def test_packetsThatAreTooLongAreFragmentedIfPermitted(self) -> None:
        data = ipv4.packHeader(SOURCE, DEST, 17, 3000, fragment=0) + bytes(range(250)) * 12
        for mode, link in (TUN, b""), (TAP, bytes(12) + b"\x08\0"), (TAP, bytes(12) + b"\x81\0\0\5\x08\0"):
            tunnel, wire = self.made(mode)
            # Ethernet padding is removed.
            self.assertTrue(tunnel.carried(link + data + (b"\0" * 9 if link else b"")))
            self.assertEqual([link + each for each in ipv4.fragmentsOf(data, 1500)], wire.sent)
            self.assertEqual([1500, 1500, 60], [len(each) - len(link) for each in wire.sent])
            self.assertEqual(
                {"inFragmented": 1, "inPackets": 3, "inOctets": 3060 + 3 * len(link)}, dict(tunnel.counters)
            )
            # Each packet of a superpacket is too long.
            whole, offload, _ = superpacket(4, UDP, bytes(6000), 3000)
            whole = whole[:6] + bytes(2) + whole[8:]
            self.assertTrue(tunnel.carried(link + whole, shifted(offload, len(link))))
            expected = [link + each for one in finish(whole, offload) for each in ipv4.fragmentsOf(one, 1500)]
            self.assertEqual(expected, wire.sent[3:])

    def test_noICMPErrorAnswersPacketsThatMustNotBeAnswered(self) -> None:
        group, station = b"\x01" + bytes(5), b"\x02" + bytes(5)
        long = packet(1501)
        for mode, data in (
            # The cases are in this order: not IP, not IPv6, to a link group, from a link group, only padding too long,
            # an ICMP error, to an IP group, from the unspecified address, and from an address that the peer is not
            # allowed.
            (TAP, station * 2 + b"\x88\xb5" + bytes(1501)),
            (TAP, station * 2 + b"\x86\xdd" + long),
            (TAP, group + station + b"\x08\0" + long),
            (TAP, station + group + b"\x08\0" + long),
            (TAP, station * 2 + b"\x08\0" + packet(1500) + b"\0"),
            (TUN, ipv4.packHeader(SOURCE, DEST, 1, 1500) + b"\3" + bytes(1499)),
            (TUN, ipv4.packHeader(SOURCE, bytes([224, 0, 0, 1]), 17, 1500) + bytes(1500)),
            (TUN, ipv4.packHeader(bytes(4), DEST, 17, 1500) + bytes(1500)),
            (TUN, long),
        ):
            tunnel, wire = self.made(mode, allowed=None if data != long else Allowed(["10.0.0.9"]))
            carrier = Carrier()
            tunnel.carrierUp(carrier)
            self.assertFalse(tunnel.carried(data), data[:20])
            self.assertEqual(([], []), (carrier.sent, wire.sent), data[:20])

    def test_icmpErrorsAreRateLimited(self) -> None:
        tunnel, wire = self.made()
        carrier = Carrier()
        tunnel.carrierUp(carrier)
        for _ in range(200):
            tunnel.carried(packet(1501))
        self.assertEqual((50, 150), (tunnel.counters["outTooBigs"], tunnel.counters["outLimited"]))
        cast(Clock, wire.clock).advance(0.1)
        for _ in range(200):
            tunnel.carried(packet(1501))
        self.assertEqual((100, 400), (tunnel.counters["outTooBigs"], tunnel.counters["inTooLong"]))
        self.assertEqual(100, len(carrier.sent))

    def test_malformedPacketsAreDropped(self) -> None:
        tunnel, _wire = self.made()
        for data in b"", bytes(19), b"\x50" + packet()[1:], packet() + b"\0", packet()[:-1], b"\x44" + packet()[1:]:
            self.assertFalse(tunnel.carried(data))
        for data in b"\x60" + bytes(39), b"\x60" + bytes(3) + b"\0\1" + bytes(34):
            self.assertEqual(data[5] == 0, tunnel.carried(data))
        tap, _ = self.made(TAP)
        self.assertFalse(tap.carried(bytes(13)))
        self.assertEqual((7, 1), (tunnel.counters["inErrors"], tap.counters["inErrors"]))

    def test_impossibleOffloadIsDropped(self) -> None:
        tunnel, wire = self.made(wire=OffloadPort())
        data, _ = segments(3000, 1400)
        for fields in (
            (NEEDS_CHECKSUM, 0, 0, 0, 0, 0),
            (NEEDS_CHECKSUM, 0, 0, 0, 65535, 65535),
            (NEEDS_CHECKSUM, TCP4, 40, 0, 20, 16),
            (NEEDS_CHECKSUM, TCP4, 40, 1, 20, 16),
            (NEEDS_CHECKSUM, 5, 40, 1400, 20, 6),
            (0, TCP4, 40, 1400, 0, 0),
        ):
            self.assertFalse(tunnel.carried(data, Offload(*fields)), fields)
        self.assertFalse(tunnel.carried(data, Offload(NEEDS_CHECKSUM, 77, 40, 1400, 20, 16)))
        self.assertEqual([], wire.sent)
        self.assertEqual({"inOffloadErrors": 6, "inUnknownOffloads": 1}, dict(tunnel.counters))

    def test_aChecksumThatOverwritesTheSourceIsDropped(self) -> None:
        tunnel, wire = self.made(allowed=Allowed(["10.0.0.2"]))
        forged = Offload(NEEDS_CHECKSUM, checksumStart=1, checksumOffset=11)
        self.assertFalse(tunnel.carried(packet(), forged))
        self.assertTrue(tunnel.carried(packet(), Offload(NEEDS_CHECKSUM, checksumStart=20, checksumOffset=6)))
        self.assertEqual((1, 1), (tunnel.counters["inForbidden"], len(wire.sent)))

    def test_sourcesThatAreNotAllowedAreDropped(self) -> None:
        tunnel, _wire = self.made(allowed=Allowed(["10.0.0.3"]))
        self.assertFalse(tunnel.carried(packet()))
        tap, _ = self.made(TAP, allowed=Allowed(["10.0.0.3"]))
        self.assertFalse(tap.carried(bytes(12) + b"\x08\x00" + packet()))
        self.assertEqual((1, 1), (tunnel.counters["inForbidden"], tap.counters["inForbidden"]))

    def test_packetsOfARouterNeedPermissionIfAddressesAreRestricted(self) -> None:
        whole, offload, _ = superpacket(4, UDP, bytes(3000), 1000)
        data = bytearray(whole)
        # The destination port is that of a DHCP client.
        data[23] = 68
        redirect = ipv4.packHeader(SOURCE, DEST, 1, 8) + b"\5" + bytes(7)
        for mode, link in (
            (TUN, b""),
            (TAP, bytes(12) + b"\x08\x00"),
            (TAP, bytes(12) + b"\x81\0\0\0" * 8 + b"\x08\x00"),
        ):
            moved = shifted(offload, len(link))
            for router in False, True:
                tunnel, _wire = self.made(mode, OffloadPort(), Allowed(["10.0.0.0/8"], router=router))
                self.assertTrue(tunnel.carried(link + whole, moved))
                self.assertEqual(router, tunnel.carried(link + data, moved))
                self.assertEqual(router, tunnel.carried(link + redirect))
                self.assertEqual(0 if router else 2, tunnel.counters["inForbiddenRoles"])
                # The checksum would overwrite the destination port.
                opened = Offload(NEEDS_CHECKSUM, checksumStart=len(link) + 20, checksumOffset=2)
                self.assertFalse(tunnel.carried(link + packet(), opened))
            # A peer without restricted addresses may be a router.
            tunnel, _wire = self.made(mode, OffloadPort())
            self.assertTrue(tunnel.carried(link + redirect))

    @given(st.binary(max_size=100), st.tuples(*[st.integers(0, 255)] * 2, *[st.integers(0, 65535)] * 4), st.booleans())
    def test_garbageRaisesNothing(self, data: bytes, fields: tuple[int, ...], isTap: bool) -> None:
        allowed = Allowed(["10.0.0.0/8", "::/0"], ["00:00:00:00:00:00"] if isTap else [])
        tunnel, _wire = self.made(TAP if isTap else TUN, allowed=allowed)
        for start in b"", bytes(12) + b"\x08\x00\x45", bytes(12) + b"\x86\xdd\x60", b"\x45\x00\x00", b"\x60":
            tunnel.carried(memoryview(start + data))
            tunnel.carried(memoryview(start + data), Offload(*fields))
        counted = sum(count for name, count in tunnel.counters.items() if name != "inOctets")
        self.assertEqual(10, counted)
