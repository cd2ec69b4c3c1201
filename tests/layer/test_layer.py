"""
Tests for L{txtuntap.layer.layer}: starting and stopping the protocols above a layer, and their exceptions.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.recorders import Oops, PairRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.layer.ability import knowsPackets
from txtuntap.layer.drops import Drop
from txtuntap.raw import IRawPacketProtocol
from txtuntap.testing import ethernetFrame

TYPE = 0x88B5
OTHER_TYPE = 0x88B6
STATION = "02:00:00:00:00:01"
#: A placeholder for a port, to which no test writes.
PORT: Any = object()
FRAME = ethernetFrame(STATION, "02:00:00:00:00:02", TYPE, b"payload")


class NamedRecorder(PairRecorder):
    """
    A protocol that also records its events in a list shared with others.

    @ivar named: the shared list of events, each with the name of the protocol.
    @ivar transports: the transport at each start.
    """

    def __init__(self, name: str, named: list[tuple[str, str]], *failing: str) -> None:
        super().__init__(*failing)
        self.name = name
        self.named = named
        self.transports: list[object] = []

    def startProtocol(self) -> None:
        self.transports.append(self.transport)
        super().startProtocol()

    def happened(self, event: str) -> None:
        self.named.append((self.name, event))
        super().happened(event)


class NoLife:
    """
    A protocol with neither C{makeConnection} nor C{doStop}.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagramReceived(self, data: bytes, **rest: Any) -> None:
        self.received.append(data)


class RecordingLayer(EthernetProtocol):
    """
    A layer that records its start and stop in a list shared with the protocols above.
    """

    def __init__(self, events: list[tuple[str, str]]) -> None:
        super().__init__()
        self.events = events

    def startProtocol(self) -> None:
        self.events.append(("layer", "start"))

    def stopProtocol(self) -> None:
        self.events.append(("layer", "stop"))


class LifeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.layer = RecordingLayer(self.events)
        self.first = NamedRecorder("first", self.events)
        self.second = NamedRecorder("second", self.events)

    def addBoth(self) -> None:
        self.layer.addProto(TYPE, self.first)
        self.layer.addProto(TYPE, self.second)

    def test_noProtocolStartsBeforeTheLayer(self) -> None:
        self.addBoth()
        self.assertEqual(self.events, [])
        self.assertIsNone(self.first.transport)

    def test_theLayerStartsBeforeTheProtocolsAbove(self) -> None:
        self.addBoth()
        self.layer.makeConnection(PORT)
        self.assertEqual(self.events, [("layer", "start"), ("first", "start"), ("second", "start")])

    def test_transportIsInPlaceWhenAProtocolStarts(self) -> None:
        self.addBoth()
        self.layer.makeConnection(PORT)
        self.assertEqual(self.first.transports, [self.layer])

    def test_protocolsStopInReverseOrder(self) -> None:
        self.addBoth()
        self.layer.makeConnection(PORT)
        del self.events[:]
        self.layer.doStop()
        self.assertEqual(self.events, [("second", "stop"), ("first", "stop"), ("layer", "stop")])

    def test_stoppedProtocolHasNoTransport(self) -> None:
        self.addBoth()
        self.layer.makeConnection(PORT)
        self.layer.doStop()
        self.assertIsNone(self.first.transport)

    def test_stoppedLayerCanBeStartedAgain(self) -> None:
        self.addBoth()
        for _ in range(2):
            del self.events[:]
            self.layer.makeConnection(PORT)
            self.layer.doStop()
            self.assertEqual([event for name, event in self.events if name == "first"], ["start", "stop"])

    def test_aProtocolAddedToARunningLayerStartsAtOnce(self) -> None:
        self.layer.makeConnection(PORT)
        self.layer.addProto(TYPE, self.first)
        self.assertEqual(self.first.transports, [self.layer])

    def test_aProtocolRemovedFromARunningLayerStopsAtOnce(self) -> None:
        self.layer.makeConnection(PORT)
        self.layer.addProto(TYPE, self.first)
        self.layer.removeProto(TYPE, self.first)
        self.assertEqual(self.events[-1], ("first", "stop"))
        self.layer.doStop()
        self.assertEqual(self.events.count(("first", "stop")), 1)

    def test_aProtocolRemovedFromAStoppedLayerIsNotStopped(self) -> None:
        self.addBoth()
        self.layer.removeProto(TYPE, self.first)
        self.layer.makeConnection(PORT)
        self.assertNotIn("first", [name for name, event in self.events])

    def test_aProtocolUnderTwoNumbersStartsAndStopsOnce(self) -> None:
        self.layer.addProto(TYPE, self.first)
        self.layer.addProto(OTHER_TYPE, self.first)
        self.layer.makeConnection(PORT)
        self.layer.doStop()
        self.assertEqual([event for name, event in self.events if name == "first"], ["start", "stop"])

    def test_aProtocolRemovedFromOneOfTwoNumbersKeepsRunning(self) -> None:
        self.layer.addProto(TYPE, self.first)
        self.layer.addProto(OTHER_TYPE, self.first)
        self.layer.makeConnection(PORT)
        self.layer.removeProto(TYPE, self.first)
        self.assertIs(self.first.transport, self.layer)
        self.layer.removeProto(OTHER_TYPE, self.first)
        self.assertEqual(self.events[-1], ("first", "stop"))

    def test_aProtocolAddedTwiceUnderANumberIsRemovedOnceAtATime(self) -> None:
        self.layer.addProto(TYPE, self.first)
        self.layer.addProto(TYPE, self.first)
        self.layer.makeConnection(PORT)
        self.layer.removeProto(TYPE, self.first)
        self.assertEqual(self.layer.etherProtos, {TYPE: [self.first]})
        self.assertNotIn(("first", "stop"), self.events)

    def test_aProtocolWithoutMakeConnectionReceivesPackets(self) -> None:
        bare: Any = implementer(IRawPacketProtocol)(NoLife)()
        self.layer.addProto(TYPE, bare)
        self.layer.makeConnection(PORT)
        self.layer.packetReceived(Packet(FRAME))
        self.layer.doStop()
        self.assertEqual(bare.received, [b"payload"])

    def test_wholeStackStartsFromTheBottom(self) -> None:
        ip, udp = IPProtocol(), RawUDPProtocol()
        self.layer.addProto(0x0800, ip)
        self.layer.addProto(0x86DD, ip)
        ip.addProto(17, udp)
        ip.addProto(1, self.first)
        self.layer.makeConnection(PORT)
        self.assertIs(ip.transport, self.layer)
        self.assertIs(udp.transport, ip)
        self.assertIs(self.first.transport, ip)
        self.layer.doStop()
        self.assertEqual((ip.transport, udp.transport, self.first.transport), (None, None, None))
        self.assertEqual((ip.numPorts, udp.numPorts, self.first.numPorts), (0, 0, 0))


class TwoPortsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.proto = NamedRecorder("proto", self.events)
        self.layers = [EthernetProtocol(), EthernetProtocol()]
        for layer in self.layers:
            layer.addProto(TYPE, self.proto)
            layer.makeConnection(PORT)

    def test_aProtocolOnTwoPortsStartsOnceWithItsFirstTransport(self) -> None:
        self.assertEqual(self.proto.transports, [self.layers[0]])
        self.assertIs(self.proto.transport, self.layers[0])

    def test_aProtocolOnTwoPortsKeepsItsTransportWhileItRuns(self) -> None:
        for stopped in (0, 1):
            self.layers[stopped].doStop()
            self.assertIs(self.proto.transport, self.layers[0])
            self.layers[stopped].makeConnection(PORT)

    def test_aProtocolOnTwoPortsStopsWithTheLastOne(self) -> None:
        self.layers[0].doStop()
        self.assertEqual(self.events, [("proto", "start")])
        self.layers[1].doStop()
        self.assertEqual(self.events, [("proto", "start"), ("proto", "stop")])

    def test_aLayerOnTwoPortsStartsTheProtocolsAboveOnce(self) -> None:
        events: list[tuple[str, str]] = []
        ip, bottom = IPProtocol(), [EthernetProtocol(), EthernetProtocol()]
        ip.addProto(1, NamedRecorder("above", events))
        for layer in bottom:
            layer.addProto(0x0800, ip)
            layer.makeConnection(PORT)
        self.assertEqual(events, [("above", "start")])
        bottom[0].doStop()
        self.assertEqual(events, [("above", "start")])
        bottom[1].doStop()
        self.assertEqual(events, [("above", "start"), ("above", "stop")])


class FailingStartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.layer = RecordingLayer(self.events)
        self.good = NamedRecorder("good", self.events)
        self.bad = NamedRecorder("bad", self.events, "start")

    def test_aFailingStartStopsTheProtocolsStartedBefore(self) -> None:
        self.layer.addProto(TYPE, self.good)
        self.layer.addProto(TYPE, self.bad)
        self.assertRaises(Oops, self.layer.makeConnection, PORT)
        self.assertEqual(self.events[-2:], [("good", "stop"), ("layer", "stop")])
        self.assertEqual((self.layer.numPorts, self.good.numPorts, self.bad.numPorts), (0, 0, 0))
        self.assertEqual((self.good.transport, self.bad.transport), (None, None))

    def test_aFailingStartStartsNoFurtherProtocols(self) -> None:
        self.layer.addProto(TYPE, self.bad)
        self.layer.addProto(TYPE, self.good)
        self.assertRaises(Oops, self.layer.makeConnection, PORT)
        self.assertNotIn("good", [name for name, event in self.events])

    def test_aStackCanBeStartedAgainAfterAFailingStart(self) -> None:
        bottom = EthernetProtocol()
        ip = IPProtocol()
        bottom.addProto(0x0800, ip)
        ip.addProto(1, self.good)
        ip.addProto(1, self.bad)
        self.assertRaises(Oops, bottom.makeConnection, PORT)
        bottom.transport = None
        self.bad.failing.clear()
        bottom.makeConnection(PORT)
        self.assertEqual((self.good.transport, self.bad.transport), (ip, ip))

    def test_protocolThatFailsOnARunningLayerIsNotAdded(self) -> None:
        self.layer.makeConnection(PORT)
        self.assertRaises(Oops, self.layer.addProto, TYPE, self.bad)
        self.assertEqual(self.layer.etherProtos, {})
        self.assertIsNone(self.bad.transport)

    def test_protocolThatFailedOnARunningLayerCanBeAddedAgain(self) -> None:
        self.layer.makeConnection(PORT)
        self.assertRaises(Oops, self.layer.addProto, TYPE, self.bad)
        self.bad.failing.clear()
        self.layer.addProto(TYPE, self.bad)
        self.assertIs(self.bad.transport, self.layer)


class FailingStopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.layer = RecordingLayer(self.events)
        for name, failing in (("first", ""), ("bad", "stop"), ("last", "")):
            self.layer.addProto(TYPE, NamedRecorder(name, self.events, failing))
        self.layer.makeConnection(PORT)
        del self.events[:]
        self.layer.doStop()
        self.logged = self.flushLoggedErrors(Oops)

    def test_aFailingStopStopsTheOtherProtocols(self) -> None:
        self.assertEqual(self.events, [("last", "stop"), ("bad", "stop"), ("first", "stop"), ("layer", "stop")])

    def test_aFailingStopIsLoggedAndCounted(self) -> None:
        self.assertEqual(len(self.logged), 1)
        self.assertEqual(self.layer.counters, {"protocolFailures": 1})


class FailingReceiverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.layer = EthernetProtocol()
        self.bad = PairRecorder("receive")
        self.layer.addProto(TYPE, self.bad)

    def receive(self, *times: float) -> int:
        """
        Receive a frame at each of some times.

        @return: the number of failures that were logged.
        """
        for time in times:
            self.layer.packetReceived(Packet(FRAME, time=time))
        return len(self.flushLoggedErrors(Oops))

    def test_otherProtocolsUnderTheNumberReceiveThePacket(self) -> None:
        good = PairRecorder()
        self.layer.addProto(TYPE, good)
        self.assertEqual(self.receive(0.0), 1)
        self.assertEqual((self.bad.data, good.data), ([b"payload"], [b"payload"]))

    def test_exceptionsOfAProtocolAreLoggedOnceASecond(self) -> None:
        self.assertEqual(self.receive(5.0, 5.0, 5.5, 5.999), 1)
        self.assertEqual(self.receive(6.0, 6.5), 1)

    def test_everyExceptionIsCounted(self) -> None:
        self.receive(5.0, 5.0, 5.5)
        self.assertEqual(self.layer.counters, {"protocolFailures": 3})

    def test_eachProtocolHasItsOwnLogLimit(self) -> None:
        self.layer.addProto(TYPE, PairRecorder("receive"))
        self.assertEqual(self.receive(5.0, 5.5), 2)

    def test_clockThatStepsBackDoesNotSilenceTheLog(self) -> None:
        self.assertEqual(self.receive(1000.0, 5.0), 2)

    def test_theLogNamesTheProtocolAndTheMethod(self) -> None:
        with capturedLogs() as events:
            self.receive(0.0)
        (event,) = [event for event in events if "log_failure" in event]
        text = event["log_format"].format(**event)
        self.assertIn(f"{PairRecorder.__module__}.PairRecorder.datagramReceived", text)

    def test_theLogNamesPacketReceived(self) -> None:
        class New(PairRecorder):
            def packetReceived(self, packet: Packet) -> None:
                raise Oops

        self.layer.removeProto(TYPE, self.bad)
        self.layer.addProto(TYPE, New())
        with capturedLogs() as events:
            self.assertEqual(self.receive(0.0), 1)
        (event,) = [event for event in events if "log_failure" in event]
        self.assertIn("New.packetReceived", event["log_format"].format(**event))


class DeliveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.layer = EthernetProtocol()

    def test_severalProtocolsReceiveSeparateCopies(self) -> None:
        seen: list[tuple[int, int]] = []

        class Mover(PairRecorder):
            def packetReceived(self, packet: Packet) -> None:
                seen.append((packet.start, packet.end))
                packet.start = packet.end

        for _ in range(3):
            self.layer.addProto(TYPE, Mover())
        self.layer.packetReceived(Packet(FRAME))
        self.assertEqual(seen, [(14, len(FRAME))] * 3)

    def test_aProtocolRemovedDuringDeliveryDoesNotReceiveThePacket(self) -> None:
        removed = PairRecorder()

        class Remover(PairRecorder):
            def datagramReceived(remover, data: bytes, **rest: Any) -> None:  # type: ignore[override]
                self.layer.removeProto(TYPE, removed)

        self.layer.addProto(TYPE, Remover())
        self.layer.addProto(TYPE, removed)
        self.layer.packetReceived(Packet(FRAME))
        self.assertEqual(removed.calls, [])

    def test_theLayerHoldsThePacketDuringDelivery(self) -> None:
        packet, seen = Packet(FRAME), []
        proto = PairRecorder("receive")
        self.layer.addProto(TYPE, proto)
        proto.datagramReceived = lambda **rest: seen.append(self.layer.packet)  # type: ignore[method-assign]
        self.layer.packetReceived(packet)
        self.assertEqual(seen, [packet])
        self.assertIsNone(self.layer.packet)

    def test_theLayerReleasesThePacketAfterAnException(self) -> None:
        self.layer.addProto(TYPE, PairRecorder("receive"))
        self.layer.packetReceived(Packet(FRAME))
        self.flushLoggedErrors(Oops)
        self.assertIsNone(self.layer.packet)

    def test_droppedIsCalledForEachDrop(self) -> None:
        drops: list[tuple[Packet, Drop]] = []
        self.layer.dropped = lambda *drop: drops.append(drop)  # type: ignore[method-assign]
        packet = Packet(FRAME)
        self.layer.packetReceived(packet)
        self.assertEqual(drops, [(packet, Drop.UNKNOWN_PROTOCOL)])

    def test_removingAProtocolThatWasNotAddedIsAValueError(self) -> None:
        self.layer.addProto(TYPE, PairRecorder())
        with self.assertRaises(ValueError) as raised:
            self.layer.removeProto(TYPE, PairRecorder())
        self.assertIn(str(TYPE), str(raised.exception))
        self.assertRaises(ValueError, self.layer.removeProto, OTHER_TYPE, PairRecorder())


class KnowsPacketsTests(SynchronousTestCase):
    def test_layersOfThePackageTakePackets(self) -> None:
        for layer in (EthernetProtocol(), IPProtocol(), RawUDPProtocol()):
            self.assertTrue(knowsPackets(layer))

    def test_aProtocolWithOnlyDatagramReceivedTakesNoPackets(self) -> None:
        self.assertFalse(knowsPackets(PairRecorder()))

    def test_aSubclassThatOverridesDatagramReceivedTakesNoPackets(self) -> None:
        class Override(IPProtocol):
            def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
                """
                Do nothing; applications of twisted.pair override this method.
                """

        self.assertFalse(knowsPackets(Override()))

    def test_aSubclassThatOverridesBothTakesPackets(self) -> None:
        class Both(IPProtocol):
            def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
                """
                Do nothing; a port of twisted.pair would call this method.
                """

            def packetReceived(self, packet: Packet) -> None:
                """
                Do nothing; a port of this package calls this method.
                """

        self.assertTrue(knowsPackets(Both()))

    def test_anInstanceWithItsOwnDatagramReceivedTakesNoPackets(self) -> None:
        ip = IPProtocol()
        ip.datagramReceived = lambda *args, **kwargs: None  # type: ignore[method-assign]
        self.assertFalse(knowsPackets(ip))

    def test_anObjectWithoutEitherMethodTakesNoPackets(self) -> None:
        self.assertFalse(knowsPackets(object()))

    def test_aWrapperTakesPacketsOnlyByItsOwnMethod(self) -> None:
        class Wrapper:
            def __getattr__(self, name: str) -> Any:
                return getattr(IPProtocol(), name)

        self.assertFalse(knowsPackets(Wrapper()))
        Wrapper.packetReceived = lambda self, packet: None  # type: ignore[attr-defined]
        self.assertTrue(knowsPackets(Wrapper()))

    def test_overriddenDatagramReceivedIsCalled(self) -> None:
        calls = []

        class Override(IPProtocol):
            def datagramReceived(self, data: bytes, **rest: Any) -> None:  # type: ignore[override]
                calls.append((data, rest["protocol"]))

        layer = EthernetProtocol()
        layer.addProto(TYPE, Override())
        layer.packetReceived(Packet(FRAME))
        self.assertEqual(calls, [(b"payload", TYPE)])
