"""
The packets of a device with a descriptor, read and written with the headers that the kernel puts before them. One
header may be the platform's own: L{Prefix}. Another may be the offload header (C{struct virtio_net_hdr}), which says
which work on the packet is still to be done.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from txtuntap.device import LONGEST_PACKET, TAP
from txtuntap.interfaces import Reader
from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import Counters
from txtuntap.mistakes import checkBuffers
from txtuntap.packet import Packet
from txtuntap.wire.offload import HEADER_LENGTH, Offload, shifted

_Device = TypeVar("_Device", bound="PacketDescriptor")

#: A number of octets that exceeds every packet. A superpacket has at most 64 KiB after its link header. Reading with a
#: large buffer takes no longer than with a small one.
_MAX_READ = 65600

_NO_OFFLOAD = bytes(HEADER_LENGTH)

#: The largest number of unpacked offload headers in the cache. A flow has two or three different ones.
MAX_HEADERS = 256

#: The largest number of buffers of a superpacket that are written with C{writev} instead of being joined first.
_MAX_WRITEV_BUFFERS = 8


class Prefix:
    """
    The header that a platform puts before each packet, ahead of an offload header.

    @ivar LENGTH: the number of octets in the header.
    @cvar OFFLOAD: whether the header tells of unfinished packets, so that superpackets are read.
    """

    LENGTH = 4
    OFFLOAD = False

    def pack(self, buffers: Sequence[bytes], offload: Offload | None = None) -> bytes:
        """
        Make the header of a packet to send.

        @param buffers: the pieces of the packet.
        @param offload: the work on the packet that is left to the device. A header without C{OFFLOAD} ignores it.

        @raise OSError: the pieces are not a packet, or the header cannot tell of this offload (C{EINVAL}).
        """
        raise NotImplementedError

    def read(self, packet: Packet) -> str | None:
        """
        Read the header into the attributes of a packet.

        @param packet: a packet with the octets of the header and maybe none behind them.

        @return: the name of the counter of the packet, which is dropped; C{None}: the packet is received.
        """
        raise NotImplementedError


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
NO_HEADERS: dict[bytes, Offload | None] = {b"": None}


class PacketDescriptor:
    """
    A descriptor from which packets are read, and to which packets are written. It need not be open yet.

    @ivar name: the interface's name; once the descriptor is open, the name that the kernel has given.
    @ivar mode: C{TUN} or C{TAP}.
    @ivar offloads: the work on packets that each side may leave to the other: C{CSUM}, C{TSO4} and so on of
        L{wire.offload<txtuntap.wire.offload>}.
    @ivar counters: the number of received packets that are dropped because of their headers, by reason:
        C{inTruncated} (shorter than the headers), and the names of the platform's L{Prefix}.
    """

    def __init__(self, name: str, mode: int, prefix: Prefix | None, system: Any) -> None:
        """
        @param name: the interface's name.
        @param mode: C{TUN} or C{TAP}.
        @param prefix: the header that the platform puts before each packet; C{None}: there is none.
        @param system: the operating system's calls: L{RealSystem<txtuntap.device.unix.system.RealSystem>}, or a
            replacement.
        """
        self.name = name
        self.mode = mode
        self.offloads = 0
        self.counters: dict[str, int] = Counters()
        self._system: Any = system
        self._fileno = -1
        self._prefix = prefix
        self._read = self._system.read
        self._write = self._system.write
        # A replacement for the operating system need not have this call.
        self._writev = getattr(self._system, "writev", None)
        self._setHeaders(False)

    def fileno(self) -> int:
        """
        The number of the descriptor; -1 if the device is closed.
        """
        return self._fileno

    def close(self) -> None:
        """
        Detach from the interface: see L{IDevice.close<txtuntap.interfaces.IDevice.close>}.
        """
        fileno, self._fileno = self._fileno, -1
        if fileno >= 0:
            self._system.close(fileno)

    def __enter__(self: _Device) -> _Device:
        if self._fileno < 0:
            self.open()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "tap" if self.mode == TAP else "tun"
        state = "open" if self._fileno >= 0 else "closed"
        return f"<{type(self).__name__} {kind} {self.name} {state}>"

    def open(self, offload: bool | None = False) -> None:
        """
        Attach to the interface: see L{IDevice.open<txtuntap.interfaces.IDevice.open>}.
        """
        raise NotImplementedError

    def readable(self, callback: Callable[[], None] | None) -> None:
        """
        Raise C{OSError}, because this device has a descriptor to wait for.
        """
        raise OSError(errno.ENOTSUP, f"{self.name} takes no callback: wait until its descriptor is readable")

    def countInto(self, counters: dict[str, int]) -> None:
        """
        Count dropped packets in another mapping from now on, which is that of the port.
        """
        self.counters = counters

    def _checkClosed(self) -> None:
        if self._fileno >= 0:
            raise OSError(errno.EBUSY, f"{self.name} is open already")

    def _checkOffload(self, wanted: bool | None, where: str = "") -> None:
        """
        Check that there is offload if it is required.

        @param where: the platform, for the error.

        @raise OSError: there is none (C{ENOTSUP}).
        """
        if wanted and not self.offloads:
            text = f"{self.name} has no offload{where}: give offload=False, or None to use what there is"
            raise OSError(errno.ENOTSUP, text)

    def _setHeaders(self, hasOffloadHeader: bool, receivesFinished: bool = False) -> None:
        """
        Set which headers precede each packet.

        @param hasOffloadHeader: whether one of them is an offload header.
        @param receivesFinished: whether the kernel finishes all packets before they are received.
        """
        # The number of octets in the device's headers before each packet, and in the first of these headers.
        self._prefixLength = 0 if self._prefix is None else self._prefix.LENGTH
        self._headersLength = self._prefixLength + HEADER_LENGTH * hasOffloadHeader
        self._hasOffloadHeader = hasOffloadHeader
        self._readsSuperpackets = hasOffloadHeader or (self._prefix is not None and self._prefix.OFFLOAD)
        self._offloadOf: dict[bytes, Offload | None] = (
            OffloadHeaders(self._headersLength, receivesFinished) if hasOffloadHeader else NO_HEADERS
        )

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
        return self._packet(data, maxPacketSize)

    def reader(self, maxPacketSize: int) -> Reader | None:
        """
        Return what a port needs to read packets itself: see L{IDevice.reader<txtuntap.interfaces.IDevice.reader>}.
        """
        if self._prefix is not None:
            return None

        def packet(data: bytes) -> Packet | None:
            return self._packet(data, maxPacketSize)

        most, before = self._most(maxPacketSize), self._headersLength
        return Reader(maxPacketSize, self._read, self._fileno, most, before, self._offloadOf, packet)

    def _most(self, maxPacketSize: int) -> int:
        """
        Return the number of octets to read at once.
        """
        # The kernel cuts a longer packet without an error. Reading one octet more shows whether it was cut.
        before = self._headersLength
        return before + (max(maxPacketSize + 1, _MAX_READ) if self._readsSuperpackets else maxPacketSize + 1)

    def _packet(self, data: bytes, maxPacketSize: int) -> Packet | None:
        """
        Make a packet of the octets that were read.

        @return: C{None}: the headers say that they are no packet. This is counted.
        """
        before = self._headersLength
        if len(data) < (before or 1):
            self.counters["inTruncated"] += 1
            return None
        packet = Packet(data, before)
        packet.offload = self._offloadOf[data[self._prefixLength : before]]
        if self._prefix is not None:
            wrong = self._prefix.read(packet)
            if wrong is not None:
                self.counters[wrong] += 1
                return None
        if packet.offload is None and packet.end - before > maxPacketSize:
            packet.partial = True
            packet.end = before + maxPacketSize
            packet.data = packet.data[: packet.end]
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
            if self._prefix is not None:
                prefix = self._prefix.pack(buffers, offload)
                header = prefix + header if self._hasOffloadHeader else prefix
            buffers = [header, *buffers]
            if offload is not None and offload.isSuperpacket and len(buffers) <= _MAX_WRITEV_BUFFERS and self._writev:
                # Writing the buffers takes a third less time than joining them, except for small packets and many
                # buffers.
                try:
                    octets: int = self._writev(self._fileno, buffers)
                    return octets - before
                except InterruptedError:
                    pass
                except OSError as e:
                    raise self._explained(e) from e
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
