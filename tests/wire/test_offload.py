"""
Tests for offload, L{txtuntap.wire.offload}. L{tests.real.test_offload} tests that the kernel cuts a superpacket into
the same segments.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.superpackets import CWR, ENDS, FIN, HEADERS, PSH, SUPERPACKETS, superpacket
from txtuntap.testing import ipPacket
from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.fault import Fault
from txtuntap.wire.offload import (
    ECN,
    HEADER,
    HEADER_LENGTH,
    MAX_DATAGRAMS,
    MIN_TCP_SEGMENT,
    NEEDS_CHECKSUM,
    NONE,
    TCP4,
    TCP6,
    UDP,
    Offload,
    countPackets,
    divide,
    fault,
    finish,
)


def segmentsOf(packets: list[bytes], network: int, version: int, isUDP: bool) -> list[tuple[bytes, bytes]]:
    """
    Return the transport headers and payloads of packets, after a check of each packet as by a receiver.
    """
    found = []
    for packet in packets:
        start = network + HEADERS[version]
        data = packet[network:]
        if version == 4:
            assert int.from_bytes(data[2:4], "big") == len(data)
            assert checksum(data[:20]) == 0
        else:
            assert int.from_bytes(data[4:6], "big") == len(data) - 40
        segment = packet[start:]
        source, dest = map(packAddress, ENDS[version])
        assert (onesSum(source + dest) + (17 if isUDP else 6) + len(segment) + onesSum(segment)) % 0xFFFF == 0
        length = 8 if isUDP else (segment[12] >> 4) * 4
        if isUDP:
            assert int.from_bytes(segment[4:6], "big") == len(segment)
            assert segment[6:8] != b"\0\0"
        found.append((segment[:length], segment[length:]))
    return found


class OffloadTests(SynchronousTestCase):
    def test_aRecordIsPackedAndUnpacked(self) -> None:
        offload = Offload(1, UDP, 28, 1400, 20, 6)
        self.assertEqual(len(offload.packed), HEADER_LENGTH)
        self.assertEqual(Offload.unpack(offload.packed + b"rest"), offload)
        self.assertRaises(ValueError, Offload.unpack, bytes(HEADER_LENGTH - 1))

    def test_aFinishedPacketIsReturnedUnchanged(self) -> None:
        self.assertEqual(finish(b"anything", Offload()), [b"anything"])

    def test_anOpenChecksumIsCompleted(self) -> None:
        for version in ENDS:
            for kind in UDP, TCP4 if version == 4 else TCP6:
                packet, offload, network = superpacket(version, kind, b"hello", 5)
                offload = replace(offload, type=NONE, size=0)
                self.assertIsNone(fault(packet, offload, network))
                ((_, payload),) = segmentsOf(finish(packet, offload, network), network, version, kind == UDP)
                self.assertEqual(payload, b"hello")

    def test_aUDPChecksumOfZeroIsSentAsFFFF(self) -> None:
        packet, offload, _ = superpacket(4, UDP, b"\0\0", 2)
        start = offload.checksumStart
        open_ = replace(offload, type=NONE)
        total = onesSum(packet[start:])
        packet = packet[:-2] + (-total % 0xFFFF).to_bytes(2, "big")
        self.assertEqual(finish(packet, open_)[0][start + 6 : start + 8], b"\xff\xff")
        self.assertEqual(finish(packet, offload)[0][start + 6 : start + 8], b"\xff\xff")

    @given(SUPERPACKETS, st.integers(1, MAX_DATAGRAMS))
    def test_dividedSuperpacketsHaveTheSameSegments(self, made: tuple[bytes, Offload, int], most: int) -> None:
        packet, offload, network = made
        if offload.type != UDP:
            return
        pieces = divide(packet, offload, network, most)
        assert [each for piece, left in pieces for each in finish(piece, left, network)] == finish(
            packet, offload, network
        )
        for piece, left in pieces:
            assert fault(piece, left, network) is None
            assert len(finish(piece, left, network)) <= most

    @given(SUPERPACKETS)
    def test_aSuperpacketIsCutAsByTheKernel(self, made: tuple[bytes, Offload, int]) -> None:
        packet, offload, network = made
        version = packet[network] >> 4
        isUDP = offload.type == UDP
        assert fault(packet, offload, network) is None
        packets = finish(packet, offload, network)
        assert {each[:network] for each in packets} == {packet[:network]}
        segments = segmentsOf(packets, network, version, isUDP)
        payloads = [payload for _, payload in segments]
        assert b"".join(payloads) == packet[offload.headerLength :]
        assert {len(payload) for payload in payloads[:-1]} <= {offload.size}
        assert 0 < len(payloads[-1]) <= offload.size
        if version == 4:
            numbers = [int.from_bytes(each[network + 4 : network + 6], "big") for each in packets]
            assert numbers == [(numbers[0] + count) & 0xFFFF for count in range(len(numbers))]
        if not isUDP:
            sequences = [int.from_bytes(header[4:8], "big") for header, _ in segments]
            sent = 0
            for sequence, payload in zip(sequences, payloads, strict=True):
                assert sequence == (0xFFFFFF00 + sent) & 0xFFFFFFFF
                sent += len(payload)
            flags = packet[offload.checksumStart + 13]
            last = len(segments) - 1
            for number, (header, _) in enumerate(segments):
                wanted = flags & ~(0 if number == last else FIN | PSH) & ~(0 if number == 0 else CWR)
                assert header[13] == wanted

    def refused(self, wrong: Fault, packet: bytes, offload: Offload, network: int = 0, **changes: Any) -> None:
        self.assertEqual(fault(packet, replace(offload, **changes), network), wrong)

    def test_aForgedRecordHasAFault(self) -> None:
        for version in ENDS:
            tcp = TCP4 if version == 4 else TCP6
            for kind in UDP, tcp:
                packet, offload, _ = superpacket(version, kind, bytes(1000), 100)
                self.assertIsNone(fault(packet, offload))
                wrong = Fault.OFFLOAD
                for changes in (
                    {"size": 0},
                    {"size": 1001},
                    {"size": 7},
                    {"headerLength": len(packet) + 1},
                    {"checksumStart": 0},
                    {"checksumStart": len(packet)},
                    {"checksumStart": offload.checksumStart + 8},
                    {"checksumOffset": 0xFFFF},
                    {"checksumOffset": offload.checksumOffset + 2},
                    {"type": TCP6 if version == 4 else TCP4},
                    {"type": UDP if kind != UDP else tcp},
                ):
                    self.refused(wrong, packet, offload, **changes)
                for unknown in 2, 3, 6, 0x7F, UDP | ECN, NONE | ECN:
                    self.refused(Fault.UNKNOWN_OFFLOAD, packet, offload, type=unknown)
                self.refused(wrong, packet[:-1], offload)
                self.refused(wrong, packet + b"x", offload)
                self.refused(wrong, packet[:10], offload)
                self.refused(wrong, b"", offload)
        packet, offload, _ = superpacket(4, UDP, bytes(1000), 100)
        self.refused(Fault.OFFLOAD, packet, offload, flags=0)
        packet, offload, _ = superpacket(4, TCP4, bytes(1000), 100)
        self.assertIsNone(fault(packet, replace(offload, type=TCP4 | ECN)))
        start = offload.checksumStart + 12
        for length in 0, 4:
            self.refused(Fault.OFFLOAD, packet[:start] + bytes([length << 4]) + packet[start + 1 :], offload)
        fragment = packet[:6] + b"\x20\0" + packet[8:]
        self.refused(Fault.OFFLOAD, fragment, offload)

    @given(
        st.sampled_from([4, 6]),
        st.integers(0, 255),
        st.integers(0, 3),
        st.sampled_from([NONE, TCP4, 2, 3, TCP6, UDP, 7]),
        st.sampled_from([0, ECN]),
        st.sampled_from([6, 16, 8, 500]),
        st.sampled_from([0, 1, 8, 50]),
        st.sampled_from([4, 5, 15]),
    )
    def test_everyOtherProtocolIsAFault(
        self, version: int, protocol: int, flags: int, kind: int, ecn: int, offset: int, size: int, words: int
    ) -> None:
        # These octets could be a datagram and a segment, but for the protocol number.
        upper = bytearray(100)
        upper[4:6] = len(upper).to_bytes(2, "big")
        upper[12] = words << 4
        packet = ipPacket(*ENDS[version], protocol, bytes(upper))
        offload = Offload(flags, kind | ecn, 0, size, HEADERS[version], offset)
        isTCP = protocol == 6 and kind == (TCP4 if version == 4 else TCP6) and size >= 8 and offset == 16 and words > 4
        isUDP = protocol == 17 and kind == UDP and flags & NEEDS_CHECKSUM and size and offset == 6 and not ecn
        wrong = fault(packet, offload)
        if kind | ecn != NONE:
            self.assertEqual(bool(isTCP or isUDP), wrong is None)
        if wrong is None:
            packets = finish(packet, offload)
            expected = len(packets), sum(map(len, packets))
            self.assertEqual(expected, countPackets([packet], offload))

    def test_aChecksumInVLANTagsIsAFault(self) -> None:
        for kind, offset in (UDP, 6), (TCP4, 16):
            packet = b"".join([bytes(12), b"\x81\0\0\1" * 8, b"\x81\0"])
            start = 10
            packet = packet[: start + 4] + (len(packet) - start).to_bytes(2, "big") + packet[start + 6 :]
            packet = packet[: start + 12] + b"\x50" + packet[start + 13 :]
            for network in range(len(packet), len(packet) + 4):
                self.assertEqual(
                    fault(packet, Offload(NEEDS_CHECKSUM, kind, 0, 10, start, offset), network), Fault.OFFLOAD
                )

    @given(st.binary(max_size=200), st.builds(Offload, *[st.integers(0, 255)] * 2, *[st.integers(0, 300)] * 4))
    def test_arbitraryRecordsMakeABoundedNumberOfPackets(self, packet: bytes, offload: Offload) -> None:
        if fault(packet, offload) is None:
            assert len(finish(packet, offload)) <= max(MAX_DATAGRAMS, len(packet) // MIN_TCP_SEGMENT)

    @given(SUPERPACKETS, st.data())
    def test_damagedSuperpacketsMakeABoundedNumberOfPackets(
        self, made: tuple[bytes, Offload, int], data: st.DataObject
    ) -> None:
        packet, offload, network = made
        at = data.draw(st.integers(0, offload.headerLength - 1))
        packet = packet[:at] + bytes([data.draw(st.integers(0, 255))]) + packet[at + 1 :]
        fields = list(HEADER.unpack(offload.packed))
        fields[data.draw(st.integers(0, 5))] = data.draw(st.integers(0, 255) | st.integers(0, 0xFFFF))
        fields[:2] = [each & 0xFF for each in fields[:2]]
        forged = Offload(*fields)
        if fault(packet, forged, network) is None:
            packets = finish(packet, forged, network)
            assert len(packets) <= max(MAX_DATAGRAMS, len(packet) // MIN_TCP_SEGMENT)
