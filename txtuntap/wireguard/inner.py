"""
The IP packets within data messages: their length, source and ECN field.
"""

from __future__ import annotations

from txtuntap.wire.checksum import checksum

#: ECN fields (RFC 3168).
NOT_ECT = 0
CE = 3


def ipPacket(data: bytes) -> tuple[int, bytes] | None:
    """
    Read the header of an IP packet that has come from a peer, with zeros behind it.

    @return: the octets of the packet without padding, and its packed source address; C{None}: it is no IP packet, or
        has fewer octets than its header says.
    """
    octets = len(data)
    version = data[0] >> 4
    if version == 4 and octets >= 20:
        length = data[2] << 8 | data[3]
        return None if not 20 <= length <= octets else (length, data[12:16])
    if version == 6 and octets >= 40:
        length = (data[4] << 8 | data[5]) + 40
        return None if length > octets else (length, data[8:24])
    return None


def ecnOf(packet: bytes) -> int:
    """
    The ECN field of an IP packet: 0 to 3.
    """
    return packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3


def congested(packet: bytes) -> bytes | None:
    """
    Mark an IP packet as one that a router outside has marked (CE), by RFC 6040 section 4.2.

    @return: C{None}: its sender knows no ECN, so it is to be dropped.
    """
    mark = ecnOf(packet)
    if mark == NOT_ECT:
        return None
    if mark == CE:
        return packet
    marked = bytearray(packet)
    if packet[0] >> 4 == 6:
        marked[1] |= CE << 4
        return bytes(marked)
    marked[1] |= CE
    length = (packet[0] & 15) << 2
    marked[10:12] = bytes(2)
    marked[10:12] = checksum(bytes(marked[:length])).to_bytes(2, "big")
    return bytes(marked)
