"""
Addresses and networks in CIDR notation, as callers give them.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import cast

from txtuntap.layer.prefixes import Network, prefixSet
from txtuntap.mistakes import checkText

Interface = IPv4Interface | IPv6Interface

#: Networks in which no host can have an address: L{isHost} is false for every address in them.
_NOT_HOSTS = prefixSet(("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "ff00::/8", "::/127", "::ffff:0:0/96"))


def hostNetwork(network: object, hasPrefix: bool = True) -> Network:
    """
    Parse a network that a caller gives, and check that hosts can have addresses in it.

    @param hasPrefix: see L{parseNetwork}.

    @raise ValueError: C{network} is not a network, or no host can have an address in it.
    """
    net = parseNetwork(network, hasPrefix)
    if _NOT_HOSTS.covers(net):
        raise ValueError(f"{net} has no addresses that a host can have")
    return net


def parseNetwork(network: object, hasPrefix: bool = True) -> Network:
    """
    Parse a network that a caller gives in CIDR notation.

    @param hasPrefix: whether C{network} must have a prefix length. If not, an address stands for itself alone.

    @raise ValueError: C{network} is not a network, or lacks the prefix length.
    """
    if isinstance(network, (IPv4Network, IPv6Network)):
        return network
    checkText(network, "a network", "10.0.0.0/24")
    net = ip_network(cast(str, network))
    if hasPrefix and "/" not in cast(str, network):
        wider = net.supernet(new_prefix=24 if net.version == 4 else 64)
        raise ValueError(f"{network!r} has no prefix length: give '{net}' for this address alone, or such as '{wider}'")
    return net


def parseInterface(address: object) -> Interface:
    """
    Parse an address that a caller gives in CIDR notation.

    @raise ValueError: C{address} is not an address, or has no prefix length.
    """
    checkText(address, "an address", "10.0.0.2/24")
    interface = ip_interface(cast(str, address))
    if "/" not in cast(str, address):
        usual = 24 if interface.version == 4 else 64
        raise ValueError(
            f"{address!r} has no prefix length: give '{interface.ip}/{usual}', with the prefix length of its network,"
            f" or '{interface}' for an address that is alone in its network"
        )
    return interface


def broadcastOf(network: Network) -> bytes | None:
    """
    Return the packed broadcast address of a network; C{None} if it has none.
    """
    # A network of one or two addresses needs all of them for hosts: none is its broadcast address (RFC 3021).
    return network.broadcast_address.packed if network.version == 4 and network.prefixlen < 31 else None
