"""
Middleware that clamps the maximum segment size of TCP connections to the MTU of the interface, in both directions. It
goes around a L{WireGuard<txtuntap.wireguard.protocol.WireGuard>} on a port.
"""

from __future__ import annotations

from collections.abc import Sequence

from txtuntap.middleware.base import Middleware
from txtuntap.packet import Packet
from txtuntap.wire.mss import clamped
from txtuntap.wire.offload import Offload


class ClampMSS(Middleware):
    """
    Lowers the maximum segment size that a SYN announces. Both ends of a connection that is routed through the interface
    then send segments that fit, even where ICMP errors about longer ones are lost.

    Counters: C{clamped}, the SYNs that were changed.
    """

    handlesFailures = True
    takesOffload = True

    def packetReceived(self, packet: Packet) -> None:
        """
        Clamp a SYN from the port.
        """
        offload = packet.offload
        changed = clamped(packet.data, self.mtu, packet.start, offload is not None and offload.isOpen)
        if changed is not None:
            packet.data = changed
            self.counters["clamped"] += 1
        self.deliver(packet)

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        """
        Clamp a SYN of the protocol.
        """
        # A superpacket has data, and a SYN has none.
        if offload is None or not offload.isSuperpacket:
            data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
            changed = clamped(data, self.mtu, 0, offload is not None and offload.isOpen)
            if changed is not None:
                self.counters["clamped"] += 1
                data = changed
            buffers = [data]
        self.send(buffers, offload)
