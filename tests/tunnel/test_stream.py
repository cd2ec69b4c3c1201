"""
Tests for the carrier over a stream: L{txtuntap.tunnel.stream} and L{txtuntap.tunnel.client}.
"""

from __future__ import annotations

import itertools
import os
import socket
from random import Random
from typing import Any

import pytest
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
from tests.tunnel.case import packet
from txtuntap.device import TUN
from txtuntap.packet import Packet
from txtuntap.tunnel import Frames, StreamCarrier, StreamFactory, Tunnel, connecting
from txtuntap.tunnel import stream as streams
from txtuntap.tunnel.framing import FramingError
from txtuntap.tunnel.socat import SocatStream


class Transport(StringTransport):
    """
    A fake transport that can be aborted.

    @ivar late: whether an abort does not call the carrier's C{connectionLost} in the same turn.
    @ivar aborted: whether the connection was aborted.
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
    Tests for L{StreamCarrier} and L{StreamFactory}.
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
        Record a line, in the place of the factory's logger.
        """
        self.lines.append(format.format(**fields))

    def connectedStranger(self, host: str = "192.0.2.1", late: bool = False) -> tuple[StreamCarrier, Transport]:
        """
        Make a connection whose peer has not sent anything yet.

        @param late: whether the loss of the connection is not reported in the same turn, as with a real transport.
        """
        carrier = self.factory.buildProtocol(None)
        transport = Transport(carrier, host, late)
        carrier.makeConnection(transport)
        return carrier, transport

    def established(self) -> tuple[StreamCarrier, Transport]:
        """
        Make a connection whose peer has sent its greeting.
        """
        carrier, transport = self.connectedStranger()
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        transport.clear()
        return carrier, transport

    def test_theTunnelIsUpAfterBothGreetings(self) -> None:
        carrier, transport = self.connectedStranger()
        self.assertEqual(Frames(TUN).greeting(0, 1500), transport.value())
        self.assertIsNone(self.tunnel.carrier)
        established = carrier.whenEstablished()
        self.assertNoResult(established)
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        self.assertIs(carrier, self.tunnel.carrier)
        self.assertIs(carrier, self.successResultOf(established))
        self.assertEqual({}, self.factory.strangers)

    def test_everyWaiterFailsWhenTheConnectionEnds(self) -> None:
        carrier, _ = self.established()
        waiting = [carrier.whenLost(), carrier.whenLost()]
        carrier.send(packet())
        carrier.loseConnection()
        for each in (*waiting, carrier.whenLost(), carrier.whenEstablished()):
            self.failureResultOf(each, ConnectionDone)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_differentMTUsAreLogged(self) -> None:
        for mtu in 1500, 1400, 9000:
            carrier, _ = self.connectedStranger()
            carrier.dataReceived(Frames(TUN).greeting(0, mtu))
        (line,) = [each for each in self.lines if "MTU" in each]
        self.assertIn("192.0.2.1:4001 has an MTU of 1400, and this end's has 1500", line)

    def test_packetsAreSentAndReceived(self) -> None:
        carrier, transport = self.established()
        self.tunnel.packetReceived(Packet(packet()))
        self.clock.advance(0)
        said = transport.value()
        self.assertEqual(b"".join(Frames(TUN).pack(packet())), said)
        for octet in said:
            carrier.dataReceived(bytes([octet]))
        self.assertEqual([packet()], self.wire.sent)

    def test_theQueueIsBoundedWhileTheTransportIsPaused(self) -> None:
        carrier, transport = self.established()
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

    def test_aPeerWithoutKeepaliveMessagesIsDisconnected(self) -> None:
        carrier, transport = self.established()
        for _ in range(10):
            self.clock.advance(streams.KEEPALIVE_INTERVAL)
            self.assertEqual(Frames.keepalive, transport.value())
            transport.clear()
            carrier.dataReceived(Frames.keepalive)
        self.assertFalse(transport.aborted)
        # The peer's last keepalive message falls into the current interval.
        for _ in range(1 + streams.MAX_SILENCES):
            self.assertFalse(transport.aborted)
            self.clock.advance(streams.KEEPALIVE_INTERVAL)
        self.assertTrue(transport.aborted)
        self.assertIsNone(self.tunnel.carrier)
        self.assertIn("silent", self.lines[-1])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_noKeepaliveMessageIsSentInAnIntervalWithPackets(self) -> None:
        _, transport = self.established()
        self.tunnel.packetReceived(Packet(packet()))
        self.clock.advance(0)
        transport.clear()
        self.clock.advance(streams.KEEPALIVE_INTERVAL)
        self.assertEqual(b"", transport.value())

    def test_aPeerWithoutAGreetingIsDisconnected(self) -> None:
        _, transport = self.connectedStranger()
        self.clock.advance(streams.GREETING_TIME)
        self.assertTrue(transport.aborted)
        self.assertEqual({}, self.factory.strangers)
        self.assertEqual(1, self.tunnel.counters["inRefused"])

    def test_aPeerWithAnIncompleteGreetingIsDisconnected(self) -> None:
        carrier, transport = self.connectedStranger()
        carrier.dataReceived(b"txtun")
        self.clock.advance(streams.GREETING_TIME)
        self.assertTrue(transport.aborted)

    def test_garbageEndsTheConnection(self) -> None:
        for said in b"GET /", Frames(TUN).greeting(0, 1) + b"\xff" * 14:
            carrier, transport = self.connectedStranger()
            carrier.dataReceived(said)
            self.assertTrue(transport.disconnecting)
            carrier.dataReceived(b"more of it" * 1000)
            # The peer does not close the connection.
            self.clock.advance(streams.PARTING_TIME)
            self.assertTrue(transport.aborted)
        self.assertEqual(2, self.tunnel.counters["inFramingErrors"])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_aFileDescriptorEndsTheConnection(self) -> None:
        carrier, transport = self.connectedStranger()
        # Without this interface, Twisted would log each descriptor.
        self.assertTrue(IFileDescriptorReceiver.providedBy(carrier))
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        carrier.fileDescriptorReceived(reading)
        self.assertRaises(OSError, os.fstat, reading)
        self.assertTrue(transport.aborted)

    def test_eachReasonIsLoggedOnceAMinute(self) -> None:
        for _ in range(100):
            carrier, _ = self.connectedStranger()
            carrier.dataReceived(b"GET /")
            self.clock.advance(0.5)
        self.clock.advance(streams.PARTING_TIME)
        self.assertEqual(1, len(self.lines))
        self.clock.advance(60)
        carrier, _ = self.connectedStranger()
        carrier.dataReceived(b"GET /")
        self.clock.advance(3)
        self.assertIn("99 more", self.lines[-1])
        self.assertEqual(2, len(self.lines))

    def test_theLastLineTellsWhetherARestartedTunnelIsUp(self) -> None:
        for _ in range(3):
            _, transport = self.established()
            transport.abortConnection()
        self.established()
        said = [line.rpartition(" is ")[2] for line in self.lines]
        self.assertEqual(["up", "down: the peer has closed the connection"] * 3 + ["up"], said)
        for _ in range(1000):
            self.established()[1].abortConnection()
        self.assertLess(len(self.lines), 4 * streams.STATE_LINES)

    def test_strangersAreBounded(self) -> None:
        made = [self.connectedStranger() for _ in range(streams.MAX_STRANGERS + 3)]
        self.assertEqual(streams.MAX_STRANGERS, len(self.factory.strangers))
        self.assertEqual(3, sum(transport.aborted for _, transport in made))

    def test_theOldestStrangerIsNeverEvicted(self) -> None:
        for places in ["192.0.2.1"] * 200, [f"10.{number}.0.1" for number in range(200)]:
            carrier, transport = self.connectedStranger("192.0.2.1")
            for host in places * 5:
                self.connectedStranger(host)
            self.assertFalse(transport.aborted)
            carrier.dataReceived(Frames(TUN).greeting(0, 1500))
            self.assertIs(carrier, self.tunnel.carrier)
            # Now the next connection is the oldest.
            first = next(iter(self.factory.strangers))
            for host in places * 5:
                self.connectedStranger(host)
            self.assertIs(first, next(iter(self.factory.strangers)))
            self.factory.stop()

    def test_evictionIsUnpredictableIfNoPrefixIsBusier(self) -> None:
        dropped = []
        for seed in range(8):
            self.factory.random = Random(seed)
            made = [self.connectedStranger(f"10.{number}.0.1")[1] for number in range(2 * streams.MAX_STRANGERS)]
            dropped.append(tuple(transport.aborted for transport in made))
            self.factory.stop()
        self.assertEqual(8, len(set(dropped)))
        # Each of the older connections was kept with one seed and evicted with another. The first was never evicted.
        for fates in list(zip(*dropped, strict=True))[1 : streams.MAX_STRANGERS // 2]:
            self.assertIn(True, fates)
        stayed = [not all(fates) for fates in zip(*dropped, strict=True)]
        self.assertGreater(sum(stayed[: streams.MAX_STRANGERS]), streams.MAX_STRANGERS * 3 // 4)

    def test_strangersOfOneReactorTurnAreBounded(self) -> None:
        made = [self.connectedStranger(late=True) for _ in range(streams.MAX_STRANGERS + 50)]
        self.assertEqual(50, sum(transport.aborted for _, transport in made))
        self.assertEqual(streams.MAX_STRANGERS, len(self.factory.strangers))

    def test_aFloodFromOnePrefixEvictsOnlyItself(self) -> None:
        for flood, mine in (
            (["192.0.2.66"] * 1000, "192.0.2.1"),
            ([f"2001:db8:0:1::{number:x}" for number in range(1, 1000)], "2001:db8:0:2::1"),
            (["::ffff:192.0.2.66"] * 1000, "::ffff:192.0.2.1"),
            (["::nonsense"] * 1000, "fe80::1%eth0"),
            # The floods are from many links of one customer, of one site, and from many addresses of one network.
            ([f"2001:db8:0:{number:x}::1" for number in range(256)], "2001:db8:1::1"),
            ([f"2001:db8:0:{number:x}::1" for number in range(256)], "2001:db8:0:100::1"),
            ([f"2001:db8:0:{number:x}00::1" for number in range(256)], "2001:db8:1::1"),
            ([f"2001:db8::{number:x}" for number in range(256)], "2001:db8:0:1::1"),
            ([f"192.0.2.{number}" for number in range(256)], "192.0.3.1"),
            (["192.0.2.66"] * 256, "192.0.2.67"),
        ):
            # The oldest connection, which is never evicted, is another.
            self.connectedStranger("198.51.100.1")
            carrier, transport = self.connectedStranger(mine)
            for host in flood:
                self.connectedStranger(host)
            self.assertFalse(transport.aborted, mine)
            carrier.dataReceived(Frames(TUN).greeting(0, 1500))
            self.assertIs(carrier, self.tunnel.carrier)
            self.factory.stop()

    def test_aFewConnectionsFromAPeersPrefixDoNotEvictThePeer(self) -> None:
        # Each eighth connection of a flood from many prefixes is from the network or the site of an honest peer.
        for mine, near, far in (
            ("192.0.2.1", "192.0.2.66", "10.{}.0.1"),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:{:x}::1"),
        ):
            kept = 0
            for seed in range(40):
                self.factory.random = Random(seed)
                flood = [near if number % 8 == 7 else far.format(number) for number in range(1, 81)]
                for host in flood[:64]:
                    self.connectedStranger(host)
                _, transport = self.connectedStranger(mine)
                for host in flood[64:]:
                    self.connectedStranger(host)
                kept += not transport.aborted
                self.factory.stop()
            # With a random choice, the peer is kept in 62 of 80 floods.
            self.assertGreater(kept, 20, mine)

    def test_noPacketIsSentToARefusedPeer(self) -> None:
        carrier, transport = self.established()
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

    def test_aSuspendedEndReadsBeforeItDisconnectsASilentPeer(self) -> None:
        for step in 1000.0, -5.0:
            carrier, transport = self.established()
            carrier.dataReceived(Frames.keepalive)
            self.clock.rightNow += step
            self.clock.advance(streams.KEEPALIVE_INTERVAL)
            self.clock.advance(0)
            self.assertFalse(transport.aborted)
            carrier.dataReceived(Frames.keepalive)
            carrier.disconnect("")

    def test_waitingForALostConnectionFailsAtOnce(self) -> None:
        carrier, transport = self.connectedStranger()
        transport.abortConnection()
        self.failureResultOf(carrier.whenEstablished(), ConnectionDone)

    def test_aFramingThatCannotCarryTheModeIsRefused(self) -> None:
        def framing(mode: int) -> Any:
            raise ValueError("not that")

        self.assertRaisesRegex(ValueError, "not that", StreamFactory, self.tunnel, framing, self.clock)

    def test_theTunnelIsUpAtOnceIfTheFramingHasNoGreeting(self) -> None:
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

    @pytest.mark.linux
    def test_tcpKeepaliveIsSetIfTheFramingHasNone(self) -> None:
        class TCP(Transport):
            isAlive = False

            def setTcpNoDelay(self, enabled: bool) -> None:
                pass

            def setTcpKeepAlive(self, enabled: bool) -> None:
                self.isAlive = enabled

            def getHandle(self) -> socket.socket:
                return handle

        # The first is the name on most platforms, and the second on macOS.
        option: int = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE")  # noqa: B009
        with socket.socket() as handle:
            for framing, seconds in (Frames, None), (SocatStream, 10):
                before = handle.getsockopt(socket.IPPROTO_TCP, option)
                carrier = StreamFactory(self.tunnel, framing, self.clock).buildProtocol(None)
                transport = TCP(carrier)
                directlyProvides(transport, ITCPTransport)
                carrier.makeConnection(transport)
                self.assertEqual(seconds is not None, transport.isAlive)
                after = handle.getsockopt(socket.IPPROTO_TCP, option)
                self.assertEqual(seconds or before, after)
                transport.abortConnection()
            self.assertEqual(30000, handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    def test_reconnectionBacksOffUntilThePeerIsEstablished(self) -> None:
        attempts: list[tuple[float, Deferred[Any]]] = []

        class Endpoint:
            def connect(endpoint, factory: Any) -> Deferred[Any]:
                attempts.append((self.clock.seconds(), Deferred()))
                return attempts[-1][1]

        endpoint: Any = Endpoint()
        service = connecting(endpoint, self.factory)
        service.startService()
        for _ in range(4):
            # The peer accepts the connection but is no tunnel.
            carrier, transport = self.connectedStranger()
            attempts[-1][1].callback(carrier)
            carrier.dataReceived(b"GET /")
            transport.abortConnection()
            count = len(attempts)
            while len(attempts) == count:
                self.clock.advance(0.5)
        times = [time for time, _ in attempts]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        # The delays are randomized, so only the first and the last are compared.
        self.assertGreater(waits[-1], waits[0])
        # After an established connection the first delay is used again.
        carrier, transport = self.connectedStranger()
        attempts[-1][1].callback(carrier)
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        transport.abortConnection()
        count = len(attempts)
        self.clock.advance(3)
        self.assertEqual(count + 1, len(attempts))
        carrier, transport = self.connectedStranger()
        attempts[-1][1].callback(carrier)
        carrier.dataReceived(Frames(TUN).greeting(0, 1500))
        self.successResultOf(service.stopService())
        self.assertTrue(transport.aborted)
