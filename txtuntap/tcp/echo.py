"""
Two simple test services over TCP: echo (RFC 862) and discard (RFC 863).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """
    The echo service, which sends all received data back (RFC 862). If a peer does not read, nothing more is read from
    it, so that it cannot fill memory. A peer that closes its side still gets all data back.
    """

    transport: Any

    def connectionMade(self) -> None:
        """
        Make the transport its own producer, so that it stops reading while too much data waits to be sent.
        """
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Send received data back.
        """
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """
        Send the remaining data, and close the connection.
        """
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Do nothing, because only this protocol closes the sending side. See C{IHalfCloseableProtocol}.
        """


class Discard(Protocol):
    """
    The discard service, which reads all data and ignores it (RFC 863).
    """
