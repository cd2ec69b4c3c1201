"""
Tests for the answers of a live page.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tests.paths import CHECKOUT
from tests.service.observe.page.browser import Answer, Served, Slow
from txtuntap.service.observe.page.answers import MAX_MISSED, MAX_WATCHING
from txtuntap.service.observe.page.clients import MAX_CLIENTS, STALLED, TIMEOUT


def events(octets: bytes) -> list[dict[str, Any]]:
    """
    Parse the events of an answer.
    """
    found = []
    for event in Answer(octets).body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        assert fields["event"] == "reading"
        found.append({"id": int(fields["id"]), **json.loads(fields["data"])})
    return found


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/", "text/html", b"<title>"),
        ("/page.js", "text/javascript", b"EventSource"),
        ("/page.css", "text/css", b"prefers-color-scheme"),
        ("/uPlot.iife.min.js", "text/javascript", b"uPlot"),
        ("/uPlot.min.css", "text/css", b".uplot"),
        ("/icon.svg", "image/svg+xml", b"<svg"),
        ("/meanings.json", "application/json", b"inHdrErrors"),
    ],
)
def test_theFilesOfThePageAreServed(path: str, kind: str, text: bytes) -> None:
    answer = Served().ask("GET", path)
    assert (answer.status, answer.fields["content-type"].partition(";")[0]) == (200, kind)
    assert text in answer.body


def test_anUnknownPathIsNotFound() -> None:
    assert Served().ask("GET", "/../../etc/passwd").status == 404
    assert Served().ask("GET", "/static/page.js").status == 404
    assert Served().ask("GET", "/latest.json/more").status == 404
    assert Served().ask("GET", "/page.js/../latest.json").status == 404


def test_noFileNamesAnotherHost() -> None:
    for path in "/", "/page.js", "/page.css", "/uPlot.min.css":
        text = Served().ask("GET", path).body.decode()
        assert [
            each for each in ("https://", "http://", "//cdn") if each in text.replace("http://www.w3.org", "")
        ] == []


def test_allPathsOfThePageAreRelative() -> None:
    text = Served().ask("GET", "/").body.decode()
    assert 'href="/' not in text
    assert 'src="/' not in text
    script = Served().ask("GET", "/page.js").body.decode()
    assert 'fetch("/' not in script
    assert 'EventSource("/' not in script


def test_eachReadingIsSentToAllWhoWatch() -> None:
    served = Served()
    transports = []
    for _ in range(2):
        protocol, transport = served.connect()
        protocol.dataReceived(served.octets("GET", "/events"))
        transports.append(transport)
    served.run(3.5)
    for transport in transports:
        assert Answer(transport.value()).fields["content-type"] == "text/event-stream"
        ids = [each["id"] for each in events(transport.value())]
        assert len(ids) == 4
        assert ids == sorted(ids)
    assert [each["id"] for each in events(transports[0].value())[1:]] == [
        each["id"] for each in events(transports[1].value())[1:]
    ]


def test_tooManyWhoWatchAreRefused() -> None:
    served = Served()
    connections = []
    for _ in range(MAX_WATCHING + 1):
        protocol, transport = served.connect()
        protocol.dataReceived(served.octets("GET", "/events"))
        connections.append((protocol, transport))
    assert [Answer(transport.value()).status for _, transport in connections] == [200] * MAX_WATCHING + [503]
    connections[0][0].connectionLost(Failure(ConnectionDone()))
    protocol, transport = served.connect()
    protocol.dataReceived(served.octets("GET", "/events"))
    assert Answer(transport.value()).status == 200
    assert served.page.events.tables()[0].size == MAX_WATCHING


def test_aSlowClientMissesReadingsAndIsDropped() -> None:
    served = Served()
    protocol, transport = served.connect()
    protocol.dataReceived(served.octets("GET", "/events"))
    assert transport.producer is not None
    transport.producer.pauseProducing()
    served.run(MAX_MISSED - 0.5)
    assert len(events(transport.value())) == 1
    assert not transport.disconnecting
    transport.producer.resumeProducing()
    served.run(1)
    assert len(events(transport.value())) == 2
    transport.producer.pauseProducing()
    served.run(MAX_MISSED + 1.5)
    # A connection that only ends once all is sent would stay, because this client reads nothing.
    assert transport.disconnected
    assert len(events(transport.value())) == 2


def test_theOldestConnectionThatDoesNotWatchIsClosedForANewOne() -> None:
    served = Served()
    watching, watched = served.connect()
    watching.dataReceived(served.octets("GET", "/events"))
    others = [served.connect() for _ in range(MAX_CLIENTS - 1)]
    assert not any(transport.disconnecting for _, transport in others)
    answer = served.ask("GET", "/latest.json")
    assert answer.status == 200
    assert [transport.disconnected for _, transport in others].index(True) == 0
    assert sum(transport.disconnected for _, transport in others) == 1
    assert not watched.disconnected
    assert len(served.site.clients) == MAX_CLIENTS
    others[-1][0].connectionLost(Failure(ConnectionDone()))
    assert len(served.site.clients) == MAX_CLIENTS - 1


@pytest.mark.parametrize("isRead", [True, False])
def test_anIdleConnectionIsClosedWithoutALogLine(isRead: bool) -> None:
    """
    A client that reads the rest is disconnected, and any other one soon after.
    """
    served = Served()
    with capturedLogs() as logged:
        protocol, transport = served.connect()
        served.clock.advance(TIMEOUT - 1)
        assert not transport.disconnecting
        served.clock.advance(2)
        assert transport.disconnecting
        if isRead:
            protocol.connectionLost(Failure(ConnectionDone()))
        served.clock.advance(60)
        assert transport.disconnected is not isRead
    assert logged == []


def test_aRunningSiteDoesNothingByItself() -> None:
    served = Served()
    served.run(10)
    served.site.doStart()  # type: ignore[no-untyped-call]
    assert served.clock.getDelayedCalls() == []
    served.site.doStop()  # type: ignore[no-untyped-call]
    assert served.clock.getDelayedCalls() == []


def test_aClientCannotChooseAnotherProtocol() -> None:
    assert Served().site.acceptableProtocols() == [b"http/1.1"]


def test_faultsAreChanged() -> None:
    served = Served()
    answer = served.change("/impairment", interface="tap0", up="delay 100ms loss 10%", down="")
    assert (answer.status, answer.json()) == (200, {"up": "delay 100ms loss 10%", "down": ""})
    impairment = served.subject.impairment
    assert impairment is not None
    assert (impairment.up.delay, impairment.up.loss, impairment.down.loss) == (0.1, 0.1, 0)
    (shown,) = served.ask("GET", "/latest.json").json()["interfaces"]
    assert shown["impairment"] == {"up": "delay 100ms loss 10%", "down": ""}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"interface": "tap1", "up": "", "down": ""}, "tap1"),
        ({"interface": "tap0", "up": "", "down": "lose 1%"}, "lose"),
        ({"interface": "tap0", "up": 3, "down": ""}, "3"),
        ({"up": "", "down": ""}, "None"),
        ({"interface": "\ud800", "up": "", "down": ""}, "ud800"),
        ({"interface": "tap0", "up": "\ud800", "down": ""}, "ud800"),
        ({"interface": "tap0", "up": "delay nan", "down": ""}, "nan"),
    ],
)
def test_aWrongChangeOfFaultsChangesNothing(asked: dict[str, object], why: str) -> None:
    served = Served()
    served.change("/impairment", interface="tap0", up="loss 5%", down="")
    answer = served.change("/impairment", **asked)
    assert (answer.status, why in answer.body.decode()) == (400, True)
    assert served.subject.impairment.up.loss == 0.05  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b"\xff", b'{"do": 3}', b'{"do": "stop", "number": true}', b"[" * 4000]
)
def test_aBodyThatCannotBeReadIsRefused(body: bytes) -> None:
    assert Served().ask("POST", "/captures", body).status == 400


def test_aCaptureIsStartedStoppedReadAndDeleted() -> None:
    served = Served()
    assert served.change("/captures", do="start", interface="tap0").json() == {"number": 1}
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    assert served.change("/captures", do="stop", number=1).status == 200
    assert served.change("/captures", do="stop", number=1).status == 200
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    (shown,) = served.ask("GET", "/latest.json").json()["interfaces"]
    assert [(c["number"], c["isRunning"]) for c in shown["captures"]] == [(1, False)]
    answer = served.ask("GET", "/captures/1.pcapng")
    assert answer.fields["content-disposition"] == 'attachment; filename="capture-1.pcapng"'
    assert len(answer.body) == shown["captures"][0]["octets"]
    assert answer.body[:4] == b"\x0a\x0d\x0d\x0a"
    assert shown["captures"][0]["packets"] > 1
    assert served.change("/captures", do="delete", number=1).status == 200
    assert served.ask("GET", "/captures/1.pcapng").status == 404
    assert served.change("/captures", do="stop", number=1).status == 404


def test_aSlowClientGetsAWholeCapture() -> None:
    """
    A connection is not idle while the client reads an answer.
    """
    served = Served()
    served.capture()
    transport = Slow()
    protocol, _ = served.connect(transport)
    protocol.dataReceived(served.octets("GET", "/captures/1.pcapng"))
    for _ in range(3):
        served.clock.advance(STALLED - 1)
        assert not transport.disconnecting
        transport.read()
    for _ in range(10):
        transport.read()
    body = Answer(transport.value()).body
    assert len(body) > 200_000
    assert body == served.ask("GET", "/captures/1.pcapng").body
    served.clock.advance(TIMEOUT + 1)
    assert transport.disconnecting


def test_aClientThatLeavesEndsItsDownload() -> None:
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    transport = Slow()
    protocol, _ = served.connect(transport)
    protocol.dataReceived(served.octets("GET", "/captures/1.pcapng"))
    sent = len(transport.value())
    protocol.connectionLost(Failure(ConnectionDone()))
    assert len(transport.value()) == sent


def test_thereAreFourCaptures() -> None:
    served = Served()
    statuses = [served.change("/captures", do="start", interface="tap0").status for _ in range(5)]
    assert statuses == [200] * 4 + [400]
    served.change("/captures", do="delete", number=2)
    assert served.change("/captures", do="start", interface="tap0").json() == {"number": 5}


@pytest.mark.parametrize("name", ["1", "x.pcapng", "-1.pcapng", "1.pcapngx", "%00.pcapng", "1" * 5000 + ".pcapng", ""])
def test_aPathThatIsNoCaptureIsNotFound(name: str) -> None:
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    assert served.ask("GET", "/captures/1.pcapng").status == 200
    assert served.ask("GET", f"/captures/{name}").status == 404


@pytest.mark.parametrize("path", ["/", "/latest.json", "/events", "/captures", "/captures/1.pcapng", "/impairment"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_otherMethodsAreRefused(method: str, path: str) -> None:
    served = Served()
    answer = served.ask(method, path)
    assert answer.status == 405
    assert answer.fields["allow"] in ("GET, HEAD", "POST")
    assert "access-control-allow-origin" not in answer.fields
    assert served.ask(method, path, cookie=None).status == 401
    assert served.ask(method, path, host="evil.example").status == 421


_PATHS = "/", "/latest.json", "/history.json", "/page.js", "/events", "/captures/1.pcapng", "/captures", "/none"


@pytest.mark.parametrize("path", [*_PATHS, "/?token=wrong"])
@pytest.mark.parametrize("isStranger", [False, True])
def test_aHeadHasTheFieldsOfAGetAndNoBody(path: str, isStranger: bool) -> None:
    """
    An answer to C{HEAD} is not logged, as no other is. It may leave out the coding of a body.
    """
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    cookie = None if isStranger else served.cookie
    with capturedLogs() as logged:
        get, head = (served.ask(method, path, cookie=cookie) for method in ("GET", "HEAD"))
    assert logged == []
    assert (head.status, head.body) == (get.status, b"")
    get.fields.pop("transfer-encoding", None)
    assert {**head.fields, "date": ""} == {**get.fields, "date": ""}
    assert len(served.page.events.watchers) == (path == "/events" and not isStranger)
    assert len(served.page.downloads.running) == 0


def test_aConnectionServesRequestsAfterAHead() -> None:
    served = Served()
    protocol, transport = served.connect()
    for path in "/events", "/latest.json":
        protocol.dataReceived(served.octets("HEAD", path))
    protocol.dataReceived(served.octets("GET", "/icon.svg"))
    assert transport.value().count(b"HTTP/1.1 200 OK") == 3
    assert b"<svg" in transport.value()


#: A program that makes a page, forbids imports, as a process without its privileges may be unable to import, and asks.
_LATER = """
import sys
from tests.service.observe.page.browser import Served
served = Served()
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        print("import", name)
        raise ImportError(name)
sys.meta_path[:] = [Forbidden()]
sys.path_importer_cache.clear()
print(served.change("/captures", do="start", interface="tap0").status)
print(served.change("/impairment", interface="tap0", up="delay 10ms 1ms distribution normal loss 1%", down="").status)
served.far.ping("10.0.0.1").addErrback(lambda _: None)
served.run(1)
for path in "/", "/latest.json", "/history.json", "/events", "/captures/1.pcapng", "/none":
    print(served.ask("GET", path).status)
body = b'--x\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\nb\\r\\n--x--\\r\\n'
print(served.ask("POST", "/captures", body, content_type="multipart/form-data; boundary=x").status)
"""


def test_nothingIsImportedOnceThePageIsServed() -> None:
    finished = subprocess.run([sys.executable, "-c", _LATER], capture_output=True, text=True, cwd=CHECKOUT)
    assert finished.stdout.split() == ["200"] * 7 + ["404", "415"], finished.stderr
