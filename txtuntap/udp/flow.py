"""
Flows: whose datagrams come from which port to which, and what an answer to them needs to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import DatagramProtocol
from zope.interface import Attribute, Interface

from txtuntap.packet import Packet

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport, Route
    from txtuntap.layer.life import FailureLog


class IFlowTransport(Interface):
    """
    A transport as the flows see it whose datagrams it gets, and the layer that delivers them.
    """

    protocol: DatagramProtocol = Attribute("The application's.")
    listening: bool = Attribute("Whether it is on its port, and has not been taken off.")
    failures: FailureLog = Attribute("The log for the protocol's exceptions.")
    latest: Flow | None = Attribute("The flow of the latest datagram.")
    current: Packet | None = Attribute("The packet with the datagram being delivered; L{None} if there is none.")
    addressEpoch: int = Attribute("A number that is another one after each change of our addresses.")

    def takes(flow: Flow) -> bool:
        """
        Whether the datagrams of a flow are for the application: one that is connected gets those of its peer alone.
        """

    def deliver(packet: Packet, flow: Flow) -> None:
        """
        Hand the application a datagram.

        @param packet: the payload is from C{start} to C{end}.
        """

    def deliverMany(packet: Packet, flow: Flow, size: int) -> None:
        """
        Hand the application the datagrams of a superpacket.

        @param size: octets in each of them but the last.
        """

    def routeChanged() -> None:
        """
        Forget the headers of answers: the next one may leave by another route.
        """


class Peer(tuple[str, int]):
    """
    The address C{(host, port)} of whoever sent a datagram, as the application gets it: an ordinary tuple that also
    knows the route back, for as long as somebody holds it.

    @ivar flow: how its datagrams come.
    """

    flow: Flow

    def __copy__(self) -> Peer:
        return self

    def __deepcopy__(self, memo: object) -> Peer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The route back is of no use to another process.
        return tuple, (tuple(self),)


#: The peer of a flow that has been evicted: the address of nobody.
EVICTED = Peer(("", 0))


class Flow:
    """
    Datagrams from one port of one address to one port of another: who sends them, who gets them, and what an answer
    needs to know. There may be very many of these, so each keeps what it can in octets.

    @ivar peer: the sender's address; L{EVICTED} once the flow has been evicted. A peer holds its flow, and what holds
        each other is not freed until the garbage collector looks for it.
    @ivar transport: the transport of the protocol that gets them, if it is one.
    @ivar port: by which port the latest came; C{ethernet} and C{linkSource}: by which layer and from which station.
    @ivar ip: the IP layer that the latest came through.
    """

    __slots__ = (
        "_epoch",
        "_head",
        "_network",
        "_route",
        "_several",
        "ethernet",
        "ip",
        "linkSource",
        "peer",
        "port",
        "transport",
    )

    def __init__(self, peer: Peer, transports: tuple[IFlowTransport, ...], packet: Packet) -> None:
        self.peer = peer
        peer.flow = self
        self.transport = transports[0] if len(transports) == 1 else None
        self._several = () if self.transport is not None else transports
        self.cameFrom(packet)

    @property
    def transports(self) -> tuple[IFlowTransport, ...]:
        """
        The transports of the protocols that get them.
        """
        return self._several if self.transport is None else (self.transport,)

    def cameFrom(self, packet: Packet) -> None:
        """
        Take note of the path that C{packet} came by: answers go back by it from now on.
        """
        # Link header, IP header without options or extensions, and the ports.
        network, after = packet.network, packet.transport
        first = network if packet.ethernet is None else packet.link
        size = 20 if packet.version == 4 else 40
        self._head = packet.data[first : network + size] + packet.data[after : after + 4]
        self._network = network - first
        self.ip: IIPTransport | None = packet.ip
        self.port = packet.port
        self.ethernet = packet.ethernet
        self.linkSource = packet.linkSource
        self._route: Route | None = None
        self._epoch = 0
        for transport in self.transports:
            transport.routeChanged()

    def evicted(self) -> None:
        """
        No datagram will be delivered by this flow any more. Answers still are sent by it, as long as its peer is known.
        """
        self.peer = EVICTED

    def isPathOf(self, packet: Packet) -> bool:
        """
        Whether C{packet} came by the path that is noted: from that station, by that layer and that port.
        """
        return packet.linkSource == self.linkSource and packet.ethernet is self.ethernet and packet.port is self.port

    def isFor(self, protocol: DatagramProtocol) -> bool:
        """
        Whether a protocol is among those that get them.
        """
        return any(transport.protocol is protocol for transport in self.transports)

    @property
    def localPort(self) -> int:
        """
        The port of ours that they go to.
        """
        return int.from_bytes(self._head[-2:], "big")

    @property
    def remotePort(self) -> int:
        """
        The port that they come from.
        """
        return int.from_bytes(self._head[-4:-2], "big")

    def routeBack(self, ip: IIPTransport) -> Route | None:
        """
        @return: the route for an answer; L{None} where there must not be one.
        """
        epoch = (self.transport or self._several[0]).addressEpoch
        if self._route is None or self._epoch != epoch:
            self._route = ip.routeBack(self._headers())
            self._epoch = epoch
        return self._route

    def _headers(self) -> Packet:
        """
        A packet with the headers, and no more, of the first datagram that came by the path of the latest.
        """
        packet = Packet(self._head, len(self._head) - 4, self.port)
        packet.network, packet.transport = self._network, packet.start
        packet.ethernet, packet.linkSource, packet.ip = self.ethernet, self.linkSource, self.ip
        return packet
