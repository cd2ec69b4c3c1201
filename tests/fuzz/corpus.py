"""
Where fuzzing begins: inputs with valid packets of every kind.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.ingress import ASKING, ECHO, GROUP, GROUP6, LISTENING, OURS, OURS6, STATION, THEIRS, THEIRS6, join
from tests.stack.link import NOBODY, arpFrame, discovery, echo, frame, icmpPacket, prefix, routerAdvertisement
from txtuntap.testing import ethernetFrame, ipPacket, udpPacket
from txtuntap.wire import icmp, igmp, ipv6, mld, ndp
from txtuntap.wire.address import LINK_BROADCAST, addressText, packAddress, solicitedNode
from txtuntap.wire.arp import REPLY, REQUEST

_PEER = b"\x02\0\0\0\0\x02"
_PAIRS = ((THEIRS, OURS), (THEIRS6, OURS6))


def packets() -> Iterator[list[bytes]]:
    """
    IP packets, in lists of those that belong together.
    """
    for theirs, ours in _PAIRS:
        six = ":" in ours
        yield [echo(theirs, ours)]
        yield [echo(theirs, "10.77.1.2" if not six else "fd77::1:2")]
        for port in ECHO, ASKING, LISTENING, 9:
            yield [udpPacket(theirs, ours, 53, port, b"payload")]
        for group in ("ff02::1", GROUP6) if six else ("10.0.0.255", "255.255.255.255", "224.0.0.1", GROUP):
            yield [udpPacket(theirs, group, 53, ECHO, b"payload")]
        yield [ipPacket(theirs, ours, 253, b"unknown")]
        yield list(_fragments(theirs, ours))
        # Errors about what was written, and what was not.
        asked = udpPacket(OURS, THEIRS, ASKING, 53, b"question") if not six else None
        quoted = asked or udpPacket(OURS6, THEIRS6, LISTENING, 53, bytes(1400))
        kinds = ((1, 4), (2, 0), (3, 1), (4, 1)) if six else ((3, 3), (3, 4), (11, 0), (12, 0), (4, 0), (5, 1))
        for kind, code in kinds:
            yield [icmpPacket(theirs, ours, kind, code, 1300, quoted)]
        for kind in (129, 130, 131, 143, 134, 137, 138) if six else (0, 9, 10, 13, 15, 17):
            yield [icmpPacket(theirs, ours, kind, 0, 7, bytes(24))]
    for options in (b"\x01\x01\x01\0", b"\x07\x07\x04\0\0\0\0\0", b"\x83\x07\x04\1\1\1\1\0", b"\x94\x04\0\0"):
        yield [echo(THEIRS, OURS, options=options)]
    udp = udpPacket(THEIRS6, OURS6, 53, ECHO, b"payload")[40:]
    for kind, header in (
        (0, b"\x05\x02\0\0\1\0"),
        (60, b"\xc2\x04\0\1\0\0"),
        (60, b"\x3e\x04\0\0\0\0"),
        (43, b"\0\1\0\0\0\0"),
        (43, b"\0\0\0\0\0\0"),
    ):
        yield [ipPacket(THEIRS6, OURS6, kind, bytes((17, 0)) + header + udp)]
    yield [ipPacket(THEIRS6, OURS6, 0, bytes((60, 0)) + bytes(6) + bytes((17, 0)) + bytes(6) + udp)]
    yield [ipPacket("0.0.0.0", "224.0.0.1", igmp.PROTOCOL, b"\x11\x64\xee\x9b\0\0\0\0", options=igmp.ROUTER_ALERT)]
    query = icmp.pack(mld.QUERY, 0, 1000 << 16, bytes(20), packAddress("fe80::9"), packAddress("ff02::1"))
    yield [ipPacket("fe80::9", "ff02::1", 0, mld.HOP_BY_HOP + query, hopLimit=1)]


def _fragments(theirs: str, ours: str) -> Iterator[bytes]:
    udp = udpPacket(theirs, ours, 53, ECHO, bytes(range(40)))
    if ":" in theirs:
        payload = udp[40:]
        for offset in range(0, len(payload), 16):
            more = offset + 16 < len(payload)
            yield ipPacket(
                theirs, ours, 44, ipv6.FRAGMENT_HEADER.pack(17, offset | more, 7) + payload[offset : offset + 16]
            )
    else:
        payload = udp[20:]
        for offset in range(0, len(payload), 16):
            more = offset + 16 < len(payload)
            word = 0x2000 * more | offset >> 3
            yield ipPacket(theirs, ours, 17, payload[offset : offset + 16], fragment=word, identification=7)


def frames() -> Iterator[list[bytes]]:
    """
    Ethernet frames that carry something else than L{packets}.
    """
    for opcode, sender, target in (
        (REQUEST, THEIRS, OURS),
        (REQUEST, NOBODY, OURS),
        (REQUEST, OURS, OURS),
        (REPLY, "10.0.0.9", OURS),
        (REQUEST, "10.0.0.9", "10.77.0.1"),
        (REQUEST, NOBODY, "10.77.0.1"),
        (REQUEST, "10.77.0.9", "10.77.200.1"),
    ):
        yield [arpFrame(opcode, sender, target)]
    for kind, source, dest, option in (
        (ndp.SOLICITATION, THEIRS6, OURS6, ndp.SOURCE_LINK),
        (ndp.SOLICITATION, "::", "ff02::1:ff00:2", None),
        (ndp.ADVERTISEMENT, "fd00::9", OURS6, ndp.TARGET_LINK),
        (ndp.ADVERTISEMENT, OURS6, "ff02::1", ndp.TARGET_LINK),
    ):
        group = solicitedNode(packAddress(OURS6))
        yield [frame(discovery(kind, source, dest, OURS6, option, flags=0x60000000), b"\x33\x33" + group[12:])]
    for target in ("fd77::9", "fd78::9"):
        for source in (THEIRS6, "::", "fd77::8"):
            group = solicitedNode(packAddress(target))
            packet = discovery(ndp.SOLICITATION, source, addressText(group), target, None if source == "::" else 1)
            yield [frame(packet, b"\x33\x33" + group[12:])]
    told = [prefix("2001:db8:0:1::/64"), prefix("2001:db8::/48", 0xFFFFFFFF, 0, 0x80), b"\5\1\0\0\0\0\5\xdc"]
    for lifetime in (0, 1, 1800):
        packet = routerAdvertisement(*told, b"\1\1" + _PEER, lifetime=lifetime)
        yield [frame(packet, b"\x33\x33\0\0\0\1"), frame(echo(THEIRS6, "2001:db8:0:1:0:ff:fe00:1"))]
    for vlan in (0, 7):
        yield [ethernetFrame(_PEER, STATION, 0x0800, echo(THEIRS, OURS), vlan=vlan)]
    yield [ethernetFrame(_PEER, LINK_BROADCAST, 0x0800, echo(THEIRS, OURS) + bytes(18))]
    yield [ethernetFrame(_PEER, STATION, 0x88CC, bytes(46))]


def seeds() -> Iterator[bytes]:
    """
    The inputs.
    """
    every: list[bytes] = []
    for belonging in packets():
        yield join(False, [*belonging, 1.0])
        framed = [frame(packet) for packet in belonging]
        yield join(True, [*framed, 1.0])
        every += framed
    for belonging in frames():
        yield join(True, [*belonging, 1.0])
        every += belonging
    yield join(True, [record for packet in every for record in (packet, 0.5)])
    yield join(True, [*every, 70.0])
