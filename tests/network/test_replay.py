"""
Tests for L{txtuntap.network.replay}: capture files that are played into a protocol.
"""

from __future__ import annotations

import io
import math
import os
import select
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from tests.descriptors import openDescriptors
from tests.recorders import SuperpacketRecorder, forPort
from tests.wire.test_capturefile import block, enhanced, interface, pcap, section
from txtuntap import Host
from txtuntap.middleware import Capture
from txtuntap.network.clock import SimulationClock
from txtuntap.network.replay import JUMP, JUMP_BACK, Replay
from txtuntap.packet import Packet
from txtuntap.testing import TAP, TUN, udpPacket
from txtuntap.udp.echo import Echo
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CaptureFileError, readCapture
from txtuntap.wire.linktypes import LOOP, NULL, SLL, SLL2

SECOND = 1_000_000_000
BEGIN = 1_795_272_843 * SECOND

HEADER = pcapng.sectionHeader() + pcapng.interfaceDescription(pcapng.RAW)


def captured(*packets: tuple[bytes, float, int]) -> io.BytesIO:
    """
    Make a capture file.

    @param packets: the octets of each packet, its time in seconds after L{BEGIN}, and its direction.
    """
    blocks = [
        pcapng.enhancedPacket(data, BEGIN + round(after * SECOND), direction) for data, after, direction in packets
    ]
    return io.BytesIO(HEADER + b"".join(blocks))


IN, OUT, UNKNOWN = pcapng.INBOUND, pcapng.OUTBOUND, pcapng.UNKNOWN


class TimeCheckingRecorder(SuperpacketRecorder):
    """
    A protocol that records packets, and checks that the time of each one is the time of the clock.
    """

    takesOffload = True

    def packetReceived(self, packet: Packet) -> None:
        super().packetReceived(packet)
        assert packet.port is not None
        assert packet.time == packet.port.clock.seconds()


