"""
Tests for the description of a packet in one line, L{txtuntap.wire.summary}.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.testing import ethernetFrame, ipPacket, udpPacket
from txtuntap.wire import arp, icmp, ipv6, tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.summary import describe, etherTypeOf, isFrame, networkOf, payloadOf, versionAt

ONE, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
REQUEST = arp.ARP(arp.REQUEST, bytes(6), packAddress("10.0.0.1"), bytes(6), packAddress("10.0.0.2")).pack()
REPLY = arp.ARP(arp.REPLY, b"\2\0\0\0\0\1", packAddress("10.0.0.1"), bytes(6), packAddress("10.0.0.2")).pack()


def segment(flags: int, payload: bytes = b"", options: bytes = b"") -> bytes:
    """
    Make a TCP segment from port 40000 to port 4242, with sequence number 7 and acknowledgment number 9.
    """
    return tcp.packHeader(0, 40000, 4242, 7, 9, flags, 512, options, payload) + payload


def tagged(vlan: int, etherType: int, payload: bytes) -> bytes:
    """
    Make a frame with a VLAN tag.
    """
    return ethernetFrame(ONE, OTHER, 0x8100, vlan.to_bytes(2, "big") + etherType.to_bytes(2, "big") + payload)


PACKETS = {
    udpPacket(*FOUR, 5353, 53, bytes(32)): "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 32",
    udpPacket(*SIX, 5353, 53, bytes(32)): "IP6 fd00::1.5353 > fd00::2.53: UDP, length 32",
    ipPacket(*FOUR, 6, segment(tcp.SYN)): "IP 10.0.0.1.40000 > 10.0.0.2.4242: Flags [S], seq 7, win 512, length 0",
    ipPacket(*FOUR, 6, segment(tcp.PSH | tcp.ACK, b"hello")): (
        "IP 10.0.0.1.40000 > 10.0.0.2.4242: Flags [P.], seq 7:12, ack 9, win 512, length 5"
    ),
    ipPacket(*FOUR, 6, segment(tcp.ACK, options=bytes(4))): (
        "IP 10.0.0.1.40000 > 10.0.0.2.4242: Flags [.], ack 9, win 512, length 0"
    ),
    ipPacket(*FOUR, 6, segment(0)): "IP 10.0.0.1.40000 > 10.0.0.2.4242: Flags [none], win 512, length 0",
    ipPacket(*FOUR, 1, icmp.pack(8, 0, 3 << 16 | 4, bytes(56))): (
        "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 3, seq 4, length 64"
    ),
    ipPacket(*SIX, 58, icmp.pack(129, 0, 3 << 16 | 4, b"")): (
        "IP6 fd00::1 > fd00::2: ICMP6, echo reply, id 3, seq 4, length 8"
    ),
    ipPacket(*SIX, 58, icmp.pack(135, 0, 0, packAddress("fd00::9"))): (
        "IP6 fd00::1 > fd00::2: ICMP6, neighbor solicitation, who has fd00::9, length 24"
    ),
    ipPacket(*FOUR, 1, icmp.pack(3, 3, 0, bytes(28))): ("IP 10.0.0.1 > 10.0.0.2: ICMP unreachable, code 3, length 36"),
    ipPacket(*FOUR, 253, bytes(7)): "IP 10.0.0.1 > 10.0.0.2: ip-proto-253, length 7",
    ipPacket(*FOUR, 17, bytes(7)): "IP 10.0.0.1 > 10.0.0.2: UDP, truncated, length 7",
    ipPacket(*FOUR, 17, bytes(48), fragment=185): "IP 10.0.0.1 > 10.0.0.2: UDP, length 48, fragment at 1480",
    ipPacket(*SIX, 60, bytes((17, 0, 1, 4, 0, 0, 0, 0)) + udpPacket(*SIX, 1, 2, b"x")[40:]): (
        "IP6 fd00::1.1 > fd00::2.2: UDP, length 1"
    ),
    ipPacket(*SIX, 44, ipv6.FRAGMENT_HEADER.pack(17, 1448, 1) + bytes(24)): (
        "IP6 fd00::1 > fd00::2: UDP, length 24, fragment at 1448"
    ),
    b"\x45" + bytes(11): "IP, truncated, length 12",
    b"\x60" + bytes(30): "IP6, truncated, length 31",
    b"": "unknown, length 0",
    b"\x15" + bytes(40): "unknown, length 41",
}

FRAMES = {
    ethernetFrame(ONE, OTHER, 0x0806, REQUEST): "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28",
    ethernetFrame(ONE, OTHER, 0x0806, REPLY): "ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28",
    ethernetFrame(ONE, OTHER, 0x0806, REQUEST[:9]): "ARP, truncated, length 9",
    ethernetFrame(ONE, OTHER, 0x0800, udpPacket(*FOUR, 1, 2, b"")): "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 0",
    ethernetFrame(ONE, OTHER, 0x0800, udpPacket(*FOUR, 1, 2, b"x") + bytes(20)): (
        "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1"
    ),
    tagged(10, 0x0800, udpPacket(*FOUR, 1, 2, b"")): "vlan 10, IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 0",
    ethernetFrame(ONE, OTHER, 0x88B5, bytes(46)): f"{ONE} > {OTHER}, ethertype 0x88b5, length 46",
    ethernetFrame(ONE, OTHER, 46, bytes(46)): f"{ONE} > {OTHER}, 802.3, length 46",
    bytes(13): "frame, truncated, length 13",
}


class DescriptionTests(SynchronousTestCase):
    """
    Tests for the line of L{describe}. L{tests.real.test_summary} compares it with tcpdump.
    """

    def test_anIPPacketReadsLikeALineOfTcpdump(self) -> None:
        for data, line in PACKETS.items():
            self.assertEqual(describe(data, 0, False), line)

    def test_aFrameReadsLikeALineOfTcpdump(self) -> None:
        for data, line in FRAMES.items():
            self.assertEqual(describe(data, 0, True), line)

    def test_thePositionOfThePacketCounts(self) -> None:
        for packets, frame in (PACKETS, False), (FRAMES, True):
            for data, line in packets.items():
                self.assertEqual(describe(b"\xffabc" + data, 4, frame), line)

    def test_noOctetsRaiseOrBringControlCharacters(self) -> None:
        random = Random(22)
        samples = [*PACKETS, *FRAMES]
        for _ in range(20_000):
            data = bytearray(random.choice(samples))
            for _ in range(random.randrange(1, 6)):
                if data:
                    data[random.randrange(len(data))] = random.choice((0, 10, 27, 155, random.randrange(256)))
            packet = bytes(data[: random.randrange(len(data) + 1)])
            for frame in False, True:
                self.assertTrue(describe(packet, 0, frame).isprintable())
            isFrame(packet)


class SearchTests(SynchronousTestCase):
    """
    Tests for the functions that find headers.
    """

    def test_framesAndIPPacketsAreToldApart(self) -> None:
        for data in PACKETS:
            self.assertFalse(isFrame(data), data)
        for data in list(FRAMES)[:2] + list(FRAMES)[3:6]:
            self.assertTrue(isFrame(data), data)

    def test_anIPPacketIsOneEvenIfItsAddressesLookLikeAFrame(self) -> None:
        # The source address is at the position of an EtherType.
        self.assertFalse(isFrame(ipPacket("8.0.69.0", "69.0.0.1", 17, bytes(40))))

    def test_theHeaderIsBehindTheTags(self) -> None:
        frame = tagged(10, 0x0800, udpPacket(*FOUR, 1, 2, b""))
        self.assertEqual((networkOf(frame), etherTypeOf(frame)), (18, 0x0800))

    def test_theEtherTypeHasToAgreeWithTheVersion(self) -> None:
        self.assertIsNone(networkOf(ethernetFrame(ONE, OTHER, 0x86DD, udpPacket(*FOUR, 1, 2, b""))))
        self.assertIsNone(networkOf(ethernetFrame(ONE, OTHER, 0x0800, udpPacket(*SIX, 1, 2, b""))))

    def test_anIncompleteHeaderHasNoVersion(self) -> None:
        whole = ipPacket(*FOUR, 17, b"")
        self.assertEqual([versionAt(whole[:length], 0) for length in (0, 19, 20)], [0, 0, 4])
        self.assertEqual(versionAt(b"\x46" + whole[1:], 0), 0)
        self.assertEqual(versionAt(b"\x44" + whole[1:], 0), 0)
        whole = ipPacket(*SIX, 17, b"")
        self.assertEqual([versionAt(whole[:length], 0) for length in (39, 40)], [0, 6])

    def test_thePayloadIsCutToTheLengthOfThePacket(self) -> None:
        payload = payloadOf(ipPacket(*FOUR, 253, b"abc") + bytes(20), 0)
        self.assertEqual((payload.protocol, payload.start, payload.end), (253, 20, 23))
        payload = payloadOf(ipPacket(*SIX, 253, b"abc") + bytes(20), 0)
        self.assertEqual((payload.protocol, payload.start, payload.end), (253, 40, 43))
