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
from txtuntap.tcp.transport import TCPTransport, endAddress

if TYPE_CHECKING:
    from txtuntap.tcp.handshake import Parameters
    from txtuntap.tcp.interfaces import ITCPLayer

#: Connections that are half open at once on one port, by default: Twisted's.
BACKLOG = 50


def logPrefix(value: Any) -> str:
    """
    The name of a protocol or factory in the log.
    """
    if ILoggingContext.providedBy(value):
        return str(value.logPrefix())
    return str(value.__class__.__name__)


class TCPServer(TCPTransport):
    """
    The transport of a connection that a port has accepted.

    @ivar server: the port.
    """

    __slots__ = ("_kind", "_scope", "server", "sessionno")

    _tlsClientDefault = False

    def __init__(self, layer: ITCPLayer, server: TCPPort, sessionno: int) -> None:
        super().__init__(layer, server.failures)
        self.server = server
        self.sessionno = sessionno
        self._scope = server.scope
        #: The class of its protocol.
        self._kind: type[Any] | None = None

    def accepted(self, protocol: Any) -> None:
        """
        The connection is up, and its protocol is there.
        """
        self._kind = protocol.__class__
        self._made(protocol, f"{logPrefix(protocol)},{self.sessionno},{self.hostname}")

    def __repr__(self) -> str:
        if self._kind is None:
            return "<TCPServer>"
        return f"<{self._kind.__name__} #{self.sessionno} on {self.server.port}>"

    @property
    def hostname(self) -> str:
        """
        The address of the peer.
        """
        return self.getPeer().host


@implementer(IListeningPort, ILoggingContext)
class TCPPort:
    """
    A port that listens.

    @ivar factory: makes a protocol for each connection.
    @ivar port: the number; C{interface}: the address that was given, empty for all.
    @ivar scope: that of a link-local address, with its C{%}.
    @ivar boundAddress: that address, packed; zeros for all of its version; empty for all.
    @ivar backlog: the connections that may be half open at once.
    @ivar connected: whether it listens.
    @ivar parameters: the choices for its connections.
    @ivar maxConnections: the connections that may be up at once.
    @ivar failures: the log of what the factory and its protocols raise.
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
        #: Connections that are half open now, and those that are up.
        self.halfOpen = 0
        self.connections = 0
        #: When the last cookie was sent, in seconds.
        self.cookieAt = float("-inf")

    def __repr__(self) -> str:
        where = self.port if self.connected else "(not listening)"
        return f"<{reflect.qual(self.__class__)} of {self.factory.__class__} on {where}>"

    def startListening(self) -> None:
        """
        Begin to accept connections.

        @raise CannotListenError: the port is taken, or is being stopped.
        """
        if self.disconnecting:
            error = OSError(errno.EBUSY, "the port is being stopped: wait for what stopListening has returned")
            raise CannotListenError(self.interface, self.port, error)
        self.layer.bindPort(self)
        log.msg(f"{logPrefix(self.factory)} starting on {self.port}")
        self.factory.doStart()
        self.connected = True

    def stopListening(self) -> Deferred[None]:
        """
        Accept no more connections. The existing ones live on.

        @return: fires when it is done, in the next turn of the reactor.
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
        The address and port that it listens on: C{0.0.0.0} for all.
        """
        return endAddress(self.boundAddress or bytes(4), self.port, self.scope)

    def logPrefix(self) -> str:
        """
        The name of this port in the log.
        """
        return str(reflect.qual(self.factory.__class__))

    def accept(self, transport: TCPServer) -> bool:
        """
        Build the protocol of a connection that is up.

        @return: whether there is one; otherwise the connection is to be reset.
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
        The number of the next connection.
        """
        number = self._sessions
        self._sessions += 1
        return number
