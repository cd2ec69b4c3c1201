"""
The packets of a device, read and written with the headers that the kernel puts before them: protocol information
(C{struct tun_pi}) and the offload header (C{struct virtio_net_hdr}). The offload header says which work on the packet
is still to be done.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any

from txtuntap.device import LONGEST_PACKET, TAP, TUN
from txtuntap.device.linux.descriptor import TunDescriptor
from txtuntap.device.linux.ioctl import TUN_PKT_STRIP, TUNSETOFFLOAD, TUNSETVNETHDRSZ
from txtuntap.interfaces import Reader
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.mistakes import checkBuffers
from txtuntap.packet import Packet
from txtuntap.wire.offload import CSUM, HEADER_LENGTH, TSO4, TSO6, TSO_ECN, USO, Offload, shifted

#: Protocol information (C{struct tun_pi}): two octets of flags in native byte order, and the EtherType in network byte
#: order.
_FLAGS = struct.Struct("=H")
_INFORMATION_LENGTH = 4

#: All offload features that this package uses, and those among them that kernels before 6.2 have.
_OFFLOADS = CSUM | TSO4 | TSO6 | TSO_ECN | USO, CSUM | TSO4 | TSO6 | TSO_ECN

#: A number of octets that exceeds every packet. A superpacket has at most 64 KiB after its link header. Reading with a
#: large buffer takes no longer than with a small one.
_MAX_READ = 65600

#: The error numbers with which a kernel or a sandbox says that it does not support a call or its argument.
_UNSUPPORTED = {errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP}

_NO_OFFLOAD = bytes(HEADER_LENGTH)

#: The largest number of unpacked offload headers in the cache. A flow has two or three different ones.
MAX_HEADERS = 256

#: The largest number of buffers of a superpacket that are written with C{writev} instead of being joined first.
_MAX_WRITEV_BUFFERS = 8


class OffloadHeaders(dict[bytes, "Offload | None"]):
    """
    A cache of unpacked offload headers, by the octets of the header. An unknown header is unpacked at the look-up.
    """

    def __init__(self, headersLength: int, receivesFinished: bool = False) -> None:
        """
        @param headersLength: the number of octets in the device's headers before each packet. The offsets in the
            unpacked headers count from the first of them.
        @param receivesFinished: whether the kernel finishes all packets before they are received.
        """
        super().__init__()
        self._headersLength = headersLength
        self._receivesFinished = receivesFinished

    def __missing__(self, header: bytes) -> Offload | None:
        if len(header) < HEADER_LENGTH:
            return None
        unpacked = Offload.unpack(header)
        # A verified checksum is recorded only for a protocol that may also get packets whose checksum is not verified.
        isEmpty = not unpacked.isUnfinished and (self._receivesFinished or not unpacked.isVouched)
        offload = None if isEmpty else shifted(unpacked, self._headersLength)
        if len(self) >= MAX_HEADERS:
            self.clear()
        self[header] = offload
        return offload


#: The cache of a device without offload headers.
_NO_HEADERS: dict[bytes, Offload | None] = {b"": None}


class PacketDescriptor(TunDescriptor):
    """
    A descriptor of C{/dev/net/tun} from which packets are read, and to which packets are written.

    @ivar mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
    @ivar offloads: the work on packets that each side may leave to the other: C{CSUM}, C{TSO4} and so on of
        L{wire.offload<txtuntap.wire.offload>}.
    """

    def __init__(self, name: str, mode: int, protocolInformation: bool = False, system: Any = None) -> None:
        """
        @param name: the interface's name.
        @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
        @param protocolInformation: whether four octets of flags and EtherType precede each packet.
        @param system: a replacement for the operating system's calls; L{None}: make the real calls.
        """
        super().__init__(name, system)
        self.mode = mode
        self.offloads = 0
        self._information = protocolInformation
        self._read = self._system.read
        self._write = self._system.write
        # A replacement for the operating system need not have this call.
        self._writev = getattr(self._system, "writev", None)
        # The number of octets in the device's headers before each packet.
        self._headersLength = _INFORMATION_LENGTH * protocolInformation
        self._hasOffloadHeader = False
        self._offloadOf: dict[bytes, Offload | None] = _NO_HEADERS

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Receive the next packet: see L{IDevice.receive<txtuntap.interfaces.IDevice.receive>}.
        """
        try:
            data = self._read(self._fileno, self._most(maxPacketSize))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as e:
            raise self._explained(e) from e
        return self._packet(data, maxPacketSize) if len(data) >= (self._headersLength or 1) else None

    def reader(self, maxPacketSize: int) -> Reader | None:
        """
        Return what a port needs to read packets itself: see L{IDevice.reader<txtuntap.interfaces.IDevice.reader>}.
        """
        if self._information:
            return None

        def packet(data: bytes) -> Packet | None:
            return self._packet(data, maxPacketSize) if len(data) >= (self._headersLength or 1) else None

        return Reader(self._read, self._fileno, self._most(maxPacketSize), self._headersLength, self._offloadOf, packet)

    def _most(self, maxPacketSize: int) -> int:
        """
        Return the number of octets to read at once.
        """
        # The kernel cuts a longer packet without an error. Reading one octet more shows whether it was cut.
        before = self._headersLength
        return before + (max(maxPacketSize + 1, _MAX_READ) if self._hasOffloadHeader else maxPacketSize + 1)

    def _packet(self, data: bytes, maxPacketSize: int) -> Packet:
        """
        Make a packet of the octets that were read.
        """
        before = self._headersLength
        packet = Packet(data, before)
        if self._information:
            self._readInformation(packet)
        packet.offload = self._offloadOf[data[_INFORMATION_LENGTH * self._information : before]]
        if packet.offload is None and packet.end - before > maxPacketSize:
            packet.partial = True
            packet.end = before + maxPacketSize
            packet.data = data[: packet.end]
        return packet

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet: see L{IDevice.send<txtuntap.interfaces.IDevice.send>}.
        """
        before = self._headersLength
        if type(buffers) is not list:
            checkBuffers(buffers)
        if before:
            header = _NO_OFFLOAD if offload is None else offload.packed
            if self._information:
                information = self._informationFor(buffers)
                header = information + header if self._hasOffloadHeader else information
            buffers = [header, *buffers]
            if offload is not None and offload.isSuperpacket and len(buffers) <= _MAX_WRITEV_BUFFERS and self._writev:
                # Writing the buffers takes a third less time than joining them, except for small packets and many
                # buffers.
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
        The fill level of the cache: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        # The cache is a plain dictionary, because a lookup for each packet takes longer in a Table.
        known = len(self._offloadOf) if self._hasOffloadHeader else 0
        return [TableState("device headers", known, MAX_HEADERS, Policy.FORGET_ALL.value)]

    def _explained(self, error: OSError) -> OSError:
        """
        Replace an error of a read or a write by one that says what to do, if the device is not open.
        """
        return error if self._fileno >= 0 else OSError(errno.EBADF, f"{self.name} is not open: call open() first")

    def _negotiateOffload(self, fileno: int, hasHeaders: bool, wanted: bool | None) -> None:
        """
        Enable as much offload as the device supports.

        @param fileno: the descriptor.
        @param hasHeaders: whether packets have offload headers (C{IFF_VNET_HDR}).
        @param wanted: L{True}: offload is required; L{None}: offload is used if there is any; L{False}: none is used.
            See L{IDevice.open<txtuntap.interfaces.IDevice.open>}.

        @raise OSError: offload is required, and the device has none (C{ENOTSUP}).
        """
        ioctl = self._system.ioctl
        self._headersLength = _INFORMATION_LENGTH * self._information
        self._hasOffloadHeader = hasHeaders
        self.offloads = 0
        if hasHeaders:
            try:
                ioctl(fileno, TUNSETVNETHDRSZ, struct.pack("i", HEADER_LENGTH))
            except OSError as e:
                # A kernel that cannot change the header's length uses this length.
                if e.errno not in _UNSUPPORTED:
                    raise
            self._headersLength += HEADER_LENGTH
        self._offloadOf = OffloadHeaders(self._headersLength) if hasHeaders else _NO_HEADERS
        known = _OFFLOADS if hasHeaders and wanted is not False else ()
        for offloads in *known, 0:
            try:
                ioctl(fileno, TUNSETOFFLOAD, offloads)
            except OSError as e:
                # A kernel or a sandbox without this call has no offload.
                if e.errno not in _UNSUPPORTED:
                    raise
            else:
                self.offloads = offloads
                break
        if wanted and not self.offloads:
            raise OSError(
                errno.ENOTSUP, f"{self.name} has no offload: give offload=False, or None to use what there is"
            )

    def receiveFinished(self) -> None:
        """
        Have the kernel finish all packets before they are received: see C{IDevice.receiveFinished}.
        """
        if self.offloads:
            self._system.ioctl(self._fileno, TUNSETOFFLOAD, 0)
            self._offloadOf = OffloadHeaders(self._headersLength, True)

    def _readInformation(self, packet: Packet) -> None:
        """
        Read the protocol information into the attributes of a packet.
        """
        packet.partial = bool(_FLAGS.unpack_from(packet.data)[0] & TUN_PKT_STRIP)
        # The EtherType is used on a tun only, because a tap's frame has its own.
        packet.etherType = int.from_bytes(packet.data[2:4], "big") * (self.mode == TUN)

    def _informationFor(self, buffers: Sequence[bytes]) -> bytes:
        """
        Make the protocol information of a packet to send.
        """
        data = b"".join(buffers)
        if self.mode == TAP:
            return _FLAGS.pack(0) + data[12:14].ljust(2, b"\0")
        version = data[0] >> 4 if data else 0
        if version not in (4, 6):
            # The IP version is checked here, because with protocol information the kernel does not check it.
            raise OSError(errno.EINVAL, "the data is not an IP packet")
        return _FLAGS.pack(0) + (b"\x08\x00" if version == 4 else b"\x86\xdd")
