"""
Superpackets that are joined from segments, as the kernel forwards them from a TUN device to another interface.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.real.lab.link import setUp, show
from tests.real.lab.namespace import Namespace, another, ip, tool
from tests.superpackets import superpacket
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.joining import joined
from txtuntap.wire.offload import TCP4, TCP6, TSO4, TSO6, finish
from txtuntap.wire.tcp import CHECKSUM_OFFSET, PROTOCOL

#: The addresses behind the TUN device, and behind the other interface.
ENDS = {4: ("10.9.0.2", "10.8.0.2"), 6: ("fd09::2", "fd08::2")}

#: All frames, in the order of the network.
_ALL = socket.htons(0x0003)


def _segments(version: int) -> list[bytes]:
    payload = bytes(number * 7 & 0xFF for number in range(8000))
    packet, offload, _ = superpacket(version, TCP4 if version == 4 else TCP6, payload, 1000, ends=ENDS[version])
    return finish(packet, offload)


def _forwarded(segments: list[bytes], namespace: int, cuts: bool) -> list[bytes]:
    """
    Write joined segments to a TUN device, and return the packets that the kernel forwards to a station.

    @param cuts: whether the interface to the station takes no superpackets.
    """
    device = LinuxDevice("tj0", TUN)
    device.open(True)
    device.receiveFinished()
    try:
        setUp("tj0", "10.9.0.1/24", "fd09::1/64")
        ip("link", "add", "vj0", "type", "veth", "peer", "name", "vj1")
        ip("link", "set", "vj1", "netns", f"/proc/{os.getpid()}/fd/{namespace}")
        inNamespace(namespace, lambda: setUp("vj1", "10.8.0.2/24", "fd08::2/64"))
        setUp("vj0", "10.8.0.1/24", "fd08::1/64")
        for name in "ipv4/ip_forward", "ipv6/conf/all/forwarding":
            Path("/proc/sys/net", name).write_text("1")
        link = inNamespace(namespace, lambda: show("vj1")["address"])
        for dest in "10.8.0.2", "fd08::2":
            ip("neighbour", "replace", dest, "lladdr", link, "dev", "vj0", "nud", "permanent")
        features = [word for name in ("tso", "gso", "tx") for word in (name, "off" if cuts else "on")]
        subprocess.run([tool("ethtool"), "-K", "vj0", *features], check=True, capture_output=True)

        def listening() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _ALL)
            made.bind(("vj1", 0))
            return made

        with inNamespace(namespace, listening) as station:
            station.settimeout(2)
            ((buffers, offload),) = joined(segments, TSO4 | TSO6)
            device.send(buffers, offload)
            found: list[bytes] = []
            wanted = len(segments) if cuts else 1
            while len(found) < wanted:
                packet = station.recv(1 << 17)[14:]
                if packet[9 if packet[0] >> 4 == 4 else 6] == 6:
                    found.append(packet)
            return found
    finally:
        device.close()
        ip("link", "delete", "vj0")


def _plain(packet: bytes) -> bytes:
    """
    Blank what a router changes: the hop limit, and the header checksum.
    """
    made = bytearray(packet)
    if made[0] >> 4 == 4:
        made[8], made[10:12] = 0, bytes(2)
    else:
        made[7] = 0
    return bytes(made)


@pytest.mark.parametrize("version", [4, 6])
def test_aForwardedSuperpacketIsTheSegmentsThatWereJoined(namespace: Namespace, version: int) -> None:
    segments = _segments(version)
    with another() as there:
        forwarded = _forwarded(segments, there, cuts=True)
    # The kernel has computed each checksum as the sender had.
    assert [_plain(each) for each in forwarded] == [_plain(each) for each in segments]


@pytest.mark.parametrize("version", [4, 6])
def test_theKernelVouchesForACorruptedSegmentThatItForwards(namespace: Namespace, version: int) -> None:
    segments = _segments(version)
    corrupted = segments[3][:500] + bytes([segments[3][500] ^ 4]) + segments[3][501:]
    with another() as there:
        forwarded = _forwarded([*segments[:3], corrupted, *segments[4:]], there, cuts=True)
    assert [_plain(each) for each in forwarded[:3] + forwarded[4:]] == [
        _plain(each) for each in segments[:3] + segments[4:]
    ]
    found = forwarded[3]
    start = 20 if version == 4 else 40
    field = start + CHECKSUM_OFFSET
    assert _plain(found[:field] + corrupted[field : field + 2] + found[field + 2 :]) == _plain(corrupted)
    addresses = found[12:20] if version == 4 else found[8:40]
    assert not (onesSum(addresses) + PROTOCOL + len(found) - start + onesSum(found[start:])) % 0xFFFF
