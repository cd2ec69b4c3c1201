"""
The connections of the clients of a live page, with their bounds. RFC 9112 has the format of what they send.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol

from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request, Site

from txtuntap.layer.bounded import Policy, Table
from txtuntap.layer.counters import Counters
from txtuntap.layer.timer import Timer
from txtuntap.service.observe.page.answers import Sending

#: The most connections to the page.
MAX_CLIENTS = 64

#: The most octets of the body of a request. Further octets are discarded.
MAX_BODY = 4096

#: The seconds from the first octet of a request to its last one, and those after which an idle connection is closed.
TIMEOUT = 60

#: The seconds in which the client of a full connection has to read all that waits for it, and those in which a
#: connection has to close. After them, the connection is aborted.
STALLED = 60


class Stream(Protocol):
    """
    A long answer to one client.
    """

    def end(self) -> None:
        """
        End the answer, because the page is not served any longer.
        """


class PageRequest(Request):
    """
    A request to a page. Its body is bounded, before anything is known of its sender.
    """

    channel: PageChannel

    def gotLength(self, length: int | None) -> None:
        """
        Collect the body in memory.
        """
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """
        Collect a part of the body. One octet over the bound is kept, so that
        L{Changing<txtuntap.service.observe.page.server.Changing>} sees a body that is too long.
        """
        assert self.content is not None
        self.content.write(data[: max(0, MAX_BODY + 1 - self.content.tell())])

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        Receive the whole request. The page has no forms, so none is parsed: strangers send forms that Twisted fails at.
        """
        # Twisted takes the position here for the length of the body, and parses no form in an empty body.
        assert self.content is not None
        self.content.seek(0)
        super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """
        Answer the request once the client has read the answers to the requests before.
        """
        if self.path == b"*":
            # Twisted would answer this request without the page, whatever its Host.
            self.path = b"/*"
        self.channel.whenRoom(super().process)

    def render(self, resrc: Any) -> None:
        """
        Send the answer of a resource, as fast as the client reads. An answer to C{HEAD} has the same fields as one to
        C{GET}, and no body.
        """
        answer = resrc.render(self)
        if answer is not NOT_DONE_YET:
            Sending(self, answer).begin()


class PageChannel(HTTPChannel):
    """
    A connection to a page. Nothing that a client does is logged, because anybody could fill the log.

    @ivar stream: the long answer that is being sent; C{None}: there is none. Only clients with the token get one.
    """

    factory: PageSite
    transport: Any
    # A connection that does not close in time ends after STALLED.
    abortTimeout: int | None = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stream: Stream | None = None
        self._isFull = False
        self._hasBegun = False
        self._waiting: Callable[[], object] | None = None

    def connectionMade(self) -> None:
        """
        Add the connection to those of the site. If there are too many, another one is closed.
        """
        self._patience = Timer(self.factory.reactor, self.abandon)
        self.factory.clients.put(self, self.transport)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:
        """
        Remove the connection from those of the site.
        """
        self._patience.stop()
        self._waiting = None
        self.factory.clients.pop(self, None)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """
        Receive a part of a request. A request that Twisted fails at, such as one whose length has thousands of digits,
        ends the connection.
        """
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        except Exception:
            self._respondToBadRequestAndDisconnect()

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Refuse a request that has too long a line.
        """
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """
        Count a request that cannot be read, answer it with status 400, and close the connection.
        """
        self.factory.counters["requestErrors"] += 1
        super()._respondToBadRequestAndDisconnect()  # type: ignore[no-untyped-call]

    def resetTimeout(self) -> None:
        """
        Begin the time of a request at its first octet. Later octets do not extend it, so that a client which sends
        slowly, or without end, cannot keep its connection.
        """
        if not self._hasBegun:
            self._hasBegun = True
            super().resetTimeout()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        """
        Go on with the next request.
        """
        self._hasBegun = False
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def timeoutConnection(self) -> None:
        """
        Close the connection of a client that is idle, or sends too slowly.
        """
        self.loseConnection()

    def loseConnection(self) -> None:
        """
        Close the connection, at the latest L{STALLED} seconds from now: a client that does not read the rest loses it.
        """
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._patience.arm(STALLED)
        super().loseConnection()  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        """
        Send nothing more until the client has read.
        """
        self._isFull = True
        if not self._patience.armed:
            self._patience.arm(STALLED)
        super().pauseProducing()  # type: ignore[no-untyped-call]

    def resumeProducing(self) -> None:
        """
        Send more, because the client has read everything.
        """
        self._isFull = False
        self._patience.stop()
        super().resumeProducing()  # type: ignore[no-untyped-call]
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.whenRoom(waiting)

    def whenRoom(self, answer: Callable[[], object]) -> None:
        """
        Answer a request, but not while the client leaves the answers to its requests before unread. Without this, the
        answers to many requests in one segment would wait in memory together.
        """
        if self._isFull:
            self._waiting = answer
        else:
            answer()

    def abandon(self) -> None:
        """
        End the connection of a client that does not read.
        """
        self.factory.counters["clientsStalled"] += 1
        self.transport.abortConnection()

    def close(self) -> None:
        """
        End the connection, because the page is not served any longer. No further request is answered.
        """
        self.persistent = 0
        if self.stream is not None:
            self.stream.end()
        elif self._isFull or self.requests:
            self.transport.abortConnection()
        else:
            self.loseConnection()


class PageSite(Site):
    """
    The site of a page, which speaks HTTP/1.1. Requests are not logged, because anybody could fill the log.

    @ivar clients: the connections, with their transports.
    @ivar counters: the counters of the page.
    """

    noisy = False
    displayTracebacks = False
    protocol = PageChannel  # type: ignore[assignment]
    requestFactory = PageRequest

    def __init__(self, root: IResource, counters: Counters, reactor: Any) -> None:
        """
        @param root: the resource at the root of the site.
        @param counters: the counters of the page.
        @param reactor: the reactor, for the times of the connections.
        """
        super().__init__(root, timeout=TIMEOUT, reactor=reactor)  # type: ignore[no-untyped-call]
        self.counters = counters
        self.clients: Table[PageChannel, Any] = Table(
            "page clients", MAX_CLIENTS, Policy.OLDEST, self._evicted, self._oldest
        )

    def _oldest(self, new: PageChannel) -> PageChannel:
        """
        Choose the connection to close for a new one. Clients with a long answer have given the token, so they stay. A
        client that opens connections without the token cannot keep others out.
        """
        return next(channel for channel in self.clients if channel.stream is None)

    def _evicted(self, channel: PageChannel, transport: Any) -> None:
        self.counters["clientsEvicted"] += 1
        transport.abortConnection()

    def close(self) -> None:
        """
        End the connections of all clients.
        """
        for channel in tuple(self.clients):
            channel.close()

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
