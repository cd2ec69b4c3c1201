"""
The packets that a kernel does not take: counted, or sent again finished where it refuses what is left open in them.
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

#: The counter for each reason that the kernel has not to send a packet, by its C{errno}.
_COUNTERS = {
    errno.EIO: "outLinkDown",
    errno.EAGAIN: "outDiscards",
    errno.ENOBUFS: "outDiscards",
    errno.ENOMEM: "outDiscards",
}

#: Packets that the kernel refuses for what is left open in them, and takes finished, before nothing of the kind is left
#: open any more: where it has never taken one.
MAX_REFUSALS = 4


class Refusals:
    """
    Counts the packets that a kernel does not take. A packet that it refuses unfinished is sent again finished. After
    L{MAX_REFUSALS}, nothing of the kind is left to the kernel any more.

    @ivar taken: the features (C{CSUM}, C{USO} and so on of wire.offload) that the kernel has taken since L{reset}.
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
        @param device: the device that refuses packets. Its C{offloads} lose what it cannot finish.
        @param ethernet: whether packets are Ethernet frames.
        @param counters: the port's. C{outPackets} tells whether a packet was taken.
        @param write: writes a packet as C{writePacket} of the port does.
        @param withdrawn: called when C{offloads} has lost something.
        """
        self.taken = 0
        self._device = device
        self._ethernet = ethernet
        self._counters = counters
        self._write = write
        self._withdrawn = withdrawn
        # A tally: how often each feature was refused that was never taken. Nothing of it is published as a counter.
        self._refused: Counter[int] = Counter()

    def reset(self) -> None:
        """
        Forget what was taken and refused: the device has been opened, perhaps on another kernel's terms.
        """
        self.taken = 0
        self._refused.clear()

    def refused(self, error: OSError, buffers: Sequence[bytes], offload: Offload | None) -> None:
        """
        Count a packet that the kernel has not taken, or send it finished.

        @param error: what the kernel says.
        """
        name = _COUNTERS.get(error.errno or 0)
        if name is None and offload is not None:
            self._sendFinished(b"".join(buffers), offload)
        else:
            self._counters[name or "outErrors"] += countPackets(sum(map(len, buffers)), offload)[0]

    def _sendFinished(self, data: bytes, offload: Offload) -> None:
        """
        Send a packet that the kernel has refused, perhaps because of what is left open in it: finished.
        """
        counters = self._counters
        counters["outRefusedOffloads"] += 1
        if offload.type == UDP and countPackets(len(data), offload)[0] > MAX_DATAGRAMS_BEFORE:
            network = networkStart(data) if self._ethernet else 0
            if fault(data, offload, network) is None:
                for packet, left in divide(data, offload, network, MAX_DATAGRAMS_BEFORE):
                    self._write([packet], left)
                return
        before = counters.outPackets
        self.writeFinished(data, offload)
        # A packet that is refused when it is finished, too, says nothing about offload.
        if counters.outPackets > before:
            self._doubt(offload.features)

    def writeFinished(self, data: bytes, offload: Offload) -> None:
        """
        Write the packets that C{data} stands for, with nothing left open in them.
        """
        network = networkStart(data) if self._ethernet else 0
        if fault(data, offload, network) is not None:
            self._counters["outErrors"] += 1
            return
        for packet in finish(data, offload, network):
            self._write([packet], None)

    def _doubt(self, features: int) -> None:
        """
        Count a refusal. The kernel may be unable to finish what it has said it can. A kernel that has ever taken such a
        packet is not doubted: anyone who can make it refuse one, by way of a switch or a tunnel, does not decide for
        others.

        @param features: what was left open in the packet.
        """
        doubted = features & TSO_ECN or features & ~CSUM or CSUM
        if doubted & ~self.taken:
            self._refused[doubted] += 1
            if self._refused[doubted] == MAX_REFUSALS:
                # All else takes open checksums.
                self._device.offloads &= 0 if doubted == CSUM else ~doubted
                self._withdrawn()
