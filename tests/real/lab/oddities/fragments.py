"""
Rare fragments of IP datagrams: duplicates, overlaps, empty fragments, and several last fragments.

Read RFC 791 section 3.2 and RFC 8200 section 4.5 first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.real.lab.oddities import Oddity, differs, same
from tests.real.lab.oddities.frames import (
    DESTINATION,
    WHOLE,
    Frames,
    Piece,
    behind,
    fragment6,
    fragments,
    octets,
    packet,
)
from tests.real.test_input import HERE, TCP, echo, tcp
from txtuntap.testing import ipPacket
from txtuntap.wire import ipv4

_FIRST, _LAST, _MIDDLE = (0, 16, True), (16, 32, False), (8, 24, True)
_JUNK = b"\xaa" * 16

_CE, _ECT, _NOT_ECT = {"tos": 3}, {"tos": 2}, {"tos": 0}


def _eachVersion(version: int) -> list[Oddity]:
    # An ICMP error quotes the reassembled datagram.
    if version == 4:
        closed = "icmp 3/3, quoting 45000034000700004011"
        unknownProtocol = "icmp 3/2, quoting 450000340007000040fd"
    else:
        closed = "icmp6 1/4, quoting 6000000000201140"
        unknownProtocol = "icmp6 4/1 at 6, quoting 600000000020fd40"
    room = 1480 if version == 4 else 1448
    incomplete = () if version == 4 else ("icmp6 4/3 at 0",)
    pieces = f"IPv{version}: fragments"

    def alike(name: str, make: Frames, *answers: str) -> Oddity:
        return same(version, f"{pieces} {name}", make, *answers)

    def unlike(difference: str, name: str, make: Frames, ours: Sequence[str], linux: Sequence[str]) -> Oddity:
        return differs(version, difference, f"{pieces} {name}", make, ours, linux)

    return [
        alike("in order", fragments(_FIRST, _LAST), WHOLE),
        alike("backwards", fragments(_LAST, _FIRST), WHOLE),
        alike("of eight octets", fragments(*octets(32)), WHOLE),
        alike("first of eight octets", fragments((0, 8, True), (8, 32, False)), WHOLE),
        alike(
            "256",
            fragments(*octets(2048), data=bytes(2040)),
            f"fragment 0 to {room}",
            f"fragment {room} to 2048",
        ),
        alike("first twice", fragments(_FIRST, _FIRST, _LAST), WHOLE),
        alike("first twice, other octets", fragments(_FIRST, Piece(*_FIRST, payload=_JUNK), _LAST), WHOLE),
        alike("last twice", fragments(_LAST, _LAST, _FIRST), WHOLE),
        alike("within one held", fragments(_FIRST, (0, 8, True), _LAST), WHOLE),
        alike("within one held, its end", fragments(_FIRST, (8, 16, True), _LAST), WHOLE),
        alike("overlap behind", fragments(_FIRST, _MIDDLE, (24, 32, False))),
        alike("overlap before", fragments(_MIDDLE, _FIRST, (24, 32, False))),
        alike("over one held", fragments((8, 16, True), (0, 24, True), (24, 32, False))),
        alike("over one held from its start", fragments((0, 8, True), _FIRST, _LAST)),
        alike("overlap, then afresh", fragments(_FIRST, _MIDDLE, _FIRST, _LAST), WHOLE),
        alike("empty in the middle", fragments(_FIRST, (16, 16, True), _LAST)),
        alike("empty at the end", fragments((0, 32, True), (32, 32, False))),
        alike("end before others", fragments(_LAST, (8, 16, False), _FIRST)),
        alike("more after the end", fragments((16, 24, False), (24, 32, True), _FIRST)),
        alike("another end", fragments((16, 24, False), (24, 32, False), _FIRST)),
        alike(
            "marked CE, and capable of ECN", fragments(Piece(*_FIRST, fields=_CE), Piece(*_LAST, fields=_ECT)), WHOLE
        ),
        alike("to a closed port", fragments(_FIRST, _LAST, port=9), closed),
        alike(
            "marked CE, and not capable of ECN", fragments(Piece(*_FIRST, fields=_CE), Piece(*_LAST, fields=_NOT_ECT))
        ),
        alike(
            "of an unknown protocol",
            fragments(Piece(*_FIRST, protocol=253), Piece(*_LAST, protocol=253)),
            unknownProtocol,
        ),
        unlike(
            "fragments: one within two that are held",
            "within two held",
            fragments((0, 8, True), (8, 16, True), _FIRST, _LAST),
            [],
            [WHOLE],
        ),
        unlike(
            "fragments: one within two that are held",
            "part of two held",
            fragments(_FIRST, (16, 24, True), _MIDDLE, (24, 32, False)),
            [],
            [WHOLE],
        ),
        unlike(
            "fragments: an empty first one",
            "empty first after the first",
            fragments(_FIRST, (0, 0, True), _LAST),
            [WHOLE],
            [*incomplete, *([WHOLE] if incomplete else [])],
        ),
        unlike(
            "fragments: a shorter last one within the last",
            "shorter last within the last",
            fragments(_LAST, (16, 24, False), _FIRST),
            [WHOLE],
            [],
        ),
        unlike(
            "fragments: the same range once as the last and once not",
            "last that was not the last",
            fragments((24, 32, True), (24, 32, False), (0, 24, True)),
            [],
            [WHOLE],
        ),
        unlike(
            "fragments: more than 256",
            "257",
            fragments(*octets(2056), data=bytes(2048)),
            [],
            [f"fragment 0 to {room}", f"fragment {room} to 2056"],
        ),
    ]


def _fragmentsOfTCP(source: str) -> list[bytes]:
    segment = tcp(source)[ipv4.HEADER_LENGTH :]
    first, last = Piece(0, 8, True, TCP, segment[:8]), Piece(8, 20, False, TCP, segment[8:])
    return fragments(first, last)(source)


FRAGMENTS = [
    *_eachVersion(4),
    *_eachVersion(6),
    same(
        4,
        "IPv4: fragments of two identifications",
        fragments(_FIRST, Piece(*_LAST, fields={"identification": 8})),
    ),
    same(4, "IPv4: fragments of two protocols", fragments(_FIRST, Piece(*_LAST, protocol=253))),
    same(
        6, "IPv6: fragments, the later with another next header", fragments(_FIRST, Piece(*_LAST, protocol=253)), WHOLE
    ),
    same(
        4,
        "IPv4: fragment past 65535",
        packet(lambda source: ipPacket(source, HERE[4], 1, bytes(40), identification=7, fragment=0x1FFF)),
    ),
    same(
        4,
        "IPv4: fragment past 65535, more to come",
        packet(lambda source: ipPacket(source, HERE[4], 17, bytes(40), identification=7, fragment=0x3FFF)),
    ),
    *(
        same(
            6,
            f"IPv6: fragment past 65535: {name}",
            behind(fragment6(65528, more), kind=kind, body=bytes(size)),
            "icmp6 4/0 at 42",
        )
        for name, more, kind, size in (
            ("the last", False, 17, 40),
            ("more to come", True, 17, 40),
            ("more to come, of an odd length", True, 17, 41),
            ("of ICMPv6", False, 58, 40),
            ("with options inside", False, 60, 40),
            ("by an octet", False, 17, 8),
        )
    ),
    same(6, "IPv6: fragment to 65535", behind(fragment6(65528), kind=17, body=bytes(7))),
    same(
        6,
        "IPv6: fragment past 65535, behind options",
        behind(DESTINATION, fragment6(65528), kind=17, body=bytes(40)),
        "icmp6 4/0 at 50",
    ),
    differs(
        6,
        "fragments: past 65,535 with the headers before them",
        "IPv6: fragment to 65535, behind options",
        behind(DESTINATION, fragment6(65528), kind=17, body=bytes(7)),
        ["icmp6 4/0 at 50"],
        [],
    ),
    same(4, "IPv4: fragments, empty first", fragments((0, 0, True), _FIRST, _LAST), WHOLE),
    differs(
        4,
        "fragments: a first one of eight octets of TCP",
        "IPv4: fragments of TCP, the first of eight octets",
        _fragmentsOfTCP,
        [],
        ["tcp RA"],
    ),
    same(4, "IPv4: reserved flag", packet(lambda source: echo(source, fragment=0x8000)), "icmp 0/0"),
    same(
        4,
        "IPv4: fragments that may not be taken apart",
        fragments(Piece(*_FIRST, fields={"fragment": 0x6000}), _LAST),
        WHOLE,
    ),
    same(
        4,
        "IPv4: fragments, options in the first",
        fragments(Piece(*_FIRST, fields={"options": b"\1" * 4}), _LAST),
        WHOLE,
    ),
    same(
        4, "IPv4: fragments, options in a later", fragments(_FIRST, Piece(*_LAST, fields={"options": b"\1" * 4})), WHOLE
    ),
    same(
        4, "IPv4: fragments, bad options in a later", fragments(_FIRST, Piece(*_LAST, fields={"options": b"\7\0\0\0"}))
    ),
    differs(
        4,
        "fragments: IPv4's of an odd length, with more to come",
        "IPv4: fragment of an odd length in the middle",
        fragments(_FIRST, (16, 29, True), (24, 32, False)),
        [],
        [WHOLE],
    ),
    differs(
        4,
        "fragments: IPv4's of an odd length, with more to come",
        "IPv4: fragment of an odd length, first",
        fragments((0, 13, True), (8, 32, False)),
        [],
        [WHOLE],
    ),
    differs(
        6,
        "fragments: an empty first one",
        "IPv6: fragments, empty first",
        fragments((0, 0, True), _FIRST, _LAST),
        [WHOLE],
        ["icmp6 4/3 at 0", WHOLE],
    ),
    differs(
        6,
        "fragments: IPv6's in fragments",
        "IPv6: atomic fragment in an atomic fragment",
        behind(fragment6(), fragment6()),
        ["icmp6 129/0"],
        ["icmp6 4/0 at 48"],
    ),
]
