"""
A capture file played into a protocol, at the times in the file.

    replay = Replay("trace.pcapng", host.ethernet, clock)
    replay.start().addCallback(lambda packets: print(packets, "packets"))
    clock.advance(60)
    answers = replay.sent
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from io import BufferedReader, FileIO, TextIOBase
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from txtuntap.adapters import deviceReceiver
from txtuntap.interfaces import IEthernetProtocol, IPacketTransport, IRawPacketProtocol
from txtuntap.layer import Layer
from txtuntap.mistakes import checkClock, checkMTU, checkRange, instead
from txtuntap.packet import Packet
from txtuntap.wire import pcapng
from txtuntap.wire.capturefile import CapturedPacket, CaptureFileError, readCapture
from txtuntap.wire.offload import Offload

#: How many packets of the protocol's own are kept, unless it is said.
MAX_SENT = 10_000

#: Beside LINKTYPE_RAW, those of one version only: LINKTYPE_IPV4, LINKTYPE_IPV6.
_IP = pcapng.RAW, 228, 229

#: Packets of the file that are read in one turn, if all are due or for nobody: no file must keep a reactor busy.
_AT_ONCE = 100


@implementer(IPacketTransport)
class Replay(Layer):
    """
    The port of a protocol, whose packets come out of a capture file, pcapng or pcap: the first one at once, each of the
    others as long after it as the file says. (One that is before it in time comes at once.) The file is read as it is
    played.

    Counters: C{inPackets}, C{inOctets}; C{inOthers}, packets that went the other way; C{inOtherLinks}, those of a link
    of another kind than the protocol's; C{outPackets}, C{outOctets}, what the protocol sent.

    @ivar protocol: the protocol.
    @ivar sent: the packets that it sent, oldest first: the last so many of them; yours to clear.
    @ivar mtu: the most octets that IP may put into one packet.
    @ivar linkAddress: L{None}: nobody says.
    @ivar offloads: 0: a packet is written as it would be on the wire.
    """

    linkAddress = None
    offloads = 0

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        proto: Any,
        clock: IReactorTime,
        directions: int = pcapng.INBOUND,
        mtu: int = 1500,
        maxSent: int = MAX_SENT,
    ) -> None:
        """
        @param file: a path; or a file object, open for reading octets, which is read from where it is, and not closed.
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}: a L{Capture} around one, for instance.
        @param clock: an C{IReactorTime}; packets come by its C{callLater}.
        @param directions: which packets are played: C{pcapng.INBOUND}, those that came to whoever captured them;
            C{pcapng.OUTBOUND}; or both, C{INBOUND | OUTBOUND}. Those of which the file does not say are, too.
        @param maxSent: how many packets C{sent} has at most.

        @raise TypeError: C{proto} is neither.
        @raise ValueError: C{directions} is none.
        """
        super().__init__()
        self._ethernet = IEthernetProtocol.providedBy(proto)
        if not self._ethernet and not IRawPacketProtocol.providedBy(proto):
            raise TypeError(f"packets of a file cannot reach {proto!r}: no Ethernet or IP protocol{instead(proto)}")
        checkClock(clock)
        checkMTU(mtu)
        checkRange(maxSent, "maxSent", 0, sys.maxsize)
        if isinstance(file, TextIOBase):
            raise TypeError(f"{file!r} is open for text: open it with 'rb'")
        if not isinstance(file, str | os.PathLike) and not callable(getattr(file, "read", None)):
            raise TypeError(f"a replay is of a path or a file object, not of {file!r}")
        if directions not in (1, 2, 3):
            raise ValueError(f"directions are INBOUND (1), OUTBOUND (2) or both (3), not {directions!r}")
        self.protocol = proto
        self.mtu = mtu
        self.sent: deque[bytes] = deque(maxlen=maxSent)
        self._source = file
        self._file: BinaryIO | None = None
        self._clock = clock
        self._directions = directions
        self._packets: Iterator[CapturedPacket] = iter(())
        self._next: CapturedPacket | None = None
        # The clock's time at the start, and that which is the file's 0, in nanoseconds.
        self._began = self._origin = 0
        self._call: IDelayedCall | None = None
        self._done: Deferred[int] | None = None
        self._receive = self._wayTo(proto, deviceReceiver)
        self._attach(proto, self)

    @property
    def clock(self) -> IReactorTime:
        """
        What tells the time of packets.
        """
        return self._clock

    def start(self) -> Deferred[int]:
        """
        Start the protocol, and begin to play.

        @return: fires with the number of packets that were played, once all are, and the protocol has been stopped.
            Fails with L{CaptureFileError} where the file is broken, cut short, none at all, or without a packet for
            such a protocol: after all that was whole has been played. Cancelling it is L{stop}.

        @raise OSError: the file cannot be opened.
        @raise RuntimeError: it is being played already.
        """
        if self._done is not None:
            raise RuntimeError("the file is being played: another Replay plays it at the same time")
        source = self._source
        self._file = BufferedReader(FileIO(source)) if isinstance(source, str | os.PathLike) else source
        self._packets = readCapture(self._file)
        self.counters.clear()
        self._next = None
        try:
            self.doStart()
        except BaseException:
            self._close()
            raise
        self._began = self._nanoseconds()
        done = self._done = Deferred(lambda _: self.stop())
        self._call = self._clock.callLater(0, self._play)
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
        self.counters["outPackets"] += 1
        self.counters["outOctets"] += len(data)
        self.sent.append(data)

    def _play(self) -> None:
        """
        Deliver what is due.
        """
        self._call = None
        for _ in range(_AT_ONCE):
            if self._next is None:
                try:
                    captured = next(self._packets, None)
                except (CaptureFileError, OSError) as e:
                    return self._end(e)
                if captured is None:
                    return self._end(self._nothing())
                if not self._isWanted(captured):
                    continue
                self._next = captured
                if not self.counters["inPackets"]:
                    self._origin = self._began - captured.time
            left = self._next.time + self._origin - self._nanoseconds()
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
        self._call = self._clock.callLater(max(left, 0) / 1_000_000_000, self._play)
        return None

    def _nanoseconds(self) -> int:
        return round(self._clock.seconds() * 1_000_000_000)

    def _isWanted(self, captured: CapturedPacket) -> bool:
        """
        Whether a packet is for the protocol.
        """
        if captured.interface.linkType not in ((pcapng.ETHERNET,) if self._ethernet else _IP):
            self.counters["inOtherLinks"] += 1
        elif captured.direction and not captured.direction & self._directions:
            self.counters["inOthers"] += 1
        else:
            return True
        return False

    def _nothing(self) -> CaptureFileError | None:
        """
        What is wrong with a file that has ended: nothing, if it had packets of this kind of link.
        """
        counters = self.counters
        if not counters["inOtherLinks"] or counters["inPackets"] or counters["inOthers"]:
            return None
        wanted, there = ("Ethernet frames", "IP packets") if self._ethernet else ("IP packets", "Ethernet frames")
        return CaptureFileError(f"there are no {wanted} in the file, which this protocol takes: perhaps it has {there}")

    def _deliver(self, captured: CapturedPacket) -> None:
        data = captured.data
        self.counters["inPackets"] += 1
        self.counters["inOctets"] += len(data)
        packet = Packet(data, 0, self, self._clock.seconds(), len(data) < captured.length)
        try:
            self._receive(packet)
        except Exception:
            self.failuresOf(self.protocol).failed(packet.time, "packetReceived")

    def _end(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.doStop()
        self._close()
        if error is None:
            done.callback(self.counters["inPackets"])
        else:
            done.errback(error)

    def _close(self) -> None:
        self._packets = iter(())
        file, self._file = self._file, None
        if file is not None and file is not self._source:
            file.close()
