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


def optionsFault(data: bytes, start: int, end: int) -> tuple[str, int] | None:
    """
    Walk the options between the fixed header and the payload (RFC 791, RFC 1122 section 3.2.1.8).

    @return: the name of the counter for a datagram that must not be delivered, and where the fault is; or L{None}.
    """
    while start < end:
        kind = data[start]
        if kind == END_OF_OPTIONS:
            return None
        if kind == NO_OPERATION:
            start += 1
            continue
        if kind in (LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE):
            return "inSourceRoutes", start
        if start + 1 >= end or data[start + 1] < 2 or start + data[start + 1] > end:
            return "inOptErrors", start
        start += data[start + 1]
    return None
