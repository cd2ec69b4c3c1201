"""
The address of a port on a TUN or TAP device, and the flags of such devices. The names are those of C{twisted.pair}.
"""

from __future__ import annotations

import warnings
from typing import Any

from constantly import FlagConstant, Flags
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from txtuntap.device.linux import ioctl


class TunnelFlags(Flags):  # type: ignore[misc]
    """
    Flags of a TUN or TAP device, as in C{linux/if_tun.h}.
    """

    IFF_TUN = FlagConstant(ioctl.IFF_TUN)
    IFF_TAP = FlagConstant(ioctl.IFF_TAP)
    IFF_NAPI = FlagConstant(ioctl.IFF_NAPI)
    IFF_NAPI_FRAGS = FlagConstant(ioctl.IFF_NAPI_FRAGS)
    IFF_NO_CARRIER = FlagConstant(ioctl.IFF_NO_CARRIER)
    IFF_MULTI_QUEUE = FlagConstant(ioctl.IFF_MULTI_QUEUE)
    IFF_PERSIST = FlagConstant(ioctl.IFF_PERSIST)
    IFF_NO_PI = FlagConstant(ioctl.IFF_NO_PI)
    IFF_ONE_QUEUE = FlagConstant(ioctl.IFF_ONE_QUEUE)
    IFF_VNET_HDR = FlagConstant(ioctl.IFF_VNET_HDR)
    IFF_TUN_EXCL = FlagConstant(ioctl.IFF_TUN_EXCL)


@implementer(IAddress)
class TunnelAddress:
    """
    The address of a L{TuntapPort<txtuntap.tuntap.TuntapPort>}: the kind and the name of its interface.

    @ivar type: L{TunnelFlags.IFF_TUN} or L{TunnelFlags.IFF_TAP}.
    @ivar name: the interface's name.
    """

    def __init__(self, type: FlagConstant, name: bytes) -> None:
        self.type = type
        self.name = name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TunnelAddress):
            return NotImplemented
        # A flag that was computed is not equal to the constant with the same value (Twisted issue 6878).
        return (self.type.value, self.name) == (other.type.value, other.name)

    def __hash__(self) -> int:
        return hash((self.type.value, self.name))

    def __repr__(self) -> str:
        return f"<TunnelAddress type={self.type.name} name={self.name!r}>"

    def __getitem__(self, index: int) -> Any:
        warnings.warn("A TunnelAddress has attributes: use .name", DeprecationWarning, stacklevel=2)
        return ("TUNTAP", self.name)[index]