class ReplayTests(SynchronousTestCase):
    """
    Tests of a file that is played into a protocol which records the packets.
    """

    def setUp(self) -> None:
        self.clock: Any = SimulationClock()
        self.clock.advance(7)
        self.recorder = TimeCheckingRecorder()

    def play(self, file: Any, **keywords: Any) -> Replay:
        self.replay = Replay(file, self.recorder, self.clock, **keywords)
        self.done = self.replay.start()
        return self.replay

    def came(self) -> list[tuple[bytes, float]]:
        return [(bytes(packet), round(packet.time - 7, 9)) for packet in self.recorder.packets]

    def test_packetsAreDeliveredAtTheTimesInTheFile(self) -> None:
        self.play(captured((b"a", 0, IN), (b"b", 0.25, IN), (b"c", 0.25, IN), (b"d", 3600, IN)))
        self.assertEqual(self.came(), [])
        self.clock.advance(3599)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", 0.25), (b"c", 0.25)])
        self.assertNoResult(self.done)
        self.clock.advance(1)
        self.assertEqual(self.came()[-1], (b"d", 3600))
        self.assertEqual(self.successResultOf(self.done), 4)
        self.assertEqual(self.recorder.numPorts, 0)

    def test_aJumpingClockDeliversAllPackets(self) -> None:
        self.clock = Clock()
        self.play(captured(*[(b"%d" % number, number / 10, IN) for number in range(5)]))
        self.clock.advance(100)
        self.assertEqual(len(self.came()), 5)
        self.assertEqual(self.successResultOf(self.done), 5)

    def test_aPacketOutOfOrderIsDeliveredAtOnce(self) -> None:
        self.play(captured((b"a", 0, IN), (b"b", 2, IN), (b"c", 1, IN), (b"d", 3, IN)))
        self.clock.advance(3)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", 2), (b"c", 2), (b"d", 3)])

    def test_packetsWithoutATimeAreDeliveredAtOnce(self) -> None:
        without = block(pcapng.SIMPLE_PACKET, struct.pack("<I", 4) + b"none")
        one, two, three = (pcapng.enhancedPacket(b"%d" % number, BEGIN + number * SECOND) for number in range(3))
        for blocks, expected in (
            ([one, without, two], [(b"0", 0), (b"none", 0), (b"1", 1)]),
            ([without, without, one, two], [(b"none", 0), (b"none", 0), (b"0", 0), (b"1", 1)]),
            ([one, two, without, three], [(b"0", 0), (b"1", 1), (b"none", 1), (b"2", 2)]),
        ):
            self.setUp()
            self.play(io.BytesIO(HEADER + b"".join(blocks)))
            self.clock.advance(2)
            self.assertEqual(self.came(), expected)
            self.successResultOf(self.done)

    def test_aJumpOfTheFilesClockIsSkipped(self) -> None:
        for jump in JUMP + 1, 50 * 365 * JUMP, -JUMP_BACK - 1, -50 * 365 * JUMP:
            self.setUp()
            self.play(captured((b"a", 0, IN), (b"b", 1, IN), (b"c", 1 + jump, IN), (b"d", 3 + jump, IN)))
            self.clock.advance(3)
            self.assertEqual(self.came(), [(b"a", 0), (b"b", 1), (b"c", 1), (b"d", 3)])

    def test_aGapOfADayIsKept(self) -> None:
        self.play(captured((b"a", 0, IN), (b"b", JUMP, IN), (b"c", JUMP - JUMP_BACK, IN), (b"d", JUMP + 1, IN)))
        self.clock.advance(JUMP + 1)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", JUMP), (b"c", JUMP), (b"d", JUMP + 1)])

    def test_gapsAreShortenedToMaxGap(self) -> None:
        packets = (b"a", 0, IN), (b"b", 1, IN), (b"c", 11, IN), (b"d", 12, IN), (b"e", 12 + 10 * JUMP, IN)
        self.play(captured(*packets), maxGap=2.5)
        self.clock.advance(10)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", 1), (b"c", 3.5), (b"d", 4.5), (b"e", 7)])
        self.setUp()
        self.play(captured(*packets), maxGap=0)
        self.clock.advance(0)
        self.assertEqual(len(self.came()), 5)
        self.setUp()
        self.play(captured(*packets), maxGap=20 * JUMP)
        self.clock.advance(11 * JUMP)
        self.assertEqual(self.came()[-1], (b"e", 12 + 10 * JUMP))
        for gap in -1, math.inf, math.nan:
            self.assertRaises(ValueError, Replay, io.BytesIO(), self.recorder, self.clock, maxGap=gap)

    def test_ipPacketsAreTakenFromSeveralLinkTypes(self) -> None:
        four, six = (
            udpPacket(peer, own, 4000, 7, b"x") for peer, own in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"))
        )
        for linkType in 12, 14, 101, 228, 229:
            self.assertLink(linkType, [four, six], four, six)
        for family in 10, 23, 24, 28, 30:
            for linkType, order in (NULL, "<"), (NULL, ">"), (LOOP, ">"):
                kinds = [struct.pack(f"{order}I", kind) for kind in (2, family)]
                self.assertLink(linkType, [four, six], kinds[0] + four, kinds[1] + six, kinds[0] + six, kinds[0], b"\2")

        def cooked(kind: int, etherType: int) -> bytes:
            return struct.pack("!HHH8sH", kind, 1, 6, bytes(8), etherType)

        kept = [cooked(0, 0x800) + four, cooked(1, 0x86DD) + six, cooked(3, 0x800) + four]
        others = [cooked(4, 0x800) + four, cooked(0, 0x806) + four, cooked(0, 0x800), cooked(0, 0x86DD)[:15], b""]
        self.assertLink(SLL, [four, six, four], *kept, *others)

        def newer(kind: int, etherType: int) -> bytes:
            return struct.pack("!HHIHBB8s", etherType, 0, 1, 1, kind, 6, bytes(8))

        kept = [newer(0, 0x800) + four, newer(1, 0x86DD) + six, newer(3, 0x800) + four]
        others = [newer(4, 0x800) + four, newer(0, 0x806) + four, newer(0, 0x800), newer(0, 0x86DD)[:10], b""]
        self.assertLink(SLL2, [four, six, four], *kept, *others)

    def assertLink(self, linkType: int, expected: list[bytes], *packets: bytes) -> None:
        """
        Play packets of one link type, and check which of them are delivered.

        @param expected: the IP packets that are to be delivered.
        @param packets: the packets in the file, with their link headers.
        """
        self.setUp()
        self.play(io.BytesIO(pcap("<", 0xA1B2C3D4, *((0, 0, each, 99) for each in packets), linkType=linkType)))
        self.clock.advance(0)
        self.assertEqual([data for data, _ in self.came()], expected)
        self.assertTrue(all(packet.partial for packet in self.recorder.packets))
        self.assertEqual(self.successResultOf(self.done), len(expected))
        others = self.replay.counters["inOtherLinks"] + self.replay.counters["inOthers"]
        self.assertEqual(others, len(packets) - len(expected))

    def test_theErrorOfAFileWithoutUsablePacketsNamesItsLinkTypes(self) -> None:
        for mode, linkType, words in (
            (TUN, 1, "takes IP packets, and the file has none of them: it has ETHERNET (link type 1)"),
            (TUN, 127, "it has IEEE802_11_RADIOTAP (link type 127)"),
            (TAP, SLL, "takes Ethernet frames, and the file has none of them: it has LINUX_SLL (link type 113)"),
            (TAP, 4321, "it has link type 4321"),
        ):
            self.recorder = forPort(TimeCheckingRecorder(), mode)
            self.play(io.BytesIO(pcap("<", 0xA1B2C3D4, (0, 0, b"data", 4), linkType=linkType)))
            self.clock.advance(0)
            self.assertIn(words, str(self.failureResultOf(self.done, CaptureFileError).value))

    def test_onlyWantedDirectionsAreDelivered(self) -> None:
        packets = (b"in", 0, IN), (b"out", 1, OUT), (b"unknown", 2, UNKNOWN)
        for directions, expected in (IN, b"in unknown"), (OUT, b"out unknown"), (IN | OUT, b"in out unknown"):
            self.recorder.packets.clear()
            self.play(captured(*packets), directions=directions)
            self.clock.advance(2)
            self.assertEqual(b" ".join(map(bytes, self.recorder.packets)), expected)
            self.assertEqual(self.replay.counters["inOthers"], 3 - len(expected.split()))
            self.successResultOf(self.done)

    def test_pcapFilesWithoutDirectionsArePlayed(self) -> None:
        self.play(io.BytesIO(pcap(">", 0xA1B23C4D, (7, 0, b"one", 3), (8, 5, b"tw", 3), linkType=228)))
        self.clock.advance(2)
        self.assertEqual(self.came(), [(b"one", 0), (b"tw", 1.000000005)])
        self.assertEqual([packet.partial for packet in self.recorder.packets], [False, True])

    def test_theLatestSentPacketsAreKept(self) -> None:
        self.play(captured((b"a", 0, IN)), maxSent=2)
        for number in range(3):
            self.replay.writePacket([b"%d" % number, b"!"])
        self.assertEqual(list(self.replay.sent), [b"1!", b"2!"])
        self.assertEqual([(state.size, state.bound) for state in self.replay.tables()], [(2, 2)])
        self.assertEqual((self.replay.counters["outPackets"], self.replay.counters["outOctets"]), (3, 6))

    def test_wholePacketsOfATruncatedFileArePlayed(self) -> None:
        whole = captured((b"a", 0, IN), (b"b", 1, IN), (b"c", 2, IN)).getvalue()
        self.play(io.BytesIO(whole[:-3]))
        self.clock.advance(10)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", 1)])
        self.assertIn("cut short", str(self.failureResultOf(self.done, CaptureFileError).value))
        self.assertEqual(self.recorder.numPorts, 0)

    def test_anEmptyCaptureEndsAtOnce(self) -> None:
        self.play(io.BytesIO(HEADER))
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(self.done), 0)

    def test_aFileThatIsNoCaptureFails(self) -> None:
        self.play(io.BytesIO(b"no capture"))
        self.clock.advance(0)
        self.failureResultOf(self.done, CaptureFileError)

    def test_theOtherKindOfLink(self) -> None:
        self.recorder = forPort(TimeCheckingRecorder(), TAP)
        self.play(captured((b"a", 0, IN)))
        self.clock.advance(0)
        self.assertIn("takes Ethernet frames", str(self.failureResultOf(self.done, CaptureFileError).value))
        self.assertEqual(self.replay.counters, {"inOtherLinks": 1})
        self.assertRaises(TypeError, Replay, io.BytesIO(), object(), self.clock)
        self.assertRaises(ValueError, Replay, io.BytesIO(), self.recorder, self.clock, 0)

    def test_onlyUsableInterfacesOfAFileArePlayed(self) -> None:
        described = interface() + pcapng.interfaceDescription(pcapng.RAW)
        packets = enhanced("<", 0, b"fram") + enhanced("<", 0, b"data", number=1)
        self.play(io.BytesIO(section() + described + packets))
        self.clock.advance(0)
        self.assertEqual(self.came(), [(b"data", 0)])

    def test_aReplayCanBeStoppedAndStartedAgain(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "trace.pcapng")
        path.write_bytes(captured((b"a", 0, IN), (b"b", 1, IN)).getvalue())
        self.play(path)
        self.assertRaises(RuntimeError, self.replay.start)
        self.clock.advance(0.5)
        self.replay.stop()
        self.replay.stop()
        self.failureResultOf(self.done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.done = self.replay.start()
        self.clock.advance(1)
        self.assertEqual(self.came(), [(b"a", 0), (b"a", 0.5), (b"b", 1.5)])
        self.assertEqual(self.successResultOf(self.done), 2)
        again = self.replay.start()
        again.cancel()
        self.failureResultOf(again, CancelledError)
        path.unlink()
        self.assertRaises(FileNotFoundError, self.replay.start)

    def test_aBurstIsPlayedInSeveralTurns(self) -> None:
        turns: list[object] = []
        callLater = self.clock.callLater

        def counted(*arguments: Any) -> Any:
            turns.append(arguments)
            return callLater(*arguments)

        self.clock.callLater = counted
        self.play(captured(*[(b"x", 0, IN)] * 250))
        self.clock.advance(0)
        self.assertEqual(len(self.recorder.packets), 250)
        self.assertEqual(len(turns), 3)
        # A file whose packets are all skipped takes several turns, too.
        turns.clear()
        self.play(captured(*[(b"x", 0, OUT)] * 250))
        self.clock.advance(0)
        self.assertEqual(self.replay.counters["inOthers"], 250)
        self.assertEqual(len(turns), 3)

    def test_exceptionsOfTheProtocolAreCounted(self) -> None:
        def packetReceived(packet: Packet) -> None:
            self.recorder.packets.append(packet)
            raise RuntimeError("not today")

        self.recorder.packetReceived = packetReceived  # type: ignore[method-assign]
        self.play(captured((b"a", 0, IN), (b"b", 0.1, IN)))
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.replay.counters["protocolFailures"], 2)
        self.assertEqual(self.successResultOf(self.done), 2)

    def test_aReplayHasTheAttributesOfATransport(self) -> None:
        replay = self.play(captured((b"a", 0, IN)))
        self.assertTrue(IReactorTime.providedBy(replay.clock))
        self.assertEqual((replay.mtu, replay.linkAddress, replay.offloads), (1500, None, 0))

    @given(st.binary(max_size=400))
    def test_garbageEndsTheReplay(self, garbage: bytes) -> None:
        self.setUp()
        self.play(io.BytesIO(HEADER + pcapng.enhancedPacket(b"a", BEGIN) + garbage))
        self.clock.advance(2**40)
        self.assertGreaterEqual(len(self.recorder.packets), 1)
        self.done.addErrback(lambda failure: failure.trap(CaptureFileError))
        self.assertTrue(self.done.called)


