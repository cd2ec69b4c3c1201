"""
A port that plays a capture file into a protocol, at the times in the file::

    replay = Replay("trace.pcapng", host.ethernet, clock)
    replay.start().addCallback(lambda packets: print(packets, "packets"))
    clock.advance(60)
    answers = replay.sent
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from io import TextIOBase
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import IEthernetProtocol, IPacketTransport, IRawPacketProtocol
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.layer import Layer
from txtuntap.layer.pair import deviceReceiver
from txtuntap.layer.timer import Timer
from txtuntap.mistakes import checkClock, checkMTU, checkRange, checkSeconds, instead
from txtuntap.network.capturesource import CaptureSource, openSource
from txtuntap.packet import Packet
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket, CaptureFileError
from txtuntap.wire.linktypes import carriesIP, directionOf, ipStart, linkTypeName
from txtuntap.wire.offload import Offload

#: The default number of the protocol's own packets that are kept.
MAX_SENT = 10_000

#: The longest gaps between two packets, forward and back, in seconds. A longer gap counts as a jump of the file's
#: clock. The gap back is shorter, because packets out of order are seldom more than a minute late.
JUMP, JUMP_BACK = 24 * 60 * 60.0, 60.0

#: The number of nanoseconds in a second.
_SECOND = 1_000_000_000

#: The most packets that are played or skipped in one turn of the reactor, so that the reactor stays responsive.
_AT_ONCE = 100

#: The most link types that the error of a file without usable packets names.
_MAX_NAMED = 5


@implementer(IPacketTransport)
class Replay(Layer):
    """
    A port whose received packets come from a capture file, pcapng or pcap. The first packet is delivered at once, and
    each later one as long after the first as the file says. A packet without a time, or out of order, is delivered at
    once. A gap of more than a day, or of more than a minute back, is a jump of the file's clock: that packet is
    delivered at once, too, and later packets are timed from it. The file is read while it is played. A pipe, a terminal
    or a socket is read by the reactor.

    A protocol of IP packets receives those of the link types C{RAW} and its variants, C{NULL} and C{LOOP} (loopback
    interfaces of BSD), C{LINUX_SLL} and C{LINUX_SLL2} (C{tcpdump -i any}). A protocol of Ethernet frames receives
    frames.

    Counters: C{inPackets} and C{inOctets}, delivered to the protocol; C{inOthers}, packets of an unwanted direction;
    C{inOtherLinks}, packets of a link type that the protocol does not take, or without IP; C{outPackets} and
    C{outOctets}, sent by the protocol.

    @ivar protocol: the protocol on this port.
    @ivar sent: the latest packets that the protocol has sent, oldest first. The application may clear it.
    @ivar mtu: the most octets of an IP packet that the protocol may send.
    @ivar linkAddress: always C{None}, because a capture file does not have it.
    @ivar ethernet: whether the packets are Ethernet frames.
    @ivar offloads: always 0: packets are written as they would be on the wire.
    @ivar batches: always C{None}, as is C{readEnd}, because packets are handled one by one.
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
        @param file: a path; a descriptor, such as 0 for standard input; or a file object that is open for reading
            octets. A descriptor or file object is read from its current position, and not closed.
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}, such as a
            L{Capture<txtuntap.middleware.capture.Capture>} around one.
        @param clock: the C{IReactorTime} whose C{callLater} times the packets.
        @param directions: the directions that are played: C{pcapng.INBOUND}, to the host that captured them;
            C{pcapng.OUTBOUND}; or both, C{INBOUND | OUTBOUND}. Packets of unknown direction are always played.
        @param maxSent: the most packets that C{sent} holds.
        @param maxGap: the most seconds between two packets. A longer gap in the file is shortened to it. C{None}: all
            gaps are kept, except for jumps.

        @raise TypeError: C{proto} or C{file} has the wrong type.
        @raise ValueError: C{directions}, C{mtu}, C{maxSent} or C{maxGap} is out of range.
        """
        super().__init__()
        self.counters: PacketCounters = PacketCounters()
        self.ethernet = IEthernetProtocol.providedBy(proto)
        if not self.ethernet and not IRawPacketProtocol.providedBy(proto):
            raise TypeError(f"{proto!r} is neither an IEthernetProtocol nor an IRawPacketProtocol{instead(proto)}")
        checkClock(clock)
        checkMTU(mtu)
        checkRange(maxSent, "maxSent", 0, sys.maxsize)
        if isinstance(file, TextIOBase):
            raise TypeError(f"{file!r} is open for text: open it with 'rb'")
        if isinstance(file, bool) or (
            not isinstance(file, str | os.PathLike | int) and not callable(getattr(file, "read", None))
        ):
            raise TypeError(f"a replay reads a path, a descriptor or a file object, not {file!r}")
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
        self._packets: CaptureSource | None = None
        # The packet that waits until it is due.
        self._next: CapturedPacket | None = None
        # In nanoseconds: the latest time in the file, and the time of the clock at which that packet was due.
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
        The clock by which packets are delivered.
        """
        return self._clock

    def tables(self) -> list[TableState]:
        """
        List the packets in C{sent}: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("sent", len(self.sent), self._maxSent, Policy.OLDEST.value)]

    def start(self) -> Deferred[int]:
        """
        Start the protocol, and begin to play the file.

        @return: a Deferred that fires with the number of packets that were played, after the last packet and the stop
            of the protocol. It fails with L{CaptureFileError} if the file is broken, cut short, no capture file, or
            without packets of a usable link type; all whole packets are played before. Cancelling it calls L{stop}.

        @raise OSError: the file cannot be opened, or is a directory or a device.
        @raise ValueError: the file is a pipe, a terminal or a socket, and the clock is no reactor that can read it.
        @raise RuntimeError: the file is being played already.
        """
        if self._done is not None:
            raise RuntimeError("this Replay plays already: make another one to play the file at the same time")
        self._packets = openSource(self._source, self._clock, self._arrived)
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
        Stop playing, and stop the protocol. The Deferred of L{start} fails with C{CancelledError}. If nothing is being
        played, nothing happens.
        """
        self._end(CancelledError("the replay was stopped"))

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Append a packet of the protocol to C{sent}.
        """
        data = b"".join(buffers)
        self.counters.outPackets += 1
        self.counters.outOctets += len(data)
        self.sent.append(data)

    def _play(self) -> None:
        """
        Deliver the packets that are due, and arm the timer for the next one.
        """
        for _ in range(_AT_ONCE):
            if self._next is None:
                try:
                    captured = self._packets.take() if self._packets is not None else None
                except EOFError:
                    return self._end(self._unusable())
                except (CaptureFileError, OSError) as e:
                    return self._end(e)
                if captured is None:
                    # _arrived() continues once the pipe has more.
                    return None
                if not self._isWanted(captured):
                    continue
                self._next = captured
                self._due = self._dueTime(captured.time)
            left = self._due - self._nanoseconds()
            # A remainder below a microsecond is ignored, because a clock with great numbers cannot express it, and the
            # packet would wait for ever.
            if left >= 1000:
                break
            captured, self._next = self._next, None
            self._deliver(captured)
            if self._done is None:
                # The protocol has called stop().
                return None
        else:
            left = 0
        self._turn.arm(max(left, 0) / _SECOND)
        return None

    def _arrived(self) -> None:
        """
        Continue to play, since the pipe has new packets or has ended.
        """
        if self._done is not None and not self._turn.armed:
            if self._latest is None:
                # The first packet is due when it arrives.
                self._due = self._nanoseconds()
            self._turn.arm(0)

    def _dueTime(self, time: int | None) -> int:
        """
        Convert the time of a packet in the file to the time of the clock at which it is due, both in nanoseconds.
        """
        latest = self._latest
        if time is None:
            return self._due
        if latest is None:
            self._latest = time
            return self._due
        gap = time - latest
        if -JUMP_BACK * _SECOND <= gap < 0:
            # The packet is out of order. It does not change the times of later packets.
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
        Whether a packet is to be delivered. An unwanted packet is counted.
        """
        linkType = captured.interface.linkType
        direction = captured.direction or directionOf(linkType, captured.data)
        if not self._takes(linkType):
            self.counters["inOtherLinks"] += 1
            if len(self._otherLinks) < _MAX_NAMED:
                self._otherLinks.add(linkType)
        elif not self.ethernet and ipStart(linkType, captured.data) is None:
            self.counters["inOtherLinks"] += 1
        elif direction and not direction & self._directions:
            self.counters["inOthers"] += 1
        else:
            return True
        return False

    def _takes(self, linkType: int) -> bool:
        """
        Whether the protocol takes packets that were captured on a link of this type.
        """
        return linkType == pcapng.ETHERNET if self.ethernet else carriesIP(linkType)

    def _unusable(self) -> CaptureFileError | None:
        """
        Return the error of a file that has ended and had no packet of a usable link type; C{None} for other files.
        """
        counters = self.counters
        if not self._otherLinks or counters.inPackets or counters["inOthers"]:
            return None
        wanted = "Ethernet frames" if self.ethernet else "IP packets"
        there = ", ".join(map(linkTypeName, sorted(self._otherLinks)))
        return CaptureFileError(f"this protocol takes {wanted}, and the file has none of them: it has {there}")

    def _deliver(self, captured: CapturedPacket) -> None:
        data = captured.data
        isCut = len(data) < captured.length
        if not self.ethernet:
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
