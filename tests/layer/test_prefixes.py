"""
Tests for the prefix table, L{txtuntap.layer.prefixes}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.steps import steps
from txtuntap.layer.prefixes import Network, PrefixTable
from txtuntap.wire.address import packAddress


def table(*networks: str) -> PrefixTable[str]:
    """
    Make a table in which the value of each network is its text.
    """
    made: PrefixTable[str] = PrefixTable()
    for network in networks:
        made[ip_network(network)] = network
    return made


def networkOf(random: Random) -> Network:
    """
    Choose one of a few networks at random, so that some contain others, and some are chosen twice.
    """
    if random.random() < 0.5:
        return ip_network(
            f"10.{random.choice((0, 1, 128))}.0.{random.choice((0, 1, 255))}/{random.randint(0, 32)}", False
        )
    return ip_network(
        f"fd00:{random.choice((0, 1, 8))}::{random.choice((0, 1))}/{random.choice((0, 7, 32, 64, 128))}", False
    )


class MappingTests(SynchronousTestCase):
    """
    Tests for the table as a mapping from networks to values.
    """

    def test_aNetworkHasItsValue(self) -> None:
        one = table("10.0.0.0/8", "10.0.0.0/16", "fd00::/8")
        self.assertEqual(one[ip_network("10.0.0.0/16")], "10.0.0.0/16")
        self.assertEqual(one.get(ip_network("10.0.0.0/24")), None)
        self.assertIn(ip_network("fd00::/8"), one)
        for other in "10.0.0.0/9", "10.1.0.0/16", "fd00::/16", "a00::/8":
            self.assertNotIn(ip_network(other), one)
            self.assertRaises(KeyError, one.__getitem__, ip_network(other))

    def test_secondValueReplacesTheFirst(self) -> None:
        one = table("10.0.0.0/8")
        one[ip_network("10.0.0.0/8")] = "other"
        self.assertEqual(list(one.items()), [(ip_network("10.0.0.0/8"), "other")])

    def test_removedNetworksAreGone(self) -> None:
        one = table("10.0.0.0/8", "10.0.0.0/16", "11.0.0.0/8")
        del one[ip_network("10.0.0.0/8")]
        self.assertEqual(set(one), {ip_network("10.0.0.0/16"), ip_network("11.0.0.0/8")})
        for absent in "10.0.0.0/8", "12.0.0.0/8", "10.0.0.0/24":
            self.assertRaises(KeyError, one.__delitem__, ip_network(absent))

    def test_networksAreListedLongestFirst(self) -> None:
        networks = ["10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "fd00::1/128", "fd00::/8", "::/0"]
        one = table(*reversed(networks))
        self.assertEqual(list(map(str, one)), networks)
        self.assertEqual(len(one), 6)
        self.assertEqual(len(table()), 0)


class MatchTests(SynchronousTestCase):
    """
    Tests for finding the longest prefix that matches an address.
    """

    def match(self, one: PrefixTable[str], address: str) -> tuple[int, str] | None:
        return one.match(packAddress(address))

    def test_theLongestPrefixMatchesInAnyOrderOfInsertion(self) -> None:
        for networks in (["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"], ["0.0.0.0/0", "10.1.0.0/16", "10.0.0.0/8"]):
            one = table(*networks)
            self.assertEqual(self.match(one, "10.1.2.3"), (16, "10.1.0.0/16"))
            self.assertEqual(self.match(one, "10.2.2.3"), (8, "10.0.0.0/8"))
            self.assertEqual(self.match(one, "11.0.0.1"), (0, "0.0.0.0/0"))

    def test_ipVersionsAreSeparate(self) -> None:
        one = table("0.0.0.0/0")
        self.assertIsNone(self.match(one, "::"))
        one = table("::/0", "a00::/8", "::a00:0/104")
        self.assertIsNone(self.match(one, "10.0.0.0"))
        self.assertEqual(self.match(one, "a00::1"), (8, "a00::/8"))

    def test_afterRemovalTheNextShorterPrefixMatches(self) -> None:
        one = table("fd00::/8", "fd00::/64")
        del one[ip_network("fd00::/64")]
        self.assertEqual(self.match(one, "fd00::1"), (8, "fd00::/8"))
        del one[ip_network("fd00::/8")]
        self.assertIsNone(self.match(one, "fd00::1"))

    def test_matchAgreesWithASearchOfAllNetworks(self) -> None:
        random = Random(7)
        one: PrefixTable[int] = PrefixTable()
        model: dict[Network, int] = {}
        for number in range(2000):
            network = networkOf(random)
            if model and random.random() < 0.4:
                removed = random.choice(list(model))
                del model[removed], one[removed]
            model[network] = one[network] = number
            address = networkOf(random).network_address
            holding = [(each.prefixlen, value) for each, value in model.items() if address in each]
            self.assertEqual(one.match(address.packed), max(holding, default=None))
            inner = networkOf(random)
            within = [each for each in model if each.version == inner.version and inner.subnet_of(each)]  # type: ignore[arg-type]
            self.assertEqual(one.covers(inner), bool(within), inner)
        self.assertEqual(dict(one), model)


class GrowthTests(SynchronousTestCase):
    """
    Tests that operations cost the same for tables of any size.
    """

    def filled(self, count: int) -> PrefixTable[int]:
        one: PrefixTable[int] = PrefixTable()
        for number in range(count):
            one[ip_network((IPv4Address(10 << 24 | number << 8), 24))] = number
            one[ip_network((IPv6Address(0xFD << 120 | number << 64), 64))] = number
        one[ip_network("0.0.0.0/0")] = -1
        return one

    def test_theCostDoesNotGrowWithTheTable(self) -> None:
        small, large = self.filled(10), self.filled(5000)
        new = ip_network("10.200.0.0/24")
        for address in map(packAddress, ("10.0.1.1", "8.8.8.8", "fd00:0:0:1::1", "2600::1")):
            self.assertEqual(steps(small.match, address), steps(large.match, address))
        self.assertEqual(steps(small.__setitem__, new, 1), steps(large.__setitem__, new, 1))
        self.assertEqual(steps(small.__getitem__, new), steps(large.__getitem__, new))
        self.assertEqual(steps(small.covers, new), steps(large.covers, new))
        self.assertEqual(steps(small.__delitem__, new), steps(large.__delitem__, new))

    def test_lengthsNoLongerInUseCostNothing(self) -> None:
        one = self.filled(10)
        before = steps(one.match, b"\x08\x08\x08\x08")
        for length in range(1, 24):
            one[ip_network(f"0.0.0.0/{length}")] = length
        for length in range(1, 24):
            del one[ip_network(f"0.0.0.0/{length}")]
        self.assertEqual(steps(one.match, b"\x08\x08\x08\x08"), before)
