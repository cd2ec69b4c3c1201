"""
The initial inputs of fuzzing, which contain valid packets of every kind.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.ingress import (
    ASKING,
    CALLING,
    ECHO,
    GROUP,
    GROUP6,
    LISTENING,
    OURS,
    OURS6,
    STATION,
    THEIRS,
    THEIRS6,
    Ingress,
    join,
)
from tests.fuzz.tcp import ABORTING, CLOSING, ECHOING, HALF_CLOSING, PAUSING, SENDING
from tests.stack.link import NOBODY, arpFrame, discovery, echo, frame, icmpPacket, prefix, routerAdvertisement
from tests.tcp.rawpeer import segment
from txtuntap.testing import ethernetFrame, ipPacket, udpPacket
from txtuntap.wire import icmp, igmp, ipv6, mld, ndp
from txtuntap.wire import tcp as wireTCP
from txtuntap.wire.address import LINK_BROADCAST, addressText, packAddress, solicitedNode
from txtuntap.wire.arp import REPLY, REQUEST
from txtuntap.wire.tcp import ACK, FIN, PSH, RST, SYN

_PEER = b"\x02\0\0\0\0\x02"
_STRANGER = b"\x02\0\0\0\0\x09"
_PAIRS = ((THEIRS, OURS), (THEIRS6, OURS6))


def packets() -> Iterator[list[bytes]]:
    """
    Make IP packets of every kind. Each list has packets that belong together.
    """
    for theirs, ours in _PAIRS:
        six = ":" in ours
        yield [echo(theirs, ours)]
        yield [echo(theirs, "10.77.1.2" if not six else "fd77::1:2")]
        for port in ECHO, ASKING, LISTENING, CALLING, 9:
            yield [udpPacket(theirs, ours, 53, port, b"payload")]
        # The host answers with a datagram to itself.
        yield [udpPacket(theirs, ours, 53, CALLING, b"\1")]
        yield [*_large(theirs, ours)]
        yield [icmpPacket(theirs, ours, 2 if six else 3, 0 if six else 4, 1300, _sent(six)[0]), *_large(theirs, ours)]
        for group in ("ff02::1", GROUP6) if six else ("10.0.0.255", "255.255.255.255", "224.0.0.1", GROUP):
            yield [udpPacket(theirs, group, 53, ECHO, b"payload")]
        yield [ipPacket(theirs, ours, 253, b"unknown")]
        yield list(_fragments(theirs, ours))
        for more in _faults(theirs, ours):
            yield [*_fragments(theirs, ours)][:2] + more
        # ICMP errors about packets that the host has sent and about packets that it has not, and answers to its pings.
        never = udpPacket(ours, theirs, ASKING, 54, b"question")
        for sent in [*_sent(six), never, b"\x60" + bytes(5) + b",@" + never[8:40] + bytes(40) if six else never[:24]]:
            kinds = ((1, 4), (2, 0), (3, 1), (4, 1)) if six else ((3, 3), (3, 4), (11, 0), (12, 0), (4, 0), (5, 1))
            for kind, code in kinds:
                yield [icmpPacket(theirs, ours, kind, code, 1300, sent[:200])]
            start, protocol = (40, sent[6]) if six else (20, sent[9])
            if protocol == icmp.PROTOCOL[6 if six else 4]:
                word = int.from_bytes(sent[start + 4 : start + 8], "big")
                yield [icmpPacket(theirs, ours, icmp.ECHO_REPLY6 if six else icmp.ECHO_REPLY, 0, word, b"")]
        for kind in (129, 130, 131, 143, 134, 137, 138) if six else (0, 9, 10, 13, 15, 17):
            yield [icmpPacket(theirs, ours, kind, 0, 7, bytes(24))]
    for options in (
        b"\x01\x01\x01\0",
        b"\x07\x07\x04\0\0\0\0\0",
        b"\x83\x07\x04\1\1\1\1\0",
        b"\x94\x04\0\0",
        b"\1\7\0\0",
    ):
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
    chain = bytes((17, 0)) + bytes(6) + udp
    first, last = (ipv6.FRAGMENT_HEADER.pack(60, word, 8) for word in (1, 16))
    yield [ipPacket(THEIRS6, OURS6, 44, first + chain[:16]), ipPacket(THEIRS6, OURS6, 44, last + chain[16:])]
    for query in (b"\x11\0\xee\xff\0\0\0\0", b"\x11\xa0\x4d\x5b\0\0\0\0\2\x7d\0\0"):
        yield [ipPacket("10.0.0.1", "224.0.0.1", igmp.PROTOCOL, query, options=igmp.ROUTER_ALERT)]
    for extension in (b"\x01\1\0\0\0\0", b"\xc2\4\0\0\0\0", b"\0\0\0\0\0\0"):
        # The header behind the option is cut off, is behind a fragment header, or is an extension header again.
        yield [ipPacket(THEIRS6, OURS6, 60, bytes((60, 1)) + extension)]
        yield [ipPacket(THEIRS6, OURS6, 44, bytes((60, 0)) + bytes(6) + bytes((17, 0)) + extension + udp)]
        yield [ipPacket(THEIRS6, OURS6, 60, bytes((44, 0)) + bytes((1, 4)) + bytes(4) + bytes((44, 0)) + bytes(22))]
    long = icmp.pack(mld.QUERY, 0, 0x9000 << 16, bytes(20), packAddress("fe80::9"), packAddress("ff02::1"))
    yield [ipPacket("fe80::9", "ff02::1", 0, mld.HOP_BY_HOP + long, hopLimit=1)]
    query = icmp.pack(mld.QUERY, 0, 1000 << 16, bytes(20), packAddress("fe80::9"), packAddress("ff02::1"))
    yield [ipPacket("fe80::9", "ff02::1", 0, mld.HOP_BY_HOP + query, hopLimit=1)]


def _fragments(theirs: str, ours: str) -> Iterator[bytes]:
    """
    Make the fragments of one datagram.
    """
    payload = udpPacket(theirs, ours, 53, ECHO, bytes(range(40)))[40 if ":" in theirs else 20 :]
    for offset in range(0, len(payload), 16):
        yield _fragment(theirs, ours, offset, offset + 16 < len(payload), payload[offset : offset + 16])


def _large(theirs: str, ours: str) -> Iterator[bytes]:
    """
    Make the fragments of a datagram whose answer has to be fragmented, too.
    """
    payload = udpPacket(theirs, ours, 53, ECHO, bytes(1800))[40 if ":" in theirs else 20 :]
    for offset in 0, 904:
        yield _fragment(theirs, ours, offset, not offset, payload[offset : offset + 904])


def _faults(theirs: str, ours: str) -> Iterator[list[bytes]]:
    """
    Make lists of fragments that contradict those of L{_fragments}: repeated, contained in one, overlapping, behind the
    last, with another end, with an end past 65,535 octets, or empty. The last list has no fragments.
    """
    for offset, more, length in (
        *((16, True, 16), (24, True, 8), (8, True, 16), (48, True, 16), (24, False, 4), (16, False, 0)),
        *((65528, False, 64), (0, True, 0), (40, True, 0), (0, True, 4), (0, False, 8)),
    ):
        yield [_fragment(theirs, ours, offset, more, bytes(length)), *_fragments(theirs, ours)]
    yield [_fragment(theirs, ours, 56, False, b"")]
    yield []


def _fragment(theirs: str, ours: str, offset: int, more: bool, piece: bytes) -> bytes:
    if ":" in theirs:
        return ipPacket(theirs, ours, 44, ipv6.FRAGMENT_HEADER.pack(17, offset | more, 7) + piece)
    return ipPacket(theirs, ours, 17, piece, fragment=0x2000 * more | offset >> 3, identification=7)


def _sent(six: bool) -> list[bytes]:
    """
    Return the packets of one IP version that the host sends when it starts.
    """
    return [packet for packet in Ingress(False).device.sent if (packet[0] >> 4 == 6) == six]


def frames() -> Iterator[list[bytes]]:
    """
    Make Ethernet frames that do not carry L{packets}. Each list has frames that belong together.
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
    yield [frame(echo(THEIRS, OURS), _STRANGER)]
    for vlan in (0, 7):
        yield [ethernetFrame(_PEER, STATION, 0x0800, echo(THEIRS, OURS), vlan=vlan)]
    yield [ethernetFrame(_PEER, LINK_BROADCAST, 0x0800, echo(THEIRS, OURS) + bytes(18))]
    yield [ethernetFrame(_PEER, STATION, 0x88CC, bytes(46))]
    yield [ethernetFrame(_PEER, STATION, 46, bytes(46))]
    tag = b"\x88\xa8\0\0\x81\0\0\0"
    yield [_PEER.join((STATION, tag)) + b"\x08\0" + echo(THEIRS, OURS), STATION + _PEER + tag[:7]]
    yield [_PEER.join((STATION, tag)) + tag]


