"""
Tests for passing packets on, L{txtuntap.layer.relay}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import OffloadPort
from tests.superpackets import superframe
from txtuntap import Packet
from txtuntap.layer.drops import Drop
from txtuntap.layer.relay import EVERYTHING, bufferOf, forward
from txtuntap.wire.offload import CSUM, DATA_VALID, NEEDS_CHECKSUM, UDP, USO, Offload, finish

HERE, THERE = "02:00:00:00:00:01", "02:00:00:00:00:02"


class ReceivedTests(SynchronousTestCase):
    def test_aWholeBufferIsReturnedItself(self) -> None:
        packet = Packet(b"some frame")
        self.assertIs(bufferOf(packet)[0], packet.data)

    def test_aPartOfTheBufferIsAView(self) -> None:
        packet = Packet(b"head some frame tail", 5)
        packet.end -= 5
        view, offload = bufferOf(packet)
        self.assertEqual((bytes(view), offload), (b"some frame", None))
        self.assertIs(memoryview(view).obj, packet.data)

    def test_offloadPositionsCountFromThePart(self) -> None:
        frame, offload = superframe(b"x" * 300, 100)
        packet = Packet(bytes(10) + frame, 10)
        packet.offload = Offload(NEEDS_CHECKSUM, UDP, 52, 100, 44, 6)
        self.assertEqual(bufferOf(packet)[1], offload)

    def test_aRecordOfAVerifiedChecksumIsRemoved(self) -> None:
        packet = Packet(bytes(60))
        packet.offload = Offload(DATA_VALID)
        self.assertIsNone(bufferOf(packet)[1])


class ForwardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.frame, self.offload = superframe(b"0123456789" * 30, 100)

    def test_aFinishedPacketIsWrittenUnchanged(self) -> None:
        below = OffloadPort(0)
        self.assertIsNone(forward(below, b"frame", None, True))
        self.assertEqual(below.written, [(b"frame", None)])

    def test_anUnfinishedPacketIsWrittenUnchangedIfTheTransportAcceptsIt(self) -> None:
        for offloads in EVERYTHING, CSUM | USO:
            below = OffloadPort(offloads)
            self.assertIsNone(forward(below, self.frame, self.offload, True))
            self.assertEqual(below.written, [(self.frame, self.offload)])

    def test_anUnfinishedPacketIsFinishedIfTheTransportRefusesIt(self) -> None:
        cut = [(each, None) for each in finish(self.frame, self.offload, 14)]
        self.assertEqual(len(cut), 3)
        for offloads in 0, CSUM:
            below = OffloadPort(offloads)
            self.assertIsNone(forward(below, memoryview(self.frame), self.offload, True))
            self.assertEqual(below.written, cut)

    def test_anIPPacketIsFinished(self) -> None:
        below = OffloadPort(0)
        offload = Offload(NEEDS_CHECKSUM, UDP, 28, 100, 20, 6)
        self.assertIsNone(forward(below, self.frame[14:], offload, False))
        self.assertEqual(
            [each[14:] for each in finish(self.frame, self.offload, 14)], [data for data, _ in below.written]
        )

    def test_aContradictoryRecordIsADropAndNotWritten(self) -> None:
        below = OffloadPort(0)
        for offload, drop in (
            (Offload(NEEDS_CHECKSUM, UDP, 42, 0, 34, 6), Drop.OFFLOAD),
            (Offload(NEEDS_CHECKSUM, 99, 42, 100, 34, 6), Drop.UNKNOWN_OFFLOAD),
            (Offload(NEEDS_CHECKSUM, 0, 0, 0, 60000, 6), Drop.OFFLOAD),
        ):
            self.assertEqual(forward(below, self.frame, offload, True), drop)
        self.assertEqual(below.written, [])
