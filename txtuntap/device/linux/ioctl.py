"""
Constants from C{linux/if_tun.h}, C{linux/sockios.h}, C{linux/ethtool.h} and C{asm/ioctl.h}.

The number of an ioctl consists of a direction, the size of its argument, a letter for the driver and the driver's
number for the call. Only the bits of the direction differ between architectures.
"""

from __future__ import annotations

import platform

from txtuntap.device.address import TunnelFlags

IFF_TUN: int = TunnelFlags.IFF_TUN.value
IFF_TAP: int = TunnelFlags.IFF_TAP.value
IFF_NAPI: int = TunnelFlags.IFF_NAPI.value
IFF_NAPI_FRAGS: int = TunnelFlags.IFF_NAPI_FRAGS.value
IFF_NO_CARRIER: int = TunnelFlags.IFF_NO_CARRIER.value
IFF_MULTI_QUEUE: int = TunnelFlags.IFF_MULTI_QUEUE.value
IFF_PERSIST: int = TunnelFlags.IFF_PERSIST.value
IFF_NO_PI: int = TunnelFlags.IFF_NO_PI.value
IFF_VNET_HDR: int = TunnelFlags.IFF_VNET_HDR.value
IFF_TUN_EXCL: int = TunnelFlags.IFF_TUN_EXCL.value
IFF_ATTACH_QUEUE = 0x0200
IFF_DETACH_QUEUE = 0x0400

#: A flag of the protocol information: the kernel has cut the packet to fit the buffer.
TUN_PKT_STRIP = 0x0001

SIOCGIFFLAGS = 0x8913
SIOCGIFMTU = 0x8921
SIOCGIFHWADDR = 0x8927
SIOCGIFINDEX = 0x8933
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 0x0003

_WRITE, _READ, _NONE = "write", "read", "none"


def number(direction: str, letter: str, index: int, size: int, machine: str) -> int:
    """
    Compute the number of an ioctl, as the macro C{_IOC} does.

    @param direction: C{"write"}: the kernel reads the argument; C{"read"}: the kernel writes the argument; C{"none"}:
        there is no argument.
    @param letter: the letter of the driver.
    @param index: the driver's number for the call.
    @param size: the size of the argument in octets.
    @param machine: the architecture, by the names of C{platform.machine}.
    """
    if machine.startswith(("mips", "ppc", "powerpc", "sparc", "alpha")):
        shift, bits = 29, {_NONE: 1, _READ: 2, _WRITE: 4}
    elif machine.startswith("parisc"):
        shift, bits = 30, {_NONE: 0, _READ: 1, _WRITE: 2}
    else:
        shift, bits = 30, {_NONE: 0, _READ: 2, _WRITE: 1}
    return bits[direction] << shift | size << 16 | ord(letter) << 8 | index


def _tun(direction: str, index: int) -> int:
    # The kernel declares each of these ioctls with the size of an int, although some have a larger argument.
    return number(direction, "T", index, 4, platform.machine())


TUNSETIFF = _tun(_WRITE, 202)
TUNSETPERSIST = _tun(_WRITE, 203)
TUNSETOWNER = _tun(_WRITE, 204)
TUNSETGROUP = _tun(_WRITE, 206)
TUNGETFEATURES = _tun(_READ, 207)
TUNSETOFFLOAD = _tun(_WRITE, 208)
TUNGETIFF = _tun(_READ, 210)
TUNSETSNDBUF = _tun(_WRITE, 212)
TUNSETVNETHDRSZ = _tun(_WRITE, 216)
TUNSETQUEUE = _tun(_WRITE, 217)
TUNSETCARRIER = _tun(_WRITE, 226)
TUNGETDEVNETNS = number(_NONE, "T", 227, 0, platform.machine())
