"""
Functions that pack the blocks of pcapng, the format of capture files. Read draft-ietf-opsawg-pcapng sections 3 and 4
first::

    +---------------+-----------------+--------------------------+-----------------+
    |  Block Type   |  Total Length   |  body, options; padded   |  Total Length   |
    +---------------+-----------------+--------------------------+-----------------+
          4                 4            to a multiple of 4               4             octets

A file consists of a section header, the description of an interface, and packets. The blocks packed here are
little-endian, with times in nanoseconds. L{txtuntap.wire.capturefile} reads these files, and those of other programs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

#: Block types.
SECTION_HEADER, INTERFACE_DESCRIPTION, PACKET, SIMPLE_PACKET = 0x0A0D0D0A, 1, 2, 3
INTERFACE_STATISTICS, ENHANCED_PACKET = 5, 6

#: The number in a section header from which a reader detects the byte order of the section.
BYTE_ORDER_MAGIC = 0x1A2B3C4D

#: The link types of Ethernet frames (LINKTYPE_ETHERNET) and of IP packets (LINKTYPE_RAW).
ETHERNET, RAW = 1, 101

#: The direction of a packet (C{epb_flags}): unknown, received, sent.
UNKNOWN, INBOUND, OUTBOUND = 0, 1, 2

#: The options of every block.
END_OF_OPTIONS, COMMENT = 0, 1
#: The options of a section header.
OS, APPLICATION = 3, 4
#: The options of an interface description. The option for the operating system has another number than in a section
#: header.
NAME, DESCRIPTION, RESOLUTION, INTERFACE_OS, OFFSET = 2, 3, 9, 12, 14
#: The options of an enhanced packet.
FLAGS, DROP_COUNT = 2, 4
#: The options of interface statistics. C{DROPPED} counts the received packets that were not recorded.
START_TIME, END_TIME, RECEIVED, DROPPED = 2, 3, 4, 5

#: The resolution of times (C{if_tsresol}): 10 to the power of -9 seconds.
NANOSECONDS = 9

#: The most octets of the value of one option.
MAX_OPTION = 0xFFFF

_WORDS = struct.Struct("<II")
_OPTION = struct.Struct("<HH")
_SECTION = struct.Struct("<IHHq")
_INTERFACE = struct.Struct("<HHI")
_STATISTICS = struct.Struct("<III")
_ENHANCED = struct.Struct("<IIIIIII")
_LENGTH = struct.Struct("<I")
_LONG = struct.Struct("<Q")

#: For each direction, the packed options of a packet that has no other options.
_PLAIN = tuple(_OPTION.pack(FLAGS, 4) + _LENGTH.pack(direction) + bytes(4) for direction in range(3))
_PADDING = b"", bytes(3), bytes(2), bytes(1)

#: The octets of an enhanced packet block without the packet itself, with the options above.
_AROUND = _ENHANCED.size + len(_PLAIN[0]) + _LENGTH.size


def sectionHeader(
    comments: Sequence[str] = (), application: str | None = None, operatingSystem: str | None = None
) -> bytes:
    """
    Pack the block at the beginning of a file. It declares the length of the section as unknown.
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
    Pack the block that describes an interface. The first interface of a section has the number 0.

    @param linkType: C{ETHERNET} or C{RAW}.
    @param snaplen: the most octets of a packet that are recorded; 0: all octets.
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
    Pack the block of one packet.

    @param packet: the octets of the packet that are recorded.
    @param time: the time of the packet in nanoseconds since 1970.
    @param direction: C{INBOUND}, C{OUTBOUND} or C{UNKNOWN}.
    @param length: the length of the whole packet in octets; C{None}: the length of C{packet}.
    @param dropped: the number of packets between the previous recorded packet and this one that were not recorded.
    @param interface: the number of the interface.
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
    Pack the block of an interface's statistics.

    @param time: the present time in nanoseconds since 1970.
    @param received: the number of packets that were received.
    @param dropped: the number of these that were not recorded.
    @param start: the time at which the capture began, in nanoseconds since 1970.
    @param interface: the number of the interface.
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
    Encode the text of an option. Text that does not fit is cut at a character.
    """
    octets = (text or "").encode("utf-8", "replace")
    if len(octets) > MAX_OPTION:
        octets = octets[:MAX_OPTION].decode("utf-8", "ignore").encode()
    return octets
