"""
The four messages of WireGuard: their lengths and fields. All integers are little-endian.

Read "WireGuard: Next Generation Kernel Network Tunnel" (Donenfeld, 2017) section 5.4 first.
"""

from __future__ import annotations

import struct
from typing import Final

#: The types of messages: the first octet, and three octets of zeros behind it.
INITIATION: Final = 1
RESPONSE: Final = 2
COOKIE_REPLY: Final = 3
DATA: Final = 4

#: The octets of a key, of an authentication tag, of a MAC, and of a timestamp.
KEY_LENGTH: Final = 32
TAG_LENGTH: Final = 16
MAC_LENGTH: Final = 16
TIMESTAMP_LENGTH: Final = 12

#: The octets of each message; those of a data message without a packet.
INITIATION_LENGTH: Final = 148
RESPONSE_LENGTH: Final = 92
COOKIE_REPLY_LENGTH: Final = 64
DATA_LENGTH: Final = 32

#: The octets in front of the sealed packet in a data message.
DATA_HEADER_LENGTH: Final = 16

#: A sealed packet is padded to a multiple of so many octets (section 5.4.6).
PADDING: Final = 16

#: The octets that a data message adds to a packet, without padding; the outer UDP and IP headers come on top.
OVERHEAD: Final = DATA_LENGTH

#: Type, sender index, ephemeral key, sealed static key, sealed timestamp.
INITIATION_BODY: Final = struct.Struct("<II32s48s28s")

#: Type, sender index, receiver index, ephemeral key, sealed nothing.
RESPONSE_BODY: Final = struct.Struct("<III32s16s")

#: Type, receiver index, nonce, sealed cookie.
COOKIE_REPLY_BODY: Final = struct.Struct("<II24s32s")

#: Type, receiver index, counter.
DATA_HEADER: Final = struct.Struct("<IIQ")

#: The octets of an initiation and of a response that C{mac1} is over.
MAC1_START: Final = {INITIATION: INITIATION_BODY.size, RESPONSE: RESPONSE_BODY.size}

_LENGTHS: Final = {
    INITIATION: INITIATION_LENGTH,
    RESPONSE: RESPONSE_LENGTH,
    COOKIE_REPLY: COOKIE_REPLY_LENGTH,
}

_uint32 = struct.Struct("<I").unpack_from


def messageType(message: bytes) -> int | None:
    """
    Read the type of a message.

    @return: C{None} if the type is unknown, the octets behind it are not zero, or the length is not that of the type.
    """
    length = len(message)
    if length < 4:
        return None
    (kind,) = _uint32(message)
    if kind == DATA:
        return DATA if length >= DATA_LENGTH else None
    return int(kind) if _LENGTHS.get(kind) == length else None


def padded(length: int, mtu: int) -> int:
    """
    The octets that a packet has with its padding: a multiple of 16, but no more than the MTU.

    @param length: the octets of the packet.
    @param mtu: the MTU of the interface. A packet that is longer is padded as its last piece of that length.
    """
    last = length % mtu if length > mtu else length
    return length - last + min(mtu, (last + PADDING - 1) // PADDING * PADDING)
