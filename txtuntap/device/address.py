"""
The address of a port on a TUN or TAP device, and the flags of such devices. The names are those of C{twisted.pair}.
"""

from __future__ import annotations

import warnings
from typing import Any

from constantly import FlagConstant, Flags
from twisted.internet.interfaces import IAddress
from zope.interface import implementer


class TunnelFlags(Flags):  # type: ignore[misc]
    """
    Flags of a TUN or TAP device, with their values in C{linux/if_tun.h}. On every platform, C{IFF_TUN} and C{IFF_TAP}
    tell the kind of a device.
    """

    IFF_TUN = FlagConstant(0x0001)
    IFF_TAP = FlagConstant(0x0002)
    IFF_NAPI = FlagConstant(0x0010)
    IFF_NAPI_FRAGS = FlagConstant(0x0020)
    IFF_NO_CARRIER = FlagConstant(0x0040)
    IFF_MULTI_QUEUE = FlagConstant(0x0100)
    IFF_PERSIST = FlagConstant(0x0800)
    IFF_NO_PI = FlagConstant(0x1000)
    IFF_ONE_QUEUE = FlagConstant(0x2000)
    IFF_VNET_HDR = FlagConstant(0x4000)
    IFF_TUN_EXCL = FlagConstant(0x8000)


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
