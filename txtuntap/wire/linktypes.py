"""
Link headers of captured packets, by the kind of link they were captured on: LINKTYPE values, as
www.tcpdump.org/linktypes.html has them.
"""

from __future__ import annotations

from txtuntap.wire import pcapng

#: IP packets. The first is LINKTYPE_RAW; the next two are DLT_RAW, as it is on most systems and on OpenBSD, which some
#: programs write into files; the others are LINKTYPE_IPV4 and LINKTYPE_IPV6.
_RAW = frozenset([pcapng.RAW, 12, 14, 228, 229])

#: The loopback interface of BSD, with an address family before each packet: in the byte order of the machine that
#: captured (LINKTYPE_NULL), and in that of the network (LINKTYPE_LOOP). Windows and macOS have these, too.
NULL, LOOP = 0, 108

#: Link types of C{tcpdump -i any}: LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2.
SLL, SLL2 = 113, 276

#: By address family, the version of IP: it is 2 everywhere for IPv4, and for IPv6 what it is on Linux, Windows, NetBSD
#: and OpenBSD, FreeBSD, macOS.
_FAMILIES = {2: 4, 10: 6, 23: 6, 24: 6, 28: 6, 30: 6}

_FAMILY_LENGTH = 4

#: Headers of the two kinds of C{-i any}: their octets; where the EtherType is, and the octet with the packet's type.
_COOKED = {SLL: (16, 14, 1), SLL2: (20, 0, 10)}
_ETHER_TYPES = {0x0800: 4, 0x86DD: 6}

#: By the type of a packet there, which way it went: to this host, to all, to a group, to another host, from this one.
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
    A LINKTYPE for people: its name, if it is one of the better known, and its number.
    """
    name = _NAMES.get(linkType)
    return f"link type {linkType}" if name is None else f"{name} (link type {linkType})"


def carriesIP(linkType: int) -> bool:
    """
    Whether an IP packet can be taken out of what was captured on such a link, without a frame of Ethernet around it.
    """
    return linkType in _RAW or linkType in _COOKED or linkType in (NULL, LOOP)


def ipStart(linkType: int, data: bytes) -> int | None:
    """
    Where in a captured packet that of IP begins.

    @param linkType: one that L{carriesIP}.

    @return: octets before it; L{None} if there is none: it is another protocol's, or is cut before it.
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
    Which way a packet went, as its link's own header tells: C{pcapng.INBOUND}, C{pcapng.OUTBOUND}, or
    C{pcapng.UNKNOWN} where that does not tell.
    """
    if linkType not in _COOKED:
        return pcapng.UNKNOWN
    _, _, at = _COOKED[linkType]
    return _DIRECTIONS.get(data[at], pcapng.UNKNOWN) if len(data) > at else pcapng.UNKNOWN
