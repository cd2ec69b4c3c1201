"""
Middleware that records the packets that pass it in a pcapng file, for Wireshark and other programs::

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
from txtuntap.layer.fastpath import KnownReceiver, knownReceiverOf
from txtuntap.middleware.base import Middleware
from txtuntap.middleware.capturesink import CaptureFile, CaptureSink, CaptureStream
from txtuntap.mistakes import checkKind, checkText
from txtuntap.packet import Packet
from txtuntap.transports import IPacketTransport
from txtuntap.wire import pcapng
from txtuntap.wire.offload import Offload, fault, finish, networkStart

#: The types of output that a capture can write to: a path, a descriptor, a file object, or a sink with its settings.
Output = str | os.PathLike[str] | int | BinaryIO | CaptureSink

#: The comment on a packet that was longer than the port's receive buffer, so that its end was lost.
_PARTIAL = ("The rest of this packet was not read",)


class Capture(Middleware):
    """
    A capture wraps a protocol and records each packet as it is on the wire. A superpacket passes whole, and is recorded
    as the packets that the kernel cuts it into, with their checksums. A packet to the protocol is recorded as inbound,
    a packet from the protocol as outbound.

    Times are recorded in nanoseconds. On a reactor they are read from the system's clock, which is more precise than
    the reactor's C{seconds}. On any other clock, such as a simulation's, they are read from that clock.

    A capture never drops or delays the traffic. A sink that has no room for a packet counts it instead. A sink that
    fails is removed and its failure is logged once.

    Counters: C{captured}, the packets that passed while there was a sink; C{captureDrops}, the packets that a sink had
    no room for; C{captureFailures}, the sinks that have failed.
    """

    handlesFailures = True
    takesOffload = True

    _log = Logger()

    def __init__(self, output: Output | None, proto: Any) -> None:
        """
        @param output: where to write. For a path, or the descriptor of a pipe or a file, a L{CaptureFile} writes. For a
            file object, a L{CaptureStream} writes each packet at once; the file object is never closed. A
            L{CaptureSink} has settings of its own. With C{None}, nothing is recorded until L{addSink} adds a sink.
        @param proto: an C{IEthernetProtocol} or an C{IRawPacketProtocol}.

        @raise OSError: the output cannot be opened.
        @raise TypeError: C{proto} has the wrong type, or C{output} cannot be written to.
        """
        super().__init__(proto)
        self._sinks: tuple[CaptureSink, ...] = ()
        self._now = time.time_ns
        self._known: KnownReceiver | None = None
        if output is not None:
            self.addSink(sinkFor(output))

    @property
    def sinks(self) -> Sequence[CaptureSink]:
        """
        The sinks that this capture writes to now.
        """
        return self._sinks

    def addSink(self, sink: CaptureSink) -> None:
        """
        Write to one more sink: from now on, or from the start of the port if that is later.
        """
        checkKind(sink, CaptureSink, "a sink", "CaptureFile(path)")
        self._sinks = (*self._sinks, sink)
        if self.numPorts:
            self._begin(sink)

    def removeSink(self, sink: CaptureSink) -> None:
        """
        End the recording in one sink. A sink that was never added, or was removed already, is ignored.
        """
        if sink in self._sinks:
            self._sinks = tuple(each for each in self._sinks if each is not sink)
            if self.numPorts:
                self._end(sink)

    def comment(self, text: str) -> None:
        """
        Attach a comment to the next packet that each sink records, or to its closing statistics if no packet follows.
        """
        checkText(text, "a comment", "hello")
        for sink in self._sinks:
            sink.comment(text)

    def tables(self) -> list[TableState]:
        """
        List the bounded tables of the sinks: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [state for sink in self._sinks for state in sink.tables()]

    # Start and stop

    def startProtocol(self) -> None:
        """
        Begin the recording in all sinks.
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
        End the recording in all sinks.
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

    @property
    def knownReceiver(self) -> KnownReceiver | None:
        """
        The method that receives ordinary packets from the port: see L{txtuntap.layer.fastpath}. C{None}: the protocol
        has none.
        """
        self._known = knownReceiverOf(self._toProtocol)
        return self._knownReceived if self._known is not None and type(self) is Capture else None

    def _knownReceived(
        self, data: bytes, start: int, offload: Offload | None, port: IPacketTransport, now: float
    ) -> bool:
        """
        Hand an ordinary packet to the protocol, if nothing is recorded.
        """
        known = self._known
        return known is not None and not self._sinks and known(data, start, offload, self, now)

    def unknownReceived(self, packet: Packet) -> None:
        """
        Receive a packet that is not ordinary.
        """
        self.packetReceived(packet)

    def packetReceived(self, packet: Packet) -> None:
        """
        Record a packet from the port, and deliver it to the protocol.
        """
        if self._sinks:
            data = packet.data
            start = packet.start
            offload = packet.offload
            if offload is not None and offload.isUnfinished:
                network = networkStart(data, start) if self.ethernet else start
                packets = [each[start:] for each in _finished(data, offload, network)]
            else:
                packets = [data[start : packet.end]]
            self._record(packets, pcapng.INBOUND, _PARTIAL if packet.partial else ())
        self.deliver(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Record a packet of the protocol, and pass it on to the port.
        """
        if self._sinks:
            # Datagrams that the port still holds were sent earlier. They leave through here first, so that the recorded
            # order is the order on the wire.
            batches = self.batches
            if batches is not None:
                batches.release()
            data = b"".join(buffers)
            buffers = [data]
            if offload is not None and offload.isUnfinished:
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
    Return the sink that writes to an output: see L{Capture}.

    @raise OSError: the output cannot be opened.
    @raise TypeError: the output cannot be written to.
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
    Cut a superpacket and compute open checksums, so that the packets are as on the wire. A packet with a wrong offload
    header is returned unchanged.

    @param network: the offset of the IP header in C{data}, in octets.
    """
    return [data] if fault(data, offload, network) is not None else finish(data, offload, network)
