"""
Neighbour discovery (RFC 4861 section 4): what comes after the type, code and checksum of an ICMPv6 message.

Solicitations and advertisements of neighbours:

    +-----------+------------------------------+---------------------+----------------------------
    | flags (4) | target address (16)          | options: type (1), length in units of 8 octets (1), ...
    +-----------+------------------------------+---------------------+----------------------------

Solicitations of routers, and their advertisements:

    +--------------+---------
    | reserved (4) | options
    +--------------+---------
    +---------------+-----------+--------------+--------------------+-------------------+---------
    | hop limit (1) | flags (1) | lifetime (2) | reachable time (4) | retrans timer (4) | options
    +---------------+-----------+--------------+--------------------+-------------------+---------

The option that tells a prefix:

    +-------+-------+------------+-----------+-----------+---------------+--------------+-------------
    | 3 (1) | 4 (1) | length (1) | flags (1) | valid (4) | preferred (4) | reserved (4) | prefix (16)
    +-------+-------+------------+-----------+-----------+---------------+--------------+-------------
"""

from __future__ import annotations

import struct

import attrs

ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
SOLICITATION = 135
ADVERTISEMENT = 136
REDIRECT = 137

#: Every message has it, so that none has come through a router (RFC 4861 section 3.1).
HOP_LIMIT = 255

#: Flags of an advertisement: from a router; it answers a solicitation; it may replace what is known.
ROUTER = 0x80000000
SOLICITED = 0x40000000
OVERRIDE = 0x20000000

#: Options.
SOURCE_LINK = 1
TARGET_LINK = 2
PREFIX = 3
MTU = 5

#: Flags of a prefix: its addresses are on the link; hosts form addresses with it.
ON_LINK = 0x80
AUTONOMOUS = 0x40

#: Header, flags and target: options come after these.
_FIXED = 24

_LIFETIME = struct.Struct("!6xH")
_PREFIX = struct.Struct("!2xBBII4x16s")
_MTU = struct.Struct("!4xI")

#: The lifetime of what lasts for ever.
_INFINITY = 0xFFFFFFFF


@attrs.frozen
class Prefix:
    """
    A prefix that a router tells of.

    @ivar prefix: sixteen octets, of which C{length} bits count; the others are zero.
    @ivar onLink: whether addresses with it are on the link.
    @ivar autonomous: whether hosts are to form addresses with it.
    @ivar valid: seconds for which that is so; may be infinite.
    @ivar preferred: seconds for which such an address is as good as any; may be infinite.
    """

    prefix: bytes
    length: int
    onLink: bool
    autonomous: bool
    valid: float
    preferred: float


@attrs.frozen
class RouterAdvertisement:
    """
    The contents of a router's advertisement.

    @ivar lifetime: seconds for which it is a default router; 0: it is none.
    @ivar link: its link address, if it says.
    @ivar mtu: of the link, in octets, if it says.
    @ivar prefixes: each with its lifetimes.
    """

    lifetime: int
    link: bytes | None
    mtu: int | None
    prefixes: tuple[Prefix, ...]


def packBody(target: bytes, option: int | None, link: bytes = b"") -> bytes:
    """
    Make the part of a message that follows its first eight octets.

    @param target: sixteen octets; none for a solicitation of routers.
    @param option: L{SOURCE_LINK} or L{TARGET_LINK}, if there is to be one, for C{link}, six octets.
    """
    return target if option is None else target + bytes((option, 1)) + link


def parse(message: bytes, option: int) -> tuple[bytes, bytes | None] | None:
    """
    Read a solicitation or an advertisement of a neighbour.

    @param message: the whole ICMPv6 message.
    @param option: which option to look for.

    @return: the target, and the link address in the option, if there is one; L{None} if the message is malformed, or
        the option has no address of one station.
    """
    if len(message) < _FIXED or message[1] or message[8] == 0xFF:
        return None
    options = _options(message, _FIXED)
    if options is None:
        return None
    links = [each for each in options if each[0] == option]
    return (message[8:24], links[-1][2:] if links else None) if all(map(_isLink, links)) else None


def parseRouterAdvertisement(message: bytes) -> RouterAdvertisement | None:
    """
    @param message: the whole ICMPv6 message.

    @return: L{None} if it is malformed (RFC 4861 section 6.1.2). Options that are unknown, or of another length than
        theirs, are skipped.
    """
    options = _options(message, 16) if len(message) >= 16 and not message[1] else None
    if options is None:
        return None
    link = mtu = None
    prefixes = []
    for option in options:
        kind, length = option[0], len(option)
        if kind == SOURCE_LINK:
            if not _isLink(option):
                return None
            link = option[2:]
        elif kind == MTU and length == _MTU.size:
            (mtu,) = _MTU.unpack(option)
        elif kind == PREFIX and length == _PREFIX.size and option[2] <= 128:
            bits, flags, valid, preferred, prefix = _PREFIX.unpack(option)
            mask = (1 << 128) - (1 << (128 - bits))
            prefixes.append(
                Prefix(
                    (int.from_bytes(prefix, "big") & mask).to_bytes(16, "big"),
                    bits,
                    bool(flags & ON_LINK),
                    bool(flags & AUTONOMOUS),
                    *(float("inf") if time == _INFINITY else time for time in (valid, preferred)),
                )
            )
    return RouterAdvertisement(_LIFETIME.unpack_from(message)[0], link, mtu, tuple(prefixes))


def _options(message: bytes, at: int) -> list[bytes] | None:
    """
    The options from C{at} on, each with its type and length; L{None} if one is empty or does not end.
    """
    found = []
    while at < len(message):
        if at + 2 > len(message) or not message[at + 1] or at + 8 * message[at + 1] > len(message):
            return None
        found.append(message[at : at + 8 * message[at + 1]])
        at += len(found[-1])
    return found


def _isLink(option: bytes) -> bool:
    """
    Whether an option has the link address of one station.
    """
    return len(option) == 8 and not option[2] & 1 and any(option[2:])
