"""
Tests for IPv4 headers, L{txtuntap.wire.ipv4}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, integers
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.fault import Fault
from txtuntap.wire.ipv4 import (
    DONT_FRAGMENT,
    HEADER_LENGTH,
    MORE_FRAGMENTS,
    IPHeader,
    fragmentsOf,
    optionsFault,
    packHeader,
)

SOURCE = packAddress("10.0.0.1")
DEST = packAddress("10.0.0.2")


class IPHeaderTests(SynchronousTestCase):
    def header(self, first: int = 0x45, fragment: int = 0) -> IPHeader:
        return IPHeader(
            bytes((first, 0xB8, 0x01, 0x02, 0x03, 0x04, fragment >> 8, fragment & 0xFF, 63, 17, 0xBE, 0xEF))
            + SOURCE
            + DEST
        )

    def test_versionIsTheHighHalfOfTheFirstOctet(self) -> None:
        self.assertEqual(self.header(0x45).version, 4)

    def test_headerLengthIsInOctets(self) -> None:
        self.assertEqual((self.header(0x45).ihl, self.header(0x4F).ihl), (20, 60))

    def test_theOtherFieldsAreNumbers(self) -> None:
        header = self.header()
        self.assertEqual((header.tos, header.tot_len, header.fragment_id), (0xB8, 0x0102, 0x0304))
        self.assertEqual((header.ttl, header.protocol, header.check), (63, 17, 0xBEEF))

    def test_addressesAreText(self) -> None:
        self.assertEqual((self.header().saddr, self.header().daddr), ("10.0.0.1", "10.0.0.2"))

    def test_theFragmentWordIsParsed(self) -> None:
        for word, expected in (
            (0, (False, False, 0)),
            (DONT_FRAGMENT, (True, False, 0)),
            (MORE_FRAGMENTS, (False, True, 0)),
            (0x8000, (False, False, 0)),
            (0x1FFF, (False, False, 0x1FFF)),
        ):
            header = self.header(fragment=word)
            self.assertEqual((header.dont_fragment, header.more_fragments, header.fragment_offset), expected)

    def test_tooShortIsAValueError(self) -> None:
        for length in range(HEADER_LENGTH):
            with self.assertRaises(ValueError) as raised:
                IPHeader(bytes(length))
            self.assertIn(f"not {length}", str(raised.exception))


class PackHeaderTests(SynchronousTestCase):
    def test_knownHeader(self) -> None:
        header = packHeader(packAddress("192.168.0.1"), packAddress("192.168.0.199"), 17, 95)
        self.assertEqual(header, bytes.fromhex("45000073000040004011b861c0a80001c0a800c7"))

    def test_everyFieldIsPacked(self) -> None:
        header = IPHeader(packHeader(SOURCE, DEST, 1, 100, 7, 0x1234, MORE_FRAGMENTS | 5, 0xB8))
        self.assertEqual((header.protocol, header.tot_len, header.ttl), (1, 120, 7))
        self.assertEqual((header.fragment_id, header.more_fragments, header.fragment_offset), (0x1234, True, 5))
        self.assertEqual((header.tos, header.saddr, header.daddr), (0xB8, "10.0.0.1", "10.0.0.2"))

    def test_optionsLengthenTheHeader(self) -> None:
        packed = packHeader(SOURCE, DEST, 1, 100, options=b"\x94\x04\0\0")
        header = IPHeader(packed)
        self.assertEqual((header.ihl, header.tot_len, packed[20:]), (24, 124, b"\x94\x04\0\0"))

    @given(binary(min_size=8, max_size=8), integers(0, 65000), integers(0, 10).map(lambda n: b"\x01" * (4 * n)))
    def test_aPackedHeaderSumsToZero(self, addresses: bytes, length: int, options: bytes) -> None:
        self.assertEqual(onesSum(packHeader(addresses[:4], addresses[4:], 17, length, options=options)), 0)


class OptionsFaultTests(SynchronousTestCase):
    def fault(self, options: bytes) -> tuple[Fault, int] | None:
        # The octets before and behind the options are invalid options, and must not be read.
        return optionsFault(b"\xff" * 20 + options + b"\xff" * 4, 20, 20 + len(options))

    def test_validOptionsHaveNoFault(self) -> None:
        for options in (
            b"",
            b"\x01\x01\x01\x01",
            b"\x94\x04\0\0",
            b"\x07\x03\x04\x00",
            b"\x01\x94\x04\0\0\x01\x01\x00",
        ):
            self.assertIsNone(self.fault(options), options)

    def test_nothingAfterTheEndOfOptionsIsRead(self) -> None:
        self.assertIsNone(self.fault(b"\x00\x83\xff\xff"))

    def test_anInvalidLengthIsAnOptionFault(self) -> None:
        for options, at in (
            (b"\x94\0\0\0", 20),
            (b"\x94\x01\0\0", 20),
            (b"\x94\x05\0\0", 20),
            (b"\x01\x01\x01\x94", 23),
        ):
            self.assertEqual(self.fault(options), (Fault.OPTION, at), options)

    def test_aSourceRouteIsAFault(self) -> None:
        for kind in (b"\x83", b"\x89"):
            self.assertEqual(self.fault(b"\x01" + kind + b"\x07\x04\x0a\0\0\x09"), (Fault.SOURCE_ROUTE, 21))


class FragmentsOfTests(SynchronousTestCase):
    """
    Tests for the function L{fragmentsOf}.
    """

    @given(binary(min_size=1, max_size=3000), integers(68, 1600), integers(0, 10), integers(0, 100), integers(0, 1))
    def test_fragmentsContainTheWholePayload(
        self, payload: bytes, mtu: int, words: int, offset: int, more: int
    ) -> None:
        word = more * MORE_FRAGMENTS | offset
        packet = packHeader(SOURCE, DEST, 17, len(payload), 33, 0x1234, word, 0xB8, b"\x01" * 4 * words) + payload
        fragments = fragmentsOf(packet, mtu)
        joined = b""
        for number, each in enumerate(fragments):
            header = IPHeader(each)
            self.assertEqual((len(each), 20 + 4 * words), (header.tot_len, header.ihl))
            self.assertLessEqual(len(each), mtu)
            self.assertEqual(0xFFFF, onesSum(each[: header.ihl]) % 0xFFFF or 0xFFFF)
            same = header.saddr, header.daddr, header.protocol, header.ttl, header.tos, header.fragment_id
            self.assertEqual(("10.0.0.1", "10.0.0.2", 17, 33, 0xB8, 0x1234), same)
            self.assertEqual(offset * 8 + len(joined), header.fragment_offset * 8)
            isLast = number == len(fragments) - 1
            self.assertEqual((False, bool(more) or not isLast), (header.dont_fragment, header.more_fragments))
            joined += each[header.ihl :]
        self.assertEqual(payload, joined)

    def test_aLaterFragmentHasOnlyTheOptionsThatAreCopied(self) -> None:
        # Record Route, which is not copied; No Operation; Router Alert, which is copied; End of Options.
        options = bytes.fromhex("0707040000000001 9404ffff 00000000".replace(" ", ""))
        first, second = fragmentsOf(packHeader(SOURCE, DEST, 17, 100, fragment=0, options=options) + bytes(100), 100)
        self.assertEqual(options, first[20:36])
        self.assertEqual(b"\x01" * 8 + options[8:], second[20:36])

    def test_malformedOptionsOrATinyMTUGiveNoFragments(self) -> None:
        for options, mtu in (b"\x07\x01\0\0", 1500), (b"\x07\x05\0\0", 1500), (b"\x01\x01\x01\x07", 1500), (b"", 27):
            self.assertEqual(
                [], fragmentsOf(packHeader(SOURCE, DEST, 17, 8, fragment=0, options=options) + bytes(8), mtu)
            )
