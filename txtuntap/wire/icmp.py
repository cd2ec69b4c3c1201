"""
ICMP and ICMPv6 messages: their common header, echo messages and errors. Read RFC 792 and RFC 4443 sections 2 to 4
first::

    +----------+----------+-------------------+-----------------------+------------
    | type (1) | code (1) | checksum (2)      | depends on type (4)   | body
    +----------+----------+-------------------+-----------------------+------------

The body of an error is the beginning of the packet that caused it (the quote).
"""

from __future__ import annotations

import struct

import attrs

from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import isHost
from txtuntap.wire.checksum import onesSum

HEADER = struct.Struct("!BBHI")
HEADER_LENGTH = 8

#: The IP protocol numbers of ICMP and ICMPv6, by IP version.
PROTOCOL = {4: 1, 6: 58}

# ICMP for IPv4
ECHO_REPLY = 0
UNREACHABLE = 3
REDIRECT = 5
ECHO_REQUEST = 8
ROUTER_ADVERTISEMENT = 9
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
TIMESTAMP_REQUEST = 13
TIMESTAMP_REPLY = 14

# Codes of UNREACHABLE
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4

#: The types of ICMP errors. An error must never be answered with another one (RFC 1122 section 3.2.2).
ERRORS = frozenset((UNREACHABLE, 4, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))

# ICMPv6; types below 128 are errors
UNREACHABLE6 = 1
PACKET_TOO_BIG6 = 2
TIME_EXCEEDED6 = 3
PARAMETER_PROBLEM6 = 4
ECHO_REQUEST6 = 128
ECHO_REPLY6 = 129
FIRST_INFORMATIONAL6 = 128

# Codes of UNREACHABLE6, TIME_EXCEEDED6 and PARAMETER_PROBLEM6
ADDRESS_UNREACHABLE6 = 3
PORT_UNREACHABLE6 = 4
REASSEMBLY_TIME_EXCEEDED = 1
UNRECOGNIZED_NEXT_HEADER6 = 1
UNRECOGNIZED_OPTION6 = 2
INCOMPLETE_HEADER_CHAIN6 = 3


#: The most octets of a packet that an error quotes, by IP version. The error then has at most 576 octets over IPv4 (RFC
#: 1812 section 4.3.2.3), and at most the least MTU of a link over IPv6 (RFC 4443 section 2.4c).
MAX_QUOTE = {4: 576 - 20 - 8, 6: ipv6.MIN_MTU - 40 - 8}

#: The least number of octets of IP's payload that an error quotes (RFC 792).
MIN_QUOTED = 8

#: By IP version, the type and the code of the error which reports that no station answers for the next hop (RFC 1812
#: section 5.2.7.1, RFC 4443 section 3.1).
NO_STATION = {4: (UNREACHABLE, HOST_UNREACHABLE), 6: (UNREACHABLE6, ADDRESS_UNREACHABLE6)}

#: The precedence of errors over IPv4, Internetwork Control (RFC 1812 section 4.3.2.5); and the mask of the type of
#: service octet without the precedence and the lowest bit, which RFC 791 requires to be zero.
_CONTROL, _SERVICE = 0xC0, 0x1E


def pack(kind: int, code: int, rest: int, body: bytes, source: bytes = b"", dest: bytes = b"") -> bytes:
    """
    Pack a message, and compute its checksum.

    @param kind: the type of the message.
    @param rest: the second 32-bit word of the header.
    @param body: the octets behind the header.
    @param source: the packed source address. The checksum of ICMPv6 covers it; for ICMP, it is empty.
    @param dest: the packed destination address, like C{source}.
    """
    length = HEADER_LENGTH + len(body)
    total = onesSum(HEADER.pack(kind, code, 0, rest)) + onesSum(body)
    if source:
        total += onesSum(source + dest) + length + PROTOCOL[6]
    return HEADER.pack(kind, code, -total % 0xFFFF, rest) + body


def valid(message: bytes, source: bytes = b"", dest: bytes = b"") -> bool:
    """
    Whether a message has a complete header and a correct checksum.

    @param source: the packed source address for ICMPv6; empty for ICMP.
    @param dest: the packed destination address for ICMPv6; empty for ICMP.
    """
    if len(message) < HEADER_LENGTH:
        return False
    total = onesSum(message)
    if source:
        total += onesSum(source + dest) + len(message) + PROTOCOL[6]
    return total % 0xFFFF == 0


@attrs.frozen
class Quote:
    """
    The packet that caused an ICMP error, as far as the error quotes it.

    @ivar source: the packed source address of the packet.
    @ivar dest: the packed destination address of the packet.
    @ivar protocol: the IP protocol number of the packet's payload.
    @ivar payload: the first octets of the payload, at least eight.
    @ivar length: the length of the packet in octets, including the IP header.
    @ivar isTooBig: whether the error reports that the packet was too long for a link.
    @ivar kind: the type of the error.
    @ivar code: the code of the error.
    """

    source: bytes
    dest: bytes
    protocol: int
    payload: bytes
    length: int
    isTooBig: bool = False
    kind: int = 0
    code: int = 0


