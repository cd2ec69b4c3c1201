"""
Addresses as they stand in headers (L{bytes}) and as people and Twisted write them (L{str}).

A packed IP address is 4 or 16 octets, and so tells its own version; a link address is 6.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache

LIMITED_BROADCAST = b"\xff\xff\xff\xff"
LINK_BROADCAST = b"\xff\xff\xff\xff\xff\xff"

#: The source of a packet whose sender has no address yet (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.2).
UNSPECIFIED, UNSPECIFIED6 = bytes(4), bytes(16)

_LINK_ADDRESS = re.compile("[0-9A-Fa-f]{2}([:-]?)(?:[0-9A-Fa-f]{2}\\1){4}[0-9A-Fa-f]{2}")
_MAPPED = bytes(10) + b"\xff\xff"


def packAddress(address: str | bytes) -> bytes:
    """
    Turn an IPv4 or IPv6 address into its 4 or 16 octets.

    @param address: text such as C{"10.0.0.1"} or C{"fd00::1"}, or octets that are packed already. A scope as in
        C{"fe80::1%eth0"} (RFC 4007 section 11) says nothing here: whoever has one link needs none.

    @raise ValueError: it is no address. Host names are not looked up.
    """
    if isinstance(address, bytes):
        if len(address) in (4, 16):
            return address
        raise ValueError(
            f"a packed IP address has 4 or 16 octets, not {len(address)}: give text, not bytes, in place of {address!r}"
        )
    try:
        if ":" in address:
            plain, _, scope = address.partition("%")
            return socket.inet_pton(socket.AF_INET6, plain if scope else address)
        return socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError, TypeError):
        hasPrefix = isinstance(address, str) and "/" in address
        advice = ": give it without its prefix length" if hasPrefix else ""
        raise ValueError(f"{address!r} is not an IPv4 or IPv6 address{advice}") from None


def versionOf(address: bytes) -> int:
    """
    The IP version of a packed address, 4 or 6.
    """
    return 6 if len(address) == 16 else 4


@lru_cache(maxsize=4096)
def addressText(address: bytes) -> str:
    """
    The text of a packed IP address: dotted quad, or RFC 5952.
    """
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def packLinkAddress(address: str | bytes) -> bytes:
    """
    Turn a link (Ethernet, MAC) address into its six octets.

    @param address: text such as C{"02:00:00:00:00:01"} (or with C{-}), or six octets.

    @raise ValueError: it is no such address.
    """
    packed = address if isinstance(address, bytes) else b""
    if isinstance(address, str) and _LINK_ADDRESS.fullmatch(address):
        packed = bytes.fromhex(address.replace(":", "").replace("-", ""))
    if len(packed) != 6:
        raise ValueError(f"{address!r} is not a link address such as '02:00:00:00:00:01' or six octets")
    return packed


def linkAddressText(address: bytes) -> str:
    """
    Six octets as C{"02:00:00:00:00:01"}.
    """
    return address.hex(":")


def isGroup(address: bytes) -> bool:
    """
    Whether a packed IP address stands for more than one host: multicast (RFC 5771, RFC 4291 section 2.7) or the
    limited broadcast.
    """
    return 0xE0 <= address[0] < 0xF0 or address == LIMITED_BROADCAST if len(address) == 4 else address[0] == 0xFF


def isMulticast(address: bytes) -> bool:
    """
    Whether a packed IP address is that of a group that can be joined: as L{isGroup}, without the limited broadcast.
    """
    return 0xE0 <= address[0] < 0xF0 if len(address) == 4 else address[0] == 0xFF


def isLinkLocal(address: bytes) -> bool:
    """
    Whether a packed IPv6 address is a unicast one that means something on its link alone (RFC 4291 section 2.5.6).
    """
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def isInterfaceLocal(group: bytes) -> bool:
    """
    Whether nothing that goes to a packed group gets to a link (RFC 4291 section 2.7): IPv4 has no such groups.
    """
    return len(group) == 16 and group[1] & 0x0F <= 1


def isHost(address: bytes) -> bool:
    """
    Whether a packed IP address can be that of one host on a network: the only kind that may be a source that is
    answered (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5).

    Not so are groups, 0/8, 127/8, 240/4, C{::}, C{::1} and IPv4 in IPv6's clothes (C{::ffff:0:0/96}).
    """
    if len(address) == 4:
        return address[0] < 0xE0 and address[0] not in (0, 127)
    return address[0] != 0xFF and address[:15] != bytes(15) and address[:12] != _MAPPED


def groupLinkAddress(address: bytes) -> bytes:
    """
    The link address that frames to an IP group go to: RFC 1112 section 6.4, RFC 2464 section 7.
    """
    if len(address) == 16:
        return b"\x33\x33" + address[12:]
    if address == LIMITED_BROADCAST:
        return LINK_BROADCAST
    return bytes((0x01, 0x00, 0x5E, address[1] & 0x7F, address[2], address[3]))


def solicitedNode(address: bytes) -> bytes:
    """
    The solicited-node group of an IPv6 address (RFC 4291 section 2.7.1).
    """
    return b"\xff\x02" + bytes(9) + b"\x01\xff" + address[13:]


def interfaceIdentifier(link: bytes) -> bytes:
    """
    The last eight octets of an IPv6 address made of a link address (EUI-64: RFC 4291 appendix A).
    """
    return bytes((link[0] ^ 2,)) + link[1:3] + b"\xff\xfe" + link[3:]
