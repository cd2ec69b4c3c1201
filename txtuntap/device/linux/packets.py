"""
The headers of a device that are of Linux's own, and the negotiation of its offload. Protocol information (C{struct
tun_pi}) may precede each packet.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any

from txtuntap.device import TAP, TUN
from txtuntap.device.linux.descriptor import TunDescriptor
from txtuntap.device.linux.ioctl import TUN_PKT_STRIP, TUNSETOFFLOAD, TUNSETVNETHDRSZ
from txtuntap.device.packets import Prefix
from txtuntap.packet import Packet
from txtuntap.wire.offload import CSUM, HEADER_LENGTH, TSO4, TSO6, TSO_ECN, USO, Offload

#: Protocol information (C{struct tun_pi}): two octets of flags in native byte order, and the EtherType in network byte
#: order.
_FLAGS = struct.Struct("=H")

#: All offload features that this package uses, and those among them that kernels before 6.2 have.
_OFFLOADS = CSUM | TSO4 | TSO6 | TSO_ECN | USO, CSUM | TSO4 | TSO6 | TSO_ECN

#: The error numbers with which a kernel or a sandbox says that it does not support a call or its argument.
_UNSUPPORTED = {errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP}


class ProtocolInformation(Prefix):
    """
    The four octets of protocol information before each packet: flags and EtherType.
    """

    def __init__(self, mode: int) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        """
        self._mode = mode

    def read(self, packet: Packet) -> str | None:
        """
        Read the protocol information: see L{Prefix.read}.
        """
        packet.partial = bool(_FLAGS.unpack_from(packet.data)[0] & TUN_PKT_STRIP)
        # The EtherType is used on a tun only, because a tap's frame has its own.
        packet.readEtherType = int.from_bytes(packet.data[2:4], "big") * (self._mode == TUN)
        return None

    def pack(self, buffers: Sequence[bytes], offload: Offload | None = None) -> bytes:
        """
        Make the protocol information of a packet to send: see L{Prefix.pack}.
        """
        data = b"".join(buffers)
        if self._mode == TAP:
            return _FLAGS.pack(0) + data[12:14].ljust(2, b"\0")
        version = data[0] >> 4 if data else 0
        if version not in (4, 6):
            # The IP version is checked here, because with protocol information the kernel does not check it.
            raise OSError(errno.EINVAL, "the data is not an IP packet")
        return _FLAGS.pack(0) + (b"\x08\x00" if version == 4 else b"\x86\xdd")


class TunPackets(TunDescriptor):
    """
    A descriptor of C{/dev/net/tun} from which packets are read, and to which packets are written, with their headers.
    """

    def __init__(self, name: str, mode: int, protocolInformation: bool = False, system: Any = None) -> None:
        """
        @param name: the interface's name.
        @param mode: C{TUN} or C{TAP}.
        @param protocolInformation: whether four octets of flags and EtherType precede each packet.
        @param system: a replacement for the operating system's calls; C{None}: make the real calls.
        """
        super().__init__(name, mode, ProtocolInformation(mode) if protocolInformation else None, system)

    def _negotiateOffload(self, fileno: int, hasHeaders: bool, wanted: bool | None) -> None:
        """
        Enable as much offload as the device supports.

        @param fileno: the descriptor.
        @param hasHeaders: whether packets have offload headers (C{IFF_VNET_HDR}).
        @param wanted: C{True}: offload is required; C{None}: offload is used if there is any; C{False}: none is used.
            See L{IDevice.open<txtuntap.interfaces.IDevice.open>}.

        @raise OSError: offload is required, and the device has none (C{ENOTSUP}).
        """
        ioctl = self._system.ioctl
        self._setHeaders(hasHeaders)
        self.offloads = 0
        if hasHeaders:
            try:
                ioctl(fileno, TUNSETVNETHDRSZ, struct.pack("i", HEADER_LENGTH))
            except OSError as e:
                # A kernel that cannot change the header's length uses this length.
                if e.errno not in _UNSUPPORTED:
                    raise
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
        self._checkOffload(wanted)

    def receiveFinished(self) -> None:
        """
        Have the kernel finish all packets before they are received: see C{IDevice.receiveFinished}.
        """
        if self.offloads:
            self._system.ioctl(self._fileno, TUNSETOFFLOAD, 0)
            self._setHeaders(True, receivesFinished=True)
