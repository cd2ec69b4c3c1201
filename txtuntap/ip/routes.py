"""
Static tables of routes and of neighbours. An L{IPProtocol<txtuntap.ip.IPProtocol>} uses them by default.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from zope.interface import implementer

from txtuntap.interfaces import INeighbours, IRoutes
from txtuntap.ip.addresses import ReferenceCounts
from txtuntap.ip.cidr import parseNetwork
from txtuntap.layer.prefixes import Network, PrefixTable
from txtuntap.wire.address import isHost, packAddress, packLinkAddress, versionOf


@implementer(IRoutes)
class StaticRoutes:
    """
    A table of routes, in which the longest matching prefix wins.

    @cvar advertised: whether the routes come from router advertisements. If so, a missing route is not a mistake of the
        caller, and raises L{RouteLost<txtuntap.interfaces.RouteLost>}.
    """

    advertised = False

    def __init__(self) -> None:
        # The packed next hop of each network. Empty if the network is on the link, and None if it is on the link
        # because an address is in it: see addLink.
        self._routes: PrefixTable[bytes | None] = PrefixTable()
        # The number of routes by each next hop.
        self._gateways = ReferenceCounts()

    def add(self, network: str | Network, gateway: str | bytes | None = None) -> None:
        """
        Add a route, in place of any other route to the same network.

        @param network: the network in CIDR notation; C{"0.0.0.0/0"} or C{"::/0"} for the default route.
        @param gateway: the next hop; C{None} if the network is on the link.

        @raise ValueError: C{network} is not a network, C{gateway} is not the address of a host, or their IP versions
            differ.
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

    def addLink(self, network: Network) -> None:
        """
        Add a route to a network that is on the link, until L{removeLink}.
        """
        self._routes[network] = None

    def removeLink(self, network: Network) -> None:
        """
        Undo L{addLink}, unless the application has replaced or removed the route.
        """
        if self._routes.get(network, b"") is None:
            del self._routes[network]

    def __contains__(self, network: str | Network) -> bool:
        """
        Whether the table has a route to exactly this network.
        """
        return ip_network(network) in self._routes

    def remove(self, network: str | Network) -> None:
        """
        Remove the route to a network.

        @raise ValueError: there is no route to exactly C{network}.
        """
        net = ip_network(network)
        if net not in self._routes:
            raise ValueError(f"there is no route to {net}")
        hop = self._routes.pop(net)
        if hop:
            self._gateways.remove(hop)

    @property
    def gateways(self) -> set[bytes]:
        """
        The packed addresses of all gateways.
        """
        return set(self._gateways)

    def isGateway(self, address: bytes) -> bool:
        """
        Whether a packed address is the gateway of a route.
        """
        return address in self._gateways

    def lookup(self, dest: bytes) -> bytes | None:
        """
        Find the next hop to a packed destination: see L{IRoutes.lookup}.
        """
        found = self._routes.match(dest)
        return None if found is None else found[1] or dest


@implementer(INeighbours)
class StaticNeighbours:
    """
    A table of the neighbours on the link: the link address of each IP address. It does no address resolution.
    """

    resolves = False

    def __init__(self) -> None:
        self._stations: dict[bytes, bytes] = {}

    def add(self, address: str | bytes, station: str | bytes) -> None:
        """
        Add a neighbour, in place of any other entry of the same IP address.

        @param address: the IP address of the neighbour.
        @param station: its link address.

        @raise ValueError: C{address} is not the IP address of a host, or C{station} is not a link address.
        """
        packed = packAddress(address)
        if not isHost(packed):
            raise ValueError(f"{address!r} is not the address of one host, which a neighbour is")
        self._stations[packed] = packLinkAddress(station)

    def remove(self, address: str | bytes) -> None:
        """
        Remove a neighbour from the table.

        @raise ValueError: C{address} is not in the table.
        """
        if self._stations.pop(packAddress(address), None) is None:
            raise ValueError(f"{address!r} is no neighbour")

    def lookup(self, address: bytes) -> bytes | None:
        """
        Find the link address of a packed IP address: see L{INeighbours.lookup}.
        """
        return self._stations.get(address)

    def hold(self, address: bytes, send: Callable[[bytes | None], None], octets: int) -> None:
        """
        Do nothing: a static table resolves no addresses.
        """
