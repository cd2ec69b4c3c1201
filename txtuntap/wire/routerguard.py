"""
Router guard: the detection of packets with which a router or a DHCP server configures hosts. Read RFC 6105, RFC 7113
and RFC 7610 first.

These packets are ICMP redirects and router advertisements (RFC 792, RFC 1256), router advertisements and redirects of
Neighbour Discovery (RFC 4861), and datagrams to the ports of DHCP clients, from any source port. If the headers of a
packet cannot be read to the end, but its receiver may read them, the packet counts as one of these. A filter that
parses less deeply than the receiver could be evaded.
"""

from __future__ import annotations

from txtuntap.wire import ethernet, icmp, ipv4, ipv6, ndp, udp

#: The types of ICMP and of ICMPv6 messages that configure hosts.
_TYPES = frozenset((icmp.REDIRECT, icmp.ROUTER_ADVERTISEMENT))
_TYPES6 = frozenset((ndp.ROUTER_ADVERTISEMENT, ndp.REDIRECT))

#: The UDP ports of the clients of DHCP (RFC 2131 section 4.1) and DHCPv6 (RFC 8415 section 7.2).
_CLIENT = 68
_CLIENT6 = 546

#: The protocols of an IPv4 packet, and the Next Header values of an IPv6 packet, that are examined further.
_LOOKED_INTO = frozenset((udp.PROTOCOL, icmp.PROTOCOL[4]))
_LOOKED_INTO6 = ipv6.EXTENSIONS | {udp.PROTOCOL, icmp.PROTOCOL[6]}

#: The number of octets of the upper layer's header that are read: a type, or two ports.
_LOOKED_AT = 4

_IPV4, _IPV6 = ethernet.IPV4.to_bytes(2, "big"), ethernet.IPV6.to_bytes(2, "big")
_TAGS = frozenset((ethernet.VLAN, ethernet.SERVICE_VLAN))

#: The value of the first two octets of an IEEE 802.2 header before a SNAP header, without their lowest bits (group and
#: response); and the organization codes in a SNAP header that precede an EtherType (RFC 1042, IEEE 802.1H).
_SNAP = 0xAA
_ENCAPSULATED = frozenset((b"\0\0\0", b"\0\0\xf8"))


def configures(packet: bytes | memoryview, network: int = 0) -> bool:
    """
    Whether an IP packet configures hosts, or its receiver may read it as a packet that does. The result is false for a
    packet that is shorter than its headers, because every receiver drops it.

    @param network: the position of the IP header.
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
            # A later fragment is harmless. The first one has at least eight octets of payload, and so all fields that
            # are read here. A later one cannot overwrite them, because Linux drops overlapping fragments.
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
            # A later fragment is harmless, because the first one must contain all headers (RFC 8200 section 4.5).
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
    Whether an Ethernet frame has to be filtered: its packet L{configures} hosts, L{isDisguised}, or L{isHidden}.

    @param network: the position behind the Ethernet header and the tags that were read: the result of
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
    Whether the IP version in a packet's header differs from the version of the EtherType. A kernel drops such a packet,
    but a DHCP client that reads frames from a packet socket may not check the version.

    @param network: the position of the IP header.
    @param version: the IP version of the EtherType, 4 or 6.
    """
    return network < len(frame) and frame[network] >> 4 != version


def isHidden(frame: bytes | memoryview, network: int) -> bool:
    """
    Whether an Ethernet frame has an encapsulation that is not read here, but may be read by its receiver. These are
    more VLAN tags than C{MAX_TAGS} (Linux strips any number of priority tags, VLAN 0), and the headers of IEEE 802.2
    and SNAP (VU#855201).

    @param network: the position behind the Ethernet header and the tags that were read.
    """
    etherType = int.from_bytes(frame[network - 2 : network], "big")
    if etherType in _TAGS:
        return True
    if etherType >= ethernet.FIRST_TYPE or len(frame) < network + 6:
        return False
    services = frame[network] & 0xFE, frame[network + 1] & 0xFE
    return services == (_SNAP, _SNAP) and bytes(frame[network + 3 : network + 6]) in _ENCAPSULATED
