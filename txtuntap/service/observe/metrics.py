"""
Counters of services, for Prometheus.

    factory = MetricsFactory(registry, reactor)
    reactor.listenTCP(9100, factory, interface="127.0.0.1")
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

#: Seconds that a connection lasts at most: to ask, to be answered, and to read the answer.
TIMEOUT = 30

#: The most octets of a request: its first line and its header fields.
MAX_REQUEST = 8192

#: The most connections at once. One more has one of them closed, at random.
MAX_CLIENTS = 64

#: The path that is served.
_PATH = b"/metrics"

#: Prometheus' text format, whatever else a client would take.
_FORMAT = b"text/plain; version=0.0.4; charset=utf-8"

_END = re.compile(rb"\r?\n\r?\n")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (?:http://[^/? ]*)?([^? ]+)(?:\?[^ ]*)? HTTP/1\.[0-9]")


class MetricsFactory(Factory):
    """
    An HTTP server for one page, C{/metrics}: what is in a registry of C{prometheus_client}. It serves C{GET} and
    C{HEAD}, one request a connection, and reads no more of a request than its head, which is bounded. The
    rest is dropped as it comes.

    @ivar clients: those that are connected.
    """

    noisy = False

    def __init__(self, registry: CollectorRegistry, reactor: Any) -> None:
        """
        @param registry: what is served.
        @param reactor: has the page made in a thread of its pool, and tells when a connection has lasted too long.
        """
        self.reactor = reactor
        self._now = steadySeconds(reactor)
        # Were it always the oldest or the newest that is evicted, others could see to it that it is the one that asks.
        self.clients: Table[MetricsProtocol, None] = Table(
            "metrics clients", MAX_CLIENTS, Policy.RANDOM, _evicted, self._anotherThan
        )
        self._registry = registry
        self._failures = FailureLog(registry, Counters())
        self._asking: set[MetricsProtocol] = set()
        self._isMaking = False

    def buildProtocol(self, addr: Any) -> MetricsProtocol:
        """
        A client has connected.
        """
        return MetricsProtocol(self)

    def tables(self) -> list[TableState]:
        """
        How full the table of clients is: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.clients.state]

    def _anotherThan(self, new: MetricsProtocol) -> MetricsProtocol:
        return random.choice([client for client in self.clients if client is not new])

    def stopFactory(self) -> None:
        """
        The port is closed: end all connections.
        """
        for client in tuple(self.clients):
            client.transport.abortConnection()

    def asked(self, client: MetricsProtocol) -> None:
        """
        A client asks for the page.
        """
        self._asking.add(client)
        if not self._isMaking:
            self._isMaking = True
            Deferred.fromCoroutine(self._answer())

    def gone(self, client: MetricsProtocol) -> None:
        """
        A client has gone.
        """
        self.clients.pop(client, None)
        self._asking.discard(client)

    async def _answer(self) -> None:
        """
        Make pages, one at a time. Clients that ask meanwhile all get the next one: however many they are, one thread
        is busy.
        """
        from prometheus_client import generate_latest

        while self._asking:
            asking, self._asking = self._asking, set()
            try:
                page = await deferToThreadPool(
                    self.reactor, self.reactor.getThreadPool(), generate_latest, self._registry
                )
            except Exception:
                self._failures.failed(self._now(), "collect")
                page = None
            for client in asking & self.clients.keys():
                client.pageMade(page)
        self._isMaking = False