def parseQuote(message: bytes) -> Quote | None:
    """
    Parse the packet that an error quotes.

    @param message: the whole ICMP or ICMPv6 message.

    @return: the quote; C{None} if it is no IP packet, is too short to identify the sending port or connection, or is a
        later fragment of a datagram.
    """
    quoted = message[HEADER_LENGTH:]
    kind, code = message[0], message[1]
    if len(quoted) < ipv4.HEADER_LENGTH + MIN_QUOTED:
        return None
    if quoted[0] >> 4 == 4:
        length, fragment, protocol = ipv4.ESSENTIALS.unpack_from(quoted)
        at = (quoted[0] & 0x0F) << 2
        if at < ipv4.HEADER_LENGTH or at + MIN_QUOTED > len(quoted) or fragment & ipv4.OFFSET_MASK:
            return None
        isTooBig = kind == UNREACHABLE and code == FRAGMENTATION_NEEDED
        return Quote(quoted[12:16], quoted[16:20], protocol, quoted[at:], length, isTooBig, kind, code)
    at = ipv6.HEADER_LENGTH
    if quoted[0] >> 4 != 6 or len(quoted) < at + MIN_QUOTED:
        return None
    _, length, protocol, _ = ipv6.HEADER.unpack_from(quoted)
    if protocol == ipv6.FRAGMENT:
        # This package sends no other extension header before UDP, TCP or an echo request.
        protocol = quoted[at]
        _, fragment, _ = ipv6.FRAGMENT_HEADER.unpack_from(quoted, at)
        at += ipv6.FRAGMENT_HEADER.size
        if fragment & 0xFFF8 or len(quoted) < at + MIN_QUOTED:
            return None
    isTooBig = kind == PACKET_TOO_BIG6
    length += ipv6.HEADER_LENGTH
    return Quote(quoted[8:24], quoted[24:40], protocol, quoted[at:], length, isTooBig, kind, code)


def mayBeError(data: bytes, network: int, end: int) -> bool:
    """
    Whether a packet is an ICMP error itself, or could be one. A packet whose headers cannot be read to the end counts
    as an error.

    @param network: the position of the IP header, which is complete.
    @param end: the position behind the last octet of the packet.
    """
    if data[network] >> 4 == 4:
        if data[network + 9] != PROTOCOL[4]:
            return False
        at = network + ((data[network] & 0x0F) << 2)
        return at >= end or data[at] in ERRORS
    # The extension headers are skipped by their lengths, because their contents may be the cause of the error.
    *before, (kind, at) = ipv6.headerChain(data, network, end)
    if kind == ipv6.FRAGMENT and at + 8 <= end:
        # A later fragment may belong to an error. Every error fits the least MTU, so a fragment with a greater offset
        # cannot belong to one.
        offset = (data[at + 2] << 8 | data[at + 3]) & 0xFFF8
        return offset < ipv6.MIN_MTU and (data[at] in ipv6.EXTENSIONS or data[at] == PROTOCOL[6])
    if kind in ipv6.EXTENSIONS:
        # The chain is cut short. An error fits every link, so no host sends an error in fragments.
        return all(other != ipv6.FRAGMENT for other, _ in before)
    if kind != PROTOCOL[6]:
        return False
    return at >= end or data[at] < FIRST_INFORMATIONAL6


def errorService(service: int) -> int:
    """
    Return the type of service octet of an error over IPv4. It is that of the packet which caused the error, with the
    precedence of errors (RFC 1812 sections 4.3.2.4 and 4.3.2.5).

    @param service: the type of service octet of the packet which caused the error.
    """
    return _CONTROL | (service & _SERVICE)


def tooBig(packet: bytes, mtu: int) -> bytes | None:
    """
    Make the ICMP error by which the sender of a packet learns that the packet is too long for a link (RFC 1191, RFC
    8201). The error's source is the destination of the packet, because the link has no address of its own. The kernel's
    tunnels do the same.

    @param packet: a complete IP packet, not a superpacket. An IPv4 packet has Don't Fragment set.
    @param mtu: the most octets of a packet on the link.

    @return: the error as an IP packet. C{None} if no error may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4e):
        the packet is an error itself or a later fragment, or one of its addresses is not a unicast address.
    """
    return _errorAbout(packet, (UNREACHABLE, FRAGMENTATION_NEEDED, min(mtu, 0xFFFF)), (PACKET_TOO_BIG6, 0, mtu))


def unreachable(packet: bytes) -> bytes | None:
    """
    The IP packet that tells the sender of one that its destination cannot be reached: host unreachable over IPv4,
    address unreachable over IPv6. It leaves from the destination, as L{tooBig} does.

    @param packet: an IP packet, whole.

    @return: C{None} if its sender must not be told, as of L{tooBig}.
    """
    return _errorAbout(packet, (*NO_STATION[4], 0), (*NO_STATION[6], 0))


def _errorAbout(packet: bytes, about4: tuple[int, int, int], about6: tuple[int, int, int]) -> bytes | None:
    """
    The ICMP error about a packet, of type, code and value by version of IP.
    """
    isVersion4 = packet[0] >> 4 == 4
    source, dest = (packet[12:16], packet[16:20]) if isVersion4 else (packet[8:24], packet[24:40])
    if not isHost(source) or not isHost(dest) or mayBeError(packet, 0, len(packet)):
        return None
    if not isVersion4:
        message = pack(*about6, packet[: MAX_QUOTE[6]], dest, source)
        return ipv6.packHeader(dest, source, PROTOCOL[6], len(message)) + message
    _, fragment, _ = ipv4.ESSENTIALS.unpack_from(packet)
    if fragment & ipv4.OFFSET_MASK:
        return None
    message = pack(*about4, packet[: MAX_QUOTE[4]])
    return ipv4.packHeader(dest, source, PROTOCOL[4], len(message), tos=errorService(packet[1])) + message
