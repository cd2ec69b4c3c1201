"""
Tests for the HTTP server of metrics: L{txtuntap.service.observe.metrics}. L{tests.real.test_metrics} tests its service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.service.observe.metrics import MAX_CLIENTS, MAX_REQUEST, TIMEOUT, MetricsFactory, MetricsProtocol

GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


class Reactor(Clock):
    """
    A clock with a fake thread pool, whose work is done when C{work} is called.

    @ivar pending: the work that the pool has not done yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Callable[[], None]] = []

    def getThreadPool(self) -> Reactor:
        return self

    def callInThreadWithCallback(self, onResult: Any, func: Any, *arguments: Any) -> None:
        def work() -> None:
            try:
                result = func(*arguments)
            except Exception:
                onResult(False, Failure())
            else:
                onResult(True, result)

        self.pending.append(work)

    def callFromThread(self, func: Any, *arguments: Any) -> None:
        func(*arguments)

    def work(self) -> None:
        """
        Do the work that the pool was given so far.
        """
        pending, self.pending = self.pending, []
        for each in pending:
            each()


class HalfTransport(StringTransport):
    """
    A fake transport that can be half closed.

    @ivar closes: the calls that closed it, as C{"half"}, C{"whole"} and C{"abort"} one after the other.
    """

    closes = ""

    def loseWriteConnection(self) -> None:
        self.closes += "half"

    def loseConnection(self) -> None:
        self.closes += "whole"

    def abortConnection(self) -> None:
        self.closes += "abort"


