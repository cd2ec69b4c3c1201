"""
Tests for L{txtuntap.ip.pathmtu}: the table of path MTUs.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.ip.pathmtu import FLOOR, MAX_PATHS, TIMEOUT, PathMTUs

PEER, PEER6 = b"\x0a\0\0\x01", b"\xfd" + bytes(14) + b"\x01"


class PathMTUsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.paths = PathMTUs()

    def test_unknownPathHasNoMTU(self) -> None:
        self.assertIsNone(self.paths.lookup(PEER, 0))

    def test_pathMTUIsLearned(self) -> None:
        for dest in (PEER, PEER6):
            self.assertTrue(self.paths.learn(dest, 1400, 1500, 0))
            self.assertEqual(self.paths.lookup(dest, TIMEOUT - 1), 1400)

    def test_pathMTUIsForgottenAfterTheTimeout(self) -> None:
        self.paths.learn(PEER, 1400, 1500, 50)
        self.assertIsNone(self.paths.lookup(PEER, 50 + TIMEOUT))
        self.assertEqual(len(self.paths), 0)

    def test_smallerPathMTUIsLearned(self) -> None:
        self.paths.learn(PEER, 1400, 1500, 0)
        self.paths.learn(PEER, 1300, 1400, 500)
        self.assertEqual(self.paths.lookup(PEER, TIMEOUT + 1), 1300)

    def test_largerPathMTUIsIgnored(self) -> None:
        self.paths.learn(PEER, 1300, 1500, 0)
        self.assertTrue(self.paths.learn(PEER, 1400, 1500, 1))
        self.assertEqual(self.paths.lookup(PEER, 2), 1300)

    def test_pathMTUUnderTheFloorIsRaisedOverIPv4(self) -> None:
        self.assertTrue(self.paths.learn(PEER, 68, 1500, 0))
        self.assertEqual(self.paths.lookup(PEER, 0), FLOOR[4])

    def test_pathMTUUnderTheFloorIsImplausibleOverIPv6(self) -> None:
        for mtu in (0, 68, 1279):
            self.assertFalse(self.paths.learn(PEER6, mtu, 1500, 0))
        self.assertIsNone(self.paths.lookup(PEER6, 0))
        self.assertTrue(self.paths.learn(PEER6, 1280, 1500, 0))

    def test_pathMTUNotBelowThePacketIsImplausible(self) -> None:
        for dest in (PEER, PEER6):
            self.assertFalse(self.paths.learn(dest, 1500, 1500, 0))
            self.assertFalse(self.paths.learn(dest, 1400, 1300, 0))

    def test_errorAboutAPacketThatEveryLinkCarriesIsImplausible(self) -> None:
        self.assertFalse(self.paths.learn(PEER, 68, FLOOR[4], 0))

    def test_plateauIsUsedIfTheRouterTellsNoMTU(self) -> None:
        for length, mtu in ((1500, 1492), (1492, 1006), (9000, 8166), (1006, FLOOR[4]), (600, FLOOR[4])):
            paths = PathMTUs()
            self.assertTrue(paths.learn(PEER, 0, length, 0))
            self.assertEqual(paths.lookup(PEER, 0), mtu)

    def test_tableIsBounded(self) -> None:
        for number in range(MAX_PATHS + 5):
            self.paths.learn(b"\x0a\0" + number.to_bytes(2, "big"), 1400, 1500, 0)
        self.assertEqual(len(self.paths), MAX_PATHS)
        self.assertIsNone(self.paths.lookup(b"\x0a\0\0\0", 0))
        self.assertEqual(self.paths.lookup(b"\x0a\0" + (MAX_PATHS + 4).to_bytes(2, "big"), 0), 1400)

    def test_clockThatStepsBackForgetsThePath(self) -> None:
        self.paths.learn(PEER, 1400, 1500, 1000)
        self.assertIsNone(self.paths.lookup(PEER, 10))
