"""
Functions that pass a packet on from one transport to another, as a switch, a tunnel or a link does.
"""

from __future__ import annotations

from txtuntap.interfaces import IPacketTransport
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.packet import Packet
from txtuntap.wire.offload import CSUM, TSO4, TSO6, TSO_ECN, USO, Offload, fault, finish, networkStart, shifted

#: All offload features. A transport that only passes packets on accepts packets with all of them.
EVERYTHING = CSUM | TSO4 | TSO6 | TSO_ECN | USO


def bufferOf(packet: Packet) -> tuple[bytes | memoryview, Offload | None]:
    """
    Return the octets of a packet from C{start} to C{end}, and their offload record. Nothing is copied.

    The positions of the offload record count from the first of these octets.
    """
    data, start, offload = packet.data, packet.start, packet.offload
    if offload is not None:
        # A record that only says that a checksum was verified is not needed to send the packet.
        offload = shifted(offload, -start) if offload.isUnfinished else None
    if not start and packet.end == len(data):
        # The bytes object itself is returned, because joining a list of one bytes object copies nothing.
        return data, offload
    return memoryview(data)[start : packet.end], offload


def forward(
    transport: IPacketTransport, packet: bytes | memoryview, offload: Offload | None, ethernet: bool
) -> Drop | None:
    """
    Write a packet to a transport. An unfinished packet with features that the transport does not accept is finished
    first.

    @param packet: an Ethernet frame or an IP packet.
    @param ethernet: whether the packet is an Ethernet frame.

    @return: L{None} if the packet was written. Otherwise C{offload} contradicts the packet, and the result is the
        reason for the drop, which the caller has to count.
    """
    if offload is None:
        transport.writePacket([packet])  # type: ignore[list-item]
        return None
    if not offload.features & ~getattr(transport, "offloads", 0):
        transport.writePacket([packet], offload)  # type: ignore[list-item]
        return None
    data = bytes(packet)
    network = networkStart(data) if ethernet else 0
    wrong = fault(data, offload, network)
    if wrong is not None:
        return FAULT_DROPS[wrong]
    for each in finish(data, offload, network):
        transport.writePacket([each])
    return None
