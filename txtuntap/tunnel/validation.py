"""
The validation of packets that a tunnel's peer has sent. The peer can forge all of a packet, and the description of the
checksum and the segmentation that it has left to this end.
"""

from __future__ import annotations

from txtuntap.layer.drops import FAULT_DROPS, Drop
from txtuntap.tunnel.allowed import Allowed
from txtuntap.tunnel.framing import MAX_PACKET
from txtuntap.tunnel.toolong import ipLength
from txtuntap.wire import ethernet
from txtuntap.wire.offload import Offload, fault, keepsFilteredFields, networkStart, payloadStart


def faultOf(
    packet: bytes | memoryview, offload: Offload | None, mtu: int, isFrame: bool, allowed: Allowed | None
) -> Drop | None:
    """
    Validate a packet from the peer.

    @param offload: the checksum and segmentation that the peer has left to this end; C{None}: nothing is left.
    @param mtu: the most octets that IP may put into one packet on the interface.
    @param isFrame: whether C{packet} is an Ethernet frame. Otherwise it is an IP packet.
    @param allowed: the addresses that the peer may send from; C{None}: any.

    @return: the reason to drop the packet; C{None} if there is none.
    """
    network = 0
    length = len(packet)
    if length > MAX_PACKET:
        return Drop.TOO_LONG
    if isFrame:
        if length < ethernet.HEADER_LENGTH:
            return Drop.MALFORMED
        network = networkStart(packet)
    elif (offload is None or not offload.isSuperpacket) and (not length or ipLength(packet) != length):
        # The length of a superpacket is compared with its header by fault, too.
        return Drop.MALFORMED
    if offload is not None:
        wrong = fault(packet, offload, network)
        if wrong is not None:
            return FAULT_DROPS[wrong]
    if allowed is not None:
        permits = allowed.permitsFrame(packet, network) if isFrame else allowed.permitsPacket(packet)
        if permits and offload is not None and not offload.isSuperpacket:
            permits = keepsFilteredFields(packet, offload, network)
        if not permits:
            return Drop.FORBIDDEN_ADDRESS
        if not allowed.permitsRole(packet, network, isFrame):
            return Drop.FORBIDDEN_ROLE
    if offload is not None and offload.isSuperpacket:
        length = payloadStart(packet, offload) + offload.size
    return Drop.TOO_LONG if length - network > mtu else None