def neighbourEvents() -> Iterator[list[bytes | float]]:
    """
    Make frames and pauses in seconds for the neighbour cache. A neighbour is unknown, becomes known, is silent for a
    long time, and changes its link address.
    """
    for here, theirs, ours in (("10.0.0.9", THEIRS, OURS), ("fd00::9", THEIRS6, OURS6)):
        # This datagram makes the host write to the neighbour.
        writes = frame(udpPacket(theirs, ours, 53, CALLING, b"\x08" + bytes(100)))
        other = frame(udpPacket(here, ours, 53, LISTENING, b""), source=_PEER)
        says = {station: _claim(here, ours, station) for station in (_STRANGER, _PEER)}
        yield [writes, writes, says[_STRANGER], 40.0, writes, 6.0, says[_STRANGER], says[_PEER], 6.0, says[_PEER], 9.0]
        yield [says[_PEER], writes, other, 9.0]
        yield [frame(icmpPacket(here, ours, 3, 3, 0, b"")), 0.5, says[_STRANGER], writes]
        # The host writes to neighbours that do not exist. The packets wait, and are dropped.
        yield [*(frame(udpPacket(theirs, ours, 53, CALLING, bytes((last,)))) for last in range(20, 90)), 4.0]
    # Another station claims an address of the host.
    for ours in OURS, OURS6:
        yield [_claim(ours, ours, _PEER), 1.0, _claim(ours, ours, _PEER), 30.0]


