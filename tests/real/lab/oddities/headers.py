"""
Rare IPv4 options and IPv6 extension headers, and rare orders of them.

Read RFC 791 section 3.1 and RFC 8200 section 4 first.
"""

from __future__ import annotations

import struct

from tests.real.lab.oddities import differs, same
from tests.real.lab.oddities.frames import (
    DESTINATION,
    HOP_BY_HOP,
    ROUTED,
    behind,
    fragment6,
    option4,
    option6,
    packet,
    route6,
)
from tests.real.test_input import HERE, asks, echo
from txtuntap.testing import ipPacket
from txtuntap.wire import icmp, ipv6
from txtuntap.wire.address import packAddress

_PLACES = (ipv6.DESTINATION_OPTIONS, ""), (ipv6.HOP_BY_HOP, ", hop by hop")

#: The name of a difference that a row of L{tests.real.test_linux} has, too.
ROUTES_AND_TIMES = "IPv4 options: the route or the times, in the answer"
_FIELDS = "IPv4 options: a field in one that cannot be"
_SILENT_ROUTES = "IPv6 routing headers of types 3 and 4"


def _error(source: str) -> bytes:
    """
    Make an ICMP error with invalid IPv4 options.
    """
    message = icmp.pack(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, asks(HERE[4], 9, source))
    return ipPacket(source, HERE[4], icmp.PROTOCOL[4], message, options=b"\7\0\0\0")


def _jumbo(source: str) -> bytes:
    """
    Make a packet whose length is only in its jumbo payload option (RFC 2675).
    """
    message = echo(source)[ipv6.HEADER_LENGTH :]
    options = struct.pack("!BBBBI", icmp.PROTOCOL[6], 0, 0xC2, 4, 8 + len(message))
    return ipv6.packHeader(packAddress(source), packAddress(HERE[6]), ipv6.HOP_BY_HOP, 0) + options + message


