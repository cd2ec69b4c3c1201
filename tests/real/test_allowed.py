"""
The filter for a tunnel's peer, compared with the kernel behind the interface, which reads more nested headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import RecordingPort
from tests.real.lab.link import setUp
from tests.real.lab.namespace import Namespace, ip, until
from txtuntap.device import TAP, TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.testing import ethernetFrame
from txtuntap.tunnel import Allowed, Tunnel
from txtuntap.wire import icmp, ipv6, ndp
from txtuntap.wire.address import packAddress, packLinkAddress
from txtuntap.wire.arp import ARP, REQUEST
from txtuntap.wire.ethernet import IPV6
from txtuntap.wire.offload import MAX_TAGS, Offload

INTERFACE = "tt0"
STATION, OTHER = "02:00:00:00:00:02", "02:00:00:00:00:66"

ROUTER, PREFIX = "fe80::bad", "2001:db8:1::"
ALL_NODES = "ff02::1"

#: IPv6 extension headers: options that consist of padding, and a fragment header of a whole datagram.
OPTIONS, FRAGMENT = (60, b"\0\1\4\0\0\0\0"), (44, b"\0\0\0\0\0\0\1")


class DevicePort(RecordingPort):
    """
    A port that writes each packet to a device at once.
    """

    def __init__(self, device: LinuxDevice) -> None:
        super().__init__()
        self._device = device

    def writePacket(self, buffers: Sequence[bytes], offload: Offload | None = None) -> None:
        self._device.send(buffers)


@contextmanager
def interface(mode: int, *addresses: str) -> Iterator[DevicePort]:
    """
    Make an interface that accepts router advertisements.
    """
    device = LinuxDevice(INTERFACE, mode)
    device.open()
    try:
        Path(f"/proc/sys/net/ipv6/conf/{INTERFACE}/accept_ra").write_text("1")
        setUp(INTERFACE, *addresses)
        yield DevicePort(device)
    finally:
        device.close()


def peer(port: DevicePort, mode: int, allowed: Allowed | None) -> Tunnel:
    """
    Make a tunnel, whose peer the test plays.
    """
    tunnel = Tunnel(mode, allowed)
    tunnel.makeConnection(port)
    return tunnel


def test_aForgedStationIsDroppedBehindAnyNumberOfTags(namespace: Namespace) -> None:
    def asks(number: int, station: str, tags: int, tag: str = "81000000") -> bytes:
        # An ARP request makes the kernel remember the address of its sender.
        addresses = packAddress(f"10.5.0.{number}"), bytes(6), packAddress("10.5.0.1")
        frame = ethernetFrame(
            packLinkAddress(STATION), b"\xff" * 6, 0x0806, ARP(REQUEST, packLinkAddress(station), *addresses).pack()
        )
        return frame[:12] + bytes.fromhex(tag) * tags + frame[12:]

    def known(number: int) -> bool:
        return "lladdr" in ip("neighbour", "show", f"10.5.0.{number}")

    counts = range(MAX_TAGS + 4)
    with interface(TAP, "10.5.0.1/24") as port:
        anything = peer(port, TAP, None)
        for count in counts:
            assert anything.carried(asks(10 + count, OTHER, count, "88a80000" if count % 2 else "81000000"))
            until(lambda count=count: known(10 + count), f"the kernel to look behind {count} tags")  # type: ignore[misc]
        for number, allowed in (100, Allowed(linkAddresses=[STATION])), (150, Allowed(["10.5.0.2"], [STATION])):
            forger = peer(port, TAP, allowed)
            for count in counts:
                for tag in "81000000", "88a80000":
                    assert not forger.carried(asks(number + count, OTHER, count, tag))
            assert forger.counters["inForbidden"] == 2 * len(counts)
        assert peer(port, TAP, Allowed(linkAddresses=[STATION])).carried(asks(2, STATION, 2))
        # This request was written last, so the kernel has processed all requests before it.
        until(lambda: known(2), "the peer's own address")
        assert not any(known(number + count) for number in (100, 150) for count in counts)


def advertisement(*headers: tuple[int, bytes]) -> bytes:
    """
    Make an IPv6 packet with a router advertisement and a prefix, behind extension headers.
    """
    body = struct.pack("!II", 0, 0) + struct.pack("!BBBBIII", ndp.PREFIX, 4, 64, 0xC0, 7200, 3600, 0)
    source, dest = packAddress(ROUTER), packAddress(ALL_NODES)
    message = icmp.pack(ndp.ROUTER_ADVERTISEMENT, 0, 64 << 24 | 1800, body + packAddress(PREFIX), source, dest)
    kind, chain = icmp.PROTOCOL[6], b""
    for each, rest in reversed(headers):
        chain = bytes([kind]) + rest + chain
        kind = each
    return ipv6.packHeader(source, dest, kind, len(chain) + len(message), ndp.HOP_LIMIT) + chain + message


@pytest.mark.parametrize("mode", [TUN, TAP])
def test_aForgedRouterAdvertisementIsDropped(namespace: Namespace, mode: int) -> None:
    def link(packet: bytes, tags: int = 0) -> bytes:
        if mode == TUN:
            return packet
        frame = ethernetFrame(packLinkAddress(STATION), bytes.fromhex("333300000001"), IPV6, packet)
        return frame[:12] + bytes.fromhex("81000000") * tags + frame[12:]

    def hasRoute() -> bool:
        return PREFIX in ip("-6", "route", "show", "dev", INTERFACE)

    ways = [link(advertisement(*headers)) for headers in ((), (OPTIONS,), (OPTIONS,) * 3, (FRAGMENT,), (OPTIONS,) * 9)]
    if mode == TAP:
        ways += [link(advertisement(), tags) for tags in (1, MAX_TAGS, MAX_TAGS + 1)]
    networks, stations = ["fd05::/64", "fe80::/10"], [STATION] if mode == TAP else []
    with interface(mode, "fd05::1/64") as port:
        forger = peer(port, mode, Allowed(networks, stations))
        for each in ways:
            assert not forger.carried(each)
        router = peer(port, mode, Allowed(networks, stations, router=True))
        assert not hasRoute()
        assert router.carried(ways[0])
        until(hasRoute, "the kernel to believe a router")
        assert f"via {ROUTER}" in ip("-6", "route", "show", "default")
