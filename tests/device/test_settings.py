"""
Tests for the records of L{txtuntap.device.settings}.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings


class AddressTests(SynchronousTestCase):
    def test_keysIdentifyAddressesAsInTheKernel(self) -> None:
        def key(*of: str) -> object:
            return InterfaceAddress(*of).key

        # The key of an IPv6 address is the address alone.
        self.assertEqual(key("fd09::1/128", "fd09::2"), key("fd09::1/128", "fd09::3"))
        self.assertEqual(key("fd09::1/64"), key("fd09::1/128"))
        # The key of an IPv4 address also has the network of the peer.
        self.assertEqual(key("10.0.0.1/24", "10.0.0.2"), key("10.0.0.1/24", "10.0.0.3"))
        self.assertNotEqual(key("10.0.0.1/32", "10.0.0.2"), key("10.0.0.1/32", "10.0.0.3"))
        self.assertNotEqual(key("10.0.0.1/24"), key("10.0.0.1/32"))
        self.assertNotEqual(key("10.0.0.1/24"), key("10.0.0.2/24"))

    def test_addressesHaveTheTextOfTheIPCommand(self) -> None:
        self.assertEqual(str(InterfaceAddress("10.0.0.1/24")), "10.0.0.1/24")
        self.assertEqual(str(InterfaceAddress("FD00:0::1/64")), "fd00::1/64")
        self.assertEqual(str(InterfaceAddress("10.0.0.1/32", "10.0.0.2")), "10.0.0.1 peer 10.0.0.2/32")

    def test_anAddressWithoutAPrefixLengthIsRefused(self) -> None:
        said = str(self.assertRaises(ValueError, InterfaceAddress, "10.0.0.1"))
        self.assertIn("'10.0.0.1/24', or '10.0.0.1/32'", said)

    def test_aPeerWithoutAPrefixLengthIsAlone(self) -> None:
        for text in "10.0.0.1 peer 10.0.0.2", "10.0.0.1 peer 10.0.0.2/32", "10.0.0.1/32 peer 10.0.0.2":
            self.assertEqual(InterfaceAddress("10.0.0.1/32", "10.0.0.2"), InterfaceAddress.of(text))

    def test_invalidAddressesAreRefused(self) -> None:
        for arguments in (
            ("here",),
            ("10.0.0.1/33",),
            ("fd00::1/129",),
            ("224.0.0.1/24",),
            ("ff02::1/64",),
            ("0.0.0.0/0",),
            ("10.0.0.1/24", "there"),
            ("10.0.0.1/24", "fd00::2"),
            ("10.0.0.1/24", None, "fd00::2"),
            ("fd00::1/64", None, "fd00::ffff"),
        ):
            self.assertRaises(ValueError, InterfaceAddress, *arguments)

    def test_addressesAreParsed(self) -> None:
        for text, address in {
            "10.0.0.1/24": InterfaceAddress("10.0.0.1/24"),
            "10.0.0.1 peer 10.0.0.2/32": InterfaceAddress("10.0.0.1/32", "10.0.0.2"),
            "10.0.0.1/30 peer 10.0.0.2": InterfaceAddress("10.0.0.1/30", "10.0.0.2"),
            "10.0.0.1/24 broadcast 10.0.0.255": InterfaceAddress("10.0.0.1/24", None, "10.0.0.255"),
            "fd00::1 peer fd00::2/128": InterfaceAddress("fd00::1/128", "fd00::2"),
        }.items():
            self.assertEqual(InterfaceAddress.of(text), address)
            self.assertIs(InterfaceAddress.of(address), address)
        for text in (
            *("", "here", "10.0.0.1/24 peer", "10.0.0.1/24 near 10.0.0.2", "10.0.0.1/24 peer 10.0.0.2/32"),
            *("10.0.0.1 peer 10.0.0.2/33", "10.0.0.1/24 broadcast here", "10.0.0.1 peer 10.0.0.2 peer 10.0.0.3"),
        ):
            self.assertRaises(ValueError, InterfaceAddress.of, text)

    def test_readAcceptsEachAddressOfTheKernel(self) -> None:
        for text in "224.1.1.1/32", "ff02::99/128", "0.0.0.0/0":
            self.assertEqual(str(InterfaceAddress.read(text)), text)
        self.assertEqual(InterfaceAddress.read("FD00:0::1/64"), InterfaceAddress("fd00::1/64"))
        odd = InterfaceAddress.read("10.0.0.1/32", "0.0.0.0")
        self.assertEqual((odd.peer, odd.broadcast, len({odd, odd})), ("0.0.0.0", None, 1))


class RouteTests(SynchronousTestCase):
    def test_routesAreParsed(self) -> None:
        for text in (
            *("10.1.0.0/16", "0.0.0.0/0 via 10.0.0.2", "::/0 via fd00::2", "10.1.0.0/16 metric 0"),
            *("10.1.0.0/16 via 10.0.0.2 metric 5 src 10.0.0.1", "fd01::/64 src fd00::1"),
        ):
            self.assertEqual(str(InterfaceRoute.of(text)), text)
        route = InterfaceRoute("10.1.0.0/16", "10.0.0.2", 5, "10.0.0.1")
        self.assertEqual(InterfaceRoute.of("10.1.0.0/16  src 10.0.0.1 metric 5 via 10.0.0.2"), route)
        for text in (
            *("", "10.1.0.0/16 via", "10.1.0.0/16 metric five", "10.1.0.0/16 metric -5", "10.1.0.0/16 dev tun0"),
            *("10.1.0.0/16 via 10.0.0.2 via 10.0.0.3", "10.1.0.0/16 metric 4294967296"),
        ):
            self.assertRaises(ValueError, InterfaceRoute.of, text)

    def test_invalidRoutesAreRefused(self) -> None:
        for arguments in (("here",), ("10.0.0.1/8",), ("10.0.0.0/8", "fd00::1"), ("10.0.0.0/8", None, -1)):
            self.assertRaises(ValueError, InterfaceRoute, *arguments)
        self.assertRaises(ValueError, InterfaceRoute, "10.0.0.0/8", source="fd00::1")


class SettingsTests(SynchronousTestCase):
    def refused(self, *words: str, **settings: Any) -> None:
        with self.assertRaises(ValueError) as raised:
            InterfaceSettings(**settings)
        for word in words:
            self.assertIn(word, str(raised.exception))

    def test_settingsThatAreNotGivenAreNone(self) -> None:
        settings = InterfaceSettings(up=None)
        self.assertEqual((settings.mtu, settings.owner, settings.addresses, settings.routes), (None, None, (), ()))

    def test_numbersOutOfRangeAreRefused(self) -> None:
        for mtu in 67, 65536, -1, "1500":
            self.refused("mtu", "68", mtu=mtu)
        self.refused("txqueuelen", txqueuelen=-1)
        self.refused("owner", owner=-1)

    def test_ipv6NeedsAnMTUOf1280(self) -> None:
        self.refused("an MTU under 1280 disables IPv6", "1279", "fd00::1/64", mtu=1279, addresses=["fd00::1/64"])
        self.refused("IPv6", "fd00::/64", mtu=1279, routes=["fd00::/64"])
        self.assertEqual(InterfaceSettings(mtu=1280, addresses=["fd00::1/64"]).mtu, 1280)
        self.assertEqual(InterfaceSettings(mtu=68, addresses=["10.0.0.1/24"]).mtu, 68)

    def test_routesNeedALinkThatIsUp(self) -> None:
        self.refused("down", up=False, routes=["10.0.0.0/8"])

    def test_textInsteadOfAListIsRefused(self) -> None:
        self.refused("list", addresses="10.0.0.1/24")
        self.refused("list", routes="10.0.0.0/8")

    def test_valuesOfAnotherTypeAreRefused(self) -> None:
        for name in "up", "persistent", "carrier":
            flags: tuple[object, ...] = ("no", "off", 0, 2, [])
            for value in flags:
                self.refused(f"{name} must be True, False or None", repr(value), **{name: value})
        for name in "owner", "group":
            others: tuple[object, ...] = (True, 1.5, b"root", [])
            for other in others:
                self.refused(f"{name} must be a number or a name", repr(other), **{name: other})
        for name in "mtu", "txqueuelen":
            self.refused(name, "True", **{name: True})
        for name in "addresses", "routes":
            for values in [None], [5], None, 7:
                self.refused("give" if isinstance(values, int) or values is None else "text", **{name: values})
        self.refused("'\u00b2'", owner="\u00b2")
        for mapping in ["10.0.0.2"], None, "10.0.0.2", {5: "02:00:00:00:00:01"}:
            self.refused(neighbours=mapping)
        self.assertRaises(ValueError, InterfaceRoute, "10.0.0.0/8", metric=True)
        self.assertRaises(ValueError, InterfaceAddress, 167772161)

    def test_scopesAreRefused(self) -> None:
        for settings in (
            {"addresses": ["fe80::1%lo/64"]},
            {"addresses": ["fe80::1 peer fe80::2%lo/128"]},
            {"routes": ["fd00::/64 via fe80::1%lo"]},
            {"neighbours": {"fe80::1%lo": "02:00:00:00:00:01"}},
        ):
            self.refused("scope", **settings)

    def test_usersAndGroupsByName(self) -> None:
        if sys.platform == "win32":
            return self.refused("leave it out", owner="SYSTEM")
        import pwd

        name = pwd.getpwuid(os.getuid()).pw_name
        self.assertEqual(InterfaceSettings(owner=name).owner, os.getuid())
        self.assertEqual(InterfaceSettings(owner="1234", group=5).owner, 1234)
        self.refused("no user 'nobody at all'", owner="nobody at all")
        self.refused("no group 'nobody at all'", group="nobody at all")

    def test_linkAddresses(self) -> None:
        self.assertEqual(InterfaceSettings(linkAddress="02:00:00:00:00:01").linkAddress, b"\x02\0\0\0\0\x01")
        for link in "01:00:5e:00:00:01", "00:00:00:00:00:00", "here":
            self.refused(linkAddress=link)
