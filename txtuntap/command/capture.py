"""
C{txtuntap capture}: what passes a TUN or TAP interface, as pcapng, to a file or to whoever reads standard output.

    txtuntap capture tap0 | wireshark -k -i -

It comes from the service that holds the interface, by its control socket (L{txtuntap.service.observe.control}), or,
where no service of ours does, from a packet socket (L{txtuntap.command.source}). Either way what is to the program that
holds it is I{in}, and what is from it I{out}.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, BinaryIO, TextIO

from txtuntap.command.output import discard
from txtuntap.command.source import Source, SourceEnded, sourceOf
from txtuntap.device import TAP, TUN
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.state import readInterface
from txtuntap.middleware import CaptureStream
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket

DIRECTIONS = {"in": pcapng.INBOUND, "out": pcapng.OUTBOUND, "both": pcapng.INBOUND | pcapng.OUTBOUND}

#: Seconds for which a signal has what is left written, however slowly it is read.
_CLOSING = 10.0

#: Milliseconds after which to look whether the interface is still there, and whether a pipe is read.
_TICK = 500


class _Stalled(Exception):
    """
    A signal is to end the capture, and nobody reads what was captured.
    """


def capture(options: Any, out: TextIO) -> None:
    """
    Capture, until enough has come, there is nobody to read it, or a signal ends it. Say on standard error how many
    packets that were.

    @raise OSError: that is not possible; or, at the end, the interface or its service has gone.
    """
    ends = None
    with ExitStack() as stack:
        toOutput = options.write is None or options.write == "-"
        if toOutput and out.isatty():
            raise ValueError("a capture is nothing for a terminal: give '-w FILE', or '| wireshark -k -i -'")
        mode = _mode(options.name, options.netns)
        directions = DIRECTIONS[options.direction]
        wake = stack.enter_context(_signals())
        source = sourceOf(options.name, mode, options.netns, options.snaplen, directions)
        stack.callback(source.close)
        # Only now, since this empties a file.
        stream: Any = getattr(out, "buffer", out) if toOutput else stack.enter_context(_opened(options.write, wake))
        sink = CaptureStream(stream, options.snaplen, directions)
        try:
            linkType = pcapng.ETHERNET if mode == TAP else pcapng.RAW
            sink.begin(linkType, options.name, time.time_ns(), options.comment or ())
            stream.flush()
            reason = _run(source, sink, stream, wake, options.count or sys.maxsize)
            sink.lost(source.lost())
            sink.end(time.time_ns())
            ends = reason
        except (BrokenPipeError, _Stalled) as e:
            discard(stream)
            if isinstance(e, _Stalled):
                ends = "nobody has read what was captured last: it is cut short"
        finally:
            # The sink has the sum of what was lost: a packet socket forgets its count when it is asked.
            print(f"{sink.received - sink.dropped} packets captured", file=sys.stderr)
            print(f"{sink.dropped} packets dropped", file=sys.stderr)
    if ends is not None:
        raise OSError(errno.ENODEV, ends)


def _run(source: Source, sink: CaptureStream, stream: BinaryIO, wake: socket.socket, count: int) -> str | None:
    """
    Write packets, until enough have come or the capture has to end.

    @param sink: what is written to; it writes to C{stream}, which is flushed here.
    @param wake: is readable once a signal ends the capture.
    @param count: how many packets are enough.

    @return: the reason for which the source has ended; L{None}: it has not.

    @raise BrokenPipeError: nobody reads C{stream} any more.
    """
    left = count
    waiting = select.poll()
    waiting.register(source.fileno(), select.POLLIN)
    waiting.register(wake.fileno(), select.POLLIN)
    # A pipe that nobody reads is reported though nothing is written.
    waiting.register(stream.fileno(), 0)
    while left:
        ready = dict(waiting.poll(_TICK))
        if wake.fileno() in ready:
            _write(source.finish(), sink, left)
            break
        if ready.get(stream.fileno(), 0) & select.POLLERR:
            raise BrokenPipeError
        try:
            packets = source.receive()
        except SourceEnded as e:
            return str(e)
        if packets:
            left -= _write(packets, sink, left)
            # One write for all of them, and no packet waits for the next ones.
            stream.flush()
            if lost := source.lost():
                sink.lost(lost)
    return None


def _write(packets: list[CapturedPacket], sink: CaptureStream, most: int) -> int:
    """
    Write packets to the sink.

    @param most: how many of them at most.

    @return: how many were written.
    """
    before = sink.received - sink.dropped
    for packet in packets:
        if sink.received - sink.dropped - before >= most:
            break
        sink.lost(packet.dropped)
        for text in packet.comments:
            sink.comment(text)
        at = time.time_ns() if packet.time is None else packet.time
        sink.record(packet.data, at, packet.direction, packet.length)
    return sink.received - sink.dropped - before


def _mode(name: str, namespace: Namespace | None) -> int:
    """
    Whether an interface is a TUN or a TAP device.

    @return: L{TUN} or L{TAP}.

    @raise ValueError: the interface is neither.
    """
    kind = readInterface(name, namespace).kind
    if kind not in ("tun", "tap"):
        raise ValueError(f"{name} is no TUN or TAP device: tcpdump and Wireshark capture what it has")
    return TAP if kind == "tap" else TUN


def _opened(path: str, wake: socket.socket) -> BinaryIO:
    """
    A file that is emptied; or a pipe, once somebody reads it.

    @param wake: is readable once nobody is to be waited for any more.

    @raise OSError: it cannot be opened, or nobody reads it.
    """
    # Only this user may read it, as with a capture's own files.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as e:
            if e.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
        else:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "wb")
        # In the kernel, an open() that waits would go on after a signal.
        if select.select([wake], [], [], _TICK / 1000)[0]:
            raise OSError(errno.ENXIO, f"nobody reads {path}")


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """
    Have SIGINT, SIGTERM and SIGHUP make a socket readable, once; the next one ends the process, as always. Where the
    first one does not lead to an end, since what is captured is not read, L{_Stalled} is raised in the end.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def signalled(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _CLOSING)
        writing.send(b"\0")

    def stalled(number: int, frame: FrameType | None) -> None:
        raise _Stalled

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # With nohup, it is ignored.
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, signalled) for number in numbers}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, stalled)
    try:
        yield reading
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, what in before.items():
            signal.signal(number, what)
        reading.close()
        writing.close()
