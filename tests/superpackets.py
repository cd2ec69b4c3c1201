"""
Superpackets as a kernel gives them: many segments or datagrams under one header, with a checksum that is left open.
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
    What a kernel gives: one header, the payload of many, and the sum of the pseudo-header in place of a checksum.

    @return: the packet, what is open in it, and where its IP header begins.
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


#: Everything that is one, for L{superpacket}.
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


def many(version: int, *pieces: bytes, link: bytes = b"") -> tuple[bytes, Offload]:
    """
    A superpacket of UDP, with one datagram for each piece: all but the last are of one size.
    """
    packet, offload, _ = superpacket(version, UDP, b"".join(pieces), len(pieces[0]), link=link)
    return packet, offload


def superframe(payload: bytes, size: int) -> tuple[bytes, Offload]:
    """
    A frame that is many datagrams in one, of C{size} octets of payload each, and what is open in it.
    """
    link = bytes.fromhex("0200000000020200000000010800")
    frame, offload, _ = superpacket(4, UDP, payload, size, link=link)
    return frame, offload
