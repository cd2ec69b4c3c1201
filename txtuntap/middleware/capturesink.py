"""
The destination of a capture: a file, several files one after another, a pipe, a file object.
"""

from __future__ import annotations

import atexit
import errno
import os
import platform
import select
import stat
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import BinaryIO

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.wire import pcapng

#: The most octets that wait to be written.
MAX_WAITING = 4 << 20

#: No fewer may: a packet with its comments has to fit.
LEAST_WAITING = 1 << 18

#: The most comments that wait for a packet, and the most characters that they have together.
MAX_COMMENTS = 64
MAX_COMMENT = 1 << 14

try:
    #: The name of the writing program. (Found out now: a process that has dropped privileges may not be able to look.)
    _APPLICATION = f"txtuntap {version('txtuntap')}"
except PackageNotFoundError:
    _APPLICATION = "txtuntap"

#: Seconds for which packets are gathered before they are written.
_GATHER = 0.02

#: Seconds that a writer is given to write what is left, at the end.
_CLOSING = 1.0

#: Milliseconds after which a writer that waits for a pipe looks whether it is to end.
_TICK = 100


class CaptureSink:
    """
    The output of a L{Capture<txtuntap.middleware.capture.Capture>}, as pcapng.

    A subclass has C{write}, and what else it takes to begin and to end.

    @ivar received: packets that were to be recorded.
    @ivar dropped: those of them that there was no room for. The file tells them, too.
    """

    def __init__(self, snaplen: int = 0, directions: int = pcapng.INBOUND | pcapng.OUTBOUND) -> None:
        """
        @param snaplen: the most octets to record of each packet; 0: all of them.
        @param directions: which packets: C{pcapng.INBOUND}, those to the protocol; C{pcapng.OUTBOUND}, those from it;
            or both, C{INBOUND | OUTBOUND}.

        @raise ValueError: an argument is not that.
        """
        if not isinstance(snaplen, int) or not 0 <= snaplen <= 0xFFFFFFFF:
            raise ValueError(f"snaplen is a number of octets, 0 for all, not {snaplen!r}")
        if not isinstance(directions, int) or directions not in (1, 2, 3):
            raise ValueError(f"directions are INBOUND (1), OUTBOUND (2) or both (3), not {directions!r}")
        self._snaplen = snaplen
        self._directions = directions
        self.received = 0
        self.dropped = 0
        # Since the last one that was recorded.
        self._lost = 0
        self._comments: list[str] = []
        self._began = 0

    def comment(self, text: str) -> None:
        """
        Have the next packet that is recorded here carry a comment; or, if there is none, the end of the capture.

        @param text: what is too much of it is left out.
        """
        room = MAX_COMMENT - sum(map(len, self._comments))
        if room > 0 and len(self._comments) < MAX_COMMENTS:
            self._comments.append(text[:room])

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        characters = sum(map(len, self._comments))
        return [
            TableState("capture comments", len(self._comments), MAX_COMMENTS, Policy.REFUSE.value),
            TableState("capture comments together", characters, MAX_COMMENT, "the rest is left out", "characters"),
        ]

    def begin(self, linkType: int, name: str, time: int, comments: Sequence[str] = ()) -> None:
        """
        A capture begins.

        @param linkType: C{pcapng.ETHERNET} or C{pcapng.RAW}.
        @param name: of the interface, if it has one.
        @param time: in nanoseconds since 1970, as everywhere here.

        @raise OSError: the output fails.
        """
        self._began = time
        system = f"{platform.system()} {platform.release()}".strip()
        kind = {pcapng.ETHERNET: "Ethernet frames", pcapng.RAW: "IP packets"}.get(linkType)
        self._header = pcapng.sectionHeader(comments, _APPLICATION, system) + pcapng.interfaceDescription(
            linkType, self._snaplen, name, kind, system
        )
        self.write(self._header)

    def record(self, packet: bytes, time: int, direction: int, length: int = 0, comments: Sequence[str] = ()) -> bool:
        """
        Write a packet, or count it. A packet of a direction that is not asked for is neither.

        @param length: how many octets it had, if it was cut already.
        @param comments: of this packet, and no other.

        @return: whether there was room for it.

        @raise OSError: the output fails.
        """
        if direction and not direction & self._directions:
            return True
        self.received += 1
        length = length or len(packet)
        if 0 < self._snaplen < len(packet):
            packet = packet[: self._snaplen]
        comments = [*self._comments, *comments] if comments else self._comments
        if self.write(pcapng.enhancedPacket(packet, time, direction, length, comments, self._lost)):
            self._lost = 0
            if self._comments:
                self._comments = []
            return True
        self._lost += 1
        self.dropped += 1
        return False

    def lost(self, packets: int) -> None:
        """
        Some were lost before they came here: they are counted as if there had been no room.
        """
        self.received += packets
        self.dropped += packets
        self._lost += packets

    def end(self, time: int) -> None:
        """
        End the capture: write the counts.

        @raise OSError: the output has failed.
        """
        self.write(self._statistics(time))
        self._comments = []

    def abandon(self) -> None:
        """
        The output has failed, and is written to no more.
        """

    def _statistics(self, time: int) -> bytes:
        return pcapng.interfaceStatistics(time, self.received, self.dropped, self._began, self._comments)

    def write(self, octets: bytes) -> bool:
        """
        Write whole blocks.

        @return: whether there is room for them.
        """
        raise NotImplementedError


