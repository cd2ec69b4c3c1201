"""
Functions that read the settings of an interface by ioctls and from sysfs, such as its index, its MTU and its network
namespace. Unlike netlink, these need no import of pyroute2.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from typing import NamedTuple

from txtuntap.device import TAP
from txtuntap.device.linux.ioctl import (
    IFF_NAPI,
    IFF_NAPI_FRAGS,
    SIOCGIFFLAGS,
    SIOCGIFHWADDR,
    SIOCGIFINDEX,
    SIOCGIFMTU,
    TUNGETDEVNETNS,
    TUNGETIFF,
)
from txtuntap.device.linux.namespace import openNamespace
from txtuntap.device.settings import InterfaceState

if sys.platform == "win32":
    raise ImportError("this module is for Linux")

#: The flag of an interface whose link is up (C{netdevice(7)}).
_IFF_UP = 0x1


class LinkSettings(NamedTuple):
    """
    The index of an interface, whether it is up, its MTU in octets, and the link address of a tap.
    """

    number: int
    up: bool
    mtu: int
    linkAddress: bytes | None

    @classmethod
    def of(cls, name: str, mode: int) -> LinkSettings:
        """
        Ask the kernel for the settings of an interface (C{netdevice(7)}).

        @raise OSError: there is no such interface.
        """
        request = struct.pack("16s24x", os.fsencode(name))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            (index,) = struct.unpack_from("i", fcntl.ioctl(query, SIOCGIFINDEX, request), 16)
            (flags,) = struct.unpack_from("h", fcntl.ioctl(query, SIOCGIFFLAGS, request), 16)
            (mtu,) = struct.unpack_from("i", fcntl.ioctl(query, SIOCGIFMTU, request), 16)
            address = fcntl.ioctl(query, SIOCGIFHWADDR, request)[18:24] if mode == TAP else None
        return cls(index, bool(flags & _IFF_UP), mtu, address)


def nameOf(fileno: int) -> str:
    """
    The present name of the interface that a descriptor is attached to.

    @raise OSError: the interface was deleted, or the descriptor is not attached.
    """
    return os.fsdecode(fcntl.ioctl(fileno, TUNGETIFF, bytes(40))[:16].rstrip(b"\0"))


def isElsewhere(fileno: int) -> bool:
    """
    Whether the interface of a descriptor is in another network namespace than this process. The result is C{False} if
    the process has no privilege to find out.
    """
    there = namespaceOf(fileno)
    if there is None:
        return False
    try:
        here = openNamespace(None)
    except OSError:
        os.close(there)
        return False
    try:
        return not os.path.sameopenfile(there, here)
    finally:
        os.close(there)
        os.close(here)


def namespaceOf(fileno: int) -> int | None:
    """
    Open the network namespace of the interface that a descriptor is attached to.

    @return: a descriptor of the namespace; C{None}: the process lacks C{CAP_NET_ADMIN} in that namespace, or the kernel
        lacks this call.
    """
    try:
        return fcntl.ioctl(fileno, TUNGETDEVNETNS)
    except OSError:
        return None


def napiFlags(state: InterfaceState) -> int:
    """
    Read the C{IFF_NAPI} flags of an interface in this network namespace. They are read from C{sysfs}, because netlink
    does not report them.

    @return: the flags; 0 if C{sysfs} is not mounted, or is that of another namespace.
    """
    interface = f"/sys/class/net/{state.name}"
    try:
        with open(f"{interface}/ifindex") as index, open(f"{interface}/tun_flags") as flags:
            return int(flags.read(), 16) & (IFF_NAPI | IFF_NAPI_FRAGS) if int(index.read()) == state.index else 0
    except OSError:
        return 0