class ReadingClock(SimulationClock):
    """
    A clock that is also a reactor for readers: L{read} lets them read.
    """

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, IReactorFDSet)
        self.readers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard

    def read(self) -> None:
        """
        Call the readers that have something to read, and make the calls that are due, until nothing is left to read.
        """
        polling = select.poll()
        while True:
            by = {each.fileno(): each for each in self.readers}
            for descriptor in by:
                polling.register(descriptor, select.POLLIN)
            ready = polling.poll(0)
            for descriptor, event in ready:
                # Real reactors call the same methods.
                reader = by[descriptor]
                if event & select.POLLIN:
                    reader.doRead()
                else:
                    self.removeReader(reader)
                    reader.connectionLost(Failure(ConnectionDone()))
            for descriptor in by:
                polling.unregister(descriptor)
            self.advance(0)
            if not ready:
                return


@pytest.mark.unix("pipes that a reactor reads")
class PipeTests(SynchronousTestCase):
    """
    Tests of captures that are read from pipes while they are written.
    """

    def setUp(self) -> None:
        self.clock: Any = ReadingClock()
        self.recorder = SuperpacketRecorder()
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "pipe")
        self.descriptors = openDescriptors()
        self.addCleanup(lambda: self.assertEqual(openDescriptors(), self.descriptors))

    def pipe(self) -> tuple[int, io.FileIO]:
        """
        Make a pipe, from which a replay can read.

        @return: the descriptor to read from, and the file to write to.
        """
        reading, descriptor = os.pipe()
        self.addCleanup(os.close, reading)
        writing = io.FileIO(descriptor, "w")
        self.addCleanup(writing.close)
        return reading, writing

    def came(self) -> list[tuple[bytes, float]]:
        return [(bytes(packet), packet.time) for packet in self.recorder.packets]

    def test_packetsArePlayedWhileTheyAreWritten(self) -> None:
        reading, writing = self.pipe()
        done = Replay(reading, self.recorder, self.clock).start()
        self.clock.read()
        writing.write(HEADER)
        self.clock.advance(5)
        self.clock.read()
        blocks = [pcapng.enhancedPacket(b"%d" % number, BEGIN + number * SECOND) for number in range(4)]
        writing.write(blocks[0] + blocks[1] + blocks[2][:20])
        self.clock.read()
        self.assertEqual(self.came(), [(b"0", 5)])
        self.clock.advance(1)
        self.assertEqual(self.came(), [(b"0", 5), (b"1", 6)])
        writing.write(blocks[2][20:])
        self.clock.read()
        self.clock.advance(2)
        self.assertEqual(self.came()[2:], [(b"2", 7)])
        writing.write(blocks[3])
        self.clock.advance(2)
        self.clock.read()
        # The packet arrives late, and so is delivered at once.
        self.assertEqual(self.came()[3:], [(b"3", 10)])
        self.assertNoResult(done)
        writing.close()
        self.clock.read()
        self.assertEqual(self.successResultOf(done), 4)
        self.assertEqual(self.clock.readers, set())

    def test_thePipeIsNotReadWhileAPacketWaits(self) -> None:
        reading, writing = self.pipe()
        replay = Replay(reading, self.recorder, self.clock)
        done = replay.start()
        blocks = [pcapng.enhancedPacket(bytes(1000), BEGIN + number * SECOND) for number in range(200)]
        os.set_blocking(writing.fileno(), False)
        octets = HEADER + b"".join(blocks)
        while written := writing.write(octets):
            octets = octets[written:]
            self.clock.read()
        # The reactor has read once, the pipe is full, and the rest still has to be written.
        self.assertGreater(len(octets), 50_000)
        self.assertEqual(len(self.came()), 1)
        for _ in range(200):
            self.clock.advance(1)
            self.clock.read()
            octets = octets[writing.write(octets) or 0 :]
        self.assertEqual(octets, b"")
        self.assertEqual(len(self.came()), 200)
        replay.stop()
        self.failureResultOf(done, CancelledError)

    def test_aPipeMayBeOpenedForWritingLater(self) -> None:
        os.mkfifo(self.path)
        done = Replay(self.path, self.recorder, self.clock).start()
        self.clock.read()
        self.assertNoResult(done)
        self.path.write_bytes(captured((b"a", 0, IN)).getvalue())
        self.clock.read()
        self.assertEqual(self.successResultOf(done), 1)

    def test_wholePacketsOfATruncatedPipeArePlayed(self) -> None:
        reading, writing = self.pipe()
        done = Replay(reading, self.recorder, self.clock).start()
        writing.write(captured((b"a", 0, IN), (b"b", 1, IN)).getvalue()[:-4])
        self.clock.read()
        writing.close()
        self.clock.read()
        self.assertIn("cut short", str(self.failureResultOf(done, CaptureFileError).value))
        self.assertEqual(self.came(), [(b"a", 0)])

    def test_garbageInAPipeFails(self) -> None:
        reading, writing = self.pipe()
        done = Replay(reading, self.recorder, self.clock).start()
        writing.write(b"garbage")
        self.clock.read()
        self.failureResultOf(done, CaptureFileError)
        self.assertEqual(self.clock.readers, set())

    def test_aReplayOfAPipeCanBeStopped(self) -> None:
        reading, writing = self.pipe()
        replay = Replay(reading, self.recorder, self.clock)
        done = replay.start()
        writing.write(HEADER)
        self.clock.read()
        replay.stop()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((self.clock.readers, self.clock.getDelayedCalls()), (set(), []))

    def test_aDescriptorIsReadFromItsCurrentPosition(self) -> None:
        self.path.write_bytes(b"before" + captured((b"a", 0, IN)).getvalue())
        with self.path.open("rb") as file:
            os.lseek(file.fileno(), 6, os.SEEK_SET)
            done = Replay(file.fileno(), self.recorder, self.clock).start()
            self.clock.advance(0)
        self.assertEqual(self.successResultOf(done), 1)

    def test_aPipeIsRefusedWithoutAReactorOrADescriptor(self) -> None:
        reading, _ = self.pipe()
        for file, clock, words in (
            (reading, SimulationClock(), "let the clock be one"),
            (reading, Clock(), "let the clock be one"),
            (os.fdopen(reading, "rb", closefd=False), self.clock, "give its descriptor"),
        ):
            error = self.assertRaises(ValueError, Replay(file, self.recorder, clock).start)
            self.assertIn(words, str(error))
        self.assertEqual(self.recorder.numPorts, 0)

    def test_directoriesAndDevicesAreRefused(self) -> None:
        self.assertRaises(IsADirectoryError, Replay(self.path.parent, self.recorder, self.clock).start)
        error = self.assertRaises(OSError, Replay("/dev/null", self.recorder, self.clock).start)
        self.assertIn("neither a file nor a pipe", str(error))


class StackTests(SynchronousTestCase):
    """
    Tests of a file that is played into a host, whose answers are captured.
    """

    def test_aHostAnswersThePlayedPackets(self) -> None:
        clock = SimulationClock()
        host = Host(["10.9.0.2/24"], clock)
        host.listenUDP(7, Echo(frozenset([7])))
        asked = [udpPacket("10.9.0.1", "10.9.0.2", 4000, 7, b"%d" % number) for number in range(3)]
        file = captured(*[(packet, number, IN) for number, packet in enumerate(asked)])
        again = io.BytesIO()
        replay = Replay(file, Capture(again, host.ip), clock)
        done = replay.start()
        clock.advance(2)
        self.assertEqual(self.successResultOf(done), 3)
        found = list(readCapture(io.BytesIO(again.getvalue())))
        self.assertEqual(
            [(each.data, each.time) for each in found if each.direction == IN],
            list(zip(asked, [0, SECOND, 2 * SECOND], strict=True)),
        )
        self.assertEqual([each.data for each in found if each.direction == OUT], list(replay.sent))
        self.assertEqual([packet[-1:] for packet in replay.sent], [b"0", b"1", b"2"])
