"""
Tests for L{txtuntap.ip.fragments}: fragmentation and reassembly.

An oracle checks the reassembly. It is too simple to be wrong: a map of 64 KiB stores for each octet which fragment it
came from.
"""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.ip.fragments import MAX_FRAGMENTS, MAX_MEMORY, TIMEOUT, Reassembler, reassembled4, reassembled6, split
from txtuntap.layer.counters import Counters
from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet
from txtuntap.testing import ipPacket
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import checksum

Piece = tuple[int, bytes, bool]


class Oracle:
    """
    Reassembles the fragments of one datagram by two maps of 64 KiB.

    @ivar octets: the octets received, each at its offset.
    @ivar owner: for each octet the number of the fragment that it came from; 0 if it has not been received.
    @ivar count: the number of fragments received.
    @ivar end: the length of the whole payload; L{None} until the last fragment is received.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.owner = bytearray(65536)
        self.octets = bytearray(65536)
        self.count = 0
        self.end: int | None = None

    def add(self, offset: int, octets: bytes, more: bool) -> bytes | None:
        end = offset + len(octets)
        # The header takes 20 of the 65,535 octets that a datagram may have.
        if (more and len(octets) % 8) or end > 65515:
            return None
        if not octets:
            if offset:
                self.clear()
            return None
        owners = set(self.owner[offset:end])
        if len(owners) == 1 and owners != {0}:
            return None
        late = self.end is not None and (end > self.end or not more)
        if owners != {0} or late or (not more and self.owner[end:].strip(b"\0")) or self.count == 255:
            self.clear()
            return None
        self.count += 1
        self.owner[offset:end] = bytes((self.count,)) * len(octets)
        self.octets[offset:end] = octets
        if not more:
            self.end = end
        if self.end is None or 0 in self.owner[: self.end]:
            return None
        whole = bytes(self.octets[: self.end])
        self.clear()
        return whole


class Subject:
    """
    The L{Reassembler} under test, with the interface of the L{Oracle}. The fragments are of an IPv4 protocol without a
    transport header that a first fragment would have to hold completely.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self.reassembler = Reassembler(self.counters, self.dropped)

    def dropped(self, packet: Packet, drop: Drop) -> None:
        self.counters[drop.counter] += 1

    def add(self, offset: int, octets: bytes, more: bool, key: bytes = b"", time: float = 0.0) -> bytes | None:
        packet = fragment(offset, octets, more, time=time)
        done = self.reassembler.add(packet, key, 20, offset, more)
        return None if done is None else done[1]


def fragment(offset: int, octets: bytes, more: bool, protocol: int = 253, time: float = 0.0) -> Packet:
    flags = ipv4.MORE_FRAGMENTS * more | offset >> 3 & ipv4.OFFSET_MASK
    return Packet(ipPacket("10.0.0.1", "10.0.0.2", protocol, octets, fragment=flags), time=time)


@st.composite
def cuts(draw: st.DrawFn) -> list[Piece]:
    """
    Draw the fragments of a payload in random order. Some fragments are repeated, and some do not belong to the payload.
    """
    payload = draw(st.binary(min_size=9, max_size=200))
    places = sorted(draw(st.sets(st.integers(1, (len(payload) - 1) // 8), max_size=12)))
    bounds = [0, *(place * 8 for place in places), len(payload)]
    pieces: list[Piece] = [(start, payload[start:end], end < len(payload)) for start, end in pairwise(bounds)]
    strange = st.tuples(st.integers(0, 26).map(lambda n: n * 8), st.binary(max_size=40), st.booleans())
    extra = draw(st.lists(st.one_of(st.sampled_from(pieces), strange), max_size=6))
    return draw(st.permutations(pieces + extra))


class OracleTests(SynchronousTestCase):
    """
    Comparisons of the L{Reassembler} with the L{Oracle} on the same fragments.
    """

    @settings(max_examples=400, deadline=None)
    @given(cuts())
    def test_agreesWithTheOracle(self, pieces: list[Piece]) -> None:
        oracle, subject = Oracle(), Subject()
        for piece in pieces:
            self.assertEqual(oracle.add(*piece), subject.add(*piece))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 8191).map(lambda n: n * 8), st.binary(max_size=64), st.booleans())))
    def test_agreesWithTheOracleAtAnyOffset(self, pieces: list[Piece]) -> None:
        oracle, subject = Oracle(), Subject()
        for piece in pieces:
            self.assertEqual(oracle.add(*piece), subject.add(*piece))

    @settings(max_examples=100, deadline=None)
    @given(cuts())
    def test_expiryFreesAllMemory(self, pieces: list[Piece]) -> None:
        subject = Subject()
        for number, piece in enumerate(pieces):
            subject.add(*piece, key=bytes((number % 3,)))
        subject.reassembler.expire(TIMEOUT[4])
        self.assertEqual((0, 0), (len(subject.reassembler), subject.reassembler.memory))


