"""
Tests for ARP packets, L{txtuntap.wire.arp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import arp

REQUEST = bytes.fromhex("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002")


class ARPTests(SynchronousTestCase):
    def test_aRequestIsParsed(self) -> None:
        expected = arp.ARP(1, b"\x02\0\0\0\0\x01", b"\x0a\0\0\x01", bytes(6), b"\x0a\0\0\x02")
        self.assertEqual(arp.parse(REQUEST), expected)

    def test_aRequestIsPacked(self) -> None:
        packed = arp.ARP(1, b"\x02\0\0\0\0\x01", b"\x0a\0\0\x01", bytes(6), b"\x0a\0\0\x02").pack()
        self.assertEqual(packed, REQUEST)

    def test_aReplyIsParsed(self) -> None:
        parsed = arp.parse(REQUEST[:7] + b"\x02" + REQUEST[8:])
        assert parsed is not None
        self.assertEqual(parsed.opcode, arp.REPLY)

    def test_paddingIsIgnored(self) -> None:
        self.assertEqual(arp.parse(REQUEST + bytes(18)), arp.parse(REQUEST))

    def test_aTruncatedPacketIsNotParsed(self) -> None:
        for length in range(arp.LENGTH):
            self.assertIsNone(arp.parse(REQUEST[:length]))

    def test_aWrongFixedPartIsNotParsed(self) -> None:
        for at in range(7):
            self.assertIsNone(arp.parse(REQUEST[:at] + bytes((REQUEST[at] ^ 0x40,)) + REQUEST[at + 1 :]), at)

    def test_anUnknownOpcodeIsNotParsed(self) -> None:
        for opcode in (0, 3, 4, 255):
            self.assertIsNone(arp.parse(REQUEST[:7] + bytes((opcode,)) + REQUEST[8:]))
