"""
Messages of Neighbour Discovery, which are ICMPv6 messages. Read RFC 4861 sections 4.1 to 4.6 first. The diagrams begin
behind the type, the code and the checksum.

Neighbour solicitations and neighbour advertisements::

    +-----------+------------------------------+---------------------+----------------------------
    | flags (4) | target address (16)          | options: type (1), length in units of 8 octets (1), ...
    +-----------+------------------------------+---------------------+----------------------------

Router solicitations and router advertisements::

    +--------------+---------
    | reserved (4) | options
    +--------------+---------
    +---------------+-----------+--------------+--------------------+-------------------+---------
    | hop limit (1) | flags (1) | lifetime (2) | reachable time (4) | retrans timer (4) | options
    +---------------+-----------+--------------+--------------------+-------------------+---------

The option with a prefix::

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

#: The hop limit of every message. A message with this hop limit has not passed a router (RFC 4861 section 3.1).
HOP_LIMIT = 255

#: The flags of a neighbour advertisement: the sender is a router; the message answers a solicitation; the message may
#: replace a link address that is known already.
ROUTER = 0x80000000
SOLICITED = 0x40000000
OVERRIDE = 0x20000000

#: The types of options.
SOURCE_LINK = 1
TARGET_LINK = 2
PREFIX = 3
MTU = 5

#: The flags of a prefix: its addresses are on the link; hosts form addresses with it.
ON_LINK = 0x80
AUTONOMOUS = 0x40

#: The length of header, flags and target in octets. The options stand behind these.
_FIXED = 24

_LIFETIME = struct.Struct("!6xH")
_PREFIX = struct.Struct("!2xBBII4x16s")
_MTU = struct.Struct("!4xI")

#: The value of a lifetime field that stands for infinity.
_INFINITY = 0xFFFFFFFF


@attrs.frozen
class Prefix:
    """
    A prefix in a router advertisement.

    @ivar prefix: 16 octets. The bits behind the first C{length} bits are zero.
    @ivar length: the length of the prefix in bits.
    @ivar onLink: whether addresses with this prefix are on the link.
    @ivar autonomous: whether hosts form addresses with this prefix.
    @ivar valid: the valid lifetime in seconds; may be infinite.
    @ivar preferred: the preferred lifetime in seconds, after which addresses with this prefix are deprecated; may be
        infinite.
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
    The contents of a router advertisement.

    @ivar lifetime: the number of seconds for which the sender is a default router; 0: it is none.
    @ivar link: the link address of the router, six octets; C{None} if the message does not have it.
    @ivar mtu: the MTU of the link in octets; C{None} if the message does not have it.
    @ivar prefixes: the prefixes in the message.
    """

    lifetime: int
    link: bytes | None
    mtu: int | None
    prefixes: tuple[Prefix, ...]


def packBody(target: bytes, option: int | None, link: bytes = b"") -> bytes:
    """
    Pack the part of a message that follows its first eight octets.

    @param target: the packed target address, 16 octets; empty for a router solicitation.
    @param option: the type of the option with a link address, L{SOURCE_LINK} or L{TARGET_LINK}; C{None}: no option.
    @param link: the link address for the option, six octets.
    """
    return target if option is None else target + bytes((option, 1)) + link


def parse(message: bytes, option: int) -> tuple[bytes, bytes | None] | None:
    """
    Parse a neighbour solicitation or a neighbour advertisement.

    @param message: the whole ICMPv6 message.
    @param option: the type of the option to find, L{SOURCE_LINK} or L{TARGET_LINK}.

    @return: the target, and the link address of the option, or C{None} in its place if there is no such option. C{None}
        alone if the message is malformed, or the link address is not that of one station.
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
    Parse a router advertisement. Options of an unknown type or of a wrong length are skipped.

    @param message: the whole ICMPv6 message.

    @return: the contents; C{None} if the message is malformed (RFC 4861 section 6.1.2).
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
    Return the options from the position C{at} on, each including its type and length. Return C{None} if an option has
    the length 0 or exceeds the message.
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
    Whether an option contains the link address of one station: not that of a group, and not all zeros.
    """
    return len(option) == 8 and not option[2] & 1 and any(option[2:])
