"""
A host in the place of a reactor: its TCP and TLS, and the names that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorSSL,
    IReactorTCP,
)
from zope.interface import implementer

from txtuntap.interfaces import IPacketReceiver
from txtuntap.ip.input import IPProtocol
from txtuntap.mistakes import checkFactory
from txtuntap.packet import Packet
from txtuntap.stack.names import HostNames, hostnameResolver
from txtuntap.tcp.layer import TCPProtocol
from txtuntap.tcp.ports import BACKLOG
from txtuntap.tcp.record import ConnectionRecord, ConnectionRecords, PortRecord
from txtuntap.wire.tcp import PROTOCOL


@implementer(IPacketReceiver)
class _Later:
    """
    The place of TCP on a host until the first segment comes, or the program uses it: a host without TCP has none of
    its tables.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, streams: StreamRole) -> None:
        self._streams = streams

    def packetReceived(self, packet: Packet) -> None:
        """
        Have the TCP layer made, and give it the segment.
        """
        self._streams.tcp.packetReceived(packet)


@implementer(IReactorTCP, IReactorSSL, IReactorPluggableNameResolver)
class StreamRole:
    """
    The interfaces of a reactor for streams.
    """

    _later: _Later | None

    def _beginStreams(
        self,
        ip: IPProtocol,
        tcp: TCPProtocol | None,
        verifyChecksum: bool,
        secrets: Random,
        hosts: Mapping[str, str | Iterable[str]] | None,
        resolver: Any,
    ) -> None:
        """
        @param tcp: the TCP layer; L{None}: one is made when it is needed.
        @param hosts: addresses by name.
        @param resolver: asked for other names; or what makes that, when it is called with the host.
        """
        if tcp is not None and not isinstance(tcp, TCPProtocol):
            raise TypeError(f"tcp is a TCPProtocol, with the parameters that you want, not {tcp!r}")
        self._streamsIP = ip
        self._verifySegments = verifyChecksum
        self._streamsSecrets = secrets
        self._names = HostNames(hosts or {}, resolver(self) if callable(resolver) else resolver)
        self.nameResolver: IHostnameResolver = self._names
        if tcp is not None:
            tcp.useSecrets(secrets)
        self._tcp = tcp
        self._later = None
        if tcp is None:
            self._later = _Later(self)
            ip.addProto(PROTOCOL, self._later)
        else:
            ip.addProto(PROTOCOL, tcp)

    @property
    def tcp(self) -> TCPProtocol:
        """
        The TCP layer of this host, which is made at its first use.
        """
        tcp = self._tcp
        if tcp is None:
            tcp = self._tcp = TCPProtocol(None, None, self._verifySegments, self._streamsSecrets)
            self._streamsIP.removeProto(PROTOCOL, self._later)
            self._streamsIP.addProto(PROTOCOL, tcp)
            self._later = None
        return tcp

    @property
    def usesTCP(self) -> bool:
        """
        Whether there is a TCP layer yet.
        """
        return self._tcp is not None

    @property
    def connections(self) -> list[ConnectionRecord]:
        """
        A record of each TCP connection of this host, the half open ones and those in TIME-WAIT included.
        """
        return list(self.eachConnection())

    def eachConnection(self) -> ConnectionRecords:
        """
        Make the records of C{connections} one at a time, for one who does something else in between.
        """
        return ConnectionRecords([], lambda _: None) if self._tcp is None else self._tcp.eachConnection()

    @property
    def listening(self) -> list[PortRecord]:
        """
        A record of each TCP port that listens.
        """
        return [] if self._tcp is None else self._tcp.listening

    def listenTCP(self, port: Any, factory: Any, backlog: int = BACKLOG, interface: str = "") -> IListeningPort:
        """
        Accept connections on a port: C{IReactorTCP.listenTCP}.

        @param port: 0 takes a free one that nobody can guess (RFC 6056).
        @param backlog: connections that may be half open at once.
        @param interface: an address of ours to listen on; C{"0.0.0.0"} all of IPv4, C{"::"} all of IPv6, C{""} all.

        @raise CannotListenError: the port is taken, or C{interface} is an address of another host.
        @raise InvalidAddressError: C{interface} is no IP address.
        @raise ValueError: C{port} is no port, or C{backlog} no number of connections.
        @raise TypeError: C{factory} builds no protocols.
        """
        port, interface = _bound(port, interface)
        return self.tcp.listen(port, factory, backlog, interface)

    def connectTCP(
        self,
        host: str,
        port: int | str,
        factory: Any,
        timeout: float | None = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        """
        Connect to a peer: C{IReactorTCP.connectTCP}. The factory hears what the network does.

        @param host: an IP address, or a name that this host knows.
        @param port: a number, or the name of a service.
        @param bindAddress: the address and the port to connect from.

        @raise InvalidAddressError: C{bindAddress} has no IP address.
        @raise ValueError: C{host} is no text, C{timeout} is below 0 or no number, or C{bindAddress} has no port.
        @raise TypeError: C{factory} builds no protocols.
        """
        if hasattr(bindAddress, "_reuseAddress"):
            number, address = _bound(bindAddress, "")
            bindAddress = address, number
        return self.tcp.connect(host, port, factory, timeout, bindAddress, None, self._names_lookup)

    def _names_lookup(self, name: str) -> Any:
        if self.nameResolver is self._names:
            return self._names.lookup(name)
        return HostNames({}, self.nameResolver).lookup(name)

    def listenSSL(
        self, port: Any, factory: Any, contextFactory: Any, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        """
        Accept TLS connections: C{IReactorSSL.listenSSL}. It needs the extra C{tls}.
        """
        from twisted.protocols.tls import TLSMemoryBIOFactory

        checkFactory(factory)
        # By default, its TLS waits by the global reactor.
        clock: Any = self.tcp
        wrapped = TLSMemoryBIOFactory(contextFactory, False, factory, clock)
        listening: Any = self.listenTCP(port, wrapped, backlog, interface)
        listening._type = "TLS"
        found: IListeningPort = listening
        return found

    def connectSSL(
        self,
        host: str,
        port: int | str,
        factory: Any,
        contextFactory: Any,
        timeout: float | None = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        """
        Connect to a peer, and speak TLS: C{IReactorSSL.connectSSL}. It needs the extra C{tls}.
        """
        from twisted.protocols.tls import TLSMemoryBIOFactory

        checkFactory(factory)
        clock: Any = self.tcp
        wrapped = TLSMemoryBIOFactory(contextFactory, True, factory, clock)
        return self.connectTCP(host, port, wrapped, timeout, bindAddress)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        Find the addresses of names by another resolver: C{IReactorPluggableNameResolver.installNameResolver}.

        It takes the place of C{hosts} and of C{resolver}, as with every reactor: what was before knows them, and may be
        asked by the new one, or installed again.

        @return: the one before.

        @raise TypeError: C{resolver} cannot be asked for names.
        """
        before, self.nameResolver = self.nameResolver, hostnameResolver(resolver)
        return before


def _bound(port: Any, interface: str) -> tuple[Any, str]:
    """
    The port and address that a caller gives, be it as an object of C{twisted.internet.tcp.makeBinding}.

    @raise ValueError: there is another address beside that object.
    """
    if not hasattr(port, "_reuseAddress"):
        return port, interface
    address = port._address or ""
    if interface and address != interface:
        raise ValueError("Inconsistent interface vs Binding specifiers")
    if port._reusePort:
        raise ValueError("reusePort is for several processes, which a Host is not shared by: leave it out")
    return port._port or 0, address
