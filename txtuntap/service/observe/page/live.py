"""
The service of a live page, for programs and for the services of C{twistd tuntap}::

    page = LivePage("tcp:8080:interface=127.0.0.1", reactor=reactor)
    page.add("tap0", port=port, host=host)
    page.startService()
    print(page.url)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from txtuntap.layer.bounded import TableState
from txtuntap.service.errors import showPlainly
from txtuntap.service.observe.page.captures import Captures
from txtuntap.service.observe.page.guard import Guard
from txtuntap.service.observe.page.history import Recorder
from txtuntap.service.observe.page.subject import Subject
from txtuntap.tunnel.security import checkServerEndpoint, isPrivate, splitEndpoint

if TYPE_CHECKING:
    from txtuntap.service.observe.page.clients import PageSite
    from txtuntap.service.observe.page.server import Page


#: The kinds of server endpoints with TLS.
_TLS = ("ssl", "tls", "txsni", "le", "lets")

#: The addresses of a port that listens on all addresses of this machine.
_ANY = ("0.0.0.0", "::")


def checkEndpoint(endpoint: str, isRemote: bool) -> None:
    """
    Check that a page may be served at an endpoint.

    @param isRemote: whether the page may be reached from other machines, over TLS.

    @raise ValueError: the endpoint is no server endpoint; or other machines could reach it, and C{isRemote} is false,
        or the endpoint has no TLS.
    """
    checkServerEndpoint(endpoint, "tcp:8080:interface=127.0.0.1")
    kind = splitEndpoint(endpoint)[0]
    isTLS = kind in _TLS
    if isPrivate(f"tcp{endpoint.removeprefix(kind)}" if isTLS else endpoint, listening=True):
        return
    if not isTLS:
        raise ValueError(
            f"others could read the page at {endpoint!r}: give tcp:8080:interface=127.0.0.1, unix:/run/page.socket, or"
            " an ssl: endpoint with --page-remote"
        )
    if not isRemote:
        raise ValueError(f"other machines can reach {endpoint!r}: give --page-remote to permit that")


class LivePage(Service):
    """
    A service that serves a web page about interfaces. While nobody looks, it costs nothing.

    @ivar url: the address of the page, with its secret token. It is logged once when the page is served; C{None} before
        that. For a UNIX socket, the host is C{localhost}: give the socket to a proxy, or to C{curl --unix-socket}. For
        all addresses of this machine, the host is the first of C{hosts}, or C{localhost}.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: str = "tcp:8080:interface=127.0.0.1",
        reactor: Any = None,
        control: bool = False,
        hosts: Iterable[str] = (),
        isRemote: bool = False,
    ) -> None:
        """
        @param endpoint: the description of the server endpoint: a UNIX socket, or TCP on the loopback interface. An
            C{ssl:} endpoint may be anywhere, with C{isRemote}.
        @param reactor: the reactor; C{None}: the installed one.
        @param control: whether those who have the token may also capture packets and change faults.
        @param hosts: further names by which browsers reach the page, such as that of a proxy.
        @param isRemote: whether other machines may reach the page.

        @raise ValueError: the page may not be served at this endpoint.
        """
        if reactor is None:
            from twisted.internet import reactor
        checkEndpoint(endpoint, isRemote)
        # This module imports twisted.web, which a program without a page does not need.
        from txtuntap.service.observe.page.clients import PageSite
        from txtuntap.service.observe.page.server import Page

        kind, _, named = splitEndpoint(endpoint)
        own = [named["interface"]] if named.get("interface") else []
        self.url: str | None = None
        names = tuple(hosts)
        self._name = names[0] if names else "localhost"
        self._guard = Guard(names, control, own)
        self._captures = Captures()
        self._recorder = Recorder(reactor, [], self._captures)
        self._page: Page = Page(self._guard, self._recorder, self._captures)
        self._site: PageSite = PageSite(self._page, self._page.counters, reactor)
        self._recorder.tables = self.tables
        self._endpoint = serverFromString(reactor, endpoint)
        self._scheme = "https" if kind in _TLS else "http"
        self._listening: Deferred[Any] | None = None

    def add(self, name: str | Callable[[], str], **objects: Any) -> Subject:
        """
        Show an interface on the page.

        @param name: its name, or a callable that returns its present name.
        @param objects: the fields of a L{Subject}: C{port}, C{host}, and so on.
        """
        subject = Subject(name, **objects)
        self.addSubject(subject)
        return subject

    @property
    def subjects(self) -> Sequence[Subject]:
        """
        The interfaces that the page shows.
        """
        return self._recorder.subjects

    def addSubject(self, subject: Subject) -> None:
        """
        Show an interface that is described already.
        """
        self._recorder.subjects.append(subject)

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of the page: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [
            self._site.clients.state,
            *self._page.events.tables(),
            *self._page.downloads.tables(),
            *self._captures.tables(),
        ]

    def privilegedStartService(self) -> None:
        """
        Listen, before the process drops its privileges.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:
        """
        Listen, unless C{privilegedStartService} has done so.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if self._listening is None:
            self._listen()

    def stopService(self) -> Deferred[Any]:
        """
        Close the port and all connections, and end the captures.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        # No request is answered after this, which would begin the readings again.
        self._site.close()
        self._recorder.stop()
        self._captures.clear()
        listening, self._listening = self._listening, None
        if listening is None:
            return Deferred.fromCoroutine(_nothing())
        return listening.addCallback(lambda port: port.stopListening())

    def _listen(self) -> None:
        self._listening = self._endpoint.listen(self._site)
        failures: list[Any] = []
        self._listening.addCallbacks(self._listens, failures.append)
        if failures:
            # The endpoints of Twisted fail at once, before the process runs.
            self._listening = None
            error = failures[0].value
            if isinstance(error, CannotListenError | OSError):
                showPlainly(error)
            raise error

    def _listens(self, port: Any) -> Any:
        address = port.getHost()
        host = getattr(address, "host", "localhost")
        if host in _ANY:
            host = self._name
        shown = f"[{host}]" if ":" in host else host
        number = f":{address.port}" if hasattr(address, "port") else ""
        self.url = f"{self._scheme}://{shown}{number}/?token={self._guard.token}"
        self._log.info("The page is at {url}", url=self.url)
        return port


async def _nothing() -> None:
    return None