def _claim(address: str, ours: str, station: bytes) -> bytes:
    """
    Make an ARP reply or a neighbour advertisement with which a station claims an address.
    """
    if ":" not in address:
        return arpFrame(REPLY, address, ours, senderLink=station, dest=STATION, source=station)
    dest, flags = (ours, 0x60000000) if address != ours else ("ff02::1", 0x20000000)
    packet = discovery(ndp.ADVERTISEMENT, address, dest, address, ndp.TARGET_LINK, station, flags)
    return frame(packet, STATION if address != ours else b"\x33\x33\0\0\0\1", station)


def segments() -> Iterator[list[bytes | float]]:
    """
    Make TCP segments and pauses in seconds. Sequence and acknowledgment numbers are relative to those that the host
    expects.
    """
    options = wireTCP.packSynOptions(1460, 7, True, (5, 0))
    for theirs, ours in (THEIRS, OURS), (THEIRS6, OURS6), ("10.0.0.9", "10.77.3.4"):

        def at(
            port: int,
            flags: int,
            payload: bytes = b"",
            sequence: int = 0,
            acknowledgment: int = 0,
            options: bytes = b"",
            source: int = 4000,
            window: int = 8000,
            ends: tuple[str, str] = (theirs, ours),
        ) -> bytes:
            numbers = sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF
            return segment(*ends, source, port, *numbers, flags, payload, options, window)

        for port in ECHOING, SENDING, PAUSING, CLOSING, ABORTING, HALF_CLOSING, 402:
            opening: list[bytes | float] = [at(port, SYN, options=options), at(port, ACK)]
            data = at(port, ACK | PSH, b"payload")
            yield [*opening, data, data, 0.5, at(port, ACK), at(port, FIN | ACK), 6.0, at(port, ACK), at(port, ACK)]
            yield [*opening, at(port, ACK, b"later", 10), at(port, ACK, b"over", 8), at(port, ACK, bytes(10)), 1.0]
            yield [*opening, data, at(port, RST, sequence=3), at(port, SYN), at(port, RST)]
            yield [at(port, SYN), at(port, ACK), *(at(port, ACK, bytes(500)) for _ in range(20)), 7.0, 300.0]
            yield [*opening, data, 1.0, 4.0, 20.0, at(port, ACK, acknowledgment=-3), at(port, ACK, window=0), 90.0]
        for first in range(0, 64, 16):
            flagged: list[bytes | float] = []
            for flags in range(first, first + 16):
                flagged += [at(ECHOING, flags), at(9, flags), at(ECHOING, SYN), at(ECHOING, flags)]
                flagged += [at(ECHOING, flags, b"x", 1), at(ECHOING, ACK), at(ECHOING, flags)]
            yield flagged
        many: list[bytes | float] = [at(ECHOING, SYN, source=source) for source in range(5000, 5020)]
        yield [*many, *(at(ECHOING, ACK, source=source) for source in range(5000, 5020)), 70.0]
        yield [at(ECHOING, flags, source=source) for source in range(5000, 5010) for flags in (SYN, ACK)]
        yield [at(400, SYN, source=source) for source in range(5000, 5040)]
        short = bytearray(at(ECHOING, SYN))
        short[(40 if ":" in ours else 20) + 12] = 0x40
        yield [bytes(short)]
        yield [*(at(403, SYN, source=source) for source in range(5000, 5010)), at(403, RST, sequence=1), 11.0]
        sacks = wireTCP.packSacks([(-20 & 0xFFFFFFFF, 0), (-40 & 0xFFFFFFFF, -30 & 0xFFFFFFFF)])
        yield [at(SENDING, SYN, options=options), at(SENDING, ACK), at(SENDING, ACK, options=sacks), 9.0]
        # Answers to the host's own SYN, and simultaneous open.
        for flags in SYN | ACK, SYN, ACK, RST | ACK:
            reply = segment(theirs, ours, 9, 50_000, 7, 0, flags, b"", options)
            yield [reply, segment(theirs, ours, 9, 50_000, 0, 0, ACK, b"hello"), 2.0]


def seeds() -> Iterator[bytes]:
    """
    Make the initial inputs of the fuzzer.
    """
    every: list[bytes] = []
    for conversation in segments():
        yield join(False, [*conversation, 61.0])
        yield join(True, [frame(each) if isinstance(each, bytes) else each for each in conversation])
    for belonging in packets():
        yield join(False, [*belonging, 61.0])
        framed = [frame(packet) for packet in belonging]
        yield join(True, [*framed, 61.0])
        every += framed
    for belonging in frames():
        yield join(True, [*belonging, 1.0])
        every += belonging
    for records in neighbourEvents():
        for early in False, True:
            yield join(True, records, early)
    yield join(True, [record for packet in every for record in (packet, 0.5)])
    yield join(True, [*every, 70.0])
