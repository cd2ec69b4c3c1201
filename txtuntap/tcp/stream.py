"""
Writing to a connection: what TLS goes on, and what a transport without TLS is.
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
    The part of a transport that TLS goes on, when C{startTLS} was called: it writes to the connection itself.

    @ivar connected: whether a protocol may write.
    @ivar disconnected: whether the protocol has lost the connection.
    @ivar disconnecting: whether the connection is to be closed, once all is written.
    @ivar producer: what is registered to write, if anything is.
    @ivar streamingProducer: whether that is a push producer.
    @ivar producerPaused: whether it is resumed once all is taken: too much waits, or a pull producer has written.
    """

    __slots__ = ("__dict__",)

    #: Octets that wait, beside those that TCP has, from which on a push producer is paused.
    bufferSize = 2**16

    connected = False
    disconnected = False
    disconnecting = False
    producer: Any = None
    streamingProducer = False
    producerPaused = False
    #: Whether all that is written now leaves without a request.
    _isWriting = False
    _isShuttingDown = False
    _isShutDown = False

    connection: Connection | None
    layer: ITCPLayer

    def write(self, data: bytes) -> None:
        """
        Send data to the peer. It leaves at the end of this turn of the reactor.

        @raise TypeError: C{data} is no bytes.
        """
        if type(data) is not bytes:
            data = _octets(data)
        if self.connected and not self._isShutDown and data:
            self.connection.write(data)  # type: ignore[union-attr]
            if self.producer is not None:
                self._maybePause()
            if not self._isWriting:
                self.soon()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send some data: as one C{write} of all of it would.
        """
        Stream.write(self, b"".join(map(_octets, iovec)))

    def loseConnection(self) -> None:
        """
        Close the connection once all is written, and the producer has unregistered itself. Nothing is read any more.
        """
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.stopReading()
            self.later()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Have a producer write, and pause it while too much waits.

        @raise RuntimeError: there is one already.
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
        Have no producer any more.
        """
        self.producer = None
        if self.connected and self.disconnecting:
            self.later()

    @property
    def waiting(self) -> int:
        """
        The octets that TCP had not taken yet at the last turn, and those written since.
        """
        return 0 if self.connection is None else self.connection.sender.buffer.end - self.connection.sender.taken

    @property
    def _hasUnsent(self) -> bool:
        """
        Whether anything was written that has not left yet.
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
        Deliver nothing more, for now.
        """
        raise NotImplementedError

    def soon(self) -> None:
        """
        Have this turn go on, or else have one at the next turn of the reactor.
        """
        raise NotImplementedError

    def later(self) -> None:
        """
        Have a turn at the next turn of the reactor.
        """
        raise NotImplementedError


def _octets(data: bytes) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        checkOctets(data, "what is written")
    return bytes(data)
