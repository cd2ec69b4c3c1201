"""
The answers of a host to packets: each row of a table is a raw packet from a forged sender, and the expected answer.

Each row has a sender of its own, so that the limits of one row do not affect the others. After each row, a datagram is
sent that is always answered. If its answer comes first, the row has no answer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.real.lab.answers import OURS, Habits, unusual, unusualARP
from tests.real.lab.link import PacketSocket
from tests.real.lab.machine import ECHO, INTERFACE, RELAY, STATION, Machine
from tests.real.lab.namespace import until
from txtuntap.device import TAP, TUN
from txtuntap.testing import ethernetFrame, ipPacket, udpDatagram, udpPacket
from txtuntap.wire import arp, ethernet, icmp, ipv6, ndp, udp
from txtuntap.wire.address import addressText, packAddress, packLinkAddress
from txtuntap.wire.checksum import checksum

HERE = {4: "10.9.0.2", 6: "fd09::2"}
LINK_LOCAL = "fe80::ff:fe00:2"

#: The link address of all senders, and the IP addresses that they may have.
SENDER = "02:00:00:00:00:99"
STATIONS = {
    **{f"10.9.0.{number}": SENDER for number in range(19, 255)},
    **{f"fd09::1:{number:x}": SENDER for number in range(512)},
}
ALL = b"\xff" * 6

SILENT = ""

ON_TAP = pytest.mark.parametrize("machine", ["tap"], indirect=True, scope="module")

#: The greatest number of octets by which an answer is longer than its packet (IP and ICMP headers).
MOST_ADDED = {4: 28, 6: 48}

TCP = 6

Row = Callable[[str], bytes]

_body = bytes(range(32))


def tcp(source: str) -> bytes:
    """
    Make a TCP SYN to port 9.
    """
    dest = HERE[6 if ":" in source else 4]
    segment = struct.pack("!HHIIBBHHH", 4000, 9, 1, 0, 0x50, 2, 1000, 0, 0)
    total = checksum(packAddress(source) + packAddress(dest) + struct.pack("!HH", TCP, len(segment)) + segment)
    return ipPacket(source, dest, TCP, segment[:16] + total.to_bytes(2, "big") + segment[18:])


def echo(source: str, dest: str = "", rest: int = 0x12340001, **fields: Any) -> bytes:
    """
    Make an echo request of either version.
    """
    version = 6 if ":" in source else 4
    dest = dest or HERE[version]
    if version == 4:
        return ipPacket(source, dest, icmp.PROTOCOL[4], icmp.pack(icmp.ECHO_REQUEST, 0, rest, _body), **fields)
    return icmp6(source, icmp.ECHO_REQUEST6, 0, _body, rest, dest, **fields)


def _asksClosedPort(source: str, dest: str) -> bytes:
    return asks(source, 9, dest)


def icmp4(source: str, kind: int, code: int, body: bytes, rest: int = 0) -> bytes:
    return ipPacket(source, HERE[4], icmp.PROTOCOL[4], icmp.pack(kind, code, rest, body))


def icmp6(source: str, kind: int, code: int, body: bytes, rest: int = 0, dest: str = HERE[6], **fields: Any) -> bytes:
    message = icmp.pack(kind, code, rest, body, packAddress(source), packAddress(dest))
    return ipPacket(source, dest, icmp.PROTOCOL[6], message, **fields)


def asks(source: str, port: int = 7, dest: str = "", **fields: Any) -> bytes:
    """
    Make a UDP datagram.
    """
    return udpPacket(source, dest or HERE[6 if ":" in source else 4], 4000, port, b"hello", **fields)


def udpAs(source: str, length: int | None = None, check: int | None = None, tail: bytes = b"", port: int = 7) -> bytes:
    """
    Make a UDP datagram with other values in its header.
    """
    dest = HERE[6 if ":" in source else 4]
    datagram = bytearray(udpDatagram(source, dest, 4000, port, b"hello"))
    if length is not None:
        datagram[4:6] = length.to_bytes(2, "big")
    if check is not None:
        datagram[6:8] = check.to_bytes(2, "big")
    return ipPacket(source, dest, udp.PROTOCOL, bytes(datagram) + tail)


def summed(packet: bytes, at: int, octets: bytes) -> bytes:
    """
    Replace octets in the header of an IPv4 packet, and correct its checksum.
    """
    header = bytearray(packet[:20])
    header[at : at + len(octets)] = octets
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + packet[20:]


def flipped(packet: bytes, at: int) -> bytes:
    """
    Change one bit of a packet.
    """
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


def extended(source: str, kind: int, header: bytes, packet: Callable[..., bytes] = echo, dest: str = HERE[6]) -> bytes:
    """
    Make an IPv6 packet with an extension header.

    @param header: the extension header without its first octet.
    """
    whole = packet(source, dest=dest)
    return ipPacket(source, dest, kind, whole[6:7] + header + whole[40:])


def chained(source: str, count: int, last: int = ipv6.DESTINATION_OPTIONS) -> bytes:
    """
    Make an echo request behind C{count} destination options headers. The last one is of the kind C{last}.
    """
    headers = [ipv6.DESTINATION_OPTIONS] * count + ([last] if last != ipv6.DESTINATION_OPTIONS else [])
    message = echo(source)[ipv6.HEADER_LENGTH :]
    following = [*headers[1:], icmp.PROTOCOL[6]]
    return ipPacket(
        source, HERE[6], headers[0], b"".join(bytes((kind, 0, 1, 4, *bytes(4))) for kind in following) + message
    )


def options(kind: int, *, at: int = ipv6.DESTINATION_OPTIONS, dest: str = HERE[6]) -> Row:
    """
    Make a row with an IPv6 option of four octets.
    """
    return lambda source: extended(source, at, bytes((0, kind, 4)) + bytes(4), dest=dest)


def row(answer: str, make: Row, name: str) -> Any:
    return pytest.param(make, answer, id=name.replace(" ", "-"))


def _fragment(word: int) -> bytes:
    """
    Make a fragment header without its first octet. C{word} has the offset and the flag for more fragments.
    """
    return struct.pack("!xHI", word, 3)


ECHO_REPLY, TIMESTAMP_REPLY, PORT, PROTOCOL, OPTION = "icmp 0/0", "icmp 14/0", "icmp 3/3", "icmp 3/2", "icmp 12/0"
DELIVERED = "udp hello"

ROWS_4 = [
    row(ECHO_REPLY, echo, "echo request"),
    row(ECHO_REPLY, lambda source: echo(source) + bytes(14), "echo request with padding"),
    row(ECHO_REPLY, lambda source: echo(source, hopLimit=1), "echo request with TTL 1"),
    row(ECHO_REPLY, lambda source: echo(source, hopLimit=0), "echo request with TTL 0"),
    row(ECHO_REPLY, lambda source: echo(source, options=b"\1\1\1\1"), "echo request with NOP"),
    row(ECHO_REPLY, lambda source: echo(source, options=b"\7\7\4\0\0\0\0\0"), "echo request with record route"),
    row(ECHO_REPLY, lambda source: echo(source, options=b"\x9e\4\0\0"), "echo request with an unknown option"),
    row(SILENT, lambda source: flipped(echo(source), 30), "bad ICMP checksum"),
    row(SILENT, lambda source: flipped(echo(source), 10), "bad IP checksum"),
    row(SILENT, lambda source: summed(echo(source), 0, b"\x55"), "version 5"),
    row(SILENT, lambda source: summed(echo(source), 0, b"\x44"), "header of 4 words"),
    row(SILENT, lambda source: summed(echo(source), 0, b"\x4f")[:50], "header beyond the packet"),
    row(SILENT, lambda source: summed(echo(source), 2, b"\0\xff"), "total length over the frame"),
    row(SILENT, lambda source: summed(echo(source), 2, b"\0\x13"), "total length under 20"),
    row(SILENT, lambda _: echo("127.0.0.1"), "source 127.0.0.1"),
    row(SILENT, lambda _: echo("255.255.255.255"), "source 255.255.255.255"),
    row(SILENT, lambda _: echo("224.0.0.5"), "source multicast"),
    row(SILENT, lambda _: echo("10.9.0.255"), "source subnet broadcast"),
    row(SILENT, lambda _: echo("10.9.0.2"), "source our own"),
    row(SILENT, lambda _: echo("0.0.0.0"), "source 0.0.0.0"),
    row(SILENT, lambda source: echo(source, "10.9.0.255"), "echo to the subnet broadcast"),
    row(SILENT, lambda source: echo(source, "255.255.255.255"), "echo to the limited broadcast"),
    row(SILENT, lambda source: echo(source, "224.0.0.1"), "echo to a group"),
    row(DELIVERED, lambda source: asks(source, dest="255.255.255.255"), "UDP to the limited broadcast"),
    row(DELIVERED, lambda source: asks(source, dest="10.9.0.255"), "UDP to the subnet broadcast"),
    row(DELIVERED, lambda source: asks(source, dest="224.0.0.1"), "UDP to a group"),
    row(SILENT, lambda source: asks(source, 9, "255.255.255.255"), "closed port of the limited broadcast"),
    row(SILENT, lambda source: asks(source, 9, "10.9.0.255"), "closed port of the subnet broadcast"),
    row(SILENT, lambda source: asks(source, 9, "224.0.0.1"), "closed port of a group"),
    row(SILENT, lambda source: echo(source, "10.9.0.3"), "another IP"),
    row(SILENT, lambda source: asks(source, 9, "10.9.0.3"), "closed port of another IP"),
    row(SILENT, lambda source: echo(source, options=b"\x83\7\4\x0a\x09\0\3\0"), "loose source route"),
    row(OPTION, lambda source: echo(source, options=b"\x07\0\0\0"), "option of length 0"),
    row(OPTION, lambda source: echo(source, options=b"\x9e\x09\0\0"), "option past the header"),
    row(TIMESTAMP_REPLY, lambda source: icmp4(source, 13, 0, bytes(12)), "timestamp request"),
    row(SILENT, lambda source: icmp4(source, 17, 0, bytes(4)), "address mask request"),
    row(SILENT, lambda source: icmp4(source, 42, 0, bytes(4)), "unknown ICMP type"),
    row(SILENT, lambda source: ipPacket(source, HERE[4], 1, b"\x08\0\xf7\xff"), "truncated ICMP"),
    row(SILENT, lambda source: icmp4(source, 13, 0, bytes(4)), "truncated timestamp request"),
    row(SILENT, lambda source: icmp4(source, 5, 1, asks(HERE[4], 7, source), 0x0A090001), "redirect"),
    row(PROTOCOL, lambda source: ipPacket(source, HERE[4], 253, b"what?"), "unknown protocol"),
    row("tcp RA", tcp, "TCP"),
    row(SILENT, lambda source: ipPacket(source, "10.9.0.255", 253, b"what?"), "unknown protocol to all"),
    row(DELIVERED, asks, "UDP to an open port"),
    row(DELIVERED, lambda source: udpAs(source, check=0), "UDP without a checksum"),
    row("udp ", lambda source: udpPacket(source, HERE[4], 4000, 7, b""), "UDP empty"),
    row(DELIVERED, lambda source: udpAs(source, tail=b"more"), "UDP shorter than the IP payload"),
    row(SILENT, lambda source: udpAs(source, check=0x1234), "UDP with a bad checksum"),
    row(SILENT, lambda source: udpAs(source, length=7, check=0), "UDP length 7"),
    row(SILENT, lambda source: udpAs(source, length=14, check=0), "UDP length over what is there"),
    row(SILENT, lambda source: ipPacket(source, HERE[4], 17, b"\x0f\xa0\0\7"), "truncated UDP"),
    row(PORT, lambda source: asks(source, 9), "UDP to a closed port"),
    row(SILENT, lambda source: asks(source, 9, identification=1, fragment=0x2001), "closed port in a later fragment"),
    row(SILENT, lambda source: icmp4(source, 3, 3, asks(HERE[4], 9, source)), "ICMP error"),
    row(SILENT, lambda _: asks("224.0.0.5", 9), "closed port asked by a group"),
]

REPLY_6, PORT_6 = "icmp6 129/0", "icmp6 1/4"

ROWS_6 = [
    row(REPLY_6, echo, "echo request"),
    row(REPLY_6, lambda source: echo(source) + bytes(14), "echo request with padding"),
    row(REPLY_6, lambda source: echo(source, hopLimit=1), "echo request with hop limit 1"),
    row(REPLY_6, options(0x1E), "option to be skipped"),
    row(REPLY_6, lambda source: extended(source, ipv6.FRAGMENT, bytes(7)), "atomic fragment"),
    row(REPLY_6, lambda source: extended(source, ipv6.ROUTING, bytes((0, 0, 0, 0, 0, 0, 0))), "route at its end"),
    row(SILENT, options(0x5E), "option to discard for"),
    row("icmp6 4/2", options(0x9E), "option to tell of"),
    row("icmp6 4/2", options(0xDE), "option to tell one of"),
    row(SILENT, options(0xDE, dest="ff02::1"), "option to tell one of in a group"),
    row("icmp6 4/0", lambda source: extended(source, ipv6.ROUTING, bytes((0, 0, 1, 0, 0, 0, 0))), "route to go on"),
    row("icmp6 4/1", lambda source: ipPacket(source, HERE[6], 253, b"what?"), "unknown next header"),
    row(SILENT, lambda source: ipPacket(source, HERE[6], 59, b""), "no next header"),
    row(SILENT, lambda source: ipPacket(source, "ff02::1", 253, b"what?"), "unknown next header to a group"),
    row(SILENT, lambda source: flipped(echo(source), 50), "bad ICMPv6 checksum"),
    row(SILENT, lambda source: echo(source)[:4] + b"\0\xff" + echo(source)[6:], "length over the frame"),
    row(SILENT, lambda _: echo("::1"), "source loopback"),
    row(SILENT, lambda _: echo("::"), "source unspecified"),
    row(SILENT, lambda _: echo("ff02::5"), "source a group"),
    row(SILENT, lambda _: echo("::ffff:192.0.2.1"), "source IPv4-mapped"),
    row(SILENT, lambda _: echo("fd09::2"), "source our own"),
    row(SILENT, lambda source: echo(source, "fd09::3"), "another IP"),
    row(SILENT, lambda source: echo(source, "ff02::1"), "echo to a group"),
    row("tcp RA", tcp, "TCP"),
    row(REPLY_6, lambda source: chained(source, 8), "eight extension headers"),
    row(SILENT, lambda source: chained(source, 9), "nine extension headers"),
    row(REPLY_6, lambda source: extended(source, 60, bytes((2, *(0x1E, 0) * 8, 1, 4, *bytes(4)))), "eight options"),
    row(SILENT, lambda source: extended(source, 60, bytes((2, *(0x1E, 0) * 9, 1, 2, *bytes(2)))), "nine options"),
    row(REPLY_6, lambda source: extended(source, 60, bytes((0, 1, 4, *bytes(4)))), "six octets of padding"),
    row(SILENT, lambda source: extended(source, 60, bytes((1, 1, 12, *bytes(12)))), "fourteen octets of padding"),
    row("icmp6 4/1", lambda source: chained(source, 1, ipv6.HOP_BY_HOP), "hop-by-hop options that are not first"),
    row(SILENT, lambda source: icmp6(source, 200, 0, bytes(4)), "unknown ICMPv6 type"),
    row(SILENT, lambda source: icmp6(source, 100, 0, asks(HERE[6], 9, source)), "unknown ICMPv6 error"),
    row(SILENT, lambda source: icmp6(source, 1, 4, asks(HERE[6], 9, source)), "ICMPv6 error"),
    row(SILENT, lambda source: icmp6(source, 137, 0, bytes(32)), "redirect"),
    row(DELIVERED, asks, "UDP to an open port"),
    row(DELIVERED, lambda source: asks(source, dest="ff02::1"), "UDP to a group"),
    row("udp ", lambda source: udpPacket(source, HERE[6], 4000, 7, b""), "UDP empty"),
    row(DELIVERED, lambda source: udpAs(source, tail=b"more"), "UDP shorter than the payload"),
    row(SILENT, lambda source: udpAs(source, check=0), "UDP without a checksum"),
    row(SILENT, lambda source: udpAs(source, check=0x1234), "UDP with a bad checksum"),
    row(SILENT, lambda source: udpAs(source, length=7), "UDP length 7"),
    row(SILENT, lambda source: udpAs(source, length=14), "UDP length over what is there"),
    row(PORT_6, lambda source: asks(source, 9), "UDP to a closed port"),
    row(SILENT, lambda source: asks(source, 9, "ff02::1"), "closed port of a group"),
    row(SILENT, lambda source: asks(source, 9, "fd09::3"), "closed port of another IP"),
    row(
        SILENT,
        lambda source: extended(source, ipv6.FRAGMENT, struct.pack("!xHI", 8, 1), _asksClosedPort),
        "closed port in a later fragment",
    ),
    row(SILENT, lambda source: extended(source, ipv6.FRAGMENT, struct.pack("!xHI", 9, 2)), "later fragment"),
    row("icmp6 4/0", lambda source: extended(source, ipv6.FRAGMENT, _fragment(1), asks), "fragment of an odd length"),
    row(
        "icmp6 4/0",
        lambda source: extended(source, ipv6.FRAGMENT, _fragment(65528), asks),
        "fragment past 65535 octets",
    ),
    row("icmp6 4/3", lambda source: ipPacket(source, HERE[6], 44, b"\6" + _fragment(1) + bytes(16)), "cut headers"),
]


def framed(packet: bytes, dest: str | bytes = STATION, vlan: int | None = None) -> bytes:
    etherType = ethernet.IPV6 if packet[0] >> 4 == 6 else ethernet.IPV4
    return ethernetFrame(SENDER, dest, etherType, packet, vlan)


def arpAs(source: str, target: str = HERE[4], dest: bytes = ALL, link: bytes = b"", opcode: int = 1) -> bytes:
    """
    Make an ARP message from C{source} about C{target}.
    """
    message = arp.ARP(opcode, link or packLinkAddress(SENDER), packAddress(source), bytes(6), packAddress(target))
    return ethernetFrame(SENDER, dest, ethernet.ARP, message.pack())


def solicits(
    source: str, target: str = HERE[6], hopLimit: int = 255, option: bytes = b"\1\1\2\0\0\0\0\x99", code: int = 0
) -> bytes:
    """
    Make a neighbour solicitation.
    """
    group = "ff02::1:ff00:" + target.rpartition(":")[2]
    packet = icmp6(source, ndp.SOLICITATION, code, packAddress(target) + option, 0, group, hopLimit=hopLimit)
    return framed(packet, b"\x33\x33\xff\0\0" + packAddress(target)[-1:])


def other(dest: bytes | str, etherType: int) -> Row:
    return lambda source: ethernetFrame(SENDER, dest, etherType, echo(source))


def edited(at: int, octets: bytes) -> Row:
    def make(source: str) -> bytes:
        frame = arpAs(source)
        return frame[: 14 + at] + octets + frame[14 + at + len(octets) :]

    return make


ROWS_FRAMES_4 = [
    row(ECHO_REPLY, lambda source: framed(echo(source), vlan=0), "priority tag"),
    row(ECHO_REPLY, lambda source: framed(echo(source), ALL), "our IP at all stations"),
    row(SILENT, lambda source: framed(asks(source, 9), ALL), "closed port of our IP at all stations"),
    row(SILENT, lambda source: framed(asks(source, 9), b"\1\0\x5e\0\0\1"), "closed port of our IP at a group"),
    row(SILENT, lambda source: framed(echo(source), "02:00:00:00:00:03"), "our IP at another station"),
    row(SILENT, lambda source: framed(echo(source), vlan=5), "another VLAN"),
    row(SILENT, other(STATION, 0x88B5), "unknown EtherType"),
    row(SILENT, other(STATION, 60), "length frame"),
    row("arp reply", arpAs, "ARP request to all"),
    row("arp reply", lambda source: arpAs(source, dest=packLinkAddress(STATION)), "ARP request to us"),
    row("arp reply", lambda _: arpAs("0.0.0.0"), "ARP probe"),
    row(SILENT, lambda source: arpAs(source, "10.9.0.3"), "ARP request for another"),
    row(SILENT, lambda source: arpAs(source, "10.77.0.1"), "ARP request for a network of ours"),
    row(SILENT, edited(0, b"\0\6"), "ARP for other hardware"),
    row(SILENT, edited(2, b"\x86\xdd"), "ARP for another protocol"),
    row(SILENT, edited(4, b"\5"), "ARP for another length"),
    row(SILENT, lambda source: arpAs(source)[:40], "ARP truncated"),
    row(SILENT, lambda source: arpAs(source, opcode=0), "ARP opcode 0"),
    row(SILENT, lambda source: arpAs(source, opcode=3), "ARP opcode 3"),
    row(SILENT, lambda source: arpAs(source, link=b"\1\0\x5e\0\0\1"), "ARP from a group"),
    row(SILENT, lambda source: arpAs(source, link=ALL), "ARP from all"),
]

ADVERTISED = "icmp6 136/0"

ROWS_FRAMES_6 = [
    row(REPLY_6, lambda source: framed(echo(source), vlan=0), "priority tag"),
    row(SILENT, lambda source: framed(asks(source, 9), ALL), "closed port of our IP at all stations"),
    row(SILENT, lambda source: framed(echo(source), "02:00:00:00:00:03"), "our IP at another station"),
    row(SILENT, lambda source: framed(echo(source), vlan=5), "another VLAN"),
    row(SILENT, other(STATION, ethernet.IPV4), "IPv6 as IPv4"),
    row(ADVERTISED, solicits, "solicitation"),
    row(ADVERTISED, lambda source: solicits(source, option=b""), "solicitation without an option"),
    row(SILENT, lambda source: solicits(source, "fd09::3"), "solicitation of another"),
    row(SILENT, lambda source: solicits(source, "fd77::3"), "solicitation of a network of ours"),
    row(SILENT, lambda source: solicits(source, hopLimit=64), "solicitation through a router"),
    row(SILENT, lambda source: solicits(source, code=1), "solicitation with code 1"),
    row(SILENT, lambda source: solicits(source, option=b"\1\0" + bytes(6)), "solicitation with an option of length 0"),
    row(SILENT, lambda source: solicits(source, option=b"\1\2" + bytes(6)), "solicitation with an option past its end"),
    row(SILENT, lambda _: solicits("::"), "probe with an option"),
]


class Wire:
    """
    The link of a machine.

    @ivar asked: the number of rows that were sent, which is also the number of the last sender.
    """

    def __init__(self, machine: Machine) -> None:
        self.tap = machine.mode == "tap"
        self.machine = machine
        self.asked = 0

    def answers(self, version: int, make: Row, packet: bool) -> tuple[bytes, list[bytes]]:
        """
        Send the packet of a row from a new sender. Return the packet, and the IP packets, or else the frames, that come
        back to the sender.
        """
        self.asked += 1
        source = f"10.9.0.{20 + self.asked}" if version == 4 else f"fd09::1:{self.asked:x}"
        sent = make(source)
        with PacketSocket(INTERFACE, TAP if self.tap else TUN) as network:
            network.send(framed(sent) if self.tap and packet else sent)
            last = "10.9.0.19" if version == 4 else "fd09::1:0"
            marker = udpPacket(last, HERE[version], 4000, 7, _body)
            network.send(framed(marker) if self.tap else marker)
            came = network.receivedUntil(_isLast)
        return sent, [each for each in map(self._toSender, came) if each and not _isLast(each)]

    def _toSender(self, frame: bytes) -> bytes:
        """
        Return the payload of a frame to the sender, or nothing. Solicitations and reports do not count.
        """
        if not self.tap:
            return b"" if frame[0] >> 4 == 6 and frame[24] == 0xFF else frame
        if frame[:6] != packLinkAddress(SENDER) or (frame[12:14] == b"\x08\x06" and frame[21] == arp.REQUEST):
            return b""
        return frame if frame[12:14] == b"\x08\x06" else frame[14:]


def _isLast(frame: bytes) -> bool:
    """
    Return whether a packet answers the datagram that is sent after a row.
    """
    return any(packAddress(last) in frame[:80] for last in ("10.9.0.19", "fd09::1:0")) and frame.endswith(_body)


def described(packet: bytes) -> str:
    """
    Describe an answer, and check all its checksums.
    """
    if packet[12:14] == b"\x08\x06" and packet[:6] == packLinkAddress(SENDER):
        assert packet[20:22] == b"\0\2"
        assert addressText(packet[28:32]) == HERE[4]
        assert packet[22:28] == packLinkAddress(STATION)
        return "arp reply"
    if packet[0] >> 4 == 4:
        header = (packet[0] & 0x0F) << 2
        assert checksum(packet[:header]) == 0
        assert len(packet) == int.from_bytes(packet[2:4], "big")
        kind, body = packet[9], packet[header:]
        source, dest = packet[12:16], packet[16:20]
    else:
        assert len(packet) == 40 + int.from_bytes(packet[4:6], "big")
        kind, body = packet[6], packet[40:]
        source, dest = packet[8:24], packet[24:40]
    assert addressText(source) in (*HERE.values(), LINK_LOCAL)
    if kind == udp.PROTOCOL:
        ports = (ECHO, 4000) if body[:2] == ECHO.to_bytes(2, "big") else (RELAY, RELAY)
        assert body[:8] == udp.packHeader(source, dest, *ports, body[8:])
        return "udp " + body[8:].decode()
    if kind == TCP:
        return "tcp " + "".join(letter for bit, letter in enumerate("FSRPAUEC") if body[13] >> bit & 1)
    addresses = [source, dest] if len(source) == 16 else []
    assert icmp.valid(body, *addresses)
    return f"icmp{'6' if addresses else ''} {body[0]}/{body[1]}"


def whole(packet: bytes, asked: Sequence[bytes], habits: Habits) -> str:
    """
    Describe an answer, and the unusual fields of it.

    @param packet: an IP packet, or a frame with an ARP reply.
    @param asked: the packets that it may answer.
    """
    isARP = packet[12:14] == b"\x08\x06" and packet[:6] == packLinkAddress(SENDER)
    return described(packet) + (unusualARP(packet, asked) if isARP else unusual(packet, asked, habits))


@pytest.fixture(scope="module")
def wire(machine: Machine) -> Wire:
    """
    Make the link of the shared machine, after the machine has claimed its addresses. Before that, its advertisements
    have no Override flag.
    """
    until(lambda: machine.mode == "tun" or len(machine.state()["claimed"]) == 3, "the addresses to be claimed")
    return Wire(machine)


def check(wire: Wire, version: int, make: Row, answer: str, packet: bool = True) -> None:
    sent, came = wire.answers(version, make, packet)
    assert [whole(each, [sent], OURS) for each in came] == ([] if answer == SILENT else [answer])
    for each in came:
        assert len(each) <= len(sent) + MOST_ADDED[version]


@pytest.mark.parametrize(("make", "answer"), ROWS_4)
def test_IPv4PacketsAreAnswered(wire: Wire, make: Row, answer: str) -> None:
    check(wire, 4, make, answer)


@pytest.mark.parametrize(("make", "answer"), ROWS_6)
def test_IPv6PacketsAreAnswered(wire: Wire, make: Row, answer: str) -> None:
    check(wire, 6, make, answer)


@ON_TAP
@pytest.mark.parametrize(("make", "answer"), ROWS_FRAMES_4)
def test_IPv4FramesAreAnswered(wire: Wire, make: Row, answer: str) -> None:
    check(wire, 4, make, answer, False)


@ON_TAP
@pytest.mark.parametrize(("make", "answer"), ROWS_FRAMES_6)
def test_IPv6FramesAreAnswered(wire: Wire, make: Row, answer: str) -> None:
    check(wire, 6, make, answer, False)


@ON_TAP
def test_anAddressOnceClaimedIsDefended(wire: Wire) -> None:
    until(lambda: len(wire.machine.state()["claimed"]) == 3, "the addresses to be claimed")
    before = wire.machine.state()
    with PacketSocket(INTERFACE, TAP) as network:
        for opcode in arp.REQUEST, arp.REPLY, arp.REQUEST:
            network.send(arpAs(HERE[4], opcode=opcode))
        network.send(framed(echo("10.9.0.19")))
        came = network.receivedUntil(_isLast)
    claims = [frame for frame in came if frame[:6] == ALL and frame[12:14] == b"\x08\x06"]
    ours = arp.ARP(arp.REQUEST, packLinkAddress(STATION), packAddress(HERE[4]), bytes(6), packAddress(HERE[4]))
    assert [frame[14:42] for frame in claims] == [ours.pack()]
    after = wire.machine.state()
    assert after["counters"]["arp"]["inConflicts"] - before["counters"]["arp"].get("inConflicts", 0) == 3
    assert after["lost"] == []
    assert after["addresses"] == before["addresses"]
