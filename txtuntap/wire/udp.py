"""
The header of UDP datagrams. Read RFC 768 first, and RFC 8200 section 8.1 for UDP over IPv6::

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

#: The position of the checksum in the header.
CHECKSUM_OFFSET = 6

#: The most octets of payload in one datagram, by IP version: 65,535 octets less the headers. The length field of IPv6
#: does not count the IPv6 header.
MAX_PAYLOAD = {4: 65535 - 20 - 8, 6: 65535 - 8}


class UDPHeader:
    """
    The header of a UDP datagram.

    @ivar source: the source port.
    @ivar dest: the destination port.
    @ivar len: the length of header and payload in octets.
    @ivar check: the checksum; over IPv4, 0 stands for no checksum.
    """

    def __init__(self, data: bytes) -> None:
        """
        @param data: the datagram, or at least its header.

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
    Pack the header of a datagram, and compute its checksum.

    @param source: the packed source IP address. The checksum covers it as part of the pseudo-header.
    @param dest: the packed destination IP address, which the checksum covers, too.
    """
    length = HEADER_LENGTH + len(payload)
    # The parts can be summed one by one, because each of them except the last has an even number of octets.
    total = onesSum(source + dest) + PROTOCOL + length + sourcePort + destPort + length + onesSum(payload)
    return HEADER.pack(sourcePort, destPort, length, -total % 0xFFFF or 0xFFFF)


def packOpenHeader(source: bytes, dest: bytes, sourcePort: int, destPort: int, length: int) -> bytes:
    """
    Pack the header of a datagram with an open checksum: the field holds the sum of the pseudo-header, and the device
    completes it.

    @param source: the packed source IP address.
    @param dest: the packed destination IP address.
    @param length: the length of the payload in octets.
    """
    length += HEADER_LENGTH
    return HEADER.pack(sourcePort, destPort, length, (onesSum(source + dest) + PROTOCOL + length) % 0xFFFF)
