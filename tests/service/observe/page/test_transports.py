"""
Tests for a live page that is asked over sockets: over TLS, and through a proxy below a prefix.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.certificates import certificate
from txtuntap import Host
from txtuntap.middleware import Capture, Impairment
from txtuntap.network import Link
from txtuntap.service import LivePage


@asynccontextmanager
async def serving(endpoint: str, **arguments: Any) -> AsyncIterator[LivePage]:
    """
    Serve a page about a host, whose faults can be changed.
    """
    from twisted.internet import reactor as running

    reactor: Any = running
    near = Host(["10.0.0.1/24"], reactor)
    top = Capture(None, Impairment(near.ethernet))
    link = Link(top, Host(["10.0.0.2/24"], reactor).ethernet, reactor)
    link.start()
    page = LivePage(endpoint, reactor, control=True, **arguments)
    page.add("tap0", proto=top, host=near)
    page.startService()
    try:
        yield page
    finally:
        link.stop()
        await page.stopService()


class Client:
    """
    A client that keeps the cookie of the page.

    @ivar cookie: the field of the latest answer that has set one.
    """

    def __init__(self, connect: Any, prefix: str, **fields: str) -> None:
        """
        @param connect: makes a connection.
        @param prefix: what precedes each path.
        @param fields: further header fields of each request.
        """
        self._connect = connect
        self._prefix = prefix
        self._fields = fields
        self.cookie = ""

    def ask(self, method: str, path: str, body: str | None = None, lines: int = 0, **fields: str) -> tuple[int, bytes]:
        """
        Send a request, and wait for its answer, in a thread.

        @param lines: the number of lines to read; 0: all.

        @return: the status and the body.
        """
        connection = self._connect()
        try:
            own = {**self._fields, **fields, "Cookie": self.cookie.partition(";")[0]}
            connection.request(method, self._prefix + path, body, own)
            answer = connection.getresponse()
            self.cookie = answer.headers.get("Set-Cookie", self.cookie)
            if answer.status == 303:
                assert answer.headers["Location"] == "./"
            return answer.status, b"".join(answer.readline() for _ in range(lines)) if lines else answer.read()
        finally:
            connection.close()

    def use(self, token: str, origin: str) -> dict[str, Any]:
        """
        Use everything that the page offers, as a browser does.

        @return: what was received, by its name.
        """
        kind: dict[str, Any] = {"Content-Type": "application/json"}
        start = '{"do": "start", "interface": "tap0"}'
        found: dict[str, Any] = {"stranger": self.ask("GET", "/latest.json")[0]}
        found["login"] = self.ask("GET", f"/?{token}")[0]
        for path in "/", "/page.js", "/page.css", "/latest.json", "/history.json", "/meanings.json":
            found[path] = self.ask("GET", path)[0]
        found["events"] = self.ask("GET", "/events", lines=7)[1].split(b"\n")[::4]
        found["foreign"] = self.ask("POST", "/captures", start, Origin="https://evil.example", **kind)[0]
        found["capture"] = json.loads(self.ask("POST", "/captures", start, Origin=origin, **kind)[1])
        asked = '{"interface": "tap0", "up": "loss 5%", "down": ""}'
        found["faults"] = json.loads(self.ask("POST", "/impairment", asked, Origin=origin, **kind)[1])
        status, octets = self.ask("GET", "/captures/1.pcapng")
        found["download"] = status, octets[:4]
        return found


#: The answers to a client that uses everything.
_ALL = {
    "stranger": 401,
    "login": 303,
    **dict.fromkeys(["/", "/page.js", "/page.css", "/latest.json", "/history.json", "/meanings.json"], 200),
    "events": [b"id: 1", b"id: 2"],
    "foreign": 403,
    "capture": {"number": 1},
    "faults": {"up": "loss 5%", "down": ""},
    "download": (200, b"\x0a\x0d\x0d\x0a"),
}


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_thePageWorksOverTLS(tmp_path: Path) -> None:
    """
    The address is of HTTPS, and the cookie is for TLS alone.
    """
    made = certificate(tmp_path, "localhost")
    file = quoteStringArgument(str(made.file))
    async with serving(f"ssl:0:privateKey={file}:certKey={file}:interface=127.0.0.1") as page:
        assert page.url is not None
        url = urlsplit(page.url)
        assert (url.scheme, url.hostname) == ("https", "127.0.0.1")
        trusting = ssl.create_default_context(cafile=made.public)
        client = Client(
            lambda: http.client.HTTPSConnection("localhost", url.port, context=trusting, timeout=30),
            "",
            Host=f"localhost:{url.port}",
        )
        assert await deferToThread(client.use, url.query, f"https://localhost:{url.port}") == _ALL
        assert client.cookie.endswith("; HttpOnly; SameSite=Strict; Secure")


@pytest.mark.parametrize("isTLS", [True, False])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_thePageWorksBelowThePrefixOfAProxy(isTLS: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The proxy asks by its own name for the page. A proxy that speaks TLS says so.
    """
    from twisted.internet import reactor as running
    from twisted.web.proxy import ProxyClient, ProxyClientFactory, ReverseProxyResource

    reactor: Any = running

    class Relay(ProxyClient):
        """
        The connection of the proxy to the page, which ends with that of the client. Twisted's own ones stay.
        """

        transport: Any
        father: Any

        def connectionMade(self) -> None:
            """
            Leave the page when the client leaves.
            """

            def leave(_: object) -> None:
                self._finished = True
                self.transport.abortConnection()

            self.father.notifyFinish().addErrback(leave)
            super().connectionMade()  # type: ignore[no-untyped-call]

    monkeypatch.setattr(ProxyClientFactory, "protocol", Relay)
    async with serving("tcp:0:interface=127.0.0.1", hosts=["www.example.com"]) as page:
        assert page.url is not None
        url = urlsplit(page.url)
        root = Resource()
        root.putChild(b"tuntap", ReverseProxyResource("127.0.0.1", url.port, b""))
        proxy = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        try:
            scheme = "https" if isTLS else "http"
            client = Client(
                lambda: http.client.HTTPConnection("127.0.0.1", proxy.getHost().port, timeout=30),
                "/tuntap",
                **{"Host": "www.example.com", "X-Forwarded-Proto": scheme},
            )
            assert await deferToThread(client.use, url.query, f"{scheme}://www.example.com") == _ALL
            assert client.cookie.endswith("; HttpOnly; SameSite=Strict; Secure" if isTLS else "; SameSite=Strict")
            assert await deferToThread(client.ask, "GET", "/none") == (404, b"There is no such page.\n")
        finally:
            await maybeDeferred(proxy.stopListening)
