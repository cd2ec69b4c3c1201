"""
UDP between the kernel's sockets and a DatagramProtocol, through all layers on a tun and on a tap.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.lab.host import INTERFACE, Host, ask, connected
from tests.real.lab.link import BURST, PacketSocket, waitUntilRead
from tests.real.lab.namespace import PATIENCE, Namespace, ip
from tests.real.lab.tcpdump import captured, tshark
from txtuntap.device import TAP, TUN
from txtuntap.testing import ethernetFrame, ipPacket, udpDatagram, udpPacket
from txtuntap.wire import ethernet, ipv4, ipv6, udp
from txtuntap.wire.address import packAddress, packLinkAddress

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])

#: The payload sizes in octets, by address: some small ones, and the greatest that fits into a packet of 1500.
SIZES = {"10.9.0.2": (0, 1, 2, 17, 1000, 1472), "fd09::2": (0, 1, 2, 17, 1000, 1452)}

#: Options that routers have to read: RFC 2113, and RFC 2711 in a hop-by-hop header.
ROUTER_ALERT_4 = b"\x94\x04\x00\x00"
ROUTER_ALERT_6 = b"\x00\x00\x05\x02\x00\x00\x01\x00"

_PAYLOAD = b"sixteen octets.."

STATION = "02:00:00:00:00:99"


@KINDS
@pytest.mark.parametrize("address", SIZES)
def test_everySizeComesBack(namespace: Namespace, tmp_path: Path, mode: str, address: str) -> None:
    with Host(tmp_path, mode):
        for size in SIZES[address]:
            data = random.Random(size).randbytes(size)
            assert ask(address, data) == data, f"{size} octets"


@KINDS
def test_aDatagramBehindAnOptionIsDelivered(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode):
        with connected("10.9.0.2") as client:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, ROUTER_ALERT_4)
            client.send(b"look at this")
            assert client.recv(100) == b"look at this"
        with connected("fd09::2") as client:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, ROUTER_ALERT_6)
            client.send(b"look at this too")
            assert client.recv(100) == b"look at this too"


@KINDS
def test_aDatagramWithoutAChecksumIsDelivered(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode), connected("10.9.0.2") as client:
        # Turn the checksum off (SO_NO_CHECK).
        client.setsockopt(socket.SOL_SOCKET, 11, 1)
        client.send(b"unsummed")
        assert client.recv(100) == b"unsummed"


@KINDS
def test_answersLeaveFromTheAddressAsked(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    addresses = ("10.9.0.2/24", "10.9.0.3/24", "10.9.0.130/25", "fd09::2/64", "fd09::3/64")
    with Host(tmp_path, mode, addresses):
        for family in socket.AF_INET, socket.AF_INET6:
            own = [host for host in (each.split("/")[0] for each in addresses) if (":" in host) == (family != 2)]
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                for host in own * 2:
                    client.sendto(b"who?", (host, 7))
                    _, source = client.recvfrom(100)
                    assert source[:2] == (host, 7)


@KINDS
def test_aBroadcastIsAnsweredFromTheHostsAddress(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE.encode())
        client.settimeout(PATIENCE)
        for everybody in "10.9.0.255", "255.255.255.255":
            client.sendto(b"anybody?", (everybody, 7))
            assert client.recvfrom(100) == (b"anybody?", ("10.9.0.2", 7))


def test_answersGoToTheStationThatAsked(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path, "tap"), PacketSocket(INTERFACE, TAP) as network:
        here = _hostStation()
        for source, dest in ("10.9.0.77", "10.9.0.2"), ("192.0.2.1", "10.9.0.2"), ("fd09::77", "fd09::2"):
            etherType = ethernet.IPV6 if ":" in dest else ethernet.IPV4
            network.send(ethernetFrame(STATION, here, etherType, udpPacket(source, dest, 4000, 7, b"hello")))
            answer = udpPacket(dest, source, 7, 4000, b"hello")
            wanted = ethernetFrame(here, STATION, etherType, answer)
            assert _answer(network).hex() == wanted.hex()


def test_paddingIsNotEchoed(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path, "tap"), PacketSocket(INTERFACE, TAP) as network:
        here = _hostStation()
        packet = udpPacket("10.9.0.77", "10.9.0.2", 4000, 7, b"hi")
        network.send(ethernetFrame(STATION, here, ethernet.IPV4, packet).ljust(60, b"\xee"))
        answer = _answer(network)
        assert answer[-2:] == b"hi"
        assert len(answer) == 14 + 20 + 8 + 2


def _answer(network: PacketSocket) -> bytes:
    """
    Wait for a frame to the station of the test. The host also sends ARP probes to others.
    """

    def isAnswer(frame: bytes) -> bool:
        return frame[:6] == packLinkAddress(STATION)

    return next(filter(isAnswer, network.receivedUntil(isAnswer)))


@KINDS
def test_theKernelFindsEveryChecksumRight(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode):
        before = _kernelCounts()
        for address in SIZES:
            for size in range(64):
                assert ask(address, bytes(range(size))) == bytes(range(size))
        after = _kernelCounts()
    for counter in "Udp.InDatagrams", "Udp6InDatagrams":
        assert after[counter] - before[counter] == 64
    for counter in "Udp.InCsumErrors", "Udp.InErrors", "Ip.InHdrErrors", "Udp6InCsumErrors", "Udp6InErrors":
        assert after[counter] == 0, counter


@KINDS
def test_tsharkFindsNoFaultInAnswers(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    # With offload, tshark would see checksums that the kernel has not computed yet.
    with Host(tmp_path, mode, more=("--no-offload",)):
        capture = tmp_path / "capture"
        with captured(capture, INTERFACE, "udp port 7", 24):
            for address, sizes in SIZES.items():
                for size in sizes:
                    assert ask(address, bytes(size)) is not None
        answers = "udp.srcport == 7"
        assert len(tshark(capture, f"{answers} && udp.checksum.status == 1")) == 12
        assert len(tshark(capture, f"{answers} && ip.checksum.status == 1")) == 6
        assert tshark(capture, "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0") == []
        # These are the two expert levels for problems: warning and error.
        assert tshark(capture, "_ws.expert.severity >= 6291456") == []


@KINDS
def test_malformedFramesCauseNoLogLine(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    kind = TAP if mode == "tap" else TUN
    with Host(tmp_path, mode) as host:
        assert ask("10.9.0.2", b"before") == b"before"
        log = host.log()
        with PacketSocket(INTERFACE, kind) as network:
            for sent, frame in enumerate(_malformed(100_000, _hostStation() if mode == "tap" else None), 1):
                network.send(frame)
                if sent % BURST == 0:
                    waitUntilRead(INTERFACE)
            # ICMP errors that quote a packet are permitted.
            answers = [packet for packet in network.received() if packet.endswith(_PAYLOAD)]
            assert [packet for packet in answers if packet.count(_PAYLOAD) == 1 and _isUDP(packet, kind)] == []
        for address in "10.9.0.2", "fd09::2":
            assert ask(address, b"after") == b"after"
        assert host.log() == log


def _hostStation() -> str:
    """
    Return the host's link address, as the kernel has resolved it.
    """
    (found,) = json.loads(ip("-json", "neighbour", "show", "10.9.0.2", "dev", INTERFACE))
    return str(found["lladdr"])


def _kernelCounts() -> dict[str, int]:
    """
    Return the counters of IP and UDP of the kernel in this namespace.
    """
    counts = {}
    rows = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    for names, values in zip(rows[::2], rows[1::2], strict=True):
        for name, value in zip(names[1:], values[1:], strict=True):
            counts[f"{names[0].strip(':')}.{name}"] = int(value)
    for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines():
        name, value = line.split()
        counts[name] = int(value)
    return counts


def _isUDP(packet: bytes, kind: int) -> bool:
    start = 14 if kind == TAP else 0
    return packet[start + (9 if packet[start] >> 4 == 4 else 6)] == 17


def _malformed(count: int, station: str | None) -> Iterator[bytes]:
    """
    Make invalid packets, or frames to a C{station}, which must not be answered. They are the same in every run.
    """
    chance = random.Random(0x7E57)
    good = {
        4: udpPacket("10.9.0.1", "10.9.0.2", 5000, 7, _PAYLOAD),
        6: udpPacket("fd09::1", "fd09::2", 5000, 7, _PAYLOAD),
    }
    for number in range(count):
        version = chance.choice((4, 6))
        packet = good[version]
        way = number % 6
        if way == 0:
            packet = packet[: chance.randrange(1, len(packet))]
        elif way == 1:
            packet = chance.randbytes(chance.randrange(1, 200))
        elif way == 2:
            # Change an octet that one of the checksums covers.
            at = chance.randrange(8 if version == 6 else 0, len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << chance.randrange(8)]) + packet[at + 1 :]
        elif way == 3:
            packet = _withUDPLength(version, chance.choice((0, 7, 25, 65535)))
        elif way == 4:
            packet = _withIPLength(version, chance.choice((1, 19, 21, 45, 65535)))
        else:
            options = chance.choice((b"\x07\x00\x00\x00", b"\x94\x29\x00\x00", b"\x83\x07\x04\x0a\x09\x00\x02\x00"))
            packet = ipPacket("10.9.0.1", "10.9.0.2", udp.PROTOCOL, packet[-24:], options=options)
        if station is not None:
            etherType = ethernet.IPV6 if version == 6 else chance.choice((ethernet.IPV4, 0x8100, 0x88A8, 17))
            packet = ethernetFrame(STATION, station, etherType, packet)
        yield packet


def _withUDPLength(version: int, length: int) -> bytes:
    source, dest = ("10.9.0.1", "10.9.0.2") if version == 4 else ("fd09::1", "fd09::2")
    datagram = udpDatagram(source, dest, 5000, 7, _PAYLOAD)
    return ipPacket(source, dest, udp.PROTOCOL, datagram[:4] + length.to_bytes(2, "big") + datagram[6:])


def _withIPLength(version: int, length: int) -> bytes:
    if version == 4:
        source, dest = packAddress("10.9.0.1"), packAddress("10.9.0.2")
        header = ipv4.packHeader(source, dest, udp.PROTOCOL, length - ipv4.HEADER_LENGTH)
    else:
        source, dest = packAddress("fd09::1"), packAddress("fd09::2")
        header = ipv6.packHeader(source, dest, udp.PROTOCOL, length)
    return header + bytes(24)
