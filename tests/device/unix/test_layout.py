"""
Tests that the numbers with which interfaces are configured are those of the platforms' headers.
"""

from __future__ import annotations

import errno
import struct
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.device.unix.constants import CONSTANTS
from tests.device.unix.routefakes import NO_DETECTION, PLATFORMS
from tests.device.unix.routemessages import ALIGNMENTS
from txtuntap.device.unix import layout
from txtuntap.device.unix.layout import LAYOUTS, Header, layoutHere

#: The name in the headers of each field of a L{layout.Layout}.
NAMES = {
    "inet6": "AF_INET6",
    "routeFamily": "PF_ROUTE",
    "ifreqSize": "sizeof(ifreq)",
    "create": "SIOCIFCREATE",
    "destroy": "SIOCIFDESTROY",
    "getFlags": "SIOCGIFFLAGS",
    "setFlags": "SIOCSIFFLAGS",
    "setMTU": "SIOCSIFMTU",
    "setLinkAddress": "SIOCSIFLLADDR",
    "addAddress": "SIOCAIFADDR",
    "aliasSize": "sizeof(ifaliasreq)",
    "deleteAddress": "SIOCDIFADDR",
    "addAddress6": "SIOCAIFADDR_IN6",
    "alias6Size": "sizeof(in6_aliasreq)",
    "version": "RTM_VERSION",
    "linkSize": "sizeof(sockaddr_dl)",
    "families": "RTAX_MAX",
    "interfaceList": "NET_RT_IFLIST",
    "interface": "RTM_IFINFO",
    "newAddress": "RTM_NEWADDR",
    "pid": "rt_msghdr.rtm_pid",
    "data": "if_msghdr.ifm_data",
    "mtu": "if_data.ifi_mtu",
}

#: The name in the headers of each constant that is the same on all four platforms.
COMMON = {
    "AF_INET": "AF_INET",
    "AF_LINK": "AF_LINK",
    "RTA_DST": "RTA_DST",
    "RTA_GATEWAY": "RTA_GATEWAY",
    "RTA_NETMASK": "RTA_NETMASK",
    "RTA_IFP": "RTA_IFP",
    "RTA_IFA": "RTA_IFA",
    "RTA_BRD": "RTA_BRD",
    "RTM_ADD": "RTM_ADD",
    "RTM_DELETE": "RTM_DELETE",
    "RTM_GET": "RTM_GET",
    "RTF_UP": "RTF_UP",
    "RTF_GATEWAY": "RTF_GATEWAY",
    "RTF_HOST": "RTF_HOST",
    "RTF_LLINFO": "RTF_LLINFO",
    "RTF_STATIC": "RTF_STATIC",
    "CTL_NET": "CTL_NET",
    "NET_RT_DUMP": "NET_RT_DUMP",
    "IFF_UP": "IFF_UP",
    "IFF_POINTOPOINT": "IFF_POINTOPOINT",
    "IFF_RUNNING": "IFF_RUNNING",
    "DELETE_ADDRESS_6": "SIOCDIFADDR_IN6",
    "DELETE_SIZE_6": "sizeof(in6_ifreq)",
    "IFREQ_UNION": "ifreq.ifr_ifru",
    "ALIAS_OWN": "ifaliasreq.ifra_addr",
    "ALIAS_OTHER": "ifaliasreq.ifra_broadaddr",
    "ALIAS_MASK": "ifaliasreq.ifra_mask",
    "ALIAS_6_OWN": "in6_aliasreq.ifra_addr",
    "ALIAS_6_OTHER": "in6_aliasreq.ifra_dstaddr",
    "ALIAS_6_MASK": "in6_aliasreq.ifra_prefixmask",
    "ALIAS_6_FLAGS": "in6_aliasreq.ifra_flags",
    "FOR_EVER": "ND6_INFINITE_LIFETIME",
}

COUNTERS = {
    "rx_packets": "ipackets",
    "rx_errors": "ierrors",
    "tx_packets": "opackets",
    "tx_errors": "oerrors",
    "rx_bytes": "ibytes",
    "tx_bytes": "obytes",
}


