"""
Neighbour solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 4.6): what comes after the type, code and
checksum of an ICMPv6 message.

    +-----------+------------------------------+---------------------+----------------------------
    | flags (4) | target address (16)          | options: type (1), length in units of 8 octets (1), ...
    +-----------+------------------------------+---------------------+----------------------------
"""

from __future__ import annotations

SOLICITATION = 135
ADVERTISEMENT = 136

#: Every message has it, so that none has come through a router (RFC 4861 section 3.1).
HOP_LIMIT = 255

#: Flags of an advertisement: it answers a solicitation; it may replace what is known.
SOLICITED = 0x40000000
OVERRIDE = 0x20000000

SOURCE_LINK = 1
TARGET_LINK = 2

#: Header, flags and target: options come after these.
_FIXED = 24


def packBody(target: bytes, option: int | None, link: bytes = b"") -> bytes:
    """
    What follows the first eight octets of a message.

    @param target: sixteen octets.
    @param option: L{SOURCE_LINK} or L{TARGET_LINK}, if there is to be one, for C{link}, six octets.
    """
    return target if option is None else target + bytes((option, 1)) + link


def parse(message: bytes, option: int) -> tuple[bytes, bytes | None] | None:
    """
    @param message: the whole ICMPv6 message.
    @param option: which option to look for.

    @return: the target, and the link address in the option, if there is one; L{None} if the message is malformed, or
        the option has no address of one station.
    """
    if len(message) < _FIXED or message[1] or message[8] == 0xFF:
        return None
    link = None
    at = _FIXED
    while at < len(message):
        if at + 2 > len(message) or not message[at + 1] or at + 8 * message[at + 1] > len(message):
            return None
        if message[at] == option:
            link = message[at + 2 : at + 8]
            if message[at + 1] != 1 or link[0] & 1 or not any(link):
                return None
        at += 8 * message[at + 1]
    return message[8:24], link
