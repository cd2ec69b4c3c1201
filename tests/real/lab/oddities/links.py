"""
Rare frames: from and to group addresses, with VLAN tags, ARP packets and neighbour discovery.

Read RFC 826 and RFC 4861 section 7.2 first.
"""

from __future__ import annotations

import struct

from tests.real.lab.oddities import Oddity, differs, same
from tests.real.lab.oddities.frames import (
    GROUP,
    NO_STATION,
    OTHER,
    OWN,
    Frames,
    arpFrom,
    discovers,
    here,
    linkOption,
)
from tests.real.test_input import ALL, HERE, SENDER, asks, echo, framed
from txtuntap.testing import ethernetFrame, ipPacket
from txtuntap.wire import arp, ndp
from txtuntap.wire.address import packLinkAddress

_REPLY = {4: "icmp 0/0", 6: "icmp6 129/0"}
_CLOSED = {4: "icmp 3/3", 6: "icmp6 1/4"}

_BACK = "link: the station that an answer goes to"


def _sentTo(station: bytes, frames: Frames) -> Frames:
    """
    Make the same frames with another destination station.
    """
    return lambda source: [station + frame[6:] for frame in frames(source)]


def _sentBy(station: bytes | str, frames: Frames) -> Frames:
    """
    Make the same frames with another source station.
    """
    return lambda source: [frame[:6] + packLinkAddress(station) + frame[12:] for frame in frames(source)]


def _closed(source: str) -> list[bytes]:
    return [framed(asks(source, 9))]


def _asks(source: str) -> list[bytes]:
    return [framed(asks(source))]


def _unknown(source: str) -> list[bytes]:
    return [framed(ipPacket(source, here(source), 253, b""))]


def _echoes(source: str) -> list[bytes]:
    return [framed(echo(source))]


def _tagged(*tags: tuple[int, int]) -> Frames:
    """
    Make a frame with an echo request and VLAN tags.

    @param tags: the EtherType and the number of each tag.
    """
    octets = b"".join(struct.pack("!HH", *tag) for tag in tags)
    return lambda source: [framed(echo(source))[:12] + octets + framed(echo(source))[12:]]


def _frames(version: int) -> list[Oddity]:
    reply, closed = _REPLY[version], _CLOSED[version]

    def alike(name: str, make: Frames, *answers: str) -> Oddity:
        return same(version, f"IPv{version}: {name}", make, *answers)

    rows = []
    for many, station in ("all", ALL), ("a group", GROUP), ("another group", b"\1\0\x5e\x7f\1\2"):
        rows += [
            alike(f"echo for us at {many}", _sentTo(station, _echoes), reply),
            alike(f"UDP for us at {many}", _sentTo(station, _asks), "udp hello"),
            alike(f"closed port for us at {many}", _sentTo(station, _closed)),
            alike(f"unknown protocol for us at {many}", _sentTo(station, _unknown)),
        ]
    for many, station in ("a group", GROUP), ("all", ALL):
        difference = "link: a frame from a group's address"
        rows += [
            differs(version, difference, f"IPv{version}: {name} from {many}", _sentBy(station, frames), ours, [linux])
            for name, frames, ours, linux in (
                ("echo", _echoes, [], reply),
                ("UDP", _asks, ["heard"], "udp hello"),
                ("closed port", _closed, [], closed),
            )
        ]
    for name, station in ("no station", NO_STATION), ("our own station", OWN):
        rows += [
            differs(
                version,
                "link: a frame from no station, or from our own",
                f"IPv{version}: {what} from {name}",
                _sentBy(station, frames),
                ours,
                [linux],
            )
            for what, frames, ours, linux in (
                ("echo", _echoes, [], reply),
                ("UDP", _asks, ["heard"], "udp hello"),
                ("closed port", _closed, [], closed),
            )
        ]
    for name, frames, answer in ("echo", _echoes, reply), ("UDP", _asks, "udp hello"), ("closed port", _closed, closed):
        rows.append(
            differs(
                version,
                _BACK,
                f"IPv{version}: {name} from another station than the sender's",
                _sentBy(OTHER, frames),
                [f"{answer} at {OTHER}"],
                [answer],
            )
        )
    return [
        *rows,
        alike("tag 0 with a priority", _tagged((0x8100, 0xE000)), reply),
        alike("tag 0, droppable", _tagged((0x8100, 0x1000)), reply),
        alike("tag 0 twice", _tagged((0x8100, 0), (0x8100, 0)), reply),
        differs(
            version,
            "link: three tags",
            f"IPv{version}: tag 0 three times",
            _tagged(*[(0x8100, 0)] * 3),
            [],
            [reply],
        ),
        alike("tag 0, then tag 5", _tagged((0x8100, 0), (0x8100, 5))),
        alike("service tag 0", _tagged((0x88A8, 0)), reply),
        alike("service tag 0, then tag 0", _tagged((0x88A8, 0), (0x8100, 0)), reply),
        alike("service tag 5", _tagged((0x88A8, 5))),
        alike("tag 4095", _tagged((0x8100, 4095))),
        alike("a tag of old", _tagged((0x9100, 0))),
        alike("a tag that is cut short", lambda source: [framed(echo(source))[:12] + b"\x81\0\0"]),
        alike("SNAP", _snap),
    ]


