"""
Tests for L{txtuntap.ip.routes}: the static tables of routes and neighbours.
"""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.steps import steps
from txtuntap.interfaces import INeighbours, IRoutes
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.wire.address import addressText, packAddress


class StaticRoutesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = StaticRoutes()

    def lookup(self, dest: str) -> str | None:
        hop = self.routes.lookup(packAddress(dest))
        return None if hop is None else addressText(hop)

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IRoutes, self.routes))

    def test_emptyTableHasNoRoute(self) -> None:
        self.assertIsNone(self.lookup("10.0.0.1"))
        self.assertIsNone(self.lookup("fd00::1"))

    def test_networkOnTheLinkIsReachedDirectly(self) -> None:
        self.routes.add("10.0.0.0/24")
        self.assertEqual(self.lookup("10.0.0.7"), "10.0.0.7")
        self.assertIsNone(self.lookup("10.0.1.7"))

    def test_gatewayIsTheNextHop(self) -> None:
        self.routes.add("192.0.2.0/24", "10.0.0.1")
        self.assertEqual(self.lookup("192.0.2.7"), "10.0.0.1")

    def test_gatewayMayBePacked(self) -> None:
        self.routes.add("192.0.2.0/24", packAddress("10.0.0.1"))
        self.assertEqual(self.lookup("192.0.2.7"), "10.0.0.1")

    def test_networkMayBeAnObject(self) -> None:
        self.routes.add(ip_network("10.0.0.0/24"))
        self.assertEqual(self.lookup("10.0.0.7"), "10.0.0.7")

    def test_longestPrefixWinsWhateverTheOrder(self) -> None:
        self.routes.add("10.0.0.0/24", "10.9.9.2")
        self.routes.add("0.0.0.0/0", "10.9.9.1")
        self.routes.add("10.0.0.128/25", "10.9.9.3")
        self.assertEqual(
            [self.lookup(dest) for dest in ("8.8.8.8", "10.0.0.1", "10.0.0.129")], ["10.9.9.1", "10.9.9.2", "10.9.9.3"]
        )

    def test_defaultRouteOfEachVersionIsItsOwn(self) -> None:
        self.routes.add("::/0", "fd00::1")
        self.assertEqual(self.lookup("2001:db8::1"), "fd00::1")
        self.assertIsNone(self.lookup("10.0.0.1"))

    def test_secondRouteToANetworkReplacesTheFirst(self) -> None:
        self.routes.add("10.0.0.0/24", "10.9.9.1")
        self.routes.add("10.0.0.0/24", "10.9.9.2")
        self.assertEqual(self.lookup("10.0.0.1"), "10.9.9.2")
        self.routes.remove("10.0.0.0/24")
        self.assertIsNone(self.lookup("10.0.0.1"))

    def test_gatewaysAreTheNextHopsOfTheRoutes(self) -> None:
        self.routes.add("10.0.0.0/24")
        self.routes.add("10.0.0.0/8", "10.9.9.1")
        self.routes.add("::/0", "fd00::1")
        self.assertEqual(self.routes.gateways, {packAddress("10.9.9.1"), packAddress("fd00::1")})

    def test_gatewayIsListedUntilItsLastRouteIsRemoved(self) -> None:
        one, other = packAddress("10.9.9.1"), packAddress("10.9.9.2")
        self.routes.add("10.0.0.0/8", one)
        self.routes.add("11.0.0.0/8", one)
        self.routes.add("10.0.0.0/8", other)
        self.assertTrue(self.routes.isGateway(one) and self.routes.isGateway(other))
        self.routes.remove("11.0.0.0/8")
        self.assertFalse(self.routes.isGateway(one))
        self.routes.add("10.0.0.0/8")
        self.assertEqual(self.routes.gateways, set())

    def test_costDoesNotGrowWithTheNumberOfRoutes(self) -> None:
        # 16,000 routes once took half a minute to add, and each lookup looked at all of them.
        few, many = StaticRoutes(), StaticRoutes()
        for routes, count in (few, 2), (many, 4000):
            for number in range(count):
                routes.add(f"10.{number >> 8}.{number & 255}.0/24", f"192.0.2.{number & 127 | 1}")
            routes.add("0.0.0.0/0", "192.0.2.254")
        for name, *arguments in (
            ("lookup", packAddress("8.8.8.8")),
            ("lookup", packAddress("10.0.1.9")),
            ("isGateway", packAddress("192.0.2.9")),
            ("add", "10.200.0.0/24", "192.0.2.253"),
            ("add", "10.200.0.0/24", "192.0.2.252"),
            ("__contains__", "10.200.0.0/24"),
            ("remove", "10.200.0.0/24"),
        ):
            one, other = (steps(getattr(routes, name), *arguments) for routes in (few, many))
            self.assertEqual(one, other, name)

    def test_removingLeavesTheOthers(self) -> None:
        self.routes.add("10.0.0.0/24")
        self.routes.add("10.0.0.0/8", "10.9.9.1")
        self.routes.remove("10.0.0.0/24")
        self.assertEqual(self.lookup("10.0.0.1"), "10.9.9.1")

    def test_removingAMissingEntryIsAValueError(self) -> None:
        self.routes.add("10.0.0.0/24")
        with self.assertRaises(ValueError) as raised:
            self.routes.remove("10.0.0.0/25")
        self.assertIn("10.0.0.0/25", str(raised.exception))

    def test_invalidNetworkIsAValueError(self) -> None:
        for network in ("10.0.0.1/24", "10.0.0.0/33", "example.com", ""):
            self.assertRaises(ValueError, self.routes.add, network)

    def test_invalidGatewayIsAValueError(self) -> None:
        self.assertRaises(ValueError, self.routes.add, "10.0.0.0/24", "example.com")

    def test_gatewayOfAnotherVersionIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            self.routes.add("10.0.0.0/24", "fd00::1")
        self.assertIn("fd00::1", str(raised.exception))


class StaticNeighboursTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.neighbours = StaticNeighbours()

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(INeighbours, self.neighbours))

    def test_stationOfANeighbour(self) -> None:
        self.neighbours.add("10.0.0.1", "02:00:00:00:00:01")
        self.neighbours.add("fd00::1", b"\x02\0\0\0\0\x02")
        self.assertEqual(self.neighbours.lookup(packAddress("10.0.0.1")), b"\x02\0\0\0\0\x01")
        self.assertEqual(self.neighbours.lookup(packAddress("fd00::1")), b"\x02\0\0\0\0\x02")

    def test_unknownNeighbourHasNoStation(self) -> None:
        self.assertIsNone(self.neighbours.lookup(packAddress("10.0.0.1")))

    def test_removedNeighbourHasNoStation(self) -> None:
        self.neighbours.add("10.0.0.1", "02:00:00:00:00:01")
        self.neighbours.remove("10.0.0.1")
        self.assertIsNone(self.neighbours.lookup(packAddress("10.0.0.1")))

    def test_removingAMissingEntryIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            self.neighbours.remove("10.0.0.1")
        self.assertIn("10.0.0.1", str(raised.exception))

    def test_invalidAddressOrStationIsAValueError(self) -> None:
        self.assertRaises(ValueError, self.neighbours.add, "somewhere", "02:00:00:00:00:01")
        self.assertRaises(ValueError, self.neighbours.add, "10.0.0.1", "somewhere")
