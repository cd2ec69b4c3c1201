"""
The web server of a live page::

    GET  ./                  the page
    GET  latest.json         the latest reading
    GET  history.json        the rates of the last five minutes
    GET  events              each reading as it is made, as server-sent events
    POST captures            start, stop or delete a capture
    GET  captures/3.pcapng   a capture
    POST impairment          change the faults of an interface

All paths are relative, so that a proxy may serve the page below any prefix. C{docs/page.md} has the format of the JSON.
"""

from __future__ import annotations

# The parsers of mail are what Twisted reads bodies with. It imports them at the first POST, when a process that has
# dropped its privileges, or is in another root directory, may not find them.
import email.parser
import email.policy  # noqa: F401
import json
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger, LogPublisher
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.middleware import Netem
from txtuntap.service.observe.page.captures import Captures
from txtuntap.service.observe.page.guard import HEADERS, Guard, Refusal
from txtuntap.service.observe.page.history import Recorder
from txtuntap.service.observe.page.subject import Subject

#: The most connections to the page; the most of them that wait for events.
MAX_CLIENTS, MAX_WATCHING = 64, 8

#: The readings that a slow client may miss one after another. The next one ends its connection.
MAX_MISSED = 10

#: The most octets of the body of a request. Further octets are discarded.
MAX_BODY = 4096

#: The seconds after which an idle connection is closed.
TIMEOUT = 60

#: The octets of each part of a long answer.
PART = 1 << 16

#: The methods that change nothing.
_READS = (b"GET", b"HEAD")

#: The media types of the files of the page.
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "uPlot.min.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "meanings.json": "application/json",
}


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

    def __init__(self, root: Page) -> None:
        super().__init__(root, timeout=TIMEOUT)  # type: ignore[no-untyped-call]
        self._page = root
        self.clients: Table[Any, Any] = Table(
            "page clients", MAX_CLIENTS, Policy.OLDEST, lambda _, transport: transport.abortConnection(), self._oldest
        )

    def _oldest(self, new: Any) -> Any:
        """
        Choose the connection to close for a new one. Watchers have given the token, so they stay. A client that opens
        connections without the token cannot keep others out.
        """
        watching = {watcher.transport for watcher in self._page.events.watchers}
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


class Page(Resource):
    """
    The root of the site.

    @ivar guard: checks the requests.
    @ivar recorder: reads the subjects.
    @ivar captures: the captures of the page.
    """

    def __init__(self, guard: Guard, recorder: Recorder, captures: Captures) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.guard = guard
        self.recorder = recorder
        self.captures = captures
        self.events = Events(self)
        # The files are read now, because a process that has dropped its privileges may not be able to read them.
        folder = files(__package__) / "static"
        self._files = {name: (folder / name).read_bytes() for name in _TYPES}
        for name in _TYPES:
            self.putChild(name.encode(), Checked(self, self._file(name)))
        self._root = Root(self, self._file("index.html"))
        self.putChild(b"", self._root)
        self.putChild(b"latest.json", Checked(self, lambda request: asJSON(request, recorder.look())))
        self.putChild(b"history.json", Checked(self, self._history))
        # An answer to HEAD would never end, as the events do not.
        self.putChild(b"events", Checked(self, self.events.subscribe, [b"GET"]))
        self.putChild(b"captures", CapturesResource(self))
        self.putChild(b"impairment", Changing(self, self._impair))

    def subject(self, name: Any) -> Subject:
        """
        Find the subject of a name.

        @raise ValueError: there is none.
        """
        found = self.recorder.named().get(name) if isinstance(name, str) else None
        if found is None:
            raise ValueError(f"there is no interface {name!r}")
        return found

    def getChild(self, path: bytes, request: Any) -> Resource:
        """
        Return the resource of a path that is unknown.
        """
        return Checked(self, self._unknown)

    def _unknown(self, request: Any) -> bytes:
        raise Refusal(404, "There is no such page")

    def login(self, request: Any) -> bool:
        """
        Give a cookie to a request with the token in its URL.

        @return: whether that was done.
        """
        if request.method not in _READS or not self.guard.isToken(request):
            return False
        # A proxy that speaks TLS with browsers says so. A client that lies about that harms only its own cookie.
        isSecure = request.isSecure() or request.getHeader(b"x-forwarded-proto") == b"https"
        secure = "; Secure" if isSecure else ""
        cookie = f"{self.guard.cookie.decode()}={self.guard.token}; HttpOnly; SameSite=Strict{secure}"
        request.responseHeaders.addRawHeader(b"Set-Cookie", cookie.encode())
        request.setResponseCode(303)
        request.setHeader(b"Location", b"./")
        return True

    def _file(self, name: str) -> Callable[[Any], bytes]:
        return lambda request: answered(request, self._files[name], _TYPES[name])

    def _history(self, request: Any) -> bytes:
        self.recorder.look()
        return asJSON(request, {**self.recorder.history(), "allowsChanges": self.guard.allowsChanges})

    def _impair(self, asked: dict[str, Any]) -> Any:
        impairment = self.subject(asked.get("interface")).impairment
        if impairment is None:
            raise ValueError("this interface has no faults to change: put an Impairment on its port")
        up, down = Netem.of(asked.get("up", "")), Netem.of(asked.get("down", ""))
        impairment.up, impairment.down = up, down
        return {"up": str(up), "down": str(down)}


