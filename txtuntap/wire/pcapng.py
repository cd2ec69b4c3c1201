"""
pcapng, the format of capture files (draft-ietf-opsawg-pcapng): blocks of it, packed.

    +---------------+-----------------+--------------------------+-----------------+
    |  Block Type   |  Total Length   |  body, options; padded   |  Total Length   |
    +---------------+-----------------+--------------------------+-----------------+
          4                 4            to a multiple of 4               4             octets

A file is a section header, the description of an interface, and packets. What is packed here is little-endian, with
times in nanoseconds. L{txtuntap.wire.capturefile} reads it back, and what others have written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

#: Block types.
SECTION_HEADER, INTERFACE_DESCRIPTION, PACKET, SIMPLE_PACKET = 0x0A0D0D0A, 1, 2, 3
INTERFACE_STATISTICS, ENHANCED_PACKET = 5, 6

#: By this a reader tells the byte order of a section.
BYTE_ORDER_MAGIC = 0x1A2B3C4D

#: LINKTYPE_ETHERNET, LINKTYPE_RAW: Ethernet frames; IP packets.
ETHERNET, RAW = 1, 101

#: Which way a packet went (C{epb_flags}): nobody says; in; out.
UNKNOWN, INBOUND, OUTBOUND = 0, 1, 2

#: Options of any block.
END_OF_OPTIONS, COMMENT = 0, 1
#: Options of a section header.
OS, APPLICATION = 3, 4
#: Options of an interface's description; its C{OS} has another number than a section header's.
NAME, DESCRIPTION, RESOLUTION, INTERFACE_OS, OFFSET = 2, 3, 9, 12, 14
#: Options of an enhanced packet.
FLAGS, DROP_COUNT = 2, 4
#: Options of statistics: packets that were received, and those of them that there was no room for.
START_TIME, END_TIME, RECEIVED, DROPPED = 2, 3, 4, 5

#: C{if_tsresol}: tens of a second to the power of minus nine.
NANOSECONDS = 9

#: The most octets that one option has.
MAX_OPTION = 0xFFFF

_WORDS = struct.Struct("<II")
_OPTION = struct.Struct("<HH")
_SECTION = struct.Struct("<IHHq")
_INTERFACE = struct.Struct("<HHI")
_STATISTICS = struct.Struct("<III")
_ENHANCED = struct.Struct("<IIIIIII")
_LENGTH = struct.Struct("<I")
_LONG = struct.Struct("<Q")

#: Options and length of most packets.
_PLAIN = tuple(_OPTION.pack(FLAGS, 4) + _LENGTH.pack(direction) + bytes(4) for direction in range(3))
_PADDING = b"", bytes(3), bytes(2), bytes(1)

#: Octets of an enhanced packet around the packet itself, with these options.
_AROUND = _ENHANCED.size + len(_PLAIN[0]) + _LENGTH.size


def sectionHeader(
    comments: Sequence[str] = (), application: str | None = None, operatingSystem: str | None = None
) -> bytes:
    """
    Make the block that a file begins with. The length of the section is left open.
    """
    options = [*_comments(comments), (OS, _text(operatingSystem)), (APPLICATION, _text(application))]
    return _block(SECTION_HEADER, _SECTION.pack(BYTE_ORDER_MAGIC, 1, 0, -1), options)


def interfaceDescription(
    linkType: int,
    snaplen: int = 0,
    name: str | None = None,
    description: str | None = None,
    operatingSystem: str | None = None,
) -> bytes:
    """
    An interface. The first one of a section has the number 0.

    @param linkType: C{ETHERNET} or C{RAW}.
    @param snaplen: the most octets of a packet that are recorded; 0: all of them.
    """
    options = [
        (NAME, _text(name)),
        (DESCRIPTION, _text(description)),
        (RESOLUTION, bytes([NANOSECONDS])),
        (INTERFACE_OS, _text(operatingSystem)),
    ]
    return _block(INTERFACE_DESCRIPTION, _INTERFACE.pack(linkType, 0, snaplen), options)


def enhancedPacket(
    packet: bytes,
    time: int,
    direction: int = UNKNOWN,
    length: int | None = None,
    comments: Sequence[str] = (),
    dropped: int = 0,
    interface: int = 0,
) -> bytes:
    """
    One packet.

    @param packet: its octets, as many as are recorded.
    @param time: in nanoseconds since 1970.
    @param direction: C{INBOUND}, C{OUTBOUND} or C{UNKNOWN}.
    @param length: how many octets it had; L{None}: those.
    @param dropped: how many packets were not recorded since the last one that was.
    """
    captured = len(packet)
    padding = _PADDING[captured & 3]
    options = _PLAIN[direction]
    if comments or dropped:
        more = _comments(comments)
        if dropped:
            more.append((DROP_COUNT, _LONG.pack(dropped)))
        options = _options([(FLAGS, _LENGTH.pack(direction)), *more])
    total = _AROUND - len(_PLAIN[0]) + captured + len(padding) + len(options)
    header = _ENHANCED.pack(
        ENHANCED_PACKET, total, interface, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF, captured, length or captured
    )
    return b"".join((header, packet, padding, options, _LENGTH.pack(total)))


def interfaceStatistics(
    time: int,
    received: int,
    dropped: int,
    start: int | None = None,
    comments: Sequence[str] = (),
    interface: int = 0,
) -> bytes:
    """
    Make the block of an interface's statistics.

    @param time: now, in nanoseconds since 1970.
    @param received: packets that were to be recorded.
    @param dropped: those of them that were not.
    @param start: when that began.
    """
    options = _comments(comments)
    for code, at in (START_TIME, start), (END_TIME, time):
        if at is not None:
            options.append((code, _WORDS.pack(at >> 32 & 0xFFFFFFFF, at & 0xFFFFFFFF)))
    options += [(RECEIVED, _LONG.pack(received)), (DROPPED, _LONG.pack(dropped))]
    body = _STATISTICS.pack(interface, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF)
    return _block(INTERFACE_STATISTICS, body, options)


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    body += _options(options)
    total = len(body) + 12
    return _WORDS.pack(kind, total) + body + _LENGTH.pack(total)


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    packed = [
        _OPTION.pack(code, len(value)) + value + _PADDING[len(value) & 3]
        for code, value in options
        if value or code == COMMENT
    ]
    return b"".join((*packed, bytes(4))) if packed else b""


def _comments(comments: Sequence[str]) -> list[tuple[int, bytes]]:
    return [(COMMENT, _text(each)) for each in comments]


def _text(text: str | None) -> bytes:
    """
    Text of an option, cut where it does not fit.
    """
    octets = (text or "").encode("utf-8", "replace")
    if len(octets) > MAX_OPTION:
        octets = octets[:MAX_OPTION].decode("utf-8", "ignore").encode()
    return octets
