"""
The base of the tests of router advertisements, and options of these messages.
"""

from __future__ import annotations

from typing import Any

from txtuntap.wire.address import addressText, packAddress

from .link import PEER, LinkTestCase, frame, routerAdvertisement

LINK_LOCAL = "fe80::ff:fe00:1"
PREFIX = "2001:db8:0:1::/64"
FORMED = "2001:db8:0:1:0:ff:fe00:1"
ROUTER = "fe80::1"
NEIGHBOUR, STRANGER = "2001:db8:0:1::9", "2001:db8:7::9"

ALL_NODES = bytes.fromhex("333300000001")
ALL_ROUTERS = bytes.fromhex("333300000002")

FOREVER = 0xFFFFFFFF


def link(station: bytes = PEER) -> bytes:
    return b"\x01\x01" + station


def mtu(octets: int) -> bytes:
    return b"\x05\x01\0\0" + octets.to_bytes(4, "big")


class AutoconfTestCase(LinkTestCase):
    """
    The base class of tests with a host whose router solicitations had no answer.
    """

    def setUp(self) -> None:
        self.make("10.0.0.2/24", autoconfigure=True)
        self.wait(10)
        del self.device.sent[:]

    def advertise(self, *options: bytes, station: bytes = PEER, **fields: Any) -> list[bytes]:
        """
        Deliver a router advertisement with these options.

        @return: the frames that the host sent in answer.
        """
        return self.receive(frame(routerAdvertisement(*options, **fields), ALL_NODES, station))

    def passTime(self, seconds: float) -> None:
        """
        Advance the clock by a long time, in four steps.
        """
        self.clock.pump([seconds / 4] * 4)

    def formed(self) -> list[str]:
        """
        List the global IPv6 addresses of the host in CIDR notation.
        """
        return [each for each in self.host.addresses if ":" in each and not each.startswith("fe80")]

    def nextHop(self, dest: str = STRANGER) -> str | None:
        hop = self.host.routes.lookup(packAddress(dest))
        return None if hop is None else addressText(hop)

    def source(self, dest: str = STRANGER) -> str | None:
        found = self.host.ip.sourceFor(packAddress(dest))
        return None if found is None else addressText(found)

    def counter(self, name: str) -> int:
        return self.host.counters["autoconfiguration"].get(name, 0)
