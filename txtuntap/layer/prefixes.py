"""
A table of IP networks. The time to find the longest prefix that matches an address does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeVar

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")

_Found = dict[int, dict[int, tuple[int, Value]]]

_number = int.from_bytes

#: The content of every empty table. A table that gets its first network makes a dictionary of its own.
_NOTHING: dict[int, dict[int, tuple[int, Any]]] = {}


class PrefixTable(MutableMapping[Network, Value]):
    """
    A mapping of values by network, for both IP versions. L{match} finds the longest prefix that matches an address.

    A match costs one dictionary lookup for each prefix length in use, however many networks there are. Adding or
    removing a network costs the same in a table of any size.
    """

    __slots__ = ("_found4", "_found6", "_searched4", "_searched6")

    def __init__(self) -> None:
        # The result of match, by the number of bits behind the prefix (the longest prefix first), then by the bits of
        # the prefix as a number. Very many tables are empty, so all of them share one dictionary.
        self._found4: _Found[Value] = _NOTHING
        self._found6: _Found[Value] = _NOTHING
        # The items of these two. They are kept, because a match that creates them takes a tenth longer (30 of 320 ns).
        self._searched4 = self._found4.items()
        self._searched6 = self._found6.items()

    def __setitem__(self, network: Network, value: Value) -> None:
        version, hostBits, prefix = _key(network)
        lengths = self._lengths(version)
        if hostBits not in lengths:
            lengths = dict(sorted([*lengths.items(), (hostBits, {})]))
            if version == 4:
                self._found4, self._searched4 = lengths, lengths.items()
            else:
                self._found6, self._searched6 = lengths, lengths.items()
        lengths[hostBits][prefix] = network.prefixlen, value

    def __getitem__(self, network: Network) -> Value:
        version, hostBits, prefix = _key(network)
        return self._lengths(version)[hostBits][prefix][1]

    def __delitem__(self, network: Network) -> None:
        version, hostBits, prefix = _key(network)
        lengths = self._lengths(version)
        del lengths[hostBits][prefix]
        if not lengths[hostBits]:
            del lengths[hostBits]

    def __iter__(self) -> Iterator[Network]:
        """
        Iterate over all networks: IPv4 before IPv6, longer prefixes before shorter ones.
        """
        for hostBits, prefixes in self._found4.items():
            yield from (IPv4Network((prefix << hostBits, 32 - hostBits)) for prefix in prefixes)
        for hostBits, prefixes in self._found6.items():
            yield from (IPv6Network((prefix << hostBits, 128 - hostBits)) for prefix in prefixes)

    def __len__(self) -> int:
        return sum(len(prefixes) for lengths in (self._found4, self._found6) for prefixes in lengths.values())

    def lengths(self, version: int) -> list[int]:
        """
        The prefix lengths in use for one IP version, in bits, the longest first.
        """
        return [(32 if version == 4 else 128) - hostBits for hostBits in self._lengths(version)]

    def match(self, address: bytes) -> tuple[int, Value] | None:
        """
        Find the longest prefix that matches an address.

        @param address: a packed IP address, 4 or 16 octets.

        @return: the length of the prefix in bits, and its value; L{None} if no network of the table has the address.
        """
        number = _number(address, "big")
        for hostBits, prefixes in self._searched6 if len(address) == 16 else self._searched4:
            found = prefixes.get(number >> hostBits)
            if found is not None:
                return found
        return None

    def covers(self, network: Network) -> bool:
        """
        Whether the whole of a network is part of one network of the table.
        """
        version, hostBits, prefix = _key(network)
        wider = (
            (other - hostBits, prefixes) for other, prefixes in self._lengths(version).items() if other >= hostBits
        )
        return any(prefix >> more in prefixes for more, prefixes in wider)

    def _lengths(self, version: int) -> _Found[Value]:
        return self._found4 if version == 4 else self._found6


def prefixSet(networks: Iterable[str | Network]) -> PrefixTable[None]:
    """
    Make a table of networks without values.

    @param networks: the networks, in CIDR notation.

    @raise ValueError: one of them is not a network, or has bits set behind its prefix.
    """
    table: PrefixTable[None] = PrefixTable()
    for network in networks:
        table[ip_network(network)] = None
    return table


def _key(network: Network) -> tuple[int, int, int]:
    """
    Return the IP version of a network, the number of bits behind its prefix, and the prefix as a number.
    """
    hostBits = network.max_prefixlen - network.prefixlen
    return network.version, hostBits, int(network.network_address) >> hostBits
