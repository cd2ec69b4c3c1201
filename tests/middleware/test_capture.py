"""
Tests for L{txtuntap.middleware.capture}: the records of packets. How C{tshark} reads them is tested in
L{tests.real.test_capture}.
"""

from __future__ import annotations

import io
import time
from typing import Any

from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from tests.ports import OffloadPort
from tests.recorders import SuperpacketRecorder, forPort
from tests.superpackets import superpacket
from tests.tunnel.case import Carrier
from txtuntap import Host, TuntapPort
from txtuntap.layer.relay import EVERYTHING
from txtuntap.middleware import Capture, CaptureSink, CaptureStream
from txtuntap.network.clock import SimulationClock
from txtuntap.packet import Packet
from txtuntap.testing import TAP, TUN, MemoryDevice, udpPacket
from txtuntap.tunnel import Tunnel
from txtuntap.udp.echo import Echo
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket, CapturedStatistics, CaptureParser, readCapture
from txtuntap.wire.offload import DATA_VALID, TCP4, UDP, Offload, finish

IN, OUT = pcapng.INBOUND, pcapng.OUTBOUND


class FullSink(CaptureStream):
    """
    A sink that has room for a given number of packets.
    """

    def __init__(self, room: int) -> None:
        self.file = io.BytesIO()
        super().__init__(self.file)
        self.room = room

    def record(self, *arguments: Any) -> bool:
        self.isPacket = True
        return super().record(*arguments)

    def write(self, octets: bytes) -> bool:
        if getattr(self, "isPacket", False):
            self.isPacket = False
            if not self.room:
                return False
            self.room -= 1
        return super().write(octets)


class BrokenSink(CaptureSink):
    """
    A sink that fails at each write.
    """

    def __str__(self) -> str:
        return "a broken sink"

    def write(self, octets: bytes) -> bool:
        raise OSError(28, "No space left on device")


def read(file: io.BytesIO) -> list[CapturedPacket]:
    return list(readCapture(io.BytesIO(file.getvalue())))


def statistics(file: io.BytesIO) -> dict[int, CapturedStatistics]:
    parser = CaptureParser()
    parser.feed(file.getvalue())
    parser.close()
    return parser.statistics