class LayoutTests(SynchronousTestCase):
    """
    Tests for the numbers in L{LAYOUTS}.
    """

    def test_thePlatformsAreThoseOfTheTable(self) -> None:
        self.assertEqual(set(PLATFORMS), set(LAYOUTS))

    def test_eachNumberIsThatOfTheHeaders(self) -> None:
        for platform, each in LAYOUTS.items():
            numbers = CONSTANTS[platform]
            for field, name in NAMES.items():
                self.assertEqual(numbers.get(name), getattr(each, field), f"{platform}: {field}")
            self.assertEqual("rt_msghdr.rtm_hdrlen" in numbers, each.hasHeaderLength)
            self.assertEqual(numbers["rt_msghdr.rtm_seq"], each.pid + 4)
            self.assertEqual(NO_DETECTION[platform], each.noDetection)
            self.assertEqual(ALIGNMENTS[platform], each.alignment)

    def test_eachHeaderIsThatOfTheHeaders(self) -> None:
        for platform, each in LAYOUTS.items():
            numbers = CONSTANTS[platform]
            for found, struct_, prefix in (
                (each.route, "rt_msghdr", "rtm"),
                (each.interfaceHeader, "if_msghdr", "ifm"),
                (each.addressHeader, "ifa_msghdr", "ifam"),
            ):
                # The flags of an address are not used.
                flags = numbers.get(f"{struct_}.{prefix}_flags", found.flagsAt)
                index, addresses = (numbers[f"{struct_}.{prefix}_{field}"] for field in ("index", "addrs"))
                self.assertEqual(Header(numbers[f"sizeof({struct_})"], index, flags, addresses), found, platform)

    def test_theStatisticsAreThoseOfTheHeaders(self) -> None:
        for platform, each in LAYOUTS.items():
            numbers = CONSTANTS[platform]
            positions = {name: numbers[f"if_data.ifi_{field}"] for name, field in COUNTERS.items()}
            self.assertEqual(positions, each.statistics.positions)
            width = numbers["if_data.ifi_ierrors"] - numbers["if_data.ifi_ipackets"]
            self.assertEqual(width, struct.calcsize(each.statistics.format))
            self.assertEqual(0, numbers["if_data.ifi_type"])

    def test_theEventsAreThoseOfTheHeaders(self) -> None:
        names = "RTM_NEWADDR", "RTM_DELADDR", "RTM_IFINFO", "RTM_IFANNOUNCE"
        for platform, each in LAYOUTS.items():
            events = {CONSTANTS[platform][name] for name in names if name in CONSTANTS[platform]}
            self.assertEqual(events, each.events)

    def test_theCommonNumbersAreThoseOfTheHeaders(self) -> None:
        for platform in LAYOUTS:
            for constant, name in COMMON.items():
                expected = CONSTANTS[platform].get(name, getattr(layout, constant))
                self.assertEqual(expected, getattr(layout, constant), f"{platform}: {constant}")

    def test_theLifetimesAreAtTheEndOfTheirStructure(self) -> None:
        for platform in "freebsd", "netbsd", "openbsd":
            numbers = CONSTANTS[platform]
            start = numbers["in6_aliasreq.ifra_lifetime"]
            self.assertEqual(layout.ALIAS_6_LIFETIMES, start + numbers["in6_addrlifetime.ia6t_vltime"])
            self.assertEqual(layout.ALIAS_6_LIFETIMES + 4, start + numbers["in6_addrlifetime.ia6t_pltime"])

    def test_theNeighbourFlagsAreThoseOfFreeBSD(self) -> None:
        numbers, freebsd = CONSTANTS["freebsd"], LAYOUTS["freebsd"]
        expected = tuple(numbers[name] for name in ("sizeof(in6_ndireq)", "in6_ndireq.ndi.flags", "ND6_IFF_IFDISABLED"))
        self.assertEqual(expected, (layout.NEIGHBOUR_SIZE, layout.NEIGHBOUR_FLAGS, layout.IPV6_DISABLED))
        ioctls = numbers["SIOCGIFINFO_IN6"], numbers["SIOCSIFINFO_IN6"]
        self.assertEqual(ioctls, (freebsd.getNeighbourFlags, freebsd.setNeighbourFlags))

    def test_eachPlatformHasAdviceForTheUsualErrors(self) -> None:
        usual = (
            errno.ENOENT,
            errno.ENXIO,
            errno.ENODEV,
            errno.EBUSY,
            errno.EACCES,
            errno.EPERM,
            errno.ENOTTY,
        )
        for platform, each in LAYOUTS.items():
            self.assertLessEqual(set(usual), set(each.advice), platform)

    def test_aVersionOfThePlatformIsIgnored(self) -> None:
        self.patch(sys, "platform", "freebsd14")
        self.assertEqual("FreeBSD", layoutHere().title)

    def test_anotherPlatformHasNoLayout(self) -> None:
        self.patch(sys, "platform", "plan9")
        self.assertRaises(OSError, layoutHere)
