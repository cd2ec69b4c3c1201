"""
Tests for addresses, L{txtuntap.wire.address}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis.strategies import binary, ip_addresses
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.address import (
    LIMITED_BROADCAST,
    LINK_BROADCAST,
    addressText,
    groupLinkAddress,
    isGroup,
    isHost,
    isLinkLocal,
    linkAddressText,
    packAddress,
    packLinkAddress,
    solicitedNode,
    versionOf,
)


class PackAddressTests(SynchronousTestCase):
    def test_ipv4HasFourOctets(self) -> None:
        self.assertEqual(packAddress("10.0.0.255"), b"\x0a\x00\x00\xff")

    def test_ipv6HasSixteenOctets(self) -> None:
        self.assertEqual(packAddress("fd00::1"), b"\xfd" + bytes(14) + b"\x01")

    def test_theLengthTellsTheVersion(self) -> None:
        self.assertEqual([versionOf(packAddress(text)) for text in ("10.0.0.255", "fd00::1", "::")], [4, 6, 6])

    def test_aScopeIsIgnored(self) -> None:
        for text in ("fe80::1%tap0", "fe80::1%2"):
            self.assertEqual(packAddress(text), b"\xfe\x80" + bytes(13) + b"\x01")
        for text in ("fe80::1%", "10.0.0.1%tap0", "%tap0"):
            self.assertRaises(ValueError, packAddress, text)

    def test_packedAddressesAreReturned(self) -> None:
        for packed in (bytes(4), bytes(16)):
            self.assertIs(packAddress(packed), packed)

    def test_anInvalidAddressIsAValueError(self) -> None:
        wrong: list[Any] = [
            "localhost",
            "10.0.0",
            "10.0.0.256",
            "",
            "1.2.3.4/8",
            "fd00::1::2",
            "1.2.3.4\0",
            "é",
            None,
            7,
        ]
        for address in wrong:
            with self.assertRaises(ValueError) as raised:
                packAddress(address)
            self.assertIn(repr(address), str(raised.exception))

    def test_octetsOfAWrongLengthAreAValueError(self) -> None:
        for length in (0, 3, 5, 15, 17):
            with self.assertRaises(ValueError) as raised:
                packAddress(bytes(length))
            self.assertIn(f"not {length}", str(raised.exception))

    @given(ip_addresses())
    def test_textAndOctetsAreInverse(self, address: Any) -> None:
        self.assertEqual(packAddress(str(address)), address.packed)
        self.assertEqual(packAddress(addressText(address.packed)), address.packed)


class AddressTextTests(SynchronousTestCase):
    def test_ipv4IsADottedQuad(self) -> None:
        self.assertEqual(addressText(b"\xc0\x00\x02\x01"), "192.0.2.1")

    def test_ipv6IsCompressedAndInLowerCase(self) -> None:
        self.assertEqual(addressText(bytes.fromhex("20010DB8000000000000000000ABCDEF")), "2001:db8::ab:cdef")

    def test_cacheIsBounded(self) -> None:
        self.assertIsNotNone(addressText.cache_info().maxsize)


class PackLinkAddressTests(SynchronousTestCase):
    def test_colonsAndDashesAreSeparators(self) -> None:
        for text in ("02:00:00:00:00:Ff", "02-00-00-00-00-ff"):
            self.assertEqual(packLinkAddress(text), b"\x02\0\0\0\0\xff")

    def test_sixOctetsAreReturned(self) -> None:
        self.assertEqual(packLinkAddress(b"abcdef"), b"abcdef")

    def test_anInvalidLinkAddressIsAValueError(self) -> None:
        wrong: list[Any] = ["", "02:00:00:00:00", "02:00:00:00:00:zz", b"abcde", b"abcdefg", None, 6]
        for address in wrong:
            with self.assertRaises(ValueError) as raised:
                packLinkAddress(address)
            self.assertIn(repr(address), str(raised.exception))

    def test_separatorsInTheWrongPlacesAreAValueError(self) -> None:
        self.assertRaises(ValueError, packLinkAddress, "1:23:45:67:89:ab:c")

    @given(binary(min_size=6, max_size=6))
    def test_textAndOctetsAreInverse(self, address: bytes) -> None:
        self.assertEqual(packLinkAddress(linkAddressText(address)), address)


class KindTests(SynchronousTestCase):
    def test_isHostAcceptsUnicastAddresses(self) -> None:
        for text in ("10.0.0.1", "192.0.2.1", "169.254.1.1", "223.255.255.255", "fd00::1", "fe80::1", "2001:db8::"):
            self.assertTrue(isHost(packAddress(text)), text)

    def test_isHostRefusesOtherAddresses(self) -> None:
        for text in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"):
            self.assertFalse(isHost(packAddress(text)), text)
        for text in ("255.255.255.255", "::", "::1", "ff02::1", "ff0e::1", "::ffff:10.0.0.1"):
            self.assertFalse(isHost(packAddress(text)), text)

    def test_isGroupAcceptsMulticastAndBroadcast(self) -> None:
        for text in ("224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "ff00::"):
            self.assertTrue(isGroup(packAddress(text)), text)

    def test_isGroupRefusesOtherAddresses(self) -> None:
        for text in ("223.255.255.255", "240.0.0.0", "10.0.0.255", "0.0.0.0", "fe80::1", "::"):
            self.assertFalse(isGroup(packAddress(text)), text)

    def test_isLinkLocalAcceptsOnlyLinkLocalUnicast(self) -> None:
        for text in ("fe80::1", "fe80::", "febf:ffff::1"):
            self.assertTrue(isLinkLocal(packAddress(text)), text)
        for text in ("fec0::1", "fe7f::1", "ff02::1", "fd00::1", "::"):
            self.assertFalse(isLinkLocal(packAddress(text)), text)


class GroupTests(SynchronousTestCase):
    def test_theLinkAddressOfAnIPv4GroupHasItsLast23Bits(self) -> None:
        self.assertEqual(groupLinkAddress(packAddress("239.255.1.2")), b"\x01\x00\x5e\x7f\x01\x02")

    def test_theLinkAddressOfTheLimitedBroadcastIsBroadcast(self) -> None:
        self.assertEqual(groupLinkAddress(LIMITED_BROADCAST), LINK_BROADCAST)

    def test_theLinkAddressOfAnIPv6GroupHasItsLast32Bits(self) -> None:
        self.assertEqual(groupLinkAddress(packAddress("ff02::1:ff12:3456")), b"\x33\x33\xff\x12\x34\x56")

    def test_theSolicitedNodeGroupHasTheLast24BitsOfTheAddress(self) -> None:
        self.assertEqual(addressText(solicitedNode(packAddress("fd00::abcd:12:3456"))), "ff02::1:ff12:3456")
