"""
Tests for the filter of a peer's source addresses: L{txtuntap.tunnel.allowed}.
"""

from __future__ import annotations

import random
import struct

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.tunnel.allowed import MAX_KNOWN, Allowed
from txtuntap.wire.address import packAddress, packLinkAddress
from txtuntap.wire.arp import ARP, REPLY, REQUEST
from txtuntap.wire.offload import MAX_TAGS, NEEDS_CHECKSUM, NONE, Offload, keepsFilteredFields, networkStart

OURS, OTHERS = "10.0.0.2", "10.0.0.3"
OURS6, OTHERS6 = "fd00::2", "fd00::3"
STATION, OTHER = "02:00:00:00:00:02", "02:00:00:00:00:03"


def packet(source: str) -> bytes:
    """
    Make an IP packet that consists of its header only.
    """
    if ":" in source:
        return b"\x60" + bytes(5) + b"\x11\x40" + packAddress(source) + bytes(16)
    return b"\x45" + bytes(11) + packAddress(source) + bytes(4)


def frame(payload: bytes, etherType: int, station: str = STATION, tag: bytes = b"") -> tuple[bytes, int]:
    """
    Make an Ethernet frame.

    @return: the frame, and the offset in octets of its payload.
    """
    head = bytes(6) + packLinkAddress(station) + tag + etherType.to_bytes(2, "big")
    return head + payload, len(head)


def discovery(kind: int, target: str, link: str, source: str = OURS6, extension: bytes = b"") -> bytes:
    """
    Make a neighbour solicitation or advertisement in an IPv6 packet.
    """
    option = bytes([1 if kind == 135 else 2, 1]) + packLinkAddress(link)
    message = bytes([kind]) + bytes(7) + packAddress(target) + option
    first = 0 if extension else 58
    length = len(extension) + len(message)
    header = b"\x60" + bytes(3) + struct.pack("!HBB", length, first, 255) + packAddress(source) + bytes(16)
    return header + extension + message


def fragmented(header: bytes, payload: bytes) -> bytes:
    """
    Make a fragment of an IPv6 packet.
    """
    length = len(header) + len(payload)
    return b"\x60" + bytes(3) + struct.pack("!HBB", length, 44, 64) + packAddress(OURS6) + bytes(16) + header + payload


def arp(sender: str, station: str = STATION) -> bytes:
    """
    Make an ARP reply.
    """
    return ARP(REPLY, packLinkAddress(station), packAddress(sender), bytes(6), bytes(4)).pack()


