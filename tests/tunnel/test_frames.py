"""
Tests for txtuntap's own framing: L{txtuntap.tunnel.frames}.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device import TAP, TUN
from txtuntap.layer.relay import EVERYTHING
from txtuntap.tunnel import frames
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.framing import MAX_PACKET, FramingError, IStreamFraming
from txtuntap.wire.offload import CSUM, DATA_VALID, NEEDS_CHECKSUM, TCP4, TSO4, Offload

UNFINISHED = Offload(NEEDS_CHECKSUM, TCP4, 40, 1400, 20, 16)


def established(mode: int = TUN) -> Frames:
    """
    Make a framing that has received its peer's greeting.
    """
    framing = Frames(mode)
    framing.dataReceived(Frames(mode).greeting(EVERYTHING, 1500))
    return framing


class FramesTests(SynchronousTestCase):
    """
    Tests for the class L{Frames}.
    """

    def test_theGreetingHasModeOffloadsAndMTU(self) -> None:
        said = Frames(TAP).greeting(CSUM | TSO4, 1400)
        self.assertEqual(b"txtuntap" + bytes([1, 2, 3, 0]) + (1400).to_bytes(4, "little"), said)
        framing = Frames(TAP)
        self.assertFalse(framing.established)
        self.assertEqual([], framing.dataReceived(said))
        self.assertTrue(framing.established)
        self.assertEqual((CSUM | TSO4, 1400), (framing.offloads, framing.peerMTU))
        self.assertTrue(IStreamFraming.providedBy(framing))

    def test_aFramesHeaderIsLittleEndian(self) -> None:
        expected = struct.pack("<IBBHHHH", 6, 1, 1, 40, 1400, 20, 16) + b"packet"
        self.assertEqual(expected, b"".join(Frames(TUN).pack(b"packet", UNFINISHED)))
        # The record has the byte order of the machine.
        self.patch(frames, "_IS_LITTLE_ENDIAN", False)
        self.patch(frames, "HEADER", struct.Struct(">BBHHHH"))
        record: Any = SimpleNamespace(packed=struct.pack(">BBHHHH", 1, 1, 40, 1400, 20, 16))
        self.assertEqual(expected, b"".join(Frames(TUN).pack(b"packet", record)))

    def test_unknownOffloadsAreIgnored(self) -> None:
        framing = Frames(TUN)
        framing.dataReceived(b"txtuntap" + bytes([1, 1, 0xFF, 0xFF]) + bytes(4))
        self.assertEqual(EVERYTHING, framing.offloads)

    def test_aPeerOfAnotherModeOrVersionIsRefused(self) -> None:
        for said, text in {
            Frames(TAP).greeting(0, 1500): r"its interface is a tap \(Ethernet frames\), and this end's is a tun",
            b"txtuntap\x02\x01" + bytes(6): "it uses a newer version",
            b"txtuntap\x00\x01" + bytes(6): "it uses an older version",
            b"txtuntap\x01\x07" + bytes(6): "of an unknown kind",
        }.items():
            self.assertRaisesRegex(FramingError, text, Frames(TUN).dataReceived, said)

    def test_garbageIsRefusedAtItsFirstOctet(self) -> None:
        for said in b"G", b"GET / HTTP/1.0\r\n", b"tx!", bytes(4):
            self.assertRaisesRegex(FramingError, "no txtuntap greeting", Frames(TUN).dataReceived, said)

    def test_aLengthThatNoPacketHasIsRefused(self) -> None:
        for length in MAX_PACKET + 1, 2**32 - 1:
            said = length.to_bytes(4, "little") + bytes(10)
            self.assertRaisesRegex(FramingError, "longer than any", established().dataReceived, said)

    def test_aKeepaliveMessageIsNoPacket(self) -> None:
        framing = established()
        self.assertEqual([], framing.dataReceived(framing.keepalive * 3))

    def test_thePeersFlagForAVerifiedChecksumIsIgnored(self) -> None:
        packed = b"".join(Frames(TUN).pack(b"packet", Offload(DATA_VALID)))
        ((_, offload),) = established().dataReceived(packed)
        self.assertIsNone(offload)

    @given(
        st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.sampled_from([None, UNFINISHED])), max_size=8),
        st.lists(st.integers(0, 3000), max_size=30),
    )
    def test_packetsDoNotDependOnThePiecesOfTheStream(
        self, packets: list[tuple[bytes, Offload | None]], cuts: list[int]
    ) -> None:
        sender = Frames(TUN)
        stream = sender.greeting(0, 1500)
        for packet, offload in packets:
            stream += b"".join(sender.pack(packet, offload)) + sender.keepalive
        places = sorted({0, len(stream), *(each for each in cuts if each < len(stream))})
        framing = Frames(TUN)
        found = []
        for begin, end in pairwise(places):
            found += [(bytes(packet), offload) for packet, offload in framing.dataReceived(stream[begin:end])]
        self.assertEqual(packets, found)

    def test_fewPiecesAreKeptOfAPacketThatArrivesOctetByOctet(self) -> None:
        framing = established()
        packet = bytes(MAX_PACKET)
        found = []
        for octet in b"".join(framing.pack(packet)):
            found += framing.dataReceived(bytes([octet]))
            self.assertLessEqual(len(framing._pieces), 65)
        self.assertEqual([packet], [bytes(each) for each, _ in found])

    @given(st.binary(max_size=200))
    def test_garbageRaisesOnlyFramingErrors(self, garbage: bytes) -> None:
        framing = established()
        try:
            for packet, _ in framing.dataReceived(garbage):
                self.assertTrue(packet)
        except FramingError:
            pass
