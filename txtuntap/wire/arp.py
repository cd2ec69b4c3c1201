"""
ARP for IPv4 over Ethernet. Read RFC 826 first::

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
    An ARP packet, for IPv4 over Ethernet.

    @ivar opcode: L{REQUEST} or L{REPLY}.
    @ivar senderLink: the link address of the sender, six octets.
    @ivar sender: the IPv4 address of the sender, four octets.
    @ivar targetLink: the link address of the target, six octets.
    @ivar target: the IPv4 address of the target, four octets.
    """

    opcode: int
    senderLink: bytes
    sender: bytes
    targetLink: bytes
    target: bytes

    def pack(self) -> bytes:
        """
        Pack the ARP packet into its 28 octets.
        """
        return _FORMAT.pack(
            _ETHERNET, _IPV4, 6, 4, self.opcode, self.senderLink, self.sender, self.targetLink, self.target
        )


def parse(data: bytes) -> ARP | None:
    """
    Parse an ARP packet.

    @return: the packet; C{None} if it is too short, is not for IPv4 over Ethernet, or is neither a request nor a reply.
    """
    if len(data) < LENGTH:
        return None
    hardware, protocol, linkLength, length, opcode, *addresses = _FORMAT.unpack_from(data)
    if (hardware, protocol, linkLength, length) != (_ETHERNET, _IPV4, 6, 4) or opcode not in (REQUEST, REPLY):
        return None
    return ARP(opcode, *addresses)
