"""
Our own framing.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device import TAP, TUN
from txtuntap.layer.relay import EVERYTHING
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.framing import MAX_PACKET, FramingError, IStreamFraming
from txtuntap.wire.offload import CSUM, DATA_VALID, NEEDS_CHECKSUM, TCP4, TSO4, Offload

OPEN = Offload(NEEDS_CHECKSUM, TCP4, 40, 1400, 20, 16)


def greeted(mode: int = TUN) -> Frames:
    """
    One end whose peer has said who it is.
    """
    framing = Frames(mode)
    framing.dataReceived(Frames(mode).greeting(EVERYTHING, 1500))
    return framing


class FramesTests(SynchronousTestCase):
    """
    L{Frames}.
    """

    def test_theGreeting(self) -> None:
        said = Frames(TAP).greeting(CSUM | TSO4, 1400)
        self.assertEqual(b"txtuntap" + bytes([1, 2, 3, 0]) + (1400).to_bytes(4, "little"), said)
        framing = Frames(TAP)
        self.assertFalse(framing.established)
        self.assertEqual([], framing.dataReceived(said))
        self.assertTrue(framing.established)
        self.assertEqual((CSUM | TSO4, 1400), (framing.offloads, framing.peerMTU))
        self.assertTrue(IStreamFraming.providedBy(framing))

    def test_whatIsOpenIsLittleEndian(self) -> None:
        packed = b"".join(Frames(TUN).pack(b"packet", OPEN))
        self.assertEqual(struct.pack("<IBBHHHH", 6, 1, 1, 40, 1400, 20, 16) + b"packet", packed)

    def test_featuresThatNobodyKnowsAreNotAgreedOn(self) -> None:
        framing = Frames(TUN)
        framing.dataReceived(b"txtuntap" + bytes([1, 1, 0xFF, 0xFF]) + bytes(4))
        self.assertEqual(EVERYTHING, framing.offloads)

    def test_aPeerOfAnotherModeOrVersionIsRefused(self) -> None:
        for said, text in {
            Frames(TAP).greeting(0, 1500): r"its interface is a tap \(Ethernet frames\), and that of this end a tun",
            b"txtuntap\x02\x01" + bytes(6): "it speaks a newer version",
            b"txtuntap\x00\x01" + bytes(6): "it speaks an older version",
            b"txtuntap\x01\x07" + bytes(6): "something unheard of",
        }.items():
            self.assertRaisesRegex(FramingError, text, Frames(TUN).dataReceived, said)

    def test_garbageIsRefusedAtItsFirstOctet(self) -> None:
        for said in b"G", b"GET / HTTP/1.0\r\n", b"tx!", bytes(4):
            self.assertRaisesRegex(FramingError, "something else", Frames(TUN).dataReceived, said)

    def test_aLengthThatNoPacketHasIsRefused(self) -> None:
        for length in MAX_PACKET + 1, 2**32 - 1:
            said = length.to_bytes(4, "little") + bytes(10)
            self.assertRaisesRegex(FramingError, "longer than any", greeted().dataReceived, said)

    def test_keepalivesAreNoPackets(self) -> None:
        framing = greeted()
        self.assertEqual([], framing.dataReceived(framing.keepalive * 3))

    def test_thatAChecksumWasVerifiedIsNotBelieved(self) -> None:
        packed = b"".join(Frames(TUN).pack(b"packet", Offload(DATA_VALID)))
        ((_, offload),) = greeted().dataReceived(packed)
        self.assertIsNone(offload)

    @given(
        st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.sampled_from([None, OPEN])), max_size=8),
        st.lists(st.integers(0, 3000), max_size=30),
    )
    def test_howeverItIsCutThePacketsAreTheSame(
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

    def test_octetByOctetItKeepsLittle(self) -> None:
        framing = greeted()
        packet = bytes(MAX_PACKET)
        found = []
        for octet in b"".join(framing.pack(packet)):
            found += framing.dataReceived(bytes([octet]))
            self.assertLessEqual(len(framing._pieces), 65)
        self.assertEqual([packet], [bytes(each) for each, _ in found])

    @given(st.binary(max_size=200))
    def test_nothingThatComesRaisesAnythingElse(self, garbage: bytes) -> None:
        framing = greeted()
        try:
            for packet, _ in framing.dataReceived(garbage):
                self.assertTrue(packet)
        except FramingError:
            pass
