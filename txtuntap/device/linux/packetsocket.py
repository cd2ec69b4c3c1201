"""
A packet socket (C{packet(7)}), which captures the packets of an interface that another program has open.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from contextlib import suppress

import attrs

from txtuntap.device import TAP, printable
from txtuntap.device.linux.namespace import Namespace, inNamespace
from txtuntap.wire import pcapng
from txtuntap.wire.offload import HEADER_LENGTH, Offload, fault, finish, networkStart, shifted

if sys.platform == "win32":
    raise ImportError("this module is for Linux")

#: C{linux/socket.h}. Python has this family on Linux only, and this module is checked for other platforms, too.
_AF_PACKET = 17

_ETH_P_ALL = 0x0003

#: C{linux/if_packet.h}: socket options, status flags (the packet had a VLAN tag; the tag's EtherType is valid), and
#: C{struct tpacket_auxdata}.
_SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_VNET_HDR = 6, 8, 15
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")

#: C{asm-generic/socket.h}. The second option reports the time of each packet as C{struct timespec}.
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")

#: The size of the socket's receive buffer in octets, if the process may set it.
_BUFFER = 16 << 20

#: The largest number of octets in a superpacket and the header before it.
_MAX_READ = (1 << 16) + 512

_VLAN = 0x8100


@attrs.frozen
class SeenPacket:
    """
    One captured packet with its VLAN tag and complete checksums, as on a wire.

    @ivar data: the octets of the packet, or of the frame on a tap.
    @ivar time: the time in nanoseconds since 1970.
    @ivar direction: C{pcapng.INBOUND}: to the program that has the interface open; C{pcapng.OUTBOUND}: from it.
    """

    data: bytes
    time: int
    direction: int


class PacketSocket:
    """
    A socket that receives a copy of each packet of a TUN or TAP interface. It needs C{CAP_NET_RAW}.
    """

    def __init__(self, name: str, mode: int, namespace: Namespace | None = None) -> None:
        """
        @param name: the interface's name.
        @param mode: C{TUN} or C{TAP}.
        @param namespace: the network namespace of the interface; C{None}: the namespace of this process.

        @raise ValueError: the name is not UTF-8.
        @raise OSError: the process has no privilege (C{EPERM}), or there is no such interface (C{ENODEV}).
        """
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{printable(name)} cannot be captured from another process: Python's packet sockets accept only names"
                " in UTF-8. Rename the interface, or capture from the service that has it open"
            ) from None
        self._isTap = mode == TAP
        # The number of packets since the last call of dropped() whose offload the kernel cannot describe.
        self._refused = 0
        self._buffer = bytearray(_MAX_READ)
        self._view = memoryview(self._buffer)
        # The socket begins without a protocol. With one, it would receive the packets of all interfaces until it is
        # bound.
        self._socket = inNamespace(namespace, lambda: socket.socket(_AF_PACKET, socket.SOCK_RAW, 0))
        try:
            # Any process may set the buffer up to the system's limit, and a privileged one beyond it.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            with suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            # With these options, the kernel reports the offload of a packet, and the VLAN tag that it has removed. A
            # sandbox may lack them. Packets are returned unchanged then.
            self._headerLength = HEADER_LENGTH if self._set(_PACKET_VNET_HDR) else 0
            self._set(_PACKET_AUXDATA)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setblocking(False)
            self._socket.bind((name, _ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise

    def _set(self, option: int) -> bool:
        """
        Enable an option of packet sockets.

        @return: whether the kernel has this option.
        """
        try:
            self._socket.setsockopt(_SOL_PACKET, option, 1)
        except OSError as e:
            if e.errno != errno.ENOPROTOOPT:
                raise
            return False
        return True

    def fileno(self) -> int:
        """
        The number of the socket's descriptor.
        """
        return self._socket.fileno()

    def close(self) -> None:
        """
        Close the socket and stop capturing.
        """
        self._socket.close()

    def isGone(self) -> bool:
        """
        Whether the interface was deleted.
        """
        try:
            return not self._socket.getsockname()[0]
        except OSError:
            return True

    def dropped(self) -> int:
        """
        Count the packets that were not captured since the last call, because the buffer was full or because the kernel
        cannot describe their offload.
        """
        packed = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        refused, self._refused = self._refused, 0
        return int(struct.unpack("=II", packed)[1]) + refused

    def receive(self) -> list[SeenPacket] | None:
        """
        Read the next captured packet, and split it if it is a superpacket.

        @return: the packets; an empty list: the kernel cannot describe the packet's offload; C{None}: no packet waits.

        @raise OSError: the interface was set down or deleted (C{ENETDOWN}).
        """
        try:
            length, ancillary, _, address = self._socket.recvmsg_into([self._buffer], 256)
        except BlockingIOError:
            return None
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            # The offload header cannot express every offload, such as the UDP fragmentation offload that another
            # program may have written.
            self._refused += 1
            return []
        start = self._headerLength
        offload = Offload.unpack(bytes(self._view[:start])) if start else Offload()
        packet = bytes(self._view[start:length])
        at = 0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                at = seconds * 1_000_000_000 + nanoseconds
            elif level == _SOL_PACKET and kind == _PACKET_AUXDATA and len(data) >= _AUXDATA.size:
                status, _, _, _, _, tag, etherType = _AUXDATA.unpack_from(data)
                if self._isTap and status & _VLAN_VALID:
                    etherType = etherType if status & _VLAN_TPID_VALID else _VLAN
                    packet = packet[:12] + struct.pack("!HH", etherType, tag) + packet[12:]
                    offload = shifted(offload, 4)
        # A packet that the kernel sends is received by the program.
        direction = pcapng.INBOUND if address[2] == socket.PACKET_OUTGOING else pcapng.OUTBOUND  # type: ignore[attr-defined,unused-ignore]
        at = at or time.time_ns()
        network = networkStart(packet) if self._isTap else 0
        packets = [packet] if fault(packet, offload, network) is not None else finish(packet, offload, network)
        return [SeenPacket(each, at, direction) for each in packets]
