"""
The choice of the connection to evict when too many peers have connected without identifying themselves. The choice
depends on the address prefixes that the connections come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

#: A prefix of the widest kind is suspected of a flood if at least this many connections come from it.
CROWD = 4

#: The lengths of the prefixes by which connections are grouped, in bits, from wide to narrow. In IPv6: the largest
#: site, a customer, and a link (RFC 6177). In IPv4: a network, and one address.
_PREFIX_LENGTHS = {6: (48, 56, 64), 4: (24, 32)}


def originOf(peer: Any) -> tuple[str, ...]:
    """
    Return the origin of a connection: the prefixes of the peer's address, from wide to narrow.

    @param peer: the address of the peer, as C{getPeer} of the transport returns it.

    @return: the prefixes as texts; if the peer has no IP address, only the text of its host, which may be empty.
    """
    host = str(getattr(peer, "host", ""))
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        # A UNIX socket has no IP address, and a proxy may report a text that is none.
        return (host,)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    number, bits = int(address), address.max_prefixlen
    return tuple(f"{number >> bits - length:x}/{length}" for length in _PREFIX_LENGTHS[address.version])


def chooseFromBusiest(origins: Mapping[T, tuple[str, ...]], random: Random) -> T:
    """
    Choose the connection to evict: a random one from the busiest prefix, but never the oldest connection.

    The search begins with the busiest of the widest prefixes and continues with the busiest narrower prefix within it.
    So a flood from one prefix evicts only connections of the flood, however many addresses of the prefix it uses. The
    choice is random, so that a flood from many prefixes cannot aim at one connection. The oldest connection is kept, so
    that its peer has time to identify itself.

    If none of the widest prefixes has L{CROWD} connections, the prefixes are ignored. Without this rule, an attacker
    could add one connection from the prefix of an honest peer. This prefix would then be the busiest, and the honest
    peer would be one of only two candidates.

    @param origins: the origin of each connection, as L{originOf} returns it, oldest connection first.
    @param random: the source of the choice.

    @return: the connection to evict.
    """
    _, *candidates = origins
    for depth in range(1, 1 + max(map(len, _PREFIX_LENGTHS.values()))):
        busy = Counter(origin[:depth] for origin in origins.values())
        most = max(busy[origins[each][:depth]] for each in candidates)
        if depth == 1 and most < CROWD:
            break
        candidates = [each for each in candidates if busy[origins[each][:depth]] == most]
    return random.choice(candidates)
