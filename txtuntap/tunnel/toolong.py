"""
The treatment of packets that are too long for the interface at this end of a tunnel. The peer's interface may have a
larger MTU, and there is no router between the two that would fragment the packets or answer them.

Read RFC 791 section 3.2 (fragmentation), RFC 1191 and RFC 8201 (path MTU discovery) first.
"""

from __future__ import annotations

from txtuntap.wire import ethernet, icmp, ipv4, ipv6
from txtuntap.wire.offload import Offload, finish

_VERSIONS = {ethernet.IPV4.to_bytes(2, "big"): 4, ethernet.IPV6.to_bytes(2, "big"): 6}


def fragmentsOrError(
    packet: bytes, offload: Offload | None, network: int, mtu: int
) -> tuple[list[bytes], bytes | None]:
    """
    Fragment a packet that is too long, or make the ICMP error for its sender, as a router does.

    @param packet: an IP packet or an Ethernet frame.
    @param offload: the checksum and segmentation that are left to do in the packet, already validated; C{None}: nothing
        is left.
    @param network: the offset in octets of the IP header; 0 if C{packet} is no frame.
    @param mtu: the most octets of an IP packet on the interface.

    @return: the fragments (as packets or frames), none if the packet must not be fragmented; and the packet with the
        ICMP error, or C{None}.
    """
    link = packet[:network]
    version = packet[network] >> 4 if network < len(packet) else 0
    if link and _VERSIONS.get(link[-2:]) != version:
        return [], None
    pieces = [packet] if offload is None else finish(packet, offload, network)
    # Ethernet padding is removed.
    whole = [piece[network:][: ipLength(piece[network:])] for piece in pieces]
    if not all(whole):
        return [], None
    if version == 4 and not whole[0][6] << 8 & ipv4.DONT_FRAGMENT:
        return [link + each for one in whole for each in ipv4.fragmentsOf(one, mtu)], None
    isMulticast = any(address[0] & 1 for address in (link[:6], link[6:12]) if address)
    if len(whole[0]) <= mtu or isMulticast:
        return [], None
    answer = icmp.tooBig(whole[0], mtu)
    return [], None if answer is None else link[6:12] + link[:6] + link[12:] + answer


def ipLength(packet: bytes | memoryview) -> int:
    """
    Return the length of an IP packet as its header states it. Padding may follow the packet.

    @return: the length in octets, including the header; 0 if the octets are not a complete IP packet.
    """
    length = len(packet)
    if length < ipv4.HEADER_LENGTH:
        return 0
    first = packet[0]
    if first >> 4 == 4:
        total = packet[2] << 8 | packet[3]
        return total if ipv4.HEADER_LENGTH <= (first & 0x0F) << 2 <= total <= length else 0
    total = ipv6.HEADER_LENGTH + (packet[4] << 8 | packet[5])
    return total if first >> 4 == 6 and total <= length else 0
