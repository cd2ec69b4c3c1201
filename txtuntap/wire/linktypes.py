"""
The link headers of captured packets, by link type. Link types are the LINKTYPE values of
www.tcpdump.org/linktypes.html; read that page first.
"""

from __future__ import annotations

from txtuntap.wire import pcapng

#: The link types of IP packets without a link header: LINKTYPE_RAW; DLT_RAW of most systems (12) and of OpenBSD (14),
#: which some programs write into files; LINKTYPE_IPV4; LINKTYPE_IPV6.
_RAW = frozenset([pcapng.RAW, 12, 14, 228, 229])

#: The link types of BSD's loopback interface, which Windows and macOS have, too. An address family precedes each
#: packet, in the byte order of the capturing machine (LINKTYPE_NULL) or in network byte order (LINKTYPE_LOOP).
NULL, LOOP = 0, 108

#: The link types of C{tcpdump -i any}: LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2.
SLL, SLL2 = 113, 276

#: The IP version of each address family. IPv4 is 2 on all systems. IPv6 is 10 on Linux, 23 on Windows, 24 on NetBSD and
#: OpenBSD, 28 on FreeBSD, and 30 on macOS.
_FAMILIES = {2: 4, 10: 6, 23: 6, 24: 6, 28: 6, 30: 6}

_FAMILY_LENGTH = 4

#: The headers of C{SLL} and C{SLL2}: the length in octets, the position of the EtherType, and the position of the octet
#: with the packet type.
_COOKED = {SLL: (16, 14, 1), SLL2: (20, 0, 10)}
_ETHER_TYPES = {0x0800: 4, 0x86DD: 6}

#: The direction by the packet type of C{SLL} and C{SLL2}: to this host, to all, to a group, to another host, from this
#: host.
_DIRECTIONS = {0: pcapng.INBOUND, 1: pcapng.INBOUND, 2: pcapng.INBOUND, 3: pcapng.UNKNOWN, 4: pcapng.OUTBOUND}

_NAMES = {
    NULL: "NULL",
    pcapng.ETHERNET: "ETHERNET",
    9: "PPP",
    12: "RAW",
    14: "RAW",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    pcapng.RAW: "RAW",
    105: "IEEE802_11",
    LOOP: "LOOP",
    SLL: "LINUX_SLL",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4_WITHFCS",
    201: "BLUETOOTH_HCI_H4_WITH_PHDR",
    220: "USB_LINUX_MMAPPED",
    228: "IPV4",
    229: "IPV6",
    239: "NFLOG",
    249: "USBPCAP",
    253: "NETLINK",
    SLL2: "LINUX_SLL2",
}


def linkTypeName(linkType: int) -> str:
    """
    Describe a link type in a text for people: its name, if it is a well-known one, and its number.
    """
    name = _NAMES.get(linkType)
    return f"link type {linkType}" if name is None else f"{name} (link type {linkType})"


def carriesIP(linkType: int) -> bool:
    """
    Whether packets of a link type contain an IP packet that L{ipStart} can find. Ethernet is not one of these types.
    """
    return linkType in _RAW or linkType in _COOKED or linkType in (NULL, LOOP)


def ipStart(linkType: int, data: bytes) -> int | None:
    """
    Find the IP packet in a captured packet.

    @param linkType: a link type for which L{carriesIP} is true.

    @return: the position of the IP header; C{None} if the payload is of another protocol, or was not recorded.
    """
    if linkType in _RAW:
        return 0
    if linkType in _COOKED:
        start, at, _ = _COOKED[linkType]
        version = _ETHER_TYPES.get(int.from_bytes(data[at : at + 2], "big"))
    else:
        start = _FAMILY_LENGTH
        family = data[:start]
        version = _FAMILIES.get(min(int.from_bytes(family, "big"), int.from_bytes(family, "little")))
    return start if len(data) > start and data[start] >> 4 == version else None


def directionOf(linkType: int, data: bytes) -> int:
    """
    Return the direction of a captured packet: C{pcapng.INBOUND} or C{pcapng.OUTBOUND}, or C{pcapng.UNKNOWN} if its link
    header does not contain it.
    """
    if linkType not in _COOKED:
        return pcapng.UNKNOWN
    _, _, at = _COOKED[linkType]
    return _DIRECTIONS.get(data[at], pcapng.UNKNOWN) if len(data) > at else pcapng.UNKNOWN
