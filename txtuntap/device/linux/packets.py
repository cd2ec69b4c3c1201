"""
Packets of a device, read and written with the headers that the kernel has before them: protocol information, and what
is left open (offload).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any, cast

from txtuntap.device import LONGEST_PACKET, TAP, TUN
from txtuntap.device.linux.descriptor import TunDescriptor
from txtuntap.device.linux.ioctl import TUN_PKT_STRIP, TUNSETOFFLOAD, TUNSETVNETHDRSZ
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.mistakes import checkBuffers
from txtuntap.packet import Packet
from txtuntap.wire.offload import CSUM, HEADER_LENGTH, TSO4, TSO6, TSO_ECN, USO, Offload, shifted

#: Protocol information (C{struct tun_pi}): flags in the machine's byte order, EtherType in the network's.
_FLAGS = struct.Struct("=H")
_INFORMATION_LENGTH = 4

#: All that is offloaded, and what kernels before 6.2 know of it.
_OFFLOADS = CSUM | TSO4 | TSO6 | TSO_ECN | USO, CSUM | TSO4 | TSO6 | TSO_ECN

#: More than there are in any packet: 64 KiB that a superpacket has at most, and the headers before that. To have room
#: for so much costs no more than to have room for less.
_MOST = 65600

#: How a kernel, or what stands in for it, says that it does not know a call, or what is asked of it.
_UNKNOWN = {errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP}

_NOTHING_OPEN = bytes(HEADER_LENGTH)

#: Headers of offload that are remembered, unpacked: a flow has two or three of them.
MAX_HEADERS = 256

#: How many buffers of a superpacket are written without joining them first.
_MOST_BUFFERS = 8


class PacketDescriptor(TunDescriptor):
    """
    A descriptor that packets are read from and written to.

    @ivar mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
    @ivar offloads: what the kernel finishes for us, and leaves to us: C{CSUM}, C{TSO4} and so on of
        L{wire.offload<txtuntap.wire.offload>}.
    """

    def __init__(self, name: str, mode: int, protocolInformation: bool = False, system: Any = None) -> None:
        """
        @param protocolInformation: whether four octets of flags and EtherType are before each packet.
        @param system: stands in for the operating system.
        """
        super().__init__(name, system)
        self.mode = mode
        self.offloads = 0
        self._information = protocolInformation
        self._read = self._system.read
        self._write = self._system.write
        # A system that stands in for the real one need not have it.
        self._writev = getattr(self._system, "writev", None)
        # Octets of headers of the device's own before each packet.
        self._before = _INFORMATION_LENGTH * protocolInformation
        # Headers of offload, unpacked; L{None} where packets come without them.
        self._offloadOf: dict[bytes, Offload | None] | None = None

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Take the next packet: see L{IDevice.receive<txtuntap.interfaces.IDevice.receive>}.
        """
        offloadOf = self._offloadOf
        if offloadOf is None or self._information or maxPacketSize > _MOST:
            return self._receive(maxPacketSize)
        try:
            data = self._read(self._fileno, _MOST + HEADER_LENGTH)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as e:
            raise self._explained(e) from e
        try:
            offload = offloadOf[data[:HEADER_LENGTH]]
        except KeyError:
            if len(data) < HEADER_LENGTH:
                return None
            offload = self._unpack(data[:HEADER_LENGTH])
        packet = Packet(data, HEADER_LENGTH)
        packet.offload = offload
        if offload is None and len(data) > maxPacketSize + HEADER_LENGTH:
            _cut(packet, maxPacketSize)
        return packet

    def _receive(self, maxPacketSize: int) -> Packet | None:
        """
        As L{receive}, with whatever headers of the device's own.
        """
        before = self._before
        room = before + maxPacketSize
        if self._offloadOf is not None:
            room = max(room, before + _MOST)
        try:
            # The kernel cuts what does not fit without a word: one octet more tells.
            data = self._read(self._fileno, room + 1)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as e:
            raise self._explained(e) from e
        if len(data) < (before or 1):
            return None
        packet = Packet(data, before)
        if self._information:
            self._readInformation(packet)
        if self._offloadOf is not None:
            packet.offload = self._unpack(data[before - HEADER_LENGTH : before])
        if len(packet) > maxPacketSize and packet.offload is None:
            _cut(packet, maxPacketSize)
        return packet

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet: see L{IDevice.send<txtuntap.interfaces.IDevice.send>}.
        """
        before = self._before
        if type(buffers) is not list:
            checkBuffers(buffers)
        if before:
            header = _NOTHING_OPEN if offload is None else offload.packed
            if self._information:
                information = self._informationFor(buffers)
                header = information if self._offloadOf is None else information + header
            buffers = [header, *buffers]
            if offload is not None and offload.isSuperpacket and len(buffers) <= _MOST_BUFFERS and self._writev:
                # It costs a third less than joining them, but not for small packets or very many buffers.
                try:
                    octets: int = self._writev(self._fileno, buffers)
                    return octets - before
                except InterruptedError:
                    pass
        data = b"".join(buffers)
        while True:
            try:
                octets = self._write(self._fileno, data)
                return octets - before
            except InterruptedError:
                continue
            except OSError as e:
                raise self._explained(e) from e

    def tables(self) -> list[TableState]:
        """
        How full the table of headers is: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        # A plain dictionary: it is looked into for each packet, which takes longer in a Table.
        known = self._offloadOf or ()
        return [TableState("device headers", len(known), MAX_HEADERS, Policy.FORGET_ALL.value)]

    def _explained(self, error: OSError) -> OSError:
        """
        The error of a read or a write; of a device that is closed, with what to do.
        """
        return error if self._fileno >= 0 else OSError(errno.EBADF, f"{self.name} is not open: call open() first")

    def _agree(self, fileno: int, hasHeaders: bool, wanted: bool | None) -> None:
        """
        Settle with the device what is offloaded.

        @param hasHeaders: whether packets come with headers for that.
        @param wanted: whether anything is to be: see L{IDevice.open<txtuntap.interfaces.IDevice.open>}.
        """
        ioctl = self._system.ioctl
        self._before = _INFORMATION_LENGTH * self._information
        self._offloadOf = None
        self.offloads = 0
        if hasHeaders:
            try:
                ioctl(fileno, TUNSETVNETHDRSZ, struct.pack("i", HEADER_LENGTH))
            except OSError as e:
                # Where it cannot be set, it is this one.
                if e.errno not in _UNKNOWN:
                    raise
            self._before += HEADER_LENGTH
            self._offloadOf = {}
        known = _OFFLOADS if hasHeaders and wanted is not False else ()
        for offloads in *known, 0:
            try:
                ioctl(fileno, TUNSETOFFLOAD, offloads)
            except OSError as e:
                # There is none where nobody knows the call, as in a sandbox that stands in for the kernel.
                if e.errno not in _UNKNOWN:
                    raise
            else:
                self.offloads = offloads
                break
        if wanted and not self.offloads:
            raise OSError(errno.ENOTSUP, f"{self.name} has no offload: ask for none (offload=None or False)")

    def _readInformation(self, packet: Packet) -> None:
        """
        Take note of what the kernel says before a packet.
        """
        packet.partial = bool(_FLAGS.unpack_from(packet.data)[0] & TUN_PKT_STRIP)
        # On a tap the frame itself says what it carries.
        packet.etherType = int.from_bytes(packet.data[2:4], "big") * (self.mode == TUN)

    def _unpack(self, header: bytes) -> Offload | None:
        """
        Unpack a header of offload, for packets with the device's headers in front.
        """
        unpacked = Offload.unpack(header)
        saysNothing = not unpacked.isVouched and not unpacked.isSuperpacket
        offload = None if saysNothing else shifted(unpacked, self._before)
        known = cast("dict[bytes, Offload | None]", self._offloadOf)
        if len(known) >= MAX_HEADERS:
            known.clear()
        known[header] = offload
        return offload

    def _informationFor(self, buffers: Sequence[bytes]) -> bytes:
        """
        The protocol information before a packet for the kernel.
        """
        data = b"".join(buffers)
        if self.mode == TAP:
            return _FLAGS.pack(0) + data[12:14].ljust(2, b"\0")
        version = data[0] >> 4 if data else 0
        if version not in (4, 6):
            # Without protocol information the kernel would say so; with it, it believes what it is told.
            raise OSError(errno.EINVAL, "that is no IP packet")
        return _FLAGS.pack(0) + (b"\x08\x00" if version == 4 else b"\x86\xdd")


def _cut(packet: Packet, maxPacketSize: int) -> None:
    packet.partial = True
    packet.end = packet.start + maxPacketSize
    packet.data = packet.data[: packet.end]
