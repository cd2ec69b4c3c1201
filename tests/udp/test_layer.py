"""
Tests for L{txtuntap.udp.layer}: the datagrams that a L{RawUDPProtocol} receives.
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis.strategies import binary, integers, sampled_from
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.recorders import CarrierRecorder, DatagramRecorder, Oops
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.interfaces import IPacketReceiver
from txtuntap.raw import IRawDatagramProtocol
from txtuntap.rawudp import UDPHeader
from txtuntap.testing import ethernetFrame, ipPacket, udpDatagram, udpPacket
from txtuntap.udp import layer as rawudp
from txtuntap.udp import transport as udptransport
from txtuntap.udp.layer import Peer
from txtuntap.wire import udp

ROUTER_ALERT = b"\x94\x04\0\0"
PADDING = b"\x01\x04\0\0\0\0"
PAIRS = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]
FOUR, SIX = PAIRS


def datagram(
    pair: tuple[str, str] = FOUR,
    payload: bytes = b"payload",
    length: int | None = None,
    check: int | None = None,
    dest: int = 7,
    **fields: Any,
) -> bytes:
    """
    Make a UDP packet. Its UDP length and checksum are right unless others are given.
    """
    data = udpDatagram(*pair, 1234, dest, payload)
    header = UDPHeader(data)
    data = udp.HEADER.pack(
        1234, dest, header.len if length is None else length, header.check if check is None else check
    )
    return ipPacket(*pair, udp.PROTOCOL, data + payload, **fields)


def extended(pair: tuple[str, str], check: int | None = None, payload: bytes = b"payload") -> bytes:
    """
    Make a UDP packet with IP options or an extension header, so that the UDP header is not right behind the addresses.
    """
    if pair is FOUR:
        return datagram(pair, payload, check=check, options=ROUTER_ALERT)
    plain = datagram(pair, payload, check=check)
    return ipPacket(*pair, 60, bytes((udp.PROTOCOL, 0)) + PADDING + plain[40:])


class LayerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **options: Any) -> None:
        self.ip, self.udp = IPProtocol(), RawUDPProtocol(**options)
        self.ip.addProto(udp.PROTOCOL, self.udp)
        self.proto = CarrierRecorder()
        self.udp.addProto(7, self.proto)
        port: Any = object()
        self.ip.makeConnection(port)

    def receive(self, data: bytes, **attributes: Any) -> list[str]:
        """
        Let the layers receive a packet.

        @return: the payload as text if it was delivered, and the name of each counter, once for each increment.
        """
        self.udp.counters.clear()
        del self.proto.received[:]
        self.ip.packetReceived(Packet(data, **attributes))
        self.assertEqual(self.ip.counters, {})
        return [*(data.decode() for data in self.proto.data), *Counter(self.udp.counters).elements()]


class InputTests(LayerTestCase):
    def test_interfaces(self) -> None:
        for interface in (IRawDatagramProtocol, IPacketReceiver):
            self.assertTrue(verifyObject(interface, self.udp))
        self.assertTrue(verifyObject(IUDPTransport, self.proto.transport))

    def test_headerClassIsPublic(self) -> None:
        self.assertIs(UDPHeader, udp.UDPHeader)

    def test_datagramIsDeliveredWithItsSender(self) -> None:
        for pair in PAIRS:
            self.assertEqual(self.receive(datagram(pair)), ["payload"])
            self.assertEqual(self.proto.received, [(b"payload", (pair[0], 1234))])

    def test_senderIsATuple(self) -> None:
        self.receive(datagram())
        host, port = self.proto.received[0][1]
        self.assertEqual((type(host), type(port)), (str, int))

    def test_payloadIsBytes(self) -> None:
        self.receive(datagram())
        self.assertIs(type(self.proto.received[0][0]), bytes)

    def test_emptyDatagramIsDelivered(self) -> None:
        for pair in PAIRS:
            self.assertEqual(self.receive(datagram(pair, b"")), [""])

    @given(sampled_from(PAIRS), integers(0, 0xFFFF), binary(max_size=100))
    def test_anyPayloadIsDelivered(self, pair: tuple[str, str], sourcePort: int, payload: bytes) -> None:
        self.make()
        self.ip.packetReceived(Packet(udpPacket(*pair, sourcePort, 7, payload)))
        self.assertEqual(self.proto.received, [(payload, (pair[0], sourcePort))])

    def test_unusedPortIsCounted(self) -> None:
        for pair in PAIRS:
            self.assertEqual(self.receive(datagram(pair, dest=8)), ["noPorts"])

    def test_optionsAndExtensionHeadersAreSkipped(self) -> None:
        for pair in PAIRS:
            self.assertEqual(self.receive(extended(pair)), ["payload"])
            self.assertEqual(self.proto.received[0][1], (pair[0], 1234))

    def test_unusedPortBehindOptionsIsCounted(self) -> None:
        self.assertEqual(self.receive(datagram(dest=8, options=ROUTER_ALERT)), ["noPorts"])

    def test_twentyOctetsOfOptionsAreNotTakenForIPv6(self) -> None:
        self.assertEqual(self.receive(datagram(options=b"\x01" * 20)), ["payload"])

    def test_lastPortIsAPort(self) -> None:
        proto = DatagramRecorder()
        self.udp.addProto(0xFFFF, proto)
        self.receive(datagram(dest=0xFFFF))
        self.assertEqual(len(proto.received), 1)

    def test_callOfTwistedPairIsDelivered(self) -> None:
        for pair in PAIRS:
            data = udpDatagram(*pair, 1234, 7, b"payload")
            self.udp.datagramReceived(data, 0, *pair, udp.PROTOCOL, 4, 20, 0, 0, 0, 0, 0, 0, 63)
            self.assertEqual(self.proto.received.pop(), (b"payload", (pair[0], 1234)))
            self.assertEqual(self.proto.packets.pop().hopLimit, 63)

    def test_callOfTwistedPairWithoutIPAddressesIsDelivered(self) -> None:
        data = udp.HEADER.pack(1234, 7, 15, 0) + b"payload"
        self.udp.datagramReceived(data + b"pad", 0, "somewhere", "here")
        self.assertEqual(self.proto.received, [(b"payload", ("somewhere", 1234))])


class LengthTests(LayerTestCase):
    def test_octetsBeyondTheLengthAreCutOff(self) -> None:
        data = udpDatagram(*FOUR, 1234, 7, b"payload") + b"more"
        self.assertEqual(self.receive(ipPacket(*FOUR, udp.PROTOCOL, data)), ["payload"])

    def test_lengthUnderTheHeader(self) -> None:
        for pair in PAIRS:
            for length in range(8):
                self.assertEqual(self.receive(datagram(pair, length=length)), ["inErrors"])

    def test_lengthBeyondTheDatagram(self) -> None:
        for pair in PAIRS:
            self.assertEqual(self.receive(datagram(pair, length=16)), ["inErrors"])

    def test_paddingOfTheFrameIsNotPartOfTheDatagram(self) -> None:
        self.assertEqual(self.receive(datagram(length=16) + b"pad"), ["inErrors"])

    def test_datagramShorterThanItsHeaderIsDropped(self) -> None:
        for pair in PAIRS:
            for length in range(8):
                self.assertEqual(self.receive(ipPacket(*pair, udp.PROTOCOL, bytes(length))), ["inErrors"])

    def test_partialDatagramIsDropped(self) -> None:
        self.assertEqual(self.receive(datagram()[:-1], partial=True), ["inErrors"])

    def test_shortDatagramFromTwistedPairIsDropped(self) -> None:
        for host in ("10.0.0.1", "somewhere"):
            self.udp.counters.clear()
            self.udp.datagramReceived(b"1234567", 0, host, host)
            self.assertEqual(self.udp.counters, {"inErrors": 1})


class ChecksumTests(LayerTestCase):
    def test_wrongChecksum(self) -> None:
        for pair in PAIRS:
            for payload in (b"payload", b"even"):
                self.assertEqual(self.receive(datagram(pair, payload, check=0xBEEF)), ["inCsumErrors"])
            self.assertEqual(self.receive(extended(pair, check=0xBEEF)), ["inCsumErrors"])
            self.assertEqual(self.receive(extended(pair, 0xBEEF, b"even")), ["inCsumErrors"])

    def test_rightChecksumOfOddAndEvenPayloads(self) -> None:
        for pair in PAIRS:
            for payload in (b"payload", b"even"):
                self.assertEqual(self.receive(datagram(pair, payload)), [payload.decode()])
                self.assertEqual(self.receive(extended(pair, payload=payload)), [payload.decode()])

    def test_changedPayloadIsFound(self) -> None:
        for pair in PAIRS:
            self.assertEqual(self.receive(datagram(pair)[:-1] + b"?"), ["inCsumErrors"])

    def test_addressesAreCovered(self) -> None:
        for sent, received in ((FOUR, ("10.0.0.1", "10.0.0.3")), (SIX, ("fd00::1", "fd00::3"))):
            data = ipPacket(*received, udp.PROTOCOL, udpDatagram(*sent, 1234, 7, b"payload"))
            self.assertEqual(self.receive(data), ["inCsumErrors"])

    def test_paddingIsNotCovered(self) -> None:
        for pair in PAIRS:
            data = udpDatagram(*pair, 1234, 7, b"payload") + b"more"
            self.assertEqual(self.receive(ipPacket(*pair, udp.PROTOCOL, data) + b"pad"), ["payload"])

    def test_noChecksumOverIPv4(self) -> None:
        self.assertEqual(self.receive(datagram(FOUR, check=0)), ["payload"])
        self.assertEqual(self.receive(extended(FOUR, check=0)), ["payload"])

    def test_noChecksumOverIPv6(self) -> None:
        self.assertEqual(self.receive(datagram(SIX, check=0)), ["inErrors"])
        self.assertEqual(self.receive(extended(SIX, check=0)), ["inErrors"])

    def test_verificationCanBeTurnedOff(self) -> None:
        self.make(verifyChecksum=False)
        for pair in PAIRS:
            for check in (0, 0xBEEF):
                self.assertEqual(self.receive(datagram(pair, check=check)), ["payload"])
                self.assertEqual(self.receive(extended(pair, check=check)), ["payload"])

    def test_checksumFromTwistedPairIsVerified(self) -> None:
        data = udp.HEADER.pack(1234, 7, 15, 0xBEEF) + b"payload"
        self.udp.datagramReceived(data, 0, *FOUR)
        self.assertEqual(self.udp.counters, {"inCsumErrors": 1})


class PacketTests(LayerTestCase):
    """
    The attribute C{packet} of the transport, during a delivery.
    """

    def test_packetHasDestinationHopLimitAndTime(self) -> None:
        for pair in PAIRS:
            self.receive(datagram(pair, hopLimit=9), time=5.5)
            packet = self.proto.packets.pop()
            self.assertEqual((packet.dest, packet.hopLimit, packet.time, packet.linkSource), (pair[1], 9, 5.5, None))

    def test_packetIsThatOfEachDatagram(self) -> None:
        for hopLimit in (9, 8, 7):
            self.receive(datagram(hopLimit=hopLimit))
        self.assertEqual([packet.hopLimit for packet in self.proto.packets], [9, 8, 7])

    def test_packetHoldsThePayload(self) -> None:
        self.receive(datagram() + b"pad")
        self.assertEqual(bytes(self.proto.packets[0]), b"payload")

    def test_packetHasTheLinkSource(self) -> None:
        ethernet = EthernetProtocol()
        ethernet.addProto(0x0800, self.ip)
        ethernet.packetReceived(Packet(ethernetFrame(b"peer--", b"\x02own--", 0x0800, datagram())))
        self.assertEqual(self.proto.packets[0].linkSource, b"peer--")

    def test_packetIsSetOnlyDuringDelivery(self) -> None:
        self.assertIsNone(self.proto.transport.packet)
        for failing in (set(), {"receive"}):
            self.proto.failing = failing
            for _ in range(2):
                self.receive(datagram())
                self.assertIsNone(self.proto.transport.packet)
        self.flushLoggedErrors(Oops)

    def test_packetIsSetForAProtocolUnderTwoPorts(self) -> None:
        self.udp.addProto(9, self.proto)
        for dest in (7, 9):
            self.receive(datagram(dest=dest))
            packet = self.proto.packets.pop()
            self.assertEqual(UDPHeader(packet.data[packet.transport :]).dest, dest)


class SeveralTests(LayerTestCase):
    def test_allUnderAPortGetTheDatagram(self) -> None:
        other = DatagramRecorder()
        self.udp.addProto(7, other)
        for data in (datagram(), extended(FOUR), datagram(SIX)):
            self.assertEqual(self.receive(data), ["payload"])
        self.assertEqual(other.data, [b"payload"] * 3)

    def test_raisingProtocolDoesNotStopDeliveryToOthers(self) -> None:
        self.proto.failing.add("receive")
        other = DatagramRecorder()
        self.udp.addProto(7, other)
        self.assertEqual(self.receive(datagram()), ["payload", "protocolFailures"])
        self.assertEqual(len(other.received), 1)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_raisingIsLoggedOnceASecondAndCounted(self) -> None:
        self.proto.failing.add("receive")
        for pair in PAIRS:
            for time, logged in ((5.0, 1), (5.5, 0), (5.9, 0), (6.0, 1), (6.9, 0)):
                when = time if pair is FOUR else time + 100
                self.assertEqual(self.receive(datagram(pair), time=when), ["payload", "protocolFailures"])
                self.assertEqual(len(self.flushLoggedErrors(Oops)), logged, when)

    def test_protocolAddedLaterGetsKnownFlows(self) -> None:
        self.receive(datagram())
        other = DatagramRecorder()
        self.udp.addProto(7, other)
        self.receive(datagram())
        self.assertEqual(len(other.received), 1)

    def test_removedProtocolGetsNothing(self) -> None:
        self.receive(datagram())
        self.udp.removeProto(7, self.proto)
        self.assertEqual(self.receive(datagram()), ["noPorts"])
        self.assertEqual(self.udp.udpProtos, {})
        self.assertIsNone(self.proto.transport)


class AddProtoTests(LayerTestCase):
    def test_protocolsAreListedByPort(self) -> None:
        other = DatagramRecorder()
        self.udp.addProto(7, other)
        self.assertEqual(self.udp.udpProtos, {7: [self.proto, other]})

    def test_portMustFitSixteenBits(self) -> None:
        with self.assertRaises(TypeError) as raised:
            self.udp.addProto(0x10000, DatagramRecorder())
        self.assertIn("16 bits", str(raised.exception))

    def test_portMustNotBeNegative(self) -> None:
        with self.assertRaises(TypeError) as raised:
            self.udp.addProto(-1, DatagramRecorder())
        self.assertIn("positive", str(raised.exception))

    def test_protocolMustBeADatagramProtocol(self) -> None:
        for wrong in (object(), RawUDPProtocol(), DatagramProtocol):
            with self.assertRaises(TypeError) as raised:
                self.udp.addProto(8, wrong)
            self.assertIn("DatagramProtocol", str(raised.exception))
        self.assertEqual(list(self.udp.udpProtos), [7])

    def test_removingWhatWasNotAddedIsAValueError(self) -> None:
        self.assertRaises(ValueError, self.udp.removeProto, 8, self.proto)
        self.assertRaises(ValueError, self.udp.removeProto, 7, DatagramRecorder())


class BoundTests(LayerTestCase):
    def rememberedPeers(self) -> int:
        """
        Count the L{Peer} objects that are still referenced.
        """
        del self.proto.received[:], self.proto.packets[:]
        gc.collect()
        return sum(type(thing) is Peer for thing in gc.get_objects())

    def test_numberOfRememberedSendersIsBounded(self) -> None:
        before = self.rememberedPeers()
        self.patch(rawudp, "MAX_FLOWS", 8)
        self.patch(udptransport, "MAX_PEERS", 4)
        self.make()
        for port in range(100):
            self.ip.packetReceived(Packet(udpPacket(*FOUR, port, 7, b"")))
        self.assertLessEqual(self.rememberedPeers() - before, 8 + 4)
        self.assertGreaterEqual(self.rememberedPeers() - before, 8)

    def test_evictedFlowsAreFreedAtOnce(self) -> None:
        before = self.rememberedPeers()
        self.patch(rawudp, "MAX_FLOWS", 8)
        self.patch(udptransport, "MAX_PEERS", 4)
        self.make()
        gc.disable()
        try:
            for port in range(100):
                self.ip.packetReceived(Packet(udpPacket(*FOUR, port, 7, b"")))
                del self.proto.received[:], self.proto.packets[:]
            peers = sum(type(thing) is Peer for thing in gc.get_objects())
        finally:
            gc.enable()
        self.assertLessEqual(peers - before, 8 + 4)

    def test_tablesTellHowFullTheyAre(self) -> None:
        for port in range(3):
            self.ip.packetReceived(Packet(udpPacket(*FOUR, port, 7, b"")))
        sizes = {table.name: table.size for table in self.udp.tables()}
        self.assertEqual(sizes, {"flows": 3, "written": 0, "answered": 0, "peers": 3})

    def test_datagramsOfEvictedSendersAreDelivered(self) -> None:
        self.patch(rawudp, "MAX_FLOWS", 2)
        self.patch(udptransport, "MAX_PEERS", 1)
        self.make()
        for port in (1, 2, 3, 1, 2, 3):
            self.ip.packetReceived(Packet(udpPacket(*FOUR, port, 7, b"")))
        self.assertEqual([port for data, (host, port) in self.proto.received], [1, 2, 3, 1, 2, 3])

    def test_stoppingForgetsAllSenders(self) -> None:
        before = self.rememberedPeers()
        self.receive(datagram())
        self.ip.doStop()
        self.assertEqual(self.rememberedPeers(), before)
