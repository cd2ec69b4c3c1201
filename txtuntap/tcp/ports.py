"""
Listening TCP ports, and the transports of the connections that they accept.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, ILoggingContext
from twisted.python import log, reflect
from zope.interface import implementer

from txtuntap.layer.life import FailureLog
from txtuntap.tcp.transport import TCPTransport, endpointAddress

if TYPE_CHECKING:
    from txtuntap.tcp.handshake import Parameters
    from txtuntap.tcp.interfaces import ITCPLayer

#: The default bound of half-open connections on one port, which is Twisted's default.
BACKLOG = 50


def logPrefix(value: Any) -> str:
    """
    Return the name of a protocol or a factory in the log.
    """
    if ILoggingContext.providedBy(value):
        return str(value.logPrefix())
    return str(value.__class__.__name__)


class TCPServer(TCPTransport):
    """
    The transport of a connection that a listening port has accepted.

    @ivar server: the listening port.
    """

    __slots__ = ("_kind", "_scope", "server", "sessionno")

    _tlsClientDefault = False

    def __init__(self, layer: ITCPLayer, server: TCPPort, sessionno: int) -> None:
        super().__init__(layer, server.failures)
        self.server = server
        self.sessionno = sessionno
        self._scope = server.scope
        #: The class of the protocol, for C{repr}. C{None} before there is one.
        self._kind: type[Any] | None = None

    def accepted(self, protocol: Any) -> None:
        """
        Connect a new protocol to this transport. The handshake is complete.
        """
        self._kind = protocol.__class__
        self._connectProtocol(protocol, f"{logPrefix(protocol)},{self.sessionno},{self.hostname}")

    def __repr__(self) -> str:
        if self._kind is None:
            return "<TCPServer>"
        return f"<{self._kind.__name__} #{self.sessionno} on {self.server.port}>"

    @property
    def hostname(self) -> str:
        """
        The address of the peer, as text.
        """
        return self.getPeer().host


@implementer(IListeningPort, ILoggingContext)
class TCPPort:
    """
    A listening TCP port.

    @ivar factory: the factory that builds a protocol for each connection.
    @ivar port: the port number.
    @ivar interface: the address to listen on, as the application gave it. Empty: all addresses.
    @ivar scope: the scope of C{interface}, with its C{%}. Empty: none.
    @ivar boundAddress: the packed address of C{interface}. All zeros: all addresses of one IP version. Empty: all
        addresses of both.
    @ivar backlog: the most half-open connections at once.
    @ivar connected: whether the port listens.
    @ivar parameters: the parameters of the port's connections.
    @ivar maxConnections: the most established connections at once.
    @ivar failures: the log of exceptions that the factory and its protocols raise.
    """

    _type = "TCP"

    def __init__(
        self,
        layer: ITCPLayer,
        port: int,
        factory: Any,
        backlog: int,
        interface: str,
        boundAddress: bytes,
        parameters: Parameters,
        maxConnections: int,
    ) -> None:
        self.layer = layer
        self.port = port
        self.factory = factory
        self.backlog = backlog
        self.interface = interface
        self.scope = "".join(interface.partition("%")[1:])
        self.boundAddress = boundAddress
        self.parameters = parameters
        self.maxConnections = maxConnections
        self.failures = FailureLog(factory, layer.counters)
        self.connected = False
        self.disconnecting = False
        self._sessions = 0
        #: The number of half-open connections now.
        self.halfOpen = 0
        #: The number of established connections now.
        self.connections = 0
        #: The time at which the last SYN cookie was sent, in seconds.
        self.cookieAt = float("-inf")

    def __repr__(self) -> str:
        where = self.port if self.connected else "(not listening)"
        return f"<{reflect.qual(self.__class__)} of {self.factory.__class__} on {where}>"

    def startListening(self) -> None:
        """
        Begin to accept connections.

        @raise CannotListenError: the port number is in use, no number is free, or this port is being stopped.
        """
        if self.disconnecting:
            error = OSError(errno.EBUSY, "the port is being stopped: wait for the Deferred that stopListening returned")
            raise CannotListenError(self.interface, self.port, error)
        self.layer.bindPort(self)
        log.msg(f"{logPrefix(self.factory)} starting on {self.port}")
        self.factory.doStart()
        self.connected = True

    def stopListening(self) -> Deferred[None]:
        """
        Stop accepting connections on this port. Established connections continue.

        @return: a Deferred that fires in the next iteration of the reactor, once the factory has stopped. If this port
            does not listen, or is being stopped already, the Deferred has fired.
        """
        if not self.connected or self.disconnecting:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self.layer.callLater(0, self._stopped, done)
        self.disconnecting = True
        self.layer.unbindPort(self)
        return done

    loseConnection = stopListening

    def _stopped(self, done: Deferred[None]) -> None:
        log.msg(f"({self._type} Port {self.port} Closed)")
        self.connected = self.disconnecting = False
        try:
            self.factory.doStop()
        except BaseException:
            done.errback()
        else:
            done.callback(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Return the address and port that this port listens on. The address is C{0.0.0.0} if the port listens on all
        addresses of both IP versions.
        """
        return endpointAddress(self.boundAddress or bytes(4), self.port, self.scope)

    def logPrefix(self) -> str:
        """
        Return the name of this port in the log.
        """
        return str(reflect.qual(self.factory.__class__))

    def accept(self, transport: TCPServer) -> bool:
        """
        Build the protocol of a new connection.

        @return: whether the factory has built one. Otherwise the caller resets the connection.
        """
        try:
            protocol = self.factory.buildProtocol(transport.getPeer())
        except BaseException:
            self.failures.failed(self.layer.now(), "buildProtocol", self.factory)
            return False
        if protocol is None:
            return False
        transport.accepted(protocol)
        return True

    def nextSession(self) -> int:
        """
        Return the number of the next connection on this port, and count it.
        """
        number = self._sessions
        self._sessions += 1
        return number
