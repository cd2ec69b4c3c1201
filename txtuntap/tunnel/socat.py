"""
The framing of socat's C{TUN} in a stream: one IP packet after the other, and nothing between them. Each packet says
how long it is, so they can be told apart, whatever the pieces they come in.

Without socat's option C{iff-no-pi}, four octets come before each: L{txtuntap.tunnel.information}.

In the other direction there is no help: socat takes what one C{read} gives it for one packet (C{docs/framings.md}).
"""

from __future__ import annotations

from txtuntap.device import TUN
from txtuntap.tunnel.delimited import Delimited
from txtuntap.tunnel.framing import MAX_PACKET, FramingError
from txtuntap.tunnel.information import LENGTH, PREFIXES, information
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.offload import Offload

#: As far as the length goes, and the Next Header field.
_IPV6_ESSENTIALS = 7


class SocatStream(Delimited):
    """
    IP packets that delimit themselves.
    """

    def __init__(self, mode: int, pi: bool = False) -> None:
        """
        @param pi: whether protocol information comes before each packet: socat has it unless given C{iff-no-pi}.

        @raise ValueError: C{mode} is not L{TUN<txtuntap.device.TUN>}.
        """
        super().__init__()
        if mode != TUN:
            raise ValueError(
                "an Ethernet frame does not tell how long it is, so in a stream of socat's nobody can say where the"
                " next one begins: use a tun; or udp:, where each frame is a datagram"
            )
        self.prefix = LENGTH if pi else 0

    def pack(self, packet: bytes | memoryview, offload: Offload | None = None) -> list[bytes | memoryview]:
        """
        The packet.
        """
        return [information(packet, TUN), packet] if self.prefix else [packet]

    def needed(self, data: bytes, at: int) -> int:
        """
        See L{Delimited.needed}.
        """
        if not self.prefix:
            return lengthOf(data, at)
        at += LENGTH
        if len(data) <= at:
            # One octet more than that, which tells the version.
            return LENGTH + 1
        prefix = data[at - LENGTH : at]
        if prefix[0] >> 4 in PREFIXES:
            raise FramingError("IP where protocol information should be: is socat given iff-no-pi?")
        if any(prefix[:2]):
            raise FramingError("a packet that was cut short: give socat a larger -b than 8192")
        if prefix != PREFIXES.get(data[at] >> 4):
            raise FramingError("protocol information that is not that of the packet after it")
        return LENGTH + lengthOf(data, at)


def lengthOf(data: bytes, at: int) -> int:
    """
    How long the IP packet at C{at} is, in octets; or, where C{data} ends before that can be told, how much of it that
    takes.

    @raise FramingError: no packet begins so.
    """
    available = len(data) - at
    version = data[at] >> 4
    if version == 4:
        if available < ipv4.HEADER_LENGTH:
            return ipv4.HEADER_LENGTH
        header = (data[at] & 0x0F) << 2
        length = data[at + 2] << 8 | data[at + 3]
        if header < ipv4.HEADER_LENGTH or length < header:
            raise FramingError("an IPv4 header longer than its packet, or shorter than one is")
        if available < header:
            return header
        # Once a packet is shorter than it says, whatever comes after it is read at the wrong places.
        if int.from_bytes(data[at : at + header], "big") % 0xFFFF:
            raise FramingError("an IPv4 header that does not sum up: was the packet before cut short?")
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
        raise FramingError("no IP packet, but perhaps protocol information: give socat iff-no-pi, or have pi here")
    raise FramingError("no IP packet begins so")
