"""
The services that every host used to have, over TCP: echo (RFC 862) and discard (RFC 863).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """
    Sends back all that comes (RFC 862). A peer that does not read what comes back is not read from either, so it fills
    no memory; one that closes its side gets the rest.
    """

    transport: Any

    def connectionMade(self) -> None:
        """
        Read only while what was read before can be sent.
        """
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Send it back.
        """
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """
        Send the rest, and close the connection.
        """
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        See C{IHalfCloseableProtocol}: only this protocol closes that side.
        """


class Discard(Protocol):
    """
    Takes all that comes, and does nothing (RFC 863).
    """
