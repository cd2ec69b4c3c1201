"""
The framing of socat's C{TUN} in a stream: IP packets follow each other without a delimiter. The length in each IP
header tells where the next packet begins.

Without socat's option C{iff-no-pi}, protocol information (four octets) precedes each packet: see
L{txtuntap.tunnel.information}.

In the direction to socat, packets may be merged or split, because socat writes the octets of each C{read} to its
interface as one packet (see C{docs/framings.md}).

Read RFC 791 section 3.1 and RFC 8200 section 3 (the IP headers) first.
"""

from __future__ import annotations

from txtuntap.device import TUN
from txtuntap.tunnel.delimited import Delimited
from txtuntap.tunnel.framing import MAX_PACKET, FramingError
from txtuntap.tunnel.information import LENGTH, PREFIXES, information
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.offload import Offload

#: The octets of an IPv6 header up to and including the Payload Length and Next Header fields.
_IPV6_ESSENTIALS = 7


class SocatStream(Delimited):
    """
    The framing of socat's C{TUN} in a stream.
    """

    def __init__(self, mode: int, pi: bool = False) -> None:
        """
        @param mode: C{TUN}.
        @param pi: whether protocol information (4 octets) precedes each packet. Without its option C{iff-no-pi}, socat
            sends this information and expects it.

        @raise ValueError: C{mode} is not C{TUN}.
        """
        super().__init__()
        if mode != TUN:
            raise ValueError(
                "socat does not mark where an Ethernet frame ends in a stream: use a tun; or udp:, where each frame is"
                " a datagram"
            )
        self.prefix = LENGTH if pi else 0

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        Return the packet in pieces, with the protocol information before it if C{pi} was given.
        """
        return [information(packet, TUN), packet] if self.prefix else [packet]

    def needed(self, data: bytes, at: int) -> int:
        """
        Return how many octets the next packet takes with its protocol information: see L{Delimited.needed}.
        """
        if not self.prefix:
            return lengthOf(data, at)
        at += LENGTH
        if len(data) <= at:
            # The first octet of the packet is needed, too, because it has the IP version.
            return LENGTH + 1
        prefix = data[at - LENGTH : at]
        if prefix[0] >> 4 in PREFIXES:
            raise FramingError("IP where protocol information should be: is socat given iff-no-pi?")
        if any(prefix[:2]):
            raise FramingError("a truncated packet: give socat a larger -b than 8192")
        if prefix != PREFIXES.get(data[at] >> 4):
            raise FramingError("protocol information that does not match the packet behind it")
        return LENGTH + lengthOf(data, at)


def lengthOf(data: bytes, at: int) -> int:
    """
    Return the length in octets of the IP packet at C{at}. If C{data} ends before the length field, return how many
    octets are needed to read that field.

    @param at: the offset in octets at which the packet begins.

    @raise FramingError: the octets are not the start of an IP packet.
    """
    available = len(data) - at
    version = data[at] >> 4
    if version == 4:
        if available < ipv4.HEADER_LENGTH:
            return ipv4.HEADER_LENGTH
        header = (data[at] & 0x0F) << 2
        length = data[at + 2] << 8 | data[at + 3]
        if header < ipv4.HEADER_LENGTH or length < header:
            raise FramingError("an IPv4 header whose length is below 20 octets or above that of its packet")
        if available < header:
            return header
        # The checksum is verified because a truncated packet shifts everything behind it: the next header is read at a
        # wrong offset.
        if int.from_bytes(data[at : at + header], "big") % 0xFFFF:
            raise FramingError("an IPv4 header with a wrong checksum: was the packet before it truncated?")
        return length
    if version == 6:
        if available < _IPV6_ESSENTIALS:
            return _IPV6_ESSENTIALS
        length = data[at + 4] << 8 | data[at + 5]
        if not length and data[at + 6] == ipv6.HOP_BY_HOP:
            raise FramingError("an IPv6 jumbogram (RFC 2675), which no interface here carries")
        if ipv6.HEADER_LENGTH + length > MAX_PACKET:
            raise FramingError("an IPv6 packet longer than any interface carries")
        return ipv6.HEADER_LENGTH + length
    if not version:
        raise FramingError("protocol information before IP: give socat iff-no-pi, or use socat:pi=yes here")
    raise FramingError("octets that are not the start of an IP packet")
