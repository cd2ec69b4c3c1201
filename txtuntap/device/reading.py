"""
The reading of a port: it reads packets from the device as long as the reactor says that some are waiting, and delivers
them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import cast

from twisted.internet import abstract
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from txtuntap.device import EBADFD
from txtuntap.device.delivery import Delivery
from txtuntap.device.lost import interfaceLost
from txtuntap.interfaces import IDevice, IPacketTransport, Reader
from txtuntap.layer.batches import Batches
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.life import FailureLog, callEach
from txtuntap.layer.timer import Timer
from txtuntap.wire.offload import UDP, segments

#: The most turns of the reactor in a row that read one packet only. A read that finds no packet takes a tenth of the
#: time of an answered datagram. So after a turn that has brought a single packet, the next turns do not read a second
#: time: one turn at first, and up to this number as long as each brings a single packet.
_MOST_ONES = 15


class ReadingPort(abstract.FileDescriptor):
    """
    The part of a L{TuntapPort<txtuntap.tuntap.TuntapPort>} that reads.

    @ivar device: see L{TuntapPort<txtuntap.tuntap.TuntapPort>}, as for C{maxPacketSize}, C{maxThroughput},
        C{maxPackets}, C{readEnd} and C{counters}.
    """

    maxThroughput = 1024 * 1024
    maxPackets = 1024
    readEnd: list[Callable[[], object]] | None = None

    device: IDevice
    maxPacketSize: int
    counters: PacketCounters
    logstr: str
    _now: Callable[[], float]
    _batches: Batches
    _delivery: Delivery
    _failures: FailureLog
    _readTurn: Timer

    #: The means to read packets for the fast path; None: the device's receive().
    _reader: Reader | None = None
    #: The number of the next turns that read one packet only, and the number that was chosen last.
    _onesLeft = 0
    _ones = 0
    #: Whether a device without a descriptor calls back when packets arrive.
    _awaits = False

    _log = Logger()

    def prepareToRead(self) -> None:
        """
        Prepare to read from the device, which is open.
        """
        countInto = getattr(self.device, "countInto", None)
        if countInto is not None:
            # The device drops packets whose own headers are wrong. The port's users read one mapping.
            countInto(self.counters)
        # A protocol without a fast path receives each packet by the device's receive(), which is as fast.
        reader = None if self._delivery.known is None else getattr(self.device, "reader", None)
        self._reader = None if reader is None else reader(self.maxPacketSize)

    def fileno(self) -> int:
        """
        Return the device's descriptor; -1 if the device is closed or has none.
        """
        return self.device.fileno()

    def startReading(self) -> None:
        """
        Begin to read packets, or resume after L{stopReading}.
        """
        if self.device.fileno() >= 0:
            super().startReading()  # type: ignore[no-untyped-call]
        else:
            self._awaits = True
            self.device.readable(self._packetsWait)

    def stopReading(self) -> None:
        """
        Stop reading, so that packets which arrive wait in the device's queue.
        """
        if self.device.fileno() >= 0:
            super().stopReading()  # type: ignore[no-untyped-call]
        else:
            self._awaits = False
            self.device.readable(None)

    def doRead(self) -> Exception | None:
        """
        Deliver the packets that are waiting to the protocol: up to C{maxPackets}, and about C{maxThroughput} octets.
        """
        # Locals are faster than attributes.
        receive = self.device.receive
        delivery = self._delivery
        reader, known = self._reader, delivery.known
        maxPacketSize = self.maxPacketSize
        if reader is not None and reader.maxPacketSize != maxPacketSize:
            self.prepareToRead()
            reader = self._reader
        deliver = delivery.receive if reader is None else delivery.unknown
        isOne = self._onesLeft > 0
        maxPackets = 1 if isOne else self.maxPackets
        maxThroughput = self.maxThroughput
        takesOffload = delivery.takesOffload
        now = self._now()
        port = cast(IPacketTransport, self)
        packets = octets = superpackets = 0
        ends: list[Callable[[], object]] = []
        self.readEnd = ends
        batches = self._batches
        answering = batches.answering
        batches.beginRead()
        if reader is not None and known is not None:
            read, fileno, most, before = reader.read, reader.fileno, reader.most, reader.headersLength
            offloadOf, packetOf = reader.offloadOf, reader.packet
        try:
            while packets < maxPackets and octets < maxThroughput and not self.disconnecting:
                if reader is None or known is None:
                    packet = receive(maxPacketSize)
                    if packet is None:
                        break
                else:
                    try:
                        data = read(fileno, most)
                    except (BlockingIOError, InterruptedError):
                        break
                    offload = offloadOf[data[:before]]
                    length = len(data) - before
                    if length <= maxPacketSize:
                        isSuperpacket = offload is not None and offload.isSuperpacket
                        if isSuperpacket:
                            # The answers to a superpacket can wait to be sent as one.
                            batches.answering = True
                        try:
                            isKnown = known(data, before, offload, port, now)
                        except Exception:
                            isKnown = True
                            delivery.failed(now)
                        if isSuperpacket:
                            batches.answering = answering
                        if isKnown:
                            packets += 1
                            octets += length
                            if offload is not None and isSuperpacket:
                                superpackets += 1
                                if offload.type == UDP:
                                    # The function segments is inlined, because a call takes 150 of 2,700 ns.
                                    more = (len(data) - offload.payload - 1) // offload.size
                                    packets += more
                                    octets += more * (offload.payload - before)
                                else:
                                    count, size = segments(data, offload, len(data), before)
                                    packets += count - 1
                                    octets += size - length
                            continue
                    packet = packetOf(data)
                    if packet is None:
                        break
                length = packet.end - packet.start
                packet.port = port
                packet.time = now
                offload = packet.offload
                if offload is not None and (
                    offload.isSuperpacket or packet.end < offload.least or length > maxPacketSize or not takesOffload
                ):
                    count, length = delivery.deliverUnfinished(packet, offload, maxPacketSize)
                    packets += count
                    octets += length
                    continue
                packets += 1
                octets += length
                # Delivery.deliver is inlined here, which saves 60 of the 2,150 ns that a packet takes.
                try:
                    deliver(packet)
                except Exception:
                    delivery.failed(now)
        except OSError as e:
            if e.errno in (EBADFD, errno.ENODEV):
                return interfaceLost(self.device, e)
            raise
        finally:
            if isOne and packets == 1:
                self._onesLeft -= 1
            else:
                self._ones = min(2 * self._ones + 1, _MOST_ONES) if packets == 1 else 0
                self._onesLeft = self._ones
            self.counters.inPackets += packets
            self.counters.inOctets += octets
            if superpackets:
                self.counters["inSuperpackets"] += superpackets
            self.readEnd = None
            callEach(ends, self._failures, now)
            self._batches.endRead()
        return None

    def _packetsWait(self) -> None:
        """
        Read at the next turn of the reactor, because a device without a descriptor has reported packets.
        """
        if getattr(self.device, "callsFromThread", False):
            # The device has called this on a thread of its own. A reactor has one method that is safe there.
            cast(IReactorFromThreads, self.reactor).callFromThread(self.readNow)
        elif not self._readTurn.armed:
            self._readTurn.arm(0)

    def readNow(self) -> None:
        """
        Read from a device without a descriptor, and have it report more packets.
        """
        if self._awaits and self.connected and not self.disconnecting:
            try:
                why = self.doRead()
            except Exception:
                # A reactor treats an exception of a reader with a descriptor in the same manner.
                self._log.failure("{prefix} cannot read", prefix=self.logstr)
                self.connectionLost(Failure())  # type: ignore[no-untyped-call]
                return
            if why is not None:
                self.connectionLost(Failure(why))  # type: ignore[no-untyped-call]
            elif self._awaits and self.connected and not self.disconnecting:
                # Packets may be left, if doRead stopped at one of its bounds.
                self.device.readable(self._packetsWait)