class Checked(Resource):
    """
    A resource that answers if the guard permits it.
    """

    isLeaf = True

    def __init__(self, page: Page, answer: Callable[[Any], Any], methods: Sequence[bytes] = _READS) -> None:
        """
        @param answer: called with the request. It returns the answer, or raises L{Refusal}.
        @param methods: the methods that are answered.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._page = page
        self._answer = answer
        self._methods = methods

    def render(self, request: Any) -> Any:
        """
        Answer the request, or refuse it.
        """
        try:
            self._page.guard.check(request)
            if self.isLeaf and request.postpath:
                raise Refusal(404, "There is no such page")
            if request.method not in self._methods:
                request.setHeader(b"Allow", b", ".join(self._methods))
                raise Refusal(405, "The method has to be " + b" or ".join(self._methods).decode())
            return self._answer(request)
        except Refusal as e:
            return refused(request, e)


class Root(Checked):
    """
    The page itself, which also takes the token.
    """

    def render(self, request: Any) -> Any:
        """
        Answer with the page, or with a cookie, or refuse the request.
        """
        try:
            if self._page.login(request):
                return answered(request, b"", "text/plain; charset=utf-8")
        except Refusal as e:
            return refused(request, e)
        return super().render(request)


class Changing(Checked):
    """
    A resource that changes something by C{POST}, with JSON as the body and as the answer.
    """

    def __init__(self, page: Page, change: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(page, self._asked, [b"POST"])
        self._change = change

    def _asked(self, request: Any) -> bytes:
        self._page.guard.checkChange(request)
        body = request.content.read()
        if len(body) > MAX_BODY:
            raise Refusal(413, f"The body has more than {MAX_BODY} octets")
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise ValueError("the body is no JSON object")
            return asJSON(request, self._change(asked))
        except KeyError as e:
            raise Refusal(404, "there is no such capture") from e
        except RecursionError as e:
            raise Refusal(400, "the body is nested too deeply") from e
        except ValueError as e:
            raise Refusal(400, str(e)) from e


class CapturesResource(Changing):
    """
    The captures of the page. C{POST} takes C{{"do": "start", "interface": "tap0"}}, or C{"stop"} or C{"delete"} with
    C{"number"}.
    """

    isLeaf = False

    def __init__(self, page: Page) -> None:
        super().__init__(page, self._capture)

    def getChild(self, path: bytes, request: Any) -> Resource:
        """
        Return the file of a capture.
        """
        return Checked(self._page, lambda request: self._read(path, request))

    def _read(self, path: bytes, request: Any) -> Any:
        self._page.guard.checkControl(request)
        # A number with more digits is no capture, and Python refuses to convert very long ones.
        found = re.fullmatch(rb"([0-9]{1,9})\.pcapng", path)
        if found is None:
            raise Refusal(404, "A capture is captures/NUMBER.pcapng")
        try:
            octets = self._page.captures.read(int(found[1]))
        except KeyError as e:
            raise Refusal(404, "there is no such capture") from e
        request.setHeader(b"Content-Disposition", b'attachment; filename="capture-%b.pcapng"' % found[1])
        answered(request, b"", "application/x-pcapng")
        request.setHeader(b"Content-Length", b"%d" % len(octets))
        if request.method == b"HEAD":
            return b""
        Download(request, octets).begin()
        return NOT_DONE_YET

    def _capture(self, asked: dict[str, Any]) -> Any:
        captures, do = self._page.captures, asked.get("do")
        if do == "start":
            return {"number": captures.start(self._page.subject(asked.get("interface")))}
        number = asked.get("number")
        if do not in ("stop", "delete") or type(number) is not int:
            raise ValueError('"do" is "start", with "interface"; or "stop" or "delete", with "number"')
        (captures.stop if do == "stop" else captures.delete)(number)
        return {"number": number}


class Events:
    """
    The clients that receive each reading.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.watchers: Table[Watcher, None] = Table("page watchers", MAX_WATCHING, Policy.REFUSE)
        self._number = 0
        page.recorder.read = self.read  # type: ignore[method-assign]

    def subscribe(self, request: Any) -> Any:
        """
        Send the events to a client until it disconnects.
        """
        if len(self.watchers) >= MAX_WATCHING:
            raise Refusal(503, f"{MAX_WATCHING} others watch already")
        answered(request, b"", "text/event-stream")
        # Some proxies collect an answer before they pass it on.
        request.setHeader(b"X-Accel-Buffering", b"no")
        watcher = Watcher(request)
        self.watchers.put(watcher, None)
        request.notifyFinish().addBoth(lambda _: self.watchers.pop(watcher, None))
        request.registerProducer(watcher, True)
        watcher.event(self._event(self._page.recorder.look()))
        return NOT_DONE_YET

    def read(self, latest: dict[str, Any]) -> None:
        """
        Send a reading to all clients.
        """
        if self.watchers:
            self._page.recorder.look()
            event = self._event(latest)
            for watcher in tuple(self.watchers):
                watcher.event(event)

    def stop(self) -> None:
        """
        End the answers to all clients.
        """
        for watcher in tuple(self.watchers):
            watcher.end()

    def tables(self) -> list[TableState]:
        """
        Return how many clients there are: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.watchers.state]

    def _event(self, latest: dict[str, Any]) -> bytes:
        self._number += 1
        return b"id: %d\nevent: reading\ndata: %b\n\n" % (self._number, json.dumps(latest).encode())


@implementer(IPushProducer)
class Watcher:
    """
    A client that receives events. Readings are left out while it reads too slowly.

    @ivar transport: the connection of the client.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self.transport = request.channel.transport
        self._isPaused = False
        self._missed = 0

    def event(self, event: bytes) -> None:
        """
        Send an event, unless the client is slow. End the connection of a client that stays slow.
        """
        if not self._isPaused:
            self._missed = 0
            self._request.write(event)
            return
        self._missed += 1
        if self._missed > MAX_MISSED:
            # The connection would otherwise stay until this client has read what it does not read.
            self.transport.abortConnection()

    def end(self) -> None:
        """
        End the answer to this client.
        """
        self._request.unregisterProducer()
        self._request.finish()
        if self._isPaused:
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """
        Leave out readings, because the client reads too slowly.
        """
        self._isPaused = True

    def resumeProducing(self) -> None:
        """
        Send readings to the client again.
        """
        self._isPaused = False

    def stopProducing(self) -> None:
        """
        Send nothing more to the client.
        """
        self._isPaused = True


