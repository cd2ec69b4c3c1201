"""
Tests for L{txtuntap.replay}.
"""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import SuperpacketRecorder, going
from tests.wire.test_capturefile import enhanced, interface, pcap, section
from txtuntap import Host
from txtuntap.clock import SimulationClock
from txtuntap.echo import Echo
from txtuntap.middleware import Capture
from txtuntap.packet import Packet
from txtuntap.replay import Replay
from txtuntap.testing import TAP, udpPacket
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CaptureFileError, readCapture

SECOND = 1_000_000_000
BEGIN = 1_795_272_843 * SECOND

HEADER = pcapng.sectionHeader() + pcapng.interfaceDescription(pcapng.RAW)


def captured(*packets: tuple[bytes, float, int]) -> io.BytesIO:
    """
    A file of packets: what, how many seconds after the first, and which way.
    """
    blocks = [pcapng.enhancedPacket(data, BEGIN + round(after * SECOND), way) for data, after, way in packets]
    return io.BytesIO(HEADER + b"".join(blocks))


IN, OUT, UNKNOWN = pcapng.INBOUND, pcapng.OUTBOUND, pcapng.UNKNOWN


class Late(SuperpacketRecorder):
    """
    Checks that each comes at its time.
    """

    takesOffload = True

    def packetReceived(self, packet: Packet) -> None:
        super().packetReceived(packet)
        assert packet.port is not None
        assert packet.time == packet.port.clock.seconds()


class ReplayTests(SynchronousTestCase):
    """
    A file played into a protocol that keeps what comes.
    """

    def setUp(self) -> None:
        self.clock: Any = SimulationClock()
        self.clock.advance(7)
        self.recorder = Late()

    def play(self, file: Any, **keywords: Any) -> Replay:
        self.replay = Replay(file, self.recorder, self.clock, **keywords)
        self.done = self.replay.start()
        return self.replay

    def came(self) -> list[tuple[bytes, float]]:
        return [(bytes(packet), round(packet.time - 7, 9)) for packet in self.recorder.packets]

    def test_atTheTimesInTheFile(self) -> None:
        self.play(captured((b"a", 0, IN), (b"b", 0.25, IN), (b"c", 0.25, IN), (b"d", 3600, IN)))
        self.assertEqual(self.came(), [])
        self.clock.advance(3599)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", 0.25), (b"c", 0.25)])
        self.assertNoResult(self.done)
        self.clock.advance(1)
        self.assertEqual(self.came()[-1], (b"d", 3600))
        self.assertEqual(self.successResultOf(self.done), 4)
        self.assertEqual(self.recorder.numPorts, 0)

    def test_onAClockThatJumps(self) -> None:
        self.clock = Clock()
        self.play(captured(*[(b"%d" % number, number / 10, IN) for number in range(5)]))
        self.clock.advance(100)
        self.assertEqual(len(self.came()), 5)
        self.assertEqual(self.successResultOf(self.done), 5)

    def test_timesThatGoBackAreNow(self) -> None:
        self.play(captured((b"a", 0, IN), (b"b", 2, IN), (b"c", 1, IN), (b"d", 3, IN)))
        self.clock.advance(3)
        self.assertEqual(self.came(), [(b"a", 0), (b"b", 2), (b"c", 2), (b"d", 3)])

    def test_whichWay(self) -> None:
        packets = (b"in", 0, IN), (b"out", 1, OUT), (b"unknown", 2, UNKNOWN)
        for directions, expected in (IN, b"in unknown"), (OUT, b"out unknown"), (IN | OUT, b"in out unknown"):
            self.recorder.packets.clear()
            self.play(captured(*packets), directions=directions)
            self.clock.advance(2)
            self.assertEqual(b" ".join(map(bytes, self.recorder.packets)), expected)
            self.assertEqual(self.replay.counters["inOthers"], 3 - len(expected.split()))
            self.successResultOf(self.done)

    def test_classicFilesDoNotSayWhichWay(self) -> None:
        self.play(io.BytesIO(pcap(">", 0xA1B23C4D, (7, 0, b"one", 3), (8, 5, b"tw", 3), linkType=228)))
        self.clock.advance(2)
        self.assertEqual(self.came(), [(b"one", 0), (b"tw", 1.000000005)])
        self.assertEqual([packet.partial for packet in self.recorder.packets], [False, True])

    def test_whatIsWrittenIsKept(self) -> None:
        self.play(captured((b"a", 0, IN)), maxSent=2)
        for number in range(3):
            self.replay.writePacket([b"%d" % number, b"!"])
        self.assertEqual(list(self.replay.sent), [b"1!", b"2!"])
        self.assertEqual((self.replay.counters["outPackets"], self.replay.counters["outOctets"]), (3, 6))

    def test_aFileThatIsCutShortEndsAfterWhatIsWhole(self) -> None:
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

    def test_noneAtAll(self) -> None:
        self.play(io.BytesIO(b"no capture"))
        self.clock.advance(0)
        self.failureResultOf(self.done, CaptureFileError)

    def test_theOtherKindOfLink(self) -> None:
        self.recorder = going(Late(), TAP)
        self.play(captured((b"a", 0, IN)))
        self.clock.advance(0)
        self.assertIn("no Ethernet frames", str(self.failureResultOf(self.done, CaptureFileError).value))
        self.assertEqual(self.replay.counters, {"inOtherLinks": 1})
        self.assertRaises(TypeError, Replay, io.BytesIO(), object(), self.clock)
        self.assertRaises(ValueError, Replay, io.BytesIO(), self.recorder, self.clock, 0)

    def test_oneOfSeveralInterfaces(self) -> None:
        described = interface() + pcapng.interfaceDescription(pcapng.RAW)
        packets = enhanced("<", 0, b"fram") + enhanced("<", 0, b"data", number=1)
        self.play(io.BytesIO(section() + described + packets))
        self.clock.advance(0)
        self.assertEqual(self.came(), [(b"data", 0)])

    def test_stopAndStartAgain(self) -> None:
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
        # Nor does a file keep the reactor busy whose packets are for nobody.
        turns.clear()
        self.play(captured(*[(b"x", 0, OUT)] * 250))
        self.clock.advance(0)
        self.assertEqual(self.replay.counters["inOthers"], 250)
        self.assertEqual(len(turns), 3)

    def test_whatTheProtocolRaisesIsCounted(self) -> None:
        def packetReceived(packet: Packet) -> None:
            self.recorder.packets.append(packet)
            raise RuntimeError("not today")

        self.recorder.packetReceived = packetReceived  # type: ignore[method-assign]
        self.play(captured((b"a", 0, IN), (b"b", 0.1, IN)))
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.replay.counters["protocolFailures"], 2)
        self.assertEqual(self.successResultOf(self.done), 2)

    def test_itProvidesATransport(self) -> None:
        replay = self.play(captured((b"a", 0, IN)))
        self.assertTrue(IReactorTime.providedBy(replay.clock))
        self.assertEqual((replay.mtu, replay.linkAddress, replay.offloads), (1500, None, 0))

    @given(st.binary(max_size=400))
    def test_garbageEndsIt(self, garbage: bytes) -> None:
        self.setUp()
        self.play(io.BytesIO(HEADER + pcapng.enhancedPacket(b"a", BEGIN) + garbage))
        self.clock.advance(2**40)
        self.assertGreaterEqual(len(self.recorder.packets), 1)
        self.done.addErrback(lambda failure: failure.trap(CaptureFileError))
        self.assertTrue(self.done.called)


class StackTests(SynchronousTestCase):
    """
    A file played into a host, whose answers are captured.
    """

    def test_aHostAnswersIt(self) -> None:
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
