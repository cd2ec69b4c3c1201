"""
The connections of the clients of a live page, with their bounds.
"""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from typing import Any

from twisted.logger import Logger, LogPublisher
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from txtuntap.layer.bounded import Policy, Table
from txtuntap.service.observe.page.answers import Watcher

#: The most connections to the page.
MAX_CLIENTS = 64

#: The most octets of the body of a request. Further octets are discarded.
MAX_BODY = 4096

#: The seconds after which an idle connection is closed.
TIMEOUT = 60


class PageRequest(Request):
    """
    A request to a page. Its body is bounded, before anything is known of its sender.
    """

    def gotLength(self, length: int | None) -> None:
        """
        Collect the body in memory.
        """
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """
        Collect a part of the body. One octet over the bound is kept, so that L{Changing} sees a body that is too long.
        """
        assert self.content is not None
        self.content.write(data[: max(0, MAX_BODY + 1 - self.content.tell())])


class PageChannel(HTTPChannel):
    """
    A connection to a page. The end of an idle connection is not logged, because anybody could fill the log.
    """

    _log = Logger(observer=LogPublisher())


class PageSite(Site):
    """
    The site of a page, which speaks HTTP/1.1. Requests are not logged, because anybody could fill the log.
    """

    noisy = False
    displayTracebacks = False
    protocol = PageChannel  # type: ignore[assignment]
    requestFactory = PageRequest

    def __init__(self, root: IResource, watchers: Collection[Watcher]) -> None:
        """
        @param root: the resource at the root of the site.
        @param watchers: the clients that receive events, whose connections stay.
        """
        super().__init__(root, timeout=TIMEOUT)  # type: ignore[no-untyped-call]
        self._watchers = watchers
        self.clients: Table[Any, Any] = Table(
            "page clients", MAX_CLIENTS, Policy.OLDEST, lambda _, transport: transport.abortConnection(), self._oldest
        )

    def _oldest(self, new: Any) -> Any:
        """
        Choose the connection to close for a new one. Watchers have given the token, so they stay. A client that opens
        connections without the token cannot keep others out.
        """
        watching = {watcher.transport for watcher in self._watchers}
        return next(channel for channel, transport in self.clients.items() if transport not in watching)

    def buildProtocol(self, addr: Any) -> Any:
        """
        Make the protocol of a connection. If there are too many, the oldest that does not watch is closed.
        """
        channel: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        made, lost = channel.makeConnection, channel.connectionLost

        def makeConnection(transport: Any) -> None:
            self.clients.put(channel, transport)
            made(transport)

        def connectionLost(reason: Any) -> None:
            self.clients.pop(channel, None)
            lost(reason)

        channel.makeConnection, channel.connectionLost = makeConnection, connectionLost
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """
        Return the protocols that a client over TLS may choose. The bounds of a page are those of HTTP/1.1.
        """
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """
        Open no log of requests, and do not format the time for one each second, as Twisted would.
        """

    def stopFactory(self) -> None:
        """
        Do nothing, because there is no log of requests.
        """

    def log(self, request: Any) -> None:
        """
        Log nothing about a request.
        """
