"""
Tests for the router guard, L{txtuntap.wire.routerguard}.
"""

from __future__ import annotations

import random
import struct

from twisted.trial.unittest import SynchronousTestCase

from tests.superpackets import superpacket
from txtuntap.testing import ethernetFrame
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import packAddress
from txtuntap.wire.offload import UDP, finish
from txtuntap.wire.routerguard import configures, frameConfigures, isHidden

SOURCE, DEST = packAddress("10.0.0.2"), packAddress("10.0.0.1")
SOURCE6, DEST6 = packAddress("fe80::2"), packAddress("ff02::1")

#: Extension headers of eight octets, by their type, without their first octet, which is the type of the next header.
HEADERS = {0: b"\0\1\4\0\0\0\0", 60: b"\0\1\4\0\0\0\0", 43: b"\0\0\0\0\0\0\0", 44: b"\0\0\0\0\0\0\1"}


def packet4(protocol: int, payload: bytes, fragment: int = 0, options: bytes = b"") -> bytes:
    """
    Make an IPv4 packet of a protocol.
    """
    return ipv4.packHeader(SOURCE, DEST, protocol, len(payload), fragment=fragment, options=options) + payload


def packet6(protocol: int, payload: bytes, *kinds: int) -> bytes:
    """
    Make an IPv6 packet with extension headers.
    """
    chain = b""
    for kind in reversed(kinds):
        chain = bytes([protocol]) + HEADERS[kind] + chain
        protocol = kind
    return ipv6.packHeader(SOURCE6, DEST6, protocol, len(chain) + len(payload), 255) + chain + payload


def datagram(dest: int, source: int = 4000) -> bytes:
    """
    Make a UDP datagram with 16 octets of payload.
    """
    return struct.pack("!4H", source, dest, 24, 0) + bytes(16)


