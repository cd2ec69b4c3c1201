"""
The VXLAN header (RFC 7348 section 5), between UDP's and an Ethernet frame.

    +-+-+-+-+-+-+-+-+-----------------------------------------------+
    |R|R|R|R|I|R|R|R|                   Reserved                    |
    +-+-+-+-+-+-+-+-+-------------------------------+---------------+
    |         VXLAN Network Identifier (VNI)        |   Reserved    |
    +-----------------------------------------------+---------------+
"""

from __future__ import annotations

import struct

#: The port that IANA has assigned. (That of the kernel's device is 8472 if nobody says C{dstport}.)
PORT = 4789

HEADER = struct.Struct("!II")
HEADER_LENGTH = 8
MAX_VNI = 0xFFFFFF

#: Flag I, in the first word: the identifier is valid.
HAS_VNI = 0x08000000


def packHeader(vni: int) -> bytes:
    """
    The header of frames of one network.

    @param vni: 0 to C{MAX_VNI}.
    """
    return HEADER.pack(HAS_VNI, vni << 8)


def vniOf(data: bytes) -> int | None:
    """
    The network that a frame belongs to. What is reserved is not looked at.

    @return: L{None} if there is no header, or none that says.
    """
    if len(data) < HEADER_LENGTH:
        return None
    flags, vni = HEADER.unpack_from(data)
    return vni >> 8 if flags & HAS_VNI else None