@implementer(IPushProducer)
class Download:
    """
    A long answer, which is sent as fast as the client reads. Until then its connection is not idle, so that a slow
    client gets all of it.
    """

    def __init__(self, request: Any, octets: bytes) -> None:
        self._request = request
        self._octets = octets
        self._next = 0
        self._isPaused = True

    def begin(self) -> None:
        """
        Send the first part.
        """
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        Send further parts until the connection is full.
        """
        self._isPaused = False
        while not self._isPaused:
            part = self._octets[self._next : self._next + PART]
            if not part:
                self._isPaused = True
                self._request.unregisterProducer()
                self._request.finish()
                return
            self._next += PART
            self._request.write(part)

    def pauseProducing(self) -> None:
        """
        Send nothing until the client has read.
        """
        self._isPaused = True

    def stopProducing(self) -> None:
        """
        Send nothing more, because the client has gone.
        """
        self._isPaused = True


def answered(request: Any, body: bytes, mediaType: str) -> bytes:
    """
    Set the headers of an answer.

    @return: C{body}, or nothing if the method is C{HEAD}.
    """
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader(b"Content-Type", mediaType.encode())
    if request.method == b"HEAD":
        # Twisted logs each body for HEAD that it has to discard, and anybody could fill the log.
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b""
    return body


def asJSON(request: Any, value: object) -> bytes:
    """
    Answer a request with JSON.
    """
    return answered(request, json.dumps(value).encode(), "application/json")


def refused(request: Any, refusal: Refusal) -> bytes:
    """
    Answer a request that is refused.
    """
    request.setResponseCode(refusal.status, b"Misdirected Request" if refusal.status == 421 else None)
    return answered(request, f"{refusal.why}.\n".encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8")
