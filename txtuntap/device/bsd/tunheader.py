"""
The offload header of OpenBSD 7.7 and later: a C{struct tun_hdr} before each packet (C{net/if_tun.h}). Not run on a real
OpenBSD yet::

    +---------+---------+---------+---------+
    |       Flags       |        Pad        |
    +---------+---------+---------+---------+
    |     VLAN Tag      |        MSS        |
    +---------+---------+---------+---------+   in the machine's byte order

The header says which checksums are open, but not where they are. On a tun, the address family follows it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from txtuntap.device import TAP
from txtuntap.device.packets import Prefix
from txtuntap.device.unix.family import AddressFamily
from txtuntap.layer.drops import FAULT_DROPS
from txtuntap.packet import Packet
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.fault import Fault
from txtuntap.wire.offload import NEEDS_CHECKSUM, NONE, TCP4, TCP6, Offload, networkStart

_HEADER = struct.Struct("=HHHH")

TUN_H_TCP_MSS = 0x20
TUN_H_IPV4_CSUM, TUN_H_TCP_CSUM, TUN_H_UDP_CSUM, TUN_H_ICMP_CSUM = 0x100, 0x200, 0x400, 0x800

_PRIORITY = 0x7
_OPEN = TUN_H_TCP_CSUM | TUN_H_UDP_CSUM | TUN_H_ICMP_CSUM
_KNOWN = _PRIORITY | TUN_H_TCP_MSS | TUN_H_IPV4_CSUM | _OPEN

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58

#: The flag of an open checksum by the position of the field in its header, and the other way round, with the IP
#: protocol numbers that have the checksum.
_FLAGS = {16: TUN_H_TCP_CSUM, 6: TUN_H_UDP_CSUM, 2: TUN_H_ICMP_CSUM}
_FIELDS = {TUN_H_TCP_CSUM: (16, (_TCP,)), TUN_H_UDP_CSUM: (6, (_UDP,)), TUN_H_ICMP_CSUM: (2, (_ICMP, _ICMP6))}

_UNKNOWN = FAULT_DROPS[Fault.UNKNOWN_OFFLOAD].counter
_WRONG = FAULT_DROPS[Fault.OFFLOAD].counter


class TunHeader(Prefix):
    """
    The offload header before each packet, and on a tun the address family behind it.
    """

    OFFLOAD = True

    def __init__(self, mode: int, inet6: int) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        @param inet6: the platform's number of C{AF_INET6}.
        """
        self._family = None if mode == TAP else AddressFamily(inet6)
        self.LENGTH = _HEADER.size + (0 if self._family is None else self._family.LENGTH)

    def pack(self, buffers: Sequence[bytes], offload: Offload | None = None) -> bytes:
        """
        Make the headers of a packet to send: see L{Prefix.pack}.
        """
        flags = size = 0
        if offload is not None and offload.isOpen:
            flags = _FLAGS.get(offload.checksumOffset, 0)
        if offload is not None and ((offload.isOpen and not flags) or offload.type not in (NONE, TCP4, TCP6)):
            # The port finishes the packet and sends it again.
            raise OSError(errno.EINVAL, "OpenBSD has no header for this offload")
        if offload is not None and offload.isSuperpacket:
            flags, size = flags | TUN_H_TCP_MSS, offload.size
        header = _HEADER.pack(flags, 0, 0, size)
        return header if self._family is None else header + self._family.pack(buffers)

    def read(self, packet: Packet) -> str | None:
        """
        Read the headers: see L{Prefix.read}.
        """
        flags, _, _, size = _HEADER.unpack_from(packet.data)
        if self._family is not None:
            wrong = self._family.read(packet)
            if wrong is not None:
                return wrong
        if flags & ~_KNOWN:
            return _UNKNOWN
        if not flags & ~_PRIORITY:
            return None
        network = networkStart(packet.data, packet.start) if self._family is None else packet.start
        return self._readFlags(packet, network, flags, size)

    def _readFlags(self, packet: Packet, network: int, flags: int, size: int) -> str | None:
        """
        Read the flags into the offload record of a packet. The open fields are given the values that the record
        prescribes, because OpenBSD sets them in another manner for superpackets.
        """
        data = packet.data
        version = data[network] >> 4 if network < len(data) else 0
        if version == 4 and len(data) >= network + ipv4.HEADER_LENGTH:
            protocol: int | None = data[network + 9]
            start = network + ((data[network] & 0x0F) << 2)
            addresses = data[network + 12 : network + 20]
        elif version == 6 and len(data) >= network + ipv6.HEADER_LENGTH:
            upper = ipv6.upperLayer(data, network)
            protocol, start = upper.protocol, upper.start
            addresses = data[network + 8 : network + 40]
        else:
            return _WRONG
        if flags & TUN_H_IPV4_CSUM:
            if version != 4 or not network + ipv4.HEADER_LENGTH <= start <= len(data):
                return _WRONG
            data = _replaced(data, network + 10, 0)
            data = _replaced(data, network + 10, checksum(data[network:start]))
        isOpen = flags & _OPEN
        if isOpen:
            field, protocols = _FIELDS.get(isOpen, (0, ()))
            if protocol not in protocols or start + field + 2 > len(data):
                return _WRONG
            pseudo = 0 if protocol == _ICMP else onesSum(addresses) + protocol + len(data) - start
            data = _replaced(data, start + field, pseudo % 0xFFFF)
        kind = NONE
        if flags & TUN_H_TCP_MSS:
            if isOpen != TUN_H_TCP_CSUM or not size:
                return _WRONG
            kind = TCP4 if version == 4 else TCP6
        packet.data = data
        if isOpen:
            packet.offload = Offload(NEEDS_CHECKSUM, kind, 0, size if kind else 0, start, field)
        return None


def _replaced(data: bytes, at: int, value: int) -> bytes:
    """
    Return the octets with another 16-bit number at a position.
    """
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]
