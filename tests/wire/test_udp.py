"""
Tests for UDP headers, L{txtuntap.wire.udp}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, integers, sampled_from
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wire.address import packAddress
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.udp import HEADER_LENGTH, MAX_PAYLOAD, UDPHeader, packHeader

ports = integers(min_value=0, max_value=0xFFFF)
pairs = sampled_from(
    [
        (packAddress("10.0.0.1"), packAddress("10.0.0.2")),
        (packAddress("fd00::1"), packAddress("fd00::2")),
    ]
)


class UDPHeaderTests(SynchronousTestCase):
    def test_aHeaderIsParsed(self) -> None:
        header = UDPHeader(b"\x04\xd2\x00\x35\x00\x0a\xbe\xefhi")
        self.assertEqual((header.source, header.dest, header.len, header.check), (1234, 53, 10, 0xBEEF))

    def test_tooShortIsAValueError(self) -> None:
        for length in range(HEADER_LENGTH):
            with self.assertRaises(ValueError) as raised:
                UDPHeader(bytes(length))
            self.assertIn(f"not {length}", str(raised.exception))


class PackHeaderTests(SynchronousTestCase):
    def test_knownDatagram(self) -> None:
        header = packHeader(packAddress("152.1.51.27"), packAddress("152.14.94.75"), 41103, 9877, b"bb")
        # The words of this datagram and its pseudo-header sum to 0x2eb20, and with the carry added to 0xeb22.
        self.assertEqual(header[:6], b"\xa0\x8f\x26\x95\x00\x0a")
        self.assertEqual(int.from_bytes(header[6:], "big"), 0x14DD)

    @given(pairs, ports, ports, binary(max_size=100))
    def test_aPackedDatagramSumsToZeroWithThePseudoHeader(
        self, addresses: tuple[bytes, bytes], source: int, dest: int, payload: bytes
    ) -> None:
        datagram = packHeader(*addresses, source, dest, payload) + payload
        pseudo = b"".join(addresses) + len(datagram).to_bytes(4, "big") + b"\0\0\0\x11"
        self.assertEqual(onesSum(pseudo + datagram), 0)

    @given(pairs, ports, ports, binary(max_size=3))
    def test_checksumIsNeverZero(self, addresses: tuple[bytes, bytes], source: int, dest: int, payload: bytes) -> None:
        self.assertNotEqual(UDPHeader(packHeader(*addresses, source, dest, payload)).check, 0)

    def test_checksumOfZeroIsSentAsAllOnes(self) -> None:
        addresses = bytes(4), bytes(4)
        # The sum consists of the ports, the protocol number 17, and the length, which counts twice.
        header = packHeader(*addresses, 0xFFFF - 17 - 2 * HEADER_LENGTH, 0, b"")
        self.assertEqual(UDPHeader(header).check, 0xFFFF)

    def test_theLongestPayloadIsPacked(self) -> None:
        self.assertEqual(MAX_PAYLOAD, {4: 65507, 6: 65527})
        header = packHeader(bytes(16), bytes(16), 1, 2, bytes(MAX_PAYLOAD[6]))
        self.assertEqual(UDPHeader(header).len, 65535)