class CaptureTests(SynchronousTestCase):
    """
    Tests of a capture around a protocol that records the packets it receives.
    """

    def setUp(self) -> None:
        self.file = io.BytesIO()
        self.recorder = SuperpacketRecorder()
        self.capture = Capture(self.file, self.recorder)
        self.clock = SimulationClock()
        self.below = OffloadPort(clock=self.clock)

    def start(self) -> None:
        self.capture.makeConnection(self.below)

    def test_bothDirectionsAreRecordedAtTheClocksTime(self) -> None:
        self.start()
        self.clock.advance(1.5)
        self.capture.packetReceived(Packet(b"EEcomes", 2))
        self.clock.advance(86400)
        self.capture.writePacket([b"go", b"es"])
        self.capture.doStop()
        one, two = read(self.file)
        self.assertEqual((one.data, one.direction, one.time), (b"comes", IN, 1_500_000_000))
        self.assertEqual((two.data, two.direction, two.time), (b"goes", OUT, 86_401_500_000_000))
        self.assertEqual(one.interface.linkType, pcapng.RAW)
        self.assertEqual(statistics(self.file), {0: CapturedStatistics(2, 0)})
        self.assertEqual(self.recorder.data, [b"comes"])
        self.assertEqual(self.below.written, [(b"goes", None)])
        self.assertEqual(self.capture.counters, {"captured": 2})

    def test_aReactorsTimesAreReadFromTheSystemClock(self) -> None:
        directlyProvides(self.clock, IReactorCore)
        self.start()
        before = time.time_ns()
        self.capture.packetReceived(Packet(b"comes"))
        after = time.time_ns()
        (packet,) = read(self.file)
        assert packet.time is not None
        self.assertTrue(before <= packet.time <= after)

    def test_aSuperpacketIsRecordedAsItsPackets(self) -> None:
        self.start()
        for kind in UDP, TCP4:
            packet, offload, network = superpacket(4, kind, bytes(range(250)) * 4, 300)
            wire = finish(packet, offload, network)
            self.assertEqual(len(wire), 4)
            # The packet begins behind the header of its device, by which the offsets of its offload are shifted.
            shifted = Offload(
                *(offload.flags, offload.type, offload.headerLength + 10, offload.size),
                *(offload.checksumStart + 10, offload.checksumOffset),
            )
            came = Packet(bytes(10) + packet, 10)
            came.offload = shifted
            self.capture.packetReceived(came)
            self.capture.writePacket([packet[:20], packet[20:]], offload)
            found = read(self.file)[-8:]
            self.assertEqual([each.data for each in found], wire * 2)
            self.assertEqual([each.direction for each in found], [IN] * 4 + [OUT] * 4)
            # The capture passes the superpacket on uncut.
            self.assertIs(self.recorder.packets[-1], came)
            self.assertEqual(self.below.written[-1], (packet, offload))

    def test_aSuperpacketInAFrameIsRecordedAsFrames(self) -> None:
        link = bytes(12) + b"\x81\0\0\x07\x08\0"
        packet, offload, network = superpacket(4, UDP, bytes(1000), 300, link=link)
        recorder = forPort(SuperpacketRecorder(), TAP)
        capture = Capture(self.file, recorder)
        capture.makeConnection(self.below)
        came = Packet(packet)
        came.offload = offload
        capture.packetReceived(came)
        capture.writePacket([packet], offload)
        self.assertEqual([each.data for each in read(self.file)], finish(packet, offload, network) * 2)
        self.assertEqual(read(self.file)[0].interface.linkType, pcapng.ETHERNET)

    def test_aPacketThatCannotBeFinishedIsRecordedUnchanged(self) -> None:
        self.start()
        packet, offload, _ = superpacket(4, UDP, bytes(1000), 300)
        self.capture.writePacket([packet[:15]], offload)
        came = Packet(packet[:15])
        came.offload = offload
        self.capture.packetReceived(came)
        vouched = Packet(b"vouched for")
        vouched.offload = Offload(DATA_VALID)
        self.capture.packetReceived(vouched)
        self.assertEqual([each.data for each in read(self.file)], [packet[:15]] * 2 + [b"vouched for"])

    def test_aPartialPacketHasAComment(self) -> None:
        self.start()
        self.capture.packetReceived(Packet(b"half", partial=True))
        self.capture.packetReceived(Packet(b"whole"))
        half, whole = read(self.file)
        self.assertEqual((half.comments, whole.comments), (("The rest of this packet was not read",), ()))

    def test_theCommentOfAPartialPacketIsOnNoOtherPacket(self) -> None:
        outbound, full = CaptureStream(io.BytesIO(), 0, OUT), FullSink(0)
        for sink in outbound, full:
            self.capture.addSink(sink)
        self.start()
        self.capture.packetReceived(Packet(b"half", partial=True))
        full.room = 1
        self.capture.writePacket([b"whole"])
        for file in outbound._file, full.file:
            self.assertEqual([(each.data, each.comments) for each in read(file)], [(b"whole", ())])  # type: ignore[arg-type]

    def test_commentsAreOnTheNextPacketOrTheStatistics(self) -> None:
        self.start()
        self.capture.comment("one")
        self.capture.comment("two")
        self.capture.packetReceived(Packet(b"a"))
        self.capture.packetReceived(Packet(b"b"))
        self.capture.comment("three")
        self.capture.doStop()
        self.assertEqual([each.comments for each in read(self.file)], [("one", "two"), ()])
        self.assertIn(b"three", self.file.getvalue()[-100:])
        for _ in range(1000):
            self.capture.comment("too many")
        self.start()
        self.capture.packetReceived(Packet(b"c"))
        self.assertEqual(len(read(self.file)[-1].comments), 64)

    def test_snaplenCutsAndDirectionsSelectPackets(self) -> None:
        for directions, expected in (IN, [b"com"]), (OUT, [b"goe"]), (IN | OUT, [b"com", b"goe"]):
            file = io.BytesIO()
            capture = Capture(CaptureStream(file, 3, directions), SuperpacketRecorder())
            capture.makeConnection(self.below)
            capture.packetReceived(Packet(b"comes"))
            capture.writePacket([b"goes!"])
            found = read(file)
            self.assertEqual([each.data for each in found], expected)
            self.assertEqual({each.length for each in found}, {5})
            self.assertEqual(found[0].interface.snaplen, 3)

    def test_aSinkWithoutRoomCountsDrops(self) -> None:
        sink = FullSink(1)
        capture = Capture(sink, self.recorder)
        capture.makeConnection(self.below)
        for number in range(5):
            capture.packetReceived(Packet(b"%d" % number))
        sink.room = 2
        for number in range(5, 8):
            capture.writePacket([b"%d" % number])
        capture.doStop()
        self.assertEqual([(each.data, each.dropped) for each in read(sink.file)], [(b"0", 0), (b"5", 4), (b"6", 0)])
        self.assertEqual(statistics(sink.file), {0: CapturedStatistics(8, 5)})
        self.assertEqual(capture.counters, {"captured": 8, "captureDrops": 5})
        self.assertEqual((len(self.recorder.packets), len(self.below.written)), (5, 3))

    def test_aSinkThatFailsIsRemovedAndTrafficGoesOn(self) -> None:
        self.capture.addSink(BrokenSink())
        with capturedLogs() as events:
            self.start()
            late = BrokenSink()
            late.begin = lambda *ignored: None  # type: ignore[method-assign]
            self.capture.addSink(late)
            for _ in range(3):
                self.capture.packetReceived(Packet(b"comes"))
                self.capture.writePacket([b"goes"])
        self.assertEqual(len(events), 2)
        self.assertEqual(str(events[0]["sink"]), "a broken sink")
        self.assertEqual(len(read(self.file)), 6)
        self.assertEqual((len(self.recorder.packets), len(self.below.written)), (3, 3))
        self.assertEqual(self.capture.counters["captureFailures"], 2)
        self.file.close()
        self.capture.packetReceived(Packet(b"comes"))
        self.capture.doStop()
        self.assertEqual(len(self.recorder.packets), 4)
        self.assertEqual(list(self.capture.sinks), [])

    def test_sinksCanBeAddedAndRemovedWhileRunning(self) -> None:
        self.start()
        self.capture.packetReceived(Packet(b"1"))
        file = io.BytesIO()
        sink = CaptureStream(file)
        self.capture.addSink(sink)
        self.capture.packetReceived(Packet(b"2"))
        self.capture.removeSink(sink)
        self.capture.removeSink(sink)
        self.capture.packetReceived(Packet(b"3"))
        self.assertEqual([each.data for each in read(file)], [b"2"])
        self.assertEqual(statistics(file), {0: CapturedStatistics(1, 0)})
        self.assertEqual([each.data for each in read(self.file)], [b"1", b"2", b"3"])

    def test_withoutASinkNothingIsCounted(self) -> None:
        capture = Capture(None, self.recorder)
        capture.makeConnection(self.below)
        capture.packetReceived(Packet(b"comes"))
        capture.writePacket([b"go", b"es"])
        self.assertEqual(capture.counters, {})
        self.assertEqual(self.below.written, [(b"goes", None)])

    def test_ordinaryPacketsPassOnlyWithoutASink(self) -> None:
        tunnel = Tunnel(TUN)
        capture = Capture(None, tunnel)
        known = capture.knownReceiver
        assert known is not None
        wire = OffloadPort()
        wire.readEnd = []
        capture.makeConnection(wire)
        carrier = Carrier()
        tunnel.carrierUp(carrier)
        data = udpPacket("10.0.0.2", "10.0.0.1", 1, 2, b"")
        self.assertTrue(known(data, 0, None, wire, 0.0))
        capture.addSink(CaptureStream(self.file))
        self.assertFalse(known(data, 0, None, wire, 0.0))
        wire.readEnd[0]()
        self.assertEqual([(data, None)], carrier.sent)
        # This protocol has no fast path.
        self.assertIsNone(self.capture.knownReceiver)

    def test_aSecondStartBeginsANewSection(self) -> None:
        for number in range(2):
            self.start()
            self.capture.packetReceived(Packet(b"%d" % number))
            self.capture.doStop()
        self.assertEqual([each.data for each in read(self.file)], [b"0", b"1"])

    def test_wrongArgumentsRaise(self) -> None:
        self.assertRaises(TypeError, Capture, self.file, object())
        self.assertRaises(TypeError, Capture, object(), SuperpacketRecorder())
        self.assertRaises(FileNotFoundError, Capture, "/nowhere/trace.pcapng", SuperpacketRecorder())
        self.assertRaises(ValueError, CaptureStream, self.file, -1)
        for directions in 0, 4, "in", [1]:
            self.assertRaises(ValueError, CaptureStream, self.file, 0, directions)


