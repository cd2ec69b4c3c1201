"""
Tests for L{txtuntap.tuntap} with a device in memory: making, starting, stopping and losing a port, and its address.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import AbstractDatagramProtocol, DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer, implementer_only
from zope.interface.verify import verifyObject

from tests.ports import PortTestCase
from tests.recorders import Echo, Oops, PacketRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.interfaces import IPacketTransport
from txtuntap.raw import IRawDatagramProtocol
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket, udpPacket
from txtuntap.tuntap import InterfaceLost, TunnelAddress, TunnelFlags, TuntapPort


class Plain:
    """
    A protocol without any interface: it has neither C{makeConnection} nor C{doStart}.
    """

    def __init__(self) -> None:
        self.packets: list[Packet] = []

    def packetReceived(self, packet: Packet) -> None:
        self.packets.append(packet)


DATAGRAM = ipPacket("10.0.0.1", "10.0.0.2", 253, b"payload")
FRAME = ethernetFrame("02:00:00:00:00:01", "02:00:00:00:00:02", 0x88B5, b"payload")


class ConstructionTests(SynchronousTestCase):
    def port(self, proto: Any, name: Any = "tun0", **options: Any) -> TuntapPort:
        return TuntapPort(name, proto, reactor=Clock(), **options)

    def test_thePortProvidesItsInterfaces(self) -> None:
        for interface in (IListeningPort, IPacketTransport):
            self.assertTrue(verifyObject(interface, self.port(PacketRecorder())))

    def test_nameMayBeTextOrBytes(self) -> None:
        for name in ("tun%d", b"tun%d"):
            self.assertEqual(self.port(PacketRecorder(), name).interface, b"tun%d")

    @pytest.mark.unix("names of at most 15 octets")
    def test_fifteenBytesAreTheLongestName(self) -> None:
        self.assertEqual(self.port(PacketRecorder(), "é" * 7 + "x").interface, ("é" * 7 + "x").encode())
        for name in ("x" * 16, b"x" * 16, "é" * 8):
            with self.assertRaises(ValueError) as raised:
                self.port(PacketRecorder(), name)
            self.assertIn("15", str(raised.exception))

    @pytest.mark.unix("names of at most 15 octets")
    def test_anInvalidNameIsAValueError(self) -> None:
        for name in (".", "..", "a/b", "a:b", "a b", "a\0", "%d%d", "%s", None, 0, 7, [120]):
            self.assertRaises(ValueError, self.port, PacketRecorder(), name)

    def test_protocolForFramesGetsATap(self) -> None:
        self.assertEqual(self.port(EthernetProtocol(), "tap0").getHost(), TunnelAddress(TunnelFlags.IFF_TAP, b"tap0"))

    def test_protocolForPacketsGetsATun(self) -> None:
        self.assertEqual(self.port(IPProtocol()).getHost(), TunnelAddress(TunnelFlags.IFF_TUN, b"tun0"))

    def test_protocolForDatagramsGetsATun(self) -> None:
        self.assertEqual(self.port(RawUDPProtocol()).getHost(), TunnelAddress(TunnelFlags.IFF_TUN, b"tun0"))

    def test_protocolWithoutANumberIsATypeError(self) -> None:
        @implementer(IRawDatagramProtocol)
        class Unnumbered(AbstractDatagramProtocol):
            def addProto(self, num: int, proto: Any) -> None:
                """
                Do nothing; the interface requires this method.
                """

            def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
                """
                Do nothing; the interface requires this method.
                """

        with self.assertRaises(TypeError) as raised:
            self.port(Unnumbered())
        self.assertIn("addProto(number, protocol)", str(raised.exception))

    def test_anotherProtocolIsATypeErrorWithAdvice(self) -> None:
        for proto, advice in (DatagramProtocol(), "addProto"), (object(), "mode=TUN"), (None, "mode=TUN"):
            for mode in None, TUN, TAP:
                with self.assertRaises(TypeError) as raised:
                    self.port(proto, mode=mode)
                self.assertIn(advice, str(raised.exception))

    def test_theModeTellsTheKindOfDeviceOfAPlainObject(self) -> None:
        for mode, flag in (TUN, TunnelFlags.IFF_TUN), (TAP, TunnelFlags.IFF_TAP):
            port = self.port(Plain(), mode=mode)
            self.assertEqual((port.getHost().type, port.ethernet), (flag, mode == TAP))

    def test_theDeviceTellsTheKindForAPlainObject(self) -> None:
        for mode in TUN, TAP:
            self.assertEqual(self.port(Plain(), device=MemoryDevice(mode)).ethernet, mode == TAP)

    def test_aPlainObjectWithoutAModeIsATypeErrorWithAdvice(self) -> None:
        with self.assertRaises(TypeError) as raised:
            self.port(Plain())
        self.assertIn("give mode=TAP or mode=TUN", str(raised.exception))

    def test_theModeMayRepeatWhatTheInterfaceTells(self) -> None:
        self.assertEqual(self.port(EthernetProtocol(), mode=TAP).ethernet, 1)
        self.assertEqual(self.port(RawUDPProtocol(), mode=TUN).ethernet, 0)
        for proto, mode in (EthernetProtocol(), TUN), (IPProtocol(), TAP), (RawUDPProtocol(), TAP):
            with self.assertRaises(ValueError) as raised:
                self.port(proto, mode=mode)
            self.assertIn("leave mode out", str(raised.exception))

    def test_anotherModeIsAValueError(self) -> None:
        for mode in "tun", 0, 3:
            with self.assertRaises(ValueError) as raised:
                self.port(Plain(), mode=mode)
            self.assertIn("mode is txtuntap.TUN or txtuntap.TAP", str(raised.exception))

    def test_deviceOfTheWrongKindIsAValueError(self) -> None:
        for proto, mode in ((EthernetProtocol(), TUN), (IPProtocol(), TAP)):
            with self.assertRaises(ValueError) as raised:
                self.port(proto, device=MemoryDevice(mode))
            self.assertIn("needs a tap" if mode == TUN else "needs a tun", str(raised.exception))


class PlainTests(SynchronousTestCase):
    """
    Tests for a port with a plain object, which has only C{packetReceived}.
    """

    def started(self, mode: int, data: bytes, proto: Any = None) -> tuple[TuntapPort, Any]:
        """
        Start a port on a device in memory, which receives one packet.
        """
        clock = Clock()
        device = self.device = MemoryDevice(mode)
        proto = proto or Plain()
        port = TuntapPort("", proto, reactor=clock, device=device)
        port.startListening()
        device.deliver(data)
        clock.advance(0)
        return port, proto

    def test_thePacketHasItsAddressesWithoutALayer(self) -> None:
        _, proto = self.started(TUN, DATAGRAM)
        (packet,) = proto.packets
        self.assertEqual((packet.source, packet.dest, packet.protocol), ("10.0.0.1", "10.0.0.2", 253))
        self.assertEqual((packet.linkSource, packet.linkDest, packet.etherType), (None, None, 0))

    def test_theFrameHasItsAddressesWithoutALayer(self) -> None:
        _, proto = self.started(TAP, FRAME)
        (packet,) = proto.packets
        self.assertEqual((packet.source, packet.dest, packet.protocol), ("", "", None))
        self.assertEqual((packet.linkSource, packet.linkDest), (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"))
        self.assertEqual(packet.etherType, 0x88B5)

    def test_theObjectWritesByThePort(self) -> None:
        port, proto = self.started(TUN, DATAGRAM)
        port.write(bytes(proto.packets[0]))
        self.assertEqual(self.device.sent, [DATAGRAM])

    def test_superpacketsAndOpenChecksumsAreFinishedFirst(self) -> None:
        self.assertFalse(TuntapPort("x0", Plain(), reactor=Clock(), mode=TUN)._delivery.takesOffload)

    def test_anExceptionIsLoggedAndCounted(self) -> None:
        class Failing(Plain):
            def packetReceived(self, packet: Packet) -> None:
                raise Oops("receive")

        with capturedLogs() as events:
            port, _ = self.started(TUN, DATAGRAM, Failing())
        self.assertEqual(port.counters["protocolFailures"], 1)
        self.assertIn("Failing.packetReceived", events[-1]["log_format"].format(**events[-1]))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_thePortStopsAndStartsAgain(self) -> None:
        port, proto = self.started(TUN, DATAGRAM)
        self.assertIsNone(self.successResultOf(self.stopped(port)))
        port.startListening()
        self.device.deliver(DATAGRAM)
        port.reactor.advance(0)
        self.assertEqual(len(proto.packets), 2)

    def stopped(self, port: TuntapPort) -> Deferred[None]:
        """
        Stop a port, and let the clock turn once.
        """
        done = port.stopListening()
        port.reactor.advance(0)
        return done


class StackTests(SynchronousTestCase):
    """
    Tests for an C{IRawDatagramProtocol} on a port.
    """

    def test_aRawUDPProtocolIsAddedToIPUnder17(self) -> None:
        udp, clock, device = RawUDPProtocol(), Clock(), MemoryDevice(TUN)
        udp.addProto(7, Echo())
        TuntapPort("", udp, reactor=clock, device=device).startListening()
        for source, dest in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            device.deliver(udpPacket(source, dest, 1234, 7, b"hello"))
            clock.advance(0)
            self.assertEqual(device.sent.pop(), udpPacket(dest, source, 7, 1234, b"hello"))

    def test_aDatagramProtocolIsAddedToIPUnderItsNumber(self) -> None:
        @implementer_only(IRawDatagramProtocol)
        class Numbered(PacketRecorder):
            protocolNumber = 253

        proto, clock, device = Numbered(), Clock(), MemoryDevice(TUN)
        TuntapPort("", proto, reactor=clock, device=device).startListening()
        device.deliver(DATAGRAM)
        device.deliver(ipPacket("10.0.0.1", "10.0.0.2", 254, b""))
        clock.advance(0)
        self.assertEqual(proto.data, [b"payload"])
        self.assertIsInstance(proto.transport, IPProtocol)


class StartTests(PortTestCase):
    def test_theProtocolStartsWithThePortAsItsTransport(self) -> None:
        self.assertEqual((self.proto.events, self.proto.transport), (["start"], self.port))
        self.assertTrue(self.port.connected)

    def test_kernelChoosesTheName(self) -> None:
        self.assertEqual(self.port.getHost(), TunnelAddress(TunnelFlags.IFF_TUN, b"tun0"))
        self.assertEqual(self.port.interface, b"tun0")

    def test_startingAListeningPortIsAnError(self) -> None:
        with self.assertRaises(CannotListenError) as raised:
            self.port.startListening()
        self.assertIn("already", str(raised.exception))
        self.assertEqual((self.proto.events, self.device.opened), (["start"], 1))
        self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM])

    def test_startingOnABusyDeviceIsAnError(self) -> None:
        other = TuntapPort("", PacketRecorder(), reactor=self.clock, device=self.device)
        with self.assertRaises(CannotListenError) as raised:
            other.startListening()
        self.assertEqual(raised.exception.socketError.errno, errno.EBUSY)
        self.assertFalse(other.connected)

    def test_protocolThatFailsToStartLeavesTheDeviceClosed(self) -> None:
        self.make("start", start=False)
        self.assertRaises(Oops, self.port.startListening)
        self.assertEqual((self.device.opened, self.device.closed, self.port.connected), (1, 1, 0))
        self.assertIsNone(self.proto.transport)

    def test_readingThatFailsToStartStopsTheProtocol(self) -> None:
        def readable(callback: object) -> None:
            raise OSError(errno.ENOTSUP, "not this one")

        self.make(start=False)
        self.device.readable = readable  # type: ignore[method-assign]
        self.assertRaises(OSError, self.port.startListening)
        self.assertEqual((self.proto.events, self.device.closed), (["start", "stop"], 1))

    def test_protocolThatFailedToStartCanBeStartedAgain(self) -> None:
        self.make("start", start=False)
        self.assertRaises(Oops, self.port.startListening)
        self.proto.failing.clear()
        self.port.startListening()
        self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM])

    def test_protocolMayStopThePortAsItStarts(self) -> None:
        self.make(start=False)
        self.proto.startProtocol = self.port.stopListening  # type: ignore[method-assign, assignment]
        self.port.startListening()
        self.device.deliver(DATAGRAM)
        self.clock.advance(0)
        self.assertEqual((self.proto.packets, self.device.closed), ([], 1))

    def test_stopListeningFiresEvenIfTheStartFails(self) -> None:
        self.make(start=False)
        waiting: list[Deferred[None]] = []

        def startProtocol() -> None:
            waiting.append(self.port.stopListening())
            raise Oops

        self.proto.startProtocol = startProtocol  # type: ignore[method-assign]
        self.assertRaises(Oops, self.port.startListening)
        self.clock.advance(0)
        self.assertTrue(waiting[0].called)

    def test_repr(self) -> None:
        name = f"{PacketRecorder.__module__}.PacketRecorder"
        self.assertEqual(repr(self.port), f"<{name} listening on IFF_TUN/b'tun0'>")
        self.stop()
        self.assertEqual(repr(self.port), f"<{name} not listening on IFF_TUN/b'tun0'>")

    def test_logPrefixNamesProtocolAndMode(self) -> None:
        self.assertEqual(self.port.logPrefix(), "PacketRecorder (IFF_TUN)")


class StopTests(PortTestCase):
    def test_protocolIsStoppedAndTheDeviceClosed(self) -> None:
        self.stop()
        self.assertEqual((self.proto.events, self.proto.transport), (["start", "stop"], None))
        self.assertEqual((self.device.closed, self.port.connected, self.port.fileno()), (1, 0, -1))

    def test_nothingIsReadOnceStopped(self) -> None:
        self.device.deliver(DATAGRAM)
        self.port.stopListening()
        self.assertEqual(self.deliver(DATAGRAM), [])

    def test_nothingIsReadAfterTheProtocolStopsThePort(self) -> None:
        self.proto.then = lambda _: self.port.stopListening()
        self.assertEqual(self.deliver(DATAGRAM, DATAGRAM), [DATAGRAM])

    def test_everyCallOfStopListeningFires(self) -> None:
        deferreds = [self.port.stopListening() for _ in range(3)]
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(deferred) for deferred in deferreds], [None] * 3)
        self.assertEqual(self.proto.events, ["start", "stop"])

    def test_stoppingAStoppedPortFiresAtOnce(self) -> None:
        self.stop()
        self.assertIsNone(self.successResultOf(self.port.stopListening()))
        self.assertEqual(self.proto.events, ["start", "stop"])

    def test_stoppingAPortThatNeverStartedFiresAtOnce(self) -> None:
        self.make(start=False)
        self.assertIsNone(self.successResultOf(self.port.stopListening()))
        self.assertEqual(self.proto.events, [])

    def test_thePortCanBeStartedAgain(self) -> None:
        for _ in range(3):
            self.stop()
            self.port.startListening()
            self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM])
        self.assertEqual(self.device.opened - self.device.closed, 1)

    def test_thePortCanBeStartedAgainWhenStopListeningFires(self) -> None:
        self.port.stopListening().addCallback(lambda ignored: self.port.startListening())
        self.clock.advance(0)
        self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM])

    def test_protocolThatFailsToStopIsLoggedAndTheDeviceClosed(self) -> None:
        self.proto.failing.add("stop")
        self.stop()
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertEqual((self.device.closed, self.port.counters["protocolFailures"]), (1, 1))

    def test_loseConnectionIsDeprecated(self) -> None:
        self.port.loseConnection()
        (warning,) = self.flushWarnings([StopTests.test_loseConnectionIsDeprecated])
        self.assertEqual(warning["category"], DeprecationWarning)
        self.assertIn("stopListening", warning["message"])
        self.clock.advance(0)
        self.assertEqual(self.proto.events, ["start", "stop"])


class LossTests(PortTestCase):
    def lose(self) -> Any:
        with capturedLogs() as events:
            self.device.delete()
            self.clock.advance(0)
        return events

    def test_protocolIsStoppedAndTheDeviceClosed(self) -> None:
        self.lose()
        self.assertEqual((self.proto.events, self.proto.transport), (["start", "stop"], None))
        self.assertEqual((self.device.closed, self.port.connected), (1, 0))

    def test_whenLostFailsWithInterfaceLost(self) -> None:
        lost = [self.port.whenLost(), self.port.whenLost()]
        self.lose()
        for deferred in lost:
            reason = self.failureResultOf(deferred, InterfaceLost)
            self.assertIn("tun0", reason.getErrorMessage())

    def test_interfaceLostIsAConnectionLost(self) -> None:
        self.assertTrue(issubclass(InterfaceLost, ConnectionLost))

    def test_whenLostOfAStoppedPortFailsWithConnectionDone(self) -> None:
        lost = self.port.whenLost()
        self.stop()
        self.failureResultOf(lost, ConnectionDone)

    def test_whenLostAfterTheLossFailsAtOnce(self) -> None:
        self.lose()
        self.failureResultOf(self.port.whenLost(), InterfaceLost)

    def test_whenLostOfARestartedPortWaits(self) -> None:
        self.lose()
        self.port.startListening()
        self.assertNoResult(self.port.whenLost())

    def test_whenLostWaitsWhileThePortListens(self) -> None:
        lost = self.port.whenLost()
        self.deliver(DATAGRAM)
        self.assertNoResult(lost)
        self.stop()
        self.failureResultOf(lost)

    def test_aSecondLossDoesNothing(self) -> None:
        self.lose()
        self.port.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((self.proto.events, self.device.closed), (["start", "stop"], 1))

    def test_aLossIsLoggedWithoutATraceback(self) -> None:
        (event,) = [event for event in self.lose() if event["log_namespace"].startswith("txtuntap")]
        self.assertNotIn("log_failure", event)
        self.assertIn("tun0 was deleted", event["log_format"].format(**event))

    def test_anErrorOfTheReactorBecomesInterfaceLostIfTheDeviceIsGone(self) -> None:
        for reason in (ConnectionLost(), ConnectionDone()):
            self.make()
            lost = self.port.whenLost()
            self.device.readable(None)
            self.device.delete()
            self.port.connectionLost(Failure(reason))
            self.failureResultOf(lost, InterfaceLost)

    def test_anErrorOfTheReactorBecomesInterfaceLostDuringTheDeletion(self) -> None:
        for reason in (ConnectionLost(), ConnectionDone()):
            self.make()
            lost = self.port.whenLost()
            self.assertIsNone(self.device.receive())
            self.port.connectionLost(Failure(reason))
            self.assertIn("tun0 was deleted", str(self.failureResultOf(lost, InterfaceLost).value))

    def test_aWriteThatFindsTheLossEndsThePort(self) -> None:
        for write in (
            lambda: self.port.writePacket([DATAGRAM]),
            lambda: self.assertRaises(OSError, self.port.write, DATAGRAM),
        ):
            self.make()
            lost = self.port.whenLost()
            # The reactor reports nothing.
            self.device.readable(None)
            self.device.delete()
            write()
            self.assertNoResult(lost)
            self.clock.advance(0)
            self.failureResultOf(lost, InterfaceLost)

    def test_whenLostFailsWithOtherReasonsUnchanged(self) -> None:
        lost = self.port.whenLost()
        self.port.connectionLost(Failure(Oops()))
        self.failureResultOf(lost, Oops)

    def test_stopListeningFiresEvenIfTheInterfaceIsDeletedFirst(self) -> None:
        done = self.port.stopListening()
        self.device.delete()
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(done))

    def test_thePortCanBeStartedAgain(self) -> None:
        self.lose()
        self.port.startListening()
        self.assertEqual(self.deliver(DATAGRAM), [DATAGRAM])


class AddressTests(SynchronousTestCase):
    def address(self, name: bytes = b"x0") -> TunnelAddress:
        return TunnelAddress(TunnelFlags.IFF_TUN, name)

    def test_aTunnelAddressProvidesIAddress(self) -> None:
        self.assertTrue(verifyObject(IAddress, self.address()))

    def test_equality(self) -> None:
        self.assertEqual(self.address(), self.address())
        self.assertNotEqual(self.address(), self.address(b"x1"))
        self.assertNotEqual(self.address(), TunnelAddress(TunnelFlags.IFF_TAP, b"x0"))
        self.assertNotEqual(self.address(), ("TUNTAP", b"x0"))
        self.assertEqual(hash(self.address()), hash(self.address()))

    def test_computedFlagsAreEqual(self) -> None:
        computed = (TunnelFlags.IFF_TUN | TunnelFlags.IFF_NO_PI) & TunnelFlags.IFF_TUN
        self.assertEqual(TunnelAddress(computed, b"x0"), self.address())

    def test_repr(self) -> None:
        self.assertEqual(repr(self.address()), "<TunnelAddress type=IFF_TUN name=b'x0'>")

    def test_indexingIsDeprecated(self) -> None:
        self.assertEqual((self.address()[0], self.address()[1]), ("TUNTAP", b"x0"))
        warnings = self.flushWarnings([AddressTests.test_indexingIsDeprecated])
        self.assertEqual([warning["category"] for warning in warnings], [DeprecationWarning] * 2)