def _snap(source: str) -> list[bytes]:
    frame = framed(echo(source))
    return [ethernetFrame(SENDER, frame[:6], len(frame) - 6, b"\xaa\xaa\3\0\0\0" + frame[12:])]


FRAMES = [*_frames(4), *_frames(6)]


def _twice(frames: Frames) -> Frames:
    return lambda source: frames(source) * 2


_CLAIM = "ARP and NDP: a claim of our address"
_ARP_LINK = "ARP: the link address of many, or of none"
_ARP_SOURCE = "ARP: the IP address of nobody"

ARP = [
    same(4, "ARP request with padding", arpFrom(more=bytes(18)), "arp reply"),
    same(4, "ARP request with a target", arpFrom(dest=OWN), "arp reply"),
    same(4, "ARP request at a group", arpFrom(dest=GROUP), "arp reply"),
    same(4, "ARP request at another station", arpFrom(dest=packLinkAddress(OTHER))),
    same(4, "ARP request of another station", arpFrom(station=OTHER), "arp reply"),
    same(4, "ARP request for another station", arpFrom(link=packLinkAddress(OTHER)), f"arp reply at {OTHER}"),
    same(4, "ARP request with a priority", lambda source: _priority(arpFrom()(source)), "arp reply"),
    same(4, "ARP request of another network", arpFrom("192.0.2.7"), "arp reply"),
    *(
        same(4, f"ARP request from {address}", arpFrom(address))
        for address in ("127.0.0.1", "224.0.0.5", "255.255.255.255")
    ),
    *(
        differs(4, _ARP_SOURCE, f"ARP request from {address}", arpFrom(address), [], ["arp reply"])
        for address in ("10.9.0.255", "240.0.0.1", "0.1.2.3")
    ),
    *(
        same(4, f"ARP request for {address}", arpFrom(target=address))
        for address in ("0.0.0.0", "10.9.0.255", "127.0.0.1", "224.0.0.1", "255.255.255.255")
    ),
    *(same(4, f"ARP probe for {address}", arpFrom("0.0.0.0", target=address)) for address in ("0.0.0.0", "10.9.0.255")),
    *(
        differs(4, _ARP_LINK, f"ARP request, link address of {name}", arpFrom(link=link), [], [f"arp reply at {text}"])
        for name, link, text in (
            ("a group", GROUP, "01:00:5e:00:00:01"),
            ("all", ALL, "ff:ff:ff:ff:ff:ff"),
            ("none", NO_STATION, "00:00:00:00:00:00"),
        )
    ),
    *(
        differs(4, _ARP_LINK, f"ARP request, frame from {name}", arpFrom(station=link), [], ["arp reply"])
        for name, link in (("a group", GROUP), ("all", ALL))
    ),
    *(same(4, f"ARP opcode {opcode}", arpFrom(opcode=opcode)) for opcode in (4, 8, 9, 255, 257)),
    same(4, "ARP announcement of another", lambda source: arpFrom(target=source)(source)),
    same(4, "ARP reply to us", arpFrom(opcode=arp.REPLY, dest=OWN)),
    same(4, "ARP reply to all", arpFrom(opcode=arp.REPLY)),
    differs(4, _CLAIM, "ARP claims of ours", _twice(arpFrom(HERE[4])), ["defended"], []),
    same(4, "ARP announcement of ours from our own station", arpFrom(HERE[4], link=OWN, station=OWN)),
]


def _priority(frames: list[bytes]) -> list[bytes]:
    return [frame[:12] + b"\x81\0\xe0\0" + frame[12:] for frame in frames]


