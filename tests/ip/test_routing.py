"""
Tests for L{txtuntap.ip.routing}, beside those of L{tests.ip.test_output}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import PacketRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet
from txtuntap.testing import ethernetFrame, ipPacket
from txtuntap.transports import Route
from txtuntap.wire.address import addressText, packAddress

PROTOCOL = 253
OWN = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
GATEWAY = b"\x02\0\0\0\0\x03"
ADDRESSES = ["10.0.0.2/24", "10.1.0.2/16", "fd00::2/64", "fe80::2/64"]


class AddressTests(SynchronousTestCase):
    """
    Routes to the networks of our addresses, while addresses are added and removed.
    """

    def setUp(self) -> None:
        self.ip = IPProtocol([])

    def nextHop(self) -> bytes | None:
        found: bytes | None = self.ip.routes.lookup(packAddress("fd00::9"))
        return found

    def test_routeToANetworkStaysUntilItsLastAddressIsRemoved(self) -> None:
        self.ip.addAddress("fd00::2/64")
        self.ip.addAddress("fd00::3/64")
        self.ip.removeAddress("fd00::2")
        self.assertEqual(self.nextHop(), packAddress("fd00::9"))
        self.ip.removeAddress("fd00::3")
        self.assertIsNone(self.nextHop())

    def test_networkThatIsNotOnTheLinkHasNoRoute(self) -> None:
        self.ip.addAddress("fd00::2/64", onLink=False)
        self.assertIsNone(self.nextHop())

    def test_explicitRouteStays(self) -> None:
        for onLink in (True, False):
            self.ip.routes.add("fd00::/64", "fe80::1")
            self.ip.addAddress("fd00::2/64", onLink)
            self.ip.removeAddress("fd00::2")
            self.assertEqual(self.nextHop(), packAddress("fe80::1"))

    def test_routeThatReplacesTheOneOfAnAddressStays(self) -> None:
        self.ip.addAddress("fd00::2/64")
        self.ip.routes.add("fd00::/64")
        self.ip.removeAddress("fd00::2")
        self.assertEqual(self.nextHop(), packAddress("fd00::9"))

    def test_routeRemovedByHand(self) -> None:
        self.ip.addAddress("fd00::2/64")
        self.ip.routes.remove("fd00::/64")
        self.ip.removeAddress("fd00::2")
        self.assertIsNone(self.nextHop())


class RouteBackTests(SynchronousTestCase):
    def back(
        self,
        source: str,
        dest: str,
        linkSource: bytes = PEER,
        linkDest: bytes = OWN,
        ours: list[str] | None = ADDRESSES,
    ) -> Route | None:
        ethernet = EthernetProtocol()
        packets: list[Packet] = []
        # This layer has no addresses, so that it delivers the packets that a layer with addresses would drop.
        ip = IPProtocol()
        ip.addProto(PROTOCOL, PacketRecorder(then=packets.append))
        ethernet.addProto(0x0800, ip)
        ethernet.addProto(0x86DD, ip)
        etherType = 0x86DD if ":" in source else 0x0800
        ethernet.packetReceived(
            Packet(ethernetFrame(linkSource, linkDest, etherType, ipPacket(source, dest, PROTOCOL, b"")))
        )
        (self.packet,) = packets
        return IPProtocol(ours).routeBack(self.packet)

    def sourceOfAnswer(self, *arguments: Any, **options: Any) -> str | None:
        route = self.back(*arguments, **options)
        return None if route is None else addressText(route.source)

    def test_routeBackHasAddressesAndStations(self) -> None:
        route = self.back("10.0.0.1", "10.1.0.2", PEER, GATEWAY)
        expected = Route(packAddress("10.1.0.2"), packAddress("10.0.0.1"), self.packet.ethernet, PEER, GATEWAY)
        self.assertEqual(route, expected)

    def test_answerLeavesFromTheAddressThatWasAsked(self) -> None:
        for dest in ("10.0.0.2", "10.1.0.2"):
            self.assertEqual(self.sourceOfAnswer("10.0.0.1", dest), dest)

    def test_answerNeverLeavesFromAGroup(self) -> None:
        for dest in ("10.0.0.255", "10.1.255.255", "255.255.255.255", "224.0.0.1"):
            self.assertEqual(self.sourceOfAnswer("10.1.0.1", dest), "10.1.0.2", dest)
        for dest in ("ff02::1", "ff02::1:ff00:2"):
            self.assertEqual(self.sourceOfAnswer("fe80::1", dest), "fe80::2", dest)

    def test_senderThatIsNoHostIsNotAnswered(self) -> None:
        for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255", "240.0.0.1"):
            self.assertIsNone(self.back(source, "10.0.0.2"), source)
        for source in ("::", "::1", "ff02::1"):
            self.assertIsNone(self.back(source, "fd00::2"), source)

    def test_stationThatIsAGroupIsNotAnswered(self) -> None:
        for group in (b"\x01\0\x5e\0\0\x01", b"\xff" * 6):
            self.assertIsNone(self.back("10.0.0.1", "10.0.0.2", group))

    def test_frameToAGroupIsAnsweredFromOurStation(self) -> None:
        route = self.back("10.0.0.1", "10.0.0.2", PEER, b"\xff" * 6)
        self.assertIsNotNone(route)
        self.assertIsNone(route.linkSource if route else b"")

    def test_withoutAddressesTheDestinationIsTheSource(self) -> None:
        self.assertEqual(self.sourceOfAnswer("10.0.0.1", "192.0.2.77", ours=None), "192.0.2.77")

    def test_withoutAddressesAGroupIsNotAnswered(self) -> None:
        for dest in ("224.0.0.1", "255.255.255.255", "127.0.0.1"):
            self.assertIsNone(self.back("10.0.0.1", dest, ours=None), dest)
        # The destination of the frame shows that 10.0.0.255 is the broadcast address of some network.
        self.assertIsNone(self.back("10.0.0.1", "10.0.0.255", PEER, b"\xff" * 6, None))
