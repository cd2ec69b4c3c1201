"""
Functions that make rare frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import attrs

from tests.real.lab.machine import ECHO, STATION
from tests.real.test_input import ALL, HERE, SENDER, arpAs, echo, framed, icmp6
from txtuntap.testing import ethernetFrame, ipPacket, udpDatagram
from txtuntap.wire import arp, ethernet, icmp, ipv6, ndp, udp
from txtuntap.wire.address import groupLinkAddress, packAddress, packLinkAddress

Frames = Callable[[str], list[bytes]]

#: A station other than the sender. The sender's station has the addresses in C{GATEWAYS}, too, and the other station
#: has those in C{OTHER_GATEWAYS}.
OTHER = "02:00:00:00:00:98"
GATEWAYS = {4: "10.9.0.19", 6: "fe80::19"}
OTHER_GATEWAYS = {4: "10.9.0.18", 6: "fe80::18"}

GROUP = b"\1\0\x5e\0\0\1"
NO_STATION = bytes(6)
OWN = packLinkAddress(STATION)


def packet(make: Callable[[str], bytes]) -> Frames:
    """
    Make a frame with one packet, to the station of the host under test.
    """
    return lambda source: [framed(make(source))]


def versionOf(address: str) -> int:
    return 6 if ":" in address else 4


def here(source: str) -> str:
    """
    The address of the host under test that has the sender's IP version.
    """
    return HERE[versionOf(source)]


@attrs.frozen
class Piece:
    """
    The description of one fragment.

    @ivar start: the offset of its first octet in the payload.
    @ivar end: the offset after its last octet.
    @ivar more: whether the flag "more fragments" is set.
    @ivar protocol: the IP protocol number.
    @ivar payload: the octets that it has instead of those of the datagram; L{None}: those of the datagram.
    @ivar fields: other fields of its IP header.
    """

    start: int
    end: int
    more: bool
    protocol: int = udp.PROTOCOL
    payload: bytes | None = None
    fields: dict[str, Any] = attrs.Factory(dict)


#: The data of the datagram that is fragmented. The datagram has 32 octets with its UDP header.
_DATA = b"abcdefghijklmnopqrstuvwx"
WHOLE = "udp abcdefghijklmnopqrstuvwx"


def fragments(*pieces: Piece | tuple[int, int, bool], port: int = ECHO, data: bytes = _DATA) -> Frames:
    """
    Make frames with fragments of a UDP datagram.
    """

    def make(source: str) -> list[bytes]:
        datagram = udpDatagram(source, here(source), 4000, port, data)
        return [
            framed(_fragment(source, datagram, Piece(*each) if isinstance(each, tuple) else each)) for each in pieces
        ]

    return make


def _fragment(source: str, datagram: bytes, piece: Piece) -> bytes:
    payload = datagram[piece.start : piece.end] if piece.payload is None else piece.payload
    if versionOf(source) == 4:
        word = piece.start >> 3 | (0x2000 if piece.more else 0)
        fields = {"identification": 7, "fragment": word, **piece.fields}
        return ipPacket(source, HERE[4], piece.protocol, payload, **fields)
    header = bytes((piece.protocol,)) + fragment6(piece.start, piece.more)[1]
    return ipPacket(source, HERE[6], ipv6.FRAGMENT, header + payload, **piece.fields)


def octets(size: int, length: int = 8) -> list[tuple[int, int, bool]]:
    """
    Divide a payload of C{size} octets into pieces of C{length} octets each: start, end, and whether more follow.
    """
    return [(start, start + length, start + length < size) for start in range(0, size, length)]


Header = tuple[int, bytes]

#: Extension headers: the number of each, and its octets after the first.
DESTINATION: Header = (ipv6.DESTINATION_OPTIONS, b"\0\1\4\0\0\0\0")
HOP_BY_HOP: Header = (ipv6.HOP_BY_HOP, b"\0\1\4\0\0\0\0")
ROUTED: Header = (ipv6.ROUTING, bytes(7))


def fragment6(start: int = 0, more: bool = False) -> Header:
    return ipv6.FRAGMENT, struct.pack("!xHI", start | more, 7)


def behind(*headers: Header, dest: str = HERE[6], kind: int = icmp.PROTOCOL[6], body: bytes | None = None) -> Frames:
    """
    Make a frame with an echo request behind extension headers.

    @param kind: the next header number of another message to send instead.
    @param body: the octets of that message.
    """

    def make(source: str) -> list[bytes]:
        following = [*(number for number, _ in headers[1:]), kind]
        chain = b"".join(bytes((after,)) + rest for (_, rest), after in zip(headers, following, strict=True))
        last = echo(source, dest)[ipv6.HEADER_LENGTH :] if body is None else body
        return [framed(ipPacket(source, dest, headers[0][0], chain + last), _station(dest))]

    return make


def _station(dest: str) -> bytes:
    packed = packAddress(dest)
    return groupLinkAddress(packed) if packed[0] == 0xFF else OWN


def option6(kind: int, at: int = ipv6.DESTINATION_OPTIONS, dest: str = HERE[6], length: int = 4) -> Frames:
    """
    Make a frame with an echo request behind an IPv6 option of four octets.

    @param kind: the type of the option.
    @param at: the next header number of the extension header with the option.
    @param length: the length field of the option.
    """
    return behind((at, bytes((0, kind, length)) + bytes(4)), dest=dest)


def option4(options: bytes) -> Frames:
    return packet(lambda source: echo(source, options=options))


def route6(kind: int, left: int) -> Frames:
    """
    Make a frame with an echo request behind a routing header with one address.

    @param kind: the routing type.
    @param left: the field "segments left".
    """
    return behind((ipv6.ROUTING, bytes((2, kind, left, 0, 0, 0, 0)) + packAddress("fd09::3")))


def arpFrom(
    source: str = "",
    link: bytes = b"",
    station: bytes | str = SENDER,
    dest: bytes = ALL,
    opcode: int = arp.REQUEST,
    target: str = HERE[4],
    more: bytes = b"",
) -> Frames:
    """
    Make a frame with an ARP packet.

    @param link: the sender's link address in the packet; empty: that of the sender.
    @param station: the source address of the frame.
    """

    def make(sender: str) -> list[bytes]:
        frame = arpAs(source or sender, target, dest, link, opcode)
        return [frame[:6] + packLinkAddress(station) + frame[12:] + more]

    return make


def linkOption(station: bytes | str, kind: int = ndp.SOURCE_LINK) -> bytes:
    """
    Make a link-layer address option of neighbour discovery.
    """
    return bytes((kind, 1)) + packLinkAddress(station)


def discovers(
    source: str = "",
    dest: str = "ff02::1:ff00:2",
    target: str = HERE[6],
    options: bytes | None = None,
    station: bytes | str = SENDER,
    kind: int = ndp.SOLICITATION,
    flags: int = 0,
    hopLimit: int = ndp.HOP_LIMIT,
    to: bytes | None = None,
) -> Frames:
    """
    Make a frame with a neighbour solicitation or advertisement from an unknown neighbour.

    @param to: the destination station; L{None}: the one that follows from C{dest}.
    """

    def make(sender: str) -> list[bytes]:
        body = (packAddress(target) if target else b"") + (linkOption(SENDER) if options is None else options)
        sent = icmp6(source or unknown(sender), kind, 0, body, flags, dest, hopLimit=hopLimit)
        return [ethernetFrame(station, to or _station(dest), ethernet.IPV6, sent)]

    return make


def unknown(source: str) -> str:
    """
    Make an IPv6 address that belongs to the sender and is not in the host's neighbour table.
    """
    return source.replace("::1:", "::2:")
