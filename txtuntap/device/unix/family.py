"""
The address family before each packet of a tun on macOS and the BSDs: four octets in network byte order. Not run on a
real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

from collections.abc import Sequence

from txtuntap.device.packets import Prefix
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload

#: The number of C{AF_INET}, which is the same on every platform.
_AF_INET = 2

#: The counter of the packets whose address family is unknown, or does not fit the packet's IP version.
FAMILY_ERRORS = "inFamilyErrors"

_ETHER_TYPES = {4: 0x0800, 6: 0x86DD}


class AddressFamily(Prefix):
    """
    The address family before each packet.
    """

    def __init__(self, inet6: int) -> None:
        """
        @param inet6: the platform's number of C{AF_INET6}.
        """
        four, six = (number.to_bytes(self.LENGTH, "big") for number in (_AF_INET, inet6))
        self._versions = {four: 4, six: 6}
        self._four, self._six = four, six

    def pack(self, buffers: Sequence[bytes], offload: Offload | None = None) -> bytes:
        """
        Make the address family of a packet to send: see L{Prefix.pack}. The device refuses a packet that is not IP.
        """
        first = next(filter(None, buffers), b"\0")
        return self._six if first[0] >> 4 == 6 else self._four

    def read(self, packet: Packet) -> str | None:
        """
        Read the address family: see L{Prefix.read}.
        """
        data = packet.data
        version = self._versions.get(data[packet.start - self.LENGTH : packet.start])
        if version is None or packet.start == packet.end or data[packet.start] >> 4 != version:
            return FAMILY_ERRORS
        packet.readEtherType = _ETHER_TYPES[version]
        return None
