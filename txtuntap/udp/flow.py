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


class Flow:
    """
    Datagrams from one port of one address to one port of another: who sends them, who gets them, and what an answer
    needs to know.

    @ivar peer: the sender's address.
    @ivar transports: of the protocols that get them.
    @ivar transport: the one of C{transports}, if it is one.
    @ivar headers: a packet with the headers, and no more, of the first datagram that came by the path of the latest.
    @ivar port: by which port that path comes; C{ethernet} and C{linkSource}: by which layer and from which station.
    """

    __slots__ = (
        "_epoch",
        "_route",
        "answerHeaders",
        "answered",
        "ethernet",
        "headers",
        "linkSource",
        "peer",
        "port",
        "transport",
        "transports",
    )

    def __init__(self, peer: Peer, transports: tuple[IFlowTransport, ...], packet: Packet) -> None:
        self.peer = peer
        peer.flow = self
        self.transports = transports
        self.transport = transports[0] if len(transports) == 1 else None
        self.cameFrom(packet)

    def cameFrom(self, packet: Packet) -> None:
        """
        Take note of the path that C{packet} came by: answers go back by it from now on.
        """
        self.headers = packet.headers()
        self.port = packet.port
        self.ethernet = packet.ethernet
        self.linkSource = packet.linkSource
        self._route: Route | None = None
        self._epoch = 0
        for transport in self.transports:
            transport.routeChanged()

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
        at = self.headers.transport + 2
        return int.from_bytes(self.headers.data[at : at + 2], "big")

    def routeBack(self, ip: IIPTransport) -> Route | None:
        """
        @return: the route for an answer; L{None} where there must not be one.
        """
        epoch = self.transports[0].addressEpoch
        if self._route is None or self._epoch != epoch:
            self._route = ip.routeBack(self.headers)
            self._epoch = epoch
        return self._route
