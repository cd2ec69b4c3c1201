"""
A capture file played into a protocol, at the times in the file.

    replay = Replay("trace.pcapng", host.ethernet, clock)
    replay.start().addCallback(lambda packets: print(packets, "packets"))
    clock.advance(60)
    answers = replay.sent
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BufferedReader, FileIO, TextIOBase
from typing import Any, BinaryIO, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.interfaces import IEthernetProtocol, IPacketTransport, IRawPacketProtocol
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.layer import Layer
from txtuntap.layer.pair import deviceReceiver
from txtuntap.layer.timer import Timer
from txtuntap.mistakes import checkClock, checkMTU, checkRange, checkSeconds, instead
from txtuntap.packet import Packet
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket, CaptureFileError, CaptureParser, readCapture
from txtuntap.wire.linktypes import carriesIP, directionOf, ipStart, linkTypeName
from txtuntap.wire.offload import Offload

#: How many packets of the protocol's own are kept, unless it is said.
MAX_SENT = 10_000

#: Seconds between two packets, in the file, that are taken for a jump of the clock their times are from. Of a jump back
#: fewer are enough: packets that are not in order are seldom far from where they belong.
JUMP, JUMP_BACK = 24 * 60 * 60.0, 60.0

_SECOND = 1_000_000_000

#: Packets read from the file in one turn of the reactor, if all are due or for nobody, so that it stays responsive.
_AT_ONCE = 100

#: Octets of a pipe that are read at once.
_READ_SIZE = 1 << 16

#: Kinds of link other than the protocol's that are named where there is nothing for the protocol.
_MAX_NAMED = 5


class _Packets(Protocol):
    """
    Where packets come from.
    """

    def take(self) -> CapturedPacket | None:
        """
        The next packet; L{None}, where it has not come yet.

        @raise EOFError: there are no more.
        @raise CaptureFileError: the file is broken.
        @raise OSError: it cannot be read.
        """

    def close(self) -> None:
        """
        No more is wanted.
        """


class _FilePackets:
    """
    Packets of a file object, which never has to be waited for.
    """

    def __init__(self, file: BinaryIO, isOurs: bool) -> None:
        self._file = file
        self._isOurs = isOurs
        self._packets = readCapture(file)

    def take(self) -> CapturedPacket | None:
        """
        See L{_Packets.take}.
        """
        for packet in self._packets:
            return packet
        raise EOFError

    def close(self) -> None:
        """
        See L{_Packets.close}.
        """
        if self._isOurs:
            self._file.close()


@implementer(IReadDescriptor)
class _PipePackets:
    """
    Packets of a pipe, which the reactor reads. What has been read waits here; while that is anything, no more is read.
    """

    def __init__(self, descriptor: int, reactor: Any, arrived: Callable[[], None]) -> None:
        """
        @param descriptor: closed at the end.
        @param arrived: called when L{take} has something new to tell.
        """
        self._descriptor = descriptor
        self._reactor = reactor
        self._arrived = arrived
        self._parser = CaptureParser()
        self._waiting: deque[CapturedPacket] = deque()
        self._error: Exception | None = None
        reactor.addReader(self)

    def take(self) -> CapturedPacket | None:
        """
        See L{_Packets.take}.
        """
        if self._waiting:
            packet = self._waiting.popleft()
            if not self._waiting and self._error is None:
                self._reactor.addReader(self)
            return packet
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        """
        See L{_Packets.close}.
        """
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
        There is something to read, or the end.
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
        The reactor has found out by itself that the pipe has no writer any more and nothing is left to read.
        """
        self.doRead()

    def logPrefix(self) -> str:
        """
        How log lines begin.
        """
        return "replay"


