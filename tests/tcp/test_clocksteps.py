"""
The clocks of a host with connections are set, or its machine is suspended: everything happens when it should.
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

#: What is done to the wall clock of the first host, in seconds.
STEPS = (0.0, HOUR, -HOUR, -1e8)


def _given(waiting: Deferred[Any], syn: object) -> Deferred[Any]:
    """
    Answer an unclaimed SYN by a Deferred.
    """
    return waiting


class ClockTestCase(SynchronousTestCase):
    """
    @ivar near: the host that connects, whose wall clock is set; C{far}: the one that listens.
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
        Have the link lose all packets, or none any more.
        """
        self.world.loss = 1.0
        self.world.isHealed = not isCut

    def happensAt(self, seconds: float, happened: Callable[[], object]) -> None:
        """
        Something happens within half a second of when it should.
        """
        self.world.run(seconds - 0.25)
        self.assertFalse(happened())
        self.world.run(0.5)
        self.assertTrue(happened())


class SetTests(ClockTestCase):
    """
    The wall clock of a host is set, both ways.
    """

    def test_connecting(self) -> None:
        for step in STEPS:
            self.start()
            self.near.connectTCP("10.0.0.2", 80, self.clients)
            self.clock.setBy(step)
            self.world.run(0.5)
            self.assertEqual(len(self.clients.made), 1)

    def test_connectingUntilTheTimeout(self) -> None:
        for step in STEPS:
            self.start()
            self.cut()
            self.near.connectTCP("10.0.0.2", 80, self.clients)
            self.world.run(10)
            self.clock.setBy(step)
            self.happensAt(20, lambda: self.clients.failed)
            self.assertIsInstance(self.clients.failed[0], TimeoutError)

    def test_aborting(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.client.transport.abortConnection()
            self.clock.setBy(step)
            self.world.run(0.5)
            self.assertIsInstance(self.client.lost, ConnectionAborted)

    def test_stoppingToListen(self) -> None:
        for step in STEPS:
            self.start()
            port: Any = self.near.listenTCP(80, Server())
            done = port.stopListening()
            self.clock.setBy(step)
            self.world.run(0.5)
            self.successResultOf(done)

    def test_sendingAgain(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.cut()
            self.client.transport.write(b"lost")
            # The next one leaves 1.5 seconds after the first.
            self.world.run(1)
            self.clock.setBy(step)
            self.cut(False)
            self.happensAt(0.57, lambda: self.server.data)

    def hasSent(self, before: int) -> bool:
        """
        Whether the client has sent more segments than before.
        """
        return bool(self.client.transport.connection.segmentsOut > before)

    def test_keepAlive(self) -> None:
        for step in STEPS:
            self.start()
            self.connect()
            self.client.transport.setTcpKeepAlive(True)
            self.world.run(3)
            self.cut()
            self.clock.setBy(step)
            self.world.run(7190)
            sent = self.client.transport.connection.segmentsOut
            self.happensAt(6, partial(self.hasSent, sent))
            self.happensAt(9 * 75, lambda: self.client.lost)

    def test_timeWait(self) -> None:
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

    def test_unclaimed(self) -> None:
        for step in STEPS:
            waiting: Deferred[Any] = Deferred()
            self.start(tcp=TCPProtocol(unclaimed=partial(_given, waiting)))
            self.near.connectTCP("10.0.0.2", 81, self.clients)
            self.world.run(3)
            self.world.ends[1].clock.setBy(step)
            self.happensAt(7, partial(getattr, waiting, "called"))

    def context(self) -> DefaultOpenSSLContextFactory:
        """
        A context of a server, with a certificate.
        """
        with TemporaryDirectory() as folder:
            file = certificate(Path(folder), "server", server=True).file
            return DefaultOpenSSLContextFactory(file, file)

    def test_tls(self) -> None:
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

    def test_startTLS(self) -> None:
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


class EarlyTests(ClockTestCase):
    """
    A timer is early by what a clock rounds: then what is due happens, as a wait for the rest might have no end.
    """

    def early(self, seconds: float) -> None:
        """
        Have the calls that are due after some time come a little early.
        """
        self.clock.advance(seconds - GRAIN / 2)
        self.clock.setBy(GRAIN / 2, noticed=False)
        self.clock.advance(0)

    def test_sendingAgain(self) -> None:
        self.start()
        self.connect()
        self.cut()
        self.client.transport.write(b"lost")
        self.world.run(0.01)
        sent = self.near.tcp.counters.retransSegs
        self.early(self.client.transport.connection.deadline - self.clock.steadySeconds())
        self.assertEqual(self.near.tcp.counters.retransSegs, sent + 1)

    def test_unclaimed(self) -> None:
        waiting: Deferred[Any] = Deferred()
        tcp = TCPProtocol(unclaimed=partial(_given, waiting))
        self.start(tcp=tcp)
        self.clock = self.world.ends[1].clock
        self.near.connectTCP("10.0.0.2", 81, self.clients)
        self.world.run(1)
        # Nothing else waits on that host.
        self.early(self.world.ends[1].until)
        self.assertTrue(waiting.called)


class SuspendedTests(ClockTestCase):
    """
    The machine of a host is suspended, while packets are under way.
    """

    def timeout(self) -> float:
        """
        The retransmission timeout of the client, in seconds.
        """
        return float(self.client.transport.connection.sender.roundTrip.timeout)

    def test_connecting(self) -> None:
        for seconds in HOUR, 50 * DAY:
            self.start()
            self.near.connectTCP("10.0.0.2", 80, self.clients, timeout=None)
            # The SYN is under way, and the next one leaves when the machine is awake.
            self.world.run(0.005)
            self.world.suspend(0, seconds)
            self.world.run(1)
            self.client, self.server = self.clients.made[0], self.servers.made[0]
            self.assertLess(self.timeout(), 5)

    def test_connectingUntilTimestampsLookOlder(self) -> None:
        # 2^31 milliseconds are between.
        pair = Pair()
        pair.drop = lambda number, index, segment: number == 0 and index == 0
        pair.at(pair.now + 0.5, lambda: pair.suspend(0, 25 * DAY))
        pair.open()
        self.assertIs(pair.ends[0].state, State.ESTABLISHED)

    def test_echoes(self) -> None:
        since, offset = 2**32 / 1000 - 1, 77
        for seconds in 0.0, 0.0007, 1.0, HOUR, 25 * DAY, 40 * DAY:
            now = since + seconds
            for at in since, (since + now) / 2, now:
                self.assertTrue(isEchoSince(timestampAt(at, offset), since, now, offset))
            self.assertFalse(isEchoSince(timestampAt(since - 0.001, offset), since, now, offset))
            self.assertFalse(isEchoSince(timestampAt(now + 0.001, offset), since, now, offset))

    def test_accepting(self) -> None:
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
        # The machine wakes up with the answer, before a timer has run out.
        pair.suspend(0, HOUR)
        pair.arrive(0, held[0])
        self.assertIs(pair.ends[0].state, State.ESTABLISHED)
        self.assertEqual(pair.ends[0].sender.roundTrip.timeout, RTO_AFTER_SYN)

    def test_anOrphanTriesOnceMore(self) -> None:
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

    def test_anOrphanIsGivenUpAllTheSame(self) -> None:
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
