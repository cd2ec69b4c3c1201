"""
Tests for L{txtuntap.stack.drops} with a recording ICMP layer. L{tests.stack.test_icmp} tests the errors of a host.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import PacketRecorder
from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet
from txtuntap.stack.drops import DropAnswers
from txtuntap.testing import TUN, ipPacket, udpPacket
from txtuntap.wire import icmp

from .link import LinkTestCase

OURS6, THEIRS6 = "fd00::2", "fd00::1"


class RecordingICMP:
    """
    Records the errors instead of sending them.
    """

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def error(self, packet: Packet, kind: int, code: int, rest: int) -> None:
        self.sent.append((kind, code, rest))

    def ownSourceReceived(self, packet: Packet) -> None:
        self.sent.append("own source")


class DropAnswersTests(SynchronousTestCase):
    """
    ICMP errors for dropped packets.
    """

    def setUp(self) -> None:
        self.icmp = RecordingICMP()
        self.answers = DropAnswers(cast(Any, self.icmp), lambda address: address[-1] == 2)

    def answer(self, drop: Drop, data: bytes, start: int = 0, network: int = 0) -> list[Any]:
        """
        Drop a packet for a reason.

        @return: the errors that are sent about C{data}: type, code and second word of the header.
        """
        del self.icmp.sent[:]
        packet = Packet(data, start)
        packet.network = network
        packet.transport = network + (20 if packet.data and packet.version == 4 else 40)
        self.answers.dropped(packet, drop)
        return self.icmp.sent

    def packet(self, version: int, protocol: int = 253) -> bytes:
        """
        Make a datagram behind two octets of another header.
        """
        addresses = ("10.0.0.1", "10.0.0.2") if version == 4 else (THEIRS6, OURS6)
        return bytes(2) + ipPacket(*addresses, protocol, b"payload")

    def test_aPointerCountsFromTheIPHeader(self) -> None:
        self.assertEqual([(12, 0, 22 << 24)], self.answer(Drop.OPTION, self.packet(4), 24, 2))
        self.assertEqual([(4, 2, 42)], self.answer(Drop.OPTION, self.packet(6), 44, 2))
        self.assertEqual([(4, 0, 4)], self.answer(Drop.FRAGMENT, self.packet(6), 6, 2))

    def test_anUnknownProtocolHasAPointerOnlyInIPv6(self) -> None:
        self.assertEqual([(3, 2, 0)], self.answer(Drop.UNKNOWN_PROTOCOL, self.packet(4), 22, 2))
        self.assertEqual([(4, 1, 6)], self.answer(Drop.UNKNOWN_PROTOCOL, self.packet(6), 42, 2))

    def test_noErrorIsSentForNoNextHeader(self) -> None:
        self.assertEqual([], self.answer(Drop.UNKNOWN_PROTOCOL, self.packet(6, 59), 42, 2))

    def test_otherErrorsHaveNoPointer(self) -> None:
        self.assertEqual([(3, 3, 0)], self.answer(Drop.NO_PORT, self.packet(4), 22, 2))
        self.assertEqual([(1, 4, 0)], self.answer(Drop.NO_PORT, self.packet(6), 42, 2))
        self.assertEqual([(3, 1, 0)], self.answer(Drop.REASSEMBLY_TIMEOUT, self.packet(6), 42, 2))

    def test_aDropWithoutAnErrorIsNotAnswered(self) -> None:
        for drop in Drop:
            if not drop.error4:
                self.assertEqual([], self.answer(drop, self.packet(4), 22, 2), drop)
            if not drop.error6:
                self.assertEqual([], self.answer(drop, self.packet(6), 42, 2), drop)

    def test_aPacketFromAnOwnAddressIsCheckedForAConflict(self) -> None:
        data = ipPacket(OURS6, THEIRS6, 58, b"")
        self.assertEqual(["own source"], self.answer(Drop.ADDRESS, data))
        self.assertEqual([], self.answer(Drop.HEADER, data))
        self.assertEqual([], self.answer(Drop.ADDRESS, ipPacket("10.0.0.2", "10.0.0.1", 58, b"")))

    def test_noErrorIsSentForAnEmptyPacket(self) -> None:
        for drop in Drop:
            self.assertEqual([], self.answer(drop, b""), drop)


class RemainingProtocolTests(LinkTestCase):
    """
    The error "protocol unreachable" of a host, beside a protocol for all remaining numbers.
    """

    def test_aProtocolForTheRemainingNumbersStopsTheError(self) -> None:
        self.make(mode=TUN)
        unknown = ipPacket("10.0.0.1", "10.0.0.2", 253, b"payload")
        (answer,) = self.receive(unknown)
        self.assertEqual(tuple(answer[20:22]), (icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE))
        recorder = PacketRecorder()
        self.host.ip.addProto(None, recorder)
        self.assertEqual(self.receive(unknown), [])
        self.assertEqual(recorder.data, [b"payload"])

    def test_aHostKeepsItsOwnProtocols(self) -> None:
        self.make(mode=TUN)
        recorder = PacketRecorder()
        self.host.ip.addProto(None, recorder)
        # The port is closed, and nothing listens on the host.
        (answer,) = self.receive(udpPacket("10.0.0.1", "10.0.0.2", 1234, 7, b"payload"))
        self.assertEqual(tuple(answer[20:22]), (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE))
        self.assertEqual(recorder.packets, [])
