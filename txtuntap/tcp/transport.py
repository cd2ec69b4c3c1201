"""
The transport of a TCP connection, with all methods that Twisted expects.

L{txtuntap.tcp.turns} explains when a transport calls its protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    ILoggingContext,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITLSTransport,
)
from zope.interface import directlyProvides, implementer

from txtuntap.mistakes import checkProducer, checkSeconds
from txtuntap.tcp.stream import Stream
from txtuntap.tcp.turns import Turns
from txtuntap.wire.address import addressText


def endpointAddress(address: bytes, port: int, scope: str = "") -> IPv4Address | IPv6Address:
    """
    Make a Twisted address object for one endpoint of a connection.

    @param address: a packed IP address.
    @param scope: the scope of a link-local address, with its C{%}. Empty: none.
    """
    kind = IPv4Address if len(address) == 4 else IPv6Address
    return kind("TCP", addressText(address) + scope, port)


@implementer(ITCPTransport, ITLSTransport, IConsumer, IPushProducer, ILoggingContext)
class TCPTransport(Turns):
    """
    The transport of one connection, on a server or on a client.

    @ivar protocol: the application's protocol, or the TLS protocol once TLS has been started.
    @ivar connection: the state machine of the connection. C{None} before it exists and after it has ended.
    @ivar path: the path to the peer.
    @ivar reading: whether received data is delivered to the protocol.
    @ivar sessionno: the number of this connection on its port.
    @ivar bufferedOctets: the octets of this connection that the layer's pool of receive buffers counts. See
        L{BufferPool<txtuntap.tcp.bufferpool.BufferPool>}.
    @ivar sendShares: the units of L{SHARE_UNIT<txtuntap.tcp.sender.SHARE_UNIT>} octets that the layer's pool of send
        buffers counts for this connection.
    """

    __slots__ = ()

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """
        Start TLS with Twisted's implementation, which needs the extra C{tls}. See C{ITLSTransport.startTLS}.
        """
        from twisted.internet._newtls import _BypassTLS
        from twisted.protocols.tls import TLSMemoryBIOFactory

        # This repeats twisted.internet._newtls.startTLS, whose TLS would schedule its writes on the global reactor. On
        # the global reactor, the writes would be late whenever the wall clock is set back.
        isClient = normal == self._tlsClientDefault
        factory = TLSMemoryBIOFactory(contextFactory, isClient, None, self.layer)  # type: ignore[arg-type]
        producer, streaming = self.producer, self.streamingProducer
        if producer is not None:
            self.unregisterProducer()
        secured = self.protocol = factory.protocol(factory, self.protocol, False)
        # Instance attributes replace the methods from now on, because a test for TLS in each write would be slower.
        self.__dict__.update(
            getHandle=secured.getHandle,
            getPeerCertificate=secured.getPeerCertificate,
            write=self._writeSecured,
            writeSequence=self._writeSequenceSecured,
        )
        directlyProvides(self, ISSLTransport)
        self.TLS = True
        secured.makeConnection(_BypassTLS(Stream, self))
        if producer is not None:
            self.registerProducer(producer, streaming)

    def _writeSecured(self, data: bytes) -> None:
        if self.connected:
            self.protocol.write(data)

    def _writeSequenceSecured(self, iovec: Iterable[bytes]) -> None:
        if self.connected:
            self.protocol.writeSequence(iovec)

    def loseConnection(self) -> None:
        """
        Close the connection after TCP has taken all data and no producer is registered. TCP then sends the data and a
        FIN. See C{ITransport.loseConnection}.
        """
        if not self.TLS:
            Stream.loseConnection(self)
        elif self.connected and not self.disconnecting:
            self.protocol.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Register a producer of the data to send. See C{IConsumer.registerProducer}.

        @raise TypeError: C{producer} lacks a method that a producer of its kind has.
        @raise RuntimeError: a producer is registered already.
        """
        checkProducer(producer, streaming)
        if self.TLS and self.connected:
            self.protocol.registerProducer(producer, streaming)
        else:
            Stream.registerProducer(self, producer, streaming)

    def unregisterProducer(self) -> None:
        """
        Unregister the producer of data. See C{IConsumer.unregisterProducer}.
        """
        if self.TLS and self.connected:
            self.protocol.unregisterProducer()
        else:
            Stream.unregisterProducer(self)

    def loseWriteConnection(self) -> None:
        """
        Send a FIN behind all data, and continue to read. See C{ITCPTransport.loseWriteConnection}.
        """
        if self.connected and not self._isShuttingDown:
            self._isShuttingDown = True
            self.scheduleTurn()

    def abortConnection(self) -> None:
        """
        Reset the connection in the next iteration of the reactor. See C{ITCPTransport.abortConnection}.
        """
        if self.disconnected or self._isAborting:
            return
        self._isAborting = self._isShutDown = True
        self.stopReading()
        self.layer.callLater(0, self._abort)

    def stopConsuming(self) -> None:
        """
        Close the connection, because its producer ends.
        """
        self.unregisterProducer()
        self.loseConnection()

    def pauseProducing(self) -> None:
        """
        Stop delivering data to the protocol, so that the window for the peer closes.
        """
        self.stopReading()

    def resumeProducing(self) -> None:
        """
        Deliver data to the protocol again, unless the connection is being closed.
        """
        if self.connected and not self.disconnecting:
            self.startReading()

    def stopProducing(self) -> None:
        """
        Close the connection, because the consumer of its data wants no more.
        """
        self.loseConnection()

    def startReading(self) -> None:
        """
        Deliver data to the protocol again.
        """
        if not self.reading:
            self.reading = True
            if self.connection is not None:
                self.connection.receiver.isPaused = False
            self.requestTurn()

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Return the local address and port.
        """
        path = self.path
        assert path is not None
        return endpointAddress(path.source, path.sourcePort, self._scope)

    def getPeer(self) -> IPv4Address | IPv6Address:
        """
        Return the address and port of the peer.
        """
        path = self.path
        assert path is not None
        return endpointAddress(path.dest, path.destPort, self._scope)

    def getTcpNoDelay(self) -> bool:
        """
        Return whether small segments are sent at once (Nagle's algorithm is off).
        """
        return self.connection is not None and self.connection.sender.noDelay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Send small segments at once, or hold them back while data is unacknowledged (Nagle's algorithm).
        """
        if self.connection is not None:
            self.connection.sender.noDelay = bool(enabled)
            self.requestTurn()

    def getTcpKeepAlive(self) -> bool:
        """
        Return whether keepalive probes are sent to a silent peer.
        """
        return self.connection is not None and self.connection.keepAlive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Send keepalive probes to a silent peer, or send none.
        """
        if self.connection is not None:
            self.connection.keepAlive = bool(enabled)
            self.requestTurn()

    def setUserTimeout(self, seconds: float | None) -> None:
        """
        Set how long sent data may stay unacknowledged before the connection is given up (the user timeout, RFC 5482).

        @param seconds: the time in seconds. C{None}: as many retransmissions as Linux sends.

        @raise ValueError: C{seconds} is not a number above 0.
        """
        if seconds is not None:
            checkSeconds(seconds, "a user timeout")
        if self.connection is not None:
            self.connection.userTimeout = seconds
            self.requestTurn()

    def getHandle(self) -> Any:
        """
        Return this transport, because there is no socket. With TLS, return its OpenSSL connection.
        """
        return self

    def logPrefix(self) -> str:
        """
        Return the name of this connection in the log.
        """
        return self.logstr
