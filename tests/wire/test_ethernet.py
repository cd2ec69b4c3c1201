"""
Tests for Ethernet headers, L{txtuntap.wire.ethernet}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.ethernet import HEADER_LENGTH, EthernetHeader, packHeader

DEST = b"\x02\0\0\0\0\x01"
SOURCE = b"\x02\0\0\0\0\x02"


class EthernetHeaderTests(SynchronousTestCase):
    def test_aHeaderIsParsed(self) -> None:
        header = EthernetHeader(DEST + SOURCE + b"\x08\x00payload")
        self.assertEqual((header.dest, header.source, header.proto), (DEST, SOURCE, 0x0800))

    def test_tooShortIsAValueError(self) -> None:
        for length in range(HEADER_LENGTH):
            with self.assertRaises(ValueError) as raised:
                EthernetHeader(bytes(length))
            self.assertIn(f"not {length}", str(raised.exception))


class PackHeaderTests(SynchronousTestCase):
    def test_anUntaggedHeaderIsPacked(self) -> None:
        self.assertEqual(packHeader(DEST, SOURCE, 0x86DD), DEST + SOURCE + b"\x86\xdd")

    def test_aTagIsPackedBeforeTheType(self) -> None:
        self.assertEqual(packHeader(DEST, SOURCE, 0x0800, 4094), DEST + SOURCE + b"\x81\x00\x0f\xfe\x08\x00")

    def test_aPriorityTagIsPacked(self) -> None:
        self.assertEqual(packHeader(DEST, SOURCE, 0x0800, 0), DEST + SOURCE + b"\x81\x00\x00\x00\x08\x00")
