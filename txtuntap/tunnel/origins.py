"""
Where connections are from, and which one to drop when there are too many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

#: The least number of connections that makes one of the widest places one that is flooding.
CROWD = 4

#: Places by the bits of an address, from wide to narrow: what a site has at most, what a customer has, and one link of
#: IPv6 (RFC 6177); a network of IPv4, and one address.
_PLACES = {6: (48, 56, 64), 4: (24, 32)}


def originOf(peer: Any) -> tuple[str, ...]:
    """
    The places that a peer is in, from wide to narrow: prefixes of its address.
    """
    host = str(getattr(peer, "host", ""))
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        # A UNIX socket has no address, and what a proxy says may be none.
        return (host,)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    number, bits = int(address), address.max_prefixlen
    return tuple(f"{number >> bits - length:x}/{length}" for length in _PLACES[address.version])


def oneOfTheBusiest(origins: Mapping[T, tuple[str, ...]], random: Random) -> T:
    """
    Choose the connection to drop for want of room: one from the busiest place, at random, but never the one that has
    waited longest.

    The busiest place is the narrowest one in the busiest of the wider ones, so a flood from one place locks out only
    itself, however many addresses it has there. A flood from many places cannot tell when it has put out another
    connection, as it could if the oldest were dropped; and the one that has waited longest has its time.

    If none of the widest places has L{CROWD} connections, all are alike: one more connection from the place of an
    honest peer would otherwise make that the busiest, and the peer one of two to choose from.

    @param origins: where each is from, as L{originOf} has it; the one that has waited longest is first.
    """
    _, *candidates = origins
    for depth in range(1, 1 + max(map(len, _PLACES.values()))):
        busy = Counter(origin[:depth] for origin in origins.values())
        most = max(busy[origins[each][:depth]] for each in candidates)
        if depth == 1 and most < CROWD:
            break
        candidates = [each for each in candidates if busy[origins[each][:depth]] == most]
    return random.choice(candidates)