class AllowedTests(SynchronousTestCase):
    """
    Tests for the class L{Allowed}.
    """

    def test_packetsArePermittedBySource(self) -> None:
        allowed = Allowed([OURS, "10.1.0.0/16", OURS6])
        for source in OURS, "10.1.2.3", OURS6:
            self.assertTrue(allowed.permitsPacket(packet(source)), source)
        for source in OTHERS, "10.2.0.0", "0.0.0.0", OTHERS6, "::":
            self.assertFalse(allowed.permitsPacket(packet(source)), source)
        self.assertTrue(Allowed().permitsPacket(packet(OTHERS)))

    def test_framesArePermittedByTheSourceOfTheirPacket(self) -> None:
        allowed = Allowed([OURS, OURS6])
        for tag in b"", b"\x81\x00\x00\x05":
            for source in OURS, OURS6, "0.0.0.0", "::":
                kind = 0x86DD if ":" in source else 0x0800
                self.assertTrue(allowed.permitsFrame(*frame(packet(source), kind, tag=tag)), source)
            for source in OTHERS, OTHERS6:
                kind = 0x86DD if ":" in source else 0x0800
                self.assertFalse(allowed.permitsFrame(*frame(packet(source), kind, tag=tag)), source)

    def test_framesWithMoreTagsThanAreParsedAreDropped(self) -> None:
        # Linux strips any number of priority tags (VLAN 0).
        allowed = Allowed([OURS, OURS6], [STATION]), Allowed(linkAddresses=[STATION]), Allowed([OURS, OURS6])
        kinds = (0x0806, arp(OTHERS, OTHER)), (0x86DD, discovery(136, OTHERS6, OTHER))
        good = (0x0806, arp(OURS)), (0x86DD, discovery(136, OURS6, STATION)), (0x0800, packet(OURS))
        for tag in bytes.fromhex("81000000"), bytes.fromhex("88a80000"), bytes.fromhex("88a80005"):
            for count in range(MAX_TAGS + 4):
                for each in allowed:
                    for kind, payload in kinds:
                        data, _ = frame(payload, kind, tag=tag * count)
                        self.assertFalse(each.permitsFrame(data, networkStart(data)), count)
                    for kind, payload in good:
                        data, _ = frame(payload, kind, tag=tag * count)
                        self.assertEqual(count <= MAX_TAGS, each.permitsFrame(data, networkStart(data)), count)

    def test_anEtherTypeInSNAPIsDropped(self) -> None:
        # Some receivers parse the EtherType within SNAP headers (RFC 1042).
        for allowed in Allowed([OURS], [STATION]), Allowed(linkAddresses=[STATION]):
            for organization in bytes(3), b"\0\0\xf8":
                for start in b"\xaa\xaa\x03", b"\xab\xab\x03":
                    payload = start + organization + b"\x08\x06" + arp(OTHERS, OTHER)
                    for length in 0, len(payload), 1535:
                        for tag in b"", bytes.fromhex("81000000"):
                            self.assertFalse(allowed.permitsFrame(*frame(payload, length, tag=tag)))
        spanningTree, discoveryOfCisco = b"\x42\x42\x03" + bytes(35), b"\xaa\xaa\x03\0\0\x0c\x20\0" + bytes(30)
        for payload in spanningTree, discoveryOfCisco, b"", b"\xaa":
            self.assertTrue(Allowed(linkAddresses=[STATION]).permitsFrame(*frame(payload, len(payload))))

    def test_anIPVersionThatContradictsTheEtherTypeIsDropped(self) -> None:
        # The filter would read the source at another offset than the receiver does.
        for allowed in Allowed([OURS, OURS6], [STATION]), Allowed(linkAddresses=[STATION]), Allowed([OURS, OURS6]):
            for source, kind in (OURS, 0x0800), (OURS6, 0x86DD):
                whole = packet(source)
                found = [
                    version
                    for version in range(16)
                    if allowed.permitsFrame(*frame(bytes([version << 4 | 5]) + whole[1:], kind))
                ]
                self.assertEqual([whole[0] >> 4], found)

    def test_probesArePermittedByTarget(self) -> None:
        allowed = Allowed([OURS, OURS6])
        for target, isGood in (OURS, True), (OTHERS, False):
            probe = ARP(REQUEST, packLinkAddress(STATION), bytes(4), bytes(6), packAddress(target)).pack()
            self.assertEqual(isGood, allowed.permitsFrame(*frame(probe, 0x0806)), target)
        for target, isGood in (OURS6, True), (OTHERS6, False):
            probe = discovery(135, target, STATION, "::")
            self.assertEqual(isGood, allowed.permitsFrame(*frame(probe, 0x86DD)), target)

    def test_otherEtherTypesAreDroppedIfNetworksAreGiven(self) -> None:
        for kind in 0x8847, 0x8863, 0x8035, 0x0040:
            self.assertFalse(Allowed([OURS]).permitsFrame(*frame(packet(OURS), kind)))
            self.assertTrue(Allowed(linkAddresses=[STATION]).permitsFrame(*frame(packet(OURS), kind)))

    def test_truncatedFramesAreDropped(self) -> None:
        allowed = Allowed([OURS, OURS6], [STATION])
        for kind, payload in (0x0800, packet(OURS)), (0x86DD, packet(OURS6)), (0x0806, arp(OURS)):
            whole, network = frame(payload, kind)
            self.assertTrue(allowed.permitsFrame(whole, network))
            for end in range(14, network + 16):
                self.assertFalse(allowed.permitsFrame(whole[:end], network))

    def test_arpIsPermittedBySender(self) -> None:
        allowed = Allowed([OURS], [STATION])
        self.assertTrue(allowed.permitsFrame(*frame(arp(OURS), 0x0806)))
        self.assertTrue(allowed.permitsFrame(*frame(arp("0.0.0.0"), 0x0806)))
        self.assertFalse(allowed.permitsFrame(*frame(arp(OTHERS), 0x0806)))
        self.assertFalse(allowed.permitsFrame(*frame(arp(OURS, OTHER), 0x0806)))
        self.assertTrue(Allowed([OURS]).permitsFrame(*frame(arp(OURS, OTHER), 0x0806)))

    def test_framesArePermittedByLinkAddress(self) -> None:
        allowed = Allowed(linkAddresses=[STATION])
        self.assertTrue(allowed.permitsFrame(*frame(packet(OTHERS), 0x0800)))
        self.assertFalse(allowed.permitsFrame(*frame(packet(OTHERS), 0x0800, OTHER)))

    def test_neighbourDiscoveryIsPermittedByAnnouncedAddresses(self) -> None:
        allowed = Allowed([OURS6], [STATION])
        hopByHop = bytes([58, 0, 1, 4, 0, 0, 0, 0])
        for extension in b"", hopByHop:
            for message, good in (
                (discovery(136, OURS6, STATION, extension=extension), True),
                (discovery(136, OTHERS6, STATION, extension=extension), False),
                (discovery(136, OURS6, OTHER, extension=extension), False),
                (discovery(135, OTHERS6, STATION, extension=extension), True),
                (discovery(135, OTHERS6, OTHER, extension=extension), False),
            ):
                self.assertEqual(good, allowed.permitsFrame(*frame(message, 0x86DD)), message)

    def test_truncatedNeighbourDiscoveryIsDropped(self) -> None:
        # A truncated address is in no network, even if its octets are the start of one.
        allowed = Allowed(["0.0.0.0/0", OURS6])
        whole = discovery(136, OURS6, STATION)
        self.assertTrue(allowed.permitsFrame(*frame(whole, 0x86DD)))
        for length in range(1, 24):
            message = whole[:4] + struct.pack("!H", length) + whole[6 : 40 + length]
            self.assertFalse(allowed.permitsFrame(*frame(message, 0x86DD)), length)

    def test_neighbourDiscoveryBehindTooManyHeadersIsDropped(self) -> None:
        allowed = Allowed([OURS6])
        # Linux parses any number of extension headers.
        many = bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 9 + bytes([58, 0, 1, 4, 0, 0, 0, 0])
        self.assertFalse(allowed.permitsFrame(*frame(discovery(136, OTHERS6, STATION, extension=many), 0x86DD)))
        whole, network = frame(discovery(136, OURS6, STATION, extension=bytes([58, 9, 1, 4, 0, 0, 0, 0])), 0x86DD)
        self.assertFalse(allowed.permitsFrame(whole, network))
        # A fragment header beyond the limit hides the message, too, if it is that of the first fragment.
        for offset in 0, 8:
            many = bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 7 + bytes([44, 0, 1, 4, 0, 0, 0, 0])
            many += bytes([58, 0, 0, offset, 0, 0, 0, 0])
            hidden, network = frame(discovery(136, OTHERS6, STATION, extension=many), 0x86DD)
            self.assertEqual(offset > 0, allowed.permitsFrame(hidden, network))
        # A later fragment is permitted.
        later = b"\x60" + bytes(3) + struct.pack("!HBB", 16, 44, 64) + packAddress(OURS6) + bytes(16)
        self.assertTrue(allowed.permitsFrame(*frame(later + bytes([58, 0, 0, 8]) + bytes(12), 0x86DD)))

    def test_neighbourDiscoveryWithAForgedLengthIsDropped(self) -> None:
        allowed = Allowed([OURS6])
        hopByHop = bytes([58, 0, 1, 4, 0, 0, 0, 0])
        for extension in b"", hopByHop:
            for octets in 0, len(extension), len(extension) + 1, len(extension) + 20:
                message = discovery(136, OTHERS6, STATION, extension=extension)
                message = message[:4] + octets.to_bytes(2, "big") + message[6:]
                permitted = allowed.permitsFrame(*frame(message, 0x86DD))
                # Without octets of a message, nothing is announced. With a length of zero and a hop-by-hop header,
                # Linux parses the rest of the frame.
                isThere = octets > len(extension) or (not octets and bool(extension))
                self.assertEqual(not isThere, permitted, (extension, octets))

    def test_fragmentedNeighbourDiscoveryIsDropped(self) -> None:
        # A fragment that is the whole datagram is dropped, too (RFC 6980), and so is one whose message is in a later
        # fragment.
        for allowed in Allowed([OURS6]), Allowed(linkAddresses=[STATION]):
            for more in 0, 1:
                first = bytes([58, 0, 0, more, 0, 0, 0, 1])
                for message in discovery(136, OURS6, STATION)[40:], b"":
                    self.assertFalse(allowed.permitsFrame(*frame(fragmented(first, message), 0x86DD)))
            later = bytes([58, 0, 0, 8, 0, 0, 0, 1])
            self.assertTrue(allowed.permitsFrame(*frame(fragmented(later, bytes(16)), 0x86DD)))

    def test_changedFramesRaiseNothing(self) -> None:
        chance = random.Random(6)
        allowed = Allowed([OURS, OURS6], [STATION])
        hopByHop = bytes([58, 0, 1, 4, 0, 0, 0, 0])
        whole = [
            frame(packet(OURS), 0x0800),
            frame(arp(OURS), 0x0806),
            *(frame(discovery(136, OURS6, STATION, extension=extension), 0x86DD) for extension in (b"", hopByHop)),
        ]
        verdicts = set()
        for _ in range(5000):
            data, network = chance.choice(whole)
            changed = bytearray(data)
            for _ in range(chance.randrange(4)):
                changed[chance.randrange(network, len(data))] = chance.choice((0, 1, 44, 58, 60, 255))
            end = len(data) if chance.random() < 0.7 else chance.randrange(network, len(data))
            verdicts.add(allowed.permitsFrame(memoryview(changed)[:end], network))
        self.assertEqual({True, False}, verdicts)

    def test_aChecksumToComputeMustNotOverwriteCheckedFields(self) -> None:
        allowed = Allowed([OURS, OURS6], [STATION])

        def permits(payload: bytes, etherType: int, start: int, offset: int) -> bool:
            whole, network = frame(payload + bytes(40), etherType)
            self.assertTrue(allowed.permitsFrame(whole, network))
            return keepsFilteredFields(whole, Offload(NEEDS_CHECKSUM, NONE, 0, 0, network + start, offset), network)

        udp6 = packet(OURS6)
        self.assertTrue(permits(packet(OURS), 0x0800, 20, 6))
        self.assertTrue(permits(udp6, 0x86DD, 40, 6))
        # The checksum would overwrite the ports of UDP or the type of ICMP, by which a router is recognized. The last
        # case is beside these fields.
        self.assertFalse(permits(packet(OURS), 0x0800, 20, 0))
        self.assertFalse(permits(packet(OURS), 0x0800, 20, 2))
        self.assertFalse(permits(udp6, 0x86DD, 40, 2))
        icmp = packet(OURS)[:9] + b"\x01" + packet(OURS)[10:]
        self.assertFalse(permits(icmp, 0x0800, 20, 0))
        self.assertTrue(permits(icmp, 0x0800, 20, 2))
        # The checksum would overwrite the source address, or an address that ARP or neighbour discovery announces.
        self.assertFalse(permits(packet(OURS), 0x0800, 1, 11))
        self.assertFalse(permits(udp6, 0x86DD, 1, 7))
        self.assertFalse(permits(arp(OURS), 0x0806, 1, 13))
        self.assertFalse(permits(discovery(136, OURS6, STATION), 0x86DD, 40, 8))

    def test_invalidArgumentsAreRefused(self) -> None:
        self.assertRaisesRegex(ValueError, "host bits", Allowed, ["10.0.0.1/8"])
        self.assertRaisesRegex(ValueError, "link address", Allowed, [], ["10"])

    def test_theCacheIsBounded(self) -> None:
        allowed = Allowed(["10.0.0.0/8"])
        for number in range(3 * MAX_KNOWN):
            allowed.permitsPacket(packet(f"11.0.{number >> 8}.{number & 255}"))
            self.assertLessEqual(allowed.tables()[0].size, MAX_KNOWN)
