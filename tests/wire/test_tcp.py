"""
Tests for TCP headers, L{txtuntap.wire.tcp}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, booleans, integers, lists, none, one_of, sampled_from, tuples
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import tcp
from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.tcp import NO_OPTIONS, Options, parseOptions

words = integers(0, 0xFFFFFFFF)
halves = integers(0, 0xFFFF)
pairs = sampled_from(
    [
        (packAddress("10.0.0.1"), packAddress("10.0.0.2")),
        (packAddress("fd00::1"), packAddress("fd00::2")),
    ]
)


def parsed(octets: bytes) -> Options:
    """
    Parse options in the middle of a buffer.
    """
    return parseOptions(b"\xff" * 7 + octets + b"\xff" * 9, 7, 7 + len(octets))


class ParseOptionsTests(SynchronousTestCase):
    def test_noOctetsAreNoOptions(self) -> None:
        self.assertEqual(parsed(b""), NO_OPTIONS)

    def test_theOptionsOfASYNAreParsed(self) -> None:
        octets = bytes.fromhex("020405b4 0402 080a 01020304 0a0b0c0d 01 030307")
        self.assertEqual(parsed(octets), Options(1460, 7, True, 0x01020304, 0x0A0B0C0D))

    def test_aSACKIsParsed(self) -> None:
        octets = bytes.fromhex("0101 0512 00000001 00000002 fffffffe ffffffff")
        self.assertEqual(list(parsed(octets).sacks), [(1, 2), (0xFFFFFFFE, 0xFFFFFFFF)])

    def test_aSACKOfAnotherLengthIsSkipped(self) -> None:
        for length in 2, 6, 9, 11, 12:
            octets = bytes((tcp.SACK, length)) + bytes(length - 2) + b"\3\3\7"
            self.assertEqual(parsed(octets), Options(scale=7), length)

    def test_theLastOfTwoOptionsOfAKindCounts(self) -> None:
        self.assertEqual(parsed(bytes.fromhex("02040001 02040002")).mss, 2)

    def test_aScaleIsAtMost14(self) -> None:
        for scale, taken in (0, 0), (14, 14), (15, 14), (255, 14):
            self.assertEqual(parsed(bytes((3, 3, scale))).scale, taken)

    def test_anInvalidLengthEndsTheOptions(self) -> None:
        for malformed in b"\xfd\0", b"\xfd\1", b"\xfd\xff", b"\2\4\5", b"\3":
            self.assertEqual(parsed(b"\4\2" + malformed), Options(sackPermitted=True), malformed)

    def test_optionsBehindAnInvalidLengthAreIgnored(self) -> None:
        for malformed in b"\xfd\0", b"\xfd\1", b"\xfd\xff":
            self.assertEqual(parsed(malformed + b"\3\3\7"), NO_OPTIONS, malformed)

    def test_anUnknownOptionIsSkipped(self) -> None:
        self.assertEqual(parsed(b"\xfd\4\0\0\4\2"), Options(sackPermitted=True))

    def test_anOptionOfAWrongLengthIsSkipped(self) -> None:
        for kind, length in (2, 3), (2, 5), (3, 4), (4, 3), (8, 9), (8, 11), (19, 17):
            octets = bytes((kind, length)) + bytes(length - 2)
            self.assertEqual(parsed(octets + b"\3\3\5"), Options(scale=5), (kind, length))

    def test_optionsBehindTheEndAreIgnored(self) -> None:
        self.assertEqual(parsed(b"\4\2\0\3\3\7"), Options(sackPermitted=True))

    def test_aSignatureIsDetected(self) -> None:
        self.assertTrue(parsed(b"\x13\x12" + bytes(16)).signed)

    @given(binary(max_size=40))
    def test_arbitraryOptionsRaiseNothing(self, octets: bytes) -> None:
        options = parsed(octets)
        self.assertLessEqual(len(options.sacks), tcp.MAX_SACKS)
        self.assertTrue(options.scale is None or 0 <= options.scale <= tcp.MAX_SCALE)

    @given(halves, one_of(none(), integers(0, 14)), booleans(), one_of(none(), tuples(words, words)))
    def test_packedSYNOptionsAreParsedBack(
        self, mss: int, scale: int | None, sackPermitted: bool, timestamps: tuple[int, int] | None
    ) -> None:
        octets = tcp.packSynOptions(mss, scale, sackPermitted, timestamps)
        self.assertEqual(len(octets) % 4, 0)
        self.assertLessEqual(len(octets), tcp.MAX_OPTIONS)
        at, echo = timestamps or (None, 0)
        self.assertEqual(parsed(octets), Options(mss, scale, sackPermitted, at, echo))

    @given(lists(tuples(words, words), min_size=1, max_size=4), words, words)
    def test_packedSACKsAndTimestampsAreParsedBack(
        self, sacks: list[tuple[int, int]], timestamp: int, echo: int
    ) -> None:
        octets = tcp.packSacks(sacks)
        self.assertEqual(len(octets) % 4, 0)
        self.assertEqual(list(parsed(octets).sacks), sacks)
        octets = tcp.packTimestamps(timestamp, echo)
        self.assertEqual(len(octets), tcp.ALIGNED_LENGTH)
        self.assertEqual(parsed(octets), Options(timestamp=timestamp, echo=echo))
        most = tcp.packTimestamps(timestamp, echo) + tcp.packSacks(sacks[: tcp.MAX_SACKS_BESIDE_TIMESTAMPS])
        self.assertLessEqual(len(most), tcp.MAX_OPTIONS)


class PackHeaderTests(SynchronousTestCase):
    def test_knownSegment(self) -> None:
        pseudo = tcp.pseudoSum(packAddress("10.0.0.1"), packAddress("10.0.0.2"))
        header = tcp.packHeader(pseudo, 1, 2, 3, 4, tcp.PSH | tcp.ACK, 5, b"", b"hi")
        self.assertEqual(header[:16], bytes.fromhex("0001 0002 00000003 00000004 5018 0005"))
        # 0x1400 + 6 + 22 for the addresses, the protocol and the length; 0x1 + 0x2 + 0x3 + 0x4 + 0x5018 + 0x5 + 0x6869.
        self.assertEqual(header[16:], (0xFFFF - (0x1403 + 6 + 22 + 0xB890)).to_bytes(2, "big") + b"\0\0")

    @given(pairs, halves, halves, words, words, integers(0, 255), halves, binary(max_size=64))
    def test_aPackedSegmentSumsToZeroWithThePseudoHeader(
        self,
        addresses: tuple[bytes, bytes],
        source: int,
        dest: int,
        sequence: int,
        acknowledgment: int,
        flags: int,
        window: int,
        payload: bytes,
    ) -> None:
        fields = source, dest, sequence, acknowledgment, flags, window
        options = tcp.packTimestamps(1, 2)
        segment = tcp.packHeader(tcp.pseudoSum(*addresses), *fields, options, payload) + payload
        pseudo = b"".join(addresses) + len(segment).to_bytes(4, "big") + b"\0\0\0\x06"
        self.assertEqual(onesSum(pseudo + segment), 0)
        *found, word, foundWindow, _, urgent = tcp.HEADER.unpack_from(segment)
        self.assertEqual((*found, word & 0xFF, foundWindow), fields)
        self.assertEqual((word >> 12 << 2, urgent), (tcp.HEADER_LENGTH + len(options), 0))

    @given(pairs, binary(max_size=64))
    def test_anOpenChecksumIsTheSumOfThePseudoHeader(self, addresses: tuple[bytes, bytes], payload: bytes) -> None:
        pseudo = tcp.pseudoSum(*addresses)
        opened = tcp.packOpenHeader(pseudo, 1, 2, 3, 4, tcp.ACK, 5, b"", len(payload))
        whole = tcp.packHeader(pseudo, 1, 2, 3, 4, tcp.ACK, 5, b"", payload)
        sum_ = int.from_bytes(opened[16:18], "big")
        self.assertEqual(opened[:16] + opened[18:], whole[:16] + whole[18:])
        self.assertEqual(sum_ % 0xFFFF, (pseudo + 20 + len(payload)) % 0xFFFF)
