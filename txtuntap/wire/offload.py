"""
Offload: packets that are not finished, as they come and go behind C{struct virtio_net_hdr} (C{linux/virtio_net.h}).

    +---------+---------+-------------------+-------------------+
    |  Flags  | GSO Type|   Header Length   |     GSO Size      |
    +---------+---------+-------------------+-------------------+
    |  Checksum Start   |  Checksum Offset  |
    +-------------------+-------------------+   in the machine's byte order

Two things may be left open. The checksum of UDP or TCP: its field holds the sum of the pseudo-header alone. And the
cutting (generic segmentation offload): a I{superpacket} is one header and the payload of many packets, each of GSO Size
octets but for the last. L{finish} does both, as the kernel would.

The header comes from a kernel; but the far end of a tunnel may forge one. L{fault} says what is wrong with it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from functools import lru_cache

from txtuntap.wire import ethernet, ipv4, ipv6, udp
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.fault import Fault

HEADER = struct.Struct("=BBHHHH")
HEADER_LENGTH = 10

#: Flags: the checksum is left open; it was verified.
NEEDS_CHECKSUM = 1
DATA_VALID = 2

#: Types.
NONE, TCP4, TCP6, UDP = 0, 1, 4, 5
#: Goes with TCP: only the first segment says that the window was reduced (CWR, RFC 3168).
ECN = 0x80

#: The work that a device can be asked to do, or to leave to us (C{TUN_F_CSUM} and so on, C{linux/if_tun.h}): checksums;
#: cutting TCP over IPv4 and IPv6, that with ECN; UDP over both, which comes together.
CSUM, TSO4, TSO6, TSO_ECN, USO = 0x01, 0x02, 0x04, 0x08, 0x20 | 0x40

_FEATURES = {NONE: 0, TCP4: TSO4, TCP6: TSO6, UDP: USO}

#: The most datagrams in one (UDP_MAX_SEGMENTS), and the least octets of a TCP segment (TCP_MIN_GSO_SIZE): without them,
#: one forged header would make tens of thousands of packets.
MAX_DATAGRAMS = 128
MIN_TCP_SEGMENT = 8

#: The most datagrams in one that Linux takes before 6.9: 6.7 began to refuse more.
MAX_DATAGRAMS_BEFORE = 64

_TAGS = ethernet.VLAN.to_bytes(2, "big"), ethernet.SERVICE_VLAN.to_bytes(2, "big")

#: Tags that are looked behind for IP, as by Linux (C{VLAN_MAX_DEPTH}). A frame of 64 KiB could be full of them.
MAX_TAGS = 8

#: The most that fits into a field of the header.
_MOST = 0xFFFF

_ICMP, _ICMP6 = 1, 58
_TCP = 6
_TCP_HEADER_LENGTH = 20

#: TCP's flags FIN and PSH, which only the last segment has, and CWR, which only the first has.
_LAST_ONLY = 0x01 | 0x08
_FIRST_ONLY = 0x80

#: Where the checksum stands in each header.
_TCP_CHECKSUM_OFFSET = 16
_CHECKSUM_OFFSET = {udp.PROTOCOL: udp.CHECKSUM_OFFSET, _TCP: _TCP_CHECKSUM_OFFSET}


@dataclass(frozen=True, slots=True)
class Offload:
    """
    The work that a packet's sender has left open.

    @ivar flags: C{NEEDS_CHECKSUM}, C{DATA_VALID}.
    @ivar type: C{NONE}, C{TCP4}, C{TCP6}, C{UDP}, with or without C{ECN}.
    @ivar headerLength: of all headers together: a hint.
    @ivar size: octets of payload in each packet but the last.
    @ivar checksumStart: what is summed begins here, and goes to the end of the packet.
    @ivar checksumOffset: from there to the checksum.
    @ivar isOpen: whether the checksum is.
    @ivar isVouched: whether it is, or was verified: then there is nothing to verify.
    @ivar isSuperpacket: whether it is to be cut.
    @ivar least: how long a packet has to be to have that checksum in it.
    @ivar packed: the header.
    @ivar features: the C{CSUM}, C{TSO4} and so on that somebody has who can finish it.
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
    least: int = field(init=False, repr=False, compare=False)
    packed: bytes = field(init=False, repr=False, compare=False)
    features: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        isOpen = bool(self.flags & NEEDS_CHECKSUM)
        object.__setattr__(self, "isOpen", isOpen)
        object.__setattr__(self, "isVouched", bool(self.flags & (NEEDS_CHECKSUM | DATA_VALID)))
        object.__setattr__(self, "isSuperpacket", self.type != NONE)
        object.__setattr__(self, "least", self.checksumStart + self.checksumOffset + 2 if isOpen else 0)
        fields = self.flags, self.type, self.headerLength, self.size, self.checksumStart, self.checksumOffset
        object.__setattr__(self, "packed", HEADER.pack(*fields))
        cut = _FEATURES.get(self.type & ~ECN, 0) | (TSO_ECN if self.type & ECN else 0)
        object.__setattr__(self, "features", (CSUM if isOpen else 0) | cut)

    @classmethod
    def unpack(cls, data: bytes) -> Offload:
        """
        @raise ValueError: C{data} is shorter than a header.
        """
        if len(data) < HEADER_LENGTH:
            raise ValueError(f"a virtio_net_hdr has {HEADER_LENGTH} octets, not {len(data)}")
        return cls(*HEADER.unpack_from(data))

    def __hash__(self) -> int:
        # Looked up for each packet that is sent.
        return hash(self.packed)