class PortTests(SynchronousTestCase):
    """
    Tests of a capture between a port and a host.
    """

    def test_theInterfaceNameIsThatOfThePort(self) -> None:
        for mode in TUN, TAP:
            file = io.BytesIO()
            clock = Clock()
            host = Host(["10.9.0.2/24"], clock)
            inner = Capture(None, host.ethernet if mode == TAP else host.ip)
            device = MemoryDevice(mode, "tt0")
            port = TuntapPort("", Capture(file, Capture(None, inner)), reactor=clock, device=device)
            port.startListening()
            if mode == TUN:
                device.deliver(udpPacket("10.9.0.1", "10.9.0.2", 4000, 7, b"hello"))
            clock.advance(10)
            self.assertEqual({each.interface.name for each in read(file)}, {"tt0"})
            # An application reads the name from the port of its packet.
            self.assertEqual(inner.interface, b"tt0")
        self.assertEqual(Capture(None, SuperpacketRecorder()).interface, b"")

    def test_theRecordedOrderIsTheOrderOnTheWire(self) -> None:
        # Datagrams are batched, and then a packet is written that cannot be batched.
        file = io.BytesIO()
        clock = Clock()
        host = Host(["10.9.0.2/24"], clock)
        echo = Echo(frozenset([7]))
        host.listenUDP(7, echo)
        device = MemoryDevice(TUN, "tt0", features=EVERYTHING)
        capture = Capture(file, host.ip)
        port = TuntapPort("", capture, reactor=clock, device=device, offload=True)
        port.startListening()
        transport: Any = echo.transport
        with transport.batch():
            for number in range(5):
                transport.write(b"%d" % number, ("10.9.0.1", 4000))
            capture.writePacket([udpPacket("10.9.0.2", "10.9.0.1", 7, 4000, b"not with them")])
            transport.write(b"after", ("10.9.0.1", 4000))
        clock.advance(0)
        self.assertEqual(len(device.superpackets), 1)
        self.assertEqual(len(device.sent), 7)
        self.assertEqual([each.data for each in read(file)], device.sent)
