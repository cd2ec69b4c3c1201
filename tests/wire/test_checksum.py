"""
Tests for the Internet checksum, L{txtuntap.wire.checksum}.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis.strategies import binary
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.checksum import FOLD_FROM, checksum, foldedSum, onesSum


def slowSum(data: bytes) -> int:
    """
    Compute the ones' complement sum word by word, as in RFC 1071 section 4.1.
    """
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


class OnesSumTests(SynchronousTestCase):
    def test_theExampleOfTheRFC(self) -> None:
        self.assertEqual(onesSum(bytes.fromhex("0001f203f4f5f6f7")), 0xDDF2)

    def test_noOctetsSumToZero(self) -> None:
        self.assertEqual(onesSum(b""), 0)

    def test_oddLastOctetIsTheHighHalfOfAWord(self) -> None:
        self.assertEqual(onesSum(b"\x00\x01\x02"), 0x0201)

    def test_theCarryIsAddedAtTheOtherEnd(self) -> None:
        self.assertEqual(onesSum(b"\xff\xff\x00\x01"), 1)

    def test_bothZerosAreZero(self) -> None:
        self.assertEqual(onesSum(b"\xff\xff"), onesSum(b"\x00\x00"))

    @given(binary(max_size=200))
    def test_theSumAgreesWithALoopOverWords(self, data: bytes) -> None:
        self.assertEqual(onesSum(data), slowSum(data) % 0xFFFF)

    def test_theSumOfLongDataAgreesWithALoopOverWords(self) -> None:
        random = Random(1)
        for size in (*range(FOLD_FROM - 3, FOLD_FROM + 3), 1460, 8191, 8192, 65535, 65575):
            for data in (random.randbytes(size), b"\xff" * size, b"\0" * (size - 1) + b"\1"):
                self.assertEqual(onesSum(data), slowSum(data) % 0xFFFF, size)

    def test_aFoldedSumIsShortAndKeepsTheRemainder(self) -> None:
        random = Random(2)
        for size in (0, 1, 128, 129, 600, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 4097, 65575):
            for data in (random.randbytes(size + 7), b"\xff" * (size + 7)):
                total = foldedSum(data, 3, 3 + size)
                self.assertLess(total.bit_length(), 1100, size)
                self.assertEqual(total % 0xFFFF, slowSum(data[3 : 3 + size]) % 0xFFFF, size)


class ChecksumTests(SynchronousTestCase):
    def test_knownHeader(self) -> None:
        header = bytes.fromhex("450000730000400040110000c0a80001c0a800c7")
        self.assertEqual(checksum(header), 0xB861)

    @given(binary(max_size=200).filter(lambda data: len(data) % 2 == 0))
    def test_theChecksumMakesTheSumZero(self, data: bytes) -> None:
        self.assertEqual(onesSum(data + checksum(data).to_bytes(2, "big")), 0)
