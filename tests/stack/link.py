"""
The base class of tests with a host on a link in memory, with functions that make and parse packets.
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

#: The link addresses of the host under test and of two other stations.
OWN = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
OTHER = b"\x02\0\0\0\0\x03"

#: The sender address of an ARP probe.
NOBODY = "0.0.0.0"


@attrs.frozen
class Message:
    """
    An ICMP message that the host sent.

    @ivar station: the link address that it was sent to.
    @ivar rest: the second word of its header.
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
    Make the frame of an IP packet, by default from the peer to the host.
    """
    return ethernetFrame(source, dest, 0x0800 if packet[0] >> 4 == 4 else 0x86DD, packet)


def icmpPacket(source: str, dest: str, kind: int, code: int, rest: int, body: bytes, **fields: Any) -> bytes:
    """
    Make an IP packet with an ICMP message.
    """
    addresses = (packAddress(source), packAddress(dest))
    version = versionOf(addresses[0])
    message = icmp.pack(kind, code, rest, body, *(addresses if version == 6 else ()))
    return ipPacket(source, dest, icmp.PROTOCOL[version], message, **fields)


def echo(source: str, dest: str, payload: bytes = b"payload", **fields: Any) -> bytes:
    """
    Make an IP packet with an echo request.
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
    Make an IP packet with a neighbour solicitation or advertisement.
    """
    body = ndp.packBody(packAddress(target), option, link) + extra
    return icmpPacket(source, dest, kind, code, flags, body, hopLimit=hopLimit)


def prefix(
    network: str, valid: int = 86400, preferred: int | None = None, flags: int = ndp.ON_LINK | ndp.AUTONOMOUS
) -> bytes:
    """
    Make the prefix option of a router advertisement.

    @param valid: the valid lifetime in seconds.
    @param preferred: the preferred lifetime in seconds; L{None}: the same as C{valid}.
    """
    address, _, length = network.partition("/")
    times = valid, valid if preferred is None else preferred
    return struct.pack("!BBBBII4x16s", ndp.PREFIX, 4, int(length), flags, *times, packAddress(address))


def routerAdvertisement(
    *options: bytes, source: str = "fe80::1", dest: str = "ff02::1", lifetime: int = 1800, code: int = 0, **fields: Any
) -> bytes:
    """
    Make an IP packet with a router advertisement.
    """
    fields = {"hopLimit": 255, **fields}
    body = bytes(8) + b"".join(options)
    return icmpPacket(source, dest, ndp.ROUTER_ADVERTISEMENT, code, 64 << 24 | lifetime, body, **fields)


def pieces(packet: bytes, size: int) -> list[bytes]:
    """
    Make the fragments of a datagram.

    @param size: the octets of payload in each fragment.
    """
    isIPv4 = packet[0] >> 4 == 4
    payload = packet[20 if isIPv4 else 40 :]
    found = []
    for offset in range(0, len(payload), size):
        piece = payload[offset : offset + size]
        more = offset + size < len(payload)
        if isIPv4:
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
    Make a frame with an ARP packet.
    """
    packet = arp.ARP(opcode, senderLink, packAddress(sender), targetLink, packAddress(target))
    return ethernetFrame(source, dest, 0x0806, packet.pack())


def arps(frames: Iterable[bytes]) -> list[tuple[bytes, arp.ARP]]:
    """
    Find the ARP packets among frames, each with the link address that it was sent to.
    """
    parsed = [(data[:6], arp.parse(data[14:])) for data in frames if data[12:14] == b"\x08\x06"]
    return [(station, packet) for station, packet in parsed if packet is not None]


def messages(packets: Iterable[bytes], tap: bool = True) -> list[Message]:
    """
    Find the ICMP messages among packets. The packets must be no fragments, and the checksums must be right.

    @param tap: whether the packets are frames.
    """
    found = []
    for data in packets:
        station, packet = (data[:6], data[14:]) if tap else (b"", data)
        if packet[0] >> 4 == 6 and packet[6] == 58:
            source, dest, hopLimit, body = packet[8:24], packet[24:40], packet[7], packet[ipv6.HEADER_LENGTH :]
            assert icmp.valid(body, source, dest), "an ICMPv6 message has a wrong checksum"
        elif packet[0] == 0x45 and packet[9] == 1 and data[12:14] != b"\x08\x06":
            source, dest, hopLimit, body = packet[12:16], packet[16:20], packet[8], packet[20:]
            assert icmp.valid(body), "an ICMP message has a wrong checksum"
        else:
            continue
        kind, code, _, rest = icmp.HEADER.unpack_from(body)
        texts = addressText(source), addressText(dest)
        found.append(Message(station, *texts, hopLimit, kind, code, rest, body[icmp.HEADER_LENGTH :]))
    return found


class LinkTestCase(SynchronousTestCase):
    """
    The base class of tests with a host on a link in memory.

    @ivar clock: the reactor of the host.
    @ivar device: the TUN or TAP device of the host.
    @ivar host: the host. L{make} makes all three.
    """

    def make(
        self, *addresses: str, mode: int = TAP, settle: bool = True, random: Random | None = None, **options: Any
    ) -> None:
        """
        Make a host on a link.

        @param addresses: the addresses of the host in CIDR notation.
        @param mode: C{TAP} or C{TUN}.
        @param settle: whether to wait until duplicate address detection is over.
        @param random: the source of random delays.
        @param options: other arguments of L{Host}.
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
        Advance the clock in steps of a quarter of a second.

        @return: the packets that the host sent in that time.
        """
        before = len(self.device.sent)
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
        return self.device.sent[before:]

    def receive(self, *packets: bytes) -> list[bytes]:
        """
        Deliver packets to the host.

        @return: the packets that the host sent in answer.
        """
        before = len(self.device.sent)
        for packet in packets:
            self.device.deliver(packet)
            self.clock.advance(0)
        return self.device.sent[before:]

    def know(self, address: str = "10.0.0.1", station: bytes = PEER) -> None:
        """
        Add a permanent neighbour to the cache of the host.
        """
        self.host.neighbours.add(address, station)
