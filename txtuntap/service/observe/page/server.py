"""
The paths of a live page, and what each answers::

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

import json
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from twisted.web.resource import Resource

from txtuntap.layer.counters import Counters
from txtuntap.middleware import Netem
from txtuntap.service.observe.page.answers import Downloads, Events, answered, asJSON, refused
from txtuntap.service.observe.page.captures import Captures
from txtuntap.service.observe.page.clients import MAX_BODY
from txtuntap.service.observe.page.guard import Guard, Refusal
from txtuntap.service.observe.page.history import Recorder
from txtuntap.service.observe.page.subject import Subject

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


class Page(Resource):
    """
    The root of the site.

    @ivar guard: checks the requests.
    @ivar recorder: reads the subjects.
    @ivar captures: the captures of the page.
    @ivar counters: the counters of the page itself.
    """

    def __init__(self, guard: Guard, recorder: Recorder, captures: Captures) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.guard = guard
        self.recorder = recorder
        self.captures = captures
        self.counters = recorder.counters = Counters()
        self.events = Events(recorder)
        self.downloads = Downloads()
        # The files are read now, because a process that has dropped its privileges may not be able to read them.
        folder = files(__package__) / "static"
        self._files = {name: (folder / name).read_bytes() for name in _TYPES}
        for name in _TYPES:
            self.putChild(name.encode(), Checked(self, self._file(name)))
        self._root = Root(self, self._file("index.html"))
        self.putChild(b"", self._root)
        self.putChild(b"latest.json", Checked(self, lambda request: asJSON(request, recorder.look())))
        self.putChild(b"history.json", Checked(self, self._history))
        self.putChild(b"events", Checked(self, self.events.subscribe))
        self.putChild(b"captures", CapturesResource(self))
        self.putChild(b"impairment", Changing(self, self._impair))

    def subject(self, wanted: Any) -> Subject:
        """
        Find the subject of a name or of a number.

        @raise ValueError: there is none.
        """
        found: Subject | None = None
        if isinstance(wanted, str):
            found = self.recorder.named().get(wanted)
        elif type(wanted) is int and 0 < wanted <= len(self.recorder.subjects):
            found = self.recorder.subjects[wanted - 1]
        if found is None:
            raise ValueError(f"there is no interface {wanted!r}")
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
            return self.refuse(request, e)

    def refuse(self, request: Any, refusal: Refusal) -> bytes:
        """
        Count a refusal, and answer the request with it.
        """
        self._page.counters[refusal.counter] += 1
        return refused(request, refusal)


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
            return self.refuse(request, e)
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
        return self._page.downloads.send(request, octets)

    def _capture(self, asked: dict[str, Any]) -> Any:
        captures, do = self._page.captures, asked.get("do")
        if do == "start":
            return {"number": captures.start(self._page.subject(asked.get("interface")))}
        number = asked.get("number")
        if do not in ("stop", "delete") or type(number) is not int:
            raise ValueError('"do" is "start", with "interface"; or "stop" or "delete", with "number"')
        (captures.stop if do == "stop" else captures.delete)(number)
        return {"number": number}
