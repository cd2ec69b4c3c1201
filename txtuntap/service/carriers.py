"""
How a tunnel of a service gets to its peer: where it listens, or whom it connects to.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure

from txtuntap.tunnel.client import connecting
from txtuntap.tunnel.datagram import MAX_DATAGRAM, DatagramAddresses, DatagramCarrier
from txtuntap.tunnel.framing import IDatagramFraming
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel


class StreamCarriers:
    """
    Carriers of a tunnel over streams. Who connects does so again, later and later (C{ClientService}), until it is
    stopped.

    @ivar tunnel: the tunnel.
    """

    def __init__(self, factory: StreamFactory, endpoint: IStreamServerEndpoint | IStreamClientEndpoint) -> None:
        """
        @param endpoint: where to listen, or to connect.
        """
        self.tunnel = factory.tunnel
        self._factory = factory
        self._endpoint = endpoint
        self._listening: IListeningPort | None = None
        self._client: ClientService | None = None

    def open(self) -> None:
        """
        Listen, while there is the privilege to.

        @raise CannotListenError: that cannot be.
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
        Connect.
        """
        if IStreamClientEndpoint.providedBy(self._endpoint):
            self._client = connecting(self._endpoint, self._factory)
            self._client.startService()

    def stop(self) -> Deferred[Any]:
        """
        End the connection, and have no other.
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
    """

    def __init__(self, tunnel: Tunnel, framing: IDatagramFraming, addresses: DatagramAddresses, reactor: Any) -> None:
        """
        @param addresses: of both ends.
        """
        self.tunnel = tunnel
        self._addresses = addresses
        self._reactor = reactor
        self._carrier = DatagramCarrier(tunnel, framing, addresses.peer, reactor)
        self._listening: IListeningPort | None = None

    def open(self) -> None:
        """
        Listen, while there is the privilege to.

        @raise CannotListenError: that cannot be.
        """
        where = self._addresses
        self._listening = self._reactor.listenUDP(where.port, self._carrier, where.interface, MAX_DATAGRAM)

    def start(self) -> None:
        """
        There is nothing more to do.
        """

    def stop(self) -> Deferred[Any]:
        """
        Hear no more of the peer.
        """
        port, self._listening = self._listening, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)


Carriers = StreamCarriers | DatagramCarriers


def makeCarriers(asked: Any, reactor: Any) -> tuple[Carriers, bool]:
    """
    What the options (L{TunnelOptions<txtuntap.service.options.tunnel.TunnelOptions>}) ask for.

    @return: that, and whether each packet goes by itself whoever the peer is.
    """
    tunnel = Tunnel(asked["mode"], asked["allowed"])
    framing = asked["framing"](asked["mode"])
    if asked["addresses"] is not None:
        return DatagramCarriers(tunnel, framing, asked["addresses"], reactor), True
    factory = StreamFactory(tunnel, asked["framing"], reactor)
    identity = asked["identity"]
    endpoint: Any
    if asked["isListening"]:
        endpoint = serverFromString(reactor, asked["endpoint"])
        endpoint = endpoint if identity is None else identity.server(endpoint, reactor)
    else:
        endpoint = clientFromString(reactor, asked["endpoint"])
        endpoint = endpoint if identity is None else identity.client(endpoint, reactor)
    return StreamCarriers(factory, endpoint), framing.established and not framing.offloads
