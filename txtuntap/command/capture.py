"""
C{txtuntap capture}: what passes a TUN or TAP interface, as pcapng, to a file or to whoever reads standard output.

    txtuntap capture tap0 | wireshark -k -i -

It comes from the service that holds the interface, by its control socket (L{txtuntap.service.observe.control}), or,
where no service of ours does, from a packet socket. Either way what is to the program that holds it is I{in}, and what
is from it I{out}.
"""

from __future__ import annotations

import errno
import json
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
from typing import Any, BinaryIO, Protocol, TextIO

from txtuntap.device import TAP, TUN
from txtuntap.device.helper.permission import Peer
from txtuntap.device.linux.namespace import Namespace
from txtuntap.device.linux.packetsocket import PacketSocket
from txtuntap.device.state import readInterface
from txtuntap.middleware import CaptureStream
from txtuntap.service.observe.control import directories, fileName, namespaceNumber
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedInterface, CapturedPacket, CaptureFileError, CaptureParser

DIRECTIONS = {"in": pcapng.INBOUND, "out": pcapng.OUTBOUND, "both": pcapng.INBOUND | pcapng.OUTBOUND}

#: Seconds for which a service may say nothing, when it is asked, and at the end.
_PATIENCE = 5.0

#: Seconds for which a signal has what is left written, however slowly it is read.
_CLOSING = 10.0

#: Octets that are read from a service at once; packets that are written at once.
_READ_SIZE = 1 << 16
_AT_ONCE = 1000

#: Milliseconds after which to look whether the interface is still there.
_TICK = 500


class _Gone(Exception):
    """
    There will be no more packets; the text says why.
    """


class _Stalled(Exception):
    """
    What was captured is not read, and this is to end.
    """


class _Elsewhere(Exception):
    """
    The service has the socket of an interface of this name, but its interface has another name now, or was moved.
    """


class _Source(Protocol):
    """
    Where packets come from.
    """

    def fileno(self) -> int: ...

    def receive(self) -> list[CapturedPacket]:
        """
        What there is; nothing, if none waits.

        @raise _Gone: there will be no more.
        """

    def lost(self) -> int:
        """
        How many were lost lately, beside those that packets tell of.
        """

    def finish(self) -> list[CapturedPacket]:
        """
        What was still on its way, now that there is enough.
        """

    def close(self) -> None: ...


class _Service:
    """
    The service that holds an interface, asked by its control socket.
    """

    def __init__(self, connection: socket.socket, name: str, namespace: int, request: dict[str, Any]) -> None:
        self._socket = connection
        self._name = name
        self._parser = CaptureParser()
        self._told = 0
        self._finished = False
        connection.settimeout(_PATIENCE)
        answer = b""
        try:
            connection.sendall(json.dumps({"capture": request}).encode() + b"\n")
            while b"\n" not in answer and len(answer) <= _READ_SIZE and (data := connection.recv(_READ_SIZE)):
                answer += data
        except OSError as e:
            raise OSError(e.errno or errno.ETIMEDOUT, f"the service that holds {name} does not answer") from e
        line, end, rest = answer.partition(b"\n")
        if not end:
            raise OSError(errno.EPROTO, f"the service that holds {name} does not answer: it may have enough clients")
        said = json.loads(line)
        if not isinstance(said, dict) or "interface" not in said:
            raise OSError(errno.EPROTO, f"the service that holds {name} refuses: {line.decode(errors='replace')}")
        if (said["interface"], said.get("namespace")) != (name, namespace):
            raise _Elsewhere
        self._first = self._parse(rest)
        connection.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[CapturedPacket]:
        packets, self._first = self._first, []
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return packets
        except OSError as e:
            raise _Gone(f"the service that holds {self._name} is gone: {e.strerror}") from e
        if not data:
            if packets:
                return packets
            raise _Gone(f"the service that held {self._name} has ended")
        return packets + self._parse(data)

    def lost(self) -> int:
        statistics = self._parser.statistics.get(0)
        if statistics is None or statistics.dropped is None:
            return 0
        lost = max(0, statistics.dropped - self._told)
        self._told += lost
        return lost

    def finish(self) -> list[CapturedPacket]:
        packets, self._first = self._first, []
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(_READ_SIZE):
                packets += self._parse(data)
        except (OSError, _Gone):
            # What was not heard of, nobody can tell.
            pass
        return packets

    def close(self) -> None:
        self._socket.close()

    def _parse(self, data: bytes) -> list[CapturedPacket]:
        try:
            packets = self._parser.feed(data)
        except CaptureFileError as e:
            raise _Gone(f"the service that holds {self._name} says what makes no sense: {e}") from e
        self._told += sum(packet.dropped for packet in packets)
        return packets


class _Outside:
    """
    A packet socket, for an interface that some other program holds.
    """

    def __init__(self, name: str, mode: int, namespace: Namespace | None) -> None:
        self._name = name
        self._interface = CapturedInterface(pcapng.ETHERNET if mode == TAP else pcapng.RAW, name=name)
        self._socket = PacketSocket(name, mode, namespace)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[CapturedPacket]:
        packets: list[CapturedPacket] = []
        # Each is none, one or many.
        for _ in range(_AT_ONCE):
            try:
                seen = self._socket.receive()
            except OSError as e:
                if e.errno != errno.ENETDOWN:
                    raise
                # The kernel says so once, before it gives what waits; and the interface may be set up again.
                continue
            if seen is None or len(packets) >= _AT_ONCE:
                break
            packets += [
                CapturedPacket(each.data, each.time, len(each.data), self._interface, each.direction) for each in seen
            ]
        if not packets and self._socket.isGone():
            raise _Gone(f"{self._name} is gone")
        return packets

    def lost(self) -> int:
        return self._socket.dropped()

    def finish(self) -> list[CapturedPacket]:
        # What waits has passed before. (What comes meanwhile would go on for ever.)
        try:
            return self.receive()
        except _Gone:
            return []

    def close(self) -> None:
        self._socket.close()


