"""
The carriers of a service's tunnel, which listen for the peer or connect to it.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure

from txtuntap.layer.bounded import TableState
from txtuntap.service.options.peer import DatagramPeerSettings, PeerSettings
from txtuntap.tunnel.client import connecting
from txtuntap.tunnel.datagram import MAX_DATAGRAM, DatagramAddresses, DatagramCarrier
from txtuntap.tunnel.framing import IDatagramFraming, IStreamFraming
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel


class StreamCarriers:
    """
    The carriers of a tunnel over streams. A connecting end reconnects until it is stopped, with longer and longer
    pauses (C{ClientService}).

    @ivar tunnel: the tunnel.
    @ivar cutsPackets: whether superpackets always have to be segmented at this end, because the framing cannot carry
        them.
    @ivar receivesTogether: whether packets arrive together, so that their segments can be joined: always.
    """

    receivesTogether = True

    def __init__(
        self, factory: StreamFactory, endpoint: IStreamServerEndpoint | IStreamClientEndpoint, framing: IStreamFraming
    ) -> None:
        """
        @param factory: makes the carriers.
        @param endpoint: the endpoint at which to listen, or to which to connect.
        @param framing: a framing as the factory makes it, to ask whether it can carry superpackets.
        """
        self.tunnel = factory.tunnel
        # A framing with a greeting may agree on superpackets later.
        self.cutsPackets = framing.established and not framing.offloads
        self._factory = factory
        self._endpoint = endpoint
        self._listening: IListeningPort | None = None
        self._client: ClientService | None = None

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of the carriers: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return self._factory.tables()

    def open(self) -> None:
        """
        Listen, if this end listens, before the process drops its privileges.

        @raise CannotListenError: the endpoint cannot listen.
        """
        if IStreamServerEndpoint.providedBy(self._endpoint):
            failures: list[Failure] = []
            self._endpoint.listen(self._factory).addCallbacks(self._listens, failures.append)
            if failures:
                failures[0].raiseException()

    def _listens(self, port: IListeningPort) -> None:
        self._listening = port

    def start(self) -> None:
        """
        Connect, if this end connects.
        """
        if IStreamClientEndpoint.providedBy(self._endpoint):
            self._client = connecting(self._endpoint, self._factory)
            self._client.startService()

    def stop(self) -> Deferred[Any]:
        """
        Close all connections, and make no more.
        """
        ends: list[Deferred[Any]] = []
        if self._client is not None:
            client, self._client = self._client, None
            ends.append(maybeDeferred(client.stopService))
        if self._listening is not None:
            port, self._listening = self._listening, None
            ends.append(maybeDeferred(port.stopListening))
        self._factory.stop()
        return gatherResults(ends)


class DatagramCarriers:
    """
    The carrier of a tunnel over UDP.

    @ivar tunnel: the tunnel.
    @ivar cutsPackets: whether superpackets have to be segmented at this end: always, because a datagram carries one
        packet.
    @ivar receivesTogether: whether packets arrive together: never, because Twisted delivers datagrams one by one.
    """

    cutsPackets = True
    receivesTogether = False

    def __init__(self, tunnel: Tunnel, framing: IDatagramFraming, addresses: DatagramAddresses, reactor: Any) -> None:
        """
        @param addresses: the addresses and ports of both ends.
        """
        self.tunnel = tunnel
        self._addresses = addresses
        self._reactor = reactor
        self._carrier = DatagramCarrier(tunnel, framing, addresses.peer, reactor)
        self._listening: IListeningPort | None = None

    def tables(self) -> list[TableState]:
        """
        List no tables, because the carrier has none.
        """
        return []

    def open(self) -> None:
        """
        Open the UDP port before the process drops its privileges.

        @raise CannotListenError: the port cannot be opened.
        """
        where = self._addresses
        self._listening = self._reactor.listenUDP(where.port, self._carrier, where.interface, MAX_DATAGRAM)

    def start(self) -> None:
        """
        Do nothing, because the open port sends and receives already.
        """

    def stop(self) -> Deferred[Any]:
        """
        Close the UDP port of the carrier.
        """
        port, self._listening = self._listening, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)


Carriers = StreamCarriers | DatagramCarriers


def peerText(peer: PeerSettings) -> str:
    """
    Describe the peer of a tunnel for a log line.
    """
    if isinstance(peer, DatagramPeerSettings):
        return f"at {peer.endpoint}" if peer.addresses.peer else f"awaited at {peer.endpoint}"
    return f"awaited at {peer.endpoint}" if peer.isListening else f"at {peer.endpoint}"


def makeCarriers(peer: PeerSettings, reactor: Any) -> Carriers:
    """
    Make a tunnel, and its carriers to the peer.
    """
    tunnel = Tunnel(peer.mode, peer.allowed)
    if isinstance(peer, DatagramPeerSettings):
        return DatagramCarriers(tunnel, peer.framing(peer.mode), peer.addresses, reactor)
    identity = peer.identity
    endpoint: IStreamServerEndpoint | IStreamClientEndpoint
    if peer.isListening:
        server = serverFromString(reactor, peer.endpoint)
        endpoint = server if identity is None else identity.server(server, reactor)
    else:
        client = clientFromString(reactor, peer.endpoint)
        endpoint = client if identity is None else identity.client(client, reactor)
    return StreamCarriers(StreamFactory(tunnel, peer.framing, reactor), endpoint, peer.framing(peer.mode))
