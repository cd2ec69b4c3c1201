"""
Protocol information: what comes before each packet on a tun or tap that was opened without C{IFF_NO_PI}
(C{struct tun_pi}, C{linux/if_tun.h}), and so out of a program that only hands on what it reads there.

    +---------------+---------------+
    |   Flags (2)   | EtherType (2) |
    +---------------+---------------+
"""

from __future__ import annotations

from txtuntap.device import TUN
from txtuntap.wire.ethernet import IPV4, IPV6

LENGTH = 4

#: Before a packet of each version of IP. There is but one flag, and it is for what was cut short.
PREFIXES = {4: IPV4.to_bytes(LENGTH, "big"), 6: IPV6.to_bytes(LENGTH, "big")}

_TYPE = slice(12, 14)


def information(packet: bytes | memoryview, mode: int) -> bytes:
    """
    The packet information that comes before C{packet}.

    @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
    """
    if mode == TUN:
        return PREFIXES.get(packet[0] >> 4 if packet else 0, bytes(LENGTH))
    return bytes(2) + bytes(packet[_TYPE]).rjust(2, b"\0")
