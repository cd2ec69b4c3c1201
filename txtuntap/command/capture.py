"""
The subcommand C{capture}, which writes the packets of a TUN or TAP interface as pcapng, to a file or standard output::

    txtuntap capture tap0 | wireshark -k -i -

The packets come from the service that has the interface open, by its control socket
(L{txtuntap.service.observe.control}). If there is no such service, they come from a packet socket. In both cases the
direction I{in} means packets to the program that has the interface open, and I{out} packets from that program.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from txtuntap.command.source import Source, SourceEnded, sourceOf
from txtuntap.device import TAP, TUN
from txtuntap.device.files import openAtOnce
from txtuntap.device.state import readInterface
from txtuntap.middleware import CaptureStream
from txtuntap.output import discard
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket

if TYPE_CHECKING:
    from txtuntap.device.linux.namespace import Namespace

if sys.platform == "win32":
    raise ImportError(
        "'txtuntap capture' needs a control socket or a packet socket, and Windows has neither: capture with Wireshark"
    )

#: The directions by their names on the command line.
DIRECTIONS = {"in": pcapng.INBOUND, "out": pcapng.OUTBOUND, "both": pcapng.INBOUND | pcapng.OUTBOUND}

#: The seconds after a signal in which the remaining packets are written. Later the rest is given up.
_CLOSING = 10.0

#: The milliseconds between two checks that the interface still exists, and that a pipe still has a reader.
_TICK = 500


class _Stalled(Exception):
    """
    The error of an output that no program reads, so that a signal cannot end the capture in time.
    """


def capture(options: Any, out: TextIO) -> None:
    """
    Capture packets as L{record} does. At the end, print the numbers of captured and dropped packets on standard error.
    """
    record(options, out, lambda text: print(text, file=sys.stderr))


def record(options: Any, out: TextIO, report: Callable[[str], object]) -> None:
    """
    Capture packets until there are enough of them, the reader closes the output, or a signal arrives.

    @param options: the options of the subcommand.
    @param out: the output of the command, for a capture without a file.
    @param report: called at the end with the number of captured packets, and with that of dropped ones, as text.

    @raise OSError: the capture cannot begin, the interface or its service has disappeared, or no program reads the
        output.
    @raise ValueError: the output is a terminal, or the interface is no TUN or TAP device.
    """
    failure = None
    with ExitStack() as stack:
        toOutput = options.write is None or options.write == "-"
        if toOutput and out.isatty():
            raise ValueError(
                "a capture is binary data, which a terminal cannot show: give '-w FILE', or '| wireshark -k -i -'"
            )
        mode = _mode(options.name, options.netns)
        directions = DIRECTIONS[options.direction]
        wake = stack.enter_context(_signals())
        source = sourceOf(options.name, mode, options.netns, options.snaplen, directions)
        stack.callback(source.close)
        # The output is opened after the source, because opening empties the file. So an error of the source leaves the
        # file as it was.
        stream: Any = getattr(out, "buffer", out) if toOutput else stack.enter_context(_opened(options.write, wake))
        sink = CaptureStream(stream, options.snaplen, directions)
        try:
            linkType = pcapng.ETHERNET if mode == TAP else pcapng.RAW
            sink.begin(linkType, options.name, time.time_ns(), options.comment or ())
            stream.flush()
            reason = _run(source, sink, stream, wake, options.count or sys.maxsize)
            sink.lost(source.lost())
            sink.end(time.time_ns())
            failure = reason
        except (BrokenPipeError, _Stalled) as e:
            discard(stream)
            if isinstance(e, _Stalled):
                failure = "nobody reads the output: the last captured packets were not written"
        finally:
            # The sink has the sum of all losses, because a packet socket resets its count each time it is read.
            report(f"{sink.received - sink.dropped} packets captured")
            report(f"{sink.dropped} packets dropped")
    if failure is not None:
        raise OSError(errno.ENODEV, failure)


def _run(source: Source, sink: CaptureStream, stream: BinaryIO, wake: socket.socket, count: int) -> str | None:
    """
    Write packets until there are enough of them, the source ends, or a signal arrives.

    @param source: the source of the packets.
    @param sink: the sink of the packets, which writes to C{stream}.
    @param stream: the output, which is flushed here.
    @param wake: a socket that is readable once a signal has arrived.
    @param count: the number of packets after which the capture ends.

    @return: the reason why the source has ended; C{None} if it has not.

    @raise BrokenPipeError: the reader of C{stream} has closed it.
    """
    left = count
    waiting = select.poll()
    waiting.register(source.fileno(), select.POLLIN)
    waiting.register(wake.fileno(), select.POLLIN)
    # Without any event asked for, poll() still reports a pipe whose reader has closed it.
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
            # Flush after all of these packets: once for all, and without waiting for the next ones.
            stream.flush()
            if lost := source.lost():
                sink.lost(lost)
    return None


def _write(packets: list[CapturedPacket], sink: CaptureStream, most: int) -> int:
    """
    Write packets to the sink, with their comments and the counts of lost packets.

    @param most: the most packets to write.

    @return: the number of packets that were written.
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
    Find out whether an interface is a TUN or a TAP device.

    @return: C{TUN} or C{TAP}.

    @raise OSError: there is no such interface.
    @raise ValueError: the interface is of another kind.
    """
    kind = readInterface(name, namespace).kind
    if kind not in ("tun", "tap"):
        raise ValueError(f"{name} is no TUN or TAP device: capture it by tcpdump or Wireshark")
    return TAP if kind == "tap" else TUN


def _opened(path: str, wake: socket.socket) -> BinaryIO:
    """
    Open the output: empty a file, or wait until a program opens a pipe for reading.

    @param wake: a socket that is readable once a signal ends the wait.

    @raise OSError: the output cannot be opened, or the signal came first.
    """
    while True:
        try:
            # Only this user may read the file, because a capture can hold secrets.
            descriptor = openAtOnce(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as e:
            if e.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
        else:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "wb")
        # Poll for a reader with a non-blocking open(), because Python repeats a blocking one after a signal.
        if select.select([wake], [], [], _TICK / 1000)[0]:
            raise OSError(errno.ENXIO, f"nobody has opened {path} for reading")


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """
    Handle SIGINT, SIGTERM and SIGHUP within a C{with} statement. The first signal makes a socket readable. A second
    signal of the same kind ends the process as usual. If the capture has not ended L{_CLOSING} seconds after the latest
    handled signal, because no program reads the output, L{_Stalled} is raised.

    @return: a context manager whose value is the socket.
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
        # nohup makes a program ignore SIGHUP, and that has to stay.
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, signalled) for number in numbers}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, stalled)
    try:
        yield reading
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
