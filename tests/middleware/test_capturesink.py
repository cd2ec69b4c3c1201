"""
Tests for L{txtuntap.middleware.capturesink}: capture files and pipes.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT
from tests.recorders import PacketRecorder
from txtuntap.middleware import Capture
from txtuntap.middleware.capturesink import LEAST_WAITING, MAX_COMMENT, MAX_COMMENTS, CaptureFile
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket, CaptureFileError, CaptureParser, readCapture


def read(path: Path) -> list[CapturedPacket]:
    with path.open("rb") as file:
        return list(readCapture(file))


def numbers(path: Path) -> list[int]:
    return [int(each.data[:4]) for each in read(path)]


class CaptureFileTests(SynchronousTestCase):
    """
    Tests for the files and pipes that the thread of a L{CaptureFile} writes.
    """

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "trace.pcapng"
        before = threading.active_count()
        self.addCleanup(lambda: self.assertEqual(threading.active_count(), before))

    def record(self, sink: CaptureFile, count: int, size: int = 100, first: int = 0) -> int:
        """
        Record packets, each of which begins with its number in four digits.

        @param size: the length of each packet, in octets.
        @param first: the number of the first packet.

        @return: the number of packets that there was room for.
        """
        packets = [b"%04d".ljust(size) % number for number in range(first, first + count)]
        return sum(sink.record(packet, 5, pcapng.INBOUND) for packet in packets)

    def test_anExistingFileIsReplaced(self) -> None:
        self.path.write_bytes(b"something old")
        sink = CaptureFile(self.path)
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 100)
        sink.end(9)
        self.assertEqual(numbers(self.path), list(range(100)))

    @pytest.mark.unix("permissions of files")
    def test_onlyTheUserMayReadAFile(self) -> None:
        CaptureFile(self.path)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_aSecondCaptureIsAppendedAsASection(self) -> None:
        sink = CaptureFile(str(self.path))
        for number in range(3):
            sink.begin(pcapng.RAW, "tun0", 1)
            self.record(sink, 2, first=number)
            sink.end(9)
            # Ending twice is harmless.
            sink.end(9)
        self.assertEqual(numbers(self.path), [0, 1, 1, 2, 2, 3])

    def test_filesAreRotated(self) -> None:
        sink = CaptureFile(self.path, maxOctets=2000, files=3)
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 100)
        sink.end(9)
        files = [self.directory / name for name in ("trace.2.pcapng", "trace.1.pcapng", "trace.pcapng")]
        self.assertEqual(sorted(files), sorted(self.directory.iterdir()))
        found = [numbers(path) for path in files]
        # The files together hold the newest packets in order, and no file is longer than it may be.
        self.assertEqual([each for some in found for each in some], list(range(100))[-sum(map(len, found)) :])
        self.assertTrue(all(len(each) > 3 for each in found[:2]))
        for path in files:
            # The block of statistics at the end may exceed the bound.
            self.assertLessEqual(path.stat().st_size, 2000 + 100 * (path == self.path))

    def test_aFullFileIsRotatedAtTheNextCapture(self) -> None:
        sink = CaptureFile(self.path, maxOctets=2000, files=100)
        for number in range(20):
            sink.begin(pcapng.RAW, "tun0", 1)
            self.record(sink, 2, first=2 * number)
            sink.end(9)
        files = sorted(self.directory.iterdir(), key=lambda path: numbers(path)[0])
        self.assertEqual([each for path in files for each in numbers(path)], list(range(40)))
        for path in files:
            # The block of statistics at the end may exceed the bound.
            self.assertLessEqual(path.stat().st_size, 2000 + 100)

    def test_rotatedFilesStayInTheirDirectoryIfTheProgramLeavesIt(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        sink = CaptureFile("trace.pcapng", maxOctets=2000, files=2)
        os.chdir("/")
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 30)
        sink.end(9)
        names = [path.name for path in sorted(self.directory.iterdir())]
        self.assertEqual(names, ["trace.1.pcapng", "trace.pcapng"])

    @pytest.mark.unix("fork")
    def test_waitingPacketsAreWrittenAtTheExitOfTheProgram(self) -> None:
        program = (
            "import os, sys; from txtuntap.middleware import CaptureFile; from txtuntap.wire import pcapng\n"
            "sink = CaptureFile(sys.argv[1]); sink.begin(pcapng.RAW, 'tun0', 1)\n"
            "sink.record(b'0001', 5, pcapng.INBOUND)\n"
            # The forked child has nothing to write and no thread to wait for.
            "child = os.fork()\n"
            "if child: os.waitpid(child, 0); sink.record(b'0002', 5, pcapng.INBOUND)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        subprocess.run([sys.executable, "-c", program, str(self.path)], env=environment, check=True)
        self.assertEqual(numbers(self.path), [1, 2])

    def test_aPacketLargerThanMaxOctetsHasAFileOfItsOwn(self) -> None:
        sink = CaptureFile(self.path, maxOctets=500, files=2)
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 3, size=3000)
        sink.end(9)
        self.assertEqual(numbers(self.directory / "trace.1.pcapng") + numbers(self.path), [1, 2])

    def test_packetsAreDroppedWhileAPipeIsFull(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        sink = CaptureFile(writing, maxWaiting=LEAST_WAITING)
        os.close(writing)
        sink.begin(pcapng.RAW, "tun0", 1)
        recorded = 0
        # Fill the pipe and then the queue of the sink.
        while (some := self.record(sink, 100, 1000, recorded)) == 100:
            recorded += some
            self.assertLess(recorded, 1000)
        recorded += some
        self.assertEqual(sink.dropped, 100 - some)
        parser = CaptureParser()
        found: list[CapturedPacket] = []
        while len(found) < recorded:
            found += parser.feed(os.read(reading, 1 << 16))
        # The queue has room again, since the pipe was read.
        self.assertEqual(self.record(sink, 1, first=5000), 1)
        sink.end(9)
        while data := os.read(reading, 1 << 16):
            found += parser.feed(data)
        parser.close()
        self.assertEqual((found[-1].data[:4], found[-1].dropped), (b"5000", sink.dropped))
        self.assertEqual(parser.statistics[0].dropped, sink.dropped)

    def test_tablesHaveTheWaitingCommentsAndOctets(self) -> None:
        sink = CaptureFile(self.path, maxWaiting=LEAST_WAITING)
        self.assertTrue(sink.write(bytes(100)))
        self.assertTrue(sink.write(bytes(28)))
        for _ in range(MAX_COMMENTS + 1):
            sink.comment("four")
        states = [(state.size, state.bound, state.unit) for state in sink.tables()]
        comments = [(64, MAX_COMMENTS, "entries"), (4 * 64, MAX_COMMENT, "characters")]
        self.assertEqual(states, [*comments, (128, LEAST_WAITING, "octets")])
        capture = Capture(sink, PacketRecorder())
        self.assertEqual(capture.tables(), sink.tables())
        sink.begin(pcapng.RAW, "tun0", 1)
        sink.end(9)
        self.assertEqual([state.size for state in sink.tables()], [0, 0, 0])

    def test_longCommentsLeaveRoomForAPacket(self) -> None:
        sink = CaptureFile(self.path, maxWaiting=LEAST_WAITING)
        sink.begin(pcapng.RAW, "tun0", 1)
        for _ in range(100):
            sink.comment("\N{BLACK HEART SUIT}" * MAX_COMMENT)
        self.assertEqual(self.record(sink, 1, 65535), 1)
        sink.end(9)
        (packet,) = read(self.path)
        self.assertEqual(packet.comments, ("\N{BLACK HEART SUIT}" * MAX_COMMENT,))

    @pytest.mark.unix("pipes that tell whether they have room")
    def test_aFullPipeDelaysTheEndOnlyShortly(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        sink = CaptureFile(writing)
        os.close(writing)
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 500, 1000)
        thread = sink._thread
        assert thread is not None
        try:
            sink.end(9)
        except TimeoutError as e:
            self.assertIn("nobody reads the pipe", str(e))
        thread.join(20)
        self.assertFalse(thread.is_alive())

    @pytest.mark.unix("pipes that tell whether they have room")
    def test_aPipeThatIsClosedByItsReaderIsAnError(self) -> None:
        reading, writing = os.pipe()
        sink = CaptureFile(writing)
        os.close(writing)
        sink.begin(pcapng.RAW, "tun0", 1)
        os.close(reading)
        self.record(sink, 1)
        thread = sink._thread
        assert thread is not None
        thread.join(20)
        self.assertRaises(BrokenPipeError, self.record, sink, 1)

    @pytest.mark.unix("named pipes")
    def test_aNamedPipeWithoutAReaderCannotBeOpened(self) -> None:
        os.mkfifo(self.path)
        with self.assertRaises(OSError) as raised:
            CaptureFile(self.path)
        self.assertEqual(raised.exception.errno, errno.ENXIO)
        reading = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        sink = CaptureFile(self.path)
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 3)
        sink.end(9)
        self.assertEqual(len(CaptureParser().feed(os.read(reading, 1 << 16))), 3)

    def test_aFullDiskIsAnErrorAtTheEnd(self) -> None:
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        sink = CaptureFile("/dev/full")
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 1)
        with self.assertRaises(OSError) as raised:
            sink.end(9)
        self.assertEqual(raised.exception.errno, errno.ENOSPC)

    @pytest.mark.unix("limits of a process")
    def test_aFileAtItsSizeLimitEndsWithAWholeBlock(self) -> None:
        import resource
        import signal

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGXFSZ, signals)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        sink = CaptureFile(self.path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        sink.begin(pcapng.RAW, "tun0", 1)
        self.record(sink, 10)
        # Wait until the first packets are written. The next ones do not fit.
        thread = sink._thread
        assert thread is not None
        while any(table.size for table in sink.tables() if table.name == "capture octets"):
            self.assertTrue(thread.is_alive())
            thread.join(0.01)
        with self.assertRaises(OSError) as raised:
            self.record(sink, 100)
            sink.end(9)
        self.assertEqual(raised.exception.errno, errno.EFBIG)
        self.assertEqual(numbers(self.path), list(range(10)))

    def test_wrongArgumentsRaise(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.assertRaises(ValueError, CaptureFile, writing, maxOctets=1000)
        self.assertRaises(ValueError, CaptureFile, self.path, maxOctets=-1)
        self.assertRaises(ValueError, CaptureFile, self.path, files=0)
        self.assertRaises(ValueError, CaptureFile, self.path, maxWaiting=LEAST_WAITING - 1)
        self.assertRaises(OSError, CaptureFile, 10**6)
        sink = CaptureFile(writing)
        sink.begin(pcapng.RAW, "tun0", 1)
        sink.end(9)
        with self.assertRaises(OSError):
            sink.begin(pcapng.RAW, "tun0", 1)
        self.assertRaises(CaptureFileError, read, Path("/dev/null"))
