"""
Packets with rare addresses, with protocols of the other IP version, and ICMP and UDP messages with rare fields.

Read RFC 792, RFC 4443 and RFC 1122 section 3.2 first.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.real.lab.machine import ECHO
from tests.real.lab.oddities import Oddity, differs, same
from tests.real.lab.oddities.frames import Frames, here, packet, versionOf
from tests.real.test_input import HERE, LINK_LOCAL, asks, echo, framed, icmp4, icmp6, udpAs
from txtuntap.testing import ipPacket, udpPacket
from txtuntap.wire import icmp

_REPLY = {4: "icmp 0/0", 6: "icmp6 129/0"}


_MAPPED = "::ffff:192.0.2.7"


def _from(address: str) -> list[Oddity]:
    """
    Make the rows of an echo request and of a datagram from an address, which both hosts answer.
    """
    version = versionOf(address)
    return [
        same(version, f"echo from {address}", packet(lambda _: echo(address)), f"{_REPLY[version]} to {address}"),
        same(version, f"UDP from {address}", packet(lambda _: asks(address)), f"udp hello to {address}"),
    ]


def _noHost(difference: str, address: str) -> list[Oddity]:
    """
    Make the same rows for an address that Linux answers and a host of this package does not.
    """
    return [differs(row.version, difference, row.name, row.make, [], row.here) for row in _from(address)]


def _to(address: str, *answers: str, heard: bool = False) -> list[Oddity]:
    """
    Make the rows of a datagram to an address: from the sender, and from the unspecified address.

    @param answers: the reaction to the datagram from the sender.
    @param heard: whether the datagram from the unspecified address is delivered. It cannot be answered.
    """
    version = versionOf(address)
    nobody = "0.0.0.0" if version == 4 else "::"
    return [
        same(version, f"UDP to {address}", packet(lambda source: asks(source, dest=address)), *answers),
        same(
            version,
            f"UDP from {nobody} to {address}",
            packet(lambda _: asks(nobody, dest=address)),
            *(["heard"] if heard else []),
        ),
    ]


ADDRESSES = [
    *(row for address in ("192.0.2.7", "169.254.1.1", "10.9.0.0") for row in _from(address)),
    *(row for address in ("2001:db8::7", "fd09::", "2002:7f00:1::1", "::10.9.0.77") for row in _from(address)),
    *(
        row
        for address in ("240.0.0.1", "0.1.2.3", "255.255.255.254")
        for row in _noHost("IPv4: source in 0/8 or 240/4", address)
    ),
    *_noHost("IPv6: source in ::/120", "::7"),
    *(
        differs(6, "IPv6: source IPv4-mapped", f"{name} from {_MAPPED}", packet(make), [], [linux])
        for name, make, linux in (
            ("echo", lambda _: echo(_MAPPED), f"{_REPLY[6]} to {_MAPPED}"),
            ("UDP", lambda _: asks(_MAPPED), "heard"),
        )
    ),
    differs(
        4,
        "IPv4: source the broadcast of a subnet",
        "echo from 10.9.0.255",
        packet(lambda _: echo("10.9.0.255")),
        [],
        [f"{_REPLY[4]} at ff:ff:ff:ff:ff:ff to 10.9.0.255"],
    ),
    differs(6, "IPv6: echo from ::", "echo from ::", packet(lambda _: echo("::")), [], [f"{_REPLY[6]} to ::"]),
    *_to("10.9.0.255", "udp hello"),
    *(row for address in ("255.255.255.255", "224.0.0.1") for row in _to(address, "udp hello", heard=True)),
    *(row for address in ("10.9.0.0", "127.0.0.1", "224.0.0.9", "239.1.2.3", "240.0.0.1") for row in _to(address)),
    *(row for address in ("ff02::1", "ff02::1:ff00:2") for row in _to(address, "udp hello", heard=True)),
    *(
        row
        for address in ("ff00::1", "ff01::1", "ff02::2", "ff02::1:ff00:3", "ff05::1", "ff0e::1", "ff12::1", "::", "::1")
        for row in _to(address)
    ),
    same(
        6,
        "echo to our link-local address",
        packet(lambda source: echo(source, LINK_LOCAL)),
        f"icmp6 129/0 from {LINK_LOCAL}",
    ),
    same(4, "UDP to 0.0.0.0", packet(lambda source: asks(source, dest="0.0.0.0"))),
    differs(
        4,
        "IPv4: UDP from 0.0.0.0 to 0.0.0.0",
        "UDP from 0.0.0.0 to 0.0.0.0",
        packet(lambda _: asks("0.0.0.0", dest="0.0.0.0")),
        [],
        ["heard"],
    ),
    same(4, "UDP from 0.0.0.0 to us", packet(lambda _: asks("0.0.0.0"))),
    differs(6, "IPv6: UDP from :: to one host", "UDP from :: to us", packet(lambda _: asks("::")), [], ["heard"]),
    same(6, "UDP to a closed port from ::", packet(lambda _: asks("::", 9))),
    same(6, "unknown next header from ::", packet(lambda _: ipPacket("::", HERE[6], 253, b""))),
    same(4, "IPv4: UDP from ourselves", packet(lambda _: asks(HERE[4]))),
    differs(6, "IPv6: source our own", "IPv6: UDP from ourselves", packet(lambda _: asks(HERE[6])), [], ["heard"]),
    differs(
        6,
        "IPv6: echo to a group",
        "echo to our solicited-node group",
        packet(lambda source: echo(source, "ff02::1:ff00:2")),
        [],
        ["icmp6 129/0"],
    ),
]


def _protocol(number: int) -> Frames:
    return packet(lambda source: ipPacket(source, HERE[4], number, b"what?"))


def _message(version: int, kind: int) -> Frames:
    """
    Make a frame with an ICMP message of the given type that contains only zeros.
    """
    if version == 4:
        return packet(lambda source: icmp4(source, kind, 0, bytes(20)))
    return packet(lambda source: icmp6(source, kind, 0, bytes(20), hopLimit=255))


#: Types of service or traffic classes: all bits, each value of the ECN field, and precedences. Hosts limit the rate of
#: errors, and send no more of them at once.
_SERVICES = 0xFF, 0x01, 0x02, 0x03, 0x5A, 0xE0


def _service(tos: int, ordinary: int, name: str = "tos") -> str:
    """
    Describe the type of service or traffic class of an answer, if it is unusual.
    """
    return "" if tos == ordinary else f", {name} {tos:#x}"


def asksClosed(source: str, **fields: Any) -> bytes:
    """
    Make a datagram to a closed port.
    """
    return asks(source, 9, **fields)


def _asksAtLength(source: str) -> bytes:
    return udpPacket(source, here(source), 4000, 9, bytes(1400))


def _asksUnknown(source: str, **fields: Any) -> bytes:
    return ipPacket(source, here(source), 253, b"what?", **fields)


def asksForTheTime(source: str, **fields: Any) -> bytes:
    """
    Make an ICMP timestamp request.
    """
    message = icmp.pack(icmp.TIMESTAMP_REQUEST, 0, 0x12340001, (1).to_bytes(4, "big") + bytes(8))
    return ipPacket(source, HERE[4], icmp.PROTOCOL[4], message, **fields)


PROTOCOLS = [
    same(
        4,
        "ICMPv6 over IPv4",
        packet(lambda source: ipPacket(source, HERE[4], 58, icmp.pack(icmp.ECHO_REQUEST6, 0, 1, b""))),
        "icmp 3/2",
    ),
    same(
        4,
        "ICMP over IPv4 as ICMPv6",
        packet(lambda source: ipPacket(source, HERE[4], 58, icmp.pack(icmp.ECHO_REQUEST, 0, 1, b""))),
        "icmp 3/2",
    ),
    same(
        6,
        "ICMP over IPv6",
        packet(lambda source: ipPacket(source, HERE[6], 1, icmp.pack(icmp.ECHO_REQUEST, 0, 1, b""))),
        "icmp6 4/1 at 6",
    ),
    same(
        6,
        "ICMPv6 over IPv6 as ICMP",
        packet(lambda source: ipPacket(source, HERE[6], 1, echo(source)[40:])),
        "icmp6 4/1 at 6",
    ),
    same(
        6,
        "IGMP over IPv6",
        packet(lambda source: ipPacket(source, HERE[6], 2, b"\x11\0\xee\xff\0\0\0\0")),
        "icmp6 4/1 at 6",
    ),
    *(
        same(
            4,
            f"protocol {number}",
            _protocol(number),
            "icmp 3/2",
        )
        for number in (0, 44, 254)
    ),
    same(4, "unknown protocol, empty", packet(lambda source: ipPacket(source, HERE[4], 253, b"")), "icmp 3/2"),
    same(6, "no next header, but a payload", packet(lambda source: ipPacket(source, HERE[6], 59, b"12345678"))),
    *(
        same(
            4,
            f"IPv4: {name} of other types of service",
            lambda source, make=make: [framed(make(source, tos=tos)) for tos in _SERVICES],  # type: ignore[misc]
            *(f"{answer}{_service(tos & keeps | has, ordinary)}" for tos in _SERVICES),
        )
        for name, make, answer, keeps, has, ordinary in (
            ("echo request", echo, "icmp 0/0", 0xFF, 0, 0),
            ("timestamp request", asksForTheTime, "icmp 14/0", 0xFF, 0, 0),
            ("UDP to a closed port", asksClosed, "icmp 3/3", 0x1E, 0xC0, 0xC0),
            ("unknown protocol", _asksUnknown, "icmp 3/2", 0x1E, 0xC0, 0xC0),
            ("bad options", partial(echo, options=b"\7\0\0\0"), "icmp 12/0 at 20", 0x1E, 0xC0, 0xC0),
            ("UDP", asks, "udp hello", 0, 0, 0),
        )
    ),
    *(
        same(
            6,
            f"IPv6: {name} of other classes",
            lambda source, make=make: [  # type: ignore[misc]
                framed((0x6005A5A5 | tos << 20).to_bytes(4, "big") + make(source)[4:]) for tos in _SERVICES
            ],
            *(f"{answer}{_service(tos & keeps, 0, 'class')}" for tos in _SERVICES),
        )
        for name, make, answer, keeps in (
            ("echo request", echo, "icmp6 129/0", 0xFF),
            ("UDP", asks, "udp hello", 0),
            ("UDP to a closed port", asksClosed, "icmp6 1/4", 0),
            ("unknown next header", _asksUnknown, "icmp6 4/1 at 6", 0),
        )
    ),
    same(4, "IPv4: echo request that may be taken apart", packet(lambda source: echo(source, fragment=0)), "icmp 0/0"),
    same(4, "IPv4: UDP that may be taken apart", packet(lambda source: asks(source, fragment=0)), "udp hello"),
    *(
        same(version, f"IPv{version}: UDP of 1400 octets to a closed port", packet(_asksAtLength), answer)
        for version, answer in ((4, "icmp 3/3"), (6, "icmp6 1/4"))
    ),
    same(6, "IPv6: hop limit 0", packet(lambda source: echo(source, hopLimit=0)), "icmp6 129/0"),
    same(6, "IPv6: length 0", packet(lambda source: echo(source)[:4] + b"\0\0" + echo(source)[6:])),
    same(6, "IPv6: 39 octets", packet(lambda source: echo(source)[:39])),
]

_CODE = "ICMP: echo or timestamp request with a code"

MESSAGES = [
    *(same(4, f"ICMP type {kind}", _message(4, kind)) for kind in (0, 1, 4, 9, 10, 15, 30, 37, 255)),
    *(
        same(6, f"ICMPv6 type {kind}", _message(6, kind))
        for kind in (0, 5, 127, 129, 133, 138, 139, 144, 151, 160, 255)
    ),
    same(4, "ICMP: empty echo request", packet(lambda source: icmp4(source, 8, 0, b"")), "icmp 0/0"),
    same(6, "ICMPv6: empty echo request", packet(lambda source: icmp6(source, 128, 0, b"")), "icmp6 129/0"),
    same(4, "ICMP: seven octets", packet(lambda source: ipPacket(source, HERE[4], 1, b"\x08\0\xf7\xff\0\0\0"))),
    same(6, "ICMPv6: seven octets", packet(lambda source: ipPacket(source, HERE[6], 58, b"\x80\0\0\0\0\0\0"))),
    same(4, "ICMP: no checksum", packet(lambda source: echo(source)[:22] + b"\0\0" + echo(source)[24:])),
    same(6, "ICMPv6: no checksum", packet(lambda source: echo(source)[:42] + b"\0\0" + echo(source)[44:])),
    same(4, "ICMP: timestamp request with more", packet(lambda source: icmp4(source, 13, 0, bytes(40))), "icmp 14/0"),
    same(
        4,
        "ICMP: timestamp request to all",
        packet(lambda source: ipPacket(source, "10.9.0.255", 1, icmp.pack(13, 0, 0, bytes(12)))),
    ),
    same(
        4,
        "ICMP: extended echo request",
        packet(lambda source: icmp4(source, 42, 0, b"\x20\0\xdf\xff\0\x08\3\1\0\0\0\0")),
    ),
    differs(
        4, _CODE, "ICMP: echo request with code 1", packet(lambda source: icmp4(source, 8, 1, b"")), [], ["icmp 0/1"]
    ),
    differs(
        4,
        _CODE,
        "ICMP: timestamp request with code 1",
        packet(lambda source: icmp4(source, 13, 1, bytes(12))),
        [],
        ["icmp 14/0"],
    ),
    differs(
        6,
        _CODE,
        "ICMPv6: echo request with code 1",
        packet(lambda source: icmp6(source, 128, 1, b"")),
        [],
        ["icmp6 129/1"],
    ),
]


def _datagrams(version: int) -> list[Oddity]:
    closed = "icmp 3/3" if version == 4 else "icmp6 1/4"
    return [
        same(version, f"IPv{version}: {name}", packet(make), *answers)
        for name, make, answers in (
            ("UDP to port 0", lambda source: asks(source, 0), [closed]),
            ("UDP from port 0", lambda source: udpPacket(source, here(source), 0, ECHO, b"hello"), ["heard"]),
            ("UDP length 0", lambda source: udpAs(source, length=0), []),
            ("UDP to a closed port, bad checksum", lambda source: udpAs(source, check=0x1234, port=9), []),
            ("UDP to a closed port, too long", lambda source: udpAs(source, length=14, port=9), []),
            (
                "UDP to a closed port, with more",
                lambda source: udpAs(source, port=9, tail=b"more"),
                # The quotation leaves out the octets after the datagram's length.
                [f"{closed}, quoting {33 if version == 4 else 53} octets"],
            ),
        )
    ]


DATAGRAMS = [
    *_datagrams(4),
    *_datagrams(6),
    same(
        4, "IPv4: UDP to a closed port, no checksum", packet(lambda source: udpAs(source, check=0, port=9)), "icmp 3/3"
    ),
    same(6, "IPv6: UDP to a closed port, no checksum", packet(lambda source: udpAs(source, check=0, port=9))),
]
