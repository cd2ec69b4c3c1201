"""
Packets handed on from one transport to another: by a switch, a tunnel, a link.
"""

from __future__ import annotations

from txtuntap.interfaces import IPacketTransport
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.packet import Packet
from txtuntap.wire.offload import CSUM, TSO4, TSO6, TSO_ECN, USO, Offload, fault, finish, networkStart, shifted

#: All that can be left open in a packet. A transport that only hands packets on takes all of it.
EVERYTHING = CSUM | TSO4 | TSO6 | TSO_ECN | USO


def bufferOf(packet: Packet) -> tuple[bytes | memoryview, Offload | None]:
    """
    Return the octets of a packet from the layer's C{start} on, and what is open in them, at positions in them. Nothing
    is copied.
    """
    data, start, offload = packet.data, packet.start, packet.offload
    if offload is not None:
        # The next transport has no use for the word that a checksum was verified.
        offload = shifted(offload, -start) if offload.isOpen else None
    if not start and packet.end == len(data):
        # The whole of the octets is handed on as it is, because joining it with nothing copies nothing then.
        return data, offload
    return memoryview(data)[start : packet.end], offload


def forward(
    transport: IPacketTransport, packet: bytes | memoryview, offload: Offload | None, ethernet: bool
) -> Drop | None:
    """
    Write a packet. What is open in it and nothing that C{transport} takes is finished before.

    @param packet: a frame, or an IP packet.
    @param ethernet: whether it is a frame.

    @return: L{None}: what becomes of it, C{transport} counts; or how to drop it, if what is said to be open cannot be,
        and nothing was written.
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
