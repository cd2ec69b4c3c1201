"""
Clamping of the maximum segment size that a SYN announces, for paths on which no ICMP error tells the MTU (RFC 4459
section 3.2).
"""

from __future__ import annotations

from txtuntap.wire import tcp

#: The octets of the headers of IP and TCP without options.
_HEADERS_4, _HEADERS_6 = 40, 60


def clamped(packet: bytes, mtu: int, start: int = 0, isOpen: bool = False) -> bytes | None:
    """
    Lower the maximum segment size of a SYN to what an MTU allows. An IPv6 packet with extension headers is not looked
    into.

    @param packet: the octets before the packet, and the packet.
    @param mtu: the MTU of the path, in octets.
    @param start: the position of the IP header.
    @param isOpen: whether the checksum is open: see L{txtuntap.wire.offload}.

    @return: the changed octets, with a right checksum; C{None}: nothing is to be changed.
    """
    least = len(packet) - start
    if least >= _HEADERS_4 and packet[start] >> 4 == 4:
        # Only the first fragment has a TCP header.
        if packet[start + 9] != tcp.PROTOCOL or packet[start + 6] & 0x1F or packet[start + 7]:
            return None
        header, most = start + 4 * (packet[start] & 15), mtu - _HEADERS_4
    elif least >= _HEADERS_6 and packet[start] >> 4 == 6:
        if packet[start + 6] != tcp.PROTOCOL:
            return None
        header, most = start + 40, mtu - _HEADERS_6
    else:
        return None
    if header + tcp.HEADER_LENGTH > len(packet) or not packet[header + 13] & tcp.SYN:
        return None
    at = _position(packet, header + tcp.HEADER_LENGTH, min(header + 4 * (packet[header + 12] >> 4), len(packet)))
    before = 0 if at is None else int.from_bytes(packet[at : at + 2], "big")
    if at is None or before <= most:
        return None
    changed = bytearray(packet)
    changed[at : at + 2] = most.to_bytes(2, "big")
    if not isOpen:
        # RFC 1624: the sum changes by the difference. At an odd position, the octets of the value are in two words,
        # swapped, which is the same as a factor of 256.
        field = header + tcp.CHECKSUM_OFFSET
        factor = 256 if (at - header) & 1 else 1
        total = int.from_bytes(packet[field : field + 2], "big") + (before - most) * factor
        changed[field : field + 2] = (total % 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


def _position(packet: bytes, at: int, end: int) -> int | None:
    """
    Find the value of the option with the maximum segment size.

    @param at: the position of the options.
    @param end: the position behind them.
    """
    while at + 4 <= end and packet[at] != tcp.END:
        if packet[at] == tcp.NOP:
            at += 1
        elif packet[at] == tcp.MSS and packet[at + 1] == 4:
            return at + 2
        elif packet[at + 1] < 2:
            return None
        else:
            at += packet[at + 1]
    return None
