"""
The UDP header (RFC 768; over IPv6 RFC 8200 section 8.1).

    +----------------+----------------+
    |  Source Port   |   Dest Port    |
    +----------------+----------------+
    |     Length     |    Checksum    |
    +----------------+----------------+
"""

from __future__ import annotations

import struct

from txtuntap.wire.checksum import onesSum

PROTOCOL = 17
HEADER = struct.Struct("!4H")
HEADER_LENGTH = 8

#: Where in the header the checksum stands.
CHECKSUM_OFFSET = 6

#: The octets that the headers leave of 65,535, by IP version. IPv6 does not count its own header.
MAX_PAYLOAD = {4: 65535 - 20 - 8, 6: 65535 - 8}


class UDPHeader:
    """
    @ivar source: the port it came from.
    @ivar dest: the port it goes to.
    @ivar len: of header and payload, in octets.
    @ivar check: the checksum; 0 where IPv4's sender made none.
    """

    def __init__(self, data: bytes) -> None:
        """
        @raise ValueError: C{data} is shorter than a header.
        """
        if len(data) < HEADER_LENGTH:
            raise ValueError(f"a UDP header has {HEADER_LENGTH} octets, not {len(data)}")
        self.source: int
        self.dest: int
        self.len: int
        self.check: int
        self.source, self.dest, self.len, self.check = HEADER.unpack_from(data)


def packHeader(source: bytes, dest: bytes, sourcePort: int, destPort: int, payload: bytes) -> bytes:
    """
    The header for C{payload}, its checksum included.

    @param source: the packed IP address that the datagram leaves from; C{dest} the one it goes to. Both are part of
        the checksum (the "pseudo-header").
    """
    length = HEADER_LENGTH + len(payload)
    # The sum of the parts is the sum of the whole: addresses have an even number of octets, and one word more or less
    # is one addition.
    total = onesSum(source + dest) + PROTOCOL + length + sourcePort + destPort + length + onesSum(payload)
    return HEADER.pack(sourcePort, destPort, length, -total % 0xFFFF or 0xFFFF)


def packOpenHeader(source: bytes, dest: bytes, sourcePort: int, destPort: int, length: int) -> bytes:
    """
    The header for a payload of C{length} octets, with the sum of the pseudo-header in place of the checksum, which
    others are to complete.

    @param source: as for L{packHeader}.
    """
    length += HEADER_LENGTH
    return HEADER.pack(sourcePort, destPort, length, (onesSum(source + dest) + PROTOCOL + length) % 0xFFFF)
