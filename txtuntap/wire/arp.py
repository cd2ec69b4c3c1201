"""
ARP for IPv4 over Ethernet (RFC 826).

    +-------------+-------------+------+------+-------------+
    | hardware(2) | protocol(2) | 6 (1)| 4 (1)| opcode (2)  |
    +-------------+-------------+------+------+-------------+
    | sender link address (6)   | sender IP address (4)     |
    +---------------------------+---------------------------+
    | target link address (6)   | target IP address (4)     |
    +---------------------------+---------------------------+
"""

from __future__ import annotations

import struct

import attrs

_FORMAT = struct.Struct("!HHBBH6s4s6s4s")
LENGTH = _FORMAT.size

_ETHERNET = 1
_IPV4 = 0x0800

REQUEST = 1
REPLY = 2


@attrs.frozen
class ARP:
    """
    An ARP packet.

    @ivar opcode: L{REQUEST} or L{REPLY}.
    @ivar senderLink: six octets; so is C{targetLink}.
    @ivar sender: four octets; so is C{target}.
    """

    opcode: int
    senderLink: bytes
    sender: bytes
    targetLink: bytes
    target: bytes

    def pack(self) -> bytes:
        """
        The 28 octets of it.
        """
        return _FORMAT.pack(
            _ETHERNET, _IPV4, 6, 4, self.opcode, self.senderLink, self.sender, self.targetLink, self.target
        )


def parse(data: bytes) -> ARP | None:
    """
    @return: the packet, or L{None} for what is cut short, or is not about IPv4 over Ethernet, or neither request nor
        reply.
    """
    if len(data) < LENGTH:
        return None
    hardware, protocol, linkLength, length, opcode, *addresses = _FORMAT.unpack_from(data)
    if (hardware, protocol, linkLength, length) != (_ETHERNET, _IPV4, 6, 4) or opcode not in (REQUEST, REPLY):
        return None
    return ARP(opcode, *addresses)