@lru_cache(1024)
def shifted(offload: Offload, octets: int) -> Offload:
    """
    The same offload for a packet with C{octets} octets more in front.

    A forged position may be outside of the header's range then. It is cut to that range.
    """
    start = min(max(offload.checksumStart + octets, 0), _MOST) if offload.isOpen else 0
    length = offload.headerLength and min(max(offload.headerLength + octets, 0), _MOST)
    return replace(offload, checksumStart=start, headerLength=length)


def fault(packet: bytes, offload: Offload, network: int = 0) -> Fault | None:
    """
    Find the fault that keeps a packet from being finished: L{finish} takes the packet if there is none.

    @param network: where its IP header begins.

    @return: L{None}; or L{Fault.OFFLOAD} for a header that cannot be, L{Fault.UNKNOWN_OFFLOAD} for one whose type is
        not known.
    """
    kind = offload.type & ~ECN
    if kind and _isPlain(packet, offload, kind, network):
        return None
    if kind not in (NONE, TCP4, TCP6, UDP) or (offload.type & ECN and kind not in (TCP4, TCP6)):
        return Fault.UNKNOWN_OFFLOAD
    isOpen = offload.isOpen
    # A field that is no part of the packet, or of a header below; or of a tag that is not looked behind.
    if isOpen and (
        offload.checksumStart <= network
        or offload.least > len(packet)
        or packet[max(network - 2, 0) : network] in _TAGS
    ):
        return Fault.OFFLOAD
    if kind == NONE:
        return None
    end = len(packet)
    if (
        not isOpen
        or offload.headerLength > end
        or _transport(packet, network)
        != (
            udp.PROTOCOL if kind == UDP else _TCP,
            offload.checksumStart,
        )
    ):
        return Fault.OFFLOAD
    version = packet[network] >> 4
    payload = end - payloadStart(packet, offload)
    if (
        (kind == TCP4 and version != 4)
        or (kind == TCP6 and version != 6)
        or offload.checksumOffset != _CHECKSUM_OFFSET[udp.PROTOCOL if kind == UDP else _TCP]
        or not 0 < offload.size <= payload
        or (kind == UDP and (payload > offload.size * MAX_DATAGRAMS or _udpLength(packet, offload) != payload))
        or (kind != UDP and offload.size < MIN_TCP_SEGMENT)
    ):
        return Fault.OFFLOAD
    return None