@implementer(IPacketTransport)
class Replay(Layer):
    """
    The port of a protocol, whose packets come out of a capture file, pcapng or pcap: the first one at once, each of the
    others as long after it as the file says. One that is before it in time comes at once; so does one without a time,
    and one that is more than a day later, or a minute earlier, than the one before it: the clock has jumped, and the
    others follow that one. The file is read as it is played; a pipe, a terminal or a socket by the reactor, when there
    is something to read.

    A protocol of IP packets is given those in C{LINKTYPE_RAW} and its kin, in C{NULL} and C{LOOP} (loopback interfaces
    of BSD), and in C{LINUX_SLL} and C{LINUX_SLL2} (C{tcpdump -i any}). One of Ethernet frames is given frames.

    Counters: C{inPackets}, C{inOctets}; C{inOthers}, packets of the other direction; C{inOtherLinks}, those of a link
    of another kind than the protocol's, or not of IP there; C{outPackets}, C{outOctets}, what the protocol sent.

    @ivar protocol: the protocol.
    @ivar sent: the packets that it sent, oldest first: the last so many of them; yours to clear.
    @ivar mtu: the most octets that IP may put into one packet.
    @ivar linkAddress: L{None}: nobody says.
    @ivar offloads: 0: a packet is written as it would be on the wire.
    @ivar batches: L{None}: nothing waits; C{readEnd}: L{None}: packets come one by one.
    """

    linkAddress = None
    offloads = 0
    batches = readEnd = None

    def __init__(
        self,
        file: str | os.PathLike[str] | int | BinaryIO,
        proto: Any,
        clock: IReactorTime,
        directions: int = pcapng.INBOUND,
        mtu: int = 1500,
        maxSent: int = MAX_SENT,
        maxGap: float | None = None,
    ) -> None:
        """
        @param file: a path; a descriptor, such as 0 for standard input; or a file object, open for reading octets, of a
            file or in memory. The latter two are read from where they are, and not closed.
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}: a
            L{Capture<txtuntap.middleware.capture.Capture>} around one, for instance.
        @param clock: an C{IReactorTime}; packets come by its C{callLater}.
        @param directions: which packets are played: C{pcapng.INBOUND}, those that came to whoever captured them;
            C{pcapng.OUTBOUND}; or both, C{INBOUND | OUTBOUND}. Those of which the file does not say are, too.
        @param maxSent: how many packets C{sent} has at most.
        @param maxGap: the most seconds that are waited between two packets, however many there are in the file.
            L{None}: as many as there are, but for jumps.

        @raise TypeError: C{proto} is neither.
        @raise ValueError: C{directions} is none, or C{maxGap} is less than 0 or without an end.
        """
        super().__init__()
        self.counters: PacketCounters = PacketCounters()
        self._ethernet = IEthernetProtocol.providedBy(proto)
        if not self._ethernet and not IRawPacketProtocol.providedBy(proto):
            raise TypeError(f"packets of a file cannot reach {proto!r}: no Ethernet or IP protocol{instead(proto)}")
        checkClock(clock)
        checkMTU(mtu)
        checkRange(maxSent, "maxSent", 0, sys.maxsize)
        if isinstance(file, TextIOBase):
            raise TypeError(f"{file!r} is open for text: open it with 'rb'")
        if isinstance(file, bool) or (
            not isinstance(file, str | os.PathLike | int) and not callable(getattr(file, "read", None))
        ):
            raise TypeError(f"a replay is of a path, a descriptor or a file object, not of {file!r}")
        if directions not in (1, 2, 3):
            raise ValueError(f"directions are INBOUND (1), OUTBOUND (2) or both (3), not {directions!r}")
        if maxGap is not None:
            checkSeconds(maxGap, "maxGap", mayBeZero=True)
        self.protocol = proto
        self.mtu = mtu
        self.sent: deque[bytes] = deque(maxlen=maxSent)
        self._maxSent = maxSent
        self._source = file
        self._clock = clock
        self._directions = directions
        self._maxGap = None if maxGap is None else round(maxGap * _SECOND)
        self._packets: _Packets | None = None
        self._next: CapturedPacket | None = None
        # In nanoseconds: the latest time in the file, and when, by the clock, the packet of that time was due.
        self._latest: int | None = None
        self._due = 0
        self._otherLinks: set[int] = set()
        self._turn = Timer(clock, self._play)
        self._done: Deferred[int] | None = None
        self._receive = self._receiverFor(proto, deviceReceiver)
        self._attach(proto, self)

    @property
    def clock(self) -> IReactorTime:
        """
        The clock that tells the time of packets.
        """
        return self._clock

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("sent", len(self.sent), self._maxSent, Policy.OLDEST.value)]

    def start(self) -> Deferred[int]:
        """
        Start the protocol, and begin to play.

        @return: fires with the number of packets that were played, once all are, and the protocol has been stopped.
            Fails with L{CaptureFileError} where the file is broken, cut short, none at all, or without a packet for
            such a protocol: after all that was whole has been played. Cancelling it is L{stop}.

        @raise OSError: the file cannot be opened, or is a directory or a device.
        @raise ValueError: it is a pipe, a terminal or a socket, and the clock is no reactor that could read it.
        @raise RuntimeError: it is being played already.
        """
        if self._done is not None:
            raise RuntimeError("the file is being played: another Replay plays it at the same time")
        self._packets = self._opened(self._source)
        self.counters.clear()
        self._next = self._latest = None
        self._otherLinks.clear()
        try:
            self.doStart()
        except BaseException:
            self._close()
            raise
        self._due = self._nanoseconds()
        done = self._done = Deferred(lambda _: self.stop())
        self._turn.arm(0)
        return done

    def stop(self) -> None:
        """
        Play no more, and stop the protocol. What L{start} returned fails with C{CancelledError}. Where nothing is
        being played, nothing happens.
        """
        self._end(CancelledError("the replay was stopped"))

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        The protocol sends a packet: it is kept in C{sent}.
        """
        data = b"".join(buffers)
        self.counters.outPackets += 1
        self.counters.outOctets += len(data)
        self.sent.append(data)

    def _play(self) -> None:
        """
        Deliver what is due.
        """
        for _ in range(_AT_ONCE):
            if self._next is None:
                try:
                    captured = self._packets.take() if self._packets is not None else None
                except EOFError:
                    return self._end(self._nothing())
                except (CaptureFileError, OSError) as e:
                    return self._end(e)
                if captured is None:
                    # Until there is more of it.
                    return None
                if not self._isWanted(captured):
                    continue
                self._next = captured
                self._due = self._dueTime(captured.time)
            left = self._due - self._nanoseconds()
            # Less than a clock tells apart is nothing: it would be waited for for ever.
            if left >= 1000:
                break
            captured, self._next = self._next, None
            self._deliver(captured)
            if self._done is None:
                # It was stopped.
                return None
        else:
            left = 0
        self._turn.arm(max(left, 0) / _SECOND)
        return None

    def _arrived(self) -> None:
        """
        There is more of a pipe.
        """
        if self._done is not None and not self._turn.armed:
            if self._latest is None:
                # The first one comes at once, whenever that is.
                self._due = self._nanoseconds()
            self._turn.arm(0)

    def _dueTime(self, time: int | None) -> int:
        """
        When, by the clock, a packet is due that has a time in the file.
        """
        latest = self._latest
        if time is None:
            return self._due
        if latest is None:
            self._latest = time
            return self._due
        gap = time - latest
        if -JUMP_BACK * _SECOND <= gap < 0:
            # It is not in order, and those after it follow the ones before.
            return self._due
        self._latest = time
        if self._maxGap is not None:
            gap = min(gap, self._maxGap)
        elif gap > JUMP * _SECOND:
            gap = 0
        return self._due + max(gap, 0)

    def _nanoseconds(self) -> int:
        return round(self.now() * _SECOND)

    def _isWanted(self, captured: CapturedPacket) -> bool:
        """
        Whether a packet is for the protocol.
        """
        linkType = captured.interface.linkType
        direction = captured.direction or directionOf(linkType, captured.data)
        if not self._takes(linkType):
            self.counters["inOtherLinks"] += 1
            if len(self._otherLinks) < _MAX_NAMED:
                self._otherLinks.add(linkType)
        elif not self._ethernet and ipStart(linkType, captured.data) is None:
            self.counters["inOtherLinks"] += 1
        elif direction and not direction & self._directions:
            self.counters["inOthers"] += 1
        else:
            return True
        return False

    def _takes(self, linkType: int) -> bool:
        """
        Whether what is captured on such a link is for the protocol.
        """
        return linkType == pcapng.ETHERNET if self._ethernet else carriesIP(linkType)

    def _nothing(self) -> CaptureFileError | None:
        """
        Find the error of a file that has ended: none, if it had packets of a kind of link that the protocol takes.
        """
        counters = self.counters
        if not self._otherLinks or counters.inPackets or counters["inOthers"]:
            return None
        wanted = "Ethernet frames" if self._ethernet else "IP packets"
        there = ", ".join(map(linkTypeName, sorted(self._otherLinks)))
        return CaptureFileError(f"there are no {wanted} in the file, which this protocol takes: it has {there}")

    def _deliver(self, captured: CapturedPacket) -> None:
        data = captured.data
        isCut = len(data) < captured.length
        if not self._ethernet:
            data = data[ipStart(captured.interface.linkType, data) :]
        self.counters.inPackets += 1
        self.counters.inOctets += len(data)
        packet = Packet(data, 0, self, self.now(), isCut)
        try:
            self._receive(packet)
        except Exception:
            self.failuresOf(self.protocol).failed(packet.time, "packetReceived")

    def _end(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._turn.stop()
        self.doStop()
        self._close()
        if error is None:
            done.callback(self.counters.inPackets)
        else:
            done.errback(error)

    def _close(self) -> None:
        packets, self._packets = self._packets, None
        if packets is not None:
            packets.close()

    def _opened(self, source: str | os.PathLike[str] | int | BinaryIO) -> _Packets:
        """
        @raise OSError: it cannot be opened; it is neither a file nor a pipe, nor anything like one.
        @raise ValueError: nobody can wait for it.
        """
        isObject = not isinstance(source, int | str | os.PathLike)
        if isinstance(source, str | os.PathLike):
            # A pipe that nobody has opened for writing yet would be waited for here.
            descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            name: object = source
        elif isinstance(source, int):
            descriptor, name = os.dup(source), f"descriptor {source}"
        else:
            try:
                descriptor = source.fileno()
            except (AttributeError, OSError):
                # It is in memory.
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
                raise OSError(errno.EINVAL, "that is neither a file nor a pipe", name)
            if isObject:
                raise ValueError(f"{name!r} is no file, and would be waited for: give its descriptor in place of it")
            if not IReactorFDSet.providedBy(self._clock):
                raise ValueError(f"{name!r} is no file: it is read as it comes, and for that the clock is the reactor")
            return _PipePackets(descriptor, self._clock, self._arrived)
        except BaseException:
            if not isObject:
                with suppress(OSError):
                    os.close(descriptor)
            raise
