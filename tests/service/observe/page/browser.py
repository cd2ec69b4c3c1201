"""
A client of a live page in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from txtuntap import Host
from txtuntap.middleware import Capture, Impairment
from txtuntap.network import Link
from txtuntap.service.observe.page.captures import Captures
from txtuntap.service.observe.page.clients import PageSite
from txtuntap.service.observe.page.guard import Guard
from txtuntap.service.observe.page.history import Recorder
from txtuntap.service.observe.page.server import Page
from txtuntap.service.observe.page.subject import Subject


class Answer:
    """
    An answer of the page: its status, its header fields by their names in lower case, and its body.
    """

    def __init__(self, octets: bytes) -> None:
        head, _, self.body = octets.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.fields = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        if self.fields.get("transfer-encoding") == "chunked":
            self.body = _unchunked(self.body)

    def json(self) -> Any:
        """
        Parse the body as JSON.
        """
        return json.loads(self.body)


def _unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        found += body[:length]
        body = body[length + 2 :]
    return found


class Slow(StringTransport):
    """
    A transport that is full after each write. Like that of TLS, it pauses its producer only once until it resumes it.
    """

    isFull = False

    def write(self, data: bytes) -> None:
        """
        Write the octets, and pause the producer.
        """
        super().write(data)  # type: ignore[no-untyped-call]
        if self.producer is not None and not self.isFull:
            self.isFull = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Write the octets, and pause the producer.
        """
        self.write(b"".join(data))

    def read(self) -> None:
        """
        Resume the producer, as if the client had read everything.
        """
        self.isFull = False
        if self.producer is not None:
            self.producer.resumeProducing()


class Served:
    """
    A page about one host, whose peer is another host. Time is simulated.

    @ivar near: the host that the page shows, behind a capture and an impairment.
    @ivar far: its peer.
    """

    def __init__(self, allowsChanges: bool = True, **subject: Any) -> None:
        self.clock = Clock()
        self.near, self.far = Host(["10.0.0.1/24"], self.clock), Host(["10.0.0.2/24"], self.clock)
        top = Capture(None, Impairment(self.near.ethernet))
        self.link = Link(top, self.far.ethernet, self.clock)
        self.link.start()
        self.subject = Subject("tap0", proto=top, host=self.near, **subject)
        self.captures = Captures()
        self.recorder = Recorder(self.clock, [self.subject], self.captures)
        self.guard = Guard(["page.example"], allowsChanges)
        self.page = Page(self.guard, self.recorder, self.captures)
        self.site = PageSite(self.page, self.page.counters, self.clock)
        self.cookie = f"{self.guard.cookie.decode()}={self.guard.token}"

    def connect(self, transport: StringTransport | None = None) -> tuple[Any, StringTransport]:
        """
        Open a connection to the page.
        """
        protocol: Any = self.site.buildProtocol(None)  # type: ignore[no-untyped-call]
        transport = transport or StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def octets(self, method: str, path: str, body: bytes = b"", **fields: str | None) -> bytes:
        """
        Make the octets of a request. It has the cookie, and what a browser sends for a request of the page itself.

        @param fields: header fields to send in place of these; L{None}: to leave out.
        """
        own: dict[str, str | None] = {"host": "127.0.0.1:8080", "cookie": self.cookie}
        if method == "POST":
            own |= {"origin": "http://127.0.0.1:8080", "content_type": "application/json"}
            own |= {"sec_fetch_site": "same-origin", "content_length": str(len(body))}
        lines = [f"{n.replace('_', '-')}: {v}" for n, v in {**own, **fields}.items() if v is not None]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str | None) -> Answer:
        """
        Send a request over a connection of its own: see L{octets}.
        """
        protocol, transport = self.connect()
        protocol.dataReceived(self.octets(method, path, body, **fields))
        return Answer(transport.value())

    def change(self, path: str, **asked: Any) -> Answer:
        """
        Send a change as the page does.
        """
        return self.ask("POST", path, json.dumps(asked).encode())

    def capture(self) -> None:
        """
        Make a capture that has several parts, number 1.
        """
        self.change("/captures", do="start", interface="tap0")
        for _ in range(100):
            self.far.ping("10.0.0.1", size=1400).addErrback(lambda _: None)
            self.run(0.1)
        self.change("/captures", do="stop", number=1)

    def run(self, seconds: float) -> None:
        """
        Let simulated time pass.
        """
        self.clock.pump([0.1] * round(seconds * 10))
