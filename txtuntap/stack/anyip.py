"""
Proxy answers on the link for whole networks of addresses ("AnyIP").

A host may accept packets to every address of a network (C{anyAddresses}). By default, it does not answer ARP requests
and neighbour solicitations for these addresses, so other stations need a route to it. With C{answerFor}, it answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from txtuntap.ip.addresses import Addresses
from txtuntap.ip.cidr import hostNetwork
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.prefixes import PrefixTable
from txtuntap.stack.neighbours import NeighbourCache


class AnsweredNetworks:
    """
    The addresses for which the host answers although it has them only as part of a network. Another station may really
    have one of them. The host does not answer for an address from which another station was heard, nor for the address
    of one of its next hops.
    """

    __slots__ = ("_addresses", "_exceptions", "_neighbours", "_networks", "_routes")

    def __init__(
        self,
        addresses: Addresses,
        neighbours: NeighbourCache,
        routes: StaticRoutes,
        networks: Iterable[str],
        exceptions: Iterable[str],
    ) -> None:
        """
        @param addresses: the addresses and AnyIP networks of the host. If one of C{networks} is an IPv6 network, this
            sets their C{hearsSolicitations}, so that solicitations for any address are delivered.
        @param neighbours: the cache of the known stations.
        @param routes: the routes of the host, whose next hops are never answered for.
        @param networks: the networks to answer for, in CIDR notation. Each is an AnyIP network of the host, or a part
            of one.
        @param exceptions: addresses, and networks in CIDR notation, not to answer for.

        @raise ValueError: a text is no network or address, or one of C{networks} is in no AnyIP network of the host.
        """
        self._addresses = addresses
        self._neighbours = neighbours
        self._routes = routes
        self._networks: PrefixTable[None] = PrefixTable()
        self._exceptions: PrefixTable[None] = PrefixTable()
        for network in networks:
            if not addresses.anyNetworks.covers(ip_network(network)):
                raise ValueError(f"answerFor: {network} is in none of anyAddresses: give it there as well")
            self._networks[hostNetwork(network)] = None
            addresses.hearsSolicitations = addresses.hearsSolicitations or ":" in network
        for exception in exceptions:
            self._exceptions[hostNetwork(exception, hasPrefix=False)] = None

    def covers(self, address: bytes) -> bool:
        """
        Whether the host answers for a packed address as long as no other station claims it. The host enters a station
        that claims such an address into its neighbour cache.
        """
        return (
            self._networks.match(address) is not None
            and self._exceptions.match(address) is None
            and self._addresses.isNeighbour(address)
        )

    def answers(self, address: bytes) -> bool:
        """
        Whether the host answers for a packed address now. If another station is known to have the address, it is asked
        to confirm that.
        """
        if not self.covers(address) or self._routes.isGateway(address):
            return False
        if address in self._neighbours:
            # One forged packet suffices for an entry, so the station is asked. Without an answer, the entry is removed.
            self._neighbours.confirm(address)
            return False
        return True