def spares(packet: bytes | memoryview, offload: Offload, network: int) -> bool:
    """
    Whether finishing an IP packet whose checksum is open changes nothing that a filter looks at: no header up to that
    of TCP or UDP, nor the ports there, nor the type and code of ICMP.

    @param offload: no superpacket's. The checksum of one stands where TCP and UDP have it.
    @param network: where its IP header begins.
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
    The packets that C{packet} stands for, complete with lengths and checksums. The same octets as Linux makes.

    @param packet: one that has no L{fault}.
    @param network: where its IP header begins; what is before is in front of each packet, too.
    """
    if not offload.isOpen:
        return [packet]
    if offload.type == NONE:
        return [complete(packet, offload)]
    transport = offload.checksumStart
    start = payloadStart(packet, offload)
    headers = packet[:start]
    isUDP = offload.type == UDP
    # The field has the sum of the pseudo-header, with the length of all.
    field = transport + offload.checksumOffset
    pseudo = int.from_bytes(packet[field : field + 2], "big") - (len(packet) - transport)
    packets = []
    for number, begin in enumerate(range(start, len(packet), offload.size)):
        payload = packet[begin : begin + offload.size]
        length = start - transport + len(payload)
        header = _fitted(headers, network, transport, length, number)
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
    The packets with C{most} datagrams at most that a superpacket of UDP stands for, and what is open in each.

    @param packet: one that has no L{fault}.
    @param network: where its IP header begins.
    """
    transport = offload.checksumStart
    start = transport + udp.HEADER_LENGTH
    field = transport + offload.checksumOffset
    pseudo = int.from_bytes(packet[field : field + 2], "big") - (len(packet) - transport)
    pieces = []
    for number, begin in enumerate(range(start, len(packet), most * offload.size)):
        payload = packet[begin : begin + most * offload.size]
        length = udp.HEADER_LENGTH + len(payload)
        header = _fitted(packet[:start], network, transport, length, number * most)
        struct.pack_into("!H", header, transport + 4, length)
        struct.pack_into("!H", header, field, (pseudo + length) % 0xFFFF)
        # One datagram alone is no superpacket.
        isOne = len(payload) <= offload.size
        pieces.append((bytes(header) + payload, replace(offload, type=NONE, size=0) if isOne else offload))
    return pieces


def _fitted(headers: bytes, network: int, transport: int, length: int, number: int) -> bytearray:
    """
    The headers of a superpacket, made those of one of its packets, but for its transport header.

    @param length: octets behind the IP header, from C{transport} on.
    @param number: how many packets come before it.
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
    Where the IP header of an Ethernet frame begins: behind any tags, of which there are L{MAX_TAGS} at most.
    """
    at = start + ethernet.HEADER_LENGTH
    if frame[at - 2 : at] not in _TAGS:
        # Most frames have no tag, and this is asked for each.
        return at
    last = min(len(frame), at + MAX_TAGS * ethernet.TAG.size)
    while frame[at - 2 : at] in _TAGS and at < last:
        at += ethernet.TAG.size
    return at


def segments(length: int, offload: Offload, start: int = 0) -> tuple[int, int]:
    """
    How many packets a superpacket stands for, and how many octets these have together. (Of TCP, less by its options.)

    @param length: its octets, headers and all.
    @param start: where in these it begins.
    """
    header = offload.checksumStart + (udp.HEADER_LENGTH if offload.type == UDP else _TCP_HEADER_LENGTH)
    count = max(1, -((header - length) // offload.size))
    return count, length - start + (count - 1) * (header - start)


def countPackets(octets: int, offload: Offload | None) -> tuple[int, int]:
    """
    The number of packets that something written stands for, and how many octets these have together.

    @param octets: its length, headers and all.
    """
    return segments(octets, offload) if offload is not None and offload.size else (1, octets)


def payloadStart(packet: bytes, offload: Offload) -> int:
    """
    Where the payload of a superpacket begins; past the end if the header does not fit.
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
    A packet, or any part of it from the checksum's start or before, with its checksum.
    """
    start = offload.checksumStart
    field = start + offload.checksumOffset
    # The field holds the sum of the pseudo-header, which is summed with the rest.
    value = checksum(packet[start:]) or 0xFFFF
    return packet[:field] + value.to_bytes(2, "big") + packet[field + 2 :]


def _isPlain(packet: bytes, offload: Offload, kind: int, network: int) -> bool:
    """
    Whether a superpacket is one without a L{fault}, and plainly so: over IPv4 without options, or over IPv6 without
    extension headers. (That is nearly all of them.)
    """
    end = len(packet)
    start = offload.checksumStart
    size = offload.size
    if not offload.isOpen or offload.headerLength > end or not network < start <= end - _TCP_HEADER_LENGTH:
        return False
    if kind == UDP:
        protocol = udp.PROTOCOL
        payload = end - start - udp.HEADER_LENGTH
        if (
            offload.type != UDP
            or offload.checksumOffset != udp.CHECKSUM_OFFSET
            or not 0 < size <= payload <= size * MAX_DATAGRAMS
            or packet[start + 4] << 8 | packet[start + 5] != end - start
        ):
            return False
    else:
        protocol = _TCP
        header = packet[start + 12] >> 4 << 2
        if (
            offload.checksumOffset != _TCP_CHECKSUM_OFFSET
            or header < _TCP_HEADER_LENGTH
            or not MIN_TCP_SEGMENT <= size <= end - start - header
        ):
            return False
    if packet[network] == 0x45:
        total, fragment, found = ipv4.ESSENTIALS.unpack_from(packet, network)
        isWhole = total == end - network and not fragment & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK)
        return isWhole and found == protocol and start == network + ipv4.HEADER_LENGTH and kind in (TCP4, UDP)
    if packet[network] >> 4 == 6 and start == network + ipv6.HEADER_LENGTH and kind in (TCP6, UDP):
        _, length, found, _ = ipv6.HEADER.unpack_from(packet, network)
        return bool(length == end - start and found == protocol)
    return False


def _udpLength(packet: bytes, offload: Offload) -> int:
    """
    The length of the payload by the UDP header, in octets.
    """
    at = offload.checksumStart + 4
    return int.from_bytes(packet[at : at + 2], "big") - udp.HEADER_LENGTH


def _transport(packet: bytes, network: int) -> tuple[int, int]:
    """
    The IP protocol of a packet that is whole, and where its header begins; (-1, -1) if it is none.
    """
    end = len(packet)
    version = packet[network] >> 4 if network < end else 0
    if version == 4 and end - network >= ipv4.HEADER_LENGTH:
        length = (packet[network] & 0x0F) << 2
        total, fragment, protocol = ipv4.ESSENTIALS.unpack_from(packet, network)
        isWhole = total == end - network and not fragment & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK)
        if length >= ipv4.HEADER_LENGTH and isWhole:
            return protocol, network + length
    length = end - network - ipv6.HEADER_LENGTH
    if version == 6 and length >= 0 and int.from_bytes(packet[network + 4 : network + 6], "big") == length:
        kind, start, wrong = ipv6.walkExtensions(packet, packet[network + 6], network + ipv6.HEADER_LENGTH, end)
        if wrong is None:
            return kind, start
    return -1, -1
