"""
ICMP and ICMPv6 messages (RFC 792, RFC 4443): the header they share, echo, and errors.

    +----------+----------+-------------------+-----------------------+------------
    | type (1) | code (1) | checksum (2)      | depends on type (4)   | body
    +----------+----------+-------------------+-----------------------+------------

An error's body is the packet that caused it, as far as there is room.
"""

from __future__ import annotations

import struct

import attrs

from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import isHost
from txtuntap.wire.checksum import onesSum

HEADER = struct.Struct("!BBHI")
HEADER_LENGTH = 8

#: Protocol numbers, by IP version.
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

#: The types that tell of an error, which must never be answered with another (RFC 1122 section 3.2.2).
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


#: How much of a packet an error may quote, by IP version: the error fits the least MTU that every link has
#: (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4c).
MAX_QUOTE = {4: 576 - 20 - 8, 6: ipv6.MIN_MTU - 40 - 8}

#: The first octets of a payload that every error quotes (RFC 792).
MIN_QUOTED = 8

#: Type and code, by IP version, of the error that says that no station answers for the next hop (RFC 1812 section
#: 5.2.7.1, RFC 4443 section 3.1).
NO_STATION = {4: (UNREACHABLE, HOST_UNREACHABLE), 6: (UNREACHABLE6, ADDRESS_UNREACHABLE6)}

#: The precedence of errors over IPv4, Internetwork Control (RFC 1812 section 4.3.2.5); and the bits of a type of
#: service that are neither precedence nor the one that RFC 791 says is zero.
_CONTROL, _SERVICE = 0xC0, 0x1E


def pack(kind: int, code: int, rest: int, body: bytes, source: bytes = b"", dest: bytes = b"") -> bytes:
    """
    A message with its checksum.

    @param rest: the second word of the header.
    @param source: the packed address it leaves from, and C{dest} the one it goes to: for ICMPv6, which has them in its
        checksum. Empty for ICMP.
    """
    length = HEADER_LENGTH + len(body)
    total = onesSum(HEADER.pack(kind, code, 0, rest)) + onesSum(body)
    if source:
        total += onesSum(source + dest) + length + PROTOCOL[6]
    return HEADER.pack(kind, code, -total % 0xFFFF, rest) + body


def valid(message: bytes, source: bytes = b"", dest: bytes = b"") -> bool:
    """
    Whether a message has a whole header and sums up; addresses as in L{pack}.
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
    The part of an ICMP error that quotes the packet that caused it.

    @ivar source: the packed address it left from; C{dest}: the one it went to.
    @ivar protocol: of its payload.
    @ivar payload: the first octets of that, eight at least.
    @ivar length: of the packet, in octets, its header included.
    @ivar isTooBig: whether the error says that the packet was too long for a link.
    @ivar kind: the type of the error; C{code}: its code.
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
    The packet that an error quotes.

    @param message: the whole ICMP message, of either version.

    @return: L{None} if there is too little of it to tell whose it was, or it is not the first fragment of a datagram.
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
        # The only extension header that a host puts before what it sends.
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
    Whether a packet is an ICMP error itself, or may be: what cannot be looked into counts as one.

    @param network: where its IP header begins, which is whole; C{end}: where the packet ends.
    """
    if data[network] >> 4 == 4:
        if data[network + 9] != PROTOCOL[4]:
            return False
        at = network + ((data[network] & 0x0F) << 2)
        return at >= end or data[at] in ERRORS
    # By their lengths alone: what is in these headers may be what the error is about.
    *before, (kind, at) = ipv6.headerChain(data, network, end)
    if kind == ipv6.FRAGMENT and at + 8 <= end:
        # A later fragment, of what may be one. Every error fits the least MTU, so what comes after that is of none.
        offset = (data[at + 2] << 8 | data[at + 3]) & 0xFFF8
        return offset < ipv6.MIN_MTU and (data[at] in ipv6.EXTENSIONS or data[at] == PROTOCOL[6])
    if kind in ipv6.EXTENSIONS:
        # An error fits every link, so no host sends one in fragments.
        return all(other != ipv6.FRAGMENT for other, _ in before)
    if kind != PROTOCOL[6]:
        return False
    return at >= end or data[at] < FIRST_INFORMATIONAL6


def errorService(service: int) -> int:
    """
    The type of service of an error over IPv4: that of the packet it is about (RFC 1812 section 4.3.2.4), but for its
    precedence.

    @param service: the type of service of that packet.
    """
    return _CONTROL | (service & _SERVICE)


def tooBig(packet: bytes, mtu: int) -> bytes | None:
    """
    The IP packet that tells the sender of one that it is too long for a link (RFC 1191, RFC 8201). It leaves from where
    that was to go, since a link in between has no address of its own; so do those of the kernel's tunnels.

    @param packet: an IP packet, whole, in one piece, and if it is of IPv4, not to be taken apart.
    @param mtu: the most octets that the link takes.

    @return: L{None} if its sender must not be told (RFC 1122 section 3.2.2, RFC 4443 section 2.4e): it is an error
        itself, a later fragment, or from or to what is not one host.
    """
    isVersion4 = packet[0] >> 4 == 4
    source, dest = (packet[12:16], packet[16:20]) if isVersion4 else (packet[8:24], packet[24:40])
    if not isHost(source) or not isHost(dest) or mayBeError(packet, 0, len(packet)):
        return None
    if not isVersion4:
        message = pack(PACKET_TOO_BIG6, 0, mtu, packet[: MAX_QUOTE[6]], dest, source)
        return ipv6.packHeader(dest, source, PROTOCOL[6], len(message)) + message
    _, fragment, _ = ipv4.ESSENTIALS.unpack_from(packet)
    if fragment & ipv4.OFFSET_MASK:
        return None
    message = pack(UNREACHABLE, FRAGMENTATION_NEEDED, min(mtu, 0xFFFF), packet[: MAX_QUOTE[4]])
    return ipv4.packHeader(dest, source, PROTOCOL[4], len(message), tos=errorService(packet[1])) + message
