"""
A table of IP networks. The time to find the longest prefix that matches an address does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from operator import itemgetter
from typing import TypeVar

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")

#: The networks of one prefix length: the number of bits behind the prefix, and by the bits of the prefix as a number,
#: the result of L{PrefixTable.match}.
_Length = tuple[int, dict[int, tuple[int, Value]]]

_number = int.from_bytes


class PrefixTable(MutableMapping[Network, Value]):
    """
    A mapping of values by network, for both IP versions. L{match} finds the longest prefix that matches an address.

    A match costs one dictionary lookup for each prefix length in use, however many networks there are. Adding or
    removing a network costs the same in a table of any size.
    """

    __slots__ = ("_lengths4", "_lengths6")

    def __init__(self) -> None:
        # The longest prefix first. Each change replaces the tuple, and very many tables are empty or have one length.
        self._lengths4: tuple[_Length[Value], ...] = ()
        self._lengths6: tuple[_Length[Value], ...] = ()

    def __setitem__(self, network: Network, value: Value) -> None:
        version, hostBits, prefix = _key(network)
        prefixes = self._prefixes(version, hostBits)
        if prefixes is None:
            prefixes = {}
            self._setLengths(version, sorted([*self._ofVersion(version), (hostBits, prefixes)], key=itemgetter(0)))
        prefixes[prefix] = network.prefixlen, value

    def __getitem__(self, network: Network) -> Value:
        version, hostBits, prefix = _key(network)
        prefixes = self._prefixes(version, hostBits)
        if prefixes is None:
            raise KeyError(network)
        return prefixes[prefix][1]

    def __delitem__(self, network: Network) -> None:
        version, hostBits, prefix = _key(network)
        prefixes = self._prefixes(version, hostBits)
        if prefixes is None:
            raise KeyError(network)
        del prefixes[prefix]
        if not prefixes:
            self._setLengths(version, (each for each in self._ofVersion(version) if each[0] != hostBits))

    def __iter__(self) -> Iterator[Network]:
        """
        Iterate over all networks: IPv4 before IPv6, longer prefixes before shorter ones.
        """
        for hostBits, prefixes in self._lengths4:
            yield from (IPv4Network((prefix << hostBits, 32 - hostBits)) for prefix in prefixes)
        for hostBits, prefixes in self._lengths6:
            yield from (IPv6Network((prefix << hostBits, 128 - hostBits)) for prefix in prefixes)

    def __len__(self) -> int:
        return sum(len(prefixes) for _, prefixes in self._lengths4 + self._lengths6)

    def lengths(self, version: int) -> list[int]:
        """
        The prefix lengths in use for one IP version, in bits, the longest first.
        """
        return [(32 if version == 4 else 128) - hostBits for hostBits, _ in self._ofVersion(version)]

    def match(self, address: bytes) -> tuple[int, Value] | None:
        """
        Find the longest prefix that matches an address.

        @param address: a packed IP address, 4 or 16 octets.

        @return: the length of the prefix in bits, and its value; C{None} if no network of the table has the address.
        """
        number = _number(address, "big")
        for hostBits, prefixes in self._lengths6 if len(address) == 16 else self._lengths4:
            found = prefixes.get(number >> hostBits)
            if found is not None:
                return found
        return None

    def covers(self, network: Network) -> bool:
        """
        Whether the whole of a network is part of one network of the table.
        """
        version, hostBits, prefix = _key(network)
        wider = ((other - hostBits, prefixes) for other, prefixes in self._ofVersion(version) if other >= hostBits)
        return any(prefix >> more in prefixes for more, prefixes in wider)

    def _ofVersion(self, version: int) -> tuple[_Length[Value], ...]:
        return self._lengths4 if version == 4 else self._lengths6

    def _setLengths(self, version: int, lengths: Iterable[_Length[Value]]) -> None:
        if version == 4:
            self._lengths4 = tuple(lengths)
        else:
            self._lengths6 = tuple(lengths)

    def _prefixes(self, version: int, hostBits: int) -> dict[int, tuple[int, Value]] | None:
        """
        Return the networks of one prefix length; C{None} if the table has none.
        """
        return next((prefixes for bits, prefixes in self._ofVersion(version) if bits == hostBits), None)


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
