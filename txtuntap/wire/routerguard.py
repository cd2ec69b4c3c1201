"""
Router guard: how to tell packets by which a router, or a DHCP server, configures those who believe it (RFC 6105, RFC
7113, RFC 7610).

They are ICMP redirects and router advertisements (RFC 792, RFC 1256), router advertisements and redirects of neighbour
discovery (RFC 4861), and datagrams to the ports at which DHCP clients listen, from whichever port. A packet counts as
one where only its receiver can tell: a filter must not look less deep than the receiver does.
"""

from __future__ import annotations

from txtuntap.wire import ethernet, icmp, ipv4, ipv6, ndp, udp

#: Types of ICMP, and of ICMPv6.
_TYPES = frozenset((icmp.REDIRECT, icmp.ROUTER_ADVERTISEMENT))
_TYPES6 = frozenset((ndp.ROUTER_ADVERTISEMENT, ndp.REDIRECT))

#: The ports of clients of DHCP (RFC 2131 section 4.1) and DHCPv6 (RFC 8415 section 7.2).
_CLIENT = 68
_CLIENT6 = 546

#: Protocols of an IPv4 packet that may be one; and next headers of an IPv6 packet.
_LOOKED_INTO = frozenset((udp.PROTOCOL, icmp.PROTOCOL[4]))
_LOOKED_INTO6 = ipv6.EXTENSIONS | {udp.PROTOCOL, icmp.PROTOCOL[6]}

#: How much of the upper layer's header is looked at: a type, or two ports.
_LOOKED_AT = 4

_IPV4, _IPV6 = ethernet.IPV4.to_bytes(2, "big"), ethernet.IPV6.to_bytes(2, "big")
_TAGS = frozenset((ethernet.VLAN, ethernet.SERVICE_VLAN))

#: The first two octets of a header of 802.2 with one of SNAP behind it, each but for the bit that says group or
#: response; and the organizations in whose name an EtherType is next (RFC 1042, IEEE 802.1H).
_SNAP = 0xAA
_ENCAPSULATED = frozenset((b"\0\0\0", b"\0\0\xf8"))


def configures(packet: bytes | memoryview, network: int = 0) -> bool:
    """
    Whether an IP packet is one by which others are configured, or its receiver may read it as one.

    @param network: where its IP header begins. A packet that is shorter than its headers is none: nobody reads it.
    """
    length = len(packet)
    if length < network + ipv4.HEADER_LENGTH:
        return False
    version = packet[network] >> 4
    if version == 4:
        protocol = packet[network + 9]
        if protocol not in _LOOKED_INTO:
            return False
        at = network + ((packet[network] & 0x0F) << 2)
        if at + _LOOKED_AT > length or (packet[network + 6] << 8 | packet[network + 7]) & ipv4.OFFSET_MASK:
            # The first fragment has what is looked at: none has less than eight octets, and Linux joins none that
            # overlap.
            return False
        if protocol == udp.PROTOCOL:
            return packet[at + 2] << 8 | packet[at + 3] == _CLIENT
        return packet[at] in _TYPES
    if version != 6 or length < network + ipv6.HEADER_LENGTH:
        return False
    protocol = packet[network + 6]
    if protocol not in _LOOKED_INTO6:
        return False
    at = network + ipv6.HEADER_LENGTH
    if protocol in ipv6.EXTENSIONS:
        upper = ipv6.upperLayer(packet, network)
        if upper.protocol is None:
            # A later fragment is nothing without the first, whose headers have to be whole (RFC 8200 section 4.5).
            return not upper.isLater
        if upper.protocol not in _LOOKED_INTO6:
            return False
        protocol, at = upper.protocol, upper.start
        if at + _LOOKED_AT > upper.end:
            return upper.isFragment
    elif at + _LOOKED_AT > length:
        return False
    if protocol == udp.PROTOCOL:
        return packet[at + 2] << 8 | packet[at + 3] == _CLIENT6
    return packet[at] in _TYPES6


def frameConfigures(frame: bytes | memoryview, network: int) -> bool:
    """
    Whether an Ethernet frame carries a packet that L{configures}, or that L{isDisguised}, or L{isHidden}.

    @param network: where what comes after its header and tags begins: see
        L{networkStart<txtuntap.wire.offload.networkStart>}.
    """
    etherType = frame[network - 2 : network]
    if etherType == _IPV4:
        return isDisguised(frame, network, 4) or configures(frame, network)
    if etherType == _IPV6:
        return isDisguised(frame, network, 6) or configures(frame, network)
    return isHidden(frame, network)


def isDisguised(frame: bytes | memoryview, network: int, version: int) -> bool:
    """
    Whether the header that follows an EtherType of IP says to be of another version. A kernel drops such a packet, but
    a DHCP client that reads frames by itself need not look at the version.

    @param network: as for L{frameConfigures}.
    @param version: that of the EtherType.
    """
    return network < len(frame) and frame[network] >> 4 != version


def isHidden(frame: bytes | memoryview, network: int) -> bool:
    """
    Whether what an Ethernet frame carries stands deeper than is looked, while its receiver may read that far: behind
    more tags (Linux strips any number of tags of priority, VLAN 0), or behind headers of 802.2 and SNAP (VU#855201).

    @param network: as for L{frameConfigures}.
    """
    etherType = int.from_bytes(frame[network - 2 : network], "big")
    if etherType in _TAGS:
        return True
    if etherType >= ethernet.FIRST_TYPE or len(frame) < network + 6:
        return False
    services = frame[network] & 0xFE, frame[network + 1] & 0xFE
    return services == (_SNAP, _SNAP) and bytes(frame[network + 3 : network + 6]) in _ENCAPSULATED
