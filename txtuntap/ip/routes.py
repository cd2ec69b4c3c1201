"""
Routes and neighbours: static tables, which L{IPProtocol<txtuntap.ip.IPProtocol>} has where nobody gives it live ones.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network

from zope.interface import implementer

from txtuntap.interfaces import INeighbours, IRoutes
from txtuntap.ip.addresses import parseNetwork
from txtuntap.wire.address import isHost, packAddress, packLinkAddress

Network = IPv4Network | IPv6Network


@implementer(IRoutes)
class StaticRoutes:
    """
    A table of routes; the longest prefix wins.

    @cvar told: whether others have told of routes: then it is no mistake of the caller that there is none.
    """

    told = False

    def __init__(self) -> None:
        # By octets in an address, longest prefix first: (netmask, network, gateway), all as numbers but the last.
        self._routes: dict[int, list[tuple[int, int, bytes | None]]] = {4: [], 16: []}

    def add(self, network: str | Network, gateway: str | bytes | None = None) -> None:
        """
        Add a route, in place of another to the same network.

        @param network: in CIDR notation; C{"0.0.0.0/0"} and C{"::/0"} are default routes.
        @param gateway: the next hop; L{None}: the network is on the link.

        @raise ValueError: an argument is no such thing, or the two are of different versions.
        """
        net = parseNetwork(network)
        hop = None if gateway is None else packAddress(gateway)
        size = net.max_prefixlen // 8
        if hop is not None and len(hop) != size:
            raise ValueError(f"the gateway {gateway!r} is of another IP version than {net}")
        if hop is not None and not isHost(hop):
            raise ValueError(f"the gateway {gateway!r} is not the address of one host")
        key = int(net.netmask), int(net.network_address)
        routes = [route for route in self._routes[size] if route[:2] != key]
        routes.append((*key, hop))
        routes.sort(key=lambda route: route[0], reverse=True)
        self._routes[size] = routes

    def __contains__(self, network: str | Network) -> bool:
        """
        Whether there is a route to just this network.
        """
        net = ip_network(network)
        key = int(net.netmask), int(net.network_address)
        return any(route[:2] == key for route in self._routes[net.max_prefixlen // 8])

    def remove(self, network: str | Network) -> None:
        """
        @raise ValueError: there is no route to C{network}.
        """
        net = ip_network(network)
        routes = self._routes[net.max_prefixlen // 8]
        for route in routes:
            if route[:2] == (int(net.netmask), int(net.network_address)):
                routes.remove(route)
                return
        raise ValueError(f"there is no route to {net}")

    @property
    def gateways(self) -> set[bytes]:
        """
        The packed addresses of all next hops.
        """
        return {hop for routes in self._routes.values() for _, _, hop in routes if hop is not None}

    def lookup(self, dest: bytes) -> bytes | None:
        """
        See L{IRoutes.lookup}.
        """
        found = self.match(dest)
        return None if found is None else found[1]

    def match(self, dest: bytes) -> tuple[int, bytes] | None:
        """
        @param dest: a packed IP address.

        @return: the mask of the route there, as a number, which is the larger the longer the prefix is; and the next
            hop.
        """
        number = int.from_bytes(dest, "big")
        for mask, network, gateway in self._routes[len(dest)]:
            if number & mask == network:
                return mask, gateway or dest
        return None


@implementer(INeighbours)
class StaticNeighbours:
    """
    A table of stations by IP address.
    """

    resolves = False

    def __init__(self) -> None:
        self._stations: dict[bytes, bytes] = {}

    def add(self, address: str | bytes, station: str | bytes) -> None:
        """
        @param address: an IP address.
        @param station: the link address to reach it at.

        @raise ValueError: one of them is not.
        """
        packed = packAddress(address)
        if not isHost(packed):
            raise ValueError(f"{address!r} is not the address of one host, which a neighbour is")
        self._stations[packed] = packLinkAddress(station)

    def remove(self, address: str | bytes) -> None:
        """
        @raise ValueError: C{address} is not in the table.
        """
        if self._stations.pop(packAddress(address), None) is None:
            raise ValueError(f"{address!r} is no neighbour")

    def lookup(self, address: bytes) -> bytes | None:
        """
        See L{INeighbours.lookup}.
        """
        return self._stations.get(address)

    def hold(self, address: bytes, send: Callable[[bytes], None], octets: int) -> None:
        """
        A static table finds nobody.
        """
