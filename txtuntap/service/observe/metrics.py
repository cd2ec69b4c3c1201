"""
The counters of services, served over HTTP for Prometheus::

    factory = MetricsFactory(registry, reactor)
    reactor.listenTCP(9100, factory, interface="127.0.0.1")

Read RFC 9112 sections 2 to 5 (HTTP/1.1 messages) first.
"""

from __future__ import annotations

import random
import re
import typing
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol, INegotiated
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.life import FailureLog
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.service.errors import showPlainly

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

#: The seconds after which a connection is aborted, whatever its state.
TIMEOUT = 30

#: The most octets of a request's first line and header fields together.
MAX_REQUEST = 8192

#: The most connections at once. A further connection evicts a random one.
MAX_CLIENTS = 64

#: The only path that is served.
_PATH = b"/metrics"

#: The content type of Prometheus' text format, which is sent whatever the C{Accept} header field asks for.
_FORMAT = b"text/plain; version=0.0.4; charset=utf-8"

_END = re.compile(rb"\r?\n\r?\n")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (?:http://[^/? ]*)?([^? ]+)(?:\?[^ ]*)? HTTP/1\.[0-9]")


class MetricsFactory(Factory):
    """
    A factory for an HTTP server with one page, C{/metrics}: the contents of a registry of C{prometheus_client}. The
    server supports C{GET} and C{HEAD}, and one request for each connection. It parses only the head of a request, whose
    length is bounded, and discards everything behind it.

    @ivar clients: the open connections.
    """

    noisy = False

    def __init__(self, registry: CollectorRegistry, reactor: Any) -> None:
        """
        @param registry: the registry that is served.
        @param reactor: the reactor, whose thread pool makes the page and whose clock limits the duration of
            connections.
        """
        self.reactor = reactor
        self._now = steadySeconds(reactor)
        # The choice is random, because an attacker could otherwise make Prometheus' own connection the one to evict.
        self.clients: Table[MetricsProtocol, None] = Table(
            "metrics clients", MAX_CLIENTS, Policy.RANDOM, _evicted, self._randomOther
        )
        self._registry = registry
        self._failures = FailureLog(registry, Counters())
        self._waiting: set[MetricsProtocol] = set()
        self._isMaking = False

    def buildProtocol(self, addr: Any) -> MetricsProtocol:
        """
        Make the protocol of a new connection.
        """
        return MetricsProtocol(self)

    def tables(self) -> list[TableState]:
        """
        Return how full the table of connections is: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.clients.state]

    def _randomOther(self, new: MetricsProtocol) -> MetricsProtocol:
        return random.choice([client for client in self.clients if client is not new])

    def stopFactory(self) -> None:
        """
        Abort all connections, because the port is closed.
        """
        for client in tuple(self.clients):
            client.transport.abortConnection()

    def pageRequested(self, client: MetricsProtocol) -> None:
        """
        Send the page to a client once it has been made.
        """
        self._waiting.add(client)
        if not self._isMaking:
            self._isMaking = True
            Deferred.fromCoroutine(self._answer())

    def clientLost(self, client: MetricsProtocol) -> None:
        """
        Forget a client whose connection is lost.
        """
        self.clients.pop(client, None)
        self._waiting.discard(client)

    async def _answer(self) -> None:
        """
        Make pages, one at a time, as long as clients wait for one. All clients that ask while a page is made receive
        the next page, so at most one thread is busy.
        """
        from prometheus_client import generate_latest

        while self._waiting:
            waiting, self._waiting = self._waiting, set()
            try:
                page = await deferToThreadPool(
                    self.reactor, self.reactor.getThreadPool(), generate_latest, self._registry
                )
            except Exception:
                self._failures.failed(self._now(), "collect")
                page = None
            for client in waiting & self.clients.keys():
                client.pageMade(page)
        self._isMaking = False


@implementer(IHalfCloseableProtocol)
class MetricsProtocol(Protocol):
    """
    The server's end of one connection, which answers one request.
    """

    transport: Any

    def __init__(self, factory: MetricsFactory) -> None:
        self._factory = factory
        self._head = b""
        # Whether the head of a request has been received; whether it has been answered; whether the client has closed
        # its side.
        self._hasRequest = self._isAnswered = self._isEnded = False
        self._sendsBody = True
        self._timer = Timer(factory.reactor, self._timedOut)

    def connectionMade(self) -> None:
        """
        Start the timer of the connection.
        """
        self._factory.clients.put(self, None)
        # Received octets do not restart the timer, so a client that sends one octet at a time gains nothing.
        self._timer.arm(TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """
        Collect the head of the request and answer it. Octets behind it are discarded.
        """
        if self._hasRequest:
            return
        head = self._head = (self._head + data).lstrip(b"\r\n")
        end = _END.search(head, 0, MAX_REQUEST)
        if end is None and len(head) < MAX_REQUEST:
            return
        self._hasRequest = True
        self._head = b""
        if end is None:
            self._answer(b"431 Request Header Fields Too Large")
        else:
            self._requestReceived(head[: end.start()].splitlines()[0])

    def readConnectionLost(self) -> None:
        """
        The client has closed its side. Close the connection, unless a request is still to be answered.
        """
        self._isEnded = True
        if self._isAnswered or not self._hasRequest:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Do nothing: the answer has been sent, and the client closes the connection.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Stop the timer, and forget the client.
        """
        self._timer.stop()
        self._factory.clientLost(self)

    def _timedOut(self) -> None:
        """
        Abort the connection, because it has lasted too long.
        """
        self.transport.abortConnection()

    def pageMade(self, page: bytes | None) -> None:
        """
        Answer the request with the page.

        @param page: the page in Prometheus' text format; C{None}: the page could not be made, so the answer is an
            error.
        """
        if page is None:
            self._answer(b"500 Internal Server Error")
        else:
            self._answer(b"200 OK", page, _FORMAT)

    def _requestReceived(self, line: bytes) -> None:
        request = _REQUEST.fullmatch(line)
        if request is None:
            self._answer(b"400 Bad Request")
            return
        method, path = request.groups()
        self._sendsBody = method != b"HEAD"
        if method not in (b"GET", b"HEAD"):
            self._answer(b"405 Method Not Allowed", more=b"Allow: GET, HEAD\r\n")
        elif path != _PATH:
            self._answer(b"404 Not Found")
        else:
            self._factory.pageRequested(self)

    def _answer(
        self, status: bytes, body: bytes | None = None, form: bytes = b"text/plain; charset=utf-8", more: bytes = b""
    ) -> None:
        if body is None:
            body = status + b"\n"
        date = formatdate(self._factory.reactor.seconds(), usegmt=True).encode()
        head = b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n%b\r\n"
        self.transport.write(head % (status, date, form, len(body), more) + (body if self._sendsBody else b""))
        self._isAnswered = True
        if self._isEnded or INegotiated.providedBy(self.transport):
            # A TLS connection cannot be half closed.
            self.transport.loseConnection()
        else:
            # If the connection were closed with unread octets of the client, it would be reset, and the answer could be
            # lost.
            self.transport.loseWriteConnection()


def _evicted(client: MetricsProtocol, _: None) -> None:
    client.transport.abortConnection()


class CountingService(typing.Protocol):
    """
    A service with counters, on one interface or one tunnel. A service with peers has a method C{peerCounters}, too: see
    L{txtuntap.service.observe.wireguard.peerCounters}.
    """

    def interface(self) -> str:
        """
        Return the current name of the interface.
        """

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters by part and by name.
        """


class MetricsService(Service):
    """
    A service that serves the counters of interfaces as C{/metrics} over HTTP, for Prometheus: see
    L{txtuntap.middleware.prometheus} and L{MetricsFactory}.
    """

    def __init__(self, endpoint: str, services: Sequence[CountingService]) -> None:
        """
        @param endpoint: the description of the server endpoint at which to listen.
        @param services: the services whose counters are served.
        """
        # These imports are not at the top, because the modules install a reactor, or belong to an extra.
        from prometheus_client import CollectorRegistry
        from twisted.application import strports
        from twisted.internet import reactor

        from txtuntap.middleware.prometheus import InterfaceCollector

        collector = InterfaceCollector()
        for each in services:
            collector.add(each.interface, each.counters)
            peers = getattr(each, "peerCounters", None)
            if peers is not None:
                collector.addPeers(each.interface, peers)
        registry = CollectorRegistry()
        registry.register(collector)
        self._server: Any = strports.service(endpoint, MetricsFactory(registry, reactor))

    def privilegedStartService(self) -> None:
        """
        Listen, before the process drops its privileges.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._server.privilegedStartService()
        except (CannotListenError, OSError) as e:
            showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Listen, unless C{privilegedStartService} has done so.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._server.startService()

    def stopService(self) -> Any:
        """
        Close the port and all connections of the server.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return self._server.stopService()
