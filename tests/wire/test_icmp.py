"""
Tests for ICMP messages, L{txtuntap.wire.icmp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import icmp, ipv4, ipv6

SOURCE = bytes.fromhex("fd00 0000 0000 0000 0000 0000 0000 0001")
DEST = bytes.fromhex("fd00 0000 0000 0000 0000 0000 0000 0002")


class ICMPTests(SynchronousTestCase):
    def test_aMessageIsPackedWithItsChecksum(self) -> None:
        # 0800 + 1234 + 5678 + 6162 is d20e; its complement is 2df1.
        self.assertEqual(icmp.pack(8, 0, 0x12345678, b"ab"), bytes.fromhex("0800 2df1 1234 5678 6162"))

    def test_aMessageOfOddLengthIsPacked(self) -> None:
        # 0800 + 6100 is 6900.
        self.assertEqual(icmp.pack(8, 0, 0, b"a"), bytes.fromhex("0800 96ff 0000 0000 61"))

    def test_theICMPv6ChecksumCoversThePseudoHeader(self) -> None:
        # 8000, twice fd00, 1 and 2, 8 octets, protocol 3a: 27a45, folded 7a47.
        self.assertEqual(icmp.pack(128, 0, 0, b"", SOURCE, DEST), bytes.fromhex("8000 85b8 0000 0000"))

    def test_packedMessagesAreValid(self) -> None:
        for body in (b"", b"a", b"ab" * 700):
            self.assertTrue(icmp.valid(icmp.pack(3, 3, 0, body)))
            self.assertTrue(icmp.valid(icmp.pack(1, 4, 0, body, SOURCE, DEST), SOURCE, DEST))

    def test_aFlippedBitIsNotValid(self) -> None:
        for addresses in ((), (SOURCE, DEST)):
            message = icmp.pack(8, 0, 7, b"abc", *addresses)
            for bit in range(len(message) * 8):
                flipped = bytearray(message)
                flipped[bit // 8] ^= 0x80 >> bit % 8
                self.assertFalse(icmp.valid(bytes(flipped), *addresses))

    def test_otherAddressesAreNotValid(self) -> None:
        self.assertFalse(icmp.valid(icmp.pack(128, 0, 0, b"", SOURCE, DEST), SOURCE, SOURCE))

    def test_aMessageShorterThanItsHeaderIsNotValid(self) -> None:
        for length in range(icmp.HEADER_LENGTH):
            self.assertFalse(icmp.valid(bytes(length)))


class TooBigTests(SynchronousTestCase):
    """
    Tests for the function L{icmp.tooBig}.
    """

    def test_tooBigMakesAnErrorToTheSender(self) -> None:
        for octets in 40, 2000:
            source, dest = b"\x0a\0\0\1", b"\x0a\0\0\2"
            packet = ipv4.packHeader(source, dest, 17, octets) + bytes(range(100)) * (octets // 20)
            packet = packet[: 20 + octets]
            answer = icmp.tooBig(packet, 1300)
            assert answer is not None
            header = ipv4.IPHeader(answer)
            self.assertEqual(("10.0.0.2", "10.0.0.1", 1), (header.saddr, header.daddr, header.protocol))
            self.assertEqual((len(answer), 0xC0), (header.tot_len, header.tos))
            self.assertTrue(icmp.valid(answer[20:]))
            self.assertEqual((3, 4, 1300), (answer[20], answer[21], int.from_bytes(answer[24:28], "big")))
            self.assertEqual(packet[:548], answer[28:])
            packet6 = ipv6.packHeader(SOURCE, DEST, 17, octets) + packet[20:]
            answer = icmp.tooBig(packet6, 1300)
            assert answer is not None
            self.assertEqual(ipv6.packHeader(DEST, SOURCE, 58, len(answer) - 40), answer[:40])
            self.assertTrue(icmp.valid(answer[40:], DEST, SOURCE))
            self.assertEqual((2, 0, 1300), (answer[40], answer[41], int.from_bytes(answer[44:48], "big")))
            self.assertEqual(packet6[:1232], answer[48:])

    def test_tooBigMakesNoErrorAboutErrorsFragmentsAndGroups(self) -> None:
        host, group, nobody = b"\x0a\0\0\1", b"\xe0\0\0\1", bytes(4)
        host6, group6, nobody6 = SOURCE, b"\xff\2" + bytes(13) + b"\1", bytes(16)
        for source, dest, source6, dest6 in (
            (host, group, host6, group6),
            (nobody, host, nobody6, host6),
            (group, host, group6, host6),
        ):
            self.assertIsNone(icmp.tooBig(ipv4.packHeader(source, dest, 17, 8) + bytes(8), 68))
            self.assertIsNone(icmp.tooBig(ipv6.packHeader(source6, dest6, 17, 8) + bytes(8), 68))
        # ICMP errors, and fragments that may belong to one.
        for kind in icmp.ERRORS:
            self.assertIsNone(icmp.tooBig(ipv4.packHeader(host, host, 1, 8) + bytes([kind]) + bytes(7), 68))
        later = ipv4.packHeader(host, host, 17, 8, fragment=ipv4.DONT_FRAGMENT | 1) + bytes(8)
        self.assertIsNone(icmp.tooBig(later, 68))
        for kind in 1, 2, 3, 4, 127:
            self.assertIsNone(icmp.tooBig(ipv6.packHeader(host6, DEST, 58, 8) + bytes([kind]) + bytes(7), 68))
        for kind in 128, 135:
            self.assertIsNotNone(icmp.tooBig(ipv6.packHeader(host6, DEST, 58, 8) + bytes([kind]) + bytes(7), 68))
        later = ipv6.packHeader(host6, DEST, 44, 16) + bytes([58, 0, 0, 8]) + bytes(12)
        self.assertIsNone(icmp.tooBig(later, 68))
