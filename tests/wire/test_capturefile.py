"""
Tests for L{txtuntap.wire.pcapng} and L{txtuntap.wire.capturefile}.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import struct
from typing import BinaryIO, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import (
    MAX_BLOCK,
    MAX_INTERFACES,
    MAX_PACKET,
    CapturedPacket,
    CapturedStatistics,
    CaptureFileError,
    CaptureParser,
    readCapture,
)

TIME = 1_795_272_843_937_503_398

SECTION = pcapng.sectionHeader(["of a section"], "an application", "a system")
INTERFACE = pcapng.interfaceDescription(pcapng.ETHERNET, 0, "tap0", "Ethernet frames", "a system")
START = SECTION + INTERFACE


def packets(data: bytes) -> list[CapturedPacket]:
    return list(readCapture(io.BytesIO(data)))


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """
    Make a pcapng block of any type.
    """
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def section(order: str = "<", major: int = 1) -> bytes:
    return block(pcapng.SECTION_HEADER, struct.pack(f"{order}IHHq", 0x1A2B3C4D, major, 0, -1), order)


def interface(order: str = "<", *options: tuple[int, bytes]) -> bytes:
    packed = b"".join(
        struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) & 3) for code, value in options
    )
    return block(pcapng.INTERFACE_DESCRIPTION, struct.pack(f"{order}HHI", 1, 0, 0) + packed, order)


def enhanced(order: str, ticks: int, data: bytes = b"data", length: int = 4, number: int = 0) -> bytes:
    words = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block(pcapng.ENHANCED_PACKET, words + data + bytes(-len(data) & 3), order)


def pcap(order: str, magic: int, *records: tuple[int, int, bytes, int], linkType: int = 1) -> bytes:
    header = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, linkType)
    return header + b"".join(
        struct.pack(f"{order}IIII", seconds, fraction, len(data), length) + data
        for seconds, fraction, data, length in records
    )


class WrittenTests(SynchronousTestCase):
    """
    Tests that packed blocks are read back.
    """

    def test_aPacketWithAllOptionsIsReadBack(self) -> None:
        packed = pcapng.enhancedPacket(b"a frame", TIME, pcapng.OUTBOUND, 60, ["one", "zwei \N{BLACK HEART SUIT}"], 3)
        (packet,) = packets(START + packed)
        self.assertEqual((packet.data, packet.time, packet.length), (b"a frame", TIME, 60))
        self.assertEqual((packet.direction, packet.dropped), (pcapng.OUTBOUND, 3))
        self.assertEqual(packet.comments, ("one", "zwei \N{BLACK HEART SUIT}"))
        self.assertEqual((packet.interface.name, packet.interface.description), ("tap0", "Ethernet frames"))
        self.assertEqual((packet.interface.linkType, packet.interface.unitsPerSecond), (1, 10**9))

    def test_packetsOfEveryLengthAreReadBack(self) -> None:
        for length in range(9):
            packed = pcapng.enhancedPacket(bytes(length), TIME)
            self.assertEqual(len(packed) % 4, 0)
            self.assertEqual([bytes(length)], [packet.data for packet in packets(START + packed)])

    def test_statisticsAreReadBack(self) -> None:
        parser = CaptureParser()
        self.assertEqual(parser.feed(START + pcapng.interfaceStatistics(TIME, 7, 2, TIME - 5, ["the end"])), [])
        parser.close()
        self.assertEqual(parser.statistics, {0: CapturedStatistics(7, 2)})

    def test_aCommentThatDoesNotFitIsCut(self) -> None:
        packed = pcapng.enhancedPacket(b"", TIME, comments=["\N{BLACK HEART SUIT}" * 30_000])
        (packet,) = packets(START + packed)
        self.assertEqual(packet.comments, ("\N{BLACK HEART SUIT}" * (0xFFFF // 3),))

    @given(
        st.lists(
            st.tuples(
                st.binary(max_size=50),
                st.integers(0, 2**64 - 1),
                st.sampled_from([0, 1, 2]),
                st.lists(st.text(max_size=5), max_size=3),
                st.integers(0, 2**64 - 1),
            ),
            max_size=8,
        ),
        st.integers(1, 40),
    )
    def test_aFileFedInPiecesIsReadBack(self, written: list[tuple[bytes, int, int, list[str], int]], size: int) -> None:
        data = START + b"".join(
            pcapng.enhancedPacket(packet, time, direction, None, comments, dropped)
            for packet, time, direction, comments, dropped in written
        )
        parser = CaptureParser()
        read = [each for at in range(0, len(data), size) for each in parser.feed(data[at : at + size])]
        parser.close()
        found = [(each.data, each.time, each.direction, list(each.comments), each.dropped) for each in read]
        self.assertEqual(found, written)


class OthersTests(SynchronousTestCase):
    """
    Tests with files of other programs.
    """

    def test_bothByteOrdersAreRead(self) -> None:
        for order in "<", ">":
            (packet,) = packets(section(order) + interface(order) + enhanced(order, 1_500_000))
            self.assertEqual((packet.data, packet.time), (b"data", 1_500_000_000))

    def test_sectionsMayHaveDifferentByteOrders(self) -> None:
        parts = [section(order) + interface(order) + enhanced(order, 1_000_000) for order in "<>"]
        self.assertEqual([packet.time for packet in packets(b"".join(parts))], [10**9, 10**9])

    def test_everyResolutionIsRead(self) -> None:
        for resolution, ticks, time in (
            (9, TIME, TIME),
            (6, 1_500_001, 1_500_001_000),
            (0, 3, 3 * 10**9),
            (12, 1_999, 1),
            (0x80 | 10, 1536, 1_500_000_000),
            (0xFF, 2**64 - 1, 0),
        ):
            described = interface("<", (9, bytes([resolution])))
            (packet,) = packets(section() + described + enhanced("<", ticks))
            self.assertEqual(packet.time, time, resolution)

    def test_anOffsetIsAddedToTimes(self) -> None:
        described = interface("<", (14, struct.pack("<q", -2)))
        (packet,) = packets(section() + described + enhanced("<", 5_000_000))
        self.assertEqual(packet.time, 3 * 10**9)

    def test_olderPacketBlocksAreRead(self) -> None:
        simple = block(pcapng.SIMPLE_PACKET, struct.pack("<I", 4) + b"data")
        old = block(pcapng.PACKET, struct.pack("<HHIIII", 0, 2, 0, 1000, 4, 9) + b"data")
        one, two = packets(section() + interface() + simple + old)
        self.assertEqual((one.data, one.length, one.time), (b"data", 4, None))
        self.assertEqual((two.data, two.length, two.time, two.dropped), (b"data", 9, 1_000_000, 2))

    def test_unknownBlocksAreSkipped(self) -> None:
        for size in 0, 4, 2 * MAX_BLOCK:
            data = section() + block(0x0BAD, bytes(size)) + interface() + enhanced("<", 0)
            self.assertEqual(len(packets(data)), 1)

    def test_pcapFilesAreRead(self) -> None:
        for order in "<", ">":
            for magic, time in (0xA1B2C3D4, 7_000_003_000), (0xA1B23C4D, 7_000_000_003):
                data = pcap(order, magic, (7, 3, b"data", 4), (8, 0, b"cut", 100), linkType=101)
                one, two = packets(data)
                self.assertEqual((one.data, one.time, one.length), (b"data", time, 4))
                self.assertEqual((two.data, two.length, two.direction), (b"cut", 100, pcapng.UNKNOWN))
                self.assertEqual(one.interface.linkType, pcapng.RAW)

    def test_theUpperBitsOfThePcapLinkTypeAreIgnored(self) -> None:
        # The upper bits of the type have the length of the frame check sequence, and a flag that it is present.
        (packet,) = packets(pcap("<", 0xA1B2C3D4, (7, 3, b"data", 4), linkType=0x24000001))
        self.assertEqual(packet.interface.linkType, pcapng.ETHERNET)


class BrokenTests(SynchronousTestCase):
    """
    Tests with files that are cut short, malformed, or no capture files.
    """

    def assertBroken(self, data: bytes, words: str, before: int = 0) -> None:
        read: list[CapturedPacket] = []
        with self.assertRaises(CaptureFileError) as raised:
            for packet in readCapture(io.BytesIO(data)):
                read.append(packet)
        self.assertIn(words, str(raised.exception))
        self.assertEqual(len(read), before)

    def test_completePacketsBeforeTheCutAreReturned(self) -> None:
        one = pcapng.enhancedPacket(b"first", TIME)
        for data, start in (
            (START + one + one, len(START + one)),
            (pcap("<", 0xA1B2C3D4, (0, 0, b"first", 5), (0, 0, b"other", 5)), 24 + 16 + 5),
        ):
            for end in range(start + 1, len(data)):
                self.assertBroken(data[:end], f"cut short: the part that begins at octet {start} is", 1)

    def test_aFileCutInItsHeaderIsAnError(self) -> None:
        for data in START, pcap("<", 0xA1B2C3D4):
            for end in range(1, 24):
                self.assertBroken(data[:end], "cut short")

    def test_aFileCutInAnUnknownBlockIsAnError(self) -> None:
        self.assertBroken(START + block(0x0BAD, bytes(100))[:50], "cut short")

    def test_anotherFileIsAnError(self) -> None:
        self.assertBroken(b"", "empty")
        self.assertBroken(b"GIF89a", "neither pcapng nor pcap")
        self.assertBroken(bytes(100), "neither pcapng nor pcap")

    def test_compressedAndUnsupportedFilesAreNamed(self) -> None:
        for data, words in (
            (gzip.compress(START), "compressed by gzip: decompress it, or give gzip.open(path)"),
            (bz2.compress(START), "compressed by bzip2"),
            (lzma.compress(START), "compressed by xz"),
            (bytes.fromhex("28b52ffd2458"), "compressed by zstd"),
            (bytes.fromhex("04224d186440"), "compressed by lz4"),
            (b"snoop\0\0\0\0\0\0\2\0\0\0\4", "of snoop"),
            (pcap("<", 0xA1B2CD34), "pcap with fields of Linux 2.2"),
            (pcap(">", 0xA1B2CD34), "pcap with fields of Linux 2.2"),
        ):
            self.assertBroken(data, words)

    def test_aDecompressedFileIsRead(self) -> None:
        data = gzip.compress(START + pcapng.enhancedPacket(b"data", TIME))
        with gzip.open(io.BytesIO(data)) as file:
            (packet,) = readCapture(cast(BinaryIO, file))
        self.assertEqual(packet.data, b"data")

    def test_anInvalidBlockLengthIsAnError(self) -> None:
        good = pcapng.enhancedPacket(b"good", TIME)
        for length in 0, 8, 11, 13, 31, 2**32 - 1, 2**32 - 4, MAX_BLOCK + 4:
            bad = struct.pack("<II", pcapng.ENHANCED_PACKET, length) + bytes(100)
            self.assertBroken(START + good + bad, f"{length} octets (at octet {len(START + good)})", 1)

    def test_aBlockWhoseLengthsDifferIsAnError(self) -> None:
        self.assertBroken(START + enhanced("<", 0)[:-4] + bytes(4), "differ")

    def test_aPacketLongerThanItsBlockIsAnError(self) -> None:
        for captured in 5, 2**32 - 1:
            words = struct.pack("<IIIII", 0, 0, 0, captured, 4)
            self.assertBroken(START + block(pcapng.ENHANCED_PACKET, words + b"data"), f"a packet of {captured} octets")
        self.assertBroken(pcap("<", 0xA1B2C3D4) + struct.pack("<IIII", 0, 0, MAX_PACKET + 1, 0), "a packet of")

    def test_anUnknownInterfaceIsAnError(self) -> None:
        for data in enhanced("<", 0, number=1), pcapng.interfaceStatistics(0, 0, 0, interface=1):
            self.assertBroken(START + data, "interface 1")
        self.assertBroken(SECTION + block(pcapng.SIMPLE_PACKET, struct.pack("<I", 4) + b"data"), "interface 0")

    def test_anOptionLongerThanItsBlockIsAnError(self) -> None:
        self.assertBroken(section() + block(1, bytes(8) + struct.pack("<HH", 2, 9) + bytes(8)), "an option")

    def test_anotherVersionIsAnError(self) -> None:
        self.assertBroken(section(major=2), "version 2")
        self.assertBroken(struct.pack("<IHHiIII", 0xA1B2C3D4, 543, 0, 0, 0, 0, 1), "version 543")

    def test_interfacesAndOptionsAreBounded(self) -> None:
        self.assertBroken(section() + interface() * (MAX_INTERFACES + 1), "interfaces")
        self.assertBroken(section() + interface("<", *[(99, b"")] * 2000), "options")

    def test_afterAnErrorEveryCallRaises(self) -> None:
        parser = CaptureParser()
        self.assertRaises(CaptureFileError, parser.feed, b"no capture")
        self.assertRaises(CaptureFileError, parser.feed, START)
        self.assertRaises(CaptureFileError, parser.close)

    @given(
        st.lists(st.binary(max_size=300), max_size=10),
        st.sampled_from([b"", START, section(">"), pcap(">", 0xA1B23C4D)]),
    )
    def test_garbageRaisesOnlyCaptureFileError(self, garbage: list[bytes], start: bytes) -> None:
        parser = CaptureParser()
        try:
            for data in [start, *garbage]:
                parser.feed(data)
            parser.close()
        except CaptureFileError:
            pass

    @given(st.data())
    def test_flippedBitsRaiseOnlyCaptureFileError(self, data: st.DataObject) -> None:
        whole = bytearray(START + pcapng.enhancedPacket(b"a frame", TIME, 1, None, ["one"], 3) * 2)
        whole += pcapng.interfaceStatistics(TIME, 1, 2)
        for at in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=8)):
            whole[at >> 3] ^= 1 << (at & 7)
        with contextlib.suppress(CaptureFileError):
            packets(bytes(whole))

    @given(st.sampled_from([1, 2, 3, 5, 6, 0x0A0D0D0A, 0x0BAD]), st.integers(0, 2**32 - 1) | st.integers(3, 2**19))
    def test_atMostOneBlockIsBuffered(self, kind: int, length: int) -> None:
        parser = CaptureParser()
        try:
            parser.feed(START + struct.pack("<III", kind, length, pcapng.BYTE_ORDER_MAGIC))
            for _ in range(2 * MAX_BLOCK >> 16):
                parser.feed(bytes(1 << 16))
                self.assertLessEqual(len(parser._buffer), MAX_BLOCK)
        except CaptureFileError:
            self.assertEqual(len(parser._buffer), 0)
