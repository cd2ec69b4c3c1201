"""
Addresses in two forms: packed as in headers (C{bytes}), and as text, which people and Twisted use (C{str}).

A packed IP address has 4 or 16 octets, and its length tells the IP version. A packed link address has 6 octets.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache

LIMITED_BROADCAST = b"\xff\xff\xff\xff"
LINK_BROADCAST = b"\xff\xff\xff\xff\xff\xff"

#: The unspecified addresses: the source of a packet whose sender has no address yet (RFC 1122 section 3.2.1.3, RFC 4291
#: section 2.5.2).
UNSPECIFIED, UNSPECIFIED6 = bytes(4), bytes(16)

_LINK_ADDRESS = re.compile("[0-9A-Fa-f]{2}([:-]?)(?:[0-9A-Fa-f]{2}\\1){4}[0-9A-Fa-f]{2}")
_MAPPED = bytes(10) + b"\xff\xff"


def packAddress(address: str | bytes) -> bytes:
    """
    Convert an IPv4 or IPv6 address to its 4 or 16 octets.

    @param address: text such as C{"10.0.0.1"} or C{"fd00::1"}, or octets that are packed already. A scope as in
        C{"fe80::1%eth0"} (RFC 4007 section 11) is ignored, because a layer has only one link.

    @raise ValueError: C{address} is not an IP address. Host names are not resolved.
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
    Return the IP version of a packed address, 4 or 6.
    """
    return 6 if len(address) == 16 else 4


@lru_cache(maxsize=4096)
def addressText(address: bytes) -> str:
    """
    Convert a packed IP address to text: dotted decimal for IPv4, the form of RFC 5952 for IPv6.
    """
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def packLinkAddress(address: str | bytes) -> bytes:
    """
    Convert a link address (Ethernet, MAC address) to its six octets.

    @param address: text such as C{"02:00:00:00:00:01"} (or with C{-}, or without separators), or six octets.

    @raise ValueError: C{address} is not a link address.
    """
    packed = address if isinstance(address, bytes) else b""
    if isinstance(address, str) and _LINK_ADDRESS.fullmatch(address):
        packed = bytes.fromhex(address.replace(":", "").replace("-", ""))
    if len(packed) != 6:
        raise ValueError(f"{address!r} is not a link address such as '02:00:00:00:00:01' or six octets")
    return packed


def linkAddressText(address: bytes) -> str:
    """
    Convert a link address of six octets to text such as C{"02:00:00:00:00:01"}.
    """
    return address.hex(":")


def isGroup(address: bytes) -> bool:
    """
    Whether a packed IP address is a multicast address (RFC 5771, RFC 4291 section 2.7) or the limited broadcast
    address, and so stands for several hosts.
    """
    return 0xE0 <= address[0] < 0xF0 or address == LIMITED_BROADCAST if len(address) == 4 else address[0] == 0xFF


def isMulticast(address: bytes) -> bool:
    """
    Whether a packed IP address is a multicast address, which hosts can join. Unlike L{isGroup}, this excludes the
    limited broadcast address.
    """
    return 0xE0 <= address[0] < 0xF0 if len(address) == 4 else address[0] == 0xFF


def isLinkLocal(address: bytes) -> bool:
    """
    Whether a packed IPv6 address is a link-local unicast address (RFC 4291 section 2.5.6).
    """
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def isLinkGroup(address: bytes) -> bool:
    """
    Whether a packed address is that of a group whose packets never leave the link: 224.0.0.0/24 (RFC 5771 section 4),
    or an IPv6 group of link-local scope (RFC 4291 section 2.7).
    """
    if len(address) == 4:
        return address[:3] == b"\xe0\0\0"
    return address[0] == 0xFF and address[1] & 0x0F == 2


def isInterfaceLocal(group: bytes) -> bool:
    """
    Whether a packed group address has interface-local scope, so that packets to it never leave the host (RFC 4291
    section 2.7). IPv4 has no such groups.
    """
    return len(group) == 16 and group[1] & 0x0F <= 1


def isHost(address: bytes) -> bool:
    """
    Whether a packed IP address can be the address of one host on a network. A packet with any other source must not be
    answered (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5).

    The result is false for groups, 0/8, 127/8, 240/4, C{::/120} (with C{::} and C{::1}) and IPv4-mapped IPv6 addresses
    (C{::ffff:0:0/96}).
    """
    if len(address) == 4:
        return address[0] < 0xE0 and address[0] not in (0, 127)
    return address[0] != 0xFF and address[:15] != bytes(15) and address[:12] != _MAPPED


def groupLinkAddress(address: bytes) -> bytes:
    """
    Return the link address of frames to an IP group (RFC 1112 section 6.4, RFC 2464 section 7).
    """
    if len(address) == 16:
        return b"\x33\x33" + address[12:]
    if address == LIMITED_BROADCAST:
        return LINK_BROADCAST
    return bytes((0x01, 0x00, 0x5E, address[1] & 0x7F, address[2], address[3]))


def solicitedNode(address: bytes) -> bytes:
    """
    Return the solicited-node multicast address of an IPv6 address (RFC 4291 section 2.7.1).
    """
    return b"\xff\x02" + bytes(9) + b"\x01\xff" + address[13:]


def interfaceIdentifier(link: bytes) -> bytes:
    """
    Return the interface identifier of a link address: the last eight octets of an IPv6 address that is formed from the
    link address (modified EUI-64, RFC 4291 appendix A).
    """
    return bytes((link[0] ^ 2,)) + link[1:3] + b"\xff\xfe" + link[3:]
