"""
The interfaces of a reactor that a host provides for TCP, for TLS and for name resolution.
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
class Placeholder:
    """
    Stands for the TCP or UDP layer of a host until the first packet arrives or the program uses the layer. A host that
    never uses a layer needs no memory for its tables.
    """

    __slots__ = ("_host", "_layer")

    handlesFailures = True
    takesOffload = True

    def __init__(self, host: StreamRole, layer: str) -> None:
        """
        @param layer: the name of the attribute of C{host} that creates the layer, C{"tcp"} or C{"udp"}.
        """
        self._host = host
        self._layer = layer

    def packetReceived(self, packet: Packet) -> None:
        """
        Create the layer, and pass it the packet.
        """
        getattr(self._host, self._layer).packetReceived(packet)


def replacePlaceholder(ip: IPProtocol, number: int, layer: Any) -> None:
    """
    Add a layer to IP, in place of the placeholder under its protocol number.
    """
    for proto in list(ip.ipProtos.get(number, ())):
        if isinstance(proto, Placeholder):
            ip.removeProto(number, proto)
    ip.addProto(number, layer)


@implementer(IReactorTCP, IReactorSSL, IReactorPluggableNameResolver)
class StreamRole:
    """
    The interfaces of a reactor that a host provides for streams.
    """

    ip: IPProtocol
    _secrets: Random
    _verify: bool

    def _beginStreams(
        self,
        tcp: TCPProtocol | None,
        hosts: Mapping[str, str | Iterable[str]] | None,
        resolver: Any,
    ) -> None:
        """
        Add TCP and name resolution to the host.

        @param tcp: the TCP layer. C{None}: one is created at its first use.
        @param hosts: addresses by name.
        @param resolver: resolves the names not in C{hosts}. If it is callable, it is called with the host, and must
            return such a resolver.
        """
        if tcp is not None and not isinstance(tcp, TCPProtocol):
            raise TypeError(f"tcp is a TCPProtocol, with the parameters that you want, not {tcp!r}")
        self._names = HostNames(hosts or {}, resolver(self) if callable(resolver) else resolver)
        self.nameResolver: IHostnameResolver = self._names
        if tcp is not None:
            tcp.useSecrets(self._secrets)
        self._tcp = tcp
        self.ip.addProto(PROTOCOL, Placeholder(self, "tcp") if tcp is None else tcp)

    @property
    def tcp(self) -> TCPProtocol:
        """
        The TCP layer of this host, which is created at its first use.
        """
        tcp = self._tcp
        if tcp is None:
            tcp = self._tcp = TCPProtocol(None, None, self._verify, self._secrets)
            replacePlaceholder(self.ip, PROTOCOL, tcp)
        return tcp

    @property
    def usesTCP(self) -> bool:
        """
        Whether the TCP layer has been created.
        """
        return self._tcp is not None

    @property
    def connections(self) -> list[ConnectionRecord]:
        """
        The records of all TCP connections of this host, including half-open ones and those in TIME-WAIT.
        """
        return list(self.eachConnection())

    def eachConnection(self) -> ConnectionRecords:
        """
        Create the records of C{connections} one at a time, so that a long list does not block the reactor.
        """
        return ConnectionRecords([], lambda _: None) if self._tcp is None else self._tcp.eachConnection()

    @property
    def listening(self) -> list[PortRecord]:
        """
        The records of all TCP ports that listen.
        """
        return [] if self._tcp is None else self._tcp.listening

    def listenTCP(self, port: Any, factory: Any, backlog: int = BACKLOG, interface: str = "") -> IListeningPort:
        """
        Accept connections on a TCP port: see C{IReactorTCP.listenTCP}.

        @param port: the port number. 0 means a free one, which is chosen at random (RFC 6056).
        @param factory: builds a protocol for each connection.
        @param backlog: the most connections that may be half open at once.
        @param interface: the address of this host to listen on. C{"0.0.0.0"} means all IPv4 addresses, C{"::"} all IPv6
            addresses, and C{""} all addresses.

        @return: the port that listens.

        @raise CannotListenError: the port is taken, or C{interface} is an address of another host.
        @raise InvalidAddressError: C{interface} is no IP address.
        @raise ValueError: C{port} is no port number, or C{backlog} is no number of connections.
        @raise TypeError: C{factory} builds no protocols.
        """
        port, interface = _bindingOf(port, interface)
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
        Connect to a peer over TCP: see C{IReactorTCP.connectTCP}. Failures of the network are reported to the factory,
        and not raised.

        @param host: the IP address of the peer, or a name that this host can resolve.
        @param port: the port number of the peer, or the name of a service.
        @param factory: builds the protocol of the connection.
        @param timeout: the seconds to wait for the connection. C{None}: until TCP gives up repeating its SYN.
        @param bindAddress: the address and the port number to connect from. C{None}: TCP chooses both.

        @return: the connector, which can stop the attempt.

        @raise InvalidAddressError: the address in C{bindAddress} is no IP address.
        @raise ValueError: C{host} is no text, C{timeout} is no number of seconds, or C{bindAddress} has no port number.
        @raise TypeError: C{factory} builds no protocols.
        """
        if hasattr(bindAddress, "_reuseAddress"):
            number, address = _bindingOf(bindAddress, "")
            bindAddress = address, number
        return self.tcp.connect(host, port, factory, timeout, bindAddress, None, self._lookupName)

    def _lookupName(self, name: str) -> Any:
        """
        Resolve a name by the resolver that is installed now.
        """
        if self.nameResolver is self._names:
            return self._names.lookup(name)
        return HostNames({}, self.nameResolver).lookup(name)

    def listenSSL(
        self, port: Any, factory: Any, contextFactory: Any, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        """
        Accept TLS connections: see C{IReactorSSL.listenSSL}. This needs the extra C{tls}.

        @param contextFactory: makes the TLS settings, as for a reactor. The other arguments are those of L{listenTCP}.
        """
        from twisted.protocols.tls import TLSMemoryBIOFactory

        checkFactory(factory)
        # The TLS protocol must be given a clock, because it uses the global reactor by default.
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
        Connect to a peer over TLS: see C{IReactorSSL.connectSSL}. This needs the extra C{tls}.

        @param contextFactory: makes the TLS settings, as for a reactor. The other arguments are those of L{connectTCP}.
        """
        from twisted.protocols.tls import TLSMemoryBIOFactory

        checkFactory(factory)
        clock: Any = self.tcp
        wrapped = TLSMemoryBIOFactory(contextFactory, True, factory, clock)
        return self.connectTCP(host, port, wrapped, timeout, bindAddress)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        Resolve names by another resolver from now on: see C{IReactorPluggableNameResolver.installNameResolver}.

        The new resolver replaces the arguments C{hosts} and C{resolver} of the host. The previous resolver still knows
        these. The new one may ask it, and the program may install it again.

        @param resolver: an C{IHostnameResolver} or C{IResolverSimple}.

        @return: the previous resolver.

        @raise TypeError: C{resolver} provides neither interface.
        """
        previous, self.nameResolver = self.nameResolver, hostnameResolver(resolver)
        return previous


def _bindingOf(port: Any, interface: str) -> tuple[Any, str]:
    """
    Split the port argument of a caller into a port and an address. A Twisted binding object has both.

    @param port: a port number, or an object of C{twisted.internet.tcp.makeBinding}.
    @param interface: the address argument of the caller.

    @raise ValueError: C{port} has an address other than C{interface}, or asks for C{reusePort}.
    """
    if not hasattr(port, "_reuseAddress"):
        return port, interface
    address = port._address or ""
    if interface and address != interface:
        raise ValueError("Inconsistent interface vs Binding specifiers")
    if port._reusePort:
        raise ValueError("reusePort shares a port between processes, and a Host is in one process: leave it out")
    return port._port or 0, address
