"""
A packet socket (C{packet(7)}): the packets of an interface, seen from outside of the program that holds it.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from contextlib import suppress

import attrs

from txtuntap.device import TAP, printable
from txtuntap.device.linux.namespace import Namespace, inNamespace
from txtuntap.wire import pcapng
from txtuntap.wire.offload import HEADER_LENGTH, Offload, fault, finish, networkStart, shifted

_ETH_P_ALL = 0x0003

#: C{linux/if_packet.h}: the options; the packet's tag is told, and so is its type.
_SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_VNET_HDR = 6, 8, 15
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")

#: C{asm-generic/socket.h}; the time of each packet in nanoseconds, C{struct timespec}.
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")

#: Octets that wait in the kernel, where we may say so.
_BUFFER = 16 << 20

#: A superpacket, and the header before it.
_MOST = (1 << 16) + 512

_VLAN = 0x8100


@attrs.frozen
class SeenPacket:
    """
    One packet, as it is on the wire.

    @ivar time: in nanoseconds since 1970.
    @ivar direction: C{pcapng.INBOUND}: to the program that holds the interface; C{pcapng.OUTBOUND}: from it.
    """

    data: bytes
    time: int
    direction: int


class PacketSocket:
    """
    Hears all packets of a TUN or TAP interface. Takes C{CAP_NET_RAW}.
    """

    def __init__(self, name: str, mode: int, namespace: Namespace | None = None) -> None:
        """
        @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
        @param namespace: the network namespace that it is in; L{None}: this one.

        @raise ValueError: the name is not UTF-8.
        @raise OSError: it is not permitted (C{EPERM}), or there is none of this name (C{ENODEV}).
        """
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{printable(name)} cannot be captured from outside: the packet sockets of Python take no name that is"
                " not UTF-8. Rename it, or ask the service that holds it"
            ) from None
        self._isTap = mode == TAP
        # Packets that the kernel cannot describe, since this was last asked.
        self._refused = 0
        self._buffer = bytearray(_MOST)
        self._view = memoryview(self._buffer)
        # Bound to no protocol at first: what it hears before it is told of the interface would be of all of them.
        self._socket = inNamespace(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        try:
            # As much as anybody may have; and more than that.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            with suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            # The kernel tells what is left open in a packet, and the tags that it takes off. A sandbox that stands in
            # for a kernel may know neither option: then packets are as they come.
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
        Set an option of packet sockets, if there is one.
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
        To wait on.
        """
        return self._socket.fileno()

    def close(self) -> None:
        """
        Hear no more.
        """
        self._socket.close()

    def isGone(self) -> bool:
        """
        Whether the interface is.
        """
        try:
            return not self._socket.getsockname()[0]
        except OSError:
            return True

    def dropped(self) -> int:
        """
        How many packets there was no room for, or that the kernel cannot describe, since this was last asked.
        """
        packed = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        refused, self._refused = self._refused, 0
        return int(struct.unpack("=II", packed)[1]) + refused

    def receive(self) -> list[SeenPacket] | None:
        """
        Read the next packet that has passed, or the many that one stands for; none if the kernel cannot describe it.

        @return: L{None} if nothing is waiting.

        @raise OSError: C{ENETDOWN}: the interface was set down, or is gone.
        """
        try:
            length, ancillary, _, address = self._socket.recvmsg_into([self._buffer], 256)
        except BlockingIOError:
            return None
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            # The header has no word for what is open in it: another program may write an UDP fragmentation offload.
            self._refused += 1
            return []
        start = self._headerLength
        offload = Offload.unpack(self._view[:start]) if start else Offload()  # type: ignore[arg-type]
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
        # The program receives the packets that the kernel sends.
        direction = pcapng.INBOUND if address[2] == socket.PACKET_OUTGOING else pcapng.OUTBOUND  # type: ignore[attr-defined,unused-ignore]
        at = at or time.time_ns()
        network = networkStart(packet) if self._isTap else 0
        packets = [packet] if fault(packet, offload, network) is not None else finish(packet, offload, network)
        return [SeenPacket(each, at, direction) for each in packets]
