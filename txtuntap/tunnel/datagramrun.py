"""
Runs: datagrams of one flow that the interface delivers one after another, and that become one superpacket. The tunnel's
peer then writes all of them to its interface in one system call.
"""

from __future__ import annotations

import struct
from typing import Any

from txtuntap.packet import Packet
from txtuntap.wire import ethernet, ipv4, ipv6, udp
from txtuntap.wire.joining import MOST, isDatagram, record, resized
from txtuntap.wire.offload import CSUM, MAX_DATAGRAMS, NEEDS_CHECKSUM, NONE, UDP, USO, Offload

#: The offload features that a receiver of UDP superpackets has.
NEEDED = USO | CSUM

#: The headers of a datagram, by the length of the link header and that of all headers: the octets before the
#: identification, that field, the octets before the header checksum, that field, and all others. Over IPv6, there are
#: other fields at the same positions.
_LAYOUTS = {
    (link, link + length): struct.Struct(f"!{link + 4}sH4sH{length - 12}s")
    for link in (0, ethernet.HEADER_LENGTH)
    for length in (ipv4.HEADER_LENGTH + udp.HEADER_LENGTH, ipv6.HEADER_LENGTH + udp.HEADER_LENGTH)
}

_DONT_FRAGMENT = 0x40


class DatagramRun:
    """
    Datagrams of one flow, all of one size. The last one may be shorter. Their checksums are open, and so is that of the
    superpacket: only the sum of the pseudo-header is computed.

    The identifications of datagrams that may be fragmented have to follow one another, because those of the
    superpacket's segments do. Others need not (RFC 6864 section 4.1).
    """

    __slots__ = (
        "_at",
        "_expected",
        "_isCounted",
        "_isIPv4",
        "_left",
        "_length",
        "_link",
        "_offload",
        "_payloadAt",
        "_payloads",
        "_unpack",
        "first",
    )

    def __init__(self, packet: Packet, offload: Offload, link: int) -> None:
        """
        @param packet: the first packet. It need not be a valid datagram, but then no other is added.
        @param offload: its record, for which L{mayBegin} is true.
        @param link: the length of the link header, which is 0 or that of Ethernet without VLAN tags.
        """
        self.first = packet
        self._offload = offload
        self._link = link
        self._at = packet.start
        self._payloadAt = offload.checksumStart + udp.HEADER_LENGTH
        self._length = packet.end
        # The number of datagrams that there is still room for; -1 until a second packet arrives. Until then, nothing is
        # read from the first one, because it may stay alone.
        self._left = -1
        self._payloads: list[bytes] = []

    def add(self, packet: Packet) -> bool:
        """
        Add a packet, if it is another datagram of this run.

        @return: whether it was added.
        """
        at = self._at
        offload = packet.offload
        if (offload is not self._offload and offload != self._offload) or packet.start != at or packet.partial:
            return False
        if self._left <= 0 and (not self._left or not self._begin()):
            return False
        end = packet.end
        isLast = end != self._length
        expected = self._shorter(end) if isLast else self._expected
        if expected is None:
            return False
        data = packet.data
        found = self._unpack(data, at)
        if found != expected:
            # Over IPv4, the identification differs, and the header checksum differs by as much.
            before, ident, hops, checksum, after = expected
            before2, ident2, hops2, checksum2, after2 = found
            if (
                after2 != after
                or hops2 != hops
                or before2 != before
                or not self._isIPv4
                or (ident2 + checksum2 - ident - checksum) % 0xFFFF
                or (self._isCounted and ident2 != (ident + len(self._payloads)) & 0xFFFF)
            ):
                return False
        elif self._isCounted:
            return False
        self._payloads.append(data[self._payloadAt : end])
        self._left = 0 if isLast else self._left - 1
        return True

    def _begin(self) -> bool:
        """
        Read the headers of the first datagram.

        @return: whether they are valid, and another datagram has room beside it.
        """
        self._left = 0
        first, link = self.first, self._link
        start = self._payloadAt - self._at
        layout = _LAYOUTS.get((link, start))
        size = self._length - self._payloadAt
        if layout is None or size <= 0:
            return False
        header = self._header()
        if not isDatagram(header, link, size):
            return False
        self._unpack = layout.unpack_from
        self._expected = self._unpack(header)
        self._isIPv4 = header[link] >> 4 == 4
        self._isCounted = self._isIPv4 and not header[link + 6] & _DONT_FRAGMENT
        self._payloads.append(first.data[self._payloadAt : first.end])
        self._left = min(MAX_DATAGRAMS, (MOST + link - start) // size) - 1
        return self._left > 0

    def _shorter(self, end: int) -> tuple[Any, ...] | None:
        """
        Return the fields of a shorter datagram; C{None} if it has no payload, or is longer.
        """
        if not self._payloadAt < end < self._length:
            return None
        return self._unpack(resized(self._header(), self._link, end - self._length))

    def _header(self) -> bytes:
        return self.first.data[self._at : self._payloadAt]

    def joined(self) -> Packet:
        """
        Return the superpacket; the packet as it was if it stayed alone.
        """
        payloads = self._payloads
        if len(payloads) < 2:
            return self.first
        size = len(payloads[0])
        header = resized(self._header(), self._link, sum(map(len, payloads)) - size)
        packet = Packet(b"".join([header, *payloads]))
        transport = self._offload.checksumStart - self._at
        packet.offload = record(NEEDS_CHECKSUM, UDP, len(header), size, transport, udp.CHECKSUM_OFFSET)
        return packet


def mayBegin(offload: Offload) -> bool:
    """
    Whether the packet with this record may be the first datagram of a L{DatagramRun}.
    """
    return offload.type == NONE and offload.checksumOffset == udp.CHECKSUM_OFFSET and offload.isOpen
