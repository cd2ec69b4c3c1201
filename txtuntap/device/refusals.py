"""
The handling of packets that a kernel refuses to send. If an unfinished packet is refused, it is finished here and sent
again. Each other refused packet is counted.

A packet is unfinished if it is a superpacket or has a checksum that the kernel is to compute.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence

from txtuntap.interfaces import IDevice
from txtuntap.layer.counters import PacketCounters
from txtuntap.wire.offload import (
    CSUM,
    MAX_DATAGRAMS_BEFORE,
    TSO_ECN,
    UDP,
    Offload,
    countPackets,
    divide,
    fault,
    finish,
    networkStart,
)

#: The counter of refused packets for each C{errno} that the kernel may give.
_COUNTERS = {
    errno.EIO: "outLinkDown",
    errno.EAGAIN: "outDiscards",
    errno.ENOBUFS: "outDiscards",
    errno.ENOMEM: "outDiscards",
    errno.ENOSPC: "outDiscards",
}

#: The number of refusals after which an offload feature is withdrawn. A refusal counts if the kernel refuses an
#: unfinished packet that needs the feature, and accepts the packet once it is finished. A feature is never withdrawn
#: once the kernel has accepted an unfinished packet that needs it.
MAX_REFUSALS = 4


class Refusals:
    """
    Count the packets that a kernel refuses. If an unfinished packet is refused, finish it and send it again. After
    L{MAX_REFUSALS} refusals of unfinished packets, withdraw the offload feature that these packets need.

    @ivar taken: the features (C{CSUM}, C{USO} and so on of wire.offload) of packets that the kernel has accepted since
        L{reset}.
    """

    def __init__(
        self,
        device: IDevice,
        ethernet: bool,
        counters: PacketCounters,
        write: Callable[[Sequence[bytes], Offload | None], None],
        withdrawn: Callable[[], None],
    ) -> None:
        """
        @param device: the device that refuses packets. A withdrawn feature is removed from its C{offloads}.
        @param ethernet: whether packets are Ethernet frames.
        @param counters: the port's counters. A greater C{outPackets} shows that a packet was accepted.
        @param write: a function that writes a packet, as C{writePacket} of the port does.
        @param withdrawn: a function that is called when a feature was withdrawn.
        """
        self.taken = 0
        self._device = device
        self._ethernet = ethernet
        self._counters = counters
        self._write = write
        self._withdrawn = withdrawn
        # The number of refused packets for each feature that was never accepted. This is not a published counter.
        self._refused: Counter[int] = Counter()

    def reset(self) -> None:
        """
        Forget which features were accepted and refused, because the device was opened again. Its interface may have
        other features now.
        """
        self.taken = 0
        self._refused.clear()

    def refused(self, error: OSError, buffers: Sequence[bytes], offload: Offload | None) -> None:
        """
        Count a packet that the kernel has refused, or finish it and send it again.

        @param error: the error that the kernel has given.
        @param buffers: the octets of the packet.
        @param offload: the work on the packet that was left to the kernel; C{None}: none.
        """
        name = _COUNTERS.get(error.errno or 0)
        if name is None and offload is not None:
            self._sendFinished(b"".join(buffers), offload)
        else:
            self._counters[name or "outErrors"] += countPackets(buffers, offload)[0]

    def _sendFinished(self, data: bytes, offload: Offload) -> None:
        """
        Finish a packet that the kernel has refused, perhaps because of its offload, and send it again. Divide a UDP
        superpacket of more than C{MAX_DATAGRAMS_BEFORE} datagrams into smaller superpackets instead.
        """
        counters = self._counters
        counters["outRefusedOffloads"] += 1
        if offload.type == UDP and countPackets([data], offload)[0] > MAX_DATAGRAMS_BEFORE:
            network = networkStart(data) if self._ethernet else 0
            if fault(data, offload, network) is None:
                for packet, left in divide(data, offload, network, MAX_DATAGRAMS_BEFORE):
                    self._write([packet], left)
                return
        before = counters.outPackets
        self.writeFinished(data, offload)
        # If the finished packet is refused, too, the offload was not the cause.
        if counters.outPackets > before:
            self._countRefusal(offload.features)

    def writeFinished(self, data: bytes, offload: Offload) -> None:
        """
        Split a superpacket, compute all checksums, and write the finished packets.
        """
        network = networkStart(data) if self._ethernet else 0
        if fault(data, offload, network) is not None:
            self._counters["outErrors"] += 1
            return
        for packet in finish(data, offload, network):
            self._write([packet], None)

    def _countRefusal(self, features: int) -> None:
        """
        Count a refusal of an offload feature. At refusal number L{MAX_REFUSALS}, withdraw the feature. A kernel may
        lack a feature that it has announced.

        A feature is never withdrawn once the kernel has accepted a packet that needs it. Otherwise anyone who can send
        bad packets through a switch or a tunnel could cause its withdrawal for all others.

        @param features: the features that the refused packet needs.
        """
        refused = features & TSO_ECN or features & ~CSUM or CSUM
        if refused & ~self.taken:
            self._refused[refused] += 1
            if self._refused[refused] == MAX_REFUSALS:
                # Each other feature depends on checksum offload, so all are withdrawn with it.
                self._device.offloads &= 0 if refused == CSUM else ~refused
                self._withdrawn()
