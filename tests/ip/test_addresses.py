"""
Tests for L{txtuntap.ip.addresses}, beside those of L{tests.ip.test_input}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.steps import steps
from txtuntap.ip.addresses import MAX_SOURCES, Addresses
from txtuntap.wire.address import addressText, packAddress


def addresses(*texts: str, networks: tuple[str, ...] = ()) -> Addresses:
    own = Addresses()
    for text in texts:
        own.add(text)
    for network in networks:
        own.addNetwork(network)
    return own


class AddressesTests(SynchronousTestCase):
    def test_addedAddressIsOurs(self) -> None:
        own = addresses("10.0.0.2/24")
        self.assertTrue(own.isOwn(packAddress("10.0.0.2")))
        self.assertIn(packAddress("10.0.0.2"), own.local)

    def test_groupsAndBroadcastsOfEveryAddressAreLocal(self) -> None:
        own = addresses("10.0.0.2/24")
        own.add("10.1.0.2/24")
        own.add("fd00::2/64")
        for text in "10.0.0.2", "10.1.0.2", "10.1.0.255", "fd00::2", "ff02::1:ff00:2", "224.0.0.1":
            self.assertIn(packAddress(text), own.local)
        self.assertIn(packAddress("10.1.0.255"), own.broadcasts)
        self.assertIn(packAddress("ff02::1:ff00:2"), own.groups(solicited=True))

    def test_addingAnAddressEmptiesTheCaches(self) -> None:
        own = addresses("10.0.0.2/24")
        pair = packAddress("10.1.0.2") + packAddress("10.0.0.2")
        self.assertTrue(own.admits(pair))
        dest = packAddress("10.1.0.9")
        self.assertEqual(own.sourceFor(dest), packAddress("10.0.0.2"))
        own.add("10.1.0.2/24")
        self.assertNotIn(pair, own.admitted)
        self.assertEqual(own.sourceFor(dest), packAddress("10.1.0.2"))

    def test_addressWithoutAPrefixLengthIsRefused(self) -> None:
        for text, network in ("10.0.0.2", "10.0.0.2/24"), ("fd00::2", "fd00::2/64"):
            said = str(self.assertRaises(ValueError, addresses, text))
            self.assertIn(f"give '{network}'", said)
        self.assertEqual(addresses("10.0.0.2/32").broadcasts, {b"\xff\xff\xff\xff"})

    def test_removedAddressIsNotOurs(self) -> None:
        own = addresses("10.0.0.2/24", "fd00::2/64")
        own.remove("10.0.0.2")
        self.assertFalse(own.isOwn(packAddress("10.0.0.2")))
        self.assertNotIn(packAddress("10.0.0.2"), own.local)
        self.assertNotIn(packAddress("10.0.0.255"), own.local)
        self.assertTrue(own.isOwn(packAddress("fd00::2")))

    def test_removingAnAddressLeavesItsSolicitedNodeGroup(self) -> None:
        own = addresses("fd00::2/64")
        own.remove("fd00::2")
        self.assertNotIn(packAddress("ff02::1:ff00:2"), own.local)

    def test_solicitedNodeGroupOfTwoAddressesStaysWithTheOther(self) -> None:
        own = addresses("fd00::2/64", "fd01::2/64")
        own.remove("fd00::2")
        self.assertIn(packAddress("ff02::1:ff00:2"), own.local)

    def test_removingAForeignAddressIsAValueError(self) -> None:
        self.assertRaises(ValueError, addresses("10.0.0.2/24").remove, "10.0.0.3")

    def test_addingAnAddressTwiceIsAValueError(self) -> None:
        self.assertRaises(ValueError, addresses("10.0.0.2/24").add, "10.0.0.2/16")

    def test_networkAndBroadcastAddressesAreRefused(self) -> None:
        for text in ("10.0.0.0/24", "10.0.0.255/24"):
            self.assertRaises(ValueError, Addresses().add, text)

    def test_pairIsNotAdmittedOnceItsSourceIsOurs(self) -> None:
        own = addresses("10.0.0.2/24")
        pair = packAddress("10.0.0.3") + packAddress("10.0.0.2")
        self.assertTrue(own.admits(pair))
        self.assertIn(pair, own.admitted)
        own.add("10.0.0.3/24")
        self.assertNotIn(pair, own.admitted)
        self.assertFalse(own.admits(pair))
        self.assertNotIn(pair, own.admitted)

    def test_pairsWithAGroupOfTheLinkAreAdmittedAndNotCached(self) -> None:
        own = addresses("10.0.0.2/24", "fd00::2/64")
        own.join(packAddress("239.1.1.1"))
        for source, dest in ("10.0.0.3", "224.0.0.1"), ("fe80::3", "ff02::1"), ("fe80::3", "ff02::1:ff00:2"):
            self.assertTrue(own.admits(packAddress(source) + packAddress(dest)))
        self.assertEqual(own.admitted, set())
        pair = packAddress("10.0.0.3") + packAddress("239.1.1.1")
        self.assertTrue(own.admits(pair))
        self.assertEqual(own.admitted, {pair})

    def test_anAddressOfOursIsSharedAsOneObject(self) -> None:
        own = addresses("10.0.0.2/24")
        first = own.shared(packAddress("10.0.0.2"))
        self.assertIs(own.shared(packAddress("10.0.0.2")), first)
        other = packAddress("10.0.0.3")
        self.assertIs(own.shared(other), other)

    def test_unicastAddressesOfOthersMayBeNeighbours(self) -> None:
        own = addresses("10.0.0.2/24", "fd00::2/64")
        for text in ("10.0.0.1", "8.8.8.8", "fd00::1", "fe80::1"):
            self.assertTrue(own.isNeighbour(packAddress(text)), text)

    def test_ownAndGroupAddressesAreNoNeighbours(self) -> None:
        own = addresses("10.0.0.2/24", "fd00::2/64")
        for text in ("10.0.0.2", "10.0.0.255", "255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1", "fd00::2", "::"):
            self.assertFalse(own.isNeighbour(packAddress(text)), text)

    def test_hearsSolicitationsOfEverySolicitedNodeGroup(self) -> None:
        own = addresses("fd00::2/64")
        group = packAddress("ff02::1:ff12:3456")
        self.assertFalse(own.hears(group))
        own.hearsSolicitations = True
        self.assertTrue(own.hears(group))
        for text in ("ff02::1:fe12:3456", "ff02::2", "ff05::1:ff12:3456", "fd00::3", "10.0.0.3", "224.0.0.2"):
            self.assertFalse(own.hears(packAddress(text)), text)
        self.assertFalse(own.accepts(group))


class SharedTests(SynchronousTestCase):
    """
    Broadcast addresses, groups and networks that several addresses share. They stay until the last of these addresses
    is removed.
    """

    def test_broadcastStaysUntilItsNetworkHasNoAddress(self) -> None:
        own = addresses("10.0.0.2/24", "10.0.0.3/24", "10.0.0.130/25")
        broadcast = packAddress("10.0.0.255")
        for text in "10.0.0.2", "10.0.0.130":
            own.remove(text)
            self.assertIn(broadcast, own.broadcasts)
            self.assertIn(broadcast, own.local)
        own.remove("10.0.0.3")
        self.assertEqual(own.broadcasts, {b"\xff\xff\xff\xff"})
        self.assertNotIn(broadcast, own.local)

    def test_addressThatIsAlsoABroadcastStaysLocal(self) -> None:
        address = packAddress("10.0.0.255")
        own = addresses("10.0.0.255/16", "10.0.0.2/24")
        own.remove("10.0.0.255")
        self.assertIn(address, own.local)
        own.add("10.0.0.255/16")
        own.remove("10.0.0.2")
        self.assertNotIn(address, own.broadcasts)
        self.assertTrue(own.isOwn(address))
        self.assertIn(address, own.local)

    def test_limitedBroadcastStays(self) -> None:
        own = addresses("128.0.0.2/1")
        own.remove("128.0.0.2")
        self.assertIn(b"\xff\xff\xff\xff", own.broadcasts)
        self.assertIn(b"\xff\xff\xff\xff", own.local)

    def test_joinedGroupStaysWithoutItsAddress(self) -> None:
        own = addresses("fd00::2/64")
        group = packAddress("ff02::1:ff00:2")
        own.join(group)
        own.remove("fd00::2")
        self.assertIn(group, own.local)
        self.assertTrue(own.isIn(group, solicited=False))
        own.leave(group)
        self.assertNotIn(group, own.local)
        self.assertFalse(own.isIn(group, solicited=True))

    def test_networksStayUntilTheirLastAddressIsRemoved(self) -> None:
        own = addresses("10.0.0.2/24", "10.0.0.3/24", "fd00::2/64")
        own.suspend(packAddress("10.0.0.2"))
        own.remove("10.0.0.3")
        self.assertEqual(list(map(str, own.networks)), ["10.0.0.0/24", "fd00::/64"])
        own.remove("10.0.0.2")
        self.assertEqual(list(map(str, own.networks)), ["fd00::/64"])


class SuspensionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.own = addresses("10.0.0.2/24", "10.0.0.3/24", "fd00::2/64")
        self.address = packAddress("10.0.0.2")

    def usedAddresses(self) -> list[str]:
        return [str(each.ip) for each in self.own.interfaces]

    def test_suspendedAddressIsNotUsed(self) -> None:
        self.own.suspend(self.address)
        self.assertEqual(self.usedAddresses(), ["10.0.0.3", "fd00::2"])
        self.assertFalse(self.own.isOwn(self.address))
        self.assertNotIn(self.address, self.own.local)
        self.assertTrue(self.own.isAssigned(self.address))

    def test_resumedAddressHasItsOldPlace(self) -> None:
        self.own.suspend(self.address)
        self.own.suspend(self.address)
        self.own.suspend(self.address, False)
        self.own.suspend(self.address, False)
        self.assertEqual(self.usedAddresses(), ["10.0.0.2", "10.0.0.3", "fd00::2"])
        self.own.remove("10.0.0.2")
        self.assertNotIn(self.address, self.own.local)

    def test_groupAndBroadcastOfASuspendedAddressStayLocal(self) -> None:
        self.own.suspend(packAddress("fd00::2"))
        self.own.suspend(self.address)
        for text in "ff02::1:ff00:2", "10.0.0.255":
            self.assertIn(packAddress(text), self.own.local)

    def test_suspendedAddressMayBeRemoved(self) -> None:
        self.own.suspend(self.address)
        self.own.remove("10.0.0.2")
        self.assertFalse(self.own.isAssigned(self.address))
        self.own.add("10.0.0.2/24")
        self.assertTrue(self.own.isOwn(self.address))


class GroupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[bytes] = []
        self.own = Addresses()
        self.own.onGroup = self.told.append

    def test_onGroupIsCalledForTheFirstAndTheLastReason(self) -> None:
        group, solicited = packAddress("239.0.0.1"), packAddress("ff02::1:ff00:2")
        for call, expected in (
            (lambda: self.own.join(group), [group]),
            (lambda: self.own.join(group), []),
            (lambda: self.own.leave(group), []),
            (lambda: self.own.leave(group), [group]),
            (lambda: self.own.add("fd00::2/64"), [solicited]),
            (lambda: self.own.add("fd01::2/64"), []),
            (lambda: self.own.suspend(packAddress("fd00::2")), []),
            (lambda: self.own.remove("fd00::2"), []),
            (lambda: self.own.remove("fd01::2"), [solicited]),
            (lambda: self.own.add("10.0.0.2/24"), []),
        ):
            del self.told[:]
            call()
            self.assertEqual(self.told, expected)


class GrowthTests(SynchronousTestCase):
    """
    The cost to change or look up an address. A host may have thousands of addresses, so the cost must not depend on
    their number.
    """

    def filled(self, count: int) -> Addresses:
        own = addresses("10.200.0.2/24", "fdff::2/64")
        for number in range(count):
            own.add(f"10.{number >> 8}.{number & 255}.1/24")
            own.add(f"10.255.{number >> 8}.{number & 255}/32")
            own.add(f"fd00:0:0:{number:x}::{number:x}/64")
            own.addNetwork(f"11.{number >> 8}.{number & 255}.0/24")
        return own

    def test_costDoesNotGrowWithTheNumberOfAddresses(self) -> None:
        group, address = packAddress("239.0.0.1"), packAddress("10.200.0.2")
        inside, outside, hop = map(packAddress, ("10.200.0.9", "8.8.8.8", "10.200.0.1"))
        # With 200 networks of each kind, every branch of the tree that the calls below pass is there already. So any
        # difference of the two costs comes from the number of addresses.
        few, many = self.filled(200), self.filled(2000)
        for name, *arguments in (
            ("add", "10.201.0.2/24"),
            ("add", "fdfe::2/64"),
            ("join", group),
            ("leave", group),
            ("suspend", address),
            ("suspend", address, False),
            ("accepts", packAddress("11.0.1.1")),
            ("accepts", packAddress("8.8.8.8")),
            ("admits", packAddress("8.8.8.8") + address),
            ("sourceFor", inside),
            ("sourceFor", outside),
            ("sourceFor", outside, hop),
            ("sourceFor", packAddress("fd00::9:9:9:9")),
            ("sourceFor", packAddress("2600::9")),
            ("sourceFor", packAddress("ff02::1")),
            ("deprecate", address),
            ("deprecate", address, False),
            ("remove", "10.200.0.2"),
            ("remove", "fdff::2"),
            ("addNetwork", "12.0.0.0/8"),
        ):
            one, other = (steps(getattr(own, name), *arguments) for own in (few, many))
            self.assertEqual(one, other, name)

    def test_firstIPv6AddressIsFoundWithoutALookAtTheOthers(self) -> None:
        counted = []
        for count in 200, 2000:
            own = self.filled(count)
            own.add("fe80::2/64")
            own.add("fe80::1/64")
            self.assertEqual(next(own.inOrder6()), packAddress("fdff::2"))
            self.assertEqual(list(own.inOrder6(linkLocal=True)), [packAddress("fe80::2"), packAddress("fe80::1")])
            counted.append([steps(lambda own=own: next(own.inOrder6())), steps(list, own.inOrder6(linkLocal=True))])
        self.assertEqual(*counted)


class NetworkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.own = addresses("10.0.0.2/24", networks=("10.0.0.0/8", "2001:db8::/32"))

    def test_everyAddressOfAnAddedNetworkIsAccepted(self) -> None:
        for text in ("10.0.0.0", "10.255.255.255", "10.77.0.1", "2001:db8::", "2001:db8:ffff::1"):
            self.assertTrue(self.own.accepts(packAddress(text)), text)

    def test_addressesOutsideAreNotAccepted(self) -> None:
        for text in ("11.0.0.0", "9.255.255.255", "2001:db9::", "2001:db7:ffff::", "a00::"):
            self.assertFalse(self.own.accepts(packAddress(text)), text)

    def test_broadcastInsideIsNotAccepted(self) -> None:
        self.assertFalse(self.own.accepts(packAddress("10.0.0.255")))

    def test_wholeInternetHasNoGroupsOrLoopback(self) -> None:
        own = addresses(networks=("0.0.0.0/0", "::/0"))
        for text in ("224.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::1", "::"):
            self.assertFalse(own.accepts(packAddress(text)), text)

    def test_acceptedAddressesAreNotOwn(self) -> None:
        self.assertFalse(self.own.isOwn(packAddress("10.77.0.1")))

    def test_acceptedAddressesMaySend(self) -> None:
        self.assertTrue(self.own.maySend(packAddress("10.77.0.1"), packAddress("10.0.0.2")))

    def test_invalidNetworkIsAValueError(self) -> None:
        for text in ("here", "10.0.0.1/8", "10.0.0.0/33"):
            self.assertRaises(ValueError, self.own.addNetwork, text)


class SourceTests(SynchronousTestCase):
    def source(self, dest: str, *texts: str) -> str | None:
        packed = addresses(*texts).sourceFor(packAddress(dest))
        return None if packed is None else addressText(packed)

    def test_addressWhoseNetworkHoldsTheDestinationWins(self) -> None:
        self.assertEqual(self.source("10.1.0.9", "10.0.0.2/24", "10.1.0.2/24"), "10.1.0.2")
        self.assertEqual(self.source("fd01::9", "fd00::2/64", "fd01::2/64"), "fd01::2")

    def test_smallestNetworkWins(self) -> None:
        self.assertEqual(self.source("10.0.1.9", "10.0.0.2/8", "10.0.1.2/24"), "10.0.1.2")
        self.assertEqual(self.source("fd00:0:0:1::9", "fd00::2/32", "fd00:0:0:1::2/64"), "fd00:0:0:1::2")

    def test_firstAddressWinsOtherwise(self) -> None:
        self.assertEqual(self.source("8.8.8.8", "10.0.0.2/24", "10.1.0.2/24"), "10.0.0.2")

    def test_linkLocalSourceForALinkLocalDestination(self) -> None:
        for dest in ("fe80::9", "ff02::1"):
            self.assertEqual(self.source(dest, "fd00::2/64", "fe80::2/64"), "fe80::2", dest)

    def test_noLinkLocalSourceForAGlobalDestination(self) -> None:
        for dest in ("2001:db8::9", "ff0e::1"):
            self.assertEqual(self.source(dest, "fe80::2/64", "2001:db8:1::2/64"), "2001:db8:1::2", dest)
        self.assertEqual(self.source("8.8.8.8", "169.254.0.2/16", "10.0.0.2/24"), "10.0.0.2")

    def test_noUniqueLocalSourceForAGlobalDestination(self) -> None:
        self.assertEqual(self.source("2600::9", "fd00::2/64", "2001:db8::2/64"), "2001:db8::2")

    def test_uniqueLocalSourceForAUniqueLocalDestination(self) -> None:
        self.assertEqual(self.source("fd77::9", "2001:db8::2/64", "fd00::2/64"), "fd00::2")

    def test_longestCommonPrefixWins(self) -> None:
        self.assertEqual(self.source("2001:db8:2::9", "2001:db7::2/64", "2001:db8:1::2/64"), "2001:db8:1::2")

    def test_ownDestinationIsItsOwnSource(self) -> None:
        self.assertEqual(self.source("fd00::2", "fd00::1/64", "fd00::2/64"), "fd00::2")

    def test_narrowestSufficientScopeWins(self) -> None:
        self.assertEqual(self.source("fe80::9", "2001:db8::2/64", "fe80::2/10"), "fe80::2")
        self.assertEqual(self.source("2001:db8::9", "fe80::2/10"), "fe80::2")

    def test_addressInTheNextHopsNetworkWins(self) -> None:
        own = addresses("10.0.0.2/24", "10.1.0.2/24", "2001:db8::2/64", "2001:db8:1::2/64")
        for dest, hop, source in (
            ("8.8.8.8", "10.1.0.1", "10.1.0.2"),
            ("8.8.8.8", "10.0.0.1", "10.0.0.2"),
            ("2600::9", "2001:db8:1::1", "2001:db8:1::2"),
        ):
            self.assertEqual(own.sourceFor(packAddress(dest), packAddress(hop)), packAddress(source))

    def test_labelWinsOverTheNextHopsNetwork(self) -> None:
        own = addresses("fd00::2/64", "2001:db8::2/64")
        self.assertEqual(own.sourceFor(packAddress("2600::9"), packAddress("fd00::1")), packAddress("2001:db8::2"))

    def test_sourceWithTheLabelOfTheDestinationWins(self) -> None:
        for dest, source in (("2002:1::9", "2002:2::2"), ("2001:0:7::9", "2001::2"), ("2600::9", "2a00::2")):
            self.assertEqual(self.source(dest, "fd00::2/64", "2001::2/32", "2a00::2/64", "2002:2::2/64"), source)

    def test_deprecatedAddressIsUsedOnlyWithoutAnother(self) -> None:
        own = addresses("2001:db8::2/64", "2001:db8:1::2/64")
        dest, first, second = map(packAddress, ("2001:db8::9", "2001:db8::2", "2001:db8:1::2"))
        self.assertEqual(own.sourceFor(dest), first)
        own.deprecate(first)
        self.assertEqual(own.sourceFor(dest), second)
        own.remove(second)
        self.assertEqual(own.sourceFor(dest), first)
        own.add("2001:db8:1::2/64")
        own.deprecate(first, False)
        self.assertEqual(own.sourceFor(dest), first)

    def test_removedAddressIsNoSource(self) -> None:
        own = addresses("10.0.0.2/24", "10.1.0.2/24")
        self.assertEqual(own.sourceFor(b"\x0a\0\0\x09"), b"\x0a\0\0\x02")
        own.remove("10.0.0.2")
        self.assertEqual(own.sourceFor(b"\x0a\0\0\x09"), b"\x0a\x01\0\x02")

    def test_cacheOfSourcesIsBounded(self) -> None:
        own = addresses("10.0.0.2/24")
        for number in range(2 * MAX_SOURCES):
            own.sourceFor(b"\x08\x08" + number.to_bytes(2, "big"))
        self.assertLessEqual({table.name: table.size for table in own.tables()}["sources"], MAX_SOURCES)

    def test_noSourceWithoutAnAddressOfTheVersion(self) -> None:
        self.assertIsNone(self.source("8.8.8.8", "fd00::2/64"))
        self.assertIsNone(self.source("fd00::1", "10.0.0.2/24"))
