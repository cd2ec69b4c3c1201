"""
A tunnel's packets over a stream.
"""

from __future__ import annotations

import itertools
import os
import socket
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IFileDescriptorReceiver, ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from tests.ports import RecordingPort
from tests.tunnel.test_tunnel import packet
from txtuntap.device import TUN
from txtuntap.packet import Packet
from txtuntap.tunnel import Frames, StreamCarrier, StreamFactory, Tunnel, connecting
from txtuntap.tunnel import stream as streams
from txtuntap.tunnel.framing import FramingError
from txtuntap.tunnel.socat import SocatStream


class Transport(StringTransport):
    """
    A connection that can be aborted.
    """

    def __init__(self, carrier: StreamCarrier, host: str = "192.0.2.1", late: bool = False) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, 4001))  # type: ignore[no-untyped-call]
        self.carrier = carrier
        self.late = late
        self.aborted = False

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = True
            if not self.late:
                self.carrier.connectionLost(Failure(ConnectionDone()))


class StreamTests(SynchronousTestCase):
    """
    L{StreamCarrier} and L{StreamFactory}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.tunnel = Tunnel(TUN)
        self.wire = RecordingPort()
        self.tunnel.makeConnection(self.wire)
        self.factory = StreamFactory(self.tunnel, Frames, self.clock)
        self.lines: list[str] = []
        self.factory._log = self  # type: ignore[assignment]
        self.factory.log._log = self  # type: ignore[assignment]

    def emit(self, level: object, format: str, **fields: object) -> None:
        """
        A log, to the factory.
        """
        self.lines.append(format.format(**fields))

    def connected(self, host: str = "192.0.2.1", late: bool = False) -> tuple[StreamCarrier, Transport]:
        """
        A connection whose peer has said nothing yet.

        @param late: whether its end is only told of in a later turn, as with a real one.
        """
        carrier = self.factory.buildProtocol(None)
        transport = Transport(carrier, host, late)
        carrier.makeConnection(transport)
        return carrier, transport

    def up(self) -> tuple[StreamCarrier, Transport]:
        """
        A connection that is established.
        """
        carrier, transport = self.connected()
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        transport.clear()
        return carrier, transport

    def test_bothSayWhoTheyAre(self) -> None:
        carrier, transport = self.connected()
        self.assertEqual(Frames(TUN).greeting(0, 1500), transport.value())
        self.assertIsNone(self.tunnel.carrier)
        established = carrier.whenEstablished()
        self.assertNoResult(established)
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        self.assertIs(carrier, self.tunnel.carrier)
        self.assertIs(carrier, self.successResultOf(established))
        self.assertEqual({}, self.factory.strangers)

    def test_allWhoAskAreToldOfTheEnd(self) -> None:
        carrier, _ = self.up()
        waiting = [carrier.whenLost(), carrier.whenLost()]
        carrier.send(packet())
        carrier.loseConnection()
        for each in (*waiting, carrier.whenLost(), carrier.whenEstablished()):
            self.failureResultOf(each, ConnectionDone)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_whereTheMTUsDifferTheLogSaysSo(self) -> None:
        for mtu in 1500, 1400, 9000:
            carrier, _ = self.connected()
            carrier.dataReceived(Frames(TUN).greeting(0, mtu))
        (line,) = [each for each in self.lines if "MTU" in each]
        self.assertIn("192.0.2.1:4001 has an MTU of 1400, this end's 1500", line)

    def test_packets(self) -> None:
        carrier, transport = self.up()
        self.tunnel.packetReceived(Packet(packet()))
        self.clock.advance(0)
        said = transport.value()
        self.assertEqual(b"".join(Frames(TUN).pack(packet())), said)
        for octet in said:
            carrier.dataReceived(bytes([octet]))
        self.assertEqual([packet()], self.wire.sent)

    def test_whatWaitsIsBounded(self) -> None:
        carrier, transport = self.up()
        carrier.pauseProducing()
        for _ in range(20000):
            self.tunnel.packetReceived(Packet(packet()))
        self.assertEqual(b"", transport.value())
        waiting = streams.MAX_WAITING // (100 + streams.PACKET_COST)
        self.assertEqual(waiting, self.tunnel.counters["outPackets"])
        self.assertEqual(20000 - waiting, self.tunnel.counters["outDiscards"])
        states = {state.name: state for state in self.factory.tables()}
        self.assertEqual(waiting * (100 + streams.PACKET_COST), states["tunnel output"].size)
        other = StreamFactory(self.tunnel, Frames, self.clock)
        self.assertNotIn("tunnel output", [state.name for state in other.tables()])
        carrier.resumeProducing()
        self.assertEqual(waiting * 114, len(transport.value()))
        self.tunnel.packetReceived(Packet(packet()))
        self.clock.advance(0)
        self.assertEqual((waiting + 1) * 114, len(transport.value()))

    def test_signsOfLife(self) -> None:
        carrier, transport = self.up()
        for _ in range(10):
            self.clock.advance(streams.KEEPALIVE_INTERVAL)
            self.assertEqual(Frames.keepalive, transport.value())
            transport.clear()
            carrier.dataReceived(Frames.keepalive)
        self.assertFalse(transport.aborted)
        # The last was in the interval that has just begun.
        for _ in range(1 + streams.MAX_SILENCES):
            self.assertFalse(transport.aborted)
            self.clock.advance(streams.KEEPALIVE_INTERVAL)
        self.assertTrue(transport.aborted)
        self.assertIsNone(self.tunnel.carrier)
        self.assertIn("silent", self.lines[-1])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_noneIsSentWhereThereWerePackets(self) -> None:
        _, transport = self.up()
        self.tunnel.packetReceived(Packet(packet()))
        self.clock.advance(0)
        transport.clear()
        self.clock.advance(streams.KEEPALIVE_INTERVAL)
        self.assertEqual(b"", transport.value())

    def test_whoSaysNothingForEverIsGivenUp(self) -> None:
        _, transport = self.connected()
        self.clock.advance(streams.GREETING_TIME)
        self.assertTrue(transport.aborted)
        self.assertEqual({}, self.factory.strangers)
        self.assertEqual(1, self.tunnel.counters["inRefused"])

    def test_halfAGreetingIsGivenUp(self) -> None:
        carrier, transport = self.connected()
        carrier.dataReceived(b"txtun")
        self.clock.advance(streams.GREETING_TIME)
        self.assertTrue(transport.aborted)

    def test_garbageEndsIt(self) -> None:
        for said in b"GET /", Frames(TUN).greeting(0, 1) + b"\xff" * 14:
            carrier, transport = self.connected()
            carrier.dataReceived(said)
            self.assertTrue(transport.disconnecting)
            carrier.dataReceived(b"more of it" * 1000)
            # It does not go by itself.
            self.clock.advance(streams.PARTING_TIME)
            self.assertTrue(transport.aborted)
        self.assertEqual(2, self.tunnel.counters["inFramingErrors"])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_aDescriptorEndsIt(self) -> None:
        carrier, transport = self.connected()
        # Without that, Twisted would log each that comes.
        self.assertTrue(IFileDescriptorReceiver.providedBy(carrier))
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        carrier.fileDescriptorReceived(reading)
        self.assertRaises(OSError, os.fstat, reading)
        self.assertTrue(transport.aborted)

    def test_eachReasonIsSaidOnceAMinute(self) -> None:
        for _ in range(100):
            carrier, _ = self.connected()
            carrier.dataReceived(b"GET /")
            self.clock.advance(0.5)
        self.clock.advance(streams.PARTING_TIME)
        self.assertEqual(1, len(self.lines))
        self.clock.advance(60)
        carrier, _ = self.connected()
        carrier.dataReceived(b"GET /")
        self.clock.advance(3)
        self.assertIn("99 more", self.lines[-1])
        self.assertEqual(2, len(self.lines))

    def test_theLogTellsWhetherATunnelThatWasRestartedIsUp(self) -> None:
        for _ in range(3):
            _, transport = self.up()
            transport.abortConnection()
        self.up()
        said = [line.rpartition(" is ")[2] for line in self.lines]
        self.assertEqual(["up", "down: the peer has closed it"] * 3 + ["up"], said)
        for _ in range(1000):
            self.up()[1].abortConnection()
        self.assertLess(len(self.lines), 4 * streams.STATE_LINES)

    def test_strangersAreBounded(self) -> None:
        made = [self.connected() for _ in range(streams.MAX_STRANGERS + 3)]
        self.assertEqual(streams.MAX_STRANGERS, len(self.factory.strangers))
        self.assertEqual(3, sum(transport.aborted for _, transport in made))

    def test_theStrangerThatHasWaitedLongestIsNeverDropped(self) -> None:
        for places in ["192.0.2.1"] * 200, [f"10.{number}.0.1" for number in range(200)]:
            carrier, transport = self.connected("192.0.2.1")
            for host in places * 5:
                self.connected(host)
            self.assertFalse(transport.aborted)
            carrier.dataReceived(Frames(TUN).greeting(0, 1500))
            self.assertIs(carrier, self.tunnel.carrier)
            # The next one is, now.
            first = next(iter(self.factory.strangers))
            for host in places * 5:
                self.connected(host)
            self.assertIs(first, next(iter(self.factory.strangers)))
            self.factory.stop()

    def test_whereAllPlacesAreAlikeNobodyKnowsWhoIsDropped(self) -> None:
        dropped = []
        for seed in range(8):
            self.factory.random = Random(seed)
            made = [self.connected(f"10.{number}.0.1")[1] for number in range(2 * streams.MAX_STRANGERS)]
            dropped.append(tuple(transport.aborted for transport in made))
            self.factory.stop()
        self.assertEqual(8, len(set(dropped)))
        # Each of the older ones has stayed at times, and has been dropped; the first never was.
        for fates in list(zip(*dropped, strict=True))[1 : streams.MAX_STRANGERS // 2]:
            self.assertIn(True, fates)
        stayed = [not all(fates) for fates in zip(*dropped, strict=True)]
        self.assertGreater(sum(stayed[: streams.MAX_STRANGERS]), streams.MAX_STRANGERS * 3 // 4)

    def test_strangersThatComeInOneTurnAreBounded(self) -> None:
        made = [self.connected(late=True) for _ in range(streams.MAX_STRANGERS + 50)]
        self.assertEqual(50, sum(transport.aborted for _, transport in made))
        self.assertEqual(streams.MAX_STRANGERS, len(self.factory.strangers))

    def test_whoFloodsFromOnePlaceKeepsOnlyItselfOut(self) -> None:
        for flood, mine in (
            (["192.0.2.66"] * 1000, "192.0.2.1"),
            ([f"2001:db8:0:1::{number:x}" for number in range(1, 1000)], "2001:db8:0:2::1"),
            (["::ffff:192.0.2.66"] * 1000, "::ffff:192.0.2.1"),
            (["::nonsense"] * 1000, "fe80::1%eth0"),
            # From many links of one customer, of one site; from many addresses of one network.
            ([f"2001:db8:0:{number:x}::1" for number in range(256)], "2001:db8:1::1"),
            ([f"2001:db8:0:{number:x}::1" for number in range(256)], "2001:db8:0:100::1"),
            ([f"2001:db8:0:{number:x}00::1" for number in range(256)], "2001:db8:1::1"),
            ([f"2001:db8::{number:x}" for number in range(256)], "2001:db8:0:1::1"),
            ([f"192.0.2.{number}" for number in range(256)], "192.0.3.1"),
            (["192.0.2.66"] * 256, "192.0.2.67"),
        ):
            # The one that has waited longest is another.
            self.connected("198.51.100.1")
            carrier, transport = self.connected(mine)
            for host in flood:
                self.connected(host)
            self.assertFalse(transport.aborted, mine)
            carrier.dataReceived(Frames(TUN).greeting(0, 1500))
            self.assertIs(carrier, self.tunnel.carrier)
            self.factory.stop()

    def test_neighboursOfAPeerDoNotSingleItOut(self) -> None:
        # Every eighth connection of a flood from many places is from the network of an honest peer, or its site.
        for mine, near, far in (
            ("192.0.2.1", "192.0.2.66", "10.{}.0.1"),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:{:x}::1"),
        ):
            kept = 0
            for seed in range(40):
                self.factory.random = Random(seed)
                flood = [near if number % 8 == 7 else far.format(number) for number in range(1, 81)]
                for host in flood[:64]:
                    self.connected(host)
                _, transport = self.connected(mine)
                for host in flood[64:]:
                    self.connected(host)
                kept += not transport.aborted
                self.factory.stop()
            # One chosen at random is kept in 62 of 80 floods.
            self.assertGreater(kept, 20, mine)

    def test_nothingIsSentToWhoWasRefused(self) -> None:
        carrier, transport = self.up()
        self.tunnel.packetReceived(Packet(packet()))
        carrier.dataReceived(b"\xff" * 14)
        self.assertIsNone(self.tunnel.carrier)
        transport.clear()
        for _ in range(3):
            self.tunnel.packetReceived(Packet(packet()))
            self.clock.advance(0)
        self.assertEqual(b"", transport.value())
        self.assertEqual(3, self.tunnel.counters["outNotConnected"])
        self.factory.stop()
        self.assertTrue(transport.aborted)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_anEndThatStoodStillLooksForSignsOfLifeFirst(self) -> None:
        for step in 1000.0, -5.0:
            carrier, transport = self.up()
            carrier.dataReceived(Frames.keepalive)
            self.clock.rightNow += step
            self.clock.advance(streams.KEEPALIVE_INTERVAL)
            self.clock.advance(0)
            self.assertFalse(transport.aborted)
            carrier.dataReceived(Frames.keepalive)
            carrier.disconnect("")

    def test_oneThatHasEndedIsNotWaitedFor(self) -> None:
        carrier, transport = self.connected()
        transport.abortConnection()
        self.failureResultOf(carrier.whenEstablished(), ConnectionDone)

    def test_aFramingThatCannotCarryIt(self) -> None:
        def framing(mode: int) -> Any:
            raise ValueError("not that")

        self.assertRaisesRegex(ValueError, "not that", StreamFactory, self.tunnel, framing, self.clock)

    def test_aFramingWithoutAGreetingIsUpAtOnce(self) -> None:
        class Plain(Frames):
            keepalive = b""

            def __init__(self, mode: int) -> None:
                super().__init__(mode)
                self.established = True

            def greeting(self, offloads: int, mtu: int) -> bytes:
                return b""

            def dataReceived(self, data: bytes) -> Any:
                raise FramingError("never")

        factory = StreamFactory(self.tunnel, Plain, self.clock)
        carrier = factory.buildProtocol(None)
        transport = Transport(carrier)
        carrier.makeConnection(transport)
        self.assertIs(carrier, self.tunnel.carrier)
        self.clock.advance(1000)
        self.assertFalse(transport.aborted)

    def test_whereTheFramingHasNoSignsOfLifeTCPHas(self) -> None:
        class TCP(Transport):
            isAlive = False

            def setTcpNoDelay(self, enabled: bool) -> None:
                pass

            def setTcpKeepAlive(self, enabled: bool) -> None:
                self.isAlive = enabled

            def getHandle(self) -> socket.socket:
                return handle

        with socket.socket() as handle:
            for framing, seconds in (Frames, None), (SocatStream, 10):
                before = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                carrier = StreamFactory(self.tunnel, framing, self.clock).buildProtocol(None)
                transport = TCP(carrier)
                directlyProvides(transport, ITCPTransport)
                carrier.makeConnection(transport)
                self.assertEqual(seconds is not None, transport.isAlive)
                after = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                self.assertEqual(seconds or before, after)
                transport.abortConnection()
            self.assertEqual(30000, handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    def test_whoConnectsTriesAgainAndTakesALongerTimeEachTime(self) -> None:
        attempts: list[tuple[float, Deferred[Any]]] = []

        class Endpoint:
            def connect(endpoint, factory: Any) -> Deferred[Any]:
                attempts.append((self.clock.seconds(), Deferred()))
                return attempts[-1][1]

        endpoint: Any = Endpoint()
        service = connecting(endpoint, self.factory)
        service.startService()
        for _ in range(4):
            # The peer is there, and is no tunnel.
            carrier, transport = self.connected()
            attempts[-1][1].callback(carrier)
            carrier.dataReceived(b"GET /")
            transport.abortConnection()
            count = len(attempts)
            while len(attempts) == count:
                self.clock.advance(0.5)
        times = [time for time, _ in attempts]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        # There is chance in it.
        self.assertGreater(waits[-1], waits[0])
        # Once it is one, all is well; and it is connected anew when that ends.
        carrier, transport = self.connected()
        attempts[-1][1].callback(carrier)
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        transport.abortConnection()
        count = len(attempts)
        self.clock.advance(3)
        self.assertEqual(count + 1, len(attempts))
        carrier, transport = self.connected()
        attempts[-1][1].callback(carrier)
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        self.successResultOf(service.stopService())
        self.assertTrue(transport.aborted)