def capture(options: Any, out: TextIO) -> None:
    """
    Capture, until enough has come, there is nobody to read it, or a signal ends it. Says on standard error how much
    that was.

    @raise OSError: that is not possible; or, at the end, the interface or its service has gone.
    """
    ends = None
    with ExitStack() as stack:
        toOutput = options.write is None or options.write == "-"
        if toOutput and out.isatty():
            raise ValueError("a capture is nothing for a terminal: give '-w FILE', or '| wireshark -k -i -'")
        mode = _mode(options.name, options.netns)
        wake = stack.enter_context(_signals())
        source = _source(options, mode)
        stack.callback(source.close)
        # Only now, since this empties a file.
        stream: Any = getattr(out, "buffer", out) if toOutput else stack.enter_context(_opened(options.write, wake))
        sink = CaptureStream(stream, options.snaplen, DIRECTIONS[options.direction])
        try:
            ends = _run(source, sink, stream, wake, options, mode)
        except (BrokenPipeError, _Stalled) as e:
            # Nobody reads on, as with "| head". What is buffered would be written when Python ends, and fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if isinstance(e, _Stalled):
                ends = "nobody has read what was captured last: it is cut short"
        finally:
            # What a packet socket counts goes when it is asked.
            print(f"{sink.received - sink.dropped} packets captured", file=sys.stderr)
            print(f"{sink.dropped} packets dropped", file=sys.stderr)
    if ends is not None:
        raise OSError(errno.ENODEV, ends)


def _run(
    source: _Source, sink: CaptureStream, stream: BinaryIO, wake: socket.socket, options: Any, mode: int
) -> str | None:
    """
    @return: why it has ended, if not for having enough.
    """
    ends = None
    linkType = pcapng.ETHERNET if mode == TAP else pcapng.RAW
    sink.begin(linkType, options.name, time.time_ns(), options.comment or ())
    stream.flush()
    left = options.count or sys.maxsize
    waiting = select.poll()
    waiting.register(source.fileno(), select.POLLIN)
    waiting.register(wake.fileno(), select.POLLIN)
    # Whether anybody reads is told though nothing is written.
    waiting.register(stream.fileno(), 0)
    while left:
        ready = dict(waiting.poll(_TICK))
        if wake.fileno() in ready:
            left -= _write(source.finish(), sink, left)
            break
        if ready.get(stream.fileno(), 0) & select.POLLERR:
            raise BrokenPipeError
        try:
            packets = source.receive()
        except _Gone as e:
            ends = str(e)
            break
        if packets:
            left -= _write(packets, sink, left)
            # One write for all, and nobody has to wait for more of them.
            stream.flush()
            if lost := source.lost():
                sink.lost(lost)
    sink.lost(source.lost())
    sink.end(time.time_ns())
    return ends


def _write(packets: list[CapturedPacket], sink: CaptureStream, most: int) -> int:
    """
    Write packets, but not more than so many.

    @return: how many.
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
    What kind of interface it is.

    @raise ValueError: neither a TUN nor a TAP device.
    """
    kind = readInterface(name, namespace).kind
    if kind not in ("tun", "tap"):
        raise ValueError(f"{name} is no TUN or TAP device: tcpdump and Wireshark capture what it has")
    return TAP if kind == "tap" else TUN


def _source(options: Any, mode: int) -> _Source:
    request = {"snaplen": options.snaplen, "directions": DIRECTIONS[options.direction]}
    namespace = namespaceNumber(options.netns)
    connection = _connected(options.name, namespace)
    if connection is not None:
        try:
            return _Service(connection, options.name, namespace, request)
        except _Elsewhere:
            connection.close()
        except BaseException:
            connection.close()
            raise
    try:
        return _Outside(options.name, mode, options.netns)
    except PermissionError as e:
        text = f"no service of this user's holds {options.name}; any other way to capture there takes CAP_NET_RAW"
        raise OSError(e.errno, text) from e


def _connected(name: str, namespace: int) -> socket.socket | None:
    """
    A connection to the service that holds an interface; L{None}, if none of ours does.
    """
    file = fileName(namespace, name)
    for directory in directories():
        connection = socket.socket(socket.AF_UNIX)
        # One whose queue is full would be waited for.
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(os.path.join(directory, file))
            # Who listens there is told by the kernel, whoever the directory belongs to.
            if Peer.of(connection).user in (0, os.geteuid()):
                return connection
        except OSError:
            pass
        connection.close()
    return None


def _opened(path: str, wake: socket.socket) -> BinaryIO:
    """
    A file that is emptied; or a pipe, once somebody reads it.

    @param wake: is readable once nobody is to be waited for any more.

    @raise OSError: it cannot be opened, or nobody reads it.
    """
    # As a capture's own files: what was captured is nobody else's business.
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
