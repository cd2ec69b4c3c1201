"""
The transport of a connection that writes to its socket at once.

Twisted's transports write in the next turn of the reactor, and register the socket for that turn. For a stream of
packets, that takes more time than the write itself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import INegotiated, IPullProducer, IPushProducer
from zope.interface import directlyProvides, implementer, providedBy

#: The most octets of one read or write of a connection; and the octets in its write buffer above which the transport
#: pauses its producer. Twisted's defaults are 64 KiB and 128 KiB, and 128 KiB hold only two superpackets. Larger reads
#: take more time, because they displace other data from the processor's caches.
BUFFER_SIZE = 256 * 1024
SEND_LIMIT = 1024 * 1024

#: The octets of the longest block of memory that is kept for the next one: see L{keepFreedMemory}.
_KEPT = 4 * 1024 * 1024

#: The most pieces of one write. More of them are small ones, which take less time if they are joined.
_MAX_PIECES = 64


@implementer(IPullProducer)
class AtOnceTransport:
    """
    A transport around that of a socket. It writes octets to the socket at once, as long as the socket takes them. The
    rest is left to the transport below, and the producer is paused until that has written everything.

    It is the producer of the transport below, which asks it for more data whenever everything has been written.
    """

    def __init__(self, transport: Any) -> None:
        """
        @param transport: the transport of a new connection, which nothing was written to.
        """
        self._transport = transport
        self._sendmsg: Callable[[Sequence[bytes | memoryview]], int] = transport.getHandle().sendmsg
        # The producer, which is paused while octets wait in the transport below.
        self._producer: IPushProducer | None = None
        self._isWaiting = False
        directlyProvides(self, providedBy(transport))
        self._transport.registerProducer(self, False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """
        Write octets to the socket, or queue them.
        """
        self.writeSequence([data])

    def writeSequence(self, pieces: Sequence[bytes | memoryview]) -> None:
        """
        Write octets that are given in pieces.
        """
        below = self._transport
        if len(pieces) > _MAX_PIECES:
            pieces = [b"".join(pieces)]
        sent = 0
        if not self._isWaiting and below.connected and not below.disconnecting:
            # After an error, the socket is full, or the transport below finds the same error and ends the connection.
            with suppress(OSError):
                sent = self._sendmsg(pieces)
            if sent == sum(map(len, pieces)):
                return
            self._isWaiting = True
        below.write(b"".join(pieces)[sent:])
        if self._isWaiting and self._producer is not None:
            self._producer.pauseProducing()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        Pause and resume a producer from now on.

        @param streaming: C{True}: other producers are not supported.
        """
        self._producer = producer

    def unregisterProducer(self) -> None:
        """
        Pause and resume no producer any more.
        """
        self._producer = None

    def resumeProducing(self) -> None:
        """
        Resume the producer, because everything has been written.
        """
        if self._isWaiting:
            self._isWaiting = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """
        Stop the producer, because the connection was lost.
        """
        if self._producer is not None:
            self._producer.stopProducing()

    def loseConnection(self) -> None:
        """
        Close the connection when everything has been written.
        """
        # The transport below does not close as long as it has a producer.
        self._transport.unregisterProducer()
        self._transport.loseConnection()


def keepFreedMemory() -> None:
    """
    Have the C library keep freed memory for the next block, instead of giving it back to the system.

    By default, the GNU C library gives each freed block of 128 KiB or more back to the system. It also gives back the
    free memory at the end of the heap when that exceeds 128 KiB. A tunnel frees as much with each read and write, and
    the system would have to make new pages each time. After a block of L{_KEPT} octets was freed, the library keeps
    blocks up to this length, and at most twice as much at the end of the heap (mallopt(3), C{M_MMAP_THRESHOLD}). This
    holds for processors with 64 bits. Other C libraries are not affected.
    """
    bytes(_KEPT)


def atOnce(transport: Any) -> Any:
    """
    Make the transport of a new connection write at once, if it is one of a socket without TLS.

    @return: the transport to use instead.
    """
    if not isinstance(transport, FileDescriptor) or INegotiated.providedBy(transport):
        return transport
    enlargeBuffers(transport)
    # Windows has no sendmsg.
    return AtOnceTransport(transport) if hasattr(socket.socket, "sendmsg") else transport


def enlargeBuffers(transport: FileDescriptor) -> None:
    """
    Set the sizes of a transport's buffers for the throughput of packets.
    """
    transport.bufferSize = BUFFER_SIZE
    transport.SEND_LIMIT = SEND_LIMIT
