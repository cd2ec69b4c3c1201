"""
Tests for L{txtuntap.wire.icmp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import icmp

SOURCE = bytes.fromhex("fd00 0000 0000 0000 0000 0000 0000 0001")
DEST = bytes.fromhex("fd00 0000 0000 0000 0000 0000 0000 0002")


class ICMPTests(SynchronousTestCase):
    def test_packs(self) -> None:
        # 0800 + 1234 + 5678 + 6162 is d20e; its complement is 2df1.
        self.assertEqual(icmp.pack(8, 0, 0x12345678, b"ab"), bytes.fromhex("0800 2df1 1234 5678 6162"))

    def test_oddLength(self) -> None:
        # 0800 + 6100 is 6900.
        self.assertEqual(icmp.pack(8, 0, 0, b"a"), bytes.fromhex("0800 96ff 0000 0000 61"))

    def test_version6SumsAddressesLengthAndProtocol(self) -> None:
        # 8000, twice fd00, 1 and 2, 8 octets, protocol 3a: 27a45, folded 7a47.
        self.assertEqual(icmp.pack(128, 0, 0, b"", SOURCE, DEST), bytes.fromhex("8000 85b8 0000 0000"))

    def test_whatIsPackedSumsUp(self) -> None:
        for body in (b"", b"a", b"ab" * 700):
            self.assertTrue(icmp.valid(icmp.pack(3, 3, 0, body)))
            self.assertTrue(icmp.valid(icmp.pack(1, 4, 0, body, SOURCE, DEST), SOURCE, DEST))

    def test_everyWrongBit(self) -> None:
        for addresses in ((), (SOURCE, DEST)):
            message = icmp.pack(8, 0, 7, b"abc", *addresses)
            for bit in range(len(message) * 8):
                flipped = bytearray(message)
                flipped[bit // 8] ^= 0x80 >> bit % 8
                self.assertFalse(icmp.valid(bytes(flipped), *addresses))

    def test_addressesCount(self) -> None:
        self.assertFalse(icmp.valid(icmp.pack(128, 0, 0, b"", SOURCE, DEST), SOURCE, SOURCE))

    def test_shorterThanAHeader(self) -> None:
        for length in range(icmp.HEADER_LENGTH):
            self.assertFalse(icmp.valid(bytes(length)))
