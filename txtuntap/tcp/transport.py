"""
The transport of a protocol on a TCP connection, with the methods that Twisted expects of one.

L{txtuntap.tcp.turns} says when a transport calls its protocol.
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


def endAddress(address: bytes, port: int, scope: str = "") -> IPv4Address | IPv6Address:
    """
    One end of a connection, as Twisted has it.

    @param address: a packed IP address.
    @param scope: that of a link-local address, with its C{%}.
    """
    kind = IPv4Address if len(address) == 4 else IPv6Address
    return kind("TCP", addressText(address) + scope, port)


@implementer(ITCPTransport, ITLSTransport, IConsumer, IPushProducer, ILoggingContext)
class TCPTransport(Turns):
    """
    The transport of one connection, of a server or a client.

    @ivar protocol: the application's protocol; TLS, once that was started.
    @ivar connection: the connection itself; L{None} before there is one.
    @ivar path: the path to the peer.
    @ivar reading: whether data is delivered.
    @ivar sessionno: the number of this connection on its port.
    @ivar kept: octets received of this connection in the layer's L{BufferPool<txtuntap.tcp.bufferpool.BufferPool>};
        C{shares}: multiples of L{SHARE_UNIT<txtuntap.tcp.sender.SHARE_UNIT>} in that of what was taken.
    """

    __slots__ = ()

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """
        See C{ITLSTransport.startTLS}: speak TLS from now on, by Twisted's own. It needs the extra C{tls}.
        """
        from twisted.internet._newtls import _BypassTLS
        from twisted.protocols.tls import TLSMemoryBIOFactory

        # As twisted.internet._newtls.startTLS does, whose TLS would wait by the global reactor. Its writes would sleep
        # through what a wall clock is set back by.
        isClient = normal == self._tlsClientDefault
        factory = TLSMemoryBIOFactory(contextFactory, isClient, None, self.layer)  # type: ignore[arg-type]
        producer, streaming = self.producer, self.streamingProducer
        if producer is not None:
            self.unregisterProducer()
        secured = self.protocol = factory.protocol(factory, self.protocol, False)
        # Writes go through TLS from now on. A class that asked at each write whether there is TLS would be slower.
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
        See C{ITransport.loseConnection}.
        """
        if not self.TLS:
            Stream.loseConnection(self)
        elif self.connected and not self.disconnecting:
            self.protocol.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See C{IConsumer.registerProducer}.

        @raise TypeError: C{producer} lacks a method of its kind.
        @raise RuntimeError: there is one already.
        """
        checkProducer(producer, streaming)
        if self.TLS and self.connected:
            self.protocol.registerProducer(producer, streaming)
        else:
            Stream.registerProducer(self, producer, streaming)

    def unregisterProducer(self) -> None:
        """
        See C{IConsumer.unregisterProducer}.
        """
        if self.TLS and self.connected:
            self.protocol.unregisterProducer()
        else:
            Stream.unregisterProducer(self)

    def loseWriteConnection(self) -> None:
        """
        See C{ITCPTransport.loseWriteConnection}: send a FIN once all is written, and read on.
        """
        if self.connected and not self._isShuttingDown:
            self._isShuttingDown = True
            self.later()

    def abortConnection(self) -> None:
        """
        See C{ITCPTransport.abortConnection}: reset the connection, in the next turn of the reactor.
        """
        if self.disconnected or self._isAborting:
            return
        self._isAborting = self._isShutDown = True
        self.stopReading()
        self.layer.callLater(0, self._abort)

    def stopConsuming(self) -> None:
        """
        See C{IConsumer}: close the connection, since the producer ends.
        """
        self.unregisterProducer()
        self.loseConnection()

    def pauseProducing(self) -> None:
        """
        Deliver nothing more, so that the peer's window closes.
        """
        self.stopReading()

    def resumeProducing(self) -> None:
        """
        Deliver data to the protocol again.
        """
        if self.connected and not self.disconnecting:
            self.startReading()

    def stopProducing(self) -> None:
        """
        Close the connection, since its data has no consumer any more.
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
            self.soon()

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Our end of the connection.
        """
        path = self.path
        assert path is not None
        return endAddress(path.source, path.sourcePort, self._scope)

    def getPeer(self) -> IPv4Address | IPv6Address:
        """
        The peer's end of the connection.
        """
        path = self.path
        assert path is not None
        return endAddress(path.dest, path.destPort, self._scope)

    def getTcpNoDelay(self) -> bool:
        """
        Whether small segments are sent at once (Nagle's algorithm is off).
        """
        return self.connection is not None and self.connection.sender.noDelay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Send small segments at once, or not while others are under way.
        """
        if self.connection is not None:
            self.connection.sender.noDelay = bool(enabled)
            self.soon()

    def getTcpKeepAlive(self) -> bool:
        """
        Whether a peer that is silent for long is asked whether it is there.
        """
        return self.connection is not None and self.connection.keepAlive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Ask a peer that is silent for long whether it is there, or do not.
        """
        if self.connection is not None:
            self.connection.keepAlive = bool(enabled)
            self.soon()

    def setUserTimeout(self, seconds: float | None) -> None:
        """
        Give up a peer that acknowledges nothing of what it is sent for so many seconds (RFC 5482).

        @param seconds: L{None}: as many as Linux tries.

        @raise ValueError: C{seconds} is no number above 0.
        """
        if seconds is not None:
            checkSeconds(seconds, "a user timeout")
        if self.connection is not None:
            self.connection.userTimeout = seconds
            self.soon()

    def getHandle(self) -> Any:
        """
        Return this transport: there is no socket.
        """
        return self

    def logPrefix(self) -> str:
        """
        The name of this connection in the log.
        """
        return self.logstr
