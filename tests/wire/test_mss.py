"""
Tests for the clamping of the maximum segment size: L{txtuntap.wire.mss}.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.checksum import checksum, onesSum
from txtuntap.wire.mss import clamped

SYN, ACK = 2, 16


def segment(version: int, mss: int, flags: int = SYN, before: bytes = b"", fragment: int = 0) -> bytes:
    """
    Make a TCP segment with the option, behind other options, in an IP packet.
    """
    options = before + struct.pack("!BBH", 2, 4, mss)
    options += bytes(-len(options) % 4)
    tcp = struct.pack("!HHIIBBHHH", 80, 4000, 7, 9, (20 + len(options)) << 2, flags, 1000, 0, 0) + options
    ends = bytes(range(8)) if version == 4 else bytes(range(32))
    pseudo = ends + struct.pack("!HH", 6, len(tcp))
    tcp = tcp[:16] + checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]
    if version == 4:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, fragment, 64, 6, 0) + ends + tcp
    return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + ends + tcp


def isValid(packet: bytes) -> bool:
    """
    Whether the checksum of TCP is right.
    """
    header, ends = (20, packet[12:20]) if packet[0] >> 4 == 4 else (40, packet[8:40])
    tcp = packet[header:]
    return onesSum(ends + struct.pack("!HH", 6, len(tcp)) + tcp) == 0


class ClampTests(SynchronousTestCase):
    """
    Tests for the clamping of single packets.
    """

    def test_aSYNIsLoweredToWhatTheMTUAllows(self) -> None:
        for version, most in (4, 1380), (6, 1360):
            for flags in SYN, SYN | ACK:
                self.assertEqual(clamped(segment(version, 1460, flags), 1420), segment(version, most, flags))
            self.assertIsNone(clamped(segment(version, most), 1420))

    @given(st.sampled_from([4, 6]), st.integers(1381, 65535), st.sampled_from([b"", b"\1", b"\1\1\1", b"\3\3\7"]))
    def test_theChecksumStaysRight(self, version: int, mss: int, before: bytes) -> None:
        changed = clamped(segment(version, mss, before=before), 1420)
        assert changed is not None
        self.assertTrue(isValid(changed))

    def test_anOpenChecksumIsLeftOpen(self) -> None:
        before = segment(4, 1460)
        changed = clamped(before, 1420, isOpen=True)
        assert changed is not None
        self.assertEqual(changed[36:38], before[36:38])

    def test_otherPacketsAreLeftAlone(self) -> None:
        for packet in (
            segment(4, 1460, ACK),
            segment(4, 1460, fragment=1),
            segment(4, 1460)[:9] + b"\x11" + segment(4, 1460)[10:],
            segment(4, 1460, before=b"\0"),
            segment(4, 1460, before=b"\5\1"),
        ):
            self.assertIsNone(clamped(packet, 1420))

    @given(st.sampled_from([4, 6]), st.integers(0, 64))
    def test_aPacketThatIsCutShortRaisesNothing(self, version: int, length: int) -> None:
        self.assertIsNone(clamped(segment(version, 1460)[: min(length, 40 if version == 4 else 60)], 1420))

    @given(st.binary(max_size=80))
    def test_arbitraryOctetsRaiseNothing(self, data: bytes) -> None:
        clamped(data, 1420)

    def test_theOctetsBeforeThePacketStay(self) -> None:
        changed = clamped(b"abcdefghij" + segment(4, 1460), 1420, 10)
        self.assertEqual(changed, b"abcdefghij" + segment(4, 1380))
