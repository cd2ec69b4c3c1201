"""
The IPv4 header and its options. Read RFC 791 sections 3.1 and 3.2 first::

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

#: The fields that are read from every datagram: total length, the word of flags and fragment offset, protocol.
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
#: The flag in the type of an option: the option is copied into every fragment.
_COPIED = 0x80


class IPHeader:
    """
    The fixed part of an IPv4 header. The attributes have the names of C{twisted.pair}, which swaps the values of
    C{version} and C{ihl}.

    @ivar version: the IP version; 4 in a valid header.
    @ivar ihl: the length of the header in octets. (The field on the wire counts words of four octets.)
    @ivar saddr: the source address as text.
    @ivar daddr: the destination address as text.
    @ivar fragment_offset: the fragment offset in units of eight octets, as on the wire.
    """

    def __init__(self, data: bytes) -> None:
        """
        @param data: the packet, or at least the first 20 octets of its header.

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
    Pack a header, and compute its checksum.

    @param source: the packed source address, four octets.
    @param dest: the packed destination address, four octets.
    @param length: the length of the payload in octets. Header and payload have at most 65,535 octets together.
    @param fragment: the word of flags and fragment offset.
    @param options: the options, a multiple of four octets, at most 40.
    """
    ihl = HEADER_LENGTH + len(options)
    header = HEADER.pack(
        0x40 | ihl >> 2, tos, ihl + length, identification, fragment, hopLimit, protocol, 0, source, dest
    )
    header += options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:]


def optionsFault(data: bytes, start: int, end: int) -> tuple[Fault, int] | None:
    """
    Find a fault in the options of a header (RFC 791 section 3.1, RFC 1122 section 3.2.1.8).

    @param start: the position of the first option in C{data}.
    @param end: the position behind the header.

    @return: the reason why the datagram must not be delivered, and the position of the fault; C{None} if there is none.
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


def fragmentsOf(packet: bytes, mtu: int) -> list[bytes]:
    """
    Fragment a packet (RFC 791 section 3.2). The packet may be a fragment itself. The headers of all fragments have the
    same length, as in Linux: in later fragments, No Operation replaces each option that is not copied.

    @param packet: a complete packet with a valid header and without Don't Fragment.
    @param mtu: the most octets of a fragment.

    @return: the fragments. The list is empty if C{mtu} leaves no room for eight octets of payload, or if the options
        are malformed.
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
    Return the options for fragments other than the first, or C{None} if the options are malformed.
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
