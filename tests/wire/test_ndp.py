"""
Tests for messages of Neighbour Discovery, L{txtuntap.wire.ndp}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire import ndp

TARGET = bytes.fromhex("fd00 0000 0000 0000 0000 0000 0000 0002")
LINK = b"\x02\0\0\0\0\x01"
SOLICITATION = bytes((ndp.SOLICITATION, 0, 0, 0, 0, 0, 0, 0)) + TARGET
SOURCE = b"\x01\x01" + LINK
UNKNOWN = b"\x0e\x01nonce!"


class NDPTests(SynchronousTestCase):
    def parse(self, *options: bytes) -> tuple[bytes, bytes | None] | None:
        return ndp.parse(SOLICITATION + b"".join(options), ndp.SOURCE_LINK)

    def test_aBodyWithAnOptionIsPacked(self) -> None:
        self.assertEqual(ndp.packBody(TARGET, ndp.TARGET_LINK, LINK), TARGET + b"\x02\x01" + LINK)

    def test_aBodyWithoutAnOptionIsPacked(self) -> None:
        self.assertEqual(ndp.packBody(TARGET, None, LINK), TARGET)

    def test_aSolicitationIsParsed(self) -> None:
        self.assertEqual(self.parse(SOURCE), (TARGET, LINK))

    def test_aSolicitationWithoutAnOptionIsParsed(self) -> None:
        self.assertEqual(self.parse(), (TARGET, None))

    def test_otherOptionsAreSkipped(self) -> None:
        self.assertEqual(self.parse(UNKNOWN, b"\x02\x01" + bytes(6), b"\x63\x02" + bytes(14), SOURCE), (TARGET, LINK))

    def test_aTruncatedMessageIsNotParsed(self) -> None:
        for length in range(8, 24):
            self.assertIsNone(ndp.parse(SOLICITATION[:length], ndp.SOURCE_LINK))

    def test_anOptionThatIsCutShortIsNotParsed(self) -> None:
        for length in range(1, 8):
            self.assertIsNone(self.parse(SOURCE[:length]))

    def test_anOptionOfLengthZeroIsNotParsed(self) -> None:
        self.assertIsNone(self.parse(b"\x0e\0nonce!"))

    def test_anOptionPastTheEndIsNotParsed(self) -> None:
        self.assertIsNone(self.parse(b"\x0e\x02nonce!"))

    def test_aMalformedOptionAfterAValidOneIsNotParsed(self) -> None:
        self.assertIsNone(self.parse(SOURCE, b"\x0e\0nonce!"))

    def test_aLinkAddressOfAnotherLengthIsNotParsed(self) -> None:
        self.assertIsNone(self.parse(b"\x01\x02" + LINK + bytes(8)))

    def test_aLinkAddressOfNoStationIsNotParsed(self) -> None:
        for link in (bytes(6), b"\x01\0\x5e\0\0\x01", b"\xff" * 6):
            self.assertIsNone(self.parse(b"\x01\x01" + link))

    def test_aMessageWithACodeIsNotParsed(self) -> None:
        self.assertIsNone(ndp.parse(SOLICITATION[:1] + b"\x01" + SOLICITATION[2:], ndp.SOURCE_LINK))

    def test_aTargetThatIsAGroupIsNotParsed(self) -> None:
        self.assertIsNone(ndp.parse(SOLICITATION[:8] + b"\xff\x02" + SOLICITATION[10:], ndp.SOURCE_LINK))


class RouterAdvertisementTests(SynchronousTestCase):
    ADVERTISEMENT = bytes.fromhex("86 00 0000 40 80 0708 00007530 000003e8")
    PREFIX = bytes.fromhex("03 04 40 c0 00278d00 00093a80 00000000 20010db8000000010000000000000000")
    MTU = bytes.fromhex("05 01 0000 000005b4")

    def parse(self, *options: bytes) -> ndp.RouterAdvertisement | None:
        return ndp.parseRouterAdvertisement(self.ADVERTISEMENT + b"".join(options))

    def prefixes(self, *options: bytes) -> tuple[ndp.Prefix, ...]:
        parsed = self.parse(*options)
        assert parsed is not None
        return parsed.prefixes

    def test_anAdvertisementWithoutOptionsIsParsed(self) -> None:
        self.assertEqual(self.parse(), ndp.RouterAdvertisement(1800, None, None, ()))

    def test_anAdvertisementWithEveryOptionIsParsed(self) -> None:
        address = bytes.fromhex("20010db8000000010000000000000000")
        prefix = ndp.Prefix(address, 64, True, True, 2592000, 604800)
        expected = ndp.RouterAdvertisement(1800, LINK, 1460, (prefix, prefix))
        self.assertEqual(self.parse(SOURCE, UNKNOWN, self.PREFIX, self.MTU, self.PREFIX), expected)

    def test_theFlagsOfAPrefixAreParsed(self) -> None:
        for flags, onLink, autonomous in ((0x80, True, False), (0x40, False, True), (0x3F, False, False)):
            (prefix,) = self.prefixes(self.PREFIX[:3] + bytes((flags,)) + self.PREFIX[4:])
            self.assertEqual((prefix.onLink, prefix.autonomous), (onLink, autonomous))

    def test_lifetimesMayBeInfinite(self) -> None:
        (prefix,) = self.prefixes(self.PREFIX[:4] + b"\xff" * 8 + self.PREFIX[12:])
        self.assertEqual((prefix.valid, prefix.preferred), (float("inf"), float("inf")))
        (prefix,) = self.prefixes(self.PREFIX[:4] + b"\xff\xff\xff\xfe" * 2 + self.PREFIX[12:])
        self.assertEqual((prefix.valid, prefix.preferred), (0xFFFFFFFE, 0xFFFFFFFE))

    def test_bitsBehindThePrefixAreSetToZero(self) -> None:
        for length, last in ((0, ""), (7, "fe"), (16, "ffff"), (128, "ff" * 16)):
            (prefix,) = self.prefixes(self.PREFIX[:2] + bytes((length,)) + self.PREFIX[3:16] + b"\xff" * 16)
            self.assertEqual((prefix.length, prefix.prefix.hex()), (length, last.ljust(32, "0")))

    def test_aPrefixThatIsTooLongIsSkipped(self) -> None:
        self.assertEqual(self.prefixes(self.PREFIX[:2] + b"\x81" + self.PREFIX[3:]), ())

    def test_optionsOfAnotherLengthAreSkipped(self) -> None:
        prefix = b"\x03\x03" + self.PREFIX[2:24]
        mtu = b"\x05\x02" + self.MTU[2:] + bytes(8)
        self.assertEqual(self.parse(prefix, mtu), self.parse())

    def test_aMalformedOptionOfAnAdvertisementIsNotParsed(self) -> None:
        for option in (b"\x0e\0nonce!", b"\x0e\x02nonce!", self.PREFIX[:-1], b"\x0e"):
            self.assertIsNone(self.parse(self.PREFIX, option))

    def test_aLinkAddressOfNoStationIsNotParsed(self) -> None:
        for option in (b"\x01\x01" + bytes(6), b"\x01\x01\x01\0\x5e\0\0\x01", b"\x01\x02" + LINK + bytes(8)):
            self.assertIsNone(self.parse(option))

    def test_aMessageWithACodeIsNotParsed(self) -> None:
        self.assertIsNone(ndp.parseRouterAdvertisement(b"\x86\x01" + self.ADVERTISEMENT[2:]))

    def test_aTruncatedMessageIsNotParsed(self) -> None:
        for length in range(8, 16):
            self.assertIsNone(ndp.parseRouterAdvertisement(self.ADVERTISEMENT[:length]))
