"""
Tests for superpackets that are joined from segments.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.superpackets import ACK, CWR, FIN, PSH, superpacket
from txtuntap.testing import ipPacket, udpPacket
from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.joining import joined
from txtuntap.wire.offload import TCP4, TCP6, TSO4, TSO6, fault, finish, shifted

BOTH = TSO4 | TSO6
TIMESTAMPS = b"\1\1\x08\x0a" + bytes(range(8))


def segments(
    version: int = 4, octets: int = 5000, size: int = 1000, options: bytes = b"", flags: int = ACK
) -> list[bytes]:
    """
    Make the segments that a kernel cuts a superpacket into.
    """
    payload = bytes(number * 7 & 0xFF for number in range(octets))
    packet, offload, _ = superpacket(version, TCP4 if version == 4 else TCP6, payload, size, flags, options)
    return finish(packet, offload)


def resummed(packet: bytes, at: int, changed: bytes) -> bytes:
    """
    Change octets of a packet without options, and make its checksums right again.
    """
    made = bytearray(packet)
    made[at : at + len(changed)] = changed
    start = 20 if packet[0] == 0x45 else 40
    if start == 20:
        made[10:12] = bytes(2)
        made[10:12] = checksum(bytes(made[:20])).to_bytes(2, "big")
    made[start + 16 : start + 18] = bytes(2)
    addresses = bytes(made[12:20] if start == 20 else made[8:40])
    total = onesSum(addresses) + 6 + len(made) - start + onesSum(bytes(made[start:]))
    made[start + 16 : start + 18] = (-total % 0xFFFF).to_bytes(2, "big")
    return bytes(made)


class JoiningTests(SynchronousTestCase):
    """
    Tests for what is joined, and what stays as it is.
    """

    def counts(self, packets: list[bytes], features: int = BOTH) -> list[int]:
        """
        Join packets, check that nothing is lost, and count the packets in each result.
        """
        counts = []
        again: list[bytes] = []
        for buffers, offload in joined(packets, features):
            data = b"".join(buffers)
            if offload is None:
                each = [data]
            else:
                self.assertIsNone(fault(data, offload))
                self.assertFalse(offload.isOpen)
                each = finish(data, offload)
            counts.append(len(each))
            again += each
        self.assertEqual(again, packets)
        return counts

    @given(
        st.sampled_from([4, 6]),
        st.integers(8, 9000),
        st.integers(8, 1500),
        st.sampled_from([b"", TIMESTAMPS]),
        st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | 0x40]),
    )
    def test_cuttingGivesTheSegmentsAgain(
        self, version: int, octets: int, size: int, options: bytes, flags: int
    ) -> None:
        packets = segments(version, octets, min(octets, size), options, flags)
        self.assertEqual(self.counts(packets), [len(packets)])

    def test_eachFlowIsJoinedInItsOrder(self) -> None:
        other = [resummed(each, 20, b"\x10\0") for each in segments()]
        datagram = udpPacket("10.9.0.1", "10.9.0.2", 7, 7, b"hello")
        packets = [*segments(), datagram, *other, datagram, *segments(6)]
        self.assertEqual(self.counts(packets), [5, 1, 5, 1, 5])
        self.assertEqual(self.counts(packets, TSO6), [1] * 12 + [5])
        self.assertEqual(self.counts(packets, TSO4), [5, 1, 5, 1] + [1] * 5)

    def test_aSuperpacketHasNoMoreOctetsThanIPAllows(self) -> None:
        packets = segments(octets=65000, size=1000)
        more = [resummed(each, 24, (65000 + 1000 * n - 256).to_bytes(4, "big")) for n, each in enumerate(packets)]
        self.assertEqual(sum(self.counts(packets + more)), 130)
        for buffers, _ in joined(packets + more, BOTH):
            self.assertLessEqual(sum(map(len, buffers)), 65535)

    def test_aShortSegmentEndsASuperpacket(self) -> None:
        first = segments(octets=2500)
        rest = [resummed(each, 24, (2500 - 256 + 1000 * n).to_bytes(4, "big")) for n, each in enumerate(segments())]
        self.assertEqual(self.counts(first + rest), [3, 5])

    def test_aLongerSegmentIsNotJoined(self) -> None:
        longer = resummed(segments(octets=1100, size=1100)[0], 24, (500 - 256).to_bytes(4, "big"))
        self.assertEqual(self.counts([*segments(octets=500, size=500), longer]), [1, 1])

    def test_headersThatDifferAreNotJoined(self) -> None:
        """
        The rules are those of Linux: all fields but those that a cut changes are the same.
        """
        different: list[tuple[int, int, bytes]] = [
            (4, 1, b"\x03"),
            (4, 4, b"\x77\x77"),
            (4, 8, b"\x3f"),
            (4, 24, b"\0\0\0\5"),
            (4, 28, b"\0\0\0\5"),
            (4, 33, bytes([ACK | CWR])),
            (4, 33, bytes([ACK | 0x20])),
            (4, 33, bytes([ACK | 0x02])),
            (4, 33, bytes([ACK | 0x04])),
            (4, 34, b"\0\1"),
            (4, 38, b"\0\1"),
            (6, 1, b"\x10"),
            (6, 7, b"\x3f"),
            (6, 44, b"\0\0\0\5"),
        ]
        for version, at, changed in different:
            packets = segments(version)
            if version == 4:
                # Without Don't Fragment, identifications have to follow one another.
                packets = [resummed(each, 6, b"\0\0") for each in packets]
            packets[2] = resummed(packets[2], at, changed)
            self.assertEqual(self.counts(packets)[:2], [2, 1], (version, at))
        packets = segments(options=TIMESTAMPS)
        packets[2] = packets[2][:50] + b"\xff" + packets[2][51:]
        self.assertEqual([len(buffers) - 1 for buffers, offload in joined(packets, BOTH) if offload], [2, 2])

    def test_theIdentificationOfAnAtomicDatagramIsNotRead(self) -> None:
        packets = [resummed(each, 4, b"\x12\x34\x40\0") for each in segments()]
        ((_, offload),) = joined(packets, BOTH)
        self.assertIsNotNone(offload)

    def test_packetsThatAreNoSegmentsStay(self) -> None:
        whole = segments()[0]
        spoiled: list[Callable[[bytes], bytes]] = [
            lambda packet: packet[:39],
            lambda packet: packet[:-1],
            lambda packet: packet + b"\0",
            lambda packet: packet[:6] + b"\x20\0" + packet[8:],
            lambda packet: packet[:10] + b"\1\1" + packet[12:],
            lambda packet: packet[:32] + b"\x40" + packet[33:],
            lambda packet: packet[:32] + b"\xf0" + packet[33:42],
            lambda packet: b"",
            lambda packet: b"\x45",
            lambda packet: b"\x60" + bytes(5) + b"\6" + bytes(34),
            lambda packet: ipPacket("10.0.0.1", "10.0.0.2", 6, b""),
        ]
        for change in spoiled:
            packet = change(whole)
            for packets in [packet] * 3, [*segments(), packet]:
                found = joined(packets, BOTH)
                self.assertEqual(found[-1], ([packet], None))
                self.assertEqual(len(found), 3 if packets[0] == packet else 2)

    @given(st.integers(0, 4), st.integers(0, 999), st.integers(1, 255), st.sampled_from([4, 6]), st.booleans())
    def test_aCorruptedSegmentSpoilsTheChecksum(self, index: int, at: int, flip: int, version: int, odd: bool) -> None:
        packets = segments(version, 4995 if odd else 5000, 999 if odd else 1000)
        start = 40 if version == 4 else 60
        at = start + at % (len(packets[index]) - start)
        packets[index] = packets[index][:at] + bytes([packets[index][at] ^ flip]) + packets[index][at + 1 :]
        ((buffers, offload),) = joined(packets, BOTH)
        assert offload is not None
        for each in finish(b"".join(buffers), offload):
            addresses = each[12:20] if version == 4 else each[8:40]
            tcp = each[start - 20 :]
            self.assertNotEqual((onesSum(addresses) + 6 + len(tcp) + onesSum(tcp)) % 0xFFFF, 0)

    def test_positionsAreShifted(self) -> None:
        ((buffers, offload),) = joined(segments(), BOTH)
        assert offload is not None
        link = bytes(12) + b"\x08\0"
        self.assertIsNone(fault(link + b"".join(buffers), shifted(offload, 14), 14))
