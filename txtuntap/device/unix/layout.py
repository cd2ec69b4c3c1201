"""
The numbers and structures with which macOS, FreeBSD, OpenBSD and NetBSD configure and report interfaces. Not run on a
real macOS, FreeBSD, OpenBSD or NetBSD yet.

The structures are those of 64-bit processors, on which all four platforms agree with their headers for amd64 and arm64.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from typing import NamedTuple

import attrs

from txtuntap.device.platform import platformName

#: The address families with one number on all platforms (C{sys/socket.h}). L{Layout} has the others.
AF_INET, AF_LINK = 2, 18

#: The bits of C{rtm_addrs}, in the order in which the addresses follow a routing message (C{net/route.h}).
RTA_DST, RTA_GATEWAY, RTA_NETMASK, RTA_IFP, RTA_IFA, RTA_BRD = 0x1, 0x2, 0x4, 0x10, 0x20, 0x80

#: The types of the routing messages that have one number on all platforms.
RTM_ADD, RTM_DELETE, RTM_GET = 1, 2, 4

#: The flags of a route.
RTF_UP, RTF_GATEWAY, RTF_HOST, RTF_LLINFO, RTF_STATIC = 0x1, 0x2, 0x4, 0x400, 0x800

#: The first number of the C{sysctl} that returns routing messages, which the address family of the routing socket
#: follows, and the number for all routes.
CTL_NET, NET_RT_DUMP = 4, 1

#: The flags of an interface (C{net/if.h}).
IFF_UP, IFF_POINTOPOINT, IFF_RUNNING = 0x1, 0x10, 0x40

#: The flags of an interface in the words of C{ifconfig}, as far as they are the same on all platforms.
FLAGS = {
    0x1: "UP",
    0x2: "BROADCAST",
    0x4: "DEBUG",
    0x8: "LOOPBACK",
    0x10: "POINTOPOINT",
    0x40: "RUNNING",
    0x80: "NOARP",
    0x100: "PROMISC",
    0x200: "ALLMULTI",
    0x800: "SIMPLEX",
    0x8000: "MULTICAST",
}

#: C{SIOCDIFADDR_IN6}, and the size of its structure (C{in6_ifreq}).
DELETE_ADDRESS_6, DELETE_SIZE_6 = 0x81206919, 288

#: The position of the request's union in every C{ifreq}, after the interface's name.
IFREQ_UNION = 16

#: The positions of the addresses in C{ifaliasreq}: own, destination or broadcast, netmask.
ALIAS_OWN, ALIAS_OTHER, ALIAS_MASK = 16, 32, 48

#: The positions in C{in6_aliasreq}: own address, destination, netmask, flags, and both lifetimes.
ALIAS_6_OWN, ALIAS_6_OTHER, ALIAS_6_MASK, ALIAS_6_FLAGS, ALIAS_6_LIFETIMES = 16, 44, 72, 100, 120

#: The lifetime of an IPv6 address that never expires (C{ND6_INFINITE_LIFETIME}).
FOR_EVER = 0xFFFFFFFF


class Header(NamedTuple):
    """
    The layout of the fixed part of a routing message.

    @ivar size: the number of octets before the addresses.
    @ivar indexAt: the position of the interface's index, 16 bits.
    @ivar flagsAt: the position of the flags, 32 bits.
    @ivar addressesAt: the position of the bits that say which addresses follow, 32 bits.
    """

    size: int
    indexAt: int
    flagsAt: int
    addressesAt: int


class Statistics(NamedTuple):
    """
    The layout of the counters in C{if_data}.

    @ivar format: the format of a counter for the module C{struct}.
    @ivar positions: the position of each counter in C{if_data}, by the name that the counter has on Linux.
    """

    format: str
    positions: dict[str, int]


@attrs.frozen(kw_only=True)
class Layout:
    """
    The numbers of one platform. The names in parentheses are those of the platform's headers.

    @ivar title: the name of the platform in texts.
    @ivar advice: the advice for each error number of a call that opens a device.
    @ivar inet6: C{AF_INET6}.
    @ivar routeFamily: C{PF_ROUTE}.
    @ivar ifreqSize: the number of octets in C{ifreq}.
    @ivar create: C{SIOCIFCREATE}.
    @ivar destroy: C{SIOCIFDESTROY}.
    @ivar getFlags: C{SIOCGIFFLAGS}.
    @ivar setFlags: C{SIOCSIFFLAGS}.
    @ivar setMTU: C{SIOCSIFMTU}.
    @ivar setLinkAddress: C{SIOCSIFLLADDR}; C{None}: the platform has no such ioctl.
    @ivar addAddress: C{SIOCAIFADDR}.
    @ivar aliasSize: the number of octets in C{ifaliasreq}.
    @ivar deleteAddress: C{SIOCDIFADDR}.
    @ivar addAddress6: C{SIOCAIFADDR_IN6}.
    @ivar alias6Size: the number of octets in C{in6_aliasreq}.
    @ivar noDetection: C{IN6_IFF_NODAD}, the flag of an address without duplicate address detection; 0: there is none.
    @ivar getNeighbourFlags: C{SIOCGIFINFO_IN6}; C{None}: new interfaces have IPv6 enabled.
    @ivar setNeighbourFlags: C{SIOCSIFINFO_IN6}.
    @ivar version: C{RTM_VERSION}.
    @ivar alignment: the number of octets to a multiple of which each address in a routing message is padded.
    @ivar linkSize: the number of octets in C{sockaddr_dl}.
    @ivar families: C{RTAX_MAX}, the number of addresses that a routing message can have.
    @ivar hasHeaderLength: whether each routing message holds the size of its fixed part, at octet 4.
    @ivar interfaceList: C{NET_RT_IFLIST}.
    @ivar interface: C{RTM_IFINFO}.
    @ivar newAddress: C{RTM_NEWADDR}.
    @ivar events: the types of the messages after which the states of interfaces may have changed.
    @ivar route: the layout of C{rt_msghdr}.
    @ivar pid: the position of C{rtm_pid}, 32 bits. The sequence number C{rtm_seq} follows it.
    @ivar interfaceHeader: the layout of C{if_msghdr}.
    @ivar data: the position of C{if_data} in C{if_msghdr}.
    @ivar mtu: the position of C{ifi_mtu} in C{if_data}.
    @ivar mtuFormat: the format of C{ifi_mtu} for the module C{struct}.
    @ivar statistics: the counters in C{if_data}.
    @ivar addressHeader: the layout of C{ifa_msghdr}.
    @ivar embedsScope: whether a routing message holds the scope of a link-local address in the octets 2 and 3 of that
        address.
    @ivar routesByLink: whether a route without a gateway names its interface by a link address. If not, it names the
        interface by one of the interface's own addresses.
    """

    title: str
    advice: Mapping[int, str]
    inet6: int
    routeFamily: int = 17
    ifreqSize: int = 32
    create: int
    destroy: int = 0x80206979
    getFlags: int = 0xC0206911
    setFlags: int = 0x80206910
    setMTU: int = 0x80206934
    setLinkAddress: int | None = 0x8020693C
    addAddress: int = 0x8040691A
    aliasSize: int = 64
    deleteAddress: int = 0x80206919
    addAddress6: int = 0x8080691A
    alias6Size: int = 128
    noDetection: int = 0x20
    getNeighbourFlags: int | None = None
    setNeighbourFlags: int = 0
    version: int = 5
    alignment: int = 8
    linkSize: int
    families: int = 8
    hasHeaderLength: bool = False
    interfaceList: int = 3
    interface: int = 14
    newAddress: int = 12
    events: frozenset[int]
    route: Header
    pid: int = 16
    interfaceHeader: Header
    data: int = 16
    mtu: int = 8
    mtuFormat: str = "=I"
    statistics: Statistics
    addressHeader: Header
    embedsScope: bool = True
    routesByLink: bool = True


#: The structure that reads and sets the IPv6 flags of an interface (FreeBSD's C{in6_ndireq}): its number of octets, the
#: position of the flags, and C{ND6_IFF_IFDISABLED}.
NEIGHBOUR_SIZE, NEIGHBOUR_FLAGS, IPV6_DISABLED = 72, 36, 0x8

_COUNTERS = "rx_packets", "rx_errors", "tx_packets", "tx_errors", "rx_bytes", "tx_bytes"


def _statistics(format: str, *positions: int) -> Statistics:
    return Statistics(format, dict(zip(_COUNTERS, positions, strict=True)))


#: The advice that is the same on all platforms.
_ADVICE = {
    errno.ENXIO: "the driver has no such interface: choose another number",
    errno.ENODEV: "the kernel lists no such interface: open it again, because another program may have deleted it",
    errno.EBUSY: "another program has it open: stop that program, or choose another number, or %d for any",
    errno.EACCES: "this user may not open it: run as root, or allow this user to read and write the node",
    errno.EPERM: "this user may not do that: run as root",
    errno.ENOTTY: "this is no tun or tap, or the kernel is too old: give another descriptor, or update the system",
}

_MAKEDEV = "there is no such node: make it ('cd /dev && sh MAKEDEV tun tap')"

#: The numbers of each platform, by its C{sys.platform} without the version.
LAYOUTS = {
    "darwin": Layout(
        title="macOS",
        advice={**_ADVICE, errno.ENOENT: "there is no such node: use utun%d"},
        create=0xC0206978,
        inet6=30,
        alignment=4,
        linkSize=20,
        events=frozenset((12, 13, 14)),
        route=Header(92, 4, 8, 12),
        interfaceHeader=Header(112, 12, 8, 4),
        statistics=_statistics("=I", 20, 24, 28, 32, 40, 44),
        addressHeader=Header(20, 12, 8, 4),
    ),
    "freebsd": Layout(
        title="FreeBSD",
        advice={
            **_ADVICE,
            errno.ENOENT: "there is no such node: load the driver ('kldload if_tuntap'), or allow new interfaces"
            " ('sysctl net.link.tun.devfs_cloning=1'); in a jail, add the node to the jail's devfs rules",
            errno.ENODEV: "the kernel lists no such interface: in a jail, use one with its own network stack ('vnet')",
            errno.ENOTTY: "this is no tun or tap, or the kernel is too old: use FreeBSD 12.1 or later",
        },
        create=0xC020697A,
        inet6=28,
        addAddress=0x8044692B,
        aliasSize=68,
        addAddress6=0x8088691B,
        alias6Size=136,
        getNeighbourFlags=0xC048696C,
        setNeighbourFlags=0xC048696D,
        linkSize=54,
        events=frozenset((12, 13, 14, 17)),
        route=Header(152, 4, 8, 12),
        interfaceHeader=Header(168, 12, 8, 4),
        statistics=_statistics("=Q", 24, 32, 40, 48, 64, 72),
        addressHeader=Header(20, 12, 8, 4),
        embedsScope=False,
    ),
    "netbsd": Layout(
        title="NetBSD",
        advice={**_ADVICE, errno.ENOENT: _MAKEDEV},
        create=0x8090697A,
        destroy=0x80906979,
        inet6=24,
        routeFamily=34,
        ifreqSize=144,
        getFlags=0xC0906911,
        setFlags=0x80906910,
        setMTU=0x8090697F,
        setLinkAddress=None,
        deleteAddress=0x80906919,
        addAddress6=0x8080696B,
        version=4,
        linkSize=32,
        families=9,
        interfaceList=6,
        interface=20,
        newAddress=22,
        events=frozenset((16, 20, 22, 23)),
        route=Header(120, 4, 8, 12),
        interfaceHeader=Header(152, 12, 8, 4),
        mtuFormat="=Q",
        statistics=_statistics("=Q", 32, 40, 48, 56, 72, 80),
        addressHeader=Header(32, 4, 8, 12),
    ),
    "openbsd": Layout(
        title="OpenBSD",
        advice={**_ADVICE, errno.ENOENT: _MAKEDEV},
        create=0x8020697A,
        inet6=24,
        setMTU=0x8020697F,
        setLinkAddress=0x8020691F,
        noDetection=0,
        linkSize=32,
        families=15,
        hasHeaderLength=True,
        events=frozenset((12, 13, 14, 15)),
        route=Header(96, 6, 16, 12),
        pid=24,
        interfaceHeader=Header(168, 6, 16, 12),
        data=24,
        mtu=4,
        statistics=_statistics("=Q", 24, 32, 40, 48, 64, 72),
        addressHeader=Header(24, 6, 16, 12),
        routesByLink=False,
    ),
}
DARWIN, FREEBSD = LAYOUTS["darwin"], LAYOUTS["freebsd"]
NETBSD, OPENBSD = LAYOUTS["netbsd"], LAYOUTS["openbsd"]


def layoutHere() -> Layout:
    """
    Return the numbers of the platform that this program runs on.

    @raise OSError: the platform is none of the four (C{ENOTSUP}).
    """
    layout = LAYOUTS.get(platformName())
    if layout is None:
        raise OSError(errno.ENOTSUP, f"{sys.platform} is none of {', '.join(LAYOUTS)}")
    return layout
