"""
Tests for VXLAN headers, L{txtuntap.wire.vxlan}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, integers
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.vxlan import HEADER_LENGTH, MAX_VNI, packHeader, vniOf


class VXLANHeaderTests(SynchronousTestCase):
    def test_knownHeader(self) -> None:
        self.assertEqual(packHeader(0x123456), bytes.fromhex("0800000012345600"))

    @given(integers(min_value=0, max_value=MAX_VNI), binary(max_size=4))
    def test_aPackedVNIIsParsedBack(self, vni: int, frame: bytes) -> None:
        self.assertEqual(vniOf(packHeader(vni) + frame), vni)

    def test_withoutTheFlagThereIsNoVNI(self) -> None:
        self.assertIsNone(vniOf(bytes.fromhex("f7ffffff12345600")))

    def test_reservedBitsAreIgnored(self) -> None:
        self.assertEqual(vniOf(bytes.fromhex("ffffffff123456ff")), 0x123456)

    def test_aHeaderCutShortHasNoVNI(self) -> None:
        for length in range(HEADER_LENGTH):
            self.assertIsNone(vniOf(b"\x08" * length))
