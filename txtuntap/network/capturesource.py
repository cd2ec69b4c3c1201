"""
The sources of the packets that a replay plays: a capture file, and a pipe that a capture arrives by.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader, FileIO
from typing import Any, BinaryIO, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device.files import openAtOnce
from txtuntap.wire.capturefile import CapturedPacket, CaptureFileError, CaptureParser, readCapture

#: The most octets that are read from a pipe at once.
_READ_SIZE = 1 << 16


class CaptureSource(Protocol):
    """
    A source of captured packets: a file or a pipe.
    """

    def take(self) -> CapturedPacket | None:
        """
        Return the next packet; C{None} if it has not arrived yet.

        @raise EOFError: there are no more packets.
        @raise CaptureFileError: the file is broken.
        @raise OSError: the file cannot be read.
        """

    def close(self) -> None:
        """
        Close the file or pipe, since no more packets are wanted.
        """


class _FilePackets:
    """
    The packets of a regular file, or of a file in memory, which can be read without waiting.
    """

    def __init__(self, file: BinaryIO, isOurs: bool) -> None:
        """
        @param isOurs: whether L{close} closes the file.
        """
        self._file = file
        self._isOurs = isOurs
        self._packets = readCapture(file)

    def take(self) -> CapturedPacket | None:
        for packet in self._packets:
            return packet
        raise EOFError

    def close(self) -> None:
        if self._isOurs:
            self._file.close()


@implementer(IReadDescriptor)
class _PipePackets:
    """
    The packets of a pipe, which the reactor reads. Packets that have been read wait here until they are due. While any
    packet waits, the reactor reads no more, so that the rest stays in the pipe.
    """

    def __init__(self, descriptor: int, reactor: Any, arrived: Callable[[], None]) -> None:
        """
        @param descriptor: the descriptor of the pipe, which L{close} closes.
        @param arrived: called when new packets, or the end of the pipe, have been read.
        """
        self._descriptor = descriptor
        self._reactor = reactor
        self._arrived = arrived
        self._parser = CaptureParser()
        self._waiting: deque[CapturedPacket] = deque()
        self._error: Exception | None = None
        reactor.addReader(self)

    def take(self) -> CapturedPacket | None:
        if self._waiting:
            packet = self._waiting.popleft()
            if not self._waiting and self._error is None:
                self._reactor.addReader(self)
            return packet
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        self._reactor.removeReader(self)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def fileno(self) -> int:
        """
        The descriptor of the pipe.
        """
        return self._descriptor

    def doRead(self) -> None:
        """
        Read from the pipe, which has octets or has ended.
        """
        try:
            data = os.read(self._descriptor, _READ_SIZE)
            if data:
                self._waiting += self._parser.feed(data)
            else:
                self._parser.close()
                raise EOFError
        except BlockingIOError:
            return
        except (EOFError, OSError, CaptureFileError) as e:
            self._error = e
        if self._waiting or self._error is not None:
            self._reactor.removeReader(self)
            self._arrived()

    def connectionLost(self, reason: Failure) -> None:
        """
        Read the end of the pipe. Some reactors call this, and not L{doRead}, when all writers have closed the pipe.
        """
        self.doRead()

    def logPrefix(self) -> str:
        """
        Return the beginning of log lines.
        """
        return "replay"


def openSource(
    source: str | os.PathLike[str] | int | BinaryIO, clock: IReactorTime, arrived: Callable[[], None]
) -> CaptureSource:
    """
    Open a source of captured packets.

    @param source: a path, a descriptor or a file object: see L{Replay<txtuntap.network.replay.Replay>}.
    @param clock: the reactor, which reads a pipe.
    @param arrived: called when new packets, or the end of a pipe, have been read.

    @raise OSError: the source cannot be opened, or is a directory or a device.
    @raise ValueError: the source has to be waited for, and nothing here can wait for it.
    """
    isObject = not isinstance(source, int | str | os.PathLike)
    if isinstance(source, str | os.PathLike):
        descriptor = openAtOnce(source, os.O_RDONLY)
        name: object = source
    elif isinstance(source, int):
        descriptor, name = os.dup(source), f"descriptor {source}"
    else:
        try:
            descriptor = source.fileno()
        except (AttributeError, OSError):
            # The file object is in memory.
            return _FilePackets(source, False)
        name = getattr(source, "name", source)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            if isinstance(source, int | str | os.PathLike):
                return _FilePackets(BufferedReader(FileIO(descriptor)), True)
            return _FilePackets(source, False)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)):
            raise OSError(errno.EINVAL, "this is neither a file nor a pipe", name)
        if isObject:
            raise ValueError(f"{name!r} is no regular file, and reading it would block: give its descriptor")
        if not IReactorFDSet.providedBy(clock):
            raise ValueError(f"{name!r} is no regular file, and only a reactor can read it: let the clock be one")
        if sys.platform == "win32":
            raise ValueError(f"{name!r} is no regular file, and no reactor of Windows can read it: write a file first")
        return _PipePackets(descriptor, clock, arrived)
    except BaseException:
        if not isObject:
            with suppress(OSError):
                os.close(descriptor)
        raise
