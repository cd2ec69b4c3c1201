"""
Joining: segments of one TCP connection that arrive one after another become one superpacket, as by the generic receive
offload (GRO) of Linux (C{net/ipv4/tcp_offload.c}). A system handles a superpacket in little more time than a segment.

The checksum of a TCP superpacket is computed from those of its segments, without a sum over the payload: each of them
says what the sum of its payload is. The checksum of a superpacket with a corrupted segment is wrong, too. The checksum
is not left open, so whoever receives the superpacket verifies it, and drops what was corrupted.

UDP datagrams of one flow are joined in the same way (C{net/ipv4/udp_offload.c}), but Linux accepts only a UDP
superpacket whose checksum is open. So only datagrams with an open checksum are joined. A closed checksum stays, because
a new one would hide corruption.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from txtuntap.wire import ethernet, ipv4, ipv6, tcp, udp
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import (
    MIN_TCP_SEGMENT,
    TCP4,
    TCP6,
    TSO4,
    TSO6,
    Offload,
)

#: The octets of an IP packet, at most. For IPv6, Linux limits the payload to as many, and the header is in addition.
MOST = 0xFFFF

#: The fields of both headers without options, behind each other: the octets before the length (traffic class and flow
#: label), the length, the identification, the octets that limit hops and name the protocol, the checksum of IPv4, the
#: addresses and the ports; then the sequence number, the acknowledgment number, the data offset with the flags, the
#: window, the checksum and the urgent pointer. IPv6 lacks two of them, which are empty.
_LAYOUT4 = struct.Struct("!2sHH4sH12sIIHHHH")
_LAYOUT6 = struct.Struct("!4sH0s2s0s36sIIHHHH")

#: The EtherTypes as octets, by whether the packet is IPv4.
_ETHERTYPES = {True: ethernet.IPV4.to_bytes(2, "big"), False: ethernet.IPV6.to_bytes(2, "big")}

#: Flags of segments that stay alone; that end a superpacket; and that its last segment may have and the others not.
_ALONE = tcp.SYN | tcp.RST | tcp.URG | tcp.CWR
_LAST = tcp.FIN | tcp.PSH

#: The fields of a packet that is too short.
_NOTHING = (b"", 0, 0, b"", 0, b"", -1, 0, 0, 0, 0, 0)

_VERSION4, _VERSION6 = 0x45, 6
_DONT_FRAGMENT = 0x40


Joined = tuple[list[bytes], Offload | None]


def joined(packets: Sequence[bytes], features: int) -> list[Joined]:
    """
    Join what can be joined. The order of all packets stays.

    @param packets: IP packets, without octets behind them, in the order in which they have arrived.
    @param features: the offload features of the receiver. Only segments that C{TSO4} and C{TSO6} are for are joined.

    @return: packets as lists of buffers, each with its offload record; C{None}: the packet is as it was.
    """
    found: list[Joined] = []
    at, count = 0, len(packets)
    while at < count:
        packet = packets[at]
        one: Joined | None = None
        octets = len(packet) - MIN_TCP_SEGMENT
        if at + 1 < count and octets >= _LAYOUT4.size:
            # The length of the TCP header is looked at first, because acknowledgments without data are frequent.
            if packet[0] == _VERSION4:
                if packet[9] == tcp.PROTOCOL and octets >= 20 + (packet[32] >> 4 << 2) and features & TSO4:
                    number, one = _join4(packets, at)
            elif (
                packet[0] >> 4 == _VERSION6
                and packet[6] == tcp.PROTOCOL
                and octets >= _LAYOUT6.size
                and octets >= 40 + (packet[52] >> 4 << 2)
                and features & TSO6
            ):
                number, one = _join(packets, at, _LAYOUT6, ipv6.HEADER_LENGTH, TCP6)
        if one is None:
            found.append(([packet], None))
            at += 1
        else:
            found.append(one)
            at += number
    return found


def _join4(packets: Sequence[bytes], at: int) -> tuple[int, Joined | None]:
    """
    Join segments over IPv4, if the header of the first one is valid.
    """
    header = packets[at][: ipv4.HEADER_LENGTH]
    fragment = header[6] << 8 | header[7]
    if fragment & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK) or onesSum(header):
        return 1, None
    return _join(packets, at, _LAYOUT4, ipv4.HEADER_LENGTH, TCP4)


def _join(
    packets: Sequence[bytes], at: int, layout: struct.Struct, transport: int, kind: int
) -> tuple[int, Joined | None]:
    """
    Join a segment with those that follow it.

    @param at: the position of the first segment in C{packets}.
    @param layout: the fields of its headers, at C{transport} octets from the TCP header.
    @param kind: the GSO type of the superpacket.

    @return: the number of segments, and the superpacket; C{None} if the first one stays alone.
    """
    unpack = layout.unpack_from
    first = packets[at]
    length = len(first)
    head, total, ident, hops, headerSum, flow, sequence, acknowledgment, word, window, check, urgent = unpack(first)
    # The length field counts from here.
    counted = 0 if kind == TCP4 else ipv6.HEADER_LENGTH
    start = transport + (word >> 12 << 2)
    size = length - start
    if total + counted != length or start < layout.size or word & (_ALONE | _LAST | tcp.ACK) != tcp.ACK:
        return 1, None
    options = first[layout.size : start]
    # All else in the headers is the same, so the sum of these three is, too.
    base = total + ident + headerSum if kind == TCP4 else 0
    # An identification that is not read need not be that of the segment before (RFC 6864 section 4.1).
    isCounted = kind == TCP4 and not hops[0] & _DONT_FRAGMENT
    same = onesSum(flow + options) + tcp.PROTOCOL + acknowledgment + window + urgent - transport
    sums = same + sequence + word + check + length
    buffers = [b"", first[start:]]
    offset = size
    last = word
    for packet in packets[at + 1 : at + (MOST + counted - start) // size]:
        head2, total, ident2, hops2, headerSum2, flow2, sequence2, acknowledgment2, word2, window2, check, urgent2 = (
            unpack(packet) if len(packet) > start else _NOTHING
        )
        length = len(packet)
        if (
            sequence2 != (sequence + offset) & 0xFFFFFFFF
            or flow2 != flow
            or acknowledgment2 != acknowledgment
            or (word2 ^ word) & ~_LAST
            or window2 != window
            or head2 != head
            or hops2 != hops
            or urgent2 != urgent
            or total + counted != length
            or length - start > size
            or (options and packet[layout.size : start] != options)
        ):
            break
        if kind == TCP4 and (
            (total + ident2 + headerSum2 - base) % 0xFFFF
            or (isCounted and ident2 != (ident + len(buffers) - 1) & 0xFFFF)
        ):
            break
        part = same + sequence2 + word2 + check + length
        # Octets behind an odd number of others stand at the other place in their words.
        sums += part << 8 if offset & 1 else part
        buffers.append(packet[start:])
        offset += length - start
        last = word2
        if word2 & _LAST or length - start < size:
            break
    count = len(buffers) - 1
    if count == 1:
        return 1, None
    octets = start + offset
    header = bytearray(first[:start])
    header[transport + 13] = last & 0xFF
    checksum = (sums - same - sequence - last - octets) % 0xFFFF
    header[transport + tcp.CHECKSUM_OFFSET : transport + tcp.CHECKSUM_OFFSET + 2] = checksum.to_bytes(2, "big")
    _setLength(header, 0, octets, base - ident if kind == TCP4 else 0)
    buffers[0] = bytes(header)
    return count, (buffers, record(0, kind, start, size, transport, tcp.CHECKSUM_OFFSET))


def _setLength(header: bytearray, network: int, octets: int, rest: int) -> None:
    """
    Set the length of an IP packet without options or extension headers, and its header checksum.

    @param network: the position of the IP header.
    @param octets: the length of the packet.
    @param rest: the ones' complement sum of the length field and the checksum field before, for IPv4.
    """
    if header[network] == _VERSION4:
        header[network + 2 : network + 4] = octets.to_bytes(2, "big")
        header[network + 10 : network + 12] = ((rest - octets) % 0xFFFF).to_bytes(2, "big")
    else:
        header[network + 4 : network + 6] = (octets - ipv6.HEADER_LENGTH).to_bytes(2, "big")


@lru_cache(256)
def record(*fields: int) -> Offload:
    """
    The offload record of a superpacket.
    """
    return Offload(*fields)


def isDatagram(header: bytes, link: int, size: int) -> bool:
    """
    Whether headers are those of a whole UDP datagram without options or extension headers, and are valid. The checksum
    of UDP is not verified.

    @param header: the octets up to the payload.
    @param link: the length of the link header.
    @param size: the length of the payload.
    """
    isIPv4 = len(header) == link + ipv4.HEADER_LENGTH + udp.HEADER_LENGTH
    octets = udp.HEADER_LENGTH + size
    if link and header[12:14] != _ETHERTYPES[isIPv4]:
        return False
    if int.from_bytes(header[-4:-2], "big") != octets:
        return False
    if isIPv4:
        total, fragment, protocol = ipv4.ESSENTIALS.unpack_from(header, link)
        return bool(
            header[link] == _VERSION4
            and total == ipv4.HEADER_LENGTH + octets
            and not fragment & (ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK)
            and protocol == udp.PROTOCOL
            and not onesSum(header[link : link + ipv4.HEADER_LENGTH])
        )
    _, total, protocol, _ = ipv6.HEADER.unpack_from(header, link)
    return bool(header[link] >> 4 == _VERSION6 and total == octets and protocol == udp.PROTOCOL)


def resized(header: bytes, link: int, more: int) -> bytes:
    """
    Return the headers of a datagram for a payload that has C{more} octets more. The checksum of UDP is open.

    @param header: the octets up to the payload, which are valid (L{isDatagram}).
    @param link: the length of the link header.
    """
    made = bytearray(header)
    length, check = (int.from_bytes(made[at:][:2], "big") for at in (-4, -2))
    made[-4:] = (length + more).to_bytes(2, "big") + ((check + more) % 0xFFFF).to_bytes(2, "big")
    octets = len(made) - link - udp.HEADER_LENGTH + length + more
    rest = sum(int.from_bytes(made[link + at : link + at + 2], "big") for at in (2, 10))
    _setLength(made, link, octets, rest)
    return bytes(made)
