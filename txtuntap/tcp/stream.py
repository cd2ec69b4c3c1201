"""
Writing to a connection, below TLS.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from txtuntap.mistakes import checkOctets
from txtuntap.tcp.connection import Connection

if TYPE_CHECKING:
    from txtuntap.tcp.interfaces import ITCPLayer


class Stream:
    """
    The part of a transport that writes octets directly to the connection. After C{startTLS}, Twisted's TLS writes its
    encrypted records here, and the methods of the transport itself go through TLS.

    @ivar connected: whether the protocol may write.
    @ivar disconnected: whether C{connectionLost} of the protocol was called.
    @ivar disconnecting: whether the connection is closed as soon as TCP has taken all data.
    @ivar producer: the registered producer. C{None}: there is none.
    @ivar streamingProducer: whether the producer is a push producer.
    @ivar producerPaused: whether the producer is resumed as soon as TCP has taken all data. This is so for a paused
        push producer, and for a pull producer that has written.
    """

    __slots__ = ("__dict__",)

    #: A push producer is paused when more octets than this number wait for TCP to take them.
    bufferSize = 2**16

    connected = False
    disconnected = False
    disconnecting = False
    producer: Any = None
    streamingProducer = False
    producerPaused = False
    #: Whether the turn that runs sends all data that is written now, so that no other turn has to be scheduled.
    _isWriting = False
    _isShuttingDown = False
    _isShutDown = False

    connection: Connection | None
    layer: ITCPLayer

    def write(self, data: bytes) -> None:
        """
        Send data to the peer. The data is sent in the turn that runs, or in the next iteration of the reactor, as far
        as the windows allow.

        @raise TypeError: C{data} is not bytes.
        """
        if type(data) is not bytes:
            data = _octets(data)
        if self.connected and not self._isShutDown and data:
            self.connection.write(data)  # type: ignore[union-attr]
            if self.producer is not None:
                self._maybePause()
            if not self._isWriting:
                self.requestTurn()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send several pieces of data, as one C{write} of the joined pieces would.
        """
        Stream.write(self, b"".join(map(_octets, iovec)))

    def loseConnection(self) -> None:
        """
        Close the connection as soon as TCP has taken all data and no producer is registered. Stop reading at once.
        """
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.stopReading()
            self.scheduleTurn()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Register a producer of the data to send. It is paused while too much data waits.

        @raise RuntimeError: a producer is registered already.
        """
        if self.producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, because producer {self.producer} was never unregistered."
            )
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        self.producerPaused = not streaming and self._hasUnsent
        if self.connection is not None:
            self.connection.sender.take()
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        Unregister the producer of data. If C{loseConnection} was called, the connection can be closed now.
        """
        self.producer = None
        if self.connected and self.disconnecting:
            self.scheduleTurn()

    @property
    def waiting(self) -> int:
        """
        The number of octets written that TCP has not taken yet. TCP takes data in each turn.
        """
        return 0 if self.connection is None else self.connection.sender.buffer.end - self.connection.sender.taken

    @property
    def _hasUnsent(self) -> bool:
        """
        Whether data was written that has not been sent yet.
        """
        return self.connection is not None and self.connection.sender.buffer.end > self.connection.sender.next

    def _maybePause(self) -> None:
        if not self.streamingProducer:
            self.producerPaused = True
        elif not self.producerPaused and self.waiting > self.bufferSize:
            self.producerPaused = True
            self.producer.pauseProducing()

    def stopReading(self) -> None:
        """
        Stop delivering data to the protocol, until C{startReading} is called.
        """
        raise NotImplementedError

    def requestTurn(self) -> None:
        """
        Repeat the turn that runs. If none runs, schedule one for the next iteration of the reactor.
        """
        raise NotImplementedError

    def scheduleTurn(self) -> None:
        """
        Schedule a turn for the next iteration of the reactor.
        """
        raise NotImplementedError


def _octets(data: bytes) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        checkOctets(data, "what is written")
    return bytes(data)
