"""
The connector of a TCP client, and the transport that the connector makes.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.layer.life import FailureLog
from txtuntap.mistakes import checkRange
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.ports import logPrefix
from txtuntap.tcp.state import End
from txtuntap.tcp.transport import TCPTransport, endpointAddress
from txtuntap.wire.address import isLinkLocal, packAddress
from txtuntap.wire.icmp import Quote

if TYPE_CHECKING:
    from txtuntap.tcp.handshake import Parameters
    from txtuntap.tcp.interfaces import ITCPLayer

#: A function that finds the address of a host name: it returns the address as text, or a Deferred of it. A name without
#: an address raises C{DNSLookupError}.
Resolve = Callable[[str], "Deferred[str] | str"]


#: The error number for a host that is not on the network. Only Linux has C{ENONET}.
_ENONET = getattr(errno, "ENONET", errno.EHOSTUNREACH)

#: The error numbers with which an ICMP error ends an attempt to connect, by IP version and by ICMP type and code. They
#: are Linux's (icmp_err_convert, icmpv6_err_convert). An ICMP error that is in neither table does not end the attempt.
_ERRORS: dict[int, dict[tuple[int, int], int]] = {
    4: {
        **dict.fromkeys(((3, 0), (3, 6), (3, 9), (3, 11)), errno.ENETUNREACH),
        **dict.fromkeys(((3, 1), (3, 10), (3, 12), (3, 13), (3, 14), (3, 15), (11, 0)), errno.EHOSTUNREACH),
        (3, 2): errno.ENOPROTOOPT,
        (3, 3): errno.ECONNREFUSED,
        (3, 5): errno.EOPNOTSUPP,
        (3, 7): errno.EHOSTDOWN,
        (3, 8): _ENONET,
    },
    6: {
        (1, 0): errno.ENETUNREACH,
        **dict.fromkeys(((1, 1), (1, 5), (1, 6)), errno.EACCES),
        **dict.fromkeys(((1, 2), (1, 3)), errno.EHOSTUNREACH),
        (1, 4): errno.ECONNREFUSED,
    },
}
#: The error numbers for all other codes of an ICMP type, by IP version and type.
_OTHERS: dict[tuple[int, int], int] = {
    (4, 12): errno.EPROTO,
    (6, 1): errno.EPROTO,
    (6, 3): errno.EHOSTUNREACH,
    (6, 4): errno.EPROTO,
}


def errorOf(quote: Quote) -> Exception | None:
    """
    Return the exception with which an ICMP error about a SYN ends an attempt to connect, as a socket would raise it.
    C{None}: the ICMP error does not end the attempt.
    """
    version = 4 if len(quote.dest) == 4 else 6
    number = _ERRORS[version].get((quote.kind, quote.code)) or _OTHERS.get((version, quote.kind))
    if number is None:
        return None
    kinds: dict[int, Any] = {errno.ECONNREFUSED: error.ConnectionRefusedError, errno.ENETUNREACH: error.NoRouteError}
    reason: Exception = kinds.get(number, error.ConnectError)(number, os.strerror(number))
    return reason


def servicePort(port: int | str) -> int | str:
    """
    Return the port number of a service. A port that is given as a number is returned as it is.

    @raise ServiceNameUnknownError: there is no such service.
    """
    if isinstance(port, str):
        try:
            return socket.getservbyname(port, "tcp")
        except OSError as e:
            raise error.ServiceNameUnknownError(string=f"{e} ({port!r})") from None
    return port


def literal(host: str) -> tuple[bytes, str] | None:
    """
    Parse an IP address with an optional scope, such as C{fe80::1%tap0}.

    @return: the packed address, and the scope with its C{%}. C{None}: the text is no address, or has a scope behind an
        address that is not link-local.
    """
    text, mark, scope = host.partition("%")
    try:
        address = packAddress(text)
    except ValueError:
        return None
    if mark and not (len(address) == 16 and isLinkLocal(address)):
        return None
    return address, mark + scope


def clientBinding(bindAddress: Any) -> tuple[bytes, str, int] | None:
    """
    Parse the C{bindAddress} argument of C{connectTCP}.

    @param bindAddress: an address as text, or a tuple of an address as text and a port number. An empty text means any
        address, and 0 means any port.

    @return: the packed address, its scope with the C{%}, and the port number. C{None}: any address and port.

    @raise InvalidAddressError: C{bindAddress} has no IP address.
    @raise ValueError: C{bindAddress} is a tuple that is no pair, or whose second element is no port number.
    """
    if bindAddress is None:
        return None
    pair = bindAddress if isinstance(bindAddress, tuple) else (bindAddress, 0)
    if len(pair) != 2:
        raise ValueError(f"bindAddress is an address and a port such as ('10.0.0.2', 0), not {bindAddress!r}")
    host, port = pair
    checkRange(port, "the port of bindAddress", 0, 0xFFFF)
    found = (literal(host) if host else (b"", "")) if isinstance(host, str) else None
    if found is None:
        raise error.InvalidAddressError(host, "bindAddress has an IP address such as '10.0.0.2'")
    return *found, port


@implementer(IConnector)
class TCPConnector(BaseConnector):
    """
    The connector of one factory and one peer. Each call of C{connect} begins a new attempt.
    """

    def __init__(
        self,
        layer: ITCPLayer,
        host: str,
        port: int | str,
        factory: Any,
        timeout: float | None,
        bindAddress: Any,
        parameters: Parameters,
        resolve: Resolve,
    ) -> None:
        """
        @param timeout: the seconds that an attempt may take. C{None}: until no SYN is retransmitted any more.
        @param bindAddress: see L{clientBinding}.
        @param resolve: finds the address of a host name.

        @raise ServiceNameUnknownError: C{port} is the name of an unknown service.
        @raise InvalidAddressError: C{bindAddress} has no IP address.
        @raise ValueError: C{bindAddress} is a tuple without a port number.
        """
        self.host = host
        self.port = servicePort(port)
        self._binding = clientBinding(bindAddress)
        self._layer = layer
        self._parameters = parameters
        self._resolve = resolve
        self.failures = FailureLog(factory, layer.counters)
        super().__init__(factory, timeout, layer)  # type: ignore[arg-type]

    def _makeTransport(self) -> Any:
        return TCPClient(self._layer, self, self.host, self.port, self._binding, self._parameters, self._resolve)

    def getDestination(self) -> IPv4Address | IPv6Address:
        """
        Return the address and port of the peer, as they were given. See C{IConnector.getDestination}.
        """
        kind = IPv6Address if ":" in self.host else IPv4Address
        return kind("TCP", self.host, self.port)  # type: ignore[arg-type]


class TCPClient(TCPTransport):
    """
    The transport of a client's connection. Creating it begins the attempt to connect.

    @ivar connector: the connector that made this transport. C{None} after the attempt has failed or the connection has
        ended.
    @ivar addr: the host and the port to connect to, as they were given.
    """

    _tlsClientDefault = True

    def __init__(
        self,
        layer: ITCPLayer,
        connector: TCPConnector,
        host: str,
        port: int | str,
        binding: tuple[bytes, str, int] | None,
        parameters: Parameters,
        resolve: Resolve,
    ) -> None:
        super().__init__(layer, connector.failures)
        self.connector: TCPConnector | None = connector
        self.addr = host, port
        self._parameters = parameters
        self._resolve = resolve
        #: The local address and port that the application asked for, and the reservation that is still to be freed.
        self._given: tuple[bytes, int] | None = None
        self._bound: tuple[bytes, int] | None = None
        self._hasFailed = False
        try:
            if binding is not None:
                self._bind(*binding)
        except error.ConnectBindError as e:
            failure = e
            layer.callLater(0, lambda: self.failIfNotConnected(failure))
        else:
            layer.callLater(0, self._begin)

    def __repr__(self) -> str:
        return f"<{self.__class__} to {self.addr} at {id(self):x}>"

    def _bind(self, address: bytes, scope: str, port: int) -> None:
        self._scope = scope
        try:
            self._given = self._bound = self.layer.bindClient(address, port)
        except OSError as e:
            raise error.ConnectBindError(e.errno, e.strerror) from None

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Return the local address and port. Before the SYN is sent, these are the ones that the application asked for.
        """
        if self.path is None:
            address, port = self._given or (b"", 0)
            return endpointAddress(address or bytes(4), port, self._scope)
        return super().getHost()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """
        Return the address and port of the peer. Before the SYN is sent, these are the given ones.
        """
        if self.path is None:
            host, port = self.addr
            kind = IPv6Address if ":" in host else IPv4Address
            return kind("TCP", host, port)  # type: ignore[arg-type]
        return super().getPeer()

    # Connecting

    def _begin(self) -> None:
        """
        Find the address of the peer, and send the SYN.
        """
        if self._hasFailed or self.disconnected:
            return
        host, port = self.addr
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 0xFFFF:
            return self.failIfNotConnected(error.ConnectError(errno.EINVAL, f"a port is 0 to 65535, not {port!r}"))
        found = literal(host)
        if found is not None:
            return self._connect(*found, port)
        done = maybeDeferred(self._resolve, host)
        done.addCallbacks(self._resolved, self._unresolved)

    def _resolved(self, address: str) -> None:
        if self._hasFailed or self.disconnected:
            return
        found = literal(address) if isinstance(address, str) else None
        if found is None:
            return self.failIfNotConnected(
                error.DNSLookupError(f"the resolver returned {address!r}, which is no IP address")
            )
        self._connect(*found, int(self.addr[1]))

    def _unresolved(self, failure: Failure) -> None:
        self.failIfNotConnected(failure.value or error.DNSLookupError())

    def _connect(self, address: bytes, scope: str, port: int) -> None:
        self._scope = scope or self._scope
        try:
            self.layer.connectClient(self, address, port, self._given, self._parameters)
        except error.ConnectError as e:
            self.failIfNotConnected(e)
        except OSError as e:
            kind: Any = error.NoRouteError if e.errno == errno.ENETUNREACH else error.ConnectError
            self.failIfNotConnected(kind(e.errno, e.strerror))
        except Exception as e:
            # A congestion control of the application has raised an exception.
            self._failures.failed(self.layer.now(), "congestion")
            self.failIfNotConnected(error.ConnectError(string=str(e)))

    def failIfNotConnected(self, reason: BaseException) -> None:
        """
        Give up an attempt to connect. A reset is sent only if the peer has opened the connection at the same time.
        Twisted's connector calls this method after its timeout, and when the application stops the attempt.

        @param reason: the reason for C{clientConnectionFailed}.
        """
        if self.connected or self.disconnected or self._hasFailed or self.connector is None:
            return
        self._hasFailed = True
        connection = self.connection
        if connection is not None:
            self.layer.counters["attemptFails"] += 1
            connection.abort(self._time())
            self._finish()
        self._unbind()
        connector, self.connector = self.connector, None
        self._call(connector.connectionFailed, Failure(reason))

    def _unbind(self) -> None:
        bound, self._bound = self._bound, None
        if bound is not None:
            self.layer.unbindClient(bound)

    def _maybeConnected(self, connection: Connection) -> None:
        if connection.ended is not None:
            if self._hasFailed:
                return
            if connection.ended is End.REFUSED:
                self.failIfNotConnected(
                    error.ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                )
            elif connection.ended is End.TIMED_OUT:
                self.failIfNotConnected(error.TCPTimedOutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            else:
                self.failIfNotConnected(error.ConnectError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
            return
        if connection.isOpening or self.connector is None:
            return
        # The ACK of the handshake leaves before our protocol can close the connection, so the peer establishes it.
        connection.flush(self._time())
        protocol = None
        try:
            protocol = self.connector.buildProtocol(self.getPeer())
        except BaseException:
            self._failures.failed(self.layer.now(), "buildProtocol")
        self._connectProtocol(
            protocol or Protocol(), f"{logPrefix(protocol)},client" if protocol else "Uninitialized,client"
        )
        if protocol is None:
            self.loseConnection()

    def failSoon(self, reason: Exception) -> None:
        """
        Give up connecting in the next iteration of the reactor, because an ICMP error reports the peer unreachable.
        """
        self.layer.callLater(0, self.failIfNotConnected, reason)

    def stopConnecting(self) -> None:
        """
        Give up connecting, because the application asks for it.
        """
        self.failIfNotConnected(error.UserError())

    def _disconnectProtocol(self, reason: Failure) -> None:
        if self.disconnected:
            return
        wasUp = self.connected
        super()._disconnectProtocol(reason)
        self._unbind()
        connector, self.connector = self.connector, None
        if connector is not None:
            # _call catches an exception of the factory, so that it does not prevent other connections from ending.
            self._call(connector.connectionLost if wasUp else connector.connectionFailed, reason)
