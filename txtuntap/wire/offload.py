"""
Offload: unfinished packets, which follow a C{struct virtio_net_hdr} (C{linux/virtio_net.h}). Read the comments of that
file first::

    +---------+---------+-------------------+-------------------+
    |  Flags  | GSO Type|   Header Length   |     GSO Size      |
    +---------+---------+-------------------+-------------------+
    |  Checksum Start   |  Checksum Offset  |
    +-------------------+-------------------+   in the machine's byte order

Two kinds of work may be left to the device. The first is the checksum of UDP or TCP: the field of an I{open} checksum
holds only the sum of the pseudo-header. The second is segmentation (generic segmentation offload, GSO). A
I{superpacket} has the headers of one packet and the payload of many. Each of the many has GSO Size octets of payload,
except for the last one, which may have fewer. L{finish} does both kinds of work as the kernel would.

A TCP superpacket can also have a I{closed} checksum, which is that of all its octets, and so tells whether they are
as they were sent. L{txtuntap.wire.joining} makes them.

The header normally comes from a kernel, but the peer of a tunnel can forge one. L{fault} checks it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from txtuntap.wire import ethernet, ipv4, ipv6, udp
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.fault import Fault

HEADER = struct.Struct("=BBHHHH")
HEADER_LENGTH = 10

#: The flags: the checksum is open; the checksum was verified.
NEEDS_CHECKSUM = 1
DATA_VALID = 2

#: The GSO types: no superpacket, TCP over IPv4, TCP over IPv6, UDP.
NONE, TCP4, TCP6, UDP = 0, 1, 4, 5
#: An additional bit of the TCP types: only the first segment has the flag CWR (window reduced, RFC 3168).
ECN = 0x80

#: The offload features that a device can support (C{TUN_F_CSUM} and so on, C{linux/if_tun.h}): checksums; segmentation
#: of TCP over IPv4, of TCP over IPv6, and of TCP with ECN; segmentation of UDP over IPv4 and IPv6, whose two bits are
#: one feature here.
CSUM, TSO4, TSO6, TSO_ECN, USO = 0x01, 0x02, 0x04, 0x08, 0x20 | 0x40

_FEATURES = {NONE: 0, TCP4: TSO4, TCP6: TSO6, UDP: USO}

#: The most datagrams in one superpacket (UDP_MAX_SEGMENTS), and the least payload of a TCP segment in octets
#: (TCP_MIN_GSO_SIZE). Without these bounds, one forged header would make tens of thousands of packets.
MAX_DATAGRAMS = 128
MIN_TCP_SEGMENT = 8

#: The most datagrams in one superpacket that Linux accepts in the versions 6.7 and 6.8.
MAX_DATAGRAMS_BEFORE = 64

_TAGS = ethernet.VLAN.to_bytes(2, "big"), ethernet.SERVICE_VLAN.to_bytes(2, "big")

#: The most VLAN tags before an IP header, as in Linux (C{VLAN_MAX_DEPTH}). A frame of 64 KiB could be full of tags.
MAX_TAGS = 8

#: The bits of which a fragment of an IPv4 datagram has at least one, and a whole datagram none.
_FRAGMENT_BITS = ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK

#: The greatest value of a 16-bit field of the header.
_MOST = 0xFFFF

_ICMP, _ICMP6 = 1, 58
_TCP = 6
_TCP_HEADER_LENGTH = 20

#: The TCP flags FIN and PSH, which only the last segment of a superpacket keeps, and CWR, which only the first keeps.
_LAST_ONLY = 0x01 | 0x08
_FIRST_ONLY = 0x80

#: The position of the checksum in the TCP header; and in the UDP and TCP headers, by IP protocol number.
_TCP_CHECKSUM_OFFSET = 16
_CHECKSUM_OFFSET: dict[int | None, int] = {udp.PROTOCOL: udp.CHECKSUM_OFFSET, _TCP: _TCP_CHECKSUM_OFFSET}


@dataclass(frozen=True, slots=True)
class Offload:
    """
    The offload record of a packet: the work that its sender has left unfinished.

    @ivar flags: the bits C{NEEDS_CHECKSUM} and C{DATA_VALID}.
    @ivar type: C{NONE}, C{TCP4}, C{TCP6} or C{UDP}, with or without the bit C{ECN}.
    @ivar headerLength: the length of all headers together in octets. This is only a hint.
    @ivar size: the number of octets of payload in each segment of a superpacket, except for the last.
    @ivar checksumStart: the position in the packet where the octets begin that the checksum covers. They extend to the
        end of the packet. The kernel ignores it and C{checksumOffset} if the checksum is closed.
    @ivar checksumOffset: the position of the checksum field, counted from C{checksumStart}.
    @ivar isOpen: whether the checksum is open.
    @ivar isVouched: whether the checksum need not be verified, because it is open or was verified.
    @ivar isSuperpacket: whether the packet is a superpacket.
    @ivar isUnfinished: whether the packet is a superpacket, or its checksum is open.
    @ivar least: the least length of a packet in octets that contains the open checksum field.
    @ivar packed: the record as a C{struct virtio_net_hdr}.
    @ivar payload: the position of the payload of a superpacket, if its TCP header has no options.
    @ivar protocol: the IP protocol number of a superpacket; C{None} if the packet is no superpacket, or if no
        superpacket with this record can be cut.
    @ivar features: the offload features (C{CSUM}, C{TSO4} and so on) that a device needs to finish the packet.
    """

    flags: int = 0
    type: int = NONE
    headerLength: int = 0
    size: int = 0
    checksumStart: int = 0
    checksumOffset: int = 0
    isOpen: bool = field(init=False, repr=False, compare=False)
    isVouched: bool = field(init=False, repr=False, compare=False)
    isSuperpacket: bool = field(init=False, repr=False, compare=False)
    isUnfinished: bool = field(init=False, repr=False, compare=False)
    least: int = field(init=False, repr=False, compare=False)
    packed: bytes = field(init=False, repr=False, compare=False)
    features: int = field(init=False, repr=False, compare=False)
    payload: int = field(init=False, repr=False, compare=False)
    protocol: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        isOpen = bool(self.flags & NEEDS_CHECKSUM)
        object.__setattr__(self, "isOpen", isOpen)
        object.__setattr__(self, "isVouched", bool(self.flags & (NEEDS_CHECKSUM | DATA_VALID)))
        object.__setattr__(self, "isSuperpacket", self.type != NONE)
        object.__setattr__(self, "isUnfinished", isOpen or self.type != NONE)
        object.__setattr__(self, "least", self.checksumStart + self.checksumOffset + 2 if isOpen else 0)
        fields = self.flags, self.type, self.headerLength, self.size, self.checksumStart, self.checksumOffset
        object.__setattr__(self, "packed", HEADER.pack(*fields))
        header = udp.HEADER_LENGTH if self.type == UDP else _TCP_HEADER_LENGTH
        object.__setattr__(self, "payload", self.checksumStart + header)
        cut = _FEATURES.get(self.type & ~ECN, 0) | (TSO_ECN if self.type & ECN else 0)
        object.__setattr__(self, "features", (CSUM if isOpen else 0) | cut)
        # UDP has no closed checksum, and no ECN.
        protocol = udp.PROTOCOL if self.type == UDP and isOpen else _TCP if self.type & ~ECN in (TCP4, TCP6) else None
        least = MIN_TCP_SEGMENT if protocol == _TCP else 1
        canBeCut = self.size >= least and self.checksumOffset == _CHECKSUM_OFFSET.get(protocol)
        object.__setattr__(self, "protocol", protocol if canBeCut else None)

    @classmethod
    def unpack(cls, data: bytes) -> Offload:
        """
        Parse a C{struct virtio_net_hdr}.

        @raise ValueError: C{data} is shorter than that.
        """
        if len(data) < HEADER_LENGTH:
            raise ValueError(f"a virtio_net_hdr has {HEADER_LENGTH} octets, not {len(data)}")
        return cls(*HEADER.unpack_from(data))

    def __hash__(self) -> int:
        # The generated method would hash all fields, and records are looked up for each packet that is sent.
        return hash(self.packed)


@lru_cache(1024)
def shifted(offload: Offload, octets: int) -> Offload:
    """
    Return the offload record of the same packet with C{octets} more octets at its beginning.

    A forged position could exceed the range of its field, so it is limited to that range.
    """
    start = min(max(offload.checksumStart + octets, 0), _MOST) if offload.isUnfinished else 0
    length = offload.headerLength and min(max(offload.headerLength + octets, 0), _MOST)
    return replace(offload, checksumStart=start, headerLength=length)


def fault(packet: bytes | memoryview, offload: Offload, network: int = 0) -> Fault | None:
    """
    Check an offload record against its packet. L{finish} must only be called for a packet without a fault.

    @param network: the position of the IP header.

    @return: C{None} if there is no fault; L{Fault.OFFLOAD} if the record contradicts the packet;
        L{Fault.UNKNOWN_OFFLOAD} if its type is unknown.
    """
    kind = offload.type & ~ECN
    if offload.isSuperpacket:
        if _isPlain(packet, offload, network):
            return None
        if kind not in (TCP4, TCP6, UDP) or (kind == UDP and offload.type & ECN):
            return Fault.UNKNOWN_OFFLOAD
    # The checksum must be within the packet and behind the start of the IP header, and no unread VLAN tag may precede.
    if offload.isOpen and (
        offload.checksumStart <= network
        or offload.least > len(packet)
        or (network and packet[max(network - 2, 0) : network] in _TAGS)
    ):
        return Fault.OFFLOAD
    if not offload.isSuperpacket:
        return None
    end = len(packet)
    if (
        offload.protocol is None
        or offload.headerLength > end
        or _transport(packet, network) != (offload.protocol, offload.checksumStart)
    ):
        return Fault.OFFLOAD
    version = packet[network] >> 4
    payload = end - payloadStart(packet, offload)
    if (
        (kind == TCP4 and version != 4)
        or (kind == TCP6 and version != 6)
        or offload.size > payload
        or (kind == UDP and (payload > offload.size * MAX_DATAGRAMS or _udpLength(packet, offload) != payload))
    ):
        return Fault.OFFLOAD
    return None


def keepsFilteredFields(packet: bytes | memoryview, offload: Offload, network: int) -> bool:
    """
    Whether completing an open checksum keeps all fields that a filter reads: the headers before that of TCP, UDP or
    ICMP, the ports, and the type and the code of ICMP. A forged record could make the checksum overwrite these.

    @param offload: the record of a packet that is not a superpacket. L{fault} checks the checksum's position in a
        superpacket.
    @param network: the position of the IP header.
    """
    version = packet[network] >> 4 if network < len(packet) else 0
    if version == 4 and len(packet) >= network + ipv4.HEADER_LENGTH:
        protocol: int | None = packet[network + 9]
        start = network + ((packet[network] & 0x0F) << 2)
    elif version == 6 and len(packet) >= network + ipv6.HEADER_LENGTH:
        upper = ipv6.upperLayer(packet, network)
        protocol, start = upper.protocol, upper.start
        if protocol is None or protocol == _ICMP6:
            return False
    else:
        return False
    before = 2 if protocol == _ICMP else 4
    return offload.checksumStart >= start and offload.checksumStart + offload.checksumOffset >= start + before


def finish(packet: bytes, offload: Offload, network: int = 0) -> list[bytes]:
    """
    Finish a packet: cut a superpacket into segments, set the lengths, and complete the checksums. The result has the
    same octets as in Linux.

    @param packet: a packet without a L{fault}.
    @param network: the position of the IP header. The octets before it precede each segment.

    @return: the segments; C{packet} alone if it is not a superpacket.
    """
    if not offload.isUnfinished:
        return [packet]
    if offload.type == NONE:
        return [complete(packet, offload)]
    transport = offload.checksumStart
    start = payloadStart(packet, offload)
    headers = packet[:start]
    isUDP = offload.type == UDP
    # An open field holds the sum of the pseudo-header with the length of the superpacket.
    field = transport + offload.checksumOffset
    pseudo = int.from_bytes(packet[field : field + 2], "big") - (len(packet) - transport)
    if not offload.isOpen:
        addresses = (
            packet[network + 12 : network + 20] if packet[network] >> 4 == 4 else packet[network + 8 : network + 40]
        )
        pseudo = onesSum(addresses) + _TCP
        # If the checksum is wrong, those of all segments are wrong by as much, and each of them is dropped.
        pseudo += (pseudo + len(packet) - transport + onesSum(packet[transport:])) % 0xFFFF
    packets = []
    for number, begin in enumerate(range(start, len(packet), offload.size)):
        payload = packet[begin : begin + offload.size]
        length = start - transport + len(payload)
        header = _segmentHeaders(headers, network, transport, length, number)
        if isUDP:
            struct.pack_into("!H", header, transport + 4, length)
        else:
            sequence = int.from_bytes(headers[transport + 4 : transport + 8], "big")
            struct.pack_into("!I", header, transport + 4, (sequence + begin - start) & 0xFFFFFFFF)
            if begin + offload.size < len(packet):
                header[transport + 13] &= ~_LAST_ONLY
            if number:
                header[transport + 13] &= ~_FIRST_ONLY
        struct.pack_into("!H", header, field, 0)
        total = pseudo + length + onesSum(bytes(header[transport:])) + onesSum(payload)
        struct.pack_into("!H", header, field, -total % 0xFFFF or 0xFFFF)
        packets.append(bytes(header) + payload)
    return packets


def divide(packet: bytes, offload: Offload, network: int, most: int) -> list[tuple[bytes, Offload]]:
    """
    Divide a UDP superpacket into smaller ones.

    @param packet: a UDP superpacket without a L{fault}.
    @param network: the position of the IP header.
    @param most: the most datagrams in one of the smaller superpackets.

    @return: the smaller superpackets, each with its offload record.
    """
    transport = offload.checksumStart
    start = transport + udp.HEADER_LENGTH
    field = transport + offload.checksumOffset
    pseudo = int.from_bytes(packet[field : field + 2], "big") - (len(packet) - transport)
    pieces = []
    for number, begin in enumerate(range(start, len(packet), most * offload.size)):
        payload = packet[begin : begin + most * offload.size]
        length = udp.HEADER_LENGTH + len(payload)
        header = _segmentHeaders(packet[:start], network, transport, length, number * most)
        struct.pack_into("!H", header, transport + 4, length)
        struct.pack_into("!H", header, field, (pseudo + length) % 0xFFFF)
        # The last piece may hold one datagram, which is not a superpacket.
        isOne = len(payload) <= offload.size
        pieces.append((bytes(header) + payload, replace(offload, type=NONE, size=0) if isOne else offload))
    return pieces


def _segmentHeaders(headers: bytes, network: int, transport: int, length: int, number: int) -> bytearray:
    """
    Make the headers of one segment from the headers of its superpacket. The transport header is not changed.

    @param network: the position of the IP header.
    @param transport: the position of the transport header.
    @param length: the number of octets of the segment from C{transport} on.
    @param number: the number of segments before this one.
    """
    header = bytearray(headers)
    if headers[network] >> 4 == 4:
        struct.pack_into("!H", header, network + 2, transport - network + length)
        identification = int.from_bytes(headers[network + 4 : network + 6], "big")
        struct.pack_into("!H", header, network + 4, (identification + number) & 0xFFFF)
        struct.pack_into("!H", header, network + 10, 0)
        struct.pack_into("!H", header, network + 10, checksum(bytes(header[network:transport])))
    else:
        struct.pack_into("!H", header, network + 4, transport - network - ipv6.HEADER_LENGTH + length)
    return header


def networkStart(frame: bytes | memoryview, start: int = 0) -> int:
    """
    Find the IP header of an Ethernet frame, behind at most L{MAX_TAGS} VLAN tags.

    @param start: the position of the Ethernet header.

    @return: the position behind the Ethernet header and the tags.
    """
    at = start + ethernet.HEADER_LENGTH
    if frame[at - 2 : at] not in _TAGS:
        # A fast path: most frames have no tag, and this function is called for each frame.
        return at
    last = min(len(frame), at + MAX_TAGS * ethernet.TAG.size)
    while frame[at - 2 : at] in _TAGS and at < last:
        at += ethernet.TAG.size
    return at


def segments(headers: bytes | memoryview, offload: Offload, end: int, start: int = 0) -> tuple[int, int]:
    """
    Count the segments of a superpacket without a L{fault}.

    @param headers: the superpacket, or at least all of its headers.
    @param end: the position behind its last octet.
    @param start: the position of its first octet.

    @return: the number of segments, and the number of octets that they have together with their headers.
    """
    payload = offload.payload
    if offload.type != UDP:
        # The header of TCP may have options.
        payload = offload.checksumStart + (headers[offload.checksumStart + 12] >> 4 << 2)
    more = (end - payload - 1) // offload.size
    return more + 1, end - start + more * (payload - start)


def countPackets(buffers: Sequence[bytes | memoryview], offload: Offload | None, start: int = 0) -> tuple[int, int]:
    """
    Count the packets that a packet or superpacket becomes on the wire. One with a record by which no superpacket can be
    cut counts as one packet. The counts of a superpacket with another L{fault} are not exact.

    @param buffers: its pieces.
    @param start: the position of its first octet.

    @return: the number of packets, and the number of octets that they have together with their headers.
    """
    end = sum(map(len, buffers))
    if offload is None or offload.protocol is None or end < offload.payload:
        return 1, end - start
    # The first piece usually has all headers. An Ethernet header may be a piece of its own.
    pieces = iter(buffers)
    headers = next(pieces)
    while len(headers) < offload.payload:
        headers = b"".join((headers, next(pieces)))
    count, octets = segments(headers, offload, end, start)
    return (count, octets) if count > 0 else (1, end - start)


def payloadStart(packet: bytes | memoryview, offload: Offload) -> int:
    """
    Return the position of the payload of a superpacket. The position is past the end if the TCP header is cut short.
    """
    transport = offload.checksumStart
    if offload.type == UDP:
        return transport + udp.HEADER_LENGTH
    if len(packet) < transport + _TCP_HEADER_LENGTH:
        return len(packet) + 1
    length = (packet[transport + 12] >> 4) << 2
    return transport + length if length >= _TCP_HEADER_LENGTH else len(packet) + 1


def complete(packet: bytes, offload: Offload) -> bytes:
    """
    Complete the open checksum of a packet.

    @param packet: the packet. It may lack octets before C{checksumStart}, if the positions in C{offload} fit.
    """
    start = offload.checksumStart
    field = start + offload.checksumOffset
    # The field holds the sum of the pseudo-header, so the sum over all octets includes that.
    value = checksum(packet[start:]) or 0xFFFF
    return packet[:field] + value.to_bytes(2, "big") + packet[field + 2 :]


def _isPlain(packet: bytes | memoryview, offload: Offload, network: int) -> bool:
    """
    Whether a superpacket has no L{fault}, for the common cases: IPv4 without options, and IPv6 without extension
    headers. This fast path decides for nearly all superpackets.
    """
    end = len(packet)
    start = offload.checksumStart
    if end - start < _TCP_HEADER_LENGTH or offload.headerLength > end:
        return False
    if network and packet[network - 2 : network] in _TAGS:
        return False
    if start == network + ipv4.HEADER_LENGTH:
        total, fragment, protocol = ipv4.ESSENTIALS.unpack_from(packet, network)
        if packet[network] != 0x45 or total != end - network or fragment & _FRAGMENT_BITS:
            return False
        otherVersion = TCP6
    elif start == network + ipv6.HEADER_LENGTH:
        first, length, protocol, _ = ipv6.HEADER.unpack_from(packet, network)
        if first >> 28 != 6 or length != end - start:
            return False
        otherVersion = TCP4
    else:
        return False
    if protocol != offload.protocol or offload.type & ~ECN == otherVersion:
        return False
    size = offload.size
    if protocol == _TCP:
        header = packet[start + 12] >> 4 << 2
        return _TCP_HEADER_LENGTH <= header <= end - start - size
    payload = end - start - udp.HEADER_LENGTH
    isWhole: bool = packet[start + 4] << 8 | packet[start + 5] == end - start
    return isWhole and size <= payload <= size * MAX_DATAGRAMS


def _udpLength(packet: bytes | memoryview, offload: Offload) -> int:
    """
    Return the length of the payload according to the UDP header, in octets.
    """
    at = offload.checksumStart + 4
    return int.from_bytes(packet[at : at + 2], "big") - udp.HEADER_LENGTH


def _transport(packet: bytes | memoryview, network: int) -> tuple[int, int]:
    """
    Return the IP protocol number of the upper layer, and the position of its header. Return (-1, -1) if C{packet} is
    not exactly one whole IP packet.
    """
    end = len(packet)
    version = packet[network] >> 4 if network < end else 0
    if version == 4 and end - network >= ipv4.HEADER_LENGTH:
        length = (packet[network] & 0x0F) << 2
        total, fragment, protocol = ipv4.ESSENTIALS.unpack_from(packet, network)
        isWhole = total == end - network and not fragment & _FRAGMENT_BITS
        if length >= ipv4.HEADER_LENGTH and isWhole:
            return protocol, network + length
    length = end - network - ipv6.HEADER_LENGTH
    if version == 6 and length >= 0 and int.from_bytes(packet[network + 4 : network + 6], "big") == length:
        kind, start, wrong = ipv6.walkExtensions(packet, packet[network + 6], network + ipv6.HEADER_LENGTH, end)
        if wrong is None:
            return kind, start
    return -1, -1
