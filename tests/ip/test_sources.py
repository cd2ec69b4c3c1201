"""
Tests for L{txtuntap.ip.sources}: the index chooses the same source addresses as a scan of all addresses.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.ip import addresses
from txtuntap.ip.addresses import Addresses
from txtuntap.ip.cidr import Interface
from txtuntap.ip.sources import FEW

Address = IPv4Address | IPv6Address

#: The first bits of random addresses and destinations, by IP version. They are chosen so that addresses are close to
#: each other. CHANCE has the numbers of last bits that are random.
NETWORKS = {
    4: ("10.0.0.0", "10.0.0.0", "10.1.0.0", "10.128.0.0", "169.254.0.0", "172.16.0.0"),
    6: ("fd00::", "fd00:0:0:1::", "fd01::", "fe80::", "2001:db8::", "2002:1::", "2001::"),
}
CHANCE = {4: (1, 3, 10, 16), 6: (1, 3, 10, 66)}

#: The prefix lengths of random addresses, by IP version.
LENGTHS = {4: (1, 7, 8, 12, 16, 24, 24, 30, 31, 32), 6: (1, 7, 10, 16, 32, 48, 64, 64, 64, 100, 127, 128)}

#: Destinations that are in no network of the host, by IP version.
FAR = {4: ("8.8.8.8", "224.0.0.1", "255.255.255.255"), 6: ("2600::1", "ff01::1", "ff02::1", "ff05::1", "ff0e::1")}

#: The labels of IPv6 prefixes (RFC 6724 section 2.1), the longest prefix first.
LABELS = {ip_network("2001::/32"): 5, ip_network("2002::/16"): 2, ip_network("fc00::/7"): 13, ip_network("::/0"): 1}


def anAddress(random: Random, version: int) -> Address:
    first = ip_address(random.choice(NETWORKS[version]))
    return type(first)(int(first) | random.getrandbits(random.choice(CHANCE[version])))


def aDestination(random: Random, version: int) -> Address:
    return ip_address(random.choice(FAR[version])) if random.random() < 0.2 else anAddress(random, version)


@cache
def scope(address: Address) -> int:
    if address.version == 6 and address.is_multicast:
        return address.packed[1] & 15
    return 2 if address.is_link_local else 14


@cache
def label(address: Address) -> int:
    return next((label for network, label in LABELS.items() if address in network), 0)


@cache
def bits(address: Address) -> str:
    return f"{int(address):0{address.max_prefixlen}b}"


def common(one: Address, other: Address) -> int:
    """
    Count the leading bits that two addresses share.
    """
    pairs = enumerate(zip(bits(one), bits(other), strict=True))
    return next((count for count, (bit, its) in pairs if bit != its), one.max_prefixlen)


def fitness(own: Interface, dest: Address, hop: Address, deprecated: set[bytes]) -> tuple[int, ...]:
    """
    Rank a source address by the rules of RFC 6724 section 5, as the RFC writes them. The best has the largest value.
    """
    reach, wanted = scope(own.ip), scope(dest)
    return (
        *((1, -reach) if reach >= wanted else (0, reach)),
        own.packed not in deprecated,
        label(own.ip) == label(dest),
        own.network.prefixlen if hop in own.network else -1,
        min(common(own.ip, dest), own.network.prefixlen),
    )


def scanned(ours: dict[bytes, Interface], dest: Address, hop: Address, deprecated: set[bytes]) -> bytes | None:
    """
    Find the source of a datagram by a scan of all addresses.

    @param ours: the addresses that are not suspended, in the order of addition.
    """
    if dest.packed in ours:
        return dest.packed
    candidates = [own for own in ours.values() if own.version == dest.version]
    best = max(candidates, key=lambda own: fitness(own, dest, hop, deprecated), default=None)
    return None if best is None else best.packed


class ScanTests(SynchronousTestCase):
    """
    Comparisons of the index with a scan. Addresses are added, removed, suspended and deprecated at random. After each
    change, both find the same sources.
    """

    def check(self, seed: int, changes: int, versions: tuple[int, ...]) -> None:
        random = Random(seed)
        own = Addresses()
        given: dict[bytes, Interface] = {}
        deprecated: set[bytes] = set()
        suspended: set[bytes] = set()
        for _ in range(changes):
            change = random.choice(("add", "add", "add", "remove", "suspend", "deprecate"))
            packed, on = random.choice(list(given)) if given else b"", random.random() < 0.5
            if change == "add" or not packed:
                address = anAddress(random, random.choice(versions))
                text = f"{address}/{random.choice(LENGTHS[address.version])}"
                try:
                    own.add(text)
                except ValueError:
                    # The address was added before, or is the network or broadcast address of its network.
                    continue
                given[address.packed] = ip_interface(text)
            elif change == "remove":
                own.remove(packed)
                del given[packed]
                deprecated.discard(packed)
                suspended.discard(packed)
            elif change == "suspend":
                own.suspend(packed, on)
                (suspended.add if on else suspended.discard)(packed)
            else:
                own.deprecate(packed, on)
                (deprecated.add if on else deprecated.discard)(packed)
            ours = {packed: each for packed, each in given.items() if packed not in suspended}
            for _ in range(3):
                version = random.choice(versions)
                dest, hop = aDestination(random, version), anAddress(random, version)
                said = f"seed {seed}: to {dest} by {hop} from {list(map(str, ours.values()))}"
                self.assertEqual(own.sourceFor(dest.packed), scanned(ours, dest, dest, deprecated), said)
                self.assertEqual(own.sourceFor(dest.packed, hop.packed), scanned(ours, dest, hop, deprecated), said)
            six = [each for each in ours.values() if each.version == 6]
            self.assertEqual(list(own.inOrder6()), [each.packed for each in six])
            local = [each.packed for each in six if each.ip.is_link_local]
            self.assertEqual(list(own.inOrder6(linkLocal=True)), local)

    def test_indexAgreesWithTheScan(self) -> None:
        for seed in range(2):
            self.check(seed, 12 * FEW, (4, 6))

    def test_scanOfFewAddressesAgrees(self) -> None:
        for seed in range(20):
            self.check(seed, FEW, (4, 6))

    def test_indexOfFewAddressesAgrees(self) -> None:
        # The index is used from the first address on, because most faults of a tree show in a small one.
        self.patch(addresses, "FEW", 0)
        for seed in range(45):
            self.check(seed, 40, ((4,), (6,), (4, 6))[seed % 3])

    def test_addressMayBeDeprecatedBeforeItIsAdded(self) -> None:
        own = Addresses()
        for number in range(2 * FEW):
            own.add(f"10.{number}.0.1/24")
        first, second, dest = (ip_address(text).packed for text in ("10.99.0.1", "10.98.0.1", "10.99.0.9"))
        own.deprecate(first)
        own.deprecate(second)
        own.deprecate(second, False)
        own.add("10.99.0.1/24")
        own.add("10.98.0.1/24")
        # The second address shares more leading bits with the destination than all others that are not deprecated.
        self.assertEqual(own.sourceFor(dest), second)
        own.deprecate(first, False)
        self.assertEqual(own.sourceFor(dest), first)
