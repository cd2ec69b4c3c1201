"""
Protocol information, a header of four octets before each packet on a tun or tap that was opened without C{IFF_NO_PI}
(C{struct tun_pi}, C{linux/if_tun.h}). A program such as socat passes it on to its peer with the packet::

    +---------------+---------------+
    |   Flags (2)   | EtherType (2) |
    +---------------+---------------+
"""

from __future__ import annotations

from txtuntap.device import TUN
from txtuntap.wire.ethernet import IPV4, IPV6

LENGTH = 4

#: The protocol information on a tun, by IP version. The flags are 0, because the only flag that exists marks a
#: truncated packet, and a tunnel sends no truncated packets.
PREFIXES = {4: IPV4.to_bytes(LENGTH, "big"), 6: IPV6.to_bytes(LENGTH, "big")}

_ETHER_TYPE = slice(12, 14)


def information(packet: bytes | memoryview, mode: int) -> bytes:
    """
    Return the protocol information (4 octets) for a packet.

    @param packet: an IP packet on a tun, or an Ethernet frame on a tap.
    @param mode: C{TUN} or C{TAP}.
    """
    if mode == TUN:
        return PREFIXES.get(packet[0] >> 4 if packet else 0, bytes(LENGTH))
    return bytes(2) + bytes(packet[_ETHER_TYPE]).rjust(2, b"\0")
