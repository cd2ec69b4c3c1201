"""
The delivery of packets from a device to the protocol on its port. A packet may be a superpacket, or have a checksum
that is still to be computed; both are called unfinished here.
"""

from __future__ import annotations

from typing import Any

from txtuntap.layer.ability import knowsPackets, sendsOffload, takesOffload
from txtuntap.layer.batches import Batches
from txtuntap.layer.counters import PacketCounters
from txtuntap.layer.drops import FAULT_DROPS
from txtuntap.layer.fastpath import knownReceiverOf
from txtuntap.layer.life import FailureLog
from txtuntap.layer.pair import deviceReceiver
from txtuntap.layer.table import Receiver
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, fault, networkStart, segments

#: The longest header of UDP and TCP, in octets.
_LONGEST_HEADER = 60


class Delivery:
    """
    Deliver packets to a protocol. An unfinished packet is delivered as it is if the protocol accepts that. Otherwise
    it is finished first: split, with each checksum computed.

    @ivar receive: the protocol's method that receives a packet. It may raise.
    @ivar known: the protocol's method that receives packets of known flows (see L{txtuntap.layer.fastpath}); C{None} if
        it has none.
    @ivar unknown: the protocol's method that receives packets which C{known} has refused. It may raise.
    @ivar takesOffload: whether the protocol accepts unfinished packets.
    @ivar onlySends: whether the protocol sends unfinished packets, and the kernel is to finish those that it delivers.
    """

    def __init__(
        self, proto: Any, ethernet: bool, counters: PacketCounters, failures: FailureLog, batches: Batches
    ) -> None:
        """
        @param proto: the protocol.
        @param ethernet: whether packets are Ethernet frames.
        @param counters: the port's counters.
        @param failures: the log for exceptions of the protocol.
        @param batches: the port's batches, in which the answers to a superpacket can wait to be sent as one.
        """
        self.receive: Receiver = proto.packetReceived if knowsPackets(proto) else deviceReceiver(proto)
        self.known = knownReceiverOf(self.receive) if takesOffload(proto) else None
        self.unknown: Receiver = self.receive if self.known is None else proto.unknownReceived
        self.takesOffload = takesOffload(proto)
        self.onlySends = sendsOffload(proto)
        self._ethernet = ethernet
        self._counters = counters
        self._failures = failures
        self._batches = batches
        self._method = "packetReceived" if knowsPackets(proto) else "datagramReceived"

    def deliver(self, packet: Packet) -> None:
        """
        Deliver a packet to the protocol, and log an exception that the protocol raises.
        """
        try:
            self.receive(packet)
        except Exception:
            self.failed(packet.time)

    def failed(self, time: float) -> None:
        """
        Log the exception that L{receive} has raised and that is being handled.

        @param time: the time of the packet, in seconds.
        """
        self._failures.failed(time, self._method)

    def deliverUnfinished(self, packet: Packet, offload: Offload, maxPacketSize: int) -> tuple[int, int]:
        """
        Deliver an unfinished packet that has to be examined first, and perhaps finished. The packet is a superpacket,
        is too short or too long, or is for a protocol that accepts no unfinished packets.

        @param offload: the work on the packet that is still to be done.
        @param maxPacketSize: the largest number of octets of a packet that the protocol receives.

        @return: the number of packets that C{packet} stands for, and the number of octets in these together.
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
            count, octets = segments(packet.data, offload, packet.end, packet.start)
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
