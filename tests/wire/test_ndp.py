"""
Tests for L{txtuntap.wire.ndp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import ndp

TARGET = bytes.fromhex("fd00 0000 0000 0000 0000 0000 0000 0002")
LINK = b"\x02\0\0\0\0\x01"
SOLICITATION = bytes((ndp.SOLICITATION, 0, 0, 0, 0, 0, 0, 0)) + TARGET
SOURCE = b"\x01\x01" + LINK
UNKNOWN = b"\x0e\x01nonce!"


class NDPTests(SynchronousTestCase):
    def parse(self, *options: bytes) -> tuple[bytes, bytes | None] | None:
        return ndp.parse(SOLICITATION + b"".join(options), ndp.SOURCE_LINK)

    def test_packs(self) -> None:
        self.assertEqual(ndp.packBody(TARGET, ndp.TARGET_LINK, LINK), TARGET + b"\x02\x01" + LINK)

    def test_packsWithoutOption(self) -> None:
        self.assertEqual(ndp.packBody(TARGET, None, LINK), TARGET)

    def test_parses(self) -> None:
        self.assertEqual(self.parse(SOURCE), (TARGET, LINK))

    def test_parsesWithoutOption(self) -> None:
        self.assertEqual(self.parse(), (TARGET, None))

    def test_otherOptionsAreSkipped(self) -> None:
        self.assertEqual(self.parse(UNKNOWN, b"\x02\x01" + bytes(6), b"\x63\x02" + bytes(14), SOURCE), (TARGET, LINK))

    def test_truncated(self) -> None:
        for length in range(8, 24):
            self.assertIsNone(ndp.parse(SOLICITATION[:length], ndp.SOURCE_LINK))

    def test_optionThatIsCutShort(self) -> None:
        for length in range(1, 8):
            self.assertIsNone(self.parse(SOURCE[:length]))

    def test_optionOfLengthZero(self) -> None:
        self.assertIsNone(self.parse(b"\x0e\0nonce!"))

    def test_optionPastTheEnd(self) -> None:
        self.assertIsNone(self.parse(b"\x0e\x02nonce!"))

    def test_malformedOptionAfterAGoodOne(self) -> None:
        self.assertIsNone(self.parse(SOURCE, b"\x0e\0nonce!"))

    def test_linkAddressOfAnotherKindOfLink(self) -> None:
        self.assertIsNone(self.parse(b"\x01\x02" + LINK + bytes(8)))

    def test_linkAddressOfNoStation(self) -> None:
        for link in (bytes(6), b"\x01\0\x5e\0\0\x01", b"\xff" * 6):
            self.assertIsNone(self.parse(b"\x01\x01" + link))

    def test_code(self) -> None:
        self.assertIsNone(ndp.parse(SOLICITATION[:1] + b"\x01" + SOLICITATION[2:], ndp.SOURCE_LINK))

    def test_targetThatIsAGroup(self) -> None:
        self.assertIsNone(ndp.parse(SOLICITATION[:8] + b"\xff\x02" + SOLICITATION[10:], ndp.SOURCE_LINK))
