"""
Networks that are ours as a whole ("AnyIP"), as the link is told of them: by default, not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from txtuntap.ip.addresses import Addresses, hostNetwork
from txtuntap.ip.routes import StaticRoutes
from txtuntap.layer.prefixes import PrefixTable
from txtuntap.stack.neighbours import NeighbourCache


class AnsweredNetworks:
    """
    The addresses that are answered for though they are ours only as part of a network. Others may have some of them:
    whoever is heard to, or is a next hop of ours, is not answered for.
    """

    def __init__(
        self,
        addresses: Addresses,
        neighbours: NeighbourCache,
        routes: StaticRoutes,
        networks: Iterable[str],
        exceptions: Iterable[str],
    ) -> None:
        """
        @param addresses: the host's own, with the networks that are ours. They hear solicitations for any address, if
            there are networks of IPv6.
        @param neighbours: the stations that are known; C{routes}: the routes to others.
        @param networks: those of our networks, or parts, that are answered for, in CIDR notation.
        @param exceptions: addresses, and networks in CIDR notation, that are not.

        @raise ValueError: one of them is none, or one of C{networks} is not ours.
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
        Whether a packed address is answered for unless somebody has it: who does is to be remembered.
        """
        return (
            self._networks.match(address) is not None
            and self._exceptions.match(address) is None
            and self._addresses.isNeighbour(address)
        )

    def answers(self, address: bytes) -> bool:
        """
        Whether a packed address is answered for.
        """
        if not self.covers(address) or self._routes.isGateway(address):
            return False
        if address in self._neighbours:
            # One forged packet may have said so. It is asked after, and forgotten if nobody answers.
            self._neighbours.confirm(address)
            return False
        return True
