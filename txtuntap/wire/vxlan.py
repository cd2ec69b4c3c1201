"""
The VXLAN header, which stands between a UDP header and an Ethernet frame. Read RFC 7348 section 5 first::

    +-+-+-+-+-+-+-+-+-----------------------------------------------+
    |R|R|R|R|I|R|R|R|                   Reserved                    |
    +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    |         VXLAN Network Identifier (VNI)        |   Reserved    |
    +-----------------------------------------------+---------------+
"""

from __future__ import annotations

import struct

#: The UDP port that IANA has assigned. The kernel's VXLAN device uses 8472, unless C{dstport} is given.
PORT = 4789

HEADER = struct.Struct("!II")
HEADER_LENGTH = 8
MAX_VNI = 0xFFFFFF

#: The flag I in the first word, which tells that the VNI is valid.
HAS_VNI = 0x08000000


def packHeader(vni: int) -> bytes:
    """
    Pack the header for the frames of one network.

    @param vni: the number of the network (VNI), 0 to C{MAX_VNI}.
    """
    return HEADER.pack(HAS_VNI, vni << 8)


def vniOf(data: bytes) -> int | None:
    """
    Parse the number of the network (VNI) that a frame belongs to. Reserved bits are ignored.

    @param data: the payload of a UDP datagram.

    @return: the VNI; C{None} if C{data} is shorter than a header, or the flag I is not set.
    """
    if len(data) < HEADER_LENGTH:
        return None
    flags, vni = HEADER.unpack_from(data)
    return vni >> 8 if flags & HAS_VNI else None
