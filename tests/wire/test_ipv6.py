"""
Tests for IPv6 headers, L{txtuntap.wire.ipv6}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, sampled_from
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.address import packAddress
from txtuntap.wire.fault import Fault
from txtuntap.wire.ipv6 import (
    DESTINATION_OPTIONS,
    EXTENSIONS,
    FRAGMENT,
    HOP_BY_HOP,
    MAX_EXTENSIONS,
    MAX_OPTIONS,
    MAX_PADDING,
    ROUTING,
    headerChain,
    packHeader,
    walkExtensions,
)

SOURCE = packAddress("fd00::1")
DEST = packAddress("fd00::2")
UDP = 17
PADDING = b"\x01\x04\0\0\0\0"


def walk(kind: int, *headers: bytes) -> tuple[int, int, Fault | None]:
    """
    Walk extension headers of one type.

    @param headers: the headers, each without its first octet, which is the type of the next header.
    """
    data = b"".join(bytes((kind,)) + header for header in headers[:-1]) + bytes((UDP,)) + headers[-1]
    return walkExtensions(data, kind, 0, len(data))


class PackHeaderTests(SynchronousTestCase):
    def test_everyFieldIsPacked(self) -> None:
        self.assertEqual(
            packHeader(SOURCE, DEST, 58, 0x1234, 7, 0xB8), bytes.fromhex("6b800000 1234 3a 07") + SOURCE + DEST
        )

    def test_theDefaultsArePacked(self) -> None:
        self.assertEqual(packHeader(SOURCE, DEST, UDP, 8)[:8], bytes.fromhex("60000000 0008 11 40"))


class WalkExtensionsTests(SynchronousTestCase):
    def test_theWalkEndsAtTheUpperLayer(self) -> None:
        self.assertEqual(walkExtensions(b"", UDP, 0, 0), (UDP, 0, None))

    def test_optionsAreSkipped(self) -> None:
        for kind in (HOP_BY_HOP, DESTINATION_OPTIONS):
            self.assertEqual(walk(kind, b"\x00" + PADDING), (UDP, 8, None))

    def test_theLengthFieldCountsUnitsBehindTheFirst(self) -> None:
        self.assertEqual(walk(DESTINATION_OPTIONS, b"\x01" + PADDING + b"\x05\x06" + bytes(6)), (UDP, 16, None))

    def test_hopByHopOptionsBehindAnotherHeaderEndTheWalk(self) -> None:
        self.assertEqual(walk(HOP_BY_HOP, b"\x00" + PADDING, b"\x00" + PADDING), (HOP_BY_HOP, 8, None))

    def test_maxExtensionsHeadersAreSkipped(self) -> None:
        headers = [b"\x00" + PADDING] * MAX_EXTENSIONS
        self.assertEqual(walk(DESTINATION_OPTIONS, *headers), (UDP, 8 * MAX_EXTENSIONS, None))

    def test_oneHeaderMoreThanMaxExtensionsIsAFault(self) -> None:
        headers = [b"\x00" + PADDING] * (MAX_EXTENSIONS + 1)
        self.assertEqual(walk(DESTINATION_OPTIONS, *headers)[2], Fault.HEADER)

    def test_aHeaderPastTheEndIsAFault(self) -> None:
        for data in (b"", b"\x11\x00" + PADDING[:-1], b"\x11\x01" + PADDING):
            self.assertEqual(walkExtensions(data, DESTINATION_OPTIONS, 0, len(data))[2], Fault.HEADER)

    def test_aHeaderPastTheDatagramIsAFault(self) -> None:
        data = b"\x11\x00" + PADDING + bytes(8)
        self.assertEqual(walkExtensions(data, DESTINATION_OPTIONS, 0, 7)[2], Fault.HEADER)

    def test_unknownHeaderEndsTheWalk(self) -> None:
        self.assertEqual(walkExtensions(bytes(8), 59, 0, 8), (59, 0, None))

    @given(sampled_from(sorted(EXTENSIONS)), binary(max_size=200))
    def test_arbitraryOctetsRaiseNothing(self, kind: int, data: bytes) -> None:
        last, at, fault = walkExtensions(data, kind, 0, len(data))
        if fault is None:
            self.assertNotIn(last, EXTENSIONS - {HOP_BY_HOP, FRAGMENT})
            self.assertLessEqual(at, len(data))
        else:
            self.assertIn(fault, (Fault.HEADER, Fault.OPTION, Fault.SOURCE_ROUTE))


class FragmentTests(SynchronousTestCase):
    def test_atomicFragmentIsAWholeDatagram(self) -> None:
        self.assertEqual(walk(FRAGMENT, b"\x00\x00\x00\xde\xad\xbe\xef"), (UDP, 8, None))

    def test_reservedBitsAreIgnored(self) -> None:
        self.assertEqual(walk(FRAGMENT, b"\xff\x00\x06\0\0\0\0"), (UDP, 8, None))

    def test_aFirstFragmentEndsTheWalk(self) -> None:
        self.assertEqual(walk(FRAGMENT, b"\x00\x00\x01\0\0\0\0"), (FRAGMENT, 0, None))

    def test_aLaterFragmentEndsTheWalk(self) -> None:
        self.assertEqual(walk(FRAGMENT, b"\x00\x00\x08\0\0\0\0"), (FRAGMENT, 0, None))


class RoutingTests(SynchronousTestCase):
    def test_segmentsLeftIsASourceRoute(self) -> None:
        self.assertEqual(walk(ROUTING, b"\x00\x00\x01\0\0\0\0")[2], Fault.SOURCE_ROUTE)

    def test_aRoutingHeaderWithoutSegmentsLeftIsSkipped(self) -> None:
        self.assertEqual(walk(ROUTING, b"\x00\x04\x00\0\0\0\0"), (UDP, 8, None))


class OptionTests(SynchronousTestCase):
    def options(self, options: bytes) -> Fault | None:
        self.assertEqual(len(options) % 8, 6, "a mistake in the test")
        return walk(DESTINATION_OPTIONS, bytes((len(options) // 8,)) + options)[2]

    def test_anUnknownOptionThatMayBeSkippedIsNoFault(self) -> None:
        self.assertIsNone(self.options(b"\x1e\x04abcd"))

    def test_anUnknownOptionThatMayNotBeSkippedIsAHeaderFault(self) -> None:
        self.assertEqual(self.options(b"\x5e\x04abcd"), Fault.HEADER)

    def test_anUnknownOptionThatAsksForAnErrorIsAnOptionFault(self) -> None:
        for kind in (b"\x9e", b"\xde"):
            self.assertEqual(self.options(kind + b"\x04abcd"), Fault.OPTION)

    def test_anOptionPastTheEndIsAFault(self) -> None:
        self.assertEqual(self.options(b"\x1e\x05abcd"), Fault.HEADER)

    def test_anOptionWithoutALengthIsAFault(self) -> None:
        self.assertEqual(self.options(b"\x1e\x03abc\x1e"), Fault.HEADER)

    def test_pad1HasNoLength(self) -> None:
        self.assertIsNone(self.options(bytes(6)))

    def test_paddingIsBounded(self) -> None:
        bound = b"\x01" + bytes((MAX_PADDING - 2,)) + bytes(MAX_PADDING - 2)
        option = b"\x1e\x05abcde"
        self.assertIsNone(self.options(bound + option))
        self.assertEqual(self.options(bound + b"\x00" + b"\x1e\x04abcd"), Fault.HEADER)

    def test_paddingMustBeZero(self) -> None:
        self.assertIsNone(self.options(b"\x01\x04\0\0\0\0"))
        for octets in (b"a\0\0\0", b"\0\0\0a"):
            self.assertEqual(self.options(b"\x01\x04" + octets), Fault.HEADER)

    def test_optionsAreBounded(self) -> None:
        known = b"\x1e\x00" * MAX_OPTIONS
        self.assertIsNone(self.options(known + PADDING))
        self.assertEqual(self.options(known + b"\x1e\x00" + b"\x01\x02\0\0"), Fault.HEADER)


class HeaderChainTests(SynchronousTestCase):
    def chain(self, kind: int, *headers: bytes, end: int | None = None) -> list[tuple[int, int]]:
        data = packHeader(SOURCE, DEST, kind, 0) + b"".join(headers)
        return list(headerChain(data, 0, len(data) if end is None else end))

    def test_aChainWithoutExtensionHeadersHasTheUpperLayer(self) -> None:
        self.assertEqual(self.chain(UDP), [(UDP, 40)])

    def test_aChainHasEveryHeader(self) -> None:
        headers = bytes((FRAGMENT, 1)) + bytes(14), bytes((ROUTING, 9, 0, 1)) + bytes(4), bytes((UDP, 0)) + bytes(6)
        self.assertEqual(self.chain(HOP_BY_HOP, *headers), [(HOP_BY_HOP, 40), (FRAGMENT, 56), (ROUTING, 64), (UDP, 72)])

    def test_aChainEndsAtAHeaderThatIsCutShort(self) -> None:
        header = bytes((UDP, 1)) + bytes(14)
        for end in range(40, 56):
            self.assertEqual(self.chain(DESTINATION_OPTIONS, header, end=end), [(DESTINATION_OPTIONS, 40)])
        self.assertEqual(self.chain(DESTINATION_OPTIONS, header, end=56)[-1], (UDP, 56))

    def test_aChainEndsAtALaterFragment(self) -> None:
        self.assertEqual(self.chain(FRAGMENT, bytes((UDP, 0, 0, 9)) + bytes(12)), [(FRAGMENT, 40)])

    def test_aChainHasAtMostMaxExtensionsHeaders(self) -> None:
        chain = self.chain(ROUTING, *[bytes((ROUTING, 0)) + bytes(6)] * 20)
        self.assertEqual((len(chain), chain[-1][0]), (MAX_EXTENSIONS + 1, ROUTING))
