"""
The IPv6 header and its extension headers. Read RFC 8200 sections 3 and 4 first::

    +-------+---------------+---------------------------------------+
    |Version| Traffic Class |              Flow Label               |
    +-------+---------------+-------+---------------+---------------+
    |         Payload Length        |  Next Header  |   Hop Limit   |
    +-------------------------------+---------------+---------------+
    |                       Source Address (16)                     |
    +---------------------------------------------------------------+
    |                     Destination Address (16)                  |
    +---------------------------------------------------------------+
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from txtuntap.wire.fault import Fault

#: The header before the addresses: version, traffic class and flow label in one word; payload length; next header; hop
#: limit.
HEADER = struct.Struct("!IHBB")
HEADER_LENGTH = 40
MAX_PAYLOAD = 65535

#: The least MTU of a link (RFC 8200 section 5).
MIN_MTU = 1280

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
DESTINATION_OPTIONS = 60
EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS))

#: The most extension headers of a packet, and the most options and octets of padding in one header. RFC 8200 sets no
#: bound, and a packet of 64 KiB has room for 8,100 headers. Linux has had the same bounds for options since 4.15
#: (net.ipv6.max_hbh_opts_number).
MAX_EXTENSIONS = 8
MAX_OPTIONS = 8
MAX_PADDING = 7

FRAGMENT_HEADER = struct.Struct("!BxHI")

_PAD1 = 0
_PADN = 1


def packHeader(source: bytes, dest: bytes, protocol: int, length: int, hopLimit: int = 64, tos: int = 0) -> bytes:
    """
    Pack a header without extension headers.

    @param source: the packed source address, 16 octets.
    @param dest: the packed destination address, 16 octets.
    @param protocol: the protocol number of the payload, for the Next Header field.
    @param length: the length of the payload in octets, at most 65,535.
    @param tos: the Traffic Class octet.
    """
    return HEADER.pack(0x60000000 | tos << 20, length, protocol, hopLimit) + source + dest


def walkExtensions(
    data: bytes | memoryview, kind: int, start: int, end: int, first: bool = True
) -> tuple[int, int, Fault | None]:
    """
    Walk the extension headers up to the header of the upper layer. The walk also ends at the header of a fragment.

    An I{atomic} fragment is the first and the last fragment in one, and so a whole datagram (RFC 6946). Its fragment
    header is skipped like any other extension header.

    @param kind: the type of the header at C{start}, as in a Next Header field.
    @param start: the position in C{data} of the first header behind the IPv6 header.
    @param end: the position behind the last octet of the packet.
    @param first: whether the header at C{start} is right behind the IPv6 header. Only there, hop-by-hop options may
        stand.

    @return: three values. For a whole datagram: the protocol number of the upper layer, the position of its header, and
        C{None}. For a fragment: C{FRAGMENT}, the position of the fragment header, and C{None}. For a packet that must
        not be delivered: the type of the header with the fault, the position of the fault, and the L{Fault}.
    """
    for count in range(MAX_EXTENSIONS + 1):
        if kind not in EXTENSIONS:
            return kind, start, None
        if kind == HOP_BY_HOP and (count or not first):
            # Anywhere else, hop-by-hop options count as an unknown header (RFC 8200 section 4).
            return kind, start, None
        if count == MAX_EXTENSIONS or start + 8 > end:
            break
        after = start + (8 if kind == FRAGMENT else (data[start + 1] + 1) * 8)
        if after > end:
            break
        if kind == FRAGMENT:
            # The mask has the offset and the flag M. The two bits between them are reserved and ignored on reception.
            if (data[start + 2] << 8 | data[start + 3]) & 0xFFF9:
                return kind, start, None
        elif kind == ROUTING:
            # With Segments Left above 0, the sender asks this host to forward the packet, which only a router may do
            # (RFC 5095, RFC 8200 section 4.4).
            if data[start + 3]:
                return kind, start + 2, Fault.SOURCE_ROUTE
        else:
            fault = _optionsFault(data, start + 2, after)
            if fault is not None:
                return kind, fault[1], fault[0]
        kind = data[start]
        start = after
    return kind, start, Fault.HEADER


def headerChain(data: bytes | memoryview, network: int, end: int) -> Iterator[tuple[int, int]]:
    """
    List the headers behind the IPv6 header. Only the lengths of extension headers are read, and not their contents.

    The last header of the list is normally that of the upper layer. If the headers cannot be read to the end, the last
    one is an extension header. It is cut short, is beyond C{MAX_EXTENSIONS}, or belongs to a later fragment.

    @param network: the position of the IPv6 header.
    @param end: the position behind the last octet of the packet.

    @return: the type and the position of each header.
    """
    kind, at = data[network + 6], network + HEADER_LENGTH
    for _ in range(MAX_EXTENSIONS):
        if kind not in EXTENSIONS or at + 8 > end:
            break
        length = 8 if kind == FRAGMENT else (data[at + 1] + 1) * 8
        if at + length > end or (kind == FRAGMENT and (data[at + 2] << 8 | data[at + 3]) & 0xFFF8):
            break
        yield kind, at
        kind, at = data[at], at + length
    yield kind, at


@dataclass(frozen=True, slots=True)
class UpperLayer:
    """
    The upper layer of an IPv6 packet. A filter uses this record, because it must parse a packet at least as deeply as
    the packet's receiver does.

    @ivar protocol: the protocol number of the upper layer. C{None}: it is unknown, because the headers could not be
        read to the end. The receiver may read more headers, or may have the other fragments.
    @ivar start: the position of the upper layer's header.
    @ivar end: the position behind the last octet of the packet. Padding may follow.
    @ivar isFragment: whether the packet has a fragment header.
    @ivar isLater: whether the packet is a fragment other than the first, which has no header of the upper layer.
    """

    protocol: int | None
    start: int
    end: int
    isFragment: bool
    isLater: bool


def upperLayer(data: bytes | memoryview, network: int) -> UpperLayer:
    """
    Find the upper layer of an IPv6 packet, behind all of its extension headers.

    @param network: the position of the IPv6 header, which is complete.
    """
    end = len(data)
    length = data[network + 4] << 8 | data[network + 5]
    if length or data[network + 6] != HOP_BY_HOP:
        # A packet with length 0 and hop-by-hop options may be a jumbogram. It is not cut: Linux uses all its octets.
        end = min(end, network + HEADER_LENGTH + length)
    *before, (kind, at) = headerChain(data, network, end)
    isFragment = kind == FRAGMENT or any(other == FRAGMENT for other, _ in before)
    if kind not in EXTENSIONS:
        return UpperLayer(kind, at, end, isFragment, False)
    isLater = kind == FRAGMENT and at + 8 <= end and bool((data[at + 2] << 8 | data[at + 3]) & 0xFFF8)
    return UpperLayer(None, at, end, isFragment, isLater)


def nextHeaderField(data: bytes, network: int, header: int) -> int:
    """
    Return the position of the Next Header field that tells the type of the header at C{header}. The field is in the
    IPv6 header or in an extension header.

    @param network: the position of the IPv6 header.
    @param header: the position of a header that L{walkExtensions} has reached.
    """
    field = network + 6
    at = network + HEADER_LENGTH
    while at < header:
        kind, field = data[field], at
        at += 8 if kind == FRAGMENT else (data[at + 1] + 1) * 8
    return field


def _optionsFault(data: bytes | memoryview, start: int, end: int) -> tuple[Fault, int] | None:
    """
    Find a fault in the options between C{start} and C{end} (RFC 8200 section 4.2). The two highest bits of an unknown
    option tell whether the packet must be dropped, and whether its sender gets an ICMP error.

    @return: the reason why the packet must not be delivered, and the position of the fault; C{None} if there is none.
    """
    options = padding = 0
    while start < end:
        kind = data[start]
        if kind == _PAD1:
            padding += 1
            start += 1
        else:
            if start + 1 >= end or start + 2 + data[start + 1] > end:
                return Fault.HEADER, start
            length = 2 + data[start + 1]
            if kind & 0xC0:
                # This includes 0xc2, Jumbo Payload (RFC 2675), because no device here carries jumbograms.
                return (Fault.HEADER if kind >> 6 == 1 else Fault.OPTION), start
            if kind == _PADN:
                if any(data[start + 2 : start + length]):
                    # Padding must be zero, or it could be a covert channel (RFC 4942 section 2.1.9.5).
                    return Fault.HEADER, start
                padding += length
            else:
                padding = 0
                options += 1
                if options > MAX_OPTIONS:
                    return Fault.HEADER, start
            start += length
        if padding > MAX_PADDING:
            return Fault.HEADER, start
    return None
