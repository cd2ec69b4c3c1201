"""
Tests for the clients of a live page that are slow, or hostile.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tests.service.observe.page.browser import Answer, Served, Slow
from txtuntap import Host
from txtuntap.service import LivePage
from txtuntap.service.observe.page.answers import MAX_DOWNLOADS, MAX_WATCHING, PART
from txtuntap.service.observe.page.clients import MAX_BODY, MAX_CLIENTS, STALLED, TIMEOUT


def asked(served: Served, *paths: str) -> tuple[Any, Slow]:
    """
    Send requests in one segment, over a connection that is full after each write.
    """
    transport = Slow()
    protocol, _ = served.connect(transport)
    protocol.dataReceived(b"".join(served.octets("GET", path) for path in paths))
    return protocol, transport


def lost(protocol: Any) -> None:
    """
    Tell a connection that it has ended.
    """
    protocol.connectionLost(Failure(ConnectionDone()))


def test_tooManyDownloadsAreRefusedAndCounted() -> None:
    served = Served()
    served.capture()
    connections = [asked(served, "/captures/1.pcapng") for _ in range(MAX_DOWNLOADS)]
    assert [Answer(transport.value()).status for _, transport in connections] == [200] * MAX_DOWNLOADS
    for count in 1, 2:
        assert served.ask("GET", "/captures/1.pcapng").status == 503
        assert served.page.counters["downloadsRefused"] == count
    assert served.page.downloads.tables()[0].size == MAX_DOWNLOADS
    # The end of one makes room for another one: whether the client has left, or has got all.
    lost(connections[0][0])
    assert served.ask("GET", "/captures/1.pcapng").status == 200
    for _ in range(10):
        connections[1][1].read()
    assert len(served.page.downloads.running) == MAX_DOWNLOADS - 2


def test_downloadsOverOneConnectionFollowEachOther() -> None:
    served = Served()
    served.capture()
    length = len(served.ask("GET", "/captures/1.pcapng").body)
    protocol, transport = served.connect()
    protocol.dataReceived(served.octets("GET", "/captures/1.pcapng") * (MAX_DOWNLOADS + 2))
    assert len(transport.value()) > length * (MAX_DOWNLOADS + 2)
    assert transport.value().count(b"HTTP/1.1 200 OK") == MAX_DOWNLOADS + 2
    assert len(served.page.downloads.running) == 0


def test_aWatcherAfterADownloadOverOneConnectionStays() -> None:
    served = Served()
    served.capture()
    protocol, transport = asked(served, "/captures/1.pcapng", "/events")
    # The transport takes all the rest.
    protocol.resumeProducing()
    assert len(served.page.events.watchers) == 1
    for _ in range(MAX_CLIENTS):
        served.connect()
    assert not transport.disconnected


def test_aHeadOfACaptureEndsAtOnce() -> None:
    served = Served()
    served.capture()
    transport = Slow()
    protocol, _ = served.connect(transport)
    protocol.dataReceived(served.octets("HEAD", "/captures/1.pcapng"))
    assert len(served.page.downloads.running) == 0
    assert protocol.requests == []


def test_aBigAnswerIsSentAsTheClientReads() -> None:
    """
    A client that reads slowly gets all of it, because each part has its time.
    """
    served = Served()
    served.page._files["page.js"] = body = bytes(5 * PART + 3)
    _, transport = asked(served, "/page.js")
    for parts in range(1, 6):
        assert len(Answer(transport.value()).body) == parts * PART
        served.clock.advance(STALLED - 1)
        transport.read()
    assert Answer(transport.value()).body == body


def test_aCaptureThatIsDeletedIsSentToItsEnd() -> None:
    served = Served()
    served.capture()
    whole = served.ask("GET", "/captures/1.pcapng").body
    _, transport = asked(served, "/captures/1.pcapng")
    assert served.change("/captures", do="delete", number=1).status == 200
    for _ in range(10):
        transport.read()
    assert Answer(transport.value()).body == whole


def test_aDownloadIsWhatTheCaptureHadAtItsBegin() -> None:
    served = Served()
    served.capture()
    served.change("/captures", do="start", interface="tap0")
    for _ in range(50):
        served.far.ping("10.0.0.1", size=1400).addErrback(lambda _: None)
        served.run(0.1)
    _, transport = asked(served, "/captures/2.pcapng")
    served.far.ping("10.0.0.1").addErrback(lambda _: None)
    served.run(1)
    for _ in range(10):
        transport.read()
    answer = Answer(transport.value())
    assert len(answer.body) == int(answer.fields["content-length"])
    assert len(served.ask("GET", "/captures/2.pcapng").body) > len(answer.body)


@pytest.mark.parametrize("path", ["/captures/1.pcapng", "/latest.json", "/none"])
def test_aClientThatReadsNothingLosesItsConnection(path: str) -> None:
    served = Served()
    served.capture()
    protocol, transport = asked(served, path)
    served.clock.advance(STALLED - 1)
    assert not transport.disconnected
    served.clock.advance(2)
    assert transport.disconnected
    assert served.page.counters["clientsStalled"] == 1
    lost(protocol)
    assert len(served.page.downloads.running) == 0


def test_aClientThatDoesNotReadTheLastAnswerLosesItsConnection() -> None:
    served = Served()
    transport = Slow()
    protocol, _ = served.connect(transport)
    protocol.dataReceived(served.octets("GET", "/page.js", connection="close"))
    assert transport.disconnecting
    served.clock.advance(STALLED + 1)
    assert transport.disconnected


def test_theAnswersToManyRequestsDoNotWaitInMemory() -> None:
    """
    A client that reads nothing gets the answer to its first request, and the others as it reads.
    """
    served = Served()
    paths = ["/page.js", "/uPlot.iife.min.js"] * 20
    protocol, transport = asked(served, *paths)
    assert transport.value().count(b"HTTP/1.1 200 OK") == 1
    for number in range(2, len(paths) + 1):
        transport.read()
        assert transport.value().count(b"HTTP/1.1 200 OK") == number
    transport.clear()
    transport.read()
    protocol.dataReceived(served.octets("GET", "/icon.svg"))
    assert b"<svg" in transport.value()


@pytest.mark.parametrize("path", ["/events", "/captures/1.pcapng"])
def test_aLongAnswerDoesNotBeginOnAFullConnection(path: str) -> None:
    served = Served()
    served.capture()
    protocol, transport = asked(served, "/icon.svg", path)
    before = len(transport.value())
    served.run(5)
    assert len(transport.value()) == before
    assert len(served.page.events.watchers) + len(served.page.downloads.running) == 0
    transport.read()
    assert before < len(transport.value()) < before + 2 * PART
    assert len(served.page.events.watchers) + len(served.page.downloads.running) == 1
    lost(protocol)


def test_aRequestThatWaitsForRoomEndsWithItsConnection() -> None:
    served = Served()
    protocol, _ = asked(served, "/icon.svg", "/events")
    lost(protocol)
    protocol.resumeProducing()
    assert len(served.page.events.watchers) == 0
    served.clock.advance(STALLED + 1)
    assert served.page.counters["clientsStalled"] == 0


@pytest.mark.parametrize(
    "beginning", [b"GET /" + b"a" * 50, b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n"]
)
def test_aRequestThatComesSlowlyLosesItsConnection(beginning: bytes) -> None:
    """
    An octet now and then does not keep a connection.
    """
    served = Served()
    protocol, transport = served.connect()
    served.clock.advance(TIMEOUT - 1)
    protocol.dataReceived(beginning)
    for _ in range(TIMEOUT - 1):
        served.clock.advance(1)
        protocol.dataReceived(b"a")
        assert not transport.disconnecting
    served.clock.advance(2)
    assert transport.disconnecting
    served.clock.advance(STALLED)
    assert transport.disconnected


def test_eachRequestOfAConnectionHasItsTime() -> None:
    served = Served()
    protocol, transport = served.connect()
    for count in range(1, 4):
        octets = served.octets("GET", "/icon.svg")
        protocol.dataReceived(octets[:20])
        served.clock.advance(TIMEOUT - 1)
        protocol.dataReceived(octets[20:])
        assert transport.value().count(b"HTTP/1.1 200 OK") == count
        served.clock.advance(TIMEOUT - 1)
    assert not transport.disconnecting


def test_theBodyOfARequestDoesNotFillTheMemory() -> None:
    served = Served()
    protocol, transport = served.connect()
    length = 100 * MAX_BODY
    protocol.dataReceived(served.octets("POST", "/captures", content_length=str(length)))
    for _ in range(100):
        protocol.dataReceived(b"a" * MAX_BODY)
        if protocol.requests:
            assert len(protocol.requests[0].content.getvalue()) <= MAX_BODY + 1
    assert Answer(transport.value()).status == 413


@pytest.mark.parametrize(
    "octets",
    [
        b"garbage\r\n\r\n",
        b"GET /" + b"a" * 70_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(11),
)
def test_whatIsNoRequestEndsTheConnectionWithoutALogLine(octets: bytes) -> None:
    served = Served()
    protocol, transport = served.connect()
    with capturedLogs() as logged:
        protocol.dataReceived(octets)
    assert logged == []
    assert transport.disconnecting
    assert transport.value() == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert served.page.counters["requestErrors"] == 1
    served.clock.advance(STALLED + 1)
    assert transport.disconnected


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name*=utf-8''a\r\n\r\nb\r\n--x--"),
        ("multipart/form-data", b"a"),
        ("application/x-www-form-urlencoded", b"a=b&" * 1000),
    ],
)
def test_aFormOfAStrangerIsRefusedUnread(kind: str, body: bytes) -> None:
    """
    Twisted fails at the first of them.
    """
    served = Served()
    with capturedLogs() as logged:
        assert served.ask("POST", "/captures", body, cookie=None, content_type=kind).status == 401
        assert served.ask("POST", "/captures", body, content_type=kind).status == 415
    assert logged == []
    assert served.page.counters["requestErrors"] == 0
    assert served.page.counters["requestsRefused"] == 2


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "HEAD"])
def test_aRequestAboutTheWholeServerIsChecked(method: str) -> None:
    served = Served()
    assert served.ask(method, "*").status == (405 if method == "OPTIONS" else 404)
    assert served.ask(method, "*", cookie=None).status == 401
    assert served.ask(method, "*", host="evil.example").status == 421


def test_strangersDoNotEndALongAnswer() -> None:
    served = Served()
    served.capture()
    watching = [asked(served, "/events")[1] for _ in range(MAX_WATCHING)]
    loading = [asked(served, "/captures/1.pcapng")[1] for _ in range(MAX_DOWNLOADS)]
    for _ in range(2 * MAX_CLIENTS):
        served.connect()
    assert not any(transport.disconnected for transport in watching + loading)
    assert served.page.counters["clientsEvicted"] == MAX_CLIENTS + MAX_WATCHING + MAX_DOWNLOADS + 2


def test_theCountersOfThePageAreInTheReading() -> None:
    served = Served()
    assert served.ask("GET", "/latest.json").json()["counters"] == []
    served.ask("GET", "/none")
    served.ask("GET", "/none")
    served.run(1.5)
    (shown,) = served.ask("GET", "/latest.json").json()["counters"]
    assert shown.pop("rate") == pytest.approx(2, rel=0.2)
    assert shown == {"part": "page", "name": "requestsRefused", "value": 2, "isDrop": False}


def served() -> tuple[LivePage, MemoryReactorClock]:
    """
    Serve a page on a reactor in memory.
    """
    reactor = MemoryReactorClock()
    page = LivePage("tcp:8080:interface=127.0.0.1", reactor, control=True)
    page.add("tap0", host=Host(["10.0.0.1/24"], reactor))
    page.startService()
    return page, reactor


def test_aStoppedPageAnswersNoMore() -> None:
    """
    A request that waits behind a long answer would begin the readings again.
    """
    page, reactor = served()
    guard = page._guard
    head = f" HTTP/1.1\r\nHost: localhost\r\nCookie: {guard.cookie.decode()}={guard.token}\r\n\r\n".encode()
    connections = []
    for transport, octets in [
        (StringTransport(), (b"GET /events" + head) * 2),
        (Slow(), (b"GET /events" + head) * 2),
        (Slow(), b"GET /page.js" + head + b"GET /events" + head),
        (StringTransport(), b"GET /icon.svg" + head),
        (StringTransport(), b"GET / HTTP/1.1\r\n"),
        (StringTransport(), b""),
    ]:
        protocol = page._site.buildProtocol(None)  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)
        protocol.dataReceived(octets)
        connections.append((protocol, transport))
    page.stopService()
    assert all(transport.disconnecting for _, transport in connections)
    assert [transport.disconnected for _, transport in connections] == [False, True, True, False, True, False]
    assert connections[0][1].value().endswith(b"0\r\n\r\n")
    for protocol, _ in connections:
        lost(protocol)
    assert not page._recorder.isRunning
    assert reactor.getDelayedCalls() == []
