"""
A host on a link in memory, and the packets that tests send it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from random import Random
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import TuntapPort
from txtuntap.stack.host import Host
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket
from txtuntap.wire import arp, icmp, ipv4, ipv6, ndp
from txtuntap.wire.address import LINK_BROADCAST, addressText, packAddress, versionOf

OWN = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
OTHER = b"\x02\0\0\0\0\x03"
NOBODY = "0.0.0.0"


@attrs.frozen
class Message:
    """
    An ICMP message that was sent, and to whom.
    """

    station: bytes
    source: str
    dest: str
    hopLimit: int
    kind: int
    code: int
    rest: int
    body: bytes


def frame(packet: bytes, dest: bytes = OWN, source: bytes = PEER) -> bytes:
    """
    The frame for a datagram, from the peer to us.
    """
    return ethernetFrame(source, dest, 0x0800 if packet[0] >> 4 == 4 else 0x86DD, packet)


def icmpPacket(source: str, dest: str, kind: int, code: int, rest: int, body: bytes, **fields: Any) -> bytes:
    """
    A datagram with an ICMP message.
    """
    addresses = (packAddress(source), packAddress(dest))
    version = versionOf(addresses[0])
    message = icmp.pack(kind, code, rest, body, *(addresses if version == 6 else ()))
    return ipPacket(source, dest, icmp.PROTOCOL[version], message, **fields)


def echo(source: str, dest: str, payload: bytes = b"payload", **fields: Any) -> bytes:
    """
    A datagram with an echo request.
    """
    kind = icmp.ECHO_REQUEST6 if ":" in source else icmp.ECHO_REQUEST
    return icmpPacket(source, dest, kind, 0, 0x12345678, payload, **fields)


def discovery(
    kind: int,
    source: str,
    dest: str,
    target: str,
    option: int | None = None,
    link: bytes = PEER,
    flags: int = 0,
    hopLimit: int = 255,
    code: int = 0,
    extra: bytes = b"",
) -> bytes:
    """
    A datagram with a neighbour solicitation or advertisement.
    """
    body = ndp.packBody(packAddress(target), option, link) + extra
    return icmpPacket(source, dest, kind, code, flags, body, hopLimit=hopLimit)


def prefix(
    network: str, valid: int = 86400, preferred: int | None = None, flags: int = ndp.ON_LINK | ndp.AUTONOMOUS
) -> bytes:
    """
    An option that tells a prefix.

    @param preferred: as long as it is C{valid}, if not given.
    """
    address, _, length = network.partition("/")
    times = valid, valid if preferred is None else preferred
    return struct.pack("!BBBBII4x16s", ndp.PREFIX, 4, int(length), flags, *times, packAddress(address))


def routerAdvertisement(
    *options: bytes, source: str = "fe80::1", dest: str = "ff02::1", lifetime: int = 1800, code: int = 0, **fields: Any
) -> bytes:
    """
    A datagram with the advertisement of a router.
    """
    fields = {"hopLimit": 255, **fields}
    body = bytes(8) + b"".join(options)
    return icmpPacket(source, dest, ndp.ROUTER_ADVERTISEMENT, code, 64 << 24 | lifetime, body, **fields)


def pieces(packet: bytes, size: int) -> list[bytes]:
    """
    The fragments of a datagram.

    @param size: octets of payload in each.
    """
    four = packet[0] >> 4 == 4
    payload = packet[20 if four else 40 :]
    found = []
    for offset in range(0, len(payload), size):
        piece = payload[offset : offset + size]
        more = offset + size < len(payload)
        if four:
            word = 0x2000 * more | offset >> 3
            header = ipv4.packHeader(packet[12:16], packet[16:20], packet[9], len(piece), 64, 7, word)
        else:
            fragment = ipv6.FRAGMENT_HEADER.pack(packet[6], offset | more, 7)
            header = ipv6.packHeader(packet[8:24], packet[24:40], 44, len(piece) + 8, packet[7]) + fragment
        found.append(header + piece)
    return found


def arpFrame(
    opcode: int,
    sender: str,
    target: str,
    senderLink: bytes = PEER,
    dest: bytes = LINK_BROADCAST,
    source: bytes = PEER,
    targetLink: bytes = bytes(6),
) -> bytes:
    """
    A frame with an ARP packet.
    """
    packet = arp.ARP(opcode, senderLink, packAddress(sender), targetLink, packAddress(target))
    return ethernetFrame(source, dest, 0x0806, packet.pack())


def arps(frames: Iterable[bytes]) -> list[tuple[bytes, arp.ARP]]:
    """
    The ARP packets among frames, and the stations they go to.
    """
    parsed = [(data[:6], arp.parse(data[14:])) for data in frames if data[12:14] == b"\x08\x06"]
    return [(station, packet) for station, packet in parsed if packet is not None]


def messages(packets: Iterable[bytes], tap: bool = True) -> list[Message]:
    """
    The ICMP messages among packets, which must be whole and sum up.
    """
    found = []
    for data in packets:
        station, packet = (data[:6], data[14:]) if tap else (b"", data)
        if packet[0] >> 4 == 6 and packet[6] == 58:
            source, dest, hopLimit, body = packet[8:24], packet[24:40], packet[7], packet[ipv6.HEADER_LENGTH :]
            assert icmp.valid(body, source, dest), "an ICMPv6 message does not sum up"
        elif packet[0] == 0x45 and packet[9] == 1 and data[12:14] != b"\x08\x06":
            source, dest, hopLimit, body = packet[12:16], packet[16:20], packet[8], packet[20:]
            assert icmp.valid(body), "an ICMP message does not sum up"
        else:
            continue
        kind, code, _, rest = icmp.HEADER.unpack_from(body)
        texts = addressText(source), addressText(dest)
        found.append(Message(station, *texts, hopLimit, kind, code, rest, body[icmp.HEADER_LENGTH :]))
    return found


class LinkTestCase(SynchronousTestCase):
    """
    @ivar host: made by L{make}; so are C{clock} and C{device}.
    """

    def make(
        self, *addresses: str, mode: int = TAP, settle: bool = True, random: Random | None = None, **options: Any
    ) -> None:
        """
        A host on a link.

        @param settle: whether its addresses are its own by now.
        """
        self.clock = Clock()
        self.device = MemoryDevice(mode)
        addresses = addresses or ("10.0.0.2/24", "fd00::2/64")
        options.setdefault("linkAddress", OWN)
        self.host = Host(list(addresses), self.clock, random=random or Random(1), **options)
        top = self.host.ip if mode == TUN else self.host.ethernet
        self.port = TuntapPort("", top, reactor=self.clock, device=self.device)
        self.port.startListening()
        if settle:
            self.wait(10)
            del self.device.sent[:]

    def wait(self, seconds: float) -> list[bytes]:
        """
        @return: what was sent in that time.
        """
        before = len(self.device.sent)
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
        return self.device.sent[before:]

    def receive(self, *packets: bytes) -> list[bytes]:
        """
        @return: what was sent in answer.
        """
        before = len(self.device.sent)
        for packet in packets:
            self.device.deliver(packet)
            self.clock.advance(0)
        return self.device.sent[before:]

    def know(self, address: str = "10.0.0.1", station: bytes = PEER) -> None:
        """
        Have a neighbour entered for good.
        """
        self.host.neighbours.add(address, station)
