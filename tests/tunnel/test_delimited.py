"""
Tests for the stream framings of other programs: L{txtuntap.tunnel.qemu} and L{txtuntap.tunnel.socat}.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txtuntap.device import TAP, TUN
from txtuntap.tunnel.delimited import Delimited
from txtuntap.tunnel.framing import MAX_PACKET, FramingError, IStreamFraming
from txtuntap.tunnel.qemu import QEMUStream
from txtuntap.tunnel.socat import SocatStream
from txtuntap.wire import ipv4, ipv6

ONE, OTHER = b"\x0a\0\0\x01", b"\x0a\0\0\x02"
ONE6, OTHER6 = bytes(15) + b"\x01", bytes(15) + b"\x02"


def ipPacket(version: int, payload: bytes, options: int = 0) -> bytes:
    """
    Make an IP packet with a payload.

    @param options: the length of the options of an IPv4 header, in words of 4 octets.
    """
    if version == 4:
        return ipv4.packHeader(ONE, OTHER, 17, len(payload), options=b"\x01" * (4 * options)) + payload
    return ipv6.packHeader(ONE6, OTHER6, 17, len(payload)) + payload


def unpacked(framing: Delimited, *pieces: bytes) -> list[bytes]:
    """
    Return the packets that a framing finds in a stream that arrives in pieces.
    """
    found = []
    for piece in pieces:
        for packet, offload in framing.dataReceived(piece):
            assert offload is None
            found.append(bytes(packet))
    return found


#: Functions that make each framing, by name.
FRAMINGS: dict[str, Callable[[], Delimited]] = {
    "qemu": lambda: QEMUStream(TAP),
    "socat": lambda: SocatStream(TUN),
    "socat, with protocol information": lambda: SocatStream(TUN, pi=True),
}

_ipPackets = st.builds(ipPacket, st.sampled_from((4, 6)), st.binary(max_size=60), st.integers(0, 10))
PACKETS = {name: st.lists(st.binary(max_size=100) if name == "qemu" else _ipPackets, max_size=6) for name in FRAMINGS}
_kinds = st.sampled_from(sorted(FRAMINGS))


class EveryFramingTests(SynchronousTestCase):
    """
    Tests that hold for every one of these framings.
    """

    def test_framingsProvideTheirInterface(self) -> None:
        for make in FRAMINGS.values():
            framing = make()
            self.assertTrue(verifyObject(IStreamFraming, framing))
            self.assertTrue(framing.established)
            self.assertEqual((framing.offloads, framing.keepalive, framing.greeting(1, 1500)), (0, b"", b""))

    @given(st.data())
    def test_packetsDoNotDependOnThePiecesOfTheStream(self, data: st.DataObject) -> None:
        kind = data.draw(_kinds)
        packets = data.draw(PACKETS[kind])
        make = FRAMINGS[kind]
        stream = b"".join(b"".join(make().pack(packet)) for packet in packets)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        self.assertEqual(unpacked(make(), *pieces), packets)
        self.assertEqual(unpacked(make(), *(bytes([octet]) for octet in stream)), packets)

    @given(st.data())
    def test_garbageIsAFramingErrorOrPackets(self, data: st.DataObject) -> None:
        kind = data.draw(_kinds)
        framing = FRAMINGS[kind]()
        packets = data.draw(PACKETS[kind])
        stream = bytearray(b"".join(b"".join(framing.pack(packet)) for packet in packets))
        for _ in range(data.draw(st.integers(0, 5))):
            if stream:
                stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        stream += data.draw(st.binary(max_size=200))
        delivered = 0
        with contextlib.suppress(FramingError):
            for at in range(0, len(stream), 7):
                delivered += sum(len(packet) for packet, _ in framing.dataReceived(bytes(stream[at : at + 7])))
                # Each octet has been delivered or is kept, and at most one packet is kept.
                self.assertLessEqual(delivered + len(framing._rest), at + 7)
        self.assertLessEqual(len(framing._rest), MAX_PACKET + framing.prefix)

    def test_anIncompletePacketIsBounded(self) -> None:
        for name, start in ("qemu", MAX_PACKET.to_bytes(4, "big")), ("socat", ipPacket(4, bytes(65515))[:20]):
            framing = FRAMINGS[name]()
            waited = 0
            octets = bytes(1000)
            self.assertEqual(framing.dataReceived(start), [])
            for _ in range(1000):
                try:
                    framing.dataReceived(octets)
                except FramingError:
                    # Zero octets are valid empty frames for QEMU, but no IP packet for socat.
                    break
                waited = max(waited, len(framing._rest))
            self.assertLess(waited, MAX_PACKET + 4)
            self.assertGreater(waited, 60000)

    def test_aLengthIsParsedOnceForAllPiecesOfAPacket(self) -> None:
        asked = []

        class Counting(QEMUStream):
            def needed(self, data: bytes, at: int) -> int:
                asked.append(at)
                return super().needed(data, at)

        unpacked(Counting(TAP), b"\0\0", b"\x03", b"\xe8", *[b"x"] * 1000)
        self.assertEqual(len(asked), 3)


class QEMUStreamTests(SynchronousTestCase):
    """
    Tests for the framing of QEMU, L{QEMUStream}.
    """

    def test_theLengthIsInNetworkByteOrder(self) -> None:
        self.assertEqual(b"".join(QEMUStream(TAP).pack(b"\xff" * 300)), b"\0\0\x01\x2c" + b"\xff" * 300)

    def test_aFrameIsNotCopied(self) -> None:
        frame = bytes(300)
        self.assertIs(QEMUStream(TAP).pack(frame)[1], frame)

    def test_aLengthThatNoFrameHasIsRefused(self) -> None:
        for length in MAX_PACKET + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF:
            with self.assertRaises(FramingError) as raised:
                QEMUStream(TAP).dataReceived(length.to_bytes(4, "big"))
            self.assertIn("a length that no Ethernet frame has", str(raised.exception))

    def test_emptyAndShortFramesAreAccepted(self) -> None:
        # A guest can send them. If they were refused, the guest would close a connection that other guests may share.
        self.assertEqual(unpacked(QEMUStream(TAP), b"\0\0\0\0\0\0\0\x01x\0\0\0\0"), [b"", b"x", b""])

    def test_aTunIsRefused(self) -> None:
        with self.assertRaises(ValueError) as raised:
            QEMUStream(TUN)
        self.assertIn("tap", str(raised.exception))


class SocatStreamTests(SynchronousTestCase):
    """
    Tests for the framing of socat, L{SocatStream}.
    """

    def refused(self, data: bytes, pi: bool = False) -> str:
        with self.assertRaises(FramingError) as raised:
            SocatStream(TUN, pi).dataReceived(data)
        return str(raised.exception)

    def test_aTapIsRefused(self) -> None:
        with self.assertRaises(ValueError) as raised:
            SocatStream(TAP)
        self.assertIn("does not mark where an Ethernet frame ends", str(raised.exception))

    def test_packetsAreSentWithoutAHeader(self) -> None:
        packet = ipPacket(4, b"hello")
        self.assertEqual(SocatStream(TUN).pack(packet), [packet])

    def test_protocolInformationPrecedesPackets(self) -> None:
        for version, prefix in (4, b"\0\0\x08\0"), (6, b"\0\0\x86\xdd"):
            packet = ipPacket(version, b"hello")
            self.assertEqual(SocatStream(TUN, pi=True).pack(packet), [prefix, packet])

    def test_theLargestPacketsAreUnpacked(self) -> None:
        for packet in ipPacket(4, bytes(65515)), ipPacket(6, bytes(65495)):
            self.assertEqual(len(packet), 65535)
            self.assertEqual(unpacked(SocatStream(TUN), packet * 2), [packet, packet])

    def test_anIPv6PacketWithoutPayloadIsUnpacked(self) -> None:
        packet = ipv6.packHeader(ONE6, OTHER6, 59, 0)
        self.assertEqual(unpacked(SocatStream(TUN), packet * 2), [packet, packet])

    def test_jumbogramsAreRefused(self) -> None:
        self.assertIn("jumbogram", self.refused(ipv6.packHeader(ONE6, OTHER6, ipv6.HOP_BY_HOP, 0)))

    def test_packetsThatNoInterfaceCarriesAreRefused(self) -> None:
        self.assertIn("longer than any", self.refused(ipv6.packHeader(ONE6, OTHER6, 17, 65535)))

    def test_invalidIPv4HeadersAreRefused(self) -> None:
        packet = bytearray(ipPacket(4, b"hello"))
        for at, octet in (0, 0x44), (3, 19), (10, packet[10] ^ 1):
            wrong = packet.copy()
            wrong[at] = octet
            self.assertIn("IPv4 header", self.refused(bytes(wrong)))

    def test_otherProtocolsThanIPAreRefusedAtTheFirstOctet(self) -> None:
        for octet in set(range(256)) - {*range(0x40, 0x50), *range(0x60, 0x70)}:
            self.refused(bytes([octet]))

    def test_aTruncatedPacketIsNoticedAtTheNextHeader(self) -> None:
        # By default socat reads at most 8,192 octets of a packet.
        packet = ipPacket(4, b"\x45" * 9000)
        self.assertIn("truncated", self.refused(packet[:8192] + packet))

    def test_missingOrUnexpectedProtocolInformationIsExplained(self) -> None:
        packet = ipPacket(4, b"hello")
        self.assertIn("iff-no-pi", self.refused(b"\0\0\x08\0" + packet))
        self.assertIn("iff-no-pi", self.refused(packet, pi=True))

    def test_wrongProtocolInformationIsRefused(self) -> None:
        packet = ipPacket(4, b"hello")
        self.assertIn("does not match the packet", self.refused(b"\0\0\x86\xdd" + packet, pi=True))
        self.assertIn("does not match the packet", self.refused(b"\0\0\x08\x06" + packet, pi=True))
        for flags in b"\x01\0", b"\0\x01":
            self.assertIn("truncated", self.refused(flags + b"\x08\0" + packet, pi=True))
