"""
Fragments of, and answers to, packets that are too long for the interface at this end of a tunnel: the other end's may
have a larger MTU, and no router is between the two.
"""

from __future__ import annotations

from txtuntap.wire import ethernet, icmp, ipv4, ipv6
from txtuntap.wire.offload import Offload, finish

_VERSIONS = {ethernet.IPV4.to_bytes(2, "big"): 4, ethernet.IPV6.to_bytes(2, "big"): 6}


def fitting(packet: bytes, offload: Offload | None, network: int, mtu: int) -> tuple[list[bytes], bytes | None]:
    """
    Do as a router does with a packet that is too long for a link: take it apart, or tell its sender.

    @param packet: an IP packet, or a frame.
    @param offload: what is open in it, which can be.
    @param network: where its IP header begins: 0 if it is no frame.
    @param mtu: the most octets that IP may put into one packet.

    @return: the packets or frames to write in its place, none where it must not be taken apart; and then the one to
        send back, or L{None}.
    """
    link = packet[:network]
    version = packet[network] >> 4 if network < len(packet) else 0
    if link and _VERSIONS.get(link[-2:]) != version:
        return [], None
    pieces = [packet] if offload is None else finish(packet, offload, network)
    # Without padding.
    whole = [piece[network:][: ipLength(piece[network:])] for piece in pieces]
    if not all(whole):
        return [], None
    if version == 4 and not whole[0][6] << 8 & ipv4.DONT_FRAGMENT:
        return [link + each for one in whole for each in ipv4.takenApart(one, mtu)], None
    isToMany = any(address[0] & 1 for address in (link[:6], link[6:12]) if address)
    if len(whole[0]) <= mtu or isToMany:
        return [], None
    answer = icmp.tooBig(whole[0], mtu)
    return [], None if answer is None else link[6:12] + link[:6] + link[12:] + answer


def ipLength(packet: bytes | memoryview) -> int:
    """
    Read the length of an IP packet, which padding may follow.

    @return: octets, with the header; 0 if it is no IP packet, or not whole.
    """
    length = len(packet)
    if length < ipv4.HEADER_LENGTH:
        return 0
    version = packet[0] >> 4
    if version == 4:
        told = packet[2] << 8 | packet[3]
        return told if ipv4.HEADER_LENGTH <= (packet[0] & 0x0F) << 2 <= told <= length else 0
    told = ipv6.HEADER_LENGTH + (packet[4] << 8 | packet[5])
    return told if version == 6 and told <= length else 0