@implementer(IHalfCloseableProtocol)
class MetricsProtocol(Protocol):
    """
    One connection, and one request.
    """

    transport: Any

    def __init__(self, factory: MetricsFactory) -> None:
        self._factory = factory
        self._head = b""
        # Whether the head of a request has come; whether it has been answered; whether the client sends no more.
        self._isAsked = self._isAnswered = self._isEnded = False
        self._takesBody = True
        self._timer = Timer(factory.reactor, self._late)

    def connectionMade(self) -> None:
        """
        Begin to wait for a request.
        """
        self._factory.clients.put(self, None)
        # Nothing that comes extends that: a request has no longer if it comes octet by octet.
        self._timer.arm(TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """
        Some octets of a request have come, or of what follows it, which is dropped.
        """
        if self._isAsked:
            return
        head = self._head = (self._head + data).lstrip(b"\r\n")
        end = _END.search(head, 0, MAX_REQUEST)
        if end is None and len(head) < MAX_REQUEST:
            return
        self._isAsked = True
        self._head = b""
        if end is None:
            self._answer(b"431 Request Header Fields Too Large")
        else:
            self._requested(head[: end.start()].splitlines()[0])

    def readConnectionLost(self) -> None:
        """
        The client sends no more. It may still wait for its answer.
        """
        self._isEnded = True
        if self._isAnswered or not self._isAsked:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        The answer has been sent.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection has ended.
        """
        self._timer.stop()
        self._factory.gone(self)

    def _late(self) -> None:
        """
        The connection has lasted too long.
        """
        self.transport.abortConnection()

    def pageMade(self, page: bytes | None) -> None:
        """
        Answer with the page, or, where it could not be made (L{None}), that there is none.
        """
        if page is None:
            self._answer(b"500 Internal Server Error")
        else:
            self._answer(b"200 OK", page, _FORMAT)

    def _requested(self, line: bytes) -> None:
        request = _REQUEST.fullmatch(line)
        if request is None:
            self._answer(b"400 Bad Request")
            return
        method, path = request.groups()
        self._takesBody = method != b"HEAD"
        if method not in (b"GET", b"HEAD"):
            self._answer(b"405 Method Not Allowed", more=b"Allow: GET, HEAD\r\n")
        elif path != _PATH:
            self._answer(b"404 Not Found")
        else:
            self._factory.asked(self)

    def _answer(
        self, status: bytes, body: bytes | None = None, form: bytes = b"text/plain; charset=utf-8", more: bytes = b""
    ) -> None:
        if body is None:
            body = status + b"\n"
        date = formatdate(self._factory.reactor.seconds(), usegmt=True).encode()
        head = b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n%b\r\n"
        self.transport.write(head % (status, date, form, len(body), more) + (body if self._takesBody else b""))
        self._isAnswered = True
        if self._isEnded or INegotiated.providedBy(self.transport):
            # TLS is not closed by halves.
            self.transport.loseConnection()
        else:
            # Closed with octets of the client unread, the connection would be reset, and the answer lost with it.
            self.transport.loseWriteConnection()


def _evicted(client: MetricsProtocol, _: None) -> None:
    client.transport.abortConnection()


class CountingService(typing.Protocol):
    """
    A service on one interface, or on what stands among interfaces.
    """

    def interface(self) -> str:
        """
        The name of the interface, now.
        """

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        The counters of the service, by part and by name.
        """


class MetricsService(Service):
    """
    A web server, whose C{/metrics} are the counters of interfaces, for Prometheus: see
    L{txtuntap.middleware.prometheus} and L{MetricsFactory}.
    """

    def __init__(self, endpoint: str, services: Sequence[CountingService]) -> None:
        """
        @param endpoint: where it listens: a server endpoint's description.
        @param services: whose counters are served.
        """
        # These import a reactor, or are an extra's.
        from prometheus_client import CollectorRegistry
        from twisted.application import strports
        from twisted.internet import reactor

        from txtuntap.middleware.prometheus import InterfaceCollector

        collector = InterfaceCollector()
        for each in services:
            collector.add(each.interface, each.counters)
        registry = CollectorRegistry()
        registry.register(collector)
        self._server: Any = strports.service(endpoint, MetricsFactory(registry, reactor))

    def privilegedStartService(self) -> None:
        """
        Listen, while there is the privilege to.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._server.privilegedStartService()
        except (CannotListenError, OSError) as e:
            showPlainly(e)
            raise

    def startService(self) -> None:
        """
        Listen, if that has not been begun yet.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._server.startService()

    def stopService(self) -> Any:
        """
        Close the port of the server.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return self._server.stopService()
