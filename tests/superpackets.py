"""
Superpackets as a kernel makes them: many segments or datagrams under one header, with an open checksum.
"""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from txtuntap.testing import ipPacket
from txtuntap.wire import ipv4, ipv6, udp
from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import MAX_DATAGRAMS, NEEDS_CHECKSUM, TCP4, TCP6, UDP, Offload

ENDS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}
HEADERS = {4: ipv4.HEADER_LENGTH, 6: ipv6.HEADER_LENGTH}

FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80


def superpacket(
    version: int,
    kind: int,
    payload: bytes,
    size: int,
    flags: int = ACK,
    options: bytes = b"",
    link: bytes = b"",
    ends: tuple[str, str] | None = None,
) -> tuple[bytes, Offload, int]:
    """
    Make a superpacket: one header, the payload of many packets, and the sum of the pseudo-header as the checksum.

    @param kind: the GSO type.
    @param size: the number of octets of payload in each segment, except for the last.
    @param flags: the flags of TCP.
    @param options: the options of TCP.
    @param link: the Ethernet header; empty on a tun.
    @param ends: the source and the destination address.

    @return: the superpacket, its offload record, and the position of its IP header.
    """
    source, dest = map(packAddress, ends or ENDS[version])
    protocol = udp.PROTOCOL if kind == UDP else 6
    if kind == UDP:
        header = struct.pack("!4H", 4000, 7, 8 + len(payload), 0)
    else:
        offset = (20 + len(options)) // 4 << 4
        header = struct.pack("!2H2I2B3H", 4000, 7, 0xFFFFFF00, 77, offset, flags, 1000, 0, 0) + options
    field = 6 if kind == UDP else 16
    pseudo = onesSum(source + dest) + protocol + len(header) + len(payload)
    header = header[:field] + struct.pack("!H", pseudo % 0xFFFF) + header[field + 2 :]
    packet = link + ipPacket(source, dest, protocol, header + payload)
    start = len(link) + HEADERS[version]
    return packet, Offload(NEEDS_CHECKSUM, kind, start + len(header), size, start, field), len(link)


#: A strategy for results of L{superpacket}, of all kinds.
SUPERPACKETS = st.builds(
    lambda version, isUDP, payload, size, flags, options, link: superpacket(
        version,
        UDP if isUDP else {4: TCP4, 6: TCP6}[version],
        payload,
        max(min(size, len(payload)), -(-len(payload) // MAX_DATAGRAMS), 8),
        flags,
        options,
        link,
    ),
    st.sampled_from([4, 6]),
    st.booleans(),
    st.binary(min_size=8, max_size=5000),
    st.integers(8, 3000),
    st.integers(0, 255),
    st.sampled_from([b"", b"\x01" * 12]),
    st.sampled_from([b"", bytes(12) + b"\x08\x00"]),
)


def udpSuperpacket(version: int, *pieces: bytes, link: bytes = b"") -> tuple[bytes, Offload]:
    """
    Make a UDP superpacket with one datagram for each piece. All pieces except for the last have the same length.
    """
    packet, offload, _ = superpacket(version, UDP, b"".join(pieces), len(pieces[0]), link=link)
    return packet, offload


def superframe(payload: bytes, size: int) -> tuple[bytes, Offload]:
    """
    Make an Ethernet frame with a UDP superpacket.

    @param size: the number of octets of payload in each datagram, except for the last.

    @return: the frame and its offload record.
    """
    link = bytes.fromhex("0200000000020200000000010800")
    frame, offload, _ = superpacket(4, UDP, payload, size, link=link)
    return frame, offload
