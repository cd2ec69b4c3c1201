"""
Tests for L{txtuntap.middleware.base}: middleware is a protocol to its port, and a port to its protocol.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from tests.offload.case import ALL, LINK, OWN, PEER, Overriding
from tests.ports import DeviceTestCase
from tests.recorders import DatagramRecorder, Oops, PacketRecorder, PairRecorder, SuperpacketRecorder
from tests.superpackets import udpSuperpacket
from txtuntap import Host, Packet, RawUDPProtocol, TuntapPort
from txtuntap.interfaces import IBatches, IEthernetProtocol, IPacketReceiver, IPacketTransport, IRawPacketProtocol
from txtuntap.middleware import Middleware
from txtuntap.network.link import Link
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket, udpPacket
from txtuntap.wire.offload import NEEDS_CHECKSUM, NONE, Offload, finish

PACKET = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")
FRAME = ethernetFrame("02:00:00:00:00:bb", "02:00:00:00:00:aa", 0x0800, PACKET)


class RecordingMiddleware(Middleware):
    """
    Middleware that records the packets that pass it.

    @ivar events: for each packet its recorder's name, its direction, its octets, and whether it had an offload.
    """

    takesOffload = True

    def __init__(self, proto: Any, name: str = "", events: list[tuple[str, str, bytes, bool]] | None = None) -> None:
        super().__init__(proto)
        self.name = name
        self.events = [] if events is None else events

    def packetReceived(self, packet: Packet) -> None:
        self.events.append((self.name, "up", bytes(packet), packet.offload is not None))
        super().packetReceived(packet)

    def writePacket(self, buffers: Any, offload: Offload | None = None) -> None:
        self.events.append((self.name, "down", b"".join(buffers), offload is not None))
        super().writePacket(buffers, offload)


class RecordingWithoutOffload(RecordingMiddleware):
    """
    Middleware that records packets, and takes no superpackets.
    """

    takesOffload = False


class LifeRecorder(PacketRecorder):
    """
    A protocol that records each packet and each call about the port's state, in order.
    """

    def packetReceived(self, packet: Packet) -> None:
        super().packetReceived(packet)
        self.happened("packet")

    def mtuChanged(self) -> None:
        self.happened("mtu")

    def linkUp(self) -> None:
        self.happened("up")


class MiddlewareTestCase(DeviceTestCase):
    features = ALL


class ContractTests(MiddlewareTestCase):
    def test_middlewareProvidesTheInterfaceOfItsProtocol(self) -> None:
        host = Host([f"{OWN[4]}/24"], self.clock)
        for proto, kind, other in (
            (host.ethernet, IEthernetProtocol, IRawPacketProtocol),
            (host.ip, IRawPacketProtocol, IEthernetProtocol),
        ):
            made = Middleware(Middleware(proto))
            self.assertTrue(kind.providedBy(made))
            self.assertFalse(other.providedBy(made))
            verifyObject(IPacketReceiver, made)
            verifyObject(IPacketTransport, made)

    def test_anObjectThatIsNoProtocolIsATypeError(self) -> None:
        for proto in DatagramProtocol(), RawUDPProtocol(), object():
            error = self.assertRaises(TypeError, Middleware, proto)
            self.assertIn("IPProtocol (addProto)", str(error))
            self.assertIn("wrap that in Middleware", str(error))

    def test_aProtocolThatCannotReceiveIsATypeError(self) -> None:
        class Deaf:
            pass

        proto = Deaf()
        directlyProvides(proto, IRawPacketProtocol)
        error = self.assertRaises(TypeError, Middleware, proto)
        self.assertIn("neither packetReceived nor datagramReceived", str(error))

    def test_aTransportWithoutWritePacketIsATypeError(self) -> None:
        error = self.assertRaises(TypeError, Middleware(PacketRecorder()).makeConnection, object())
        self.assertIn("between a port and the protocol on it", str(error))

    def test_aDeviceOfTheOtherKindIsRefused(self) -> None:
        self.assertRaises(
            ValueError, TuntapPort, "", Middleware(PacketRecorder()), reactor=self.clock, device=MemoryDevice(TAP)
        )

    def test_aSecondPortIsRefused(self) -> None:
        middleware = Middleware(PacketRecorder())
        self.on(middleware)
        other = TuntapPort("", middleware, reactor=self.clock, device=MemoryDevice(TUN))
        error = self.assertRaises(RuntimeError, other.startListening)
        self.assertIn("make another one for a second port", str(error))
        # The first port still works.
        self.assertIs(middleware.below, self.port)
        self.deliver((PACKET, None))
        self.assertEqual(len(middleware.protocol.packets), 1)

    def test_middlewareCanBeUsedOnAPortAgain(self) -> None:
        proto = LifeRecorder()
        middleware = Middleware(proto)
        for _ in range(2):
            self.on(middleware)
            self.deliver((PACKET, None))
            self.successResultOf(self._stopped())
        self.assertEqual(proto.events, ["start", "packet", "stop"] * 2)

    def _stopped(self) -> Any:
        done = self.port.stopListening()
        self.clock.advance(0)
        return done

    def test_attributesOfThePortArePassedThrough(self) -> None:
        self.device = MemoryDevice(TAP, mtu=1400, features=ALL)
        host = Host([f"{OWN[4]}/24"], self.clock)
        middleware = Middleware(Middleware(host.ethernet))
        self.assertEqual((middleware.mtu, middleware.linkAddress, middleware.offloads), (1500, None, 0))
        self.on(middleware)
        port = middleware.protocol
        self.assertEqual((port.mtu, port.linkAddress, port.offloads), (1400, self.device.linkAddress, ALL))
        self.assertIs(port.clock, self.clock)

    def test_aPacketWithoutAPortIsDroppedAndCounted(self) -> None:
        middleware = Middleware(PacketRecorder())
        middleware.writePacket([PACKET])
        self.assertEqual(middleware.counters, {"outDiscards": 1})
        self.assertIsNone(middleware.batches)

    def test_batchesAreThoseOfThePort(self) -> None:
        middleware = Middleware(Middleware(SuperpacketRecorder()))
        self.on(middleware)
        batches = self.port.batches
        assert batches is not None
        self.assertTrue(verifyObject(IBatches, batches))
        self.assertIs(middleware.protocol.batches, batches)
        self.successResultOf(self._stopped())
        self.assertIsNone(middleware.batches)

    def test_batchesAreHiddenByMiddlewareWithoutSuperpackets(self) -> None:
        complete = RecordingWithoutOffload(Middleware(SuperpacketRecorder()))
        self.on(Middleware(complete))
        self.assertIsNotNone(self.port.batches)
        self.assertEqual((complete.batches, complete.protocol.batches), (None, None))


class PathTests(MiddlewareTestCase):
    def test_packetsAndAnswersPassAllMiddleware(self) -> None:
        events: list[Any] = []
        host = Host([f"{OWN[4]}/24"], self.clock)
        proto = DatagramRecorder(then=lambda data, addr: proto.transport.write(data, addr))
        host.listenUDP(7, proto)
        self.on(RecordingMiddleware(RecordingMiddleware(host.ip, "inner", events), "outer", events))
        self.clock.pump([0.5] * 10)
        del events[:]
        self.deliver((PACKET, None))
        path = [(name, direction) for name, direction, _, _ in events]
        self.assertEqual(path, [("outer", "up"), ("inner", "up"), ("inner", "down"), ("outer", "down")])
        self.assertEqual([data for _, _, data, _ in events][:2], [PACKET] * 2)
        self.assertEqual(self.device.sent[-1][28:], b"hello")

    def test_thePortOfAPacketIsTheMiddleware(self) -> None:
        # A protocol that keeps a packet answers by the packet's port, and so through the middleware.
        whole = PacketRecorder()
        inner = Middleware(whole)
        self.on(Middleware(inner))
        self.deliver((PACKET, None))
        (packet,) = whole.packets
        self.assertIs(packet.port, inner)
        assert packet.port is not None
        packet.port.writePacket([PACKET[:20], PACKET[20:]])
        self.assertEqual(self.device.sent, [PACKET])

    def test_anEthernetFramePassesUnchanged(self) -> None:
        self.device = MemoryDevice(TAP)
        host = Host([f"{OWN[4]}/24"], self.clock, linkAddress="02:00:00:00:00:aa")
        proto = DatagramRecorder()
        host.listenUDP(7, proto)
        self.on(Middleware(host.ethernet))
        self.clock.pump([0.5] * 10)
        self.deliver((FRAME, None))
        self.assertEqual(proto.data, [b"hello"])

    def test_middlewareWorksAtTheEndsOfALink(self) -> None:
        hosts = [Host([f"10.9.0.{number}/24"], self.clock) for number in (1, 2)]
        link = Link(Middleware(hosts[0].ethernet), Middleware(Middleware(hosts[1].ethernet)), self.clock)
        link.start()
        self.clock.pump([0.5] * 10)
        pong = hosts[0].ping("10.9.0.2")
        self.clock.pump([0] * 10)
        self.assertEqual(self.successResultOf(pong).source, "10.9.0.2")
        link.stop()


class OffloadTests(MiddlewareTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.many = udpSuperpacket(4, b"first", b"other", b"last")
        self.each = finish(*self.many)

    def test_aSuperpacketPassesWholeIfTheProtocolTakesIt(self) -> None:
        proto = SuperpacketRecorder()
        outer = RecordingMiddleware(RecordingMiddleware(proto))
        self.on(outer)
        self.deliver(self.many)
        self.assertEqual(outer.events, [("", "up", self.many[0], True)])
        self.assertEqual(proto.data, [self.many[0]])
        self.assertEqual(proto.packets[0].offload, self.many[1])

    def test_aSuperpacketIsCutForAProtocolThatTakesNone(self) -> None:
        for proto in PacketRecorder(), Overriding():
            outer = RecordingMiddleware(proto)
            self.on(outer, offload=True)
            self.deliver(self.many)
            self.assertEqual([taken for _, _, _, taken in outer.events], [True])
            self.assertEqual(proto.data, self.each)
            self.device.close()

    def test_aSuperpacketIsCutForAProtocolOfTwistedPair(self) -> None:
        proto = PairRecorder()
        self.on(Middleware(proto))
        self.deliver(self.many)
        self.assertEqual(proto.data, self.each)

    def test_aSuperpacketInFramesIsCut(self) -> None:
        self.device = MemoryDevice(TAP, features=ALL)
        proto = PacketRecorder()
        directlyProvides(proto, IEthernetProtocol)
        self.on(Middleware(proto))
        packet, offload = udpSuperpacket(6, b"first", b"other", b"last", link=LINK + b"\x86\xdd")
        self.deliver((packet, offload))
        self.assertEqual(proto.data, finish(packet, offload, 14))

    def test_middlewareWithoutSuperpacketsSeesThemCut(self) -> None:
        proto = SuperpacketRecorder()
        inner = RecordingWithoutOffload(proto)
        outer = RecordingMiddleware(inner)
        self.on(outer)
        self.deliver(self.many)
        self.assertEqual([(data, taken) for _, _, data, taken in inner.events], [(data, False) for data in self.each])
        self.assertEqual([data for _, _, data, _ in outer.events], [self.many[0]])
        self.assertEqual((outer.offloads, inner.offloads), (ALL, 0))

    def test_aChecksumLeftOpenIsMadeForWhoTakesNone(self) -> None:
        packet, offload = udpSuperpacket(4, b"hello")
        inner = RecordingWithoutOffload(PacketRecorder())
        self.on(Middleware(inner))
        self.deliver((packet, Offload(NEEDS_CHECKSUM, NONE, 0, 0, offload.checksumStart, offload.checksumOffset)))
        self.assertEqual([data for _, _, data, _ in inner.events], [PACKET])

    def test_aForgedOffloadIsDroppedAndCounted(self) -> None:
        # A port would drop these before the middleware. A link passes them on.
        proto = PacketRecorder()
        middleware = Middleware(proto)
        link = Link(middleware, SuperpacketRecorder(), self.clock)
        link.start()
        packet, _ = self.many
        for forged in Offload(NEEDS_CHECKSUM, 77), Offload(NEEDS_CHECKSUM, NONE, 0, 0, 60000, 6):
            link.ends[1].writePacket([packet], forged)
        self.clock.advance(0)
        self.assertEqual(proto.packets, [])
        self.assertEqual(middleware.counters, {"inUnknownOffloads": 1, "inOffloadErrors": 1})

    def echo(self, stacked: Any) -> None:
        """
        Deliver a superpacket of many datagrams to a host, which sends two answers to each datagram.

        @param stacked: a callable that wraps the host's IP layer in middleware.
        """
        host = Host([f"{OWN[4]}/24"], self.clock)
        proto = DatagramRecorder()
        host.listenUDP(7, proto)

        def answer(data: bytes, addr: Any) -> None:
            proto.transport.write(data, addr)
            proto.transport.write(data.upper(), addr)

        proto.then = answer
        self.on(stacked(host.ip))
        self.clock.pump([0.5] * 10)
        self.device.sent.clear()
        self.pieces = [bytes([65 + number]) * 50 for number in range(20)]
        self.deliver(udpSuperpacket(4, *self.pieces))
        self.assertEqual(proto.data, self.pieces)
        self.sent = [data[28:] for data in self.device.sent]

    def test_answersToASuperpacketLeaveAsOneSuperpacket(self) -> None:
        self.echo(lambda ip: RecordingMiddleware(Middleware(ip)))
        self.assertEqual(self.sent, [each for piece in self.pieces for each in (piece, piece.upper())])
        self.assertEqual(len(self.device.superpackets), 1)

    def test_withoutSuperpacketsAnswersLeaveInOrder(self) -> None:
        self.echo(lambda ip: Middleware(RecordingWithoutOffload(Middleware(ip))))
        self.assertEqual(self.sent, [each for piece in self.pieces for each in (piece, piece.upper())])
        self.assertEqual(self.device.superpackets, [])

    def test_aPacketBetweenBatchedDatagramsKeepsItsPlace(self) -> None:
        host = Host([f"{OWN[4]}/24"], self.clock)
        proto = DatagramRecorder()
        host.listenUDP(7, proto)
        middleware = Middleware(Middleware(host.ip))
        self.on(middleware)
        self.clock.pump([0.5] * 10)
        self.device.sent.clear()
        other = ipPacket(OWN[4], PEER[4], 99, b"between")
        with proto.transport.batch():
            for data in b"1", b"2":
                proto.transport.write(data, (PEER[4], 9))
            self.assertEqual(self.device.sent, [])
            middleware.protocol.writePacket([other])
            for data in b"3", b"4":
                proto.transport.write(data, (PEER[4], 9))
        self.assertEqual(
            [data[20:] if data == other else data[28:] for data in self.device.sent],
            [b"1", b"2", b"between", b"3", b"4"],
        )


class LifeTests(MiddlewareTestCase):
    def test_theProtocolIsStartedAndStoppedOnce(self) -> None:
        proto = LifeRecorder()
        self.on(Middleware(Middleware(proto)))
        self.assertIsInstance(proto.transport, Middleware)
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(proto.events, ["start", "stop"])
        self.assertIsNone(proto.transport)

    def test_mtuChangedAndLinkUpArePassedOn(self) -> None:
        proto = LifeRecorder()
        outer = Middleware(Middleware(proto))
        self.on(outer)
        outer.mtuChanged()
        outer.linkUp()
        self.assertEqual(proto.events, ["start", "mtu", "up"])

    def test_aProtocolThatFailsToStartStopsThePort(self) -> None:
        proto = LifeRecorder("start")
        middleware = Middleware(Middleware(proto))
        self.assertRaises(Oops, self.on, middleware)
        self.assertIsNone(middleware.transport)
        proto.failing.clear()
        self.on(middleware)
        self.assertEqual(proto.events, ["start", "start"])

    def test_exceptionsAreCountedAndLoggedOnceASecond(self) -> None:
        proto = LifeRecorder("packet", "mtu", "stop")
        inner = Middleware(proto)
        self.on(Middleware(inner))
        self.deliver(*[(PACKET, None)] * 3)
        inner.mtuChanged()
        self.assertEqual(len(proto.packets), 3)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.clock.advance(1)
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertEqual(inner.counters, {"protocolFailures": 5})
        self.assertEqual(self.port.counters["protocolFailures"], 0)

    def test_losingTheInterfaceStopsTheProtocol(self) -> None:
        proto = LifeRecorder()
        self.on(Middleware(proto))
        lost = self.port.whenLost()
        self.device.delete()
        self.clock.advance(0)
        self.failureResultOf(lost)
        self.assertEqual(proto.events, ["start", "stop"])
