"""
The interfaces below the devices of macOS and the BSDs: their states, and how they are created and destroyed. Not run on
a real macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import attrs

from txtuntap.device import TAP

#: The address family of the sockets for ioctls, and their kind (C{sys/socket.h}).
AF_INET, SOCK_DGRAM = 2, 2

_AF_LINK = 18
_IFF_UP = 0x1

#: The number of octets of the name at the start of C{struct ifreq}; the values follow it.
NAME_LENGTH = 16

#: The first fields of C{struct sockaddr_dl}: its length, its family, the interface's index, its type, and the lengths
#: of the name and of the link address, which follow.
_LINK_ADDRESS = struct.Struct("=BBHBBBx")

_MTU = struct.Struct("=i")


@attrs.frozen
class Platform:
    """
    The numbers of one platform that a device needs. The names in parentheses are those of the platform's headers.

    @ivar title: the name of the platform in texts.
    @ivar inet6: C{AF_INET6}.
    @ivar create: C{SIOCIFCREATE}.
    @ivar destroy: C{SIOCIFDESTROY}.
    @ivar getMTU: C{SIOCGIFMTU}.
    @ivar noNode: the advice for a user without device nodes.
    @ivar ifreqSize: the number of octets in C{struct ifreq}.
    """

    title: str
    inet6: int
    create: int
    destroy: int
    getMTU: int
    noNode: str
    ifreqSize: int = 32

    def ifreq(self, name: str = "") -> bytes:
        """
        Pack a C{struct ifreq} without values.

        @param name: the interface's name.
        """
        return os.fsencode(name).ljust(self.ifreqSize, b"\0")


_MAKEDEV = "make it ('cd /dev && sh MAKEDEV tun tap')"
_CLONING = "load the driver ('kldload if_tuntap'), or allow new interfaces ('sysctl net.link.tun.devfs_cloning=1')"

DARWIN = Platform("macOS", 30, 0xC0206978, 0x80206979, 0xC0206933, "use utun%d")
FREEBSD = Platform("FreeBSD", 28, 0xC020697A, 0x80206979, 0xC0206933, _CLONING)
OPENBSD = Platform("OpenBSD", 24, 0x8020697A, 0x80206979, 0xC020697E, _MAKEDEV)
NETBSD = Platform("NetBSD", 24, 0x8090697A, 0x80906979, 0xC090697E, _MAKEDEV, ifreqSize=144)


@attrs.frozen
class Link:
    """
    The state of an interface when its device was opened.

    @ivar index: the interface's index.
    @ivar up: whether the link is up.
    @ivar mtu: the MTU in octets.
    @ivar linkAddress: the link address of a tap, six octets; L{None} for a tun.
    """

    index: int
    up: bool
    mtu: int
    linkAddress: bytes | None


def linkOf(system: Any, platform: Platform, name: str, mode: int) -> Link:
    """
    Read the state of an interface.

    @param system: the operating system's calls.
    @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.

    @raise OSError: there is no such interface, or the system refuses.
    """
    (mtu,) = _MTU.unpack_from(ask(system, platform.getMTU, platform.ifreq(name)), NAME_LENGTH)
    packed = os.fsencode(name)
    index, up, linkAddress = 0, False, None
    for each in system.interfaceAddresses():
        sockaddr = each.address
        if each.name != packed or len(sockaddr) < _LINK_ADDRESS.size:
            continue
        _, family, number, _, nameLength, length = _LINK_ADDRESS.unpack_from(sockaddr)
        if family != _AF_LINK:
            continue
        index, up = number, bool(each.flags & _IFF_UP)
        start = _LINK_ADDRESS.size + nameLength
        if mode == TAP and length == 6 and start + length <= len(sockaddr):
            linkAddress = sockaddr[start : start + length]
    return Link(index, up, mtu, linkAddress)


def ask(system: Any, request: int, argument: bytes) -> bytes:
    """
    Make an ioctl about an interface.

    @param argument: the octets of the structure, which begins with the interface's name.

    @return: the octets of the structure as the kernel has filled them.
    """
    with system.socket(AF_INET, SOCK_DGRAM, 0) as query:
        return bytes(system.ioctl(query.fileno(), request, argument))
