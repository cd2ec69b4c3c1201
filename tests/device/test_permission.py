"""
Tests for L{txtuntap.device.permission}.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.permission import Asked, Peer, Rule

ALICE = Peer(1, 1000, frozenset({1000}))


class RuleTests(SynchronousTestCase):
    def test_whatTheKernelNumbersMatchesToo(self) -> None:
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
            self.assertEqual((pattern, asked, rule.isFor(ALICE, asked, given)), (pattern, asked, allowed))


class AskedTests(SynchronousTestCase):
    def test_oneNumberAtMost(self) -> None:
        def asked(name: str) -> Asked:
            return Asked.of(json.dumps({"name": name, "mode": "tun", "settings": None}).encode())

        self.assertEqual(asked("vpn%d").name, "vpn%d")
        for name in "%d%d", "vpn%", "vpn%%d", "vpn%s", "%d%":
            self.assertRaises(ValueError, asked, name)
