"""
Ethernet II frames and VLAN tags. Read IEEE 802.3 clause 3 and IEEE 802.1Q clause 9 first::

    +-----------+-----------+----------------+-----------+---------
    | dest (6)  | source(6) | 802.1Q tags    | type (2)  | payload
    |           |           | (4 each, or 0) |           |
    +-----------+-----------+----------------+-----------+---------
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("!6s6sH")
HEADER_LENGTH = 14
#: The source address and the EtherType of a header, without the destination.
SOURCE_AND_TYPE = struct.Struct("!6x6sH")
TAG = struct.Struct("!HH")

IPV4 = 0x0800
ARP = 0x0806
VLAN = 0x8100
SERVICE_VLAN = 0x88A8
IPV6 = 0x86DD

#: The least EtherType. A value up to 1500 in this field is a length (IEEE 802.3); values in between are undefined.
FIRST_TYPE = 0x0600


class EthernetHeader:
    """
    The header of an Ethernet frame.

    @ivar dest: the destination link address, six octets.
    @ivar source: the source link address, six octets.
    @ivar proto: the value of the type field.
    """

    def __init__(self, data: bytes) -> None:
        """
        @param data: the frame, or at least its header.

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
    Pack a header of 14 octets, or of 18 octets with an 802.1Q tag.

    @param dest: the destination link address, six octets.
    @param source: the source link address, six octets.
    @param vlan: the VLAN number of the tag, 0 to 4094; C{None}: the header has no tag.
    """
    if vlan is None:
        return HEADER.pack(dest, source, etherType)
    return HEADER.pack(dest, source, VLAN) + TAG.pack(vlan, etherType)
