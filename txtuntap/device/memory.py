"""
A TUN or TAP device in memory, for tests and for machines without a kernel device.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence

from zope.interface import implementer

from txtuntap.device import EBADFD, LONGEST_PACKET, TAP, TUN, interfaceName
from txtuntap.interfaces import IDevice, Reader
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import Counters
from txtuntap.mistakes import checkBuffers, checkMTU, checkOctets
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload, fault, finish, networkStart

#: The number of packets that the queue of a tun holds, and that of a tap, as on a kernel device (C{txqueuelen}).
TUN_QUEUE_LENGTH = 500
TAP_QUEUE_LENGTH = 1000


@implementer(IDevice)
class MemoryDevice:
    """
    A TUN or TAP device in memory. The object is also the network at the other side of the device. The device refuses
    and cuts the same packets as a kernel device, and its queue has the same length.

    @ivar sent: every packet that the stack has sent, oldest first. The application may clear the list.
    @ivar superpackets: each superpacket that the stack has sent, with its offload. C{sent} holds the packets that it
        was split into. The application may clear the list.
    @ivar offloads: the work that the stack leaves to the device: see
        L{LinuxDevice<txtuntap.device.linux.LinuxDevice>}.
    @ivar network: a function that is called with each packet that the stack sends. While it is set, C{sent} gets no
        packets. C{None}: there is none.
    @ivar up: whether the link is up. A link that is down refuses packets with C{EIO}.
    @ivar counters: C{outDiscards} is the number of packets from the network that were dropped: the device was not open,
        the link was down, or the queue was full. In this name, C{out} means out of the network.
    """

    def __init__(self, mode: int, name: str | bytes = "", mtu: int = 1500, features: int = 0) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        @param name: the interface's name; empty: C{tun0} or C{tap0}.
        @param mtu: the interface's MTU in octets.
        @param features: the work that the device offers to do on packets, if C{open} asks for it: C{CSUM}, C{TSO4} and
            so on of L{wire.offload<txtuntap.wire.offload>}.

        @raise ValueError: C{mode}, C{name} or C{mtu} is not valid.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
        checkMTU(mtu)
        self._asked = os.fsdecode(interfaceName(name))
        self.name = self._asked
        self.mode = mode
        self.mtu = mtu
        self.linkAddress = b"\x02\x00\x00\x00\x00\x01" if mode == TAP else None
        self.features = features
        self.offloads = 0
        self.sent: list[bytes] = []
        self.superpackets: list[tuple[bytes, Offload]] = []
        self.network: Callable[[bytes], None] | None = None
        self.up = True
        self.counters = Counters()
        self._queue: deque[tuple[bytes, Offload | None]] = deque()
        self._queueLength = TAP_QUEUE_LENGTH if mode == TAP else TUN_QUEUE_LENGTH
        self._opened = False
        self._deleted = False
        self._readable: Callable[[], None] | None = None

    def open(self, offload: bool | None = False) -> None:
        """
        Attach to the interface: see L{IDevice.open}.
        """
        if self._opened:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        if offload and not self.features:
            raise OSError(
                errno.ENOTSUP, f"{self.name} has no offload: give offload=False, or None to use what there is"
            )
        self.offloads = 0 if offload is False else self.features
        self._opened, self._deleted = True, False
        self.name = (self._asked or ("tap%d" if self.mode == TAP else "tun%d")).replace("%d", "0")

    def receiveFinished(self) -> None:
        """
        Do nothing: the network decides which packets are unfinished. See C{IDevice.receiveFinished}.
        """

    def fileno(self) -> int:
        """
        Return -1, because the device has no descriptor.
        """
        return -1

    def readable(self, callback: Callable[[], None] | None) -> None:
        """
        Call C{callback} whenever a packet arrives from the network, and when the interface is deleted. Call it at once
        if packets are waiting already, or the interface was deleted.

        @param callback: the function to call; C{None} ends the calls.
        """
        self._readable = callback
        if callback is not None and (self._queue or self._deleted):
            callback()

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Receive the next packet: see L{IDevice.receive}.
        """
        self._check()
        if not self._queue:
            return None
        data, offload = self._queue.popleft()
        if offload is None:
            return Packet(data[:maxPacketSize], partial=len(data) > maxPacketSize)
        packet = Packet(data)
        packet.offload = offload
        return packet

    def reader(self, maxPacketSize: int) -> Reader | None:
        """
        Return C{None}, because the device has no descriptor to read.
        """
        return None

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet: see L{IDevice.send}.
        """
        self._check()
        checkBuffers(buffers)
        data = b"".join(buffers)
        if not self.up:
            raise OSError(errno.EIO, "the link is down")
        if len(data) < 14 if self.mode == TAP else not data or data[0] >> 4 not in (4, 6):
            raise OSError(errno.EINVAL, "the data is not a packet")
        packets = [data]
        if offload is not None:
            network = networkStart(data) if self.mode == TAP else 0
            if fault(data, offload, network) is not None:
                raise OSError(errno.EINVAL, "the offload does not suit the packet")
            if offload.isSuperpacket:
                self.superpackets.append((data, offload))
            packets = finish(data, offload, network)
        for packet in packets:
            if self.network is None:
                self.sent.append(packet)
            else:
                self.network(packet)
        return len(data)

    def tables(self) -> list[TableState]:
        """
        The fill level of the queue: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        name = "tap queue" if self.mode == TAP else "tun queue"
        return [TableState(name, len(self._queue), self._queueLength, Policy.REFUSE.value)]

    def close(self) -> None:
        """
        Detach from the interface: see L{IDevice.close}.
        """
        self._opened = False
        self._readable = None
        self._queue.clear()

    # The network's side of the device

    def deliver(self, data: bytes, offload: Offload | None = None) -> None:
        """
        Send a packet from the network to the stack.

        @param data: an Ethernet frame (tap) or an IP packet (tun).
        @param offload: the work on the packet that is still to be done. Like a kernel, the device does not check
            whether the stack has asked for it.
        """
        checkOctets(data)
        if not self._opened or not self.up or len(self._queue) >= self._queueLength:
            self.counters["outDiscards"] += 1
            return
        self._queue.append((bytes(data), offload))
        if self._readable is not None:
            self._readable()

    def delete(self) -> None:
        """
        Delete the interface, as C{ip link delete} does.
        """
        self._deleted = True
        self._queue.clear()
        if self._readable is not None:
            self._readable()

    def _check(self) -> None:
        if not self._opened:
            raise OSError(errno.EBADF, f"{self.name or 'the device'} is not open: call open() first")
        if self._deleted:
            raise OSError(EBADFD, "the interface was deleted")