HEADERS = [
    *(
        same(4, f"IPv4 options: {name}", option4(options), "icmp 0/0")
        for name, options in (
            ("what comes after the end", b"\0\7\0\xff"),
            ("an unknown one", b"\x9e\4\0\0"),
            ("nine unknown ones", b"\x9e\4\0\0" * 9),
            ("nothing, forty times", b"\1" * 40),
            ("security", b"\x82\x0b" + bytes(10)),
            ("stream identifier", b"\x88\4\0\1"),
            ("router alert", b"\x94\4\0\0"),
            ("router alert of another value", b"\x94\4\0\7"),
        )
    ),
    *(
        differs(
            4, ROUTES_AND_TIMES, f"IPv4 options: {name}", option4(options), ["icmp 0/0"], [f"icmp 0/0, options {back}"]
        )
        for name, options, back in (
            ("timestamps", b"\x44\x0c\5\0" + bytes(8), "440c0d00 and times"),
            ("timestamps, full", b"\x44\x0c\x0d\0" + bytes(8), "440c0d100000000000000000"),
            ("record route, full", b"\7\7\x08\1\2\3\4\0", "0707080102030400"),
        )
    ),
    differs(
        4,
        ROUTES_AND_TIMES,
        "IPv4 options: record route before UDP to a closed port",
        packet(lambda source: asks(source, 9, options=b"\7\7\4\0\0\0\0\0")),
        ["icmp 3/3"],
        ["icmp 3/3, options 0707080a09000200, quoting 470000290000400040110707080a09000200"],
    ),
    *(
        same(4, f"IPv4 options: {name}", option4(options), f"icmp 12/0 at {at}")
        for name, options, at in (
            ("without a length at the end", b"\1\1\1\7", 23),
            ("of length 1", b"\x9e\1\0\0", 20),
        )
    ),
    *(
        same(4, f"IPv4 options: {name}", option4(options))
        for name, options in (
            ("loose source route at its end", b"\x83\7\x08\x0a\x09\0\3\0"),
            ("strict source route", b"\x89\7\4\x0a\x09\0\3\0"),
            ("strict source route at its end", b"\x89\7\x08\x0a\x09\0\3\0"),
        )
    ),
    *(
        differs(4, _FIELDS, f"IPv4 options: {name}", option4(options), ["icmp 0/0"], [f"icmp 12/0 at {where}"])
        for name, options, where in (
            ("router alert of length 3", b"\x94\3\0\0", 21),
            ("timestamps of length 3", b"\x44\3\5\0", 21),
            ("timestamps, wrong pointer", b"\x44\x0c\1\0" + bytes(8), 22),
            ("timestamps that count over", b"\x44\4\5\xf0", 23),
            ("record route of length 2", b"\7\2\1\1", 21),
            ("record route, pointer 0", b"\7\7\0\0\0\0\0\0", 22),
            ("record route, pointer 5", b"\7\7\5\0\0\0\0\0", 22),
            (
                "record route twice",
                b"\7\7\4\0\0\0\0" * 2 + b"\1\1",
                # The quoted packet has the first of the two options filled in.
                "27, options 0707080a09000200, quoting 4900004c0000400040010707080a090002070704000000000101",
            ),
        )
    ),
    differs(
        4,
        "IPv4 options: two source routes",
        "IPv4 options: two source routes",
        option4(b"\x83\7\4\x0a\x09\0\3\x89\7\4\x0a\x09\0\3\0\0"),
        [],
        ["icmp 12/0 at 27"],
    ),
    same(
        4,
        "IPv4 options: bad ones in an ICMP error",
        packet(_error),
    ),
    same(
        4,
        "IPv4 options: bad ones to all",
        packet(lambda source: asks(source, dest="10.9.0.255", options=b"\7\0\0\0")),
    ),
    same(4, "IPv4 options: before UDP", packet(lambda source: asks(source, options=b"\1" * 4)), "udp hello"),
    same(
        4,
        "IPv4 options: before UDP to a closed port",
        packet(lambda source: asks(source, 9, options=b"\1" * 4)),
        "icmp 3/3",
    ),
    *(
        same(6, f"IPv6 extension headers: {name}", behind(*headers), "icmp6 129/0")
        for name, headers in (
            ("all in order", (HOP_BY_HOP, DESTINATION, ROUTED, fragment6(), DESTINATION)),
            ("out of order", (DESTINATION, fragment6(), ROUTED, DESTINATION)),
            ("two routes at their ends", (ROUTED, ROUTED)),
            ("reserved bits of a fragment header", ((ipv6.FRAGMENT, b"\xff\0\6\0\0\0\7"),)),
        )
    ),
    same(6, "IPv6 extension headers: two hop-by-hop", behind(HOP_BY_HOP, HOP_BY_HOP), "icmp6 4/1 at 40"),
    same(6, "IPv6 extension headers: fragment before hop-by-hop", behind(fragment6(), HOP_BY_HOP), "icmp6 4/1 at 40"),
    same(6, "IPv6 extension headers: then nothing", behind(DESTINATION, kind=59, body=b"")),
    *(
        same(6, f"IPv6 extension headers: {name} past the packet", behind((kind, b"\xc8" + bytes(6))))
        for name, kind in (("route", 43), ("destination options", 60), ("hop-by-hop options", 0))
    ),
    *(
        same(6, f"IPv6 routing header of type {kind} to go on", route6(kind, 1), "icmp6 4/0 at 42")
        for kind in (0, 1, 2, 5)
    ),
    *(
        same(6, f"IPv6 routing header of type {kind} at its end", route6(kind, 0), "icmp6 129/0")
        for kind in (0, 1, 2, 5)
    ),
    *(
        differs(6, _SILENT_ROUTES, f"IPv6 routing header of type {kind}, {left} left", route6(kind, left), [answer], [])
        for kind in (3, 4)
        for left, answer in ((0, "icmp6 129/0"), (1, "icmp6 4/0 at 42"))
    ),
    *(
        same(6, f"IPv6 options: {kind:#x}{where}", option6(kind, at), *answers)
        for at, where in _PLACES
        for kind, answers in (
            (0x1E, ["icmp6 129/0"]),
            (0x26, ["icmp6 129/0"]),
            (0x5E, []),
            (0x9E, ["icmp6 4/2 at 42"]),
            (0xDE, ["icmp6 4/2 at 42"]),
        )
    ),
    *(
        same(6, f"IPv6 options: {kind:#x}{where}, to a group", option6(kind, at, "ff02::1"))
        for at, where in _PLACES
        for kind in (0x5E, 0xDE)
    ),
    *(
        differs(
            6,
            "IPv6 options: 0x80 to 0xbf, to a group",
            f"IPv6 options: 0x9e{where}, to a group",
            option6(0x9E, at, "ff02::1"),
            [],
            ["icmp6 4/2 at 42"],
        )
        for at, where in _PLACES
    ),
    *(
        same(6, f"IPv6 options: past their header{where}", option6(kind, at, length=9))
        for at, where in _PLACES
        for kind in (0x1E,)
    ),
    *(same(6, f"IPv6 options: padding past its header{where}", option6(1, at, length=9)) for at, where in _PLACES),
    *(
        same(6, f"IPv6 options: no length at the end{where}", behind((at, b"\0\1\3\0\0\0\x1e")))
        for at, where in _PLACES
    ),
    *(
        same(6, f"IPv6 options: padding that is not zero{where}", behind((at, b"\0\1\4\0\0\0\7")))
        for at, where in _PLACES
    ),
    same(6, "IPv6 options: router alert", behind((ipv6.HOP_BY_HOP, b"\0\5\2\0\0\1\0")), "icmp6 129/0"),
    differs(
        6,
        "IPv6 options: router alert of another length",
        "IPv6 options: router alert of length 4",
        option6(5, ipv6.HOP_BY_HOP),
        ["icmp6 129/0"],
        [],
    ),
    differs(
        6,
        "IPv6 options: jumbo payload",
        "IPv6 options: jumbo payload, and a length",
        option6(0xC2, ipv6.HOP_BY_HOP),
        ["icmp6 4/2 at 42"],
        ["icmp6 4/0 at 44"],
    ),
    differs(
        6,
        "IPv6 options: jumbo payload",
        "IPv6 options: jumbo payload",
        packet(_jumbo),
        [],
        ["icmp6 4/0 at 44, quoting 88 octets"],
    ),
]
