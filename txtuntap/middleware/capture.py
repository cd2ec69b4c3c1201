"""
Capture: what passes is written down, as pcapng, for Wireshark and its like.

    TuntapPort("tap0", Capture("trace.pcapng", host.ethernet))
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from io import TextIOBase
from typing import Any, BinaryIO

from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from txtuntap.layer.bounded import TableState
from txtuntap.middleware.base import Middleware
from txtuntap.middleware.capturesink import CaptureFile, CaptureSink, CaptureStream
from txtuntap.mistakes import checkKind, checkText
from txtuntap.packet import Packet
from txtuntap.wire import pcapng
from txtuntap.wire.offload import Offload, fault, finish, networkStart

#: The outputs that a capture may have: a path, a descriptor, a file object, or a sink with settings of its own.
Output = str | os.PathLike[str] | int | BinaryIO | CaptureSink


_PARTIAL = ("The rest of this packet was not read",)


class Capture(Middleware):
    """
    Goes around a protocol and records what passes, as it is on the wire: superpackets, which pass whole, are recorded
    as the packets that they stand for, with their checksums. A packet that comes is inbound, one that the protocol
    sends outbound.

    Times are in nanoseconds: those of the system's clock where the port is on a reactor (whose C{seconds} tell them
    less exactly); on any other clock, a simulation's, those of that clock, from 0 on.

    Nothing that passes is ever lost or late for the sake of a capture. A sink that has no room counts what it does not
    record; one that fails is removed, and that is logged once.

    Counters: C{captured}, packets that passed while there was a sink; C{captureDrops}, those that a sink had no room
    for; C{captureFailures}, sinks that have failed.
    """

    handlesFailures = True
    takesOffload = True

    _log = Logger()

    def __init__(self, output: Output | None, proto: Any) -> None:
        """
        @param output: a path, or the descriptor of a pipe or a file (for both see L{CaptureFile}); a file object, which
            is written to at once, and not closed (L{CaptureStream}); a L{CaptureSink} with settings of its own; or
            L{None}: nothing is recorded until there is a sink (L{addSink}).
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}.

        @raise OSError: the output cannot be opened.
        @raise TypeError: C{proto} is neither, or C{output} nothing to write to.
        """
        super().__init__(proto)
        self._sinks: tuple[CaptureSink, ...] = ()
        self._now = time.time_ns
        if output is not None:
            self.addSink(sinkFor(output))

    @property
    def sinks(self) -> Sequence[CaptureSink]:
        """
        The sinks that are written to now.
        """
        return self._sinks

    def addSink(self, sink: CaptureSink) -> None:
        """
        Write to this, too, from now on, or from the start on.
        """
        checkKind(sink, CaptureSink, "a sink", "CaptureFile(path)")
        self._sinks = (*self._sinks, sink)
        if self.numPorts:
            self._begin(sink)

    def removeSink(self, sink: CaptureSink) -> None:
        """
        Write to this no more. One that is not there, or not any more, is none.
        """
        if sink in self._sinks:
            self._sinks = tuple(each for each in self._sinks if each is not sink)
            if self.numPorts:
                self._end(sink)

    def comment(self, text: str) -> None:
        """
        Have the next packet that is recorded carry a comment; or, if there is none, the end of the capture.
        """
        checkText(text, "a comment", "hello")
        for sink in self._sinks:
            sink.comment(text)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}: those of its sinks.
        """
        return [state for sink in self._sinks for state in sink.tables()]

    # Life

    def startProtocol(self) -> None:
        """
        The captures begin.
        """
        clock = self.clock
        if clock is None or IReactorCore.providedBy(clock):
            self._now = time.time_ns
        else:
            self._now = lambda: round(clock.seconds() * 1_000_000_000)
        for sink in self._sinks:
            self._begin(sink)

    def stopProtocol(self) -> None:
        """
        The captures end.
        """
        for sink in self._sinks:
            self._end(sink)

    def _begin(self, sink: CaptureSink) -> None:
        try:
            sink.begin(pcapng.ETHERNET if self.ethernet else pcapng.RAW, os.fsdecode(self.interface), self._now())
        except Exception as e:
            self._failed(sink, e)

    def _end(self, sink: CaptureSink) -> None:
        try:
            sink.end(self._now())
        except Exception as e:
            self._failed(sink, e)

    def _failed(self, sink: CaptureSink, error: Exception) -> None:
        self._sinks = tuple(each for each in self._sinks if each is not sink)
        self.counters["captureFailures"] += 1
        sink.abandon()
        self._log.warn("The capture to {sink} has ended: {reason}", sink=sink, reason=error)

    # Packets

    def packetReceived(self, packet: Packet) -> None:
        """
        A packet has come from below.
        """
        if self._sinks:
            data = packet.data
            start = packet.start
            offload = packet.offload
            if offload is not None and offload.isOpen:
                network = networkStart(data, start) if self.ethernet else start
                packets = [each[start:] for each in _finished(data, offload, network)]
            else:
                packets = [data[start : packet.end]]
            self._record(packets, pcapng.INBOUND, _PARTIAL if packet.partial else ())
        self.deliver(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        A packet has come from above.
        """
        if self._sinks:
            # Datagrams that wait at the port were sent before, so they come through here now.
            batches = self.batches
            if batches is not None:
                batches.release()
            data = b"".join(buffers)
            buffers = [data]
            if offload is not None and offload.isOpen:
                network = networkStart(data) if self.ethernet else 0
                self._record(_finished(data, offload, network), pcapng.OUTBOUND)
            else:
                self._record(buffers, pcapng.OUTBOUND)
        self.send(buffers, offload)

    def _record(self, packets: Sequence[bytes], direction: int, comments: Sequence[str] = ()) -> None:
        now = self._now()
        self.counters["captured"] += len(packets)
        for sink in self._sinks:
            try:
                for packet in packets:
                    if not sink.record(packet, now, direction, 0, comments):
                        self.counters["captureDrops"] += 1
            except Exception as e:
                self._failed(sink, e)


def sinkFor(output: Output) -> CaptureSink:
    """
    Make the sink that writes to an output: see L{Capture}.

    @raise OSError: it cannot be opened.
    @raise TypeError: it is nothing to write to.
    """
    if isinstance(output, CaptureSink):
        return output
    if isinstance(output, TextIOBase):
        raise TypeError(f"{output!r} is open for text: open it with 'wb'")
    if isinstance(output, str | int | os.PathLike) and output is not True and output is not False:
        return CaptureFile(output)
    if isinstance(output, int) or not callable(getattr(output, "write", None)):
        raise TypeError(f"a capture is written to a path, a descriptor, a file object or a CaptureSink, not {output!r}")
    return CaptureStream(output)


def _finished(data: bytes, offload: Offload, network: int) -> Sequence[bytes]:
    """
    Finish a packet, as it is on the wire; one that cannot be finished is returned as it is.
    """
    return [data] if fault(data, offload, network) is not None else finish(data, offload, network)
