"""
Destinations of a capture: a file, a rotating series of files, a pipe, or a file object.
"""

from __future__ import annotations

import atexit
import errno
import os
import platform
import select
import stat
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import BinaryIO

from txtuntap.device.files import openAtOnce
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.wire import pcapng

#: The default bound of the octets that wait for the writing thread.
MAX_WAITING = 4 << 20

#: The lowest bound of waiting octets that can be chosen, so that the longest packet with all its comments still fits.
LEAST_WAITING = 1 << 18

#: The most comments that wait for a packet, and the most characters in all of them together.
MAX_COMMENTS = 64
MAX_COMMENT = 1 << 14

try:
    #: The name of the writing program. It is looked up on import, because a process that has dropped its privileges may
    #: no longer read the package's metadata.
    _APPLICATION = f"txtuntap {version('txtuntap')}"
except PackageNotFoundError:
    _APPLICATION = "txtuntap"

#: Seconds for which the writing thread collects packets before it writes them all at once.
_GATHER = 0.02

#: Seconds that the writing thread has at the end to write the waiting octets.
_CLOSING = 1.0

#: Milliseconds after which a thread that waits for room in a pipe checks whether the capture has ended.
_TICK = 100


class CaptureSink:
    """
    The base class of outputs of a L{Capture<txtuntap.middleware.capture.Capture>}. A sink turns packets into pcapng
    blocks.

    A subclass implements C{write}, and extends C{begin}, C{end} and C{abandon} as its output needs.

    @ivar received: the number of packets that were to be recorded.
    @ivar dropped: the number of those packets that there was no room for. The pcapng file contains this number, too.
    """

    def __init__(self, snaplen: int = 0, directions: int = pcapng.INBOUND | pcapng.OUTBOUND) -> None:
        """
        @param snaplen: the most octets to record of each packet; 0 records whole packets.
        @param directions: the directions to record: C{pcapng.INBOUND}, to the protocol; C{pcapng.OUTBOUND}, from the
            protocol; or both, C{INBOUND | OUTBOUND}.

        @raise ValueError: an argument is out of range.
        """
        if not isinstance(snaplen, int) or not 0 <= snaplen <= 0xFFFFFFFF:
            raise ValueError(f"snaplen is a number of octets, 0 for all, not {snaplen!r}")
        if not isinstance(directions, int) or directions not in (1, 2, 3):
            raise ValueError(f"directions are INBOUND (1), OUTBOUND (2) or both (3), not {directions!r}")
        self._snaplen = snaplen
        self._directions = directions
        self.received = 0
        self.dropped = 0
        # The number of packets lost since the last packet that was recorded.
        self._lost = 0
        self._comments: list[str] = []
        self._began = 0

    def comment(self, text: str) -> None:
        """
        Attach a comment to the next packet that is recorded here, or to the closing statistics if no packet follows.

        @param text: the comment. It is cut if the waiting comments would have more than L{MAX_COMMENT} characters
            together, and ignored if L{MAX_COMMENTS} comments wait.
        """
        room = MAX_COMMENT - sum(map(len, self._comments))
        if room > 0 and len(self._comments) < MAX_COMMENTS:
            self._comments.append(text[:room])

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of this sink: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        characters = sum(map(len, self._comments))
        return [
            TableState("capture comments", len(self._comments), MAX_COMMENTS, Policy.REFUSE.value),
            TableState("capture comments together", characters, MAX_COMMENT, "the rest is left out", "characters"),
        ]

    def begin(self, linkType: int, name: str, time: int, comments: Sequence[str] = ()) -> None:
        """
        Begin a capture: write the headers of the section and of its one interface.

        @param linkType: the kind of packets, C{pcapng.ETHERNET} or C{pcapng.RAW}.
        @param name: the name of the interface; empty if it has none.
        @param time: the time of the beginning, in nanoseconds since 1970. All times of this class are in this unit.
        @param comments: comments on the whole capture.

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
        Write a packet, or count it as dropped if there is no room. A packet of an unwanted direction is ignored.

        @param direction: C{pcapng.INBOUND}, C{pcapng.OUTBOUND}, or 0 if it is unknown.
        @param length: the number of octets that the packet had before it was cut; 0 if it is whole.
        @param comments: comments on this packet alone. They are discarded if the packet is not written.

        @return: whether there was room for the packet; C{True} for a packet that is ignored.

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
        Count packets that were lost before they reached this sink. They count as dropped.

        @param packets: the number of lost packets.
        """
        self.received += packets
        self.dropped += packets
        self._lost += packets

    def end(self, time: int) -> None:
        """
        End the capture: write the statistics of received and dropped packets.

        @raise OSError: the output has failed.
        """
        self.write(self._statistics(time))
        self._comments = []

    def abandon(self) -> None:
        """
        Release the resources of a sink whose output has failed. Nothing more is written to it.
        """

    def _statistics(self, time: int) -> bytes:
        return pcapng.interfaceStatistics(time, self.received, self.dropped, self._began, self._comments)

    def write(self, octets: bytes) -> bool:
        """
        Write whole pcapng blocks.

        @return: whether there was room for the blocks.
        """
        raise NotImplementedError