class ConfiguresTests(SynchronousTestCase):
    """
    Tests for the packets with which a router or a DHCP server configures hosts.
    """

    def test_icmpMessagesAreDetected(self) -> None:
        found = [kind for kind in range(256) if configures(packet4(1, bytes([kind]) + bytes(7)))]
        self.assertEqual([5, 9], found)
        found = [kind for kind in range(256) if configures(packet6(58, bytes([kind]) + bytes(7)))]
        self.assertEqual([134, 137], found)
        # Each IP version has its own ICMP, and ignores the other one.
        for kind in 5, 9, 134, 137:
            self.assertFalse(configures(packet4(58, bytes([kind]) + bytes(7))))
            self.assertFalse(configures(packet6(1, bytes([kind]) + bytes(7))))

    def test_datagramsToDHCPClientsAreDetectedFromAnyPort(self) -> None:
        for source in 67, 547, 4000:
            found = [port for port in range(1024) if configures(packet4(17, datagram(port, source)))]
            self.assertEqual([68], found)
            found = [port for port in range(1024) if configures(packet6(17, datagram(port, source)))]
            self.assertEqual([546], found)
        # Datagrams of DHCP clients, and packets of another protocol than UDP, are not detected.
        self.assertFalse(configures(packet4(17, datagram(67, 68))))
        self.assertFalse(configures(packet6(17, datagram(547, 546))))
        self.assertFalse(configures(packet4(6, datagram(68))))
        self.assertFalse(configures(packet6(6, datagram(546))))

    def test_packetsWithOptionsAreDetected(self) -> None:
        for length in 4, 20, 40:
            self.assertTrue(configures(packet4(17, datagram(68), options=b"\1" * length)))
            self.assertTrue(configures(packet4(1, b"\5" + bytes(7), options=b"\1" * length)))
            self.assertFalse(configures(packet4(17, datagram(67), options=b"\1" * length)))

    def test_packetsWithExtensionHeadersAreDetected(self) -> None:
        for kinds in (0,), (60,), (43,), (0, 60, 43, 60), (60,) * 8:
            for protocol, bad, good in (58, b"\x86" + bytes(7), b"\x88" + bytes(7)), (17, datagram(546), datagram(547)):
                self.assertTrue(configures(packet6(protocol, bad, *kinds)), kinds)
                self.assertFalse(configures(packet6(protocol, good, *kinds)), kinds)
        # The headers exceed the bound here, but a receiver may read all of them.
        self.assertTrue(configures(packet6(6, bytes(20), *(60,) * 9)))
        # The extension header claims more octets than the packet has.
        self.assertTrue(configures(packet6(60, b"\x3a\xff" + bytes(6))))

    def test_fragmentsAreDetected(self) -> None:
        for more in 0, ipv4.MORE_FRAGMENTS:
            self.assertTrue(configures(packet4(17, datagram(68), more)))
            self.assertFalse(configures(packet4(17, datagram(67), more)))
            # A later fragment has no ports.
            self.assertFalse(configures(packet4(17, datagram(68), more | 1)))
        for protocol, bad, good in (58, b"\x86" + bytes(7), b"\x88" + bytes(7)), (17, datagram(546), datagram(547)):
            for kinds in (44,), (0, 44), (44, 60), (60, 44, 60):
                self.assertTrue(configures(packet6(protocol, bad, *kinds)), kinds)
                self.assertFalse(configures(packet6(protocol, good, *kinds)), kinds)
                # The header of the upper layer is in a later fragment, which a filter cannot see.
                self.assertTrue(configures(packet6(protocol, b"", *kinds)), kinds)
        later = packet6(44, b"\x3a\0\0\x08" + bytes(4) + b"\x86" + bytes(7))
        self.assertFalse(configures(later))
        # The first fragment has an extension header that continues in the second one.
        self.assertTrue(configures(packet6(44, b"\x3c\0\0\x01" + bytes(4) + b"\x3a\1" + bytes(6))))

    def test_paddingIsNotPartOfThePacket(self) -> None:
        self.assertFalse(configures(packet6(58, b"", 60) + b"\x86" + bytes(7)))
        # Linux uses all octets of a packet that may be a jumbogram.
        jumbo = packet6(58, b"\x86" + bytes(7), 0)
        self.assertTrue(configures(jumbo[:4] + bytes(2) + jumbo[6:]))

    def test_superpacketsAreDetectedLikeTheirSegments(self) -> None:
        for version, port in (4, 68), (6, 546):
            for dest in port, 7:
                whole, offload, network = superpacket(version, UDP, bytes(3000), 1000)
                at = offload.checksumStart + 2
                whole = whole[:at] + dest.to_bytes(2, "big") + whole[at + 2 :]
                found = {configures(each, network) for each in [whole, *finish(whole, offload, network)]}
                self.assertEqual({dest == port}, found)

    def test_framesAreDetectedBehindAnyTags(self) -> None:
        bad = {0x0800: packet4(17, datagram(68)), 0x86DD: packet6(58, b"\x86" + bytes(7))}
        for etherType, packet in bad.items():
            self.assertTrue(frameConfigures(ethernetFrame(bytes(6), bytes(6), etherType, packet), 14))
            self.assertFalse(frameConfigures(ethernetFrame(bytes(6), bytes(6), 0x88B5, packet), 14))
            tagged = ethernetFrame(bytes(6), bytes(6), etherType, packet, 0)
            self.assertTrue(frameConfigures(tagged, 18))
            self.assertTrue(isHidden(tagged, 14))
            self.assertTrue(frameConfigures(tagged, 14))

    def test_anIPVersionOtherThanTheEtherTypesIsDetected(self) -> None:
        # ISC's DHCP client reads frames from a packet socket, and does not check the IP version.
        for etherType, packet in (0x0800, packet4(17, datagram(68))), (0x86DD, packet6(17, datagram(546))):
            for version in range(16):
                other = bytes([version << 4 | packet[0] & 0x0F]) + packet[1:]
                for tags in (), (0,):
                    frame = ethernetFrame(bytes(6), bytes(6), etherType, other, *tags)
                    self.assertTrue(frameConfigures(frame, 14 + 4 * len(tags)), version)
        for etherType, packet in (0x0800, packet4(17, datagram(53))), (0x86DD, packet6(17, datagram(53))):
            found = [
                version
                for version in range(16)
                if not frameConfigures(
                    ethernetFrame(bytes(6), bytes(6), etherType, bytes([version << 4 | 5]) + packet[1:]), 14
                )
            ]
            self.assertEqual([packet[0] >> 4], found)

    def test_damagedPacketsRaiseNothing(self) -> None:
        chance = random.Random(13)
        whole = [packet6(58, b"\x86" + bytes(7), *kinds) for kinds in ((), (0, 60, 44), (44, 60), (43,) * 8)]
        whole += [packet4(1, b"\5" + bytes(7)), packet4(17, datagram(68), options=b"\1" * 40)]
        verdicts = set()
        for _ in range(5000):
            changed = bytearray(chance.choice(whole))
            for _ in range(chance.randrange(4)):
                changed[chance.randrange(len(changed))] = chance.choice((0, 1, 17, 44, 58, 60, 0x4F, 255))
            cut = memoryview(changed)[: chance.randrange(len(changed) + 1)]
            verdicts.add(configures(cut))
            for etherType in b"\x08\0", b"\x86\xdd", b"\0\x10", b"\x81\0":
                verdicts.add(frameConfigures(bytes(12) + etherType + bytes(cut), chance.choice((14, 18))))
        self.assertEqual({True, False}, verdicts)