class BoundTests(SynchronousTestCase):
    """
    The bounds of time, memory and fragments, which hold during a flood.
    """

    def setUp(self) -> None:
        self.subject = Subject()

    def test_oldestDatagramIsDroppedForANewOne(self) -> None:
        for number in range(10_000):
            self.subject.add(8, bytes(800), True, key=number.to_bytes(4, "big"))
        self.subject.add(0, b"honest!!", True, key=b"honest")
        self.assertEqual(b"honest!!traffic", self.subject.add(8, b"traffic", False, key=b"honest"))
        self.assertGreater(self.subject.counters["reasmFails"], 8_000)

    def test_memoryIsBoundedAsStated(self) -> None:
        for size in (8, 1480):
            tracemalloc.start()
            subject = Subject()
            for number in range(4_000):
                for piece in range(1, 8):
                    subject.add(piece * size, bytes(size), True, key=number.to_bytes(4, "big"))
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            self.assertLess(held, MAX_MEMORY * 1.1, f"fragments of {size} octets")
            self.assertGreater(subject.reassembler.memory, MAX_MEMORY // 2)

    def test_aDatagramOfTooManyFragmentsIsDropped(self) -> None:
        for number in range(MAX_FRAGMENTS):
            self.subject.add(number * 16, bytes(8), True)
        self.assertEqual(0, self.subject.counters["reasmFails"])
        self.subject.add(MAX_FRAGMENTS * 16, bytes(8), True)
        self.assertEqual(1, self.subject.counters["reasmFails"])
        self.assertEqual(0, len(self.subject.reassembler))

    def test_anIncompleteDatagramIsDroppedAtItsDeadline(self) -> None:
        self.subject.add(8, bytes(8), True, time=100.0)
        self.assertEqual(100.0 + TIMEOUT[4], self.subject.reassembler.deadline)
        self.subject.reassembler.expire(129.9)
        self.assertEqual(1, len(self.subject.reassembler))
        self.subject.reassembler.expire(130.0)
        self.assertEqual((0, 1), (len(self.subject.reassembler), self.subject.counters["reasmTimeouts"]))
        self.assertIsNone(self.subject.reassembler.deadline)


class HeaderTests(SynchronousTestCase):
    """
    Checks of first fragments, and the headers of reassembled datagrams.
    """

    def setUp(self) -> None:
        self.subject = Subject()

    def test_aFirstFragmentWithoutTheWholeTransportHeaderIsRefused(self) -> None:
        for protocol, size, refused in ((6, 16, True), (6, 24, False), (17, 8, False)):
            subject = Subject()
            subject.reassembler.add(fragment(0, bytes(size), True, protocol), b"", 20, 0, True)
            self.assertEqual(refused, bool(subject.counters["inFragHdrErrors"]), (protocol, size))

    def test_aFirstFragmentWithoutTheWholeHeaderChainIsRefused(self) -> None:
        # The payload of the IPv6 packet is a fragment header and destination options, which are cut off or complete.
        header = bytes((60, 0, 0, 1)) + bytes(4)
        for rest, refused in ((bytes((17, 1)) + bytes(6), True), (bytes((17, 0, 1, 4)) + bytes(12), False)):
            packet = Packet(ipPacket("fd00::1", "fd00::2", 44, header + rest))
            subject = Subject()
            subject.reassembler.add(packet, b"", 48, 0, True)
            self.assertEqual(refused, bool(subject.counters["inFragHdrErrors"]))

    def test_tooManyExtensionHeadersAreAHeaderError(self) -> None:
        headers = bytes((60, 0, 1, 4, 0, 0, 0, 0)) * ipv6.MAX_EXTENSIONS
        packet = Packet(ipPacket("fd00::1", "fd00::2", 44, bytes((60, 0, 0, 1)) + bytes(4) + headers))
        self.subject.reassembler.add(packet, b"", 48, 0, True)
        self.assertEqual(self.subject.counters, {"inHdrErrors": 1})

    def test_aFragmentInAFragmentIsRefused(self) -> None:
        packet = Packet(
            ipPacket("fd00::1", "fd00::2", 44, bytes((44, 0, 0, 1)) + bytes(4) + bytes((17, 0, 0, 9, *bytes(12))))
        )
        self.subject.reassembler.add(packet, b"", 48, 0, True)
        self.assertEqual(self.subject.counters, {"inHdrErrors": 1})

    def test_anEmptyFirstFragmentIsIgnored(self) -> None:
        self.subject.reassembler.add(fragment(0, b"", True, 17), b"", 20, 0, True)
        self.assertEqual(self.subject.counters, {"reasmDuplicates": 1})

    def test_startIsMovedToTheWrongField(self) -> None:
        for offset, size, more, field in ((0, 7, True, 4), (65528, 8, False, 42), (65528, 17, True, 42)):
            header = bytes((253, 0)) + (offset | more).to_bytes(2, "big") + bytes(4)
            packet = Packet(ipPacket("fd00::1", "fd00::2", 44, header + bytes(size)))
            subject = Subject()
            subject.reassembler.add(packet, b"", 48, offset, more)
            self.assertEqual((subject.counters, packet.start), ({"inFragErrors": 1}, field))

    def test_lengthLimitIncludesTheHeadersBeforeTheFragmentHeader(self) -> None:
        options = bytes((44, 0, 1, 4, 0, 0, 0, 0))
        for before, size, counter in (
            (b"", 7, "reasmReqds"),
            (options, 7, "inFragErrors"),
            (options * 2, 7, "inFragErrors"),
        ):
            header = bytes((253, 0)) + (65528).to_bytes(2, "big") + bytes(4)
            packet = Packet(ipPacket("fd00::1", "fd00::2", 60, before + header + bytes(size)))
            subject = Subject()
            subject.reassembler.add(packet, b"", 48 + len(before), 65528, False)
            self.assertEqual(subject.counters, {counter: 1})

    def test_lengthLimitOverIPv4IncludesTheHeader(self) -> None:
        self.assertIsNone(self.subject.add(65512, bytes(3), False))
        self.assertIsNone(self.subject.add(65512, bytes(4), False))
        self.assertEqual(self.subject.counters, {"reasmReqds": 1, "inFragErrors": 1})

    def reassembledECN(self, first: int, last: int, version: int) -> int | None:
        """
        Reassemble a datagram from two fragments with these ECN fields.

        @return: the ECN field of the datagram; L{None} if it is dropped.
        """
        self.subject = Subject()
        done = None
        for offset, mark, more in ((8, last, False), (0, first, True)):
            if version == 4:
                word = offset >> 3 | more << 13
                packet = Packet(ipPacket("10.0.0.1", "10.0.0.2", 253, bytes(8), fragment=word, tos=mark))
            else:
                header = bytes((253, 0)) + (offset | more).to_bytes(2, "big") + bytes(4)
                packet = Packet(ipPacket("fd00::1", "fd00::2", 44, header + bytes(8), tos=mark))
            packet.transport = len(packet) - 8
            done = self.subject.reassembler.add(packet, b"", packet.transport, offset, more)
        if done is None:
            return None
        whole = reassembled4(*done) if version == 4 else reassembled6(done[0], 40, done[1])
        assert whole is not None
        if version == 4:
            self.assertEqual(checksum(whole.data[:20]), 0)
        return (whole.data[1] if version == 4 else whole.data[1] >> 4) & 3

    def test_congestionOfAnyFragmentIsKept(self) -> None:
        for version in (4, 6):
            for first, last in ((3, 2), (2, 3), (1, 3), (3, 3)):
                self.assertEqual(self.reassembledECN(first, last, version), 3)

    def test_withoutCongestionTheECNFieldIsThatOfTheFirstFragment(self) -> None:
        for version in (4, 6):
            for first, last in ((0, 0), (2, 2), (1, 2), (0, 2)):
                self.assertEqual(self.reassembledECN(first, last, version), first)

    def test_congestionBesideANotCapableFragmentIsDropped(self) -> None:
        for version in (4, 6):
            for first, last in ((3, 0), (0, 3)):
                self.assertIsNone(self.reassembledECN(first, last, version))
                self.assertEqual(self.subject.counters["reasmFails"], 1)
                self.assertEqual((len(self.subject.reassembler), self.subject.reassembler.memory), (0, 0))

    def test_reassembledIPv4DatagramEqualsTheOriginal(self) -> None:
        whole = ipPacket("10.0.0.1", "10.0.0.2", 17, bytes(range(48)), fragment=0, identification=7)
        self.subject.reassembler.add(fragment(16, bytes(range(16, 48)), False, 17), b"", 20, 16, False)
        first = fragment(0, bytes(range(16)), True, 17)
        first.data = first.data[:4] + b"\x00\x07" + first.data[6:]
        done = self.subject.reassembler.add(first, b"", 20, 0, True)
        assert done is not None
        reassembled = reassembled4(*done)
        assert reassembled is not None
        self.assertEqual(whole, reassembled.data)
        self.assertTrue(reassembled.reassembled)
        self.assertFalse(done[0].reassembled)
        self.assertEqual(bytes(range(48)), bytes(reassembled))

    def test_reassembledIPv6DatagramHasNoFragmentHeader(self) -> None:
        hops = bytes((44, 0, 1, 4)) + bytes(4)
        for before, chain in ((b"", 17), (hops, 0)):
            packet = Packet(
                ipPacket(
                    "fd00::1", "fd00::2", 44 if not before else 0, before + bytes((17, 0, 0, 1, 0, 0, 0, 1)) + bytes(8)
                )
            )
            whole = reassembled6(packet, 40 + len(before), b"12345678")
            assert whole is not None
            expected = ipPacket("fd00::1", "fd00::2", chain, before.replace(b"\x2c", b"\x11", 1) + b"12345678")
            self.assertEqual(expected, whole.data)
            self.assertEqual(b"12345678", bytes(whole))
            self.assertTrue(whole.reassembled)

    def test_reassembledDatagramTooLongForItsLengthFieldIsNone(self) -> None:
        self.assertIsNone(reassembled4(fragment(0, bytes(8), True), bytes(65516)))
        self.assertIsNotNone(reassembled4(fragment(0, bytes(8), True), bytes(65515)))


class SplitTests(SynchronousTestCase):
    """
    Fragmentation of a payload by L{split}.
    """

    @given(st.binary(min_size=1, max_size=500), st.integers(8, 100), st.integers(8, 100))
    def test_splitPayloadIsReassembled(self, payload: bytes, first: int, room: int) -> None:
        subject = Subject()
        pieces = list(split(payload, first, room))
        for number, (_, more, octets) in enumerate(pieces):
            self.assertLessEqual(len(octets), room if number else first)
            self.assertTrue(not more or len(octets) % 8 == 0)
        results = [subject.add(offset, octets, more) for offset, more, octets in reversed(pieces)]
        self.assertEqual(payload, results[-1])
