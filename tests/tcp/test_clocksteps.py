"""
Tests for hosts whose clocks are set or whose machine is suspended. All timers still fire at the right time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, TimeoutError
from twisted.internet.ssl import ClientContextFactory, DefaultOpenSSLContextFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import certificate
from tests.tcp.hostile import World
from tests.tcp.hosts import Client, Server
from tests.tcp.pair import Pair, Segment, State
from txtuntap.layer.timer import GRAIN
from txtuntap.tcp import TCPProtocol
from txtuntap.tcp.handshake import isEchoSince, timestampAt
from txtuntap.tcp.rtt import RTO_AFTER_SYN

HOUR = 3600.0
DAY = 24 * HOUR

#: The steps of the wall clock of the first host, in seconds.
STEPS = (0.0, HOUR, -HOUR, -1e8)


def _given(waiting: Deferred[Any], syn: object) -> Deferred[Any]:
    """
    Return a given Deferred as the answer to an unclaimed SYN.
    """
    return waiting


class ClockTestCase(SynchronousTestCase):
    """
    Tests with two hosts, whose clocks are set.

    @ivar near: the host that connects, whose wall clock is set.
    @ivar far: the host that listens.
    @ivar clock: the clock of the near host.
    """

    def start(self, **options: Any) -> None:
        self.world = world = World(**options)
        self.addCleanup(world.stop)
        self.near, self.far = (end.host for end in world.ends)
        self.clock = world.ends[0].clock
        world.run(5)
        self.servers, self.clients = Server(), Client()
        self.port: Any = self.far.listenTCP(80, self.servers)

    def connect(self) -> None:
        self.connector: Any = self.near.connectTCP("10.0.0.2", 80, self.clients)
        self.world.run(1)
        self.client, self.server = self.clients.made[0], self.servers.made[0]

    def cut(self, isCut: bool = True) -> None:
        """
        Make the link lose all packets, or deliver all of them again.
        """
        self.world.loss = 1.0
        self.world.isHealed = not isCut

    def assertHappensAt(self, seconds: float, happened: Callable[[], object]) -> None:
        """
        Assert that an event happens after some seconds, give or take a quarter.

        @param happened: returns whether the event has happened.
        """
        self.world.run(seconds - 0.25)
        self.assertFalse(happened())
        self.world.run(0.5)
        self.assertTrue(happened())


class SetClockTests(ClockTestCase):
    """
    Tests for a wall clock that is set forward or back.
    """

    def test_aHandshakeCompletes(self) -> None:
        for step in STEPS:
            self.start()
            self.near.connectTCP("10.0.0.2", 80, self.clients)
            self.clock.setBy(step)
            self.world.run(0.5)
            self.assertEqual(len(self.clients.made), 1)

    def test_theConnectTimeoutIsKept(self) -> None:
        for step in STEPS:
            self.start()
            self.cut()
            self.near.connectTCP("10.0.0.2", 80, self.clients)
            self.world.run(10)
            self.clock.setBy(step)
            self.assertHappensAt(20, lambda: self.clients.failed)
            self.assertIsInstance(self.clients.failed[0], TimeoutError)

    def test_anAbortCompletes(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.client.transport.abortConnection()
            self.clock.setBy(step)
            self.world.run(0.5)
            self.assertIsInstance(self.client.lost, ConnectionAborted)

    def test_stopListeningCompletes(self) -> None:
        for step in STEPS:
            self.start()
            port: Any = self.near.listenTCP(80, Server())
            done = port.stopListening()
            self.clock.setBy(step)
            self.world.run(0.5)
            self.successResultOf(done)

    def test_theRetransmissionTimerIsKept(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.cut()
            self.client.transport.write(b"lost")
            # The next retransmission is sent 1.5 seconds after the first.
            self.world.run(1)
            self.clock.setBy(step)
            self.cut(False)
            self.assertHappensAt(0.57, lambda: self.server.data)

    def hasSent(self, before: int) -> bool:
        """
        Return whether the client has sent more segments than a number.
        """
        return bool(self.client.transport.connection.segmentsOut > before)

    def test_keepaliveTimesAreKept(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.client.transport.setTcpKeepAlive(True)
            self.world.run(3)
            self.cut()
            self.clock.setBy(step)
            self.world.run(7190)
            sent = self.client.transport.connection.segmentsOut
            self.assertHappensAt(6, partial(self.hasSent, sent))
            self.assertHappensAt(9 * 75, lambda: self.client.lost)

    def test_timeWaitIsKept(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.client.transport.loseConnection()
            self.world.run(0.5)
            self.assertEqual([each.state for each in self.near.connections], ["TIME-WAIT"])
            self.clock.setBy(step)
            self.world.run(59)
            self.assertEqual(len(self.near.connections), 1)
            self.world.run(1.5)
            self.assertEqual(self.near.connections, [])

    def test_theUnclaimedTimeoutIsKept(self) -> None:
        for step in STEPS:
            waiting: Deferred[Any] = Deferred()
            self.start(tcp=TCPProtocol(unclaimed=partial(_given, waiting)))
            self.near.connectTCP("10.0.0.2", 81, self.clients)
            self.world.run(3)
            self.world.ends[1].clock.setBy(step)
            self.assertHappensAt(7, partial(getattr, waiting, "called"))

    def context(self) -> DefaultOpenSSLContextFactory:
        """
        Make a TLS context for a server.
        """
        with TemporaryDirectory() as folder:
            file = certificate(Path(folder), "server", server=True).file
            return DefaultOpenSSLContextFactory(file, file)

    def test_tlsWritesAreNotDelayed(self) -> None:
        context = self.context()
        for step in STEPS:
            self.start()
            self.far.listenSSL(443, self.servers, context)
            self.near.connectSSL("10.0.0.2", 443, self.clients, ClientContextFactory())
            self.world.run(1)
            self.clients.made[0].transport.write(b"soon")
            self.clock.setBy(step)
            self.world.run(0.5)
            self.assertEqual(self.servers.made[0].data, b"soon")

    def test_startTLSWritesAreNotDelayed(self) -> None:
        context = self.context()
        for step in STEPS:
            self.start()
            self.connect()
            self.client.transport.startTLS(ClientContextFactory())
            self.server.transport.startTLS(context)
            self.world.run(1)
            self.client.transport.write(b"soon")
            self.clock.setBy(step)
            self.world.run(0.5)
            self.assertEqual(self.server.data, b"soon")


class EarlyTimerTests(ClockTestCase):
    """
    Tests for timers that fire early by the rounding of a clock. They count as due, because a wait for the rest might
    never end.
    """

    def fireEarly(self, seconds: float) -> None:
        """
        Run the calls that are due after some seconds, less than a grain of the clock too early.
        """
        self.clock.advance(seconds - GRAIN / 2)
        self.clock.setBy(GRAIN / 2, noticed=False)
        self.clock.advance(0)

    def test_anEarlyRetransmissionTimerCounts(self) -> None:
        self.start()
        self.connect()
        self.cut()
        self.client.transport.write(b"lost")
        self.world.run(0.01)
        sent = self.near.tcp.counters.retransSegs
        self.fireEarly(self.client.transport.connection.deadline - self.clock.steadySeconds())
        self.assertEqual(self.near.tcp.counters.retransSegs, sent + 1)

    def test_anEarlyUnclaimedTimerCounts(self) -> None:
        waiting: Deferred[Any] = Deferred()
        tcp = TCPProtocol(unclaimed=partial(_given, waiting))
        self.start(tcp=tcp)
        self.clock = self.world.ends[1].clock
        self.near.connectTCP("10.0.0.2", 81, self.clients)
        self.world.run(1)
        # The far host has no other timer.
        self.fireEarly(self.world.ends[1].until)
        self.assertTrue(waiting.called)


class SuspendedTests(ClockTestCase):
    """
    Tests for a machine that is suspended while packets are on the link.
    """

    def timeout(self) -> float:
        """
        Return the retransmission timeout of the client, in seconds.
        """
        return float(self.client.transport.connection.sender.roundTrip.timeout)

    def test_aClientConnectsAfterTheSuspension(self) -> None:
        for seconds in HOUR, 50 * DAY:
            self.start()
            self.near.connectTCP("10.0.0.2", 80, self.clients, timeout=None)
            # The SYN is on the link now, and the next one is sent when the machine wakes up.
            self.world.run(0.005)
            self.world.suspend(0, seconds)
            self.world.run(1)
            self.client, self.server = self.clients.made[0], self.servers.made[0]
            self.assertLess(self.timeout(), 5)

    def test_aClientConnectsThoughTimestampsLookOlder(self) -> None:
        # The suspension is longer than 2^31 milliseconds, half of the range of timestamps.
        pair = Pair()
        pair.drop = lambda number, index, segment: number == 0 and index == 0
        pair.at(pair.now + 0.5, lambda: pair.suspend(0, 25 * DAY))
        pair.open()
        self.assertIs(pair.ends[0].state, State.ESTABLISHED)

    def test_isEchoSinceHoldsForAnySpan(self) -> None:
        since, offset = 2**32 / 1000 - 1, 77
        for seconds in 0.0, 0.0007, 1.0, HOUR, 25 * DAY, 40 * DAY:
            now = since + seconds
            for at in since, (since + now) / 2, now:
                self.assertTrue(isEchoSince(timestampAt(at, offset), since, now, offset))
            self.assertFalse(isEchoSince(timestampAt(since - 0.001, offset), since, now, offset))
            self.assertFalse(isEchoSince(timestampAt(now + 0.001, offset), since, now, offset))

    def test_aServerAcceptsAfterTheSuspension(self) -> None:
        for seconds in HOUR, 50 * DAY:
            self.start()
            self.near.connectTCP("10.0.0.2", 80, self.clients)
            self.world.run(0.015)
            self.world.suspend(1, seconds)
            self.world.run(1)
            self.servers.made[0].transport.write(b"data")
            self.world.run(1)
            self.assertEqual(self.clients.made[0].data, b"data")

    def test_theSuspensionIsNoRoundTrip(self) -> None:
        self.start()
        self.connect()
        before = self.timeout()
        self.client.transport.write(b"data")
        self.world.run(0.015)
        self.world.suspend(0, HOUR)
        self.world.run(1)
        self.assertEqual(self.server.data, b"data")
        self.assertLess(self.timeout(), 2 * before)

    def test_theSuspensionIsNoRoundTripOfAHandshake(self) -> None:
        pair = Pair()
        held: list[Segment] = []

        def hold(number: int, index: int, segment: Segment) -> bool:
            if number == 1:
                held.append(segment)
            return number == 1

        pair.drop = hold
        pair.ends[0].connect(pair.time(0))
        pair.run(0.5, lambda: bool(held))
        # The machine wakes up when the answer arrives, before a timer fires.
        pair.suspend(0, HOUR)
        pair.arrive(0, held[0])
        self.assertIs(pair.ends[0].state, State.ESTABLISHED)
        self.assertEqual(pair.ends[0].sender.roundTrip.timeout, RTO_AFTER_SYN)

    def test_anOrphanRetransmitsOnceMore(self) -> None:
        self.start()
        self.connect()
        self.cut()
        self.client.transport.write(b"data")
        self.client.transport.loseConnection()
        self.world.run(1)
        self.cut(False)
        self.world.suspend(0, HOUR)
        self.world.run(5)
        self.assertEqual(self.server.data, b"data")
        self.assertIsInstance(self.server.lost, ConnectionDone)

    def test_anOrphanIsGivenUpAfterTheSuspension(self) -> None:
        self.start()
        self.connect()
        self.cut()
        self.client.transport.write(b"data")
        self.client.transport.loseConnection()
        self.world.run(1)
        self.world.suspend(0, HOUR)
        self.assertEqual(len(self.near.connections), 1)
        self.world.run(5)
        self.assertEqual(self.near.connections, [])
