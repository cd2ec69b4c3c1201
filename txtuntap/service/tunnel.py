"""
C{twistd tuntap tunnel}: a tunnel on a TUN or TAP device.

    twistd -n tuntap tunnel --tun tun0 --kernel-address 10.0.0.1/24 --listen tcp:4000 \\
        --certificate me.pem --trust peer.pem
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure

from txtuntap.device.settings import InterfaceSettings
from txtuntap.service.interface import InterfaceService
from txtuntap.tunnel.client import connecting
from txtuntap.tunnel.datagram import MAX_DATAGRAM, DatagramAddresses, DatagramCarrier
from txtuntap.tunnel.framing import MAX_PACKET, IDatagramFraming
from txtuntap.tunnel.stream import StreamFactory
from txtuntap.tunnel.tunnel import Tunnel

if TYPE_CHECKING:
    from txtuntap.device.linux import LinuxDevice


class TunnelService(InterfaceService):
    """
    A L{Tunnel} on a TUN or TAP device, over streams. Who connects does so again, later and later (C{ClientService}),
    for as long as the service runs.

    @ivar tunnel: the tunnel.
    """

    what = "A tunnel"

    def __init__(
        self,
        device: LinuxDevice,
        factory: StreamFactory,
        endpoint: IStreamServerEndpoint | IStreamClientEndpoint,
        settings: InterfaceSettings | None = None,
        undo: bool = False,
        reactor: Any = None,
        offload: bool | None = None,
        control: bool = True,
    ) -> None:
        """
        @param endpoint: where to listen, or to connect.
        """
        super().__init__(device, factory.tunnel, settings, undo, reactor, offload, control, MAX_PACKET)
        self.tunnel = factory.tunnel
        self._factory = factory
        self._endpoint = endpoint
        self._listening: IListeningPort | None = None
        self._client: ClientService | None = None

    def _opened(self) -> None:
        """
        Listen, while there is the privilege to.
        """
        if IStreamServerEndpoint.providedBy(self._endpoint):
            failures: list[Failure] = []
            self._endpoint.listen(self._factory).addCallbacks(self._listens, failures.append)
            if failures:
                failures[0].raiseException()

    def _listens(self, port: IListeningPort) -> None:
        self._listening = port

    def startService(self) -> None:
        """
        Connect, too.
        """
        super().startService()
        if IStreamClientEndpoint.providedBy(self._endpoint):
            self._client = connecting(self._endpoint, self._factory)
            self._client.startService()

    def stopService(self) -> Deferred[None]:
        """
        End the connection first.
        """
        ends: list[Deferred[Any]] = []
        if self._client is not None:
            client, self._client = self._client, None
            ends.append(maybeDeferred(client.stopService))
        if self._listening is not None:
            port, self._listening = self._listening, None
            ends.append(maybeDeferred(port.stopListening))
        self._factory.stop()
        stopped = super().stopService()
        return gatherResults([*ends, stopped]).addCallback(lambda _: None)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of the tunnel, too.
        """
        return {**super().counters(), "tunnel": self.tunnel.counters}


class DatagramTunnelService(InterfaceService):
    """
    A L{Tunnel} on a TUN or TAP device, over UDP.

    @ivar tunnel: the tunnel.
    """

    what = "A tunnel"

    def __init__(
        self,
        device: LinuxDevice,
        tunnel: Tunnel,
        framing: IDatagramFraming,
        addresses: DatagramAddresses,
        settings: InterfaceSettings | None = None,
        undo: bool = False,
        reactor: Any = None,
        offload: bool | None = None,
        control: bool = True,
    ) -> None:
        """
        @param addresses: of both ends.
        """
        super().__init__(device, tunnel, settings, undo, reactor, offload, control, MAX_PACKET)
        self.tunnel = tunnel
        self._addresses = addresses
        self._carrier = DatagramCarrier(tunnel, framing, addresses.peer, self._reactor)
        self._listening: IListeningPort | None = None

    def _opened(self) -> None:
        """
        Listen, while there is the privilege to.
        """
        where = self._addresses
        self._listening = self._reactor.listenUDP(where.port, self._carrier, where.interface, MAX_DATAGRAM)

    def stopService(self) -> Deferred[None]:
        """
        Hear no more of the peer first.
        """
        port, self._listening = self._listening, None
        ended: Deferred[Any] = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        stopped: Deferred[Any] = super().stopService()
        return gatherResults([ended, stopped]).addCallback(lambda _: None)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of the tunnel, too.
        """
        return {**super().counters(), "tunnel": self.tunnel.counters}


def makeTunnelService(asked: Any) -> TunnelService | DatagramTunnelService:
    """
    The service that the options ask for.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    tunnel = Tunnel(asked["mode"], asked["allowed"])
    settings = asked["settings"] if asked["helper"] is None else None
    undo = bool(asked["undo"])
    control = not asked["no-control"]
    framing = asked["framing"](asked["mode"])
    isDatagram = asked["addresses"] is not None
    # Where each packet goes by itself whoever the peer is, the kernel cuts them faster.
    isPlain = isDatagram or (framing.established and not framing.offloads)
    offload = False if asked["no-offload"] or isPlain else None
    if isDatagram:
        return DatagramTunnelService(
            asked["device"], tunnel, framing, asked["addresses"], settings, undo, reactor, offload, control
        )
    factory = StreamFactory(tunnel, asked["framing"], reactor)
    identity = asked["identity"]
    endpoint: Any
    if asked["isListening"]:
        endpoint = serverFromString(reactor, asked["endpoint"])
        endpoint = endpoint if identity is None else identity.server(endpoint, reactor)
    else:
        endpoint = clientFromString(reactor, asked["endpoint"])
        endpoint = endpoint if identity is None else identity.client(endpoint, reactor)
    return TunnelService(asked["device"], factory, endpoint, settings, undo, reactor, offload, control)