class CaptureStream(CaptureSink):
    """
    A sink that writes each packet to a file object at once. The file object should not block, as a file in memory.
    """

    def __init__(self, file: BinaryIO, snaplen: int = 0, directions: int = pcapng.INBOUND | pcapng.OUTBOUND) -> None:
        """
        @param file: a file object that is open for writing octets. The sink never closes it.
        """
        super().__init__(snaplen, directions)
        self._file = file

    def __str__(self) -> str:
        return str(getattr(self._file, "name", "a file object"))

    def end(self, time: int) -> None:
        """
        End the capture and flush the file object: see L{CaptureSink.end}.
        """
        super().end(time)
        self._file.flush()

    def write(self, octets: bytes) -> bool:
        self._file.write(octets)
        return True


class CaptureFile(CaptureSink):
    """
    A sink that writes to a file, to a rotating series of files, or to a pipe.

    A thread does the writing, because a reactor would block. To a reactor a file on disk is always ready, even if the
    disk is slow. A pipe that was made by another program must stay blocking, because the flag is shared with that
    program. A thread also works without a running reactor. Packets that arrive faster than they are written wait in
    memory up to a bound. Further packets are counted as dropped.

    At the end of the capture the thread writes the waiting packets. L{end} waits for that, but at most one second.
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
        @param output: the path of a file, which is emptied; the path of a pipe that another program reads; or a
            descriptor, which is duplicated.
        @param snaplen: the most octets to record of each packet; 0 records whole packets.
        @param directions: the directions to record: see L{CaptureSink}.
        @param maxOctets: the most octets in one file. The packet that would make a file longer begins the next file.
            With 0 there is only one file, of any length.
        @param files: the number of files that are kept. C{trace.pcapng} is the current file, C{trace.1.pcapng} the
            previous one, and so on.
        @param maxWaiting: the most octets that wait for the writing thread.

        @raise OSError: the output cannot be opened. With C{ENXIO}, no program reads the pipe.
        @raise ValueError: an argument is out of range, or C{maxOctets} is given for a pipe or a descriptor.
        """
        super().__init__(snaplen, directions)
        if maxOctets < 0 or files < 1 or maxWaiting < LEAST_WAITING:
            raise ValueError(f"maxOctets is 0 or more, files 1 or more, maxWaiting {LEAST_WAITING} or more")
        # The path is made absolute, because a daemon changes its directory before it begins its second file.
        self._path = None if isinstance(output, int) else os.path.abspath(os.fspath(output))
        self._maxOctets = maxOctets
        self._files = files
        self._maxWaiting = maxWaiting
        self._descriptor = os.dup(output) if isinstance(output, int) else self._open(os.O_TRUNC)
        self._name = self._path or f"descriptor {output}"
        self._isRegular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        if maxOctets and (self._path is None or not self._isRegular):
            os.close(self._descriptor)
            raise ValueError(f"maxOctets: {self._name} is no file with a path: only a file with a path can be rotated")
        self._condition = threading.Condition()
        self._waiting: list[bytes] = []
        self._octets = 0
        self._ending = False
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        # The octets in the current file, and whether it holds more than the header of its section.
        self._size = 0
        self._isBegun = False
        # The block of statistics at the end of the capture. This block never begins a new file.
        self._last: bytes | None = None

    def __str__(self) -> str:
        return self._name

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of this sink, with the waiting octets: see L{CaptureSink.tables}.
        """
        own = TableState("capture octets", self._octets, self._maxWaiting, Policy.REFUSE.value, "octets")
        return [*super().tables(), own]

    def begin(self, linkType: int, name: str, time: int, comments: Sequence[str] = ()) -> None:
        """
        Begin a capture: see L{CaptureSink.begin}. A second capture keeps the first one, because it is appended to the
        file as a new section.

        @raise OSError: the thread of the previous capture still writes; the file cannot be opened again; or the output
            is a descriptor, which serves only one capture.
        """
        if self._thread is not None and self._thread.is_alive():
            raise OSError(errno.EBUSY, f"{self} is still being written")
        if self._descriptor < 0:
            if self._path is None:
                raise OSError(f"{self} was closed: a descriptor serves one capture, so make another CaptureFile")
            self._descriptor = self._open(os.O_APPEND)
        self._size = os.fstat(self._descriptor).st_size if self._isRegular else 0
        self._isBegun = self._size > 0
        self._ending = False
        self._failure = None
        super().begin(linkType, name, time, comments)
        # The thread starts here and not in __init__, because twistd may fork in between. It is a daemon thread, so that
        # a program can exit without ending the capture.
        self._thread = threading.Thread(target=self._run, name=f"capture to {self}", daemon=True)
        self._thread.start()
        atexit.register(self._exiting)

    def end(self, time: int) -> None:
        """
        End the capture, and wait up to one second for the thread to write everything: see L{CaptureSink.end}.
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
        Forget a file whose output has failed: see L{CaptureSink.abandon}.
        """
        atexit.unregister(self._exiting)

    def _exiting(self) -> None:
        """
        Write the waiting packets at the exit of a program that has not ended the capture. The statistics are left out.
        """
        # A forked child process has a copy of this object but not the thread, and so nothing to write.
        if self._thread is not None and self._thread.is_alive():
            self._finish([])

    def _finish(self, last: list[bytes]) -> None:
        """
        Have the thread write the waiting blocks and then C{last}, and wait up to L{_CLOSING} seconds for its end.
        """
        atexit.unregister(self._exiting)
        with self._condition:
            self._waiting += last
            self._ending = True
            self._condition.notify()
        assert self._thread is not None
        self._thread.join(_CLOSING)

    def _open(self, how: int) -> int:
        assert self._path is not None
        # Only the owner may read a capture, because it can hold secrets.
        return openAtOnce(self._path, os.O_WRONLY | os.O_CREAT | how, 0o600)

    def write(self, octets: bytes) -> bool:
        if self._failure is not None:
            raise self._failure
        length = len(octets)
        if self._octets + length > self._maxWaiting:
            return False
        with self._condition:
            self._octets += length
            self._waiting.append(octets)
            # Wake the thread for the first block, and before the end of _GATHER if half of the room is used.
            if len(self._waiting) == 1 or self._octets * 2 > self._maxWaiting:
                self._condition.notify()
        return True

    # The methods below run in the writing thread.

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
        Wait until blocks are to be written, and write them.

        @return: whether more blocks can follow.
        """
        with self._condition:
            while not self._waiting and not self._ending:
                self._condition.wait()
            if not self._ending:
                # Wait for further packets, because one write for all of them takes less time from the reactor's thread.
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
        Write blocks to the current file, and begin the next file whenever the current one is full.
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
        # Forget the descriptor before it is closed. If a later step fails, its number may belong to another file, which
        # _run() must not close.
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
        most = len(rest) if self._isRegular else _longestWrite(self._descriptor)
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
                # Cut off the incomplete block, so that the file stays readable.
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(octets)

    def _waitForRoom(self) -> None:
        """
        Wait until the pipe has room.

        @raise TimeoutError: the capture has ended, and the pipe has had no room for L{_CLOSING} seconds.
        """
        ticks = 0
        while not _hasRoom(self._descriptor, _TICK):
            ticks += self._ending
            if ticks * _TICK >= _CLOSING * 1000:
                raise TimeoutError("nobody reads the pipe: the last captured packets were not written")


if sys.platform == "win32":
    # Windows cannot tell whether a pipe has room, so the writing thread waits in its write.

    def _longestWrite(pipe: int) -> int:
        return sys.maxsize

    def _hasRoom(pipe: int, milliseconds: int) -> bool:
        return True
else:

    def _longestWrite(pipe: int) -> int:
        """
        The most octets that one write to a pipe may have once L{_hasRoom} returns C{True}.
        """
        # A pipe polls as writable once it has room for PIPE_BUF octets. A longer write to a blocking pipe could wait.
        return select.PIPE_BUF if os.get_blocking(pipe) else sys.maxsize

    def _hasRoom(pipe: int, milliseconds: int) -> bool:
        """
        Wait until a pipe has room, or has no reader any more.
        """
        waiting = select.poll()
        waiting.register(pipe, select.POLLOUT)
        return bool(waiting.poll(milliseconds))


def _numbered(path: str, number: int) -> str:
    stem, extension = os.path.splitext(path)
    return f"{stem}.{number}{extension}"
