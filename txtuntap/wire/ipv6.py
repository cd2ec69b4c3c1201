"""
The IPv6 header and its extension headers (RFC 8200 sections 3 and 4).

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

#: Version, class and flow label in one word; payload length; next header; hop limit.
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

#: RFC 8200 sets no bound on how many extension headers a packet carries or options they hold; a 64 KiB packet has room
#: for 8,100. Linux has bounded options alike since 4.15 (net.ipv6.max_hbh_opts_number).
MAX_EXTENSIONS = 8
MAX_OPTIONS = 8
MAX_PADDING = 7

FRAGMENT_HEADER = struct.Struct("!BxHI")

_PAD1 = 0
_PADN = 1


def packHeader(source: bytes, dest: bytes, protocol: int, length: int, hopLimit: int = 64, tos: int = 0) -> bytes:
    """
    A header without extensions.

    @param source: sixteen octets; so is C{dest}.
    @param protocol: of the payload: the Next Header field.
    @param length: the payload's, in octets, at most 65,535.
    @param tos: the Traffic Class field.
    """
    return HEADER.pack(0x60000000 | tos << 20, length, protocol, hopLimit) + source + dest


def walkExtensions(data: bytes, kind: int, start: int, end: int, first: bool = True) -> tuple[int, int, Fault | None]:
    """
    Go from the first extension header to the one of the upper layer.

    @param kind: what the header at C{start} is.
    @param first: whether it comes right after the IPv6 header, as hop-by-hop options must.

    @return: the protocol number of the upper layer, where its header begins, and L{None}; or C{FRAGMENT}, where the
        fragment header begins, and L{None}; or what stood where the walk ended, where the trouble is, and why the
        packet must not be delivered. An I{atomic} fragment, the first and the last in one (RFC 6946), is a whole
        datagram, and is walked past.
    """
    for count in range(MAX_EXTENSIONS + 1):
        if kind not in EXTENSIONS:
            return kind, start, None
        if kind == HOP_BY_HOP and (count or not first):
            # Anywhere else, it counts as an unknown header: "the same action should be taken" (RFC 8200 section 4).
            return kind, start, None
        if count == MAX_EXTENSIONS or start + 8 > end:
            break
        after = start + (8 if kind == FRAGMENT else (data[start + 1] + 1) * 8)
        if after > end:
            break
        if kind == FRAGMENT:
            # Offset and "more"; the two bits between them are reserved and ignored on reception.
            if (data[start + 2] << 8 | data[start + 3]) & 0xFFF9:
                return kind, start, None
        elif kind == ROUTING:
            # "Segments left": to forward a packet at its sender's bidding is not for a host (RFC 5095, RFC 8200 4.4).
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
    The headers after that of IPv6, by their lengths alone, whatever is in them.

    @param network: where the IPv6 header begins; C{end}: where the packet ends.

    @return: for each, what it is and where it begins. The last is the upper layer's; or an extension header that is cut
        short, or one too many, or that of a fragment other than the first: nobody knows what comes after those.
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
    The payload of a packet, for a filter that must not look less deep than the packet's receiver.

    @ivar protocol: the number of the upper layer's protocol; L{None}: a receiver that reads more headers than are read
        here, or has other fragments, may find any.
    @ivar start: where the upper layer's header begins.
    @ivar end: where the packet ends: padding may follow.
    @ivar isFragment: whether there is a fragment header.
    @ivar isLater: whether this is a fragment other than the first, of whose upper layer nothing is in it.
    """

    protocol: int | None
    start: int
    end: int
    isFragment: bool
    isLater: bool


def upperLayer(data: bytes | memoryview, network: int) -> UpperLayer:
    """
    Find what an IPv6 packet carries behind all of its extension headers.

    @param network: where the IPv6 header begins, which is whole.
    """
    end = len(data)
    length = data[network + 4] << 8 | data[network + 5]
    if length or data[network + 6] != HOP_BY_HOP:
        # Where a jumbogram's length could be, Linux takes all there is.
        end = min(end, network + HEADER_LENGTH + length)
    *before, (kind, at) = headerChain(data, network, end)
    isFragment = kind == FRAGMENT or any(other == FRAGMENT for other, _ in before)
    if kind not in EXTENSIONS:
        return UpperLayer(kind, at, end, isFragment, False)
    isLater = kind == FRAGMENT and at + 8 <= end and bool((data[at + 2] << 8 | data[at + 3]) & 0xFFF8)
    return UpperLayer(None, at, end, isFragment, isLater)


def nextHeaderField(data: bytes, network: int, header: int) -> int:
    """
    Where it is written what stands at C{header}: in the IPv6 header at C{network}, or in an extension header between.

    @param header: where a header begins that L{walkExtensions} has got to.
    """
    field = network + 6
    at = network + HEADER_LENGTH
    while at < header:
        kind, field = data[field], at
        at += 8 if kind == FRAGMENT else (data[at + 1] + 1) * 8
    return field


def _optionsFault(data: bytes, start: int, end: int) -> tuple[Fault, int] | None:
    """
    Find the option between C{start} and C{end} that keeps a packet from being processed further (RFC 8200 section 4.2).
    The two highest bits of an unknown option say whether it does, and whether the sender gets an error.

    @return: why the packet must not be delivered, and where the trouble is; or L{None}.
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
                # 0xc2 is a jumbo payload (RFC 2675), which no device here carries; 0x05 Router Alert (RFC 2711).
                return (Fault.HEADER if kind >> 6 == 1 else Fault.OPTION), start
            if kind == _PADN:
                if any(data[start + 2 : start + length]):
                    # It is all zeros, or not there to pad (RFC 4942 section 2.1.9.5).
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