class CaptureStream(CaptureSink):
    """
    A file object, which is just written to: in memory, or one that keeps nobody waiting.
    """

    def __init__(self, file: BinaryIO, snaplen: int = 0, directions: int = pcapng.INBOUND | pcapng.OUTBOUND) -> None:
        """
        @param file: open for writing octets. It is never closed here.
        """
        super().__init__(snaplen, directions)
        self._file = file

    def __str__(self) -> str:
        return str(getattr(self._file, "name", "a file object"))

    def end(self, time: int) -> None:
        """
        See L{CaptureSink.end}.
        """
        super().end(time)
        self._file.flush()

    def write(self, octets: bytes) -> bool:
        self._file.write(octets)
        return True


class CaptureFile(CaptureSink):
    """
    A file, several of them one after another, or a pipe.

    A thread writes them. A reactor cannot: to it a file on a disk is always ready, however long the disk takes; and a
    pipe that came from somewhere else must not be made non-blocking, since that holds for everybody who has it. So the
    same works without a running reactor, too. Packets that come faster than they are written wait, up to a bound, and
    are then counted in place of being recorded.

    At its end what waits is written. Whoever ends it waits for that, but for no more than a second.
    """

    def __init__(
        self,
        output: str | os.PathLike[str] | int,
        snaplen: int = 0,
        directions: int = pcapng.INBOUND | pcapng.OUTBOUND,
        maxOctets: int = 0,
        files: int = 10,
        maxWaiting: int = MAX_WAITING,
    ) -> None:
        """
        @param output: a path, of a file that is emptied, or of a pipe that somebody reads; or a descriptor, which is
            duplicated.
        @param maxOctets: a file is given no packet that would make it longer: the next one is begun; 0: there is but
                one.
        @param files: how many are kept then: of C{trace.pcapng}, the one before is C{trace.1.pcapng}.
        @param maxWaiting: the most octets that wait to be written.

        @raise OSError: it cannot be opened (C{ENXIO}: nobody reads the pipe).
        @raise ValueError: an argument is not what it should be.
        """
        super().__init__(snaplen, directions)
        if maxOctets < 0 or files < 1 or maxWaiting < LEAST_WAITING:
            raise ValueError(f"maxOctets is 0 or more, files 1 or more, maxWaiting {LEAST_WAITING} or more")
        # A daemon goes to another directory, and begins its next file after that.
        self._path = None if isinstance(output, int) else os.path.abspath(os.fspath(output))
        self._maxOctets = maxOctets
        self._files = files
        self._maxWaiting = maxWaiting
        self._descriptor = os.dup(output) if isinstance(output, int) else self._open(os.O_TRUNC)
        self._name = self._path or f"descriptor {output}"
        self._isRegular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        if maxOctets and (self._path is None or not self._isRegular):
            os.close(self._descriptor)
            raise ValueError(f"maxOctets: {self._name} is no file with a name: it cannot be one of several")
        self._condition = threading.Condition()
        self._waiting: list[bytes] = []
        self._octets = 0
        self._ending = False
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        # The octets of the file now being written, and whether there are packets in it.
        self._size = 0
        self._isBegun = False
        # The counts at its end, for which no other file is begun.
        self._last: bytes | None = None

    def __str__(self) -> str:
        return self._name

    def tables(self) -> list[TableState]:
        """
        See L{CaptureSink.tables}.
        """
        own = TableState("capture octets", self._octets, self._maxWaiting, Policy.REFUSE.value, "octets")
        return [*super().tables(), own]

    def begin(self, linkType: int, name: str, time: int, comments: Sequence[str] = ()) -> None:
        """
        See L{CaptureSink.begin}. What was captured before stays: this is another section of the file.
        """
        if self._thread is not None and self._thread.is_alive():
            raise OSError(errno.EBUSY, f"{self} is still being written")
        if self._descriptor < 0:
            if self._path is None:
                raise OSError(f"{self} was closed: a descriptor serves one capture")
            self._descriptor = self._open(os.O_APPEND)
        self._size = os.fstat(self._descriptor).st_size if self._isRegular else 0
        self._isBegun = self._size > 0
        self._ending = False
        self._failure = None
        super().begin(linkType, name, time, comments)
        # So that a program that forgets to end it can end. (Started here, since a daemon forks before.)
        self._thread = threading.Thread(target=self._run, name=f"capture to {self}", daemon=True)
        self._thread.start()
        atexit.register(self._exiting)

    def end(self, time: int) -> None:
        """
        See L{CaptureSink.end}.
        """
        if self._thread is None or self._ending:
            return
        self._last = self._statistics(time)
        self._comments = []
        self._finish([self._last])
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def abandon(self) -> None:
        """
        See L{CaptureSink.abandon}.
        """
        atexit.unregister(self._exiting)

    def _exiting(self) -> None:
        """
        The program ends, and has not ended this: what was captured is written all the same, but for the counts.
        """
        # A process that was forked from the one that captures has no such thread, and nothing to write.
        if self._thread is not None and self._thread.is_alive():
            self._finish([])

    def _finish(self, last: list[bytes]) -> None:
        atexit.unregister(self._exiting)
        with self._condition:
            self._waiting += last
            self._ending = True
            self._condition.notify()
        assert self._thread is not None
        self._thread.join(_CLOSING)

    def _open(self, how: int) -> int:
        assert self._path is not None
        # A capture is its owner's business alone. A pipe that nobody reads is an error, and nothing to wait for.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | how
        return os.open(self._path, flags, 0o600)

    def write(self, octets: bytes) -> bool:
        if self._failure is not None:
            raise self._failure
        length = len(octets)
        if self._octets + length > self._maxWaiting:
            return False
        with self._condition:
            self._octets += length
            self._waiting.append(octets)
            if len(self._waiting) == 1 or self._octets * 2 > self._maxWaiting:
                self._condition.notify()
        return True

    # From here on, in the thread.

    def _run(self) -> None:
        try:
            while self._writeSome():
                pass
        except Exception as e:
            self._failure = e
        finally:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)
            with self._condition:
                self._waiting = []
                self._octets = 0

    def _writeSome(self) -> bool:
        """
        Wait for something to write, and write it.

        @return: whether there may be more.
        """
        with self._condition:
            while not self._waiting and not self._ending:
                self._condition.wait()
            if not self._ending:
                # Others will come, and one write for all costs the reactor's thread less.
                self._condition.wait(_GATHER)
            blocks, self._waiting = self._waiting, []
        written = sum(map(len, blocks))
        if self._maxOctets:
            self._writeRotating(blocks)
        elif blocks:
            self._writeOut(b"".join(blocks))
        with self._condition:
            self._octets = max(0, self._octets - written)
            return bool(self._waiting) or not self._ending

    def _writeRotating(self, blocks: list[bytes]) -> None:
        """
        Write to the current file, and to the next one whenever it is full.
        """
        some: list[bytes] = []
        octets = 0
        for block in blocks:
            if self._isBegun and self._size + octets + len(block) > self._maxOctets and block is not self._last:
                self._writeOut(b"".join(some))
                self._rotate()
                some = [] if block is self._header else [self._header]
                octets = sum(map(len, some))
            self._isBegun |= block is not self._header
            some.append(block)
            octets += len(block)
        self._writeOut(b"".join(some))

    def _rotate(self) -> None:
        # A failure from here on must not have it closed again: its number may be another's by then.
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        assert self._path is not None
        for number in range(self._files - 1, 0, -1):
            before = self._path if number == 1 else _numbered(self._path, number - 1)
            if os.path.exists(before):
                os.replace(before, _numbered(self._path, number))
        self._descriptor = self._open(os.O_TRUNC)
        self._size = 0
        self._isBegun = False

    def _writeOut(self, octets: bytes) -> None:
        rest = memoryview(octets)
        # With room for so many a pipe says that it is ready; a longer write would wait.
        most = len(rest) if self._isRegular or not os.get_blocking(self._descriptor) else select.PIPE_BUF
        try:
            while rest:
                if not self._isRegular:
                    self._waitForRoom()
                try:
                    rest = rest[os.write(self._descriptor, rest[:most]) :]
                except BlockingIOError:
                    continue
        except OSError:
            if self._isRegular:
                # The file ends with a whole block.
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(octets)

    def _waitForRoom(self) -> None:
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLOUT)
        ticks = 0
        while not waiting.poll(_TICK):
            ticks += self._ending
            if ticks * _TICK >= _CLOSING * 1000:
                raise TimeoutError("nobody has read what was captured last")


def _numbered(path: str, number: int) -> str:
    stem, extension = os.path.splitext(path)
    return f"{stem}.{number}{extension}"
