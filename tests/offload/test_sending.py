"""
Tests for superpackets and open checksums that applications send.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.offload.case import ALL, LINK, OWN, PEER, OffloadTestCase
from tests.recorders import CarrierRecorder, SuperpacketRecorder
from tests.superpackets import ACK, superpacket, udpSuperpacket
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, udpPacket
from txtuntap.udp.headers import UDPHeaders
from txtuntap.wire.address import packAddress
from txtuntap.wire.offload import CSUM, NEEDS_CHECKSUM, NONE, TCP4, TSO4, UDP, Offload, finish


class DownTests(OffloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host()
        self.peer = (PEER[4], 4000)

    def echo(self, data: bytes, addr: Any) -> None:
        self.transport.write(data, addr)

    def test_aSuperpacketIsAnsweredWithASuperpacket(self) -> None:
        self.proto.then = self.echo
        for version in 4, 6:
            self.device.sent.clear()
            self.device.superpackets.clear()
            self.deliver(udpSuperpacket(version, b"first", b"other", b"last"))
            self.assertEqual(self.payloads(version), [b"first", b"other", b"last"])
            ((_, offload),) = self.device.superpackets
            self.assertEqual((offload.type, offload.size), (UDP, 5))
        self.assertEqual(self.port.counters["outSuperpackets"], 2)
        self.assertEqual(self.port.counters["outPackets"], 6)

    def test_datagramsOfOneTurnLeaveTogether(self) -> None:
        self.proto.then = self.echo
        single = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None
        self.deliver(*[single] * 10)
        self.assertEqual(self.payloads(), [b"hello"] * 10)
        # The first datagram was not delayed, so the superpacket has nine.
        ((data, _),) = self.device.superpackets
        self.assertEqual(len(data), 28 + 9 * 5)

    def test_theFirstDatagramToEachPeerIsNotDelayed(self) -> None:
        sent = []

        def echo(data: bytes, addr: Any) -> None:
            self.transport.write(data, addr)
            sent.append(len(self.device.sent))

        self.proto.then = echo
        self.deliver(
            (udpPacket(PEER[4], OWN[4], 4000, 7, b"a"), None), (udpPacket(PEER[4], OWN[4], 4001, 7, b"b"), None)
        )
        self.assertEqual(sent, [1, 2])

    def test_outsideOfReadsAndBatchesNoDatagramWaits(self) -> None:
        for number in range(3):
            self.transport.write(b"hello", self.peer)
            self.assertEqual(len(self.device.sent), number + 1)

    def test_theDatagramsOfABatchLeaveAsOneSuperpacket(self) -> None:
        with self.transport.batch():
            for _ in range(5):
                self.transport.write(b"hello", self.peer)
            self.assertEqual(self.device.sent, [])
        self.assertEqual(self.payloads(), [b"hello"] * 5)
        self.assertEqual(len(self.device.superpackets), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_eachSuperpacketHasTheTrafficClassOfItsDatagrams(self) -> None:
        for trafficClass in 0, 2, 3, 0:
            self.device.sent.clear()
            with self.transport.batch():
                for each in trafficClass, trafficClass ^ 1:
                    self.transport.trafficClass = each
                    for _ in range(3):
                        self.transport.write(b"hello", self.peer)
            self.assertEqual(
                [Packet(each).trafficClass for each in self.device.sent],
                [trafficClass] * 3 + [trafficClass ^ 1] * 3,
            )

    def test_eachAnswerHasTheTrafficClassOfItsTime(self) -> None:
        single = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None

        def echo(data: bytes, addr: Any) -> None:
            self.transport.trafficClass = len(self.proto.received) // 4
            self.transport.write(data, addr)

        self.proto.then = echo
        for _ in range(12):
            self.deliver(single)
        self.assertEqual(
            [Packet(each).trafficClass for each in self.device.sent],
            [number // 4 for number in range(1, 13)],
        )

    def test_theDatagramsOfNestedBatchesLeaveWithTheOuterOne(self) -> None:
        with self.transport.batch():
            with self.transport.batch():
                self.transport.write(b"1", self.peer)
            self.transport.write(b"2", self.peer)
            self.assertEqual(self.device.sent, [])
        self.assertEqual(self.payloads(), [b"1", b"2"])

    def test_theDatagramsOfABatchThatRaisesAreSent(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.transport.batch():
            self.transport.write(b"1", self.peer)
            raise ZeroDivisionError
        self.assertEqual(self.payloads(), [b"1"])

    def test_aBatchThatIsLeftOpenEndsWithTheTurn(self) -> None:
        batch = self.transport.batch()
        batch.__enter__()
        self.transport.write(b"1", self.peer)
        self.clock.advance(0)
        self.assertEqual(self.payloads(), [b"1"])
        self.transport.write(b"2", self.peer)
        self.assertEqual(self.payloads(), [b"1", b"2"])
        batch.__exit__(None, None, None)

    def test_aBatchWithinAReadLeavesAsOneSuperpacket(self) -> None:
        def echo(data: bytes, addr: Any) -> None:
            with self.transport.batch():
                for _ in range(3):
                    self.transport.write(data, addr)

        self.proto.then = echo
        self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None))
        self.assertEqual(self.payloads(), [b"hello"] * 3)
        self.assertEqual(len(self.device.superpackets), 1)

    def test_aPortThatStopsWithinABatchSendsItsDatagrams(self) -> None:
        with self.transport.batch():
            self.transport.write(b"1", self.peer)
            self.port.stopListening()
            self.clock.advance(0)
            self.assertEqual(self.payloads(), [b"1"])
        self.assertEqual(self.port.connected, 0)

    def test_aBatchThatIsLeftOpenInAReadEndsWithTheRead(self) -> None:
        def echo(data: bytes, addr: Any) -> None:
            self.transport.batch().__enter__()
            self.transport.write(data, addr)

        self.proto.then = echo
        self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, b"hello"), None))
        self.assertEqual(self.payloads(), [b"hello"])
        self.transport.write(b"later", self.peer)
        self.assertEqual(self.payloads(), [b"hello", b"later"])

    def test_eachAnswerHasTheAskedAddressAsItsSource(self) -> None:
        self._host.ip.addAddress("10.9.0.3/24")
        self.proto.then = self.echo
        asked = ["10.9.0.2", "10.9.0.2", "10.9.0.3", "10.9.0.3", "10.9.0.2", "10.9.0.3"]
        self.deliver(*[(udpPacket(PEER[4], dest, 4000, 7, b"hello"), None) for dest in asked])
        self.assertEqual([Packet(data).source for data in self.device.sent], asked)
        self.device.sent.clear()
        packets = [superpacket(4, UDP, b"hello" * 3, 5, ends=(PEER[4], dest))[:2] for dest in asked]
        self.deliver(*packets)
        self.assertEqual([Packet(data).source for data in self.device.sent], [dest for dest in asked for _ in range(3)])

    def test_eachAnswerHasTheAskedPortAsItsSource(self) -> None:
        self._host.udp.addProto(8, self.proto)
        self.proto.then = self.echo
        asked = [7, 7, 8, 8, 7, 8]
        self.deliver(*[(udpPacket(PEER[4], OWN[4], 4000, port, b"hello"), None) for port in asked])
        self.assertEqual([int.from_bytes(data[20:22], "big") for data in self.device.sent], asked)

    def test_datagramsOfABatchFollowALoweredPathMTU(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(bytes(1000), self.peer)
            self._host.ip.pathNarrowed(packAddress(PEER[4]), 600, 1028, 0.0)
            self.assertEqual(len(self.device.sent), 3)
            for _ in range(3):
                self.transport.write(bytes(1000), self.peer)
        self.assertEqual(len(self.device.sent), 3 + 6)

    def test_datagramsOfABatchFollowAnAddressAddedToTheHost(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(b"hello", self.peer)
            self._host.ip.addAddress(f"{PEER[4]}/24")
            # The datagrams that were written before the change have been sent.
            self.assertEqual(self.payloads(), [b"hello"] * 3)
            for _ in range(3):
                self.transport.write(b"hello", self.peer)
        self.clock.advance(0)
        self.assertEqual(len(self.device.sent), 3)
        self.assertEqual(self._host.udp.counters["noPorts"], 3)

    def test_anArrayIsAcceptedAsADatagram(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(array("H", [0x3131, 0x3131]), self.peer)
        self.assertEqual(self.payloads(), [b"1111"] * 3)

    def test_anExceptionOfTheDeviceIsLoggedOnce(self) -> None:
        def broken(buffers: Sequence[bytes], offload: Offload | None = None) -> int:
            raise ZeroDivisionError

        self.proto.then = self.echo
        self.device.send = broken  # type: ignore[method-assign]
        self.deliver(udpSuperpacket(4, b"1", b"2", b"3"))
        self.assertEqual(self.port.connected, 1)
        self.assertEqual(self.port.counters["inPackets"], 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aShorterDatagramEndsASuperpacket(self) -> None:
        with self.transport.batch():
            for data in b"12", b"34", b"5", b"67", b"89", b"0123", b"45":
                self.transport.write(data, self.peer)
        self.assertEqual(self.payloads(), [b"12", b"34", b"5", b"67", b"89", b"0123", b"45"])
        self.assertEqual([len(data) - 28 for data, _ in self.device.superpackets], [5, 4, 6])

    def test_emptyDatagramsLeaveAlone(self) -> None:
        with self.transport.batch():
            for data in b"", b"12", b"", b"", b"34":
                self.transport.write(data, self.peer)
        self.assertEqual(self.payloads(), [b"", b"12", b"", b"", b"34"])
        self.assertEqual(self.device.superpackets, [])

    def test_datagramsLeaveInTheOrderOfWriting(self) -> None:
        other = CarrierRecorder()
        self._host.listenUDP(8, other)
        with self.transport.batch():
            self.transport.write(b"1", self.peer)
            self.transport.write(b"2", (PEER[4], 4001))
            other.transport.write(b"3", (PEER[4], 4001))
            other.transport.write(b"4", (PEER[4], 4001))
            self.transport.write(b"5", (PEER[4], 4001))
            self.port.writePacket([udpPacket(OWN[4], PEER[4], 7, 9, b"6")])
            self.transport.write(b"7", (PEER[4], 4001))
            self.port.write(udpPacket(OWN[4], PEER[4], 7, 9, b"8"))
            self.transport.write(b"9", (PEER[4], 4001))
        self.assertEqual(b"".join(self.payloads()), b"123456789")

    def test_superpacketsKeepTheBoundsOfTheKernel(self) -> None:
        with self.transport.batch():
            for size, count in (1, 300), (1400, 100), (1472, 50), (600, 120):
                for number in range(count):
                    self.transport.write(bytes([number & 0xFF]) * size, self.peer)
        self.assertEqual([len(data) for data in self.payloads()], [1] * 300 + [1400] * 100 + [1472] * 50 + [600] * 120)
        for data, offload in self.device.superpackets:
            self.assertLessEqual(len(data), 65535)
            self.assertLessEqual(-(-(len(data) - 28) // offload.size), 128)
        self.assertLess(len(self.device.superpackets), 13)

    def test_datagramsLongerThanTheMTUAreFragmented(self) -> None:
        with self.transport.batch():
            for _ in range(2):
                self.transport.write(bytes(1473), self.peer)
        self.assertEqual(len(self.device.sent), 4)
        self.assertEqual(self.device.superpackets, [])

    def test_aBufferMayBeChangedAfterWriting(self) -> None:
        buffer = bytearray(b"one")
        with self.transport.batch():
            self.transport.write(buffer, self.peer)
            self.transport.write(buffer, self.peer)
            buffer[:] = b"two"
            self.transport.write(memoryview(buffer), self.peer)
            buffer[:] = b"six"
        self.assertEqual(self.payloads(), [b"one", b"one", b"two"])

    def test_anInvalidWriteInABatchRaises(self) -> None:
        with self.transport.batch():
            self.transport.write(b"one", self.peer)
            self.assertRaises(TypeError, self.transport.write, "two", self.peer)
            self.assertRaises(ValueError, self.transport.write, b"two", None)
        self.assertEqual(self.payloads(), [b"one"])

    def test_aConnectedTransportBatchesDatagrams(self) -> None:
        self.transport.connect(*self.peer)
        with self.transport.batch():
            self.transport.write(b"1")
            self.transport.write(b"2", self.peer)
            self.transport.write(b"3")
            self.assertRaises(ValueError, self.transport.write, b"4", (PEER[4], 4001))
        self.assertEqual(self.payloads(), [b"1", b"2", b"3"])

    def test_connectingSendsTheDatagramsThatWait(self) -> None:
        with self.transport.batch():
            self.transport.write(b"1", self.peer)
            self.transport.connect(PEER[4], 4001)
            self.assertRaises(ValueError, self.transport.write, b"2", self.peer)
            self.transport.write(b"3")
        self.assertEqual(self.payloads(), [b"1", b"3"])

    def test_answersOfEveryLengthAreTheSameAsWithoutTemplates(self) -> None:
        # The second and later answers to a peer use templates of headers.
        for version in 4, 6:
            self.proto.then = self.echo
            for length in *range(40), 1400, 1452, 1500, 3000, 5:
                self.device.sent.clear()
                self.deliver((udpPacket(PEER[version], OWN[version], 4000, 7, bytes(length)), None))
                if length <= 1452:
                    self.assertEqual(self.payloads(version), [bytes(length)])
                    self.assertEqual(self.device.sent, [udpPacket(OWN[version], PEER[version], 7, 4000, bytes(length))])
                else:
                    self.assertGreater(len(self.device.sent), 1)

    def test_headerTemplatesFollowMTUAndAddresses(self) -> None:
        self.proto.then = self.echo
        question = udpPacket(PEER[4], OWN[4], 4000, 7, bytes(1000)), None
        for _ in range(3):
            self.deliver(question)
        self.assertEqual(len(self.device.sent), 3)
        self.device.mtu = 600
        self.deliver(question)
        self.assertEqual(len(self.device.sent), 5)
        self.device.mtu = 1500
        self._host.ip.addAddress(f"{PEER[4]}/24")
        self.deliver(question)
        self.assertEqual(len(self.device.sent), 5)

    def test_superpacketsOfSeveralTurnsFollowTheMTU(self) -> None:
        self.proto.then = self.echo
        pieces = [bytes([number]) * 500 for number in range(10)]
        for turn in range(6):
            self.device.sent.clear()
            self.device.superpackets.clear()
            if turn == 3:
                self.device.mtu = 500
            elif turn == 4:
                self.device.mtu = 1500
            self.deliver(udpSuperpacket(4, *pieces))
            if turn == 3:
                self.assertEqual((len(self.device.sent), self.device.superpackets), (20, []))
            else:
                self.assertEqual(self.payloads(), pieces)
                self.assertEqual(len(self.device.superpackets), 1)
            # A single datagram is not delayed because of the superpacket before.
            self.deliver((udpPacket(PEER[4], OWN[4], 4000, 7, bytes(500)), None))
            self.assertEqual(len(self.device.superpackets), turn != 3)

    def test_datagramsToTheHostItselfAreDelivered(self) -> None:
        with self.transport.batch():
            for _ in range(3):
                self.transport.write(b"hello", (OWN[4], 7))
        self.clock.advance(0)
        self.assertEqual(self.proto.data, [b"hello"] * 3)
        self.assertEqual(self.device.sent, [])

    def test_packetsThatTheDeviceCannotFinishAreFinished(self) -> None:
        packet, offload = udpSuperpacket(4, b"12", b"34", b"5")
        tcp, tcpOffload, _ = superpacket(4, TCP4, bytes(100), 30, ACK)
        for features, expected in ((ALL, 2), (CSUM | TSO4, 1), (CSUM, 0), (0, 0)):
            self.device = MemoryDevice(TUN, features=features)
            self.on(SuperpacketRecorder())
            self.port.writePacket([packet[:9], packet[9:]], offload)
            self.port.writePacket([tcp], tcpOffload)
            self.assertEqual(self.device.sent, finish(packet, offload) + finish(tcp, tcpOffload))
            self.assertEqual(len(self.device.superpackets), expected)
            self.assertEqual(self.port.counters["outPackets"], 7)


class DownOnEthernetTests(OffloadTestCase):
    mode = TAP

    def test_answersGoBackToTheStation(self) -> None:
        ethernet, ip, udp = EthernetProtocol(LINK[:6]), IPProtocol([f"{OWN[4]}/24"]), RawUDPProtocol()
        ethernet.addProto(0x0800, ip, vlan=5)
        ip.addProto(17, udp)
        self.proto.then = lambda data, addr: self.proto.transport.write(data, addr)
        udp.addProto(7, self.proto)
        self.on(ethernet)
        packet = udpSuperpacket(4, b"first", b"other", b"last", link=LINK + b"\x81\0\0\5\x08\0")
        for _ in range(3):
            self.device.sent.clear()
            self.deliver(packet, packet)
            self.assertEqual(
                [(data[:18], data[46:]) for data in self.device.sent],
                [(LINK[6:] + LINK[:6] + b"\x81\0\0\5\x08\0", each) for each in (b"first", b"other", b"last")] * 2,
            )
        self.assertEqual(len(self.device.superpackets), 6)

    def test_eachAnswerIsSentToTheAskingStation(self) -> None:
        self.host()
        own = self._host.ethernet.linkAddress
        self.proto.then = lambda data, addr: self.proto.transport.write(data, addr)
        stations = [bytes((2, 0, 0, 0, 0, number)) for number in (1, 1, 2, 2, 1, 3)]
        packet = udpPacket(PEER[4], OWN[4], 4000, 7, b"hello")
        self.deliver(*[(ethernetFrame(station, own, 0x0800, packet), None) for station in stations])
        self.assertEqual([data[:6] for data in self.device.sent], stations)

    def test_datagramsOfABatchWaitForTheNeighbour(self) -> None:
        self.host()
        with self.proto.transport.batch():
            for _ in range(3):
                self.proto.transport.write(b"hello", (PEER[4], 4000))
        (request,) = self.device.sent
        self.device.sent.clear()
        own = request[6:12]
        reply = b"\0\1\x08\0\6\4\0\2" + LINK[6:] + packAddress(PEER[4]) + own + packAddress(OWN[4])
        self.deliver((ethernetFrame(LINK[6:], own, 0x0806, reply), None))
        self.assertEqual(self.payloads(), [b"hello"] * 3)


class HeadersTests(OffloadTestCase):
    @given(st.sampled_from([4, 6]), st.integers(0, 1400), st.integers(1, 65535), st.integers(1, 65535))
    def test_templatesGiveTheHeadersOfTheLayers(self, version: int, length: int, source: int, dest: int) -> None:
        self.device = MemoryDevice(TUN, features=ALL)
        self.host()
        ip: Any = self._host.ip
        route = ip.route(packAddress(PEER[version]))
        headers = UDPHeaders(ip, self.port, route, (source, dest))
        self.assertTrue(headers.fit(length))
        data = headers.pack(length) + bytes(length)
        offload = Offload(NEEDS_CHECKSUM, NONE, 0, 0, headers.before, 6)
        expected = udpPacket(OWN[version], PEER[version], source, dest, bytes(length))
        self.assertEqual(finish(data, offload), [expected])
