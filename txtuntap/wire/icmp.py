"""
ICMP and ICMPv6 messages (RFC 792, RFC 4443): the header they share, echo, and errors.

    +----------+----------+-------------------+-----------------------+------------
    | type (1) | code (1) | checksum (2)      | depends on type (4)   | body
    +----------+----------+-------------------+-----------------------+------------

An error's body is the packet that caused it, as far as there is room.
"""

from __future__ import annotations

import struct

from txtuntap.wire.checksum import onesSum

HEADER = struct.Struct("!BBHI")
HEADER_LENGTH = 8

#: Protocol numbers, by octets in an address.
PROTOCOL = {4: 1, 16: 58}

# ICMP for IPv4
ECHO_REPLY = 0
UNREACHABLE = 3
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
TIMESTAMP_REQUEST = 13
TIMESTAMP_REPLY = 14

# Codes of UNREACHABLE
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3

#: The types that tell of an error, which must never be answered with another (RFC 1122 section 3.2.2).
ERRORS = frozenset((UNREACHABLE, 4, 5, TIME_EXCEEDED, PARAMETER_PROBLEM))

# ICMPv6; types below 128 are errors
UNREACHABLE6 = 1
TIME_EXCEEDED6 = 3
PARAMETER_PROBLEM6 = 4
ECHO_REQUEST6 = 128
ECHO_REPLY6 = 129
FIRST_INFORMATIONAL6 = 128

# Codes of UNREACHABLE6, TIME_EXCEEDED6 and PARAMETER_PROBLEM6
PORT_UNREACHABLE6 = 4
REASSEMBLY_TIME_EXCEEDED = 1
UNRECOGNIZED_NEXT_HEADER6 = 1
UNRECOGNIZED_OPTION6 = 2


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
        total += onesSum(source + dest) + length + PROTOCOL[16]
    return HEADER.pack(kind, code, -total % 0xFFFF, rest) + body


def valid(message: bytes, source: bytes = b"", dest: bytes = b"") -> bool:
    """
    Whether a message has a whole header and sums up; addresses as in L{pack}.
    """
    if len(message) < HEADER_LENGTH:
        return False
    total = onesSum(message)
    if source:
        total += onesSum(source + dest) + len(message) + PROTOCOL[16]
    return total % 0xFFFF == 0
