"""
Routes and neighbours: static tables, which L{IPProtocol<txtuntap.ip.IPProtocol>} has where nobody gives it live ones.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from zope.interface import implementer

from txtuntap.interfaces import INeighbours, IRoutes
from txtuntap.ip.addresses import ReferenceCounts, parseNetwork
from txtuntap.layer.prefixes import Network, PrefixTable
from txtuntap.wire.address import isHost, packAddress, packLinkAddress, versionOf


@implementer(IRoutes)
class StaticRoutes:
    """
    A table of routes; the longest prefix wins.

    @cvar advertised: whether routers advertise routes: then it is no mistake of the caller that there is none.
    """

    advertised = False

    def __init__(self) -> None:
        # The next hops; empty where the network is on the link.
        self._routes: PrefixTable[bytes] = PrefixTable()
        # How many routes lead by each.
        self._gateways = ReferenceCounts()

    def add(self, network: str | Network, gateway: str | bytes | None = None) -> None:
        """
        Add a route, in place of another to the same network.

        @param network: in CIDR notation; C{"0.0.0.0/0"} and C{"::/0"} are default routes.
        @param gateway: the next hop; L{None}: the network is on the link.

        @raise ValueError: an argument is no such thing, or the two are of different versions.
        """
        net = parseNetwork(network)
        hop = b"" if gateway is None else packAddress(gateway)
        if hop and versionOf(hop) != net.version:
            raise ValueError(f"the gateway {gateway!r} is of another IP version than {net}")
        if hop and not isHost(hop):
            raise ValueError(f"the gateway {gateway!r} is not the address of one host")
        before = self._routes.get(net)
        if before:
            self._gateways.remove(before)
        if hop:
            self._gateways.add(hop)
        self._routes[net] = hop

    def __contains__(self, network: str | Network) -> bool:
        """
        Whether there is a route to just this network.
        """
        return ip_network(network) in self._routes

    def remove(self, network: str | Network) -> None:
        """
        @raise ValueError: there is no route to C{network}.
        """
        net = ip_network(network)
        hop = self._routes.pop(net, None)
        if hop is None:
            raise ValueError(f"there is no route to {net}")
        if hop:
            self._gateways.remove(hop)

    @property
    def gateways(self) -> set[bytes]:
        """
        The packed addresses of all next hops.
        """
        return set(self._gateways)

    def isGateway(self, address: bytes) -> bool:
        """
        Whether a packed address is that of a next hop.
        """
        return address in self._gateways

    def lookup(self, dest: bytes) -> bytes | None:
        """
        See L{IRoutes.lookup}.
        """
        found = self._routes.match(dest)
        return None if found is None else found[1] or dest


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

    def hold(self, address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
        """
        A static table finds nobody.
        """