class MetricsTests(SynchronousTestCase):
    """
    Tests for the server without a network.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.collected = 0
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        self.factory = MetricsFactory(registry, self.reactor)
        self.transports: dict[MetricsProtocol, HalfTransport] = {}

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> list[CounterMetricFamily]:
        self.collected += 1
        return [CounterMetricFamily("asked", "How often.", self.collected)]

    def connected(self) -> tuple[MetricsProtocol, HalfTransport]:
        client = self.factory.buildProtocol(None)
        transport = self.transports[client] = HalfTransport()
        client.makeConnection(transport)  # type: ignore[no-untyped-call]
        return client, transport

    def answered(self, *pieces: bytes) -> bytes:
        """
        Send a request in pieces, and return the answer.
        """
        client, transport = self.connected()
        for piece in pieces:
            client.dataReceived(piece)
        self.reactor.work()
        self.assertEqual(transport.closes, "half" if transport.value() else "")
        self.assertEqual(client._head if transport.value() else b"", b"")
        return bytes(transport.value())

    def status(self, *pieces: bytes) -> int:
        return int(self.answered(*pieces).split(b" ")[1])

    def test_thePageHasTheCountersAndAHead(self) -> None:
        head, body = self.answered(GET).split(b"\r\n\r\n")
        self.assertEqual(
            head.split(b"\r\n"),
            [
                b"HTTP/1.1 200 OK",
                b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
                b"Content-Type: text/plain; version=0.0.4; charset=utf-8",
                b"Content-Length: %d" % len(body),
                b"Connection: close",
            ],
        )
        self.assertIn(b"\nasked_total 1.0\n", body)

    def test_aRequestMayArriveInPieces(self) -> None:
        self.assertEqual(self.status(*(GET[at : at + 1] for at in range(len(GET)))), 200)

    def test_variantsOfARequestAreAccepted(self) -> None:
        for request in (
            b"GET /metrics HTTP/1.0\r\n\r\n",
            b"\r\n\r\nGET /metrics?name[]=x HTTP/1.1\nHost: here\n\n",
            b"GET http://here:9100/metrics HTTP/1.1\r\nHost: here\r\n\r\n",
        ):
            self.assertEqual(self.status(request), 200, request)

    def test_headIsAnsweredWithoutABody(self) -> None:
        head, body = self.answered(GET.replace(b"GET", b"HEAD")).split(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertEqual(body, b"")

    def test_otherMethodsAreRefusedBeforeTheirBodyArrives(self) -> None:
        for fields in b"Content-Length: 1000000000\r\n", b"Transfer-Encoding: chunked\r\n", b"":
            for method in b"POST", b"PUT", b"DELETE", b"OPTIONS", b"X":
                answer = self.answered(method + b" /metrics HTTP/1.1\r\n" + fields + b"\r\n", b"x" * 70000)
                self.assertTrue(answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n"), answer)
                self.assertIn(b"\r\nAllow: GET, HEAD\r\n", answer)
        self.assertEqual(self.collected, 0)

    def test_otherPathsAreNotFound(self) -> None:
        for path in b"/", b"/metrics/", b"//metrics", b"*", b"http://here", b"/%6detrics":
            self.assertEqual(self.status(b"GET " + path + b" HTTP/1.1\r\n\r\n"), 404, path)

    def test_malformedRequestLinesAreRefused(self) -> None:
        for line in (
            b"GET /metrics",
            b"GET  /metrics HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01\x02",
            b"G(T / HTTP/1.1",
        ):
            self.assertEqual(self.status(line + b"\r\n\r\n"), 400, line)

    def test_aConnectionAnswersOneRequest(self) -> None:
        self.assertEqual(self.answered(GET * 3, GET).count(b"HTTP/1.1"), 1)
        self.assertEqual(self.collected, 1)

    def test_theLengthOfARequestIsBounded(self) -> None:
        fields = b"X: " + b"x" * (MAX_REQUEST - 30)
        self.assertEqual(self.status(b"GET /metrics HTTP/1.1\r\n" + fields[: MAX_REQUEST - 28] + b"\r\n\r\n"), 200)
        self.assertEqual(self.status(b"GET /metrics HTTP/1.1\r\n" + fields + b"x\r\n\r\n"), 431)
        self.assertEqual(self.status(*[b"x" * 1000] * 10), 431)
        self.assertEqual(self.status(*[b"\r\n" * 1000] * 10, GET), 200)

    @given(
        st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([GET, b"\r\n", b"\n\n", b"POST ", b" HTTP/1.1"])))
    )
    def test_garbageRaisesNothing(self, pieces: list[bytes]) -> None:
        self.setUp()
        answer = self.answered(*pieces)
        self.assertTrue(not answer or answer.startswith(b"HTTP/1.1 "))

    def test_receivedOctetsDoNotRestartTheTimer(self) -> None:
        client, transport = self.connected()
        for _ in range(TIMEOUT):
            self.assertEqual(transport.closes, "")
            client.dataReceived(b"x")
            self.reactor.advance(1)
        self.assertEqual(transport.closes, "abort")

    def test_anUnreadAnswerDoesNotRestartTheTimer(self) -> None:
        client, transport = self.connected()
        client.dataReceived(GET)
        self.reactor.work()
        self.reactor.advance(TIMEOUT)
        self.assertEqual(transport.closes, "halfabort")
        client.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual((self.reactor.getDelayedCalls(), self.factory.clients), ([], {}))

    def test_aClientThatClosesItsSideIsAnswered(self) -> None:
        client, transport = self.connected()
        client.dataReceived(GET)
        client.readConnectionLost()
        self.assertEqual(transport.closes, "")
        self.reactor.work()
        self.assertIn(b"asked_total", transport.value())
        self.assertEqual(transport.closes, "whole")

    def test_aClientThatClosesItsSideWithoutARequestIsDisconnected(self) -> None:
        client, transport = self.connected()
        client.dataReceived(b"GET /met")
        client.readConnectionLost()
        self.assertEqual((transport.value(), transport.closes), (b"", "whole"))

    def test_theConnectionClosesWhenTheClientHasReadTheAnswer(self) -> None:
        client, transport = self.connected()
        client.dataReceived(GET)
        self.reactor.work()
        client.readConnectionLost()
        self.assertEqual(transport.closes, "halfwhole")

    def test_theNumberOfConnectionsIsBounded(self) -> None:
        many = [self.connected() for _ in range(3 * MAX_CLIENTS)]
        self.assertEqual(len(self.factory.clients), MAX_CLIENTS)
        self.assertEqual([(state.size, state.bound) for state in self.factory.tables()], [(MAX_CLIENTS, MAX_CLIENTS)])
        aborted = [client for client, transport in many if transport.closes == "abort"]
        self.assertEqual(len(aborted), 2 * MAX_CLIENTS)
        self.assertFalse(self.factory.clients.keys() & set(aborted))

    def test_anEvictedClientIsNotAnswered(self) -> None:
        first, transport = self.connected()
        first.dataReceived(GET)
        while not transport.closes:
            self.connected()
        self.reactor.work()
        self.assertEqual((transport.value(), transport.closes), (b"", "abort"))

    def test_clientsThatAskMeanwhileShareTheNextPage(self) -> None:
        transports = []
        for _ in range(10):
            client, transport = self.connected()
            transports.append(transport)
            client.dataReceived(GET)
        self.assertEqual(len(self.reactor.pending), 1)
        self.reactor.work()
        self.assertEqual([b"asked_total 1.0" in each.value() for each in transports], [True] + [False] * 9)
        self.reactor.work()
        self.assertEqual([b"asked_total 2.0" in each.value() for each in transports], [False] + [True] * 9)
        self.assertEqual(self.reactor.pending, [])

    def test_aDisconnectedClientIsNotAnswered(self) -> None:
        client, transport = self.connected()
        client.dataReceived(GET)
        client.connectionLost(Failure(ConnectionDone()))
        self.reactor.work()
        self.assertEqual((transport.value(), transport.closes), (b"", ""))

    def test_aFailureToMakeThePageIsReportedAndLoggedOnceASecond(self) -> None:
        self.collect = lambda: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        for _ in range(3):
            self.assertEqual(self.status(GET), 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_connectionsAreAbortedWhenThePortCloses(self) -> None:
        transports = [self.connected()[1] for _ in range(3)]
        self.factory.stopFactory()
        self.assertEqual([each.closes for each in transports], ["abort"] * 3)
