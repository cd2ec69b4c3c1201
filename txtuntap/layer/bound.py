"""
The addresses that TCP and UDP ports are bound to.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import CannotListenError, InvalidAddressError

from txtuntap.mistakes import checkText
from txtuntap.wire.address import packAddress


def interfaceAddress(interface: Any) -> bytes:
    """
    Pack the address that is the C{interface} of C{listenTCP} or C{listenUDP}.

    @raise InvalidAddressError: C{interface} is no IP address.
    """
    try:
        checkText(interface, "an interface", "10.0.0.2")
        return packAddress(interface)
    except ValueError as e:
        raise InvalidAddressError(interface, f"not an IPv4 or IPv6 address. ({e})") from None


def boundAddress(addresses: Any, interface: Any, port: int) -> bytes:
    """
    Pack the address that a port is to be bound to, and check that it is an address of this host.

    @param addresses: the L{Addresses<txtuntap.ip.addresses.Addresses>} of the IP layer. C{None}: every address is
        accepted, because the IP layer receives packets to all addresses, or is not connected yet.

    @raise InvalidAddressError: C{interface} is not an IP address.
    @raise CannotListenError: C{interface} is not an address of this host.
    """
    address = interfaceAddress(interface)
    if addresses is None or not any(address):
        return address
    if not addresses.accepts(address) and not addresses.isAssigned(address) and not addresses.isSelf(address):
        ours = ", ".join(str(each.ip) for each in addresses.interfaces)
        text = f"it has {ours}" if ours else "it has none yet"
        error = OSError(errno.EADDRNOTAVAIL, f"{interface} is no address of this host: {text}")
        raise CannotListenError(interface, port, error)
    return address


def overlap(one: bytes, other: bytes) -> bool:
    """
    Whether two bound addresses overlap, so that a packet to some address would match both.

    @param one: a packed address; empty for all addresses, all zeros for all addresses of one IP version.
    @param other: the other address, in the same form.
    """
    if not one or not other:
        return True
    return len(one) == len(other) and (one == other or not any(one) or not any(other))
