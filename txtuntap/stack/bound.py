"""
The addresses that ports of a host are bound to.
"""

from __future__ import annotations

import errno

from twisted.internet.error import CannotListenError

from txtuntap.ip.addresses import Addresses
from txtuntap.tcp.ends import interfaceAddress


def boundAddress(addresses: Addresses, interface: str, port: int) -> bytes:
    """
    The packed address that a port is to be bound to.

    @param addresses: those of the host.

    @raise InvalidAddressError: C{interface} is no IP address.
    @raise CannotListenError: C{interface} is an address of another host.
    """
    address = interfaceAddress(interface)
    if (
        any(address)
        and not addresses.accepts(address)
        and not addresses.isAssigned(address)
        and not addresses.isSelf(address)
    ):
        ours = ", ".join(str(each.ip) for each in addresses.interfaces)
        text = f"it has {ours}" if ours else "it has none yet"
        error = OSError(errno.EADDRNOTAVAIL, f"{interface} is no address of this host: {text}")
        raise CannotListenError(interface, port, error)
    return address
