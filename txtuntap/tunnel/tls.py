"""
TLS for large writes and reads. Twisted's own transport hands over each record by itself.

Read RFC 8446 section 5 (records) first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from txtuntap.tunnel.atonce import BUFFER_SIZE, atOnce

#: The most octets of data in one record (RFC 8446 section 5.1); and the most octets that encryption adds to it (section
#: 5.2, and five octets of header; RFC 5246 section 6.2.3 allows more).
_RECORD = 1 << 14
_MOST_ADDED = 5 + 2048

#: The most octets that are encrypted before their records are read. More of them take more time, because they do not
#: stay in the processor's caches.
_PIECE = 4 * _RECORD

#: The octets after which pieces are joined and encrypted. A full superpacket has more, so it is encrypted by itself.
#: Longer blocks do not stay in the processor's caches.
_JOINED = 3 * _RECORD

#: A mode of OpenSSL in which a write returns after each record. pyOpenSSL sets it, but has no name for it.
_MODE_ENABLE_PARTIAL_WRITE = 1


def writeRecordsTogether(context: SSL.Context) -> None:
    """
    Have one call write several records, if pyOpenSSL can do that (from version 25.1 on).
    """
    clear = getattr(context, "clear_mode", None)
    if clear is not None:
        clear(_MODE_ENABLE_PARTIAL_WRITE)


class RecordsConnection(SSL.Connection):
    """
    A TLS connection in memory that receives several records at once.
    """

    # The exception that ended the last call of recv, behind records that it has returned.
    _end: SSL.Error | None = None

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """
        Receive the data of all records that have arrived, up to L{BUFFER_SIZE} octets and a record.

        @param bufsiz: the most octets of the first record.
        """
        end, self._end = self._end, None
        if end is not None and not isinstance(end, SSL.WantReadError):
            raise end
        receive = super().recv
        data = receive(bufsiz, flags)
        if flags is not None:
            return data
        pieces, octets = [data], len(data)
        try:
            while octets < BUFFER_SIZE:
                data = receive(_RECORD)
                pieces.append(data)
                octets += len(data)
        except SSL.Error as e:
            self._end = e
        return b"".join(pieces)


class RecordsTransport(TLSMemoryBIOProtocol):
    """
    A TLS transport that hands several records to the connection below at once.

    Twisted's default is a subclass that joins small writes. A tunnel joins its packets itself.
    """

    transport: Any

    def makeConnection(self, transport: Any) -> None:
        """
        Start TLS on a new connection.
        """
        super().makeConnection(atOnce(transport))  # type: ignore[no-untyped-call]

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Encrypt octets that are given in pieces, some of them at a time.
        """
        pieces: list[bytes] = []
        octets = 0
        for piece in iovec:
            pieces.append(piece)
            octets += len(piece)
            if octets >= _JOINED:
                self.write(b"".join(pieces))
                pieces, octets = [], 0
        if pieces:
            self.write(b"".join(pieces))

    def write(self, data: bytes) -> None:
        """
        Encrypt octets, and write the records.
        """
        connection = self.getHandle()  # type: ignore[no-untyped-call]
        view = memoryview(data)
        pieces = []
        at, failed = 0, self.disconnecting or connection is None
        while at < len(data) and not failed:
            begin, end = at, min(at + _PIECE, len(data))
            try:
                while at < end:
                    at += connection.send(view[at:end])
            except SSL.Error:
                failed = True
            # A read that is full may leave records behind, and a shorter one has emptied the memory.
            most = at - begin + ((at - begin) // _RECORD + 1) * _MOST_ADDED
            octets = most if at > begin else 0
            while octets == most:
                try:
                    pieces.append(connection.bio_read(most))
                except SSL.WantReadError:
                    break
                octets = len(pieces[-1])
        if pieces:
            self.transport.writeSequence(pieces)
        if at < len(data):
            # Twisted's method keeps octets that OpenSSL cannot send yet, and handles all errors.
            super().write(data[at:])  # type: ignore[no-untyped-call]


def factoryForTLS(creator: Any, isClient: bool, factory: IProtocolFactory, clock: IReactorTime) -> TLSMemoryBIOFactory:
    """
    Make a factory that adds TLS to the connections of another factory.

    @param creator: makes the TLS state of each connection.
    @param isClient: whether this end has connected.
    """
    made = TLSMemoryBIOFactory(creator, isClient, factory, clock)
    made.protocol = RecordsTransport
    return made