_ADVERTISED = "icmp6 136/0"
_TOLD = f"{_ADVERTISED} at 33:33:00:00:00:01 to ff02::1"
_OWN_BACK = "NDP: our own station's, come back"
_NDP_LINK = "NDP: the link address of many, or of none"

NDP = [
    same(6, "NS at our station", discovers(to=OWN), _ADVERTISED),
    same(6, "NS at all stations", discovers(to=ALL), _ADVERTISED),
    differs(
        6,
        "NDP: a solicitation to one host",
        "NS to our address",
        discovers(dest=HERE[6]),
        [_ADVERTISED],
        [f"{_ADVERTISED}, flags 40000000, options "],
    ),
    same(6, "NS to all nodes", discovers(dest="ff02::1"), _ADVERTISED),
    same(6, "NS to another group", discovers(dest="ff02::1:ff00:3")),
    *(same(6, f"NS with hop limit {limit}", discovers(hopLimit=limit)) for limit in (0, 1, 254)),
    same(6, "NS of a group", discovers(target="ff02::1:ff00:2")),
    same(6, "NS of ::", discovers(dest=HERE[6], target="::")),
    same(6, "NS cut short", discovers(target="", options=bytes(15))),
    same(
        6,
        "NS with an unknown option",
        discovers(options=linkOption(SENDER) + b"\x0e\1nonce!"),
        _ADVERTISED,
    ),
    same(
        6,
        "NS with an unknown option of length 0",
        discovers(options=linkOption(SENDER) + b"\x0e\0nonce!"),
    ),
    same(6, "NS with an option cut short", discovers(options=b"\1\1\2\0")),
    same(6, "NS with one octet of an option", discovers(options=b"\1")),
    same(6, "NS with reserved bits", discovers(flags=0xFFFFFFFF), _ADVERTISED),
    same(6, "NS of another network", discovers("2001:db8::7"), _ADVERTISED + " to 2001:db8::7"),
    same(6, "NS from a group", discovers("ff02::5")),
    same(6, "NS from ::1", discovers("::1")),
    same(6, "probe", discovers("::", options=b""), _TOLD),
    same(6, "probe with a nonce", discovers("::", options=b"\x0e\1nonce!"), _TOLD),
    same(6, "probe with a link address", discovers("::")),
    same(6, "probe to us alone", discovers("::", HERE[6], options=b"")),
    same(6, "probe to all nodes", discovers("::", "ff02::1", options=b"")),
    differs(
        6,
        "NDP: two link addresses",
        "NS with two link addresses",
        discovers(options=linkOption(SENDER) + linkOption(OTHER)),
        [f"{_ADVERTISED} at {OTHER}"],
        [_ADVERTISED],
    ),
    same(6, "NS with the link address of another", discovers(options=linkOption(OTHER)), f"{_ADVERTISED} at {OTHER}"),
    differs(6, _BACK, "NS to us without a link address", discovers(dest=HERE[6], options=b""), [_ADVERTISED], []),
    *(
        differs(
            6,
            _NDP_LINK,
            f"NS with the link address of {name}",
            discovers(options=linkOption(link)),
            [],
            [f"{_ADVERTISED} at {text}"],
        )
        for name, link, text in (
            ("a group", GROUP, "01:00:5e:00:00:01"),
            ("all", ALL, "ff:ff:ff:ff:ff:ff"),
            ("none", NO_STATION, "00:00:00:00:00:00"),
        )
    ),
    differs(6, _NDP_LINK, "NS, frame from a group", discovers(station=GROUP), [], [_ADVERTISED]),
    differs(6, _OWN_BACK, "NS, frame from our own station", discovers(station=OWN), [], [_ADVERTISED]),
    differs(6, _OWN_BACK, "probe from our own station", discovers("::", options=b"", station=OWN), [], [_TOLD]),
    differs(6, "IPv6: source our own", "NS from our address", discovers(HERE[6]), [], [f"{_ADVERTISED} to {HERE[6]}"]),
    differs(
        6,
        _CLAIM,
        "NA of our address",
        _twice(
            discovers(
                dest="ff02::1",
                kind=ndp.ADVERTISEMENT,
                flags=ndp.OVERRIDE,
                options=linkOption(SENDER, ndp.TARGET_LINK),
            )
        ),
        [_TOLD],
        [],
    ),
]
