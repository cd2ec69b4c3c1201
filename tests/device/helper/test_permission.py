"""
Tests for the helper's rules and requests, L{txtuntap.device.helper.permission}.
"""

from __future__ import annotations

import errno
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.helper.permission import DeviceRequest, Peer, Rule, checkAvailable, irreversible
from txtuntap.device.settings import InterfaceAddress, InterfaceRoute, InterfaceSettings, InterfaceState

ALICE = Peer(1, 1000, frozenset({1000}))


class RuleTests(SynchronousTestCase):
    def test_patternsMatchTheNameThatTheKernelGives(self) -> None:
        for pattern, asked, given, allowed in (
            ("vpn*", "vpn%d", "vpn0", True),
            ("vpn[!0]*", "vpn%d", "vpn0", False),
            ("vpn[!0]*", "vpn%d", "vpn1", True),
            ("two??", "two%d", "two0", False),
            ("two??", "two%d", "two10", True),
            ("gg%d", "gg%d", "gg12", True),
            ("gg%d", "gg0", "gg0", False),
            ("gg[%d]*", "gg%d", "gg0", False),
        ):
            rule = Rule.of(f"1000:{pattern}")
            self.assertEqual((pattern, asked, rule.permits(ALICE, asked, given)), (pattern, asked, allowed))

    def test_routesMustBeInTheNetworksOfTheRule(self) -> None:
        rule = Rule.of("1000:vpn*:10.0.0.0/8,192.0.2.0/24,fd00::/8")
        for route, refused in (
            (InterfaceRoute("10.1.0.0/16"), None),
            (InterfaceRoute("192.0.2.0/24"), None),
            (InterfaceRoute("fd00:1::/32"), None),
            (InterfaceRoute("192.0.0.0/16"), "192.0.0.0/16"),
            (InterfaceRoute("10.1.0.0/16", "11.0.0.1"), "11.0.0.1/32"),
            (InterfaceRoute("fe80::/64"), "fe80::/64"),
            (InterfaceRoute("0.0.0.0/0"), "0.0.0.0/0"),
        ):
            told = rule.refused(InterfaceSettings(routes=[route]))
            expected = refused and f"{refused} is in none of the networks that are allowed"
            self.assertEqual(told, expected, str(route))

    def test_aRuleWithoutNetworksAllowsNoAddresses(self) -> None:
        rule = Rule.of("1000:vpn*")
        self.assertIsNone(rule.refused(InterfaceSettings(mtu=1400)))
        told = rule.refused(InterfaceSettings(addresses=["10.0.0.1/24"]))
        self.assertEqual(told, "10.0.0.1/32 is in none of the networks that are allowed")


class ExistingTests(SynchronousTestCase):
    def state(self, **fields: Any) -> InterfaceState:
        """
        Make the state of an existing interface.
        """
        values: dict[str, Any] = {
            "name": "vpn0",
            "index": 7,
            "kind": "tap",
            "flags": 1,
            "up": True,
            "carrier": False,
            "mtu": 1500,
            "linkAddress": bytes.fromhex("020000000001"),
            "txqueuelen": 1000,
        }
        return InterfaceState(**{**values, **fields})

    def test_onlyTheOwnerAndTheGroupMayHaveADevice(self) -> None:
        for fields, allowed in (
            ({}, True),
            ({"owner": 1000}, True),
            ({"owner": 0}, False),
            ({"group": 1000}, True),
            ({"group": 0}, False),
            ({"owner": 1000, "group": 0}, False),
            ({"owner": 0, "group": 1000}, False),
        ):
            try:
                checkAvailable(self.state(**fields), ALICE, 0)
            except OSError as e:
                self.assertEqual((fields, allowed, e.errno), (fields, False, errno.EPERM))
            else:
                self.assertTrue(allowed, fields)

    def test_aDeviceInUseIsRefused(self) -> None:
        for multiQueue, queues, ours, allowed in (
            (True, 0, 0, True),
            (True, 1, 0, False),
            (True, 1, 1, True),
            (True, 2, 1, False),
            # The kernel does not report the number of queues without multiQueue.
            (False, 0, 1, True),
        ):
            try:
                checkAvailable(self.state(multiQueue=multiQueue, queues=queues), ALICE, ours)
            except OSError as e:
                self.assertEqual((allowed, e.errno), (False, errno.EBUSY))
            else:
                self.assertTrue(allowed)

    def test_irreversibleSettingsAreFound(self) -> None:
        six = (InterfaceAddress("fd09::1/64"),)
        for fields, settings, word in (
            ({}, {"mtu": 1280, "addresses": ["10.9.0.1/24"]}, None),
            ({}, {"up": False}, "set down"),
            ({"up": False}, {"up": False}, None),
            ({"up": False}, {"up": True}, None),
            ({"up": False, "addresses": six}, {"up": True}, "set up"),
            ({"up": False, "addresses": six}, {"up": None}, None),
            ({"addresses": six}, {"up": True}, None),
            ({}, {"mtu": 1279}, "MTU"),
            ({"mtu": 1000}, {"mtu": 900}, None),
            ({}, {"linkAddress": "02:00:00:00:00:01"}, None),
            ({}, {"linkAddress": "02:00:00:00:00:02"}, "link address"),
            ({}, {"neighbours": {"10.9.0.2": "02:00:00:00:00:02"}}, "neighbours"),
        ):
            said = irreversible(self.state(**fields), InterfaceSettings(**settings))
            self.assertEqual((fields, settings, said is None), (fields, settings, word is None))
            self.assertIn(word or "", said or "")


class DeviceRequestTests(SynchronousTestCase):
    def test_onlyOnePercentDIsAllowed(self) -> None:
        def asked(name: str) -> DeviceRequest:
            return DeviceRequest.of(json.dumps({"name": name, "mode": "tun", "settings": None}).encode())

        self.assertEqual(asked("vpn%d").name, "vpn%d")
        for name in "%d%d", "vpn%", "vpn%%d", "vpn%s", "%d%":
            self.assertRaises(ValueError, asked, name)

    def test_routesAreAddedToTheMainTableOnly(self) -> None:
        def asked(**route: object) -> DeviceRequest:
            settings = {"routes": [{"network": "10.9.0.0/24", **route}]}
            return DeviceRequest.of(json.dumps({"name": "vpn0", "mode": "tun", "settings": settings}).encode())

        # 254 is the number of the main table.
        for table in None, 254:
            settings = asked(table=table).settings
            assert settings is not None
            self.assertEqual(list(settings.routes), [InterfaceRoute("10.9.0.0/24")])
        for table in 7, 51820:
            error = self.assertRaises(ValueError, asked, table=table)
            self.assertIn("leave out their table", str(error))
