"""
A parser of capture files. It reads pcapng files (draft-ietf-opsawg-pcapng) and the older pcap files
(draft-ietf-opsawg-pcap) with times in microseconds or nanoseconds, in either byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from txtuntap.wire import pcapng

#: The most octets of one block, and of one packet (MAXIMUM_SNAPLEN of libpcap). A file with longer ones is refused.
#: Blocks of types that are not read here may be longer, because they are skipped.
MAX_BLOCK = 1 << 20
MAX_PACKET = 1 << 18

#: The most interfaces of one section, and the most options of one block.
MAX_INTERFACES = 4096
MAX_OPTIONS = 1024

#: The magic numbers of pcap files with times in microseconds and in nanoseconds.
_MICROSECONDS = 0xA1B2C3D4
_NANOSECONDS = 0xA1B23C4D

#: The first octets of compressed files and of capture files in formats that are not read here, with advice.
_OTHERS = {
    b"\x1f\x8b": "compressed by gzip: decompress it, or give gzip.open(path)",
    b"BZh": "compressed by bzip2: decompress it, or give bz2.open(path)",
    b"\xfd7zX": "compressed by xz: decompress it, or give lzma.open(path)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: decompress it",
    b"\x04\x22\x4d\x18": "compressed by lz4: decompress it",
    b"snoo": "of snoop: 'editcap FILE NEW' makes a pcapng file of it",
    b"\x34\xcd\xb2\xa1": "pcap with fields of Linux 2.2: 'editcap FILE NEW' makes a pcapng file of it",
    b"\xa1\xb2\xcd\x34": "pcap with fields of Linux 2.2: 'editcap FILE NEW' makes a pcapng file of it",
}

_SECOND = 1_000_000_000

#: The number of octets that L{readCapture} reads at once.
_READ_SIZE = 1 << 16

#: The least length of a block in octets, for each type of block that is read.
_LEAST = {
    pcapng.SECTION_HEADER: 28,
    pcapng.INTERFACE_DESCRIPTION: 20,
    pcapng.PACKET: 32,
    pcapng.SIMPLE_PACKET: 16,
    pcapng.INTERFACE_STATISTICS: 24,
    pcapng.ENHANCED_PACKET: 32,
}


class CaptureFileError(ValueError):
    """
    The file is not a capture file, is malformed, or ends too early.
    """


@dataclass(frozen=True, slots=True)
class CapturedInterface:
    """
    An interface that packets were captured on.

    @ivar linkType: C{pcapng.ETHERNET}, C{pcapng.RAW}, or another LINKTYPE value.
    @ivar snaplen: the most octets of a packet that were recorded; 0: there was no limit.
    @ivar name: the name of the interface; empty if the file has none.
    @ivar description: the description of the interface; empty if the file has none.
    @ivar unitsPerSecond: the resolution of the interface's timestamps, in units per second.
    @ivar offset: the number of seconds to add to each timestamp.
    """

    linkType: int
    snaplen: int = 0
    name: str = ""
    description: str = ""
    unitsPerSecond: int = 1_000_000
    offset: int = 0


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """
    One packet of a capture file.

    @ivar data: the octets of the packet that were recorded.
    @ivar time: the time of the packet in nanoseconds since 1970; C{None} if the file has none.
    @ivar length: the length of the packet on the link, in octets. It can exceed that of C{data}.
    @ivar interface: the interface that captured the packet.
    @ivar direction: C{pcapng.INBOUND}, C{pcapng.OUTBOUND} or C{pcapng.UNKNOWN}.
    @ivar comments: the comments on the packet in the file.
    @ivar dropped: the number of packets between the previous recorded packet and this one that were not recorded.
    """

    data: bytes
    time: int | None
    length: int
    interface: CapturedInterface
    direction: int = pcapng.UNKNOWN
    comments: tuple[str, ...] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class CapturedStatistics:
    """
    The statistics of an interface, as far as the file has them.

    @ivar received: the number of packets that the interface received; C{None} if the file does not have it.
    @ivar dropped: the number of these that were not recorded; C{None} if the file does not have it.
    """

    received: int | None
    dropped: int | None


class CaptureParser:
    """
    A parser that is fed a capture file in pieces of any length, and returns its packets. It buffers at most one block.

    @ivar statistics: the latest statistics of each interface of the present section, by the interface's number.
    """

    def __init__(self) -> None:
        self.statistics: dict[int, CapturedStatistics] = {}
        self._buffer = bytearray()
        # The position in the file of the first octet of the buffer.
        self._offset = 0
        # The number of octets still to skip of a block whose type is not read.
        self._skip = 0
        self._order = "<"
        self._interfaces: list[CapturedInterface] = []
        # The record header of a pcap file: seconds, fraction, octets recorded, octets on the link. _fraction is the
        # number of nanoseconds in a unit of the fraction.
        self._record = struct.Struct("<IIII")
        self._fraction = 1
        self._error: CaptureFileError | None = None
        # The function that reads the next part of the file at a position of the buffer. It returns the part's length in
        # octets, or 0 if the buffer does not hold all of it.
        self._next: Callable[[int, list[CapturedPacket]], int] = self._detectFormat

    def feed(self, data: bytes) -> list[CapturedPacket]:
        """
        Parse the next piece of the file.

        @return: the packets that are complete with this piece.

        @raise CaptureFileError: the file is malformed. If this piece completes packets before the error, they are
            returned, and the error is raised by the next L{feed} or by L{close}.
        """
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        buffer += data
        packets: list[CapturedPacket] = []
        at = 0
        try:
            while at < len(buffer):
                if self._skip:
                    used = min(self._skip, len(buffer) - at)
                    self._skip -= used
                else:
                    used = self._next(at, packets)
                    if not used:
                        break
                at += used
        except CaptureFileError as e:
            self._error = CaptureFileError(f"{e} (at octet {self._offset + at})")
            buffer.clear()
            if not packets:
                raise self._error from None
            return packets
        del buffer[:at]
        self._offset += at
        return packets

    def close(self) -> None:
        """
        Note the end of the file.

        @raise CaptureFileError: the file ends within a block or a packet, is empty, or is malformed.
        """
        if self._error is not None:
            raise self._error
        if not self._offset and not self._buffer:
            raise CaptureFileError("this is no capture file: it is empty")
        if self._buffer or self._skip:
            raise CaptureFileError(f"the file is cut short: the part that begins at octet {self._offset} is incomplete")

    def _detectFormat(self, at: int, packets: list[CapturedPacket]) -> int:
        """
        Detect the format of the file, and read its first header.
        """
        if len(self._buffer) < 4:
            return 0
        for order in "<", ">":
            (magic,) = struct.unpack_from(f"{order}I", self._buffer)
            if magic == pcapng.SECTION_HEADER:
                self._next = self._block
                return self._block(at, packets)
            if magic in (_MICROSECONDS, _NANOSECONDS):
                if len(self._buffer) < 24:
                    return 0
                _, major, _, _, _, snaplen, linkType = struct.unpack_from(f"{order}IHHiIII", self._buffer)
                if major != 2:
                    raise CaptureFileError(f"this pcap file has the version {major}, and not 2")
                self._fraction = 1000 if magic == _MICROSECONDS else 1
                self._record = struct.Struct(f"{order}IIII")
                # The upper 16 bits describe the frame check sequence or are reserved.
                self._interfaces = [CapturedInterface(linkType & 0xFFFF, snaplen)]
                self._next = self._pcapPacket
                return 24
        for start, what in _OTHERS.items():
            if self._buffer.startswith(start):
                raise CaptureFileError(f"this file is {what}")
        raise CaptureFileError("this is no capture file, neither pcapng nor pcap")

    def _pcapPacket(self, at: int, packets: list[CapturedPacket]) -> int:
        if len(self._buffer) - at < 16:
            return 0
        seconds, fraction, captured, length = self._record.unpack_from(self._buffer, at)
        if captured > MAX_PACKET:
            raise CaptureFileError(f"a packet of {captured} octets, more than {MAX_PACKET}")
        if len(self._buffer) - at < 16 + captured:
            return 0
        data = bytes(self._buffer[at + 16 : at + 16 + captured])
        time = seconds * _SECOND + fraction * self._fraction
        packets.append(CapturedPacket(data, time, max(length, captured), self._interfaces[0]))
        return 16 + int(captured)

    def _block(self, at: int, packets: list[CapturedPacket]) -> int:
        buffer = self._buffer
        if len(buffer) - at < 12:
            return 0
        kind, length = struct.unpack_from(f"{self._order}II", buffer, at)
        if kind == pcapng.SECTION_HEADER:
            # The type of this block is the same in both byte orders. Each section has its own byte order.
            self._order = self._sectionOrder(at)
            kind, length = struct.unpack_from(f"{self._order}II", buffer, at)
        if length % 4 or length < _LEAST.get(kind, 12):
            raise CaptureFileError(f"a block that claims to have {length} octets")
        if kind not in _LEAST:
            # The 8 octets of type and length are in the buffer, so they are consumed here.
            self._skip = length - 8
            return 8
        if length > MAX_BLOCK:
            raise CaptureFileError(f"a block may have {MAX_BLOCK} octets, and this one claims {length} octets")
        if len(buffer) - at < length:
            return 0
        if struct.unpack_from(f"{self._order}I", buffer, at + length - 4)[0] != length:
            raise CaptureFileError("a block whose two lengths differ")
        body = bytes(buffer[at + 8 : at + length - 4])
        if kind == pcapng.SECTION_HEADER:
            self._section(body)
        elif kind == pcapng.INTERFACE_DESCRIPTION:
            self._interface(body)
        elif kind == pcapng.INTERFACE_STATISTICS:
            self._statistics(body)
        else:
            packets.append(self._packet(kind, body))
        return int(length)

    def _sectionOrder(self, at: int) -> str:
        for order in "<", ">":
            if struct.unpack_from(f"{order}I", self._buffer, at + 8)[0] == pcapng.BYTE_ORDER_MAGIC:
                return order
        raise CaptureFileError("a section without its byte-order magic")

    def _section(self, body: bytes) -> None:
        (major,) = struct.unpack_from(f"{self._order}H", body, 4)
        if major != 1:
            raise CaptureFileError(f"a section of version {major}, and not 1")
        self._interfaces = []
        self.statistics = {}

    def _interface(self, body: bytes) -> None:
        if len(self._interfaces) >= MAX_INTERFACES:
            raise CaptureFileError(f"more than {MAX_INTERFACES} interfaces")
        linkType, _, snaplen = struct.unpack_from(f"{self._order}HHI", body)
        name = description = ""
        units, offset = 1_000_000, 0
        for code, value in self._options(body, 8):
            if code == pcapng.NAME:
                name = value.decode("utf-8", "replace")
            elif code == pcapng.DESCRIPTION:
                description = value.decode("utf-8", "replace")
            elif code == pcapng.RESOLUTION and len(value) == 1:
                power = value[0] & 0x7F
                units = 2**power if value[0] & 0x80 else 10**power
            elif code == pcapng.OFFSET and len(value) == 8:
                (offset,) = struct.unpack(f"{self._order}q", value)
        self._interfaces.append(CapturedInterface(linkType, snaplen, name, description, units, offset))

    def _statistics(self, body: bytes) -> None:
        (number,) = struct.unpack_from(f"{self._order}I", body)
        self._numbered(number)
        counts: dict[int, int] = {}
        for code, value in self._options(body, 12):
            if code in (pcapng.RECEIVED, pcapng.DROPPED) and len(value) == 8:
                (counts[code],) = struct.unpack(f"{self._order}Q", value)
        self.statistics[number] = CapturedStatistics(counts.get(pcapng.RECEIVED), counts.get(pcapng.DROPPED))

    def _packet(self, kind: int, body: bytes) -> CapturedPacket:
        order = self._order
        number = high = low = dropped = 0
        if kind == pcapng.ENHANCED_PACKET:
            number, high, low, captured, length = struct.unpack_from(f"{order}IIIII", body)
            start = 20
        elif kind == pcapng.PACKET:
            number, dropped, high, low, captured, length = struct.unpack_from(f"{order}HHIIII", body)
            # 0xffff stands for an unknown number.
            dropped = 0 if dropped == 0xFFFF else dropped
            start = 20
        else:
            (length,) = struct.unpack_from(f"{order}I", body)
            captured = min(length, self._numbered(0).snaplen or length)
            start = 4
        interface = self._numbered(number)
        if captured > MAX_PACKET or start + captured > len(body):
            raise CaptureFileError(f"a packet of {captured} octets in a block of {len(body) + 12}")
        comments: list[str] = []
        direction = pcapng.UNKNOWN
        options = () if kind == pcapng.SIMPLE_PACKET else self._options(body, start + captured + (-captured & 3))
        for code, value in options:
            if code == pcapng.COMMENT:
                comments.append(value.decode("utf-8", "replace"))
            elif code == pcapng.FLAGS and len(value) == 4:
                direction = struct.unpack(f"{order}I", value)[0] & 3
            elif code == pcapng.DROP_COUNT and len(value) == 8:
                (dropped,) = struct.unpack(f"{order}Q", value)
        time = None
        if kind != pcapng.SIMPLE_PACKET:
            units = interface.unitsPerSecond
            ticks = high << 32 | low
            time = (ticks if units == _SECOND else ticks * _SECOND // units) + interface.offset * _SECOND
        data = body[start : start + captured]
        # The value 3 of the direction field is undefined.
        direction = direction if direction != 3 else pcapng.UNKNOWN
        return CapturedPacket(data, time, max(length, captured), interface, direction, tuple(comments), dropped)

    def _numbered(self, number: int) -> CapturedInterface:
        if number >= len(self._interfaces):
            raise CaptureFileError(f"a block refers to interface {number}, which the section does not describe")
        return self._interfaces[number]

    def _options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        for _ in range(MAX_OPTIONS):
            if at >= len(body):
                return
            if at + 4 > len(body):
                break
            code, length = struct.unpack_from(f"{self._order}HH", body, at)
            if code == pcapng.END_OF_OPTIONS:
                return
            at += 4
            if at + length > len(body):
                break
            yield code, body[at : at + length]
            at += length + (-length & 3)
        else:
            raise CaptureFileError(f"more than {MAX_OPTIONS} options")
        raise CaptureFileError("an option that is longer than its block")


def readCapture(file: BinaryIO) -> Iterator[CapturedPacket]:
    """
    Read the packets of a capture file one after another. The file is read only as far as the packets are consumed.

    @param file: a file that is open for reading in binary mode.

    @raise CaptureFileError: the file is not a capture file, is malformed, or ends too early. The packets before the
        error are returned first.
    """
    parser = CaptureParser()
    while data := file.read(_READ_SIZE):
        yield from parser.feed(data)
    parser.close()
