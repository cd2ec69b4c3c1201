"""
Tests for devices that refuse unfinished packets, have no room for them, or have few features.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher

from tests.offload.case import ALL, PEER, OffloadTestCase, SuperframeRecorder
from tests.recorders import CarrierRecorder, SuperpacketRecorder
from tests.superpackets import ACK, superpacket, udpSuperpacket
from txtuntap import RawUDPProtocol
from txtuntap.device.refusals import MAX_REFUSALS
from txtuntap.testing import TAP, TUN, MemoryDevice
from txtuntap.wire.offload import CSUM, ECN, NONE, TCP4, TSO4, TSO6, TSO_ECN, USO, Offload, countPackets, finish


class NoRoomTests(OffloadTestCase):
    def test_aPacketThatTheKernelHasNoRoomForIsDroppedAndCounted(self) -> None:
        self.host()
        errors = [errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC]

        def full(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            raise OSError(errors.pop(), "no room")

        send, self.device.send = self.device.send, full  # type: ignore[method-assign]
        for count in 3, 6, 9, 12:
            with self.transport.batch():
                for _ in range(3):
                    self.transport.write(b"hello", (PEER[4], 4000))
            self.assertEqual(self.port.counters["outDiscards"], count)
        self.device.send = send  # type: ignore[method-assign]
        self.transport.write(b"later", (PEER[4], 4000))
        self.assertEqual(self.payloads(), [b"later"])


class RefusedTests(OffloadTestCase):
    """
    Tests with a kernel that refuses unfinished packets, although its device offers the offload features.

    @ivar refuses: the offload features whose packets the kernel refuses.
    @ivar tries: the offload features of each packet that was given to the kernel.
    """

    def setUp(self) -> None:
        super().setUp()
        self.error = errno.EINVAL
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.make(USO)

    def make(self, refuses: int, mode: int = TUN) -> None:
        """
        Make a device whose kernel refuses some features, and a port on it.
        """
        self.refuses = refuses
        self.tries: list[int] = []
        self.device = MemoryDevice(mode, features=ALL)
        self.send = self.device.send
        self.device.send = self.maySend  # type: ignore[method-assign]
        self.on(SuperframeRecorder() if mode == TAP else SuperpacketRecorder())

    def maySend(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        features = 0 if offload is None else offload.features
        self.tries.append(features)
        if features & self.refuses:
            raise OSError(self.error, "refused")
        return self.send(buffers, offload)

    def write(self, *packets: tuple[bytes, Offload]) -> None:
        for packet, offload in packets:
            self.port.writePacket([packet[:9], packet[9:]], offload)

    def warnings(self) -> list[LogEvent]:
        return [event for event in self.events if event["log_level"] == LogLevel.warn]

    def test_aRefusedSuperpacketIsSentAsSegments(self) -> None:
        for number, self.error in enumerate((errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP), 1):
            packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
            self.device.sent.clear()
            self.write((packet, offload))
            self.assertEqual(self.device.sent, finish(packet, offload))
            counters = self.port.counters
            self.assertEqual((counters["outRefusedOffloads"], counters["outPackets"]), (number, 3 * number))
            self.assertEqual((counters["outErrors"], counters["outSuperpackets"]), (0, 0))
        self.assertEqual(counters["outOctets"], 3 * (3 * 28 + 5))

    def test_afterAFewRefusalsTheFeatureIsWithdrawn(self) -> None:
        packet = udpSuperpacket(4, b"12", b"34", b"5")
        for count in range(1, MAX_REFUSALS + 3):
            self.write(packet)
            self.assertEqual(bool(self.port.offloads & USO), count < MAX_REFUSALS)
        self.assertEqual(self.port.offloads, ALL & ~USO)
        self.assertEqual(self.tries.count(CSUM | USO), MAX_REFUSALS)
        self.assertEqual(len(self.device.sent), 3 * (MAX_REFUSALS + 2))
        self.assertEqual(self.port.counters["outRefusedOffloads"], MAX_REFUSALS)
        (event,) = self.warnings()
        self.assertIn("has refused 4 unfinished packets", formatEvent(event))

    def test_otherFeaturesAreNotWithdrawn(self) -> None:
        tcp, offload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
        self.write(*[udpSuperpacket(4, b"12", b"34", b"5")] * MAX_REFUSALS, (tcp, offload))
        self.assertEqual(self.device.superpackets, [(tcp, offload)])

    def test_aRefusedTCPFeatureIsWithdrawn(self) -> None:
        for kind, refused in (TCP4, TSO4), (TCP4 | ECN, TSO_ECN):
            self.make(refused)
            packet, offload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
            offload = replace(offload, type=kind)
            self.write(*[(packet, offload)] * MAX_REFUSALS)
            self.assertEqual(self.device.sent, finish(packet, offload) * MAX_REFUSALS)
            self.assertEqual(self.port.offloads, ALL & ~refused)

    def test_refusedOpenChecksumsAreWithdrawn(self) -> None:
        self.make(CSUM)
        packet, offload = udpSuperpacket(4, b"12345")
        offload = replace(offload, type=NONE, size=0)
        for _ in range(MAX_REFUSALS + 1):
            self.write((packet, offload))
        self.assertEqual(self.device.sent, finish(packet, offload) * (MAX_REFUSALS + 1))
        self.assertEqual((self.port.offloads, self.tries.count(CSUM)), (0, MAX_REFUSALS))

    def test_aFeatureThatHasWorkedIsNotWithdrawn(self) -> None:
        # Otherwise, a peer of a tunnel could turn off a feature for all by sending packets that the kernel refuses.
        packet = udpSuperpacket(4, b"12", b"34", b"5")
        self.make(0)
        self.write(packet)
        self.refuses = USO
        self.write(*[packet] * (3 * MAX_REFUSALS))
        self.assertEqual((self.port.offloads, self.warnings()), (ALL, []))
        self.assertEqual(self.port.counters["outRefusedOffloads"], 3 * MAX_REFUSALS)
        self.assertEqual(self.port.counters["outPackets"], 3 * (3 * MAX_REFUSALS + 1))

    def test_aPacketThatIsRefusedAlsoWhenFinishedIsAnError(self) -> None:
        def refuse(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            raise OSError(errno.EINVAL, "refused")

        self.device.send = refuse  # type: ignore[method-assign]
        self.write(*[udpSuperpacket(4, b"12", b"34", b"5")] * (2 * MAX_REFUSALS))
        self.assertEqual((self.port.offloads, self.warnings()), (ALL, []))
        self.assertEqual(self.port.counters["outErrors"], 3 * 2 * MAX_REFUSALS)

    def test_aForgedRecordThatIsRefusedIsAnError(self) -> None:
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        self.write((packet, replace(offload, size=0)))
        self.assertEqual((self.device.sent, self.port.counters["outErrors"]), ([], 1))

    def test_afterALinkErrorThePacketIsNotSentAgain(self) -> None:
        for self.error, name in (errno.EIO, "outLinkDown"), (errno.ENOBUFS, "outDiscards"):
            self.tries.clear()
            self.write(udpSuperpacket(4, b"12", b"34", b"5"))
            self.assertEqual(self.port.counters[name], 3)
            self.assertEqual(self.tries, [CSUM | USO])
        self.assertEqual(self.port.counters["outRefusedOffloads"], 0)

    def test_aKernelThatTakesFewerDatagramsGetsSmallerSuperpackets(self) -> None:
        def few(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            if countPackets(buffers, offload)[0] > 64:
                raise OSError(errno.EINVAL, "more than UDP_MAX_SEGMENTS, before Linux 6.9")
            return self.send(buffers, offload)

        self.device.send = few  # type: ignore[method-assign]
        for count, last, pieces in (128, b"12", [64, 64]), (65, b"1", [64]), (64, b"1", [64]), (100, b"1", [64, 36]):
            self.device.sent.clear()
            self.device.superpackets.clear()
            packet, offload = udpSuperpacket(4, *[b"12"] * (count - 1), last)
            self.write((packet, offload))
            self.assertEqual(self.device.sent, finish(packet, offload))
            self.assertEqual([countPackets([each], left)[0] for each, left in self.device.superpackets], pieces)
        self.assertEqual((self.port.offloads, self.port.counters["outErrors"]), (ALL, 0))

    def test_aRestartedPortUsesTheFeatureAgain(self) -> None:
        packet = udpSuperpacket(4, b"12", b"34", b"5")
        self.write(*[packet] * MAX_REFUSALS)
        self.port.stopListening()
        self.clock.advance(0)
        self.refuses = 0
        self.port.startListening()
        self.write(packet)
        self.assertEqual((self.port.offloads, len(self.device.superpackets)), (ALL, 1))

    def test_aHostSendsNoSuperpacketsAfterWithdrawal(self) -> None:
        self.port.stopListening()
        self.clock.advance(0)
        self.host()
        for count in range(1, MAX_REFUSALS + 3):
            self.tries.clear()
            with self.transport.batch():
                for each in b"one", b"two", b"x":
                    self.transport.write(each, (PEER[4], 4000))
            self.assertEqual(self.payloads(), [b"one", b"two", b"x"] * count)
        self.assertEqual(self.tries, [CSUM] * 3)

    def test_aRefusedSuperpacketOnATapIsSentAsSegments(self) -> None:
        self.make(USO, TAP)
        link = bytes(12) + b"\x81\0\0\x05\x08\0"
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5", link=link)
        self.write((packet, offload))
        self.assertEqual(self.device.sent, finish(packet, offload, len(link)))


class LittleOffloadTests(OffloadTestCase):
    """
    Tests with a kernel that has no USO, or no offload at all.
    """

    def test_datagramsLeaveOneByOne(self) -> None:
        for features in CSUM | TSO4 | TSO6, 0:
            self.device = MemoryDevice(TUN, features=features)
            self.proto = CarrierRecorder(then=lambda data, addr: self.transport.write(data, addr))
            self.host()
            self.deliver(udpSuperpacket(4, b"first", b"other", b"last"))
            with self.transport.batch():
                for _ in range(3):
                    self.transport.write(b"hello", (PEER[4], 4000))
            self.assertEqual(self.payloads(), [b"first", b"other", b"last", b"hello", b"hello", b"hello"])
            self.assertEqual(self.device.superpackets, [])

    def test_aBatchOnNoPortDoesNothing(self) -> None:
        udp = RawUDPProtocol()
        udp.addProto(7, self.proto)
        udp.doStart()
        with self.proto.transport.batch():
            pass
