"""
The choice of the route of a datagram that we send: its source address, the next hop, the station of the next hop, the
port, and the MTU of the path.

Read RFC 1122 section 3.3.1 and RFC 6724 section 5 first.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Set
from typing import Any, cast

import attrs
from twisted.internet.interfaces import IReactorTime

from txtuntap.ethernet import replySource
from txtuntap.interfaces import (
    IEthernetTransport,
    INeighbours,
    IPacketTransport,
    IRoutes,
    Route,
    RouteLost,
)
from txtuntap.ip.addresses import LOOPBACKS, Addresses
from txtuntap.ip.cidr import Interface
from txtuntap.ip.pathmtu import PathMTUs
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.layer import Layer
from txtuntap.layer.lazy import Lazy
from txtuntap.mistakes import checkClock, listed
from txtuntap.packet import Packet
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    LINK_BROADCAST,
    addressText,
    groupLinkAddress,
    isGroup,
    isHost,
    isMulticast,
    versionOf,
)

_NO_STATION = bytes(6)
_NO_BROADCASTS = frozenset((LIMITED_BROADCAST,))

#: The most hosts remembered for later answers because they have sent a packet to a raw protocol. Beyond that, the one
#: that sent least recently is evicted.
MAX_ASKERS = 256


class IPRouting(Layer):
    """
    The part of an L{IPProtocol<txtuntap.ip.IPProtocol>} that chooses the source address and the route of a datagram.
    L{IPOutput<txtuntap.ip.output.IPOutput>} then sends the datagram.

    Counters: C{outNoRoutes} (datagrams that were dropped because other hosts have caused the lack of a route).

    @ivar ownAddresses: our addresses; C{None} if the layer has none, and so delivers every datagram.
    @ivar routes: an L{IRoutes}. It includes the networks of our addresses.
    @ivar neighbours: an L{INeighbours}, which is used on Ethernet only.
    @cvar paths: the path MTU of each destination whose path MTU is less than the MTU of the link.
    """

    paths = Lazy("_pathsMade", lambda ip: PathMTUs())
    _askers: Lazy[Table[bytes, Packet]] = Lazy(
        "_askersMade", lambda ip: Table("askers", MAX_ASKERS, Policy.LEAST_RECENT)
    )

    def __init__(
        self,
        addresses: Iterable[str] | None,
        routes: IRoutes | None,
        neighbours: INeighbours | None,
        clock: IReactorTime | None,
    ) -> None:
        super().__init__()
        if clock is not None:
            checkClock(clock)
        for name, table in ("routes", routes), ("neighbours", neighbours):
            if table is not None and not callable(getattr(table, "lookup", None)):
                raise TypeError(
                    f"{name} is a table with a lookup method, such as Static{name.title()}(), not {table!r}"
                )
        self._clock = clock
        # Typed as Any, because callers use the methods of their own tables, which the interfaces do not have.
        self.routes: Any = StaticRoutes() if routes is None else routes
        self.neighbours: Any = StaticNeighbours() if neighbours is None else neighbours
        self._askersMade: Table[bytes, Packet] | None = None
        self._mtu6: int | None = None
        self._pathsMade: PathMTUs | None = None
        # This is never None, unlike ownAddresses, because groups can be joined before the first address is added.
        self._addresses = Addresses()
        self.ownAddresses: Addresses | None = None
        if addresses is not None:
            self.ownAddresses = self._addresses
            for address in listed(addresses, "addresses", "10.0.0.2/24"):
                self.addAddress(address)

    @property
    def clock(self) -> IReactorTime | None:
        """
        The clock that was given to this layer, or else the clock of the port below.
        """
        return self._clock or super().clock

    @property
    def addresses(self) -> list[Interface]:
        """
        Our addresses, each with its network. The list is empty if C{ownAddresses} is C{None}.
        """
        return [] if self.ownAddresses is None else self.ownAddresses.interfaces

    @property
    def mtu(self) -> int:
        """
        The most octets in one packet on the link, IP header included.
        """
        transport: Any = self.transport
        return 1500 if transport is None else int(transport.mtu)

    @property
    def mtu6(self) -> int | None:
        """
        The MTU for IPv6 in octets that router advertisements have set; C{None} if it is C{mtu}.
        """
        return self._mtu6

    @mtu6.setter
    def mtu6(self, mtu: int | None) -> None:
        if mtu != self._mtu6:
            self._routesChanged()
            self._mtu6 = mtu

    @property
    def bottom(self) -> IPacketTransport | None:
        """
        The transport below all layers: see L{IIPTransport.bottom<txtuntap.interfaces.IIPTransport.bottom>}.
        """
        ethernet = self.ethernet
        return cast("IPacketTransport | None", self.transport) if ethernet is None else ethernet.port

    @property
    def ethernet(self) -> IEthernetTransport | None:
        """
        The Ethernet layer below; C{None} on a tun, which has none.
        """
        transport = self.transport
        return cast(IEthernetTransport, transport) if IEthernetTransport.providedBy(transport) else None

    def addAddress(self, address: str, onLink: bool = True) -> None:
        """
        Add an address of ours, and a route to its network if C{routes} is a L{StaticRoutes} without a route to this
        network. From the first address on, the layer no longer delivers datagrams that are addressed to other hosts.

        @param address: the address and the prefix length of its network, in CIDR notation.
        @param onLink: whether the network is on the link. If not, no route is added.

        @raise ValueError: no host can have the address, it has no prefix length, or it is ours already.
        """
        self._routesChanged()
        interface = self._addresses.add(address)
        self.ownAddresses = self._addresses
        if onLink and isinstance(self.routes, StaticRoutes) and interface.network not in self.routes:
            self.routes.addLink(interface.network)

    def removeAddress(self, address: str | bytes) -> None:
        """
        Remove an address of ours. If it was the last one in its network, remove the route that L{addAddress} has added,
        too.

        @param address: the address without its prefix length, as text or packed.

        @raise ValueError: the address is not ours.
        """
        if self.ownAddresses is None:
            raise ValueError(f"{address!r} is no address of this host")
        self._routesChanged()
        network = self.ownAddresses.remove(address).network
        self._tellAbove("addressesChanged")
        if network not in self.ownAddresses.networks and isinstance(self.routes, StaticRoutes):
            self.routes.removeLink(network)

    def suspendAddress(self, address: bytes, suspended: bool = True) -> None:
        """
        Suspend or resume a packed address of ours: see L{Addresses.suspend}. The route to its network stays.

        @param suspended: whether to suspend the address (true) or to resume it (false).
        """
        self._routesChanged()
        self._addresses.suspend(address, suspended)
        self._tellAbove("addressesChanged")

    def join(self, group: bytes) -> None:
        """
        Join a group once more: see L{IIPTransport.join<txtuntap.interfaces.IIPTransport.join>}.
        """
        self._addresses.join(group)

    def leave(self, group: bytes) -> None:
        """
        Undo one L{join} of a group: see L{IIPTransport.leave<txtuntap.interfaces.IIPTransport.leave>}.
        """
        self._addresses.leave(group)

    def isMember(self, group: bytes) -> bool:
        """
        Whether we are a member of a packed group: see
        L{IIPTransport.isMember<txtuntap.interfaces.IIPTransport.isMember>}.
        """
        return isMulticast(group) and group in self._addresses.local

    def route(self, dest: bytes, source: bytes | None = None) -> Route:
        """
        Find the route of a datagram that is not an answer: see
        L{IIPTransport.route<txtuntap.interfaces.IIPTransport.route>}.
        """
        transport = self.transport
        if transport is None:
            raise RuntimeError("this IPProtocol is on no port: put it on a TuntapPort and start that")
        text = addressText(dest)
        ours = self.ownAddresses is not None and self.ownAddresses.isSelf(dest)
        hop = self.routes.lookup(dest)
        if source is None:
            source = self.sourceFor(dest, hop)
            if source is None:
                raise self._noRoute(
                    versionOf(dest),
                    errno.EADDRNOTAVAIL,
                    f"no source address to write to {text} from: give IPProtocol(addresses=[...]) one of its IP"
                    " version",
                )
        elif source in self._addresses.suspended:
            raise self._noRoute(
                versionOf(dest),
                errno.EADDRNOTAVAIL,
                f"{addressText(source)} cannot be the source: another station on the link has this address",
            )
        if ours or not IEthernetTransport.providedBy(transport):
            return Route(source, dest)
        ethernet = cast(IEthernetTransport, transport)
        if isGroup(dest):
            return Route(source, dest, ethernet, groupLinkAddress(dest))
        if dest in self.broadcasts:
            return Route(source, dest, ethernet, LINK_BROADCAST)
        station = self.neighbours.lookup(dest if hop is None else hop)
        if station is not None:
            return Route(source, dest, ethernet, station)
        if hop is not None and self.neighbours.resolves:
            return Route(source, dest, ethernet, hop=hop)
        if hop is None:
            raise self._noRoute(
                versionOf(dest), errno.ENETUNREACH, f"no route to {text}: give one with routes.add(network, gateway)"
            )
        raise OSError(
            errno.EHOSTUNREACH,
            f"no neighbour {addressText(hop)}, the next hop to {text}: give one with neighbours.add(address, station)",
        )

    def _noRoute(self, version: int, number: int, text: str) -> OSError:
        """
        Make the exception for a datagram without a route. It is a L{RouteLost}, and is counted, if other hosts may have
        caused that: another station has one of our addresses, or the routes come from router advertisements.

        @param version: the IP version.
        @param number: the C{errno} of the exception.
        @param text: its text.
        """
        taken = any(versionOf(address) == version for address in self._addresses.suspended)
        if not taken and not (version == 6 and getattr(self.routes, "advertised", False)):
            return OSError(number, text)
        self.counters["outNoRoutes"] += 1
        return RouteLost(number, text)

    def routeBack(self, packet: Packet) -> Route | None:
        """
        Find the route of an answer to C{packet}: see
        L{IIPTransport.routeBack<txtuntap.interfaces.IIPTransport.routeBack>}.
        """
        station = packet.readLinkSource or b""
        peer = packet.sourceAddress
        if peer in LOOPBACKS and packet.port is None and packet.ethernet is None:
            # This is a packet that we have sent to ourselves. One with a loopback source from a link is dropped.
            return Route(packet.destAddress, peer)
        if not isHost(peer) or peer in self.broadcasts:
            return None
        if station and (station[0] & 1 or station == _NO_STATION):
            return None
        if packet.ethernet is not None and station == packet.ethernet.linkAddress:
            # The source of the frame is our own link address, really or forged. An answer would be sent to ourselves.
            return None
        asked = packet.destAddress
        if asked in self._addresses.suspended:
            return None
        if not self.ownAddresses.accepts(asked) if self.ownAddresses is not None else not self._isUnicast(packet):
            ours = self.sourceFor(peer)
            if ours is None:
                return None
            asked = ours
        if packet.ethernet is None and packet.port is None and self.ethernet is not None:
            # A program has passed the packet in by datagramReceived, without the station that sent it.
            try:
                return self.route(peer, asked)
            except OSError:
                return None
        return Route(self._addresses.shared(asked), peer, packet.ethernet, station, replySource(packet), packet.port)

    @property
    def broadcasts(self) -> Set[bytes]:
        """
        The packed broadcast addresses: the limited one, and the one of each of our networks.
        """
        return _NO_BROADCASTS if self.ownAddresses is None else self.ownAddresses.broadcasts

    def knownStation(self, route: Route) -> Route:
        """
        Replace the station of a route by the one that C{neighbours} knows, if it knows one: see
        L{IIPTransport.knownStation<txtuntap.interfaces.IIPTransport.knownStation>}.
        """
        if route.ethernet is None:
            return route
        station = self.neighbours.lookup(route.dest)
        return route if station is None else attrs.evolve(route, station=station, hop=b"")

    def tables(self) -> list[TableState]:
        """
        Return the states of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._askers.state, *self.paths.tables(), *self._addresses.tables()]

    def delivering(self, packet: Packet) -> None:
        """
        Remember the sender of a packet to a raw protocol, because the protocol may answer after the delivery.
        """
        super().delivering(packet)
        self._askers.put(packet.sourceAddress, packet.headers())

    def sourceFor(self, dest: bytes, hop: bytes | None = None) -> bytes | None:
        """
        Choose the source address of a datagram to C{dest}.

        @param dest: the packed destination.
        @param hop: the packed address of the next hop; C{None} if that is C{dest} itself.

        @return: the packed source; C{None} if we have no address of the version of C{dest}.
        """
        return None if self.ownAddresses is None else self.ownAddresses.sourceFor(dest, hop)

    def port(self, route: Route) -> IPacketTransport | None:
        """
        Return the port by which a datagram is sent at once: see
        L{IIPTransport.port<txtuntap.interfaces.IIPTransport.port>}.
        """
        if route.hop or (self.ownAddresses is not None and self.ownAddresses.isSelf(route.dest)):
            return None
        if route.ethernet is not None:
            return route.port or route.ethernet.port
        return route.port or cast("IPacketTransport | None", self.transport)

    def room(self, route: Route) -> int:
        """
        Return the most octets of payload in one packet with this route: see
        L{IIPTransport.room<txtuntap.interfaces.IIPTransport.room>}.
        """
        header = ipv4.HEADER_LENGTH if len(route.dest) == 4 else ipv6.HEADER_LENGTH
        return self._mtuTo(route.dest) - header

    def linkRoom(self, length: int) -> int:
        """
        Return the most octets of payload in one packet on the link, whatever the path behind it: see
        L{IIPTransport.linkRoom<txtuntap.interfaces.IIPTransport.linkRoom>}.
        """
        if length == 4:
            return self.mtu - ipv4.HEADER_LENGTH
        return min(self.mtu, self._mtu6 or self.mtu) - ipv6.HEADER_LENGTH

    def pathNarrowed(self, dest: bytes, mtu: int, length: int, now: float) -> bool:
        """
        Learn a path MTU from the ICMP error of a router: see L{PathMTUs.learn}. Datagrams that wait in a batch are sent
        first, because they were written for the old path MTU.
        """
        if not self.paths.learn(dest, mtu, length, now):
            return False
        self._routesChanged()
        return True

    def _routesChanged(self) -> None:
        bottom = self.bottom
        batches = None if bottom is None else bottom.batches
        if batches is not None:
            batches.routesChanged()

    def _mtuTo(self, dest: bytes) -> int:
        """
        Return the most octets in one packet to C{dest}: the MTU of the link or, if it is less, of the path.
        """
        mtu = self.mtu
        if self._mtu6 is not None and len(dest) == 16:
            mtu = min(mtu, self._mtu6)
        paths = self._pathsMade
        if paths is not None and paths.known:
            known = paths.lookup(dest, self.now())
            if known is not None and known < mtu:
                return known
        return mtu

    def _isUnicast(self, packet: Packet) -> bool:
        """
        Whether the headers of C{packet} say that it was sent to one host. This method is for a layer without addresses,
        which knows the broadcast address of no network. A broadcast frame shows that its packet is for all hosts.
        """
        linkDest = packet.linkDest
        return isHost(packet.destAddress) and not (linkDest is not None and linkDest[0] & 1)
