"""
The delivery of what comes from a device to the protocol on its port: of superpackets, and packets whose checksum is
left open, too.
"""

from __future__ import annotations

from typing import Any

from txtuntap.layer.ability import knowsPackets, takesOffload
from txtuntap.layer.batches import Batches
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import FAULT_DROPS
from txtuntap.layer.life import FailureLog
from txtuntap.layer.pair import deviceReceiver
from txtuntap.layer.table import Receiver
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, fault, networkStart, segments

#: The longest header of UDP and TCP, in octets.
_LONGEST_HEADER = 60


class Delivery:
    """
    Hands the protocol what comes: unfinished as it is, or finished where the protocol takes nothing else.

    @ivar receive: the protocol's method for a packet. It may raise.
    @ivar takesOffload: whether the protocol takes packets that are not finished.
    """

    def __init__(
        self, proto: Any, ethernet: bool, counters: PacketCounters, failures: FailureLog, batches: Batches
    ) -> None:
        """
        @param proto: the protocol.
        @param ethernet: whether packets are Ethernet frames.
        @param counters: the port's.
        @param failures: the log for what the protocol raises.
        @param batches: what lets the answers to a superpacket wait.
        """
        self.receive: Receiver = proto.packetReceived if knowsPackets(proto) else deviceReceiver(proto)
        self.takesOffload = takesOffload(proto)
        self._ethernet = ethernet
        self._counters = counters
        self._failures = failures
        self._batches = batches
        self._method = "packetReceived" if knowsPackets(proto) else "datagramReceived"

    def deliver(self, packet: Packet) -> None:
        """
        Hand the protocol a packet, and let no exception out.
        """
        try:
            self.receive(packet)
        except Exception:
            self.failed(packet.time)

    def failed(self, time: float) -> None:
        """
        Log the exception of L{receive} that is being handled.

        @param time: of the packet, in seconds.
        """
        self._failures.failed(time, self._method)

    def deliverUnfinished(self, packet: Packet, offload: Offload, maxPacketSize: int) -> tuple[int, int]:
        """
        Deliver a packet that cannot go up as it is, or not before a look at it: a superpacket, a packet that is too
        long, or any that is not finished where the protocol takes none.

        @param maxPacketSize: the most octets of a packet that the protocol is given.

        @return: the number of packets it stands for, and how many octets these have.
        """
        count, octets = 1, len(packet)
        longest = octets
        if offload.isSuperpacket:
            packet.network = networkStart(packet.data, packet.start) if self._ethernet else packet.start
        wrong = fault(packet.data, offload, packet.network or packet.start)
        if wrong is not None:
            self._counters[FAULT_DROPS[wrong].counter] += 1
            return count, octets
        if offload.isSuperpacket:
            self._counters["inSuperpackets"] += 1
            count, octets = segments(len(packet.data), offload, packet.start)
            longest = offload.checksumStart - packet.start + _LONGEST_HEADER + offload.size
        if self.takesOffload and longest <= maxPacketSize:
            batches = self._batches
            before, batches.answering = batches.answering, offload.isSuperpacket
            self.deliver(packet)
            batches.answering = before
            return count, octets
        for each in packet.finished():
            if len(each) > maxPacketSize:
                each.partial = True
                each.end = each.start + maxPacketSize
                each.data = each.data[: each.end]
            self.deliver(each)
        return count, octets
