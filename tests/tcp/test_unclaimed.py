"""
Tests for SYNs to ports without a listener, about which the application decides.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import Oops
from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Readers
from txtuntap.tcp import Answer, Limits, TCPProtocol, UnclaimedSYN
from txtuntap.wire.tcp import ACK, CWR, ECE, FIN, RST, SYN, packSynOptions


class UnclaimedTests(SynchronousTestCase):
    """
    Tests for the calls of the application, and for its decisions.
    """

    def setUp(self) -> None:
        self.asked: list[UnclaimedSYN] = []
        self.answer: Any = Answer.REFUSE

    def ask(self, syn: UnclaimedSYN) -> Any:
        self.asked.append(syn)
        return self.answer() if callable(self.answer) else self.answer

    def peer(self, **options: Any) -> RawPeer:
        return RawPeer(TCPProtocol(unclaimed=self.ask, limits=Limits(**options)))

    def test_theApplicationSeesTheSYN(self) -> None:
        peer = self.peer()
        options = packSynOptions(1400, 7, True, (5, 0))
        peer.send(THEIRS, OURS, 4000, 81, 1000, 0, SYN | ECE | CWR, options=options)
        (syn,) = self.asked
        self.assertEqual((syn.host, syn.peer), (IPv4Address("TCP", OURS, 81), IPv4Address("TCP", THEIRS, 4000)))
        self.assertEqual((syn.options.mss, syn.options.scale, syn.options.timestamp), (1400, 7, 5))
        self.assertTrue(syn.options.sackPermitted)
        self.assertTrue(syn.asksECN)

    def test_refuseSendsAReset(self) -> None:
        peer = self.peer()
        (answer,) = peer.syn(81, payload=b"four")
        self.assertEqual((answer.flags, answer.sequence, answer.acknowledgment), (RST | ACK, 0, 1005))
        self.assertEqual(peer.counters["outRsts"], 1)
        self.assertEqual(peer.counters["noPorts"], 1)

    def test_silenceSendsNothing(self) -> None:
        self.answer = Answer.SILENCE
        peer = self.peer()
        self.assertEqual(peer.syn(81), [])
        self.assertEqual(peer.counters["unclaimedSilences"], 1)

    def test_aFactoryGetsTheConnection(self) -> None:
        self.answer = factory = Readers()
        peer = self.peer()
        connection = peer.open(81)
        connection.send(b"hello")
        (reader,) = factory.made
        transport: Any = reader.transport
        self.assertEqual(reader.data, b"hello")
        self.assertEqual(transport.getHost(), IPv4Address("TCP", OURS, 81))
        # The application is asked again about the next SYN, because no port listens.
        peer.syn(81, sourcePort=4001)
        self.assertEqual(len(self.asked), 2)

    def test_aDeferredAnswersLater(self) -> None:
        for answer in Readers(), Answer.REFUSE, Answer.SILENCE:
            self.answer = waiting = Deferred[Any]()
            peer = self.peer()
            self.assertEqual(peer.syn(81), [])
            peer.clock.advance(9)
            waiting.callback(answer)
            flags = [sent.flags for sent in peer.sent()]
            expected = [SYN | ACK] if isinstance(answer, Readers) else [RST | ACK] if answer is Answer.REFUSE else []
            self.assertEqual(flags, expected)
            self.assertEqual(peer.table("unclaimed").size, 0)

    def test_aCoroutineAnswersLater(self) -> None:
        waiting = Deferred[Any]()

        async def later() -> Any:
            return await waiting

        def begin() -> Coroutine[Deferred[Any], Any, Any]:
            return later()

        self.answer = begin
        peer = self.peer()
        self.assertEqual(peer.syn(81), [])
        waiting.callback(Answer.REFUSE)
        self.assertEqual([sent.flags for sent in peer.sent()], [RST | ACK])

    def test_aSYNToAListenerIsNotAskedAbout(self) -> None:
        peer = self.peer()
        peer.host.listenTCP(80, Readers())
        peer.open(80)
        self.assertEqual(self.asked, [])

    def test_onlySYNsAreAskedAbout(self) -> None:
        peer = self.peer()
        for flags in ACK, FIN, SYN | FIN, SYN | ACK, 0:
            (answer,) = peer.send(THEIRS, OURS, 4000, 81, 1000, 5, flags)
            self.assertTrue(answer.flags & RST)
        self.assertEqual(peer.send(THEIRS, OURS, 4000, 81, 1000, 5, SYN | RST), [])
        self.assertEqual(self.asked, [])

    def test_aDeferredIsCancelledAfterTenSeconds(self) -> None:
        cancelled: list[Any] = []
        self.answer = Deferred[Any](lambda _: None)
        self.answer.addErrback(lambda reason: cancelled.append(reason.type))
        peer = self.peer()
        peer.syn(81)
        peer.clock.advance(9.9)
        self.assertEqual(cancelled, [])
        peer.clock.advance(0.2)
        self.assertEqual(cancelled, [CancelledError])
        self.assertEqual(peer.sent(), [])
        self.assertEqual(peer.counters["unclaimedTimeouts"], 1)
        self.assertEqual(peer.table("unclaimed").size, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_aLateAnswerIsIgnored(self) -> None:
        self.answer = waiting = Deferred[Any]()
        peer = self.peer()
        peer.syn(81)
        peer.clock.advance(11)
        waiting.callback(Answer.REFUSE)
        self.assertEqual(peer.sent(), [])

    def test_repetitionsAreCounted(self) -> None:
        self.answer = waiting = Deferred[Any]()
        peer = self.peer()
        for _ in range(4):
            self.assertEqual(peer.syn(81), [])
        (syn,) = self.asked
        self.assertEqual(syn.repetitions, 3)
        waiting.callback(Readers())
        self.assertEqual([sent.flags for sent in peer.sent()], [SYN | ACK])

    def test_aResetCancelsTheDeferred(self) -> None:
        self.answer = waiting = Deferred[Any]()
        cancelled: list[Any] = []
        waiting.addErrback(lambda reason: cancelled.append(reason.type))
        peer = self.peer()
        peer.syn(81)
        peer.send(THEIRS, OURS, 4000, 81, 1000, 0, RST)
        self.assertEqual(cancelled, [])
        peer.send(THEIRS, OURS, 4000, 81, 1001, 0, RST)
        self.assertEqual(cancelled, [CancelledError])
        self.assertEqual(peer.table("unclaimed").size, 0)

    def test_aPortThatListensMeanwhileGetsTheConnection(self) -> None:
        self.answer = waiting = Deferred[Any]()
        peer = self.peer()
        peer.syn(81)
        listening = Readers()
        peer.host.listenTCP(81, listening)
        connection = peer.open(81)
        waiting.callback(Readers())
        self.assertEqual(peer.sent(), [])
        connection.send(b"x")
        self.assertEqual(listening.made[0].data, b"x")

    def test_exceptionsAreLoggedOnceASecond(self) -> None:
        def fail() -> None:
            raise Oops

        def failLater() -> Any:
            waiting = Deferred[Any]()
            waiting.errback(Oops())
            return waiting

        for answer in fail, failLater:
            self.answer = answer
            peer = self.peer()
            for number in range(5):
                self.assertEqual(peer.syn(81, sourcePort=4000 + number), [])
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
            peer.clock.advance(1.1)
            peer.syn(81, sourcePort=4010)
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
            self.assertEqual(peer.counters["protocolFailures"], 6)

    def test_aWrongAnswerIsLogged(self) -> None:
        self.answer = lambda: None
        peer = self.peer()
        self.assertEqual(peer.syn(81), [])
        (failure,) = self.flushLoggedErrors(TypeError)
        self.assertIn("unclaimed returns a factory, Answer.REFUSE", str(failure.value))

    def test_waitingSYNsHaveABound(self) -> None:
        self.answer = Deferred[Any]
        peer = self.peer()
        for number in range(300):
            peer.syn(81, source=f"10.1.{number >> 8}.{number & 255}")
        self.assertEqual(len(self.asked), 256)
        self.assertEqual((peer.table("unclaimed").size, peer.table("unclaimed").bound), (256, 256))
        self.assertEqual(peer.counters["unclaimedOverflows"], 44)

    def test_waitingSYNsOfAPeerHaveABound(self) -> None:
        self.answer = Deferred[Any]
        peer = self.peer()
        for number in range(70):
            self.assertEqual(peer.syn(81, sourcePort=4000 + number), [])
        self.assertEqual(len(self.asked), 64)
        peer.syn(81, source="10.0.0.9")
        self.assertEqual(len(self.asked), 65)
        self.assertEqual(peer.table("unclaimed of a peer").size, 64)

    def test_theOldestIsEvictedWithoutCookies(self) -> None:
        """
        If too many connections are half open, the oldest one with a factory from C{unclaimed} is evicted. No cookie is
        sent.
        """
        self.answer = factory = Readers()
        peer = self.peer(halfOpen=2)
        opened = peer.open(81, sourcePort=3999)
        (first,), (second,), (third,) = (peer.syn(81, sourcePort=port) for port in (4000, 4001, 4002))
        self.assertEqual(peer.table("half open").size, 2)
        self.assertEqual((peer.counters["unclaimedEvictions"], peer.counters["cookiesSent"]), (1, 0))
        for port, answer, flags in (4000, first, [RST]), (4001, second, []), (4002, third, []):
            sent = peer.send(THEIRS, OURS, port, 81, 1001, answer.sequence + 1, ACK)
            self.assertEqual([each.flags for each in sent], flags, port)
        self.assertEqual(len(factory.made), 3)
        # Connections that were established or reset are not evicted.
        peer.send(THEIRS, OURS, 4003, 81, 1001, peer.syn(81, sourcePort=4003)[0].sequence, RST)
        for port in 4004, 4005, 4006:
            self.assertEqual(len(peer.syn(81, sourcePort=port)), 1)
        self.assertEqual(peer.counters["unclaimedEvictions"], 2)
        opened.send(b"hello")
        self.assertEqual(factory.made[0].data, b"hello")

    def test_connectionsOfListenersAreNotEvicted(self) -> None:
        """
        A half-open connection of a listening port is not evicted for one without a listener.
        """
        self.answer = Readers()
        peer = self.peer(halfOpen=2)
        listening = Readers()
        peer.host.listenTCP(80, listening)
        answers = [peer.syn(80, sourcePort=port)[0] for port in (4000, 4001)]
        self.assertEqual(peer.syn(81, sourcePort=4002), [])
        self.assertEqual((peer.counters["backlogOverflows"], peer.counters["unclaimedEvictions"]), (1, 0))
        for port, answer in (4000, answers[0]), (4001, answers[1]):
            peer.send(THEIRS, OURS, port, 80, 1001, answer.sequence + 1, ACK)
        self.assertEqual(len(listening.made), 2)
        self.assertEqual(len(peer.syn(81, sourcePort=4002)), 1)

    def test_theBoundsAreArguments(self) -> None:
        self.answer = Deferred[Any]
        peer = self.peer(unclaimed=3, peerUnclaimed=2)
        for source in THEIRS, THEIRS, THEIRS, "10.0.0.8", "10.0.0.9":
            peer.syn(81, source=source, sourcePort=4000 + len(self.asked))
        self.assertEqual(len(self.asked), 3)

    def test_stoppingCancelsDeferreds(self) -> None:
        cancelled: list[Any] = []
        self.answer = Deferred[Any]()
        self.answer.addErrback(lambda reason: cancelled.append(reason.type))
        peer = self.peer()
        peer.syn(81)
        peer.port.stopListening()
        peer.clock.advance(1)
        self.assertEqual(cancelled, [CancelledError])
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_aSYNFromABroadcastAddressIsNotAskedAbout(self) -> None:
        peer = self.peer()
        peer.send("10.255.255.255", OURS, 4000, 81, 1000, 0, SYN)
        self.assertEqual(self.asked, [])

    def test_unclaimedIsCallable(self) -> None:
        self.assertRaises(TypeError, TCPProtocol, unclaimed=Readers())


class AnyAddressTests(SynchronousTestCase):
    """
    Tests for hosts with addresses of whole networks.
    """

    def test_getHostReturnsTheAddress(self) -> None:
        factory = Readers()
        peer = RawPeer(anyAddresses=["10.77.0.0/16", "fd77::/48"])
        peer.host.listenTCP(80, factory)
        for theirs, address in (THEIRS, "10.77.3.4"), ("fd00::1", "fd77::3:4"):
            (answer,) = peer.send(theirs, address, 4000, 80, 1000, 0, SYN)
            self.assertEqual((answer.source, answer.flags), (address, SYN | ACK))
            peer.send(theirs, address, 4000, 80, 1001, answer.sequence + 1, ACK)
            transport: Any = factory.made[-1].transport
            self.assertEqual(transport.getHost().host, address)

    def test_unclaimedSeesTheAddress(self) -> None:
        asked: list[UnclaimedSYN] = []
        tcp = TCPProtocol(unclaimed=lambda syn: asked.append(syn) or Answer.REFUSE)  # type: ignore[func-returns-value]
        peer = RawPeer(tcp, anyAddresses=["10.77.0.0/16"])
        (answer,) = peer.send(THEIRS, "10.77.9.9", 4000, 81, 1000, 0, SYN)
        self.assertEqual((answer.source, answer.flags), ("10.77.9.9", RST | ACK))
        self.assertEqual(asked[0].host, IPv4Address("TCP", "10.77.9.9", 81))
