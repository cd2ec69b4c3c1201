"""
The IPv4 header (RFC 791 section 3.1).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+---------------+-------------------------------+
    |Version|  IHL  |Type of Service|          Total Length         |
    +-------+-------+---------------+-----+-------------------------+
    |         Identification        |Flags|     Fragment Offset     |
    +---------------+---------------+-----+-------------------------+
    | Time to Live  |    Protocol   |        Header Checksum        |
    +---------------+---------------+-------------------------------+
    |                        Source Address                         |
    +---------------------------------------------------------------+
    |                      Destination Address                      |
    +---------------------------------------------------------------+
"""

from __future__ import annotations

import struct

from txtuntap.wire.address import addressText
from txtuntap.wire.checksum import checksum
from txtuntap.wire.fault import Fault

#: The part of a header that every datagram is looked at for: total length, flags and fragment offset, protocol.
ESSENTIALS = struct.Struct("!2xH2xHxB")
HEADER = struct.Struct("!BBHHHBBH4s4s")
HEADER_LENGTH = 20
MAX_LENGTH = 65535

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
OFFSET_MASK = 0x1FFF

END_OF_OPTIONS = 0
NO_OPERATION = 1
LOOSE_SOURCE_ROUTE = 131
STRICT_SOURCE_ROUTE = 137
#: The bit of an option that every fragment has.
_COPIED = 0x80


class IPHeader:
    """
    The fixed part of an IPv4 header. The names are those of C{twisted.pair}, which has C{version} and C{ihl} swapped.

    @ivar version: 4 in a valid header.
    @ivar ihl: the header's length in octets (the field counts words).
    @ivar saddr: the source address as text.
    @ivar daddr: the destination address as text.
    @ivar fragment_offset: in units of eight octets, as on the wire.
    """

    def __init__(self, data: bytes) -> None:
        """
        @raise ValueError: C{data} is shorter than a header.
        """
        if len(data) < HEADER_LENGTH:
            raise ValueError(f"an IPv4 header has at least {HEADER_LENGTH} octets, not {len(data)}")
        first, self.tos, self.tot_len, self.fragment_id, fragment, self.ttl, self.protocol, self.check, source, dest = (
            HEADER.unpack_from(data)
        )
        self.version: int = first >> 4
        self.ihl: int = (first & 0x0F) << 2
        self.saddr = addressText(source)
        self.daddr = addressText(dest)
        self.fragment_offset: int = fragment & OFFSET_MASK
        self.dont_fragment = fragment & DONT_FRAGMENT != 0
        self.more_fragments = fragment & MORE_FRAGMENTS != 0


def packHeader(
    source: bytes,
    dest: bytes,
    protocol: int,
    length: int,
    hopLimit: int = 64,
    identification: int = 0,
    fragment: int = DONT_FRAGMENT,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    """
    A header with its checksum.

    @param source: four octets; so is C{dest}.
    @param length: the payload's, in octets; it and the header are at most 65,535 together.
    @param fragment: the word of flags and fragment offset.
    @param options: a multiple of four octets, at most 40.
    """
    ihl = HEADER_LENGTH + len(options)
    header = HEADER.pack(
        0x40 | ihl >> 2, tos, ihl + length, identification, fragment, hopLimit, protocol, 0, source, dest
    )
    header += options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:]


def optionsFault(data: bytes, start: int, end: int) -> tuple[Fault, int] | None:
    """
    Walk the options between the fixed header and the payload (RFC 791, RFC 1122 section 3.2.1.8).

    @return: why the datagram must not be delivered, and where in C{data} the fault is; or L{None}.
    """
    while start < end:
        kind = data[start]
        if kind == END_OF_OPTIONS:
            return None
        if kind == NO_OPERATION:
            start += 1
            continue
        if kind in (LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE):
            return Fault.SOURCE_ROUTE, start
        if start + 1 >= end or data[start + 1] < 2 or start + data[start + 1] > end:
            return Fault.OPTION, start
        start += data[start + 1]
    return None


def takenApart(packet: bytes, mtu: int) -> list[bytes]:
    """
    The fragments of a packet that routers may take apart, and that may be a fragment itself (RFC 791 section 3.2). As
    Linux does, all have the length of its options, and in those after the first, options that are not to be copied
    are no operations.

    @param packet: a whole one, whose header can be.
    @param mtu: the most octets in each.

    @return: nothing, if so little fits that there can be none, or the options make no sense.
    """
    start = (packet[0] & 0x0F) << 2
    length, word, protocol = ESSENTIALS.unpack_from(packet)
    room = mtu - start & ~7
    options = packet[HEADER_LENGTH:start]
    copied = _copied(options)
    if room <= 0 or copied is None:
        return []
    _, tos, _, identification, _, hopLimit, _, _, source, dest = HEADER.unpack_from(packet)
    fragments = []
    for begin in range(start, length, room):
        piece = packet[begin : min(begin + room, length)]
        isLast = begin + room >= length
        offset = (word & OFFSET_MASK) + (begin - start >> 3)
        more = word & MORE_FRAGMENTS if isLast else MORE_FRAGMENTS
        header = packHeader(source, dest, protocol, len(piece), hopLimit, identification, more | offset, tos, options)
        fragments.append(header + piece)
        options = copied
    return fragments


def _copied(options: bytes) -> bytes | None:
    """
    Options as in a fragment other than the first; L{None} for what cannot be options.
    """
    kept = bytearray(options)
    at = 0
    while at < len(options) and options[at] != END_OF_OPTIONS:
        length = 1
        if options[at] != NO_OPERATION:
            length = options[at + 1] if at + 1 < len(options) else 0
            if length < 2 or at + length > len(options):
                return None
        if not options[at] & _COPIED:
            kept[at : at + length] = bytes((NO_OPERATION,)) * length
        at += length
    return bytes(kept)
