"""
Ethernet II frames and 802.1Q tags (IEEE 802.3 clause 3, 802.1Q clause 9).

    +-----------+-----------+----------------+-----------+---------
    | dest (6)  | source(6) | 802.1Q tags    | type (2)  | payload
    |           |           | (4 each, or 0) |           |
    +-----------+-----------+----------------+-----------+---------
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("!6s6sH")
HEADER_LENGTH = 14
#: The part of a header that matters to all who listen.
SOURCE_AND_TYPE = struct.Struct("!6x6sH")
TAG = struct.Struct("!HH")

IPV4 = 0x0800
ARP = 0x0806
VLAN = 0x8100
SERVICE_VLAN = 0x88A8
IPV6 = 0x86DD

#: From here on the field is an EtherType; below 1501 it is a length (802.3), between the two it is nothing.
FIRST_TYPE = 0x0600


class EthernetHeader:
    """
    The header of a frame.

    @ivar dest: six octets.
    @ivar source: six octets.
    @ivar proto: what stands in the type field.
    """

    def __init__(self, data: bytes) -> None:
        """
        @raise ValueError: C{data} is shorter than a header.
        """
        if len(data) < HEADER_LENGTH:
            raise ValueError(f"an Ethernet header has {HEADER_LENGTH} octets, not {len(data)}")
        self.dest: bytes
        self.source: bytes
        self.proto: int
        self.dest, self.source, self.proto = HEADER.unpack_from(data)


def packHeader(dest: bytes, source: bytes, etherType: int, vlan: int | None = None) -> bytes:
    """
    The 14 octets of a header, or 18 with an 802.1Q tag for C{vlan} (0 to 4094).
    """
    if vlan is None:
        return HEADER.pack(dest, source, etherType)
    return HEADER.pack(dest, source, VLAN) + TAG.pack(vlan, etherType)
