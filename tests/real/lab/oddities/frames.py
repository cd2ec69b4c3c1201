"""
Frames made to order that are seldom seen.
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

#: A station that is not the sender, and the addresses of two gateways: the sender, and that station.
OTHER = "02:00:00:00:00:98"
GATEWAYS = {4: "10.9.0.19", 6: "fe80::19"}
OTHER_GATEWAYS = {4: "10.9.0.18", 6: "fe80::18"}

GROUP = b"\1\0\x5e\0\0\1"
NO_STATION = bytes(6)
OWN = packLinkAddress(STATION)


def packet(make: Callable[[str], bytes]) -> Frames:
    """
    One packet, to our station.
    """
    return lambda source: [framed(make(source))]


def versionOf(address: str) -> int:
    return 6 if ":" in address else 4


def here(source: str) -> str:
    """
    Our address of the sender's version.
    """
    return HERE[versionOf(source)]


@attrs.frozen
class Piece:
    """
    A fragment.

    @ivar start: its first octet in the payload; C{end}: the one after its last.
    @ivar more: whether it says that there are more to come.
    @ivar payload: what it has instead of the octets that belong there.
    @ivar fields: others of its IP header.
    """

    start: int
    end: int
    more: bool
    protocol: int = udp.PROTOCOL
    payload: bytes | None = None
    fields: dict[str, Any] = attrs.Factory(dict)


#: What is taken apart is a datagram of 32 octets.
_DATA = b"abcdefghijklmnopqrstuvwx"
WHOLE = "udp abcdefghijklmnopqrstuvwx"


def fragments(*pieces: Piece | tuple[int, int, bool], port: int = ECHO, data: bytes = _DATA) -> Frames:
    """
    Fragments of a UDP datagram.
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
    Pieces of C{length} octets each, of a payload of C{size}.
    """
    return [(start, start + length, start + length < size) for start in range(0, size, length)]


Header = tuple[int, bytes]

#: Extension headers: what they are, and what comes after their first octet.
DESTINATION: Header = (ipv6.DESTINATION_OPTIONS, b"\0\1\4\0\0\0\0")
HOP_BY_HOP: Header = (ipv6.HOP_BY_HOP, b"\0\1\4\0\0\0\0")
ROUTED: Header = (ipv6.ROUTING, bytes(7))


def fragment6(start: int = 0, more: bool = False) -> Header:
    return ipv6.FRAGMENT, struct.pack("!xHI", start | more, 7)


def behind(*headers: Header, dest: str = HERE[6], kind: int = icmp.PROTOCOL[6], body: bytes | None = None) -> Frames:
    """
    An echo request behind extension headers.

    @param kind: what comes there instead; and C{body}: of what.
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
    An echo request behind an option.

    @param length: what the option says it has. It has four octets.
    """
    return behind((at, bytes((0, kind, length)) + bytes(4)), dest=dest)


def option4(options: bytes) -> Frames:
    return packet(lambda source: echo(source, options=options))


def route6(kind: int, left: int) -> Frames:
    """
    An echo request behind a routing header with one address.
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
    An ARP packet.

    @param link: the link address in it, if it is not the sender's; C{station}: that of the frame.
    """

    def make(sender: str) -> list[bytes]:
        frame = arpAs(source or sender, target, dest, link, opcode)
        return [frame[:6] + packLinkAddress(station) + frame[12:] + more]

    return make


def linkOption(station: bytes | str, kind: int = ndp.SOURCE_LINK) -> bytes:
    """
    An option of neighbour discovery.
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
    A neighbour solicitation or advertisement, of somebody who is not known yet.

    @param to: the station it goes to, if that is not what follows from C{dest}.
    """

    def make(sender: str) -> list[bytes]:
        body = (packAddress(target) if target else b"") + (linkOption(SENDER) if options is None else options)
        sent = icmp6(source or unknown(sender), kind, 0, body, flags, dest, hopLimit=hopLimit)
        return [ethernetFrame(station, to or _station(dest), ethernet.IPV6, sent)]

    return make


def unknown(source: str) -> str:
    """
    An IPv6 address like the sender's that nobody has been told the station of.
    """
    return source.replace("::1:", "::2:")
