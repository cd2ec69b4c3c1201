"""
Functions that pass a packet on from one transport to another, as a switch, a tunnel or a link does.
"""

from __future__ import annotations

from collections.abc import Sequence

from txtuntap.interfaces import IPacketTransport
from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.packet import Packet
from txtuntap.wire.ethernet import HEADER_LENGTH
from txtuntap.wire.joining import Joined, joined
from txtuntap.wire.offload import CSUM, TSO4, TSO6, TSO_ECN, USO, Offload, fault, finish, networkStart, shifted

#: All offload features. A transport that only passes packets on accepts packets with all of them.
EVERYTHING = CSUM | TSO4 | TSO6 | TSO_ECN | USO


def bufferOf(packet: Packet) -> tuple[bytes | memoryview, Offload | None]:
    """
    Return the octets of a packet from C{start} to C{end}, and their offload record. Nothing is copied.

    The positions of the offload record count from the first of these octets.
    """
    data, start, end = packet.data, packet.start, packet.end
    offload = recordBehind(start, packet.offload)
    if not start and end == len(data):
        # The bytes object itself is returned, because joining a list of one bytes object copies nothing.
        return data, offload
    return memoryview(data)[start:end], offload


def recordBehind(start: int, offload: Offload | None) -> Offload | None:
    """
    Return the offload record of a packet without its first C{start} octets.
    """
    # A record that only says that a checksum was verified is not needed to send the packet.
    return None if offload is None or not offload.isUnfinished else shifted(offload, -start)


def forward(
    transport: IPacketTransport, packet: bytes | memoryview, offload: Offload | None, ethernet: bool
) -> Drop | None:
    """
    Write a packet to a transport. An unfinished packet with features that the transport does not accept is finished
    first.

    @param packet: an Ethernet frame or an IP packet.
    @param ethernet: whether the packet is an Ethernet frame.

    @return: C{None} if the packet was written. Otherwise C{offload} contradicts the packet, and the result is the
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


def joinsSegments(transport: IPacketTransport) -> bool:
    """
    Whether L{forwardTogether} saves system calls on a transport: it has a device that accepts TCP superpackets.
    """
    # A link takes superpackets, but the protocol at its other end may have to cut them again. Links have no batches.
    # Devices before Linux 6.2 have none, either.
    return getattr(transport, "batches", None) is not None and bool(transport.offloads & (TSO4 | TSO6))


def forwardTogether(transport: IPacketTransport, packets: Sequence[bytes], ethernet: bool) -> None:
    """
    Write packets to a transport that have come together. Segments of one TCP connection are joined to superpackets, if
    the transport accepts these. The order of all packets stays.

    @param packets: complete Ethernet frames or IP packets, with nothing left to the transport.
    @param ethernet: whether the packets are Ethernet frames.
    """
    features = getattr(transport, "offloads", 0) & (TSO4 | TSO6) if len(packets) > 1 else 0
    if not features:
        for packet in packets:
            transport.writePacket([packet])
        return
    for buffers, offload in (_joinedFrames if ethernet else joined)(packets, features):
        transport.writePacket(buffers, offload)


def _joinedFrames(frames: Sequence[bytes], features: int) -> list[Joined]:
    """
    Join the packets in successive frames with the same Ethernet header: see L{joined}. Tagged frames stay alone.
    """
    found: list[Joined] = []
    at, count = 0, len(frames)
    while at < count:
        header = frames[at][:HEADER_LENGTH]
        end = at + 1
        while end < count and frames[end][:HEADER_LENGTH] == header:
            end += 1
        if end == at + 1:
            found.append(([frames[at]], None))
        else:
            for buffers, offload in joined([frame[HEADER_LENGTH:] for frame in frames[at:end]], features):
                found.append(([header, *buffers], None if offload is None else shifted(offload, HEADER_LENGTH)))
        at = end
    return found
