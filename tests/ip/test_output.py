"""
Tests for L{txtuntap.ip.output}: the packets that an L{IPProtocol} sends.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.error import MessageLengthError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.ports import RecordingPort
from tests.recorders import PacketRecorder, PlainPacketRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet
from txtuntap.interfaces import INeighbours, IRoutes
from txtuntap.ip import IPHeader
from txtuntap.ip.routes import StaticNeighbours, StaticRoutes
from txtuntap.testing import ethernetFrame, ipPacket
from txtuntap.transports import Route
from txtuntap.wire.address import addressText, packAddress
from txtuntap.wire.checksum import onesSum

PROTOCOL = 253
OWN = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
GATEWAY = b"\x02\0\0\0\0\x03"
ADDRESSES = ["10.0.0.2/24", "10.1.0.2/16", "fd00::2/64", "fe80::2/64"]


class WriteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.port = RecordingPort(100)
        self.ip = IPProtocol(ADDRESSES)
        bottom: Any = self.port
        self.ip.makeConnection(bottom)

    def source(self, dest: str) -> str:
        return addressText(self.ip.route(packAddress(dest)).source)

    def test_ipv4Datagram(self) -> None:
        self.ip.write(b"payload", "10.0.0.1", PROTOCOL)
        (data,) = self.port.sent
        header = IPHeader(data)
        self.assertEqual((header.version, header.ihl, header.tot_len, header.ttl), (4, 20, 27, 64))
        self.assertEqual((header.saddr, header.daddr, header.protocol), ("10.0.0.2", "10.0.0.1", PROTOCOL))
        self.assertEqual((onesSum(data[:20]), data[20:]), (0, b"payload"))

    def test_ipv6Datagram(self) -> None:
        self.ip.write(b"payload", "fd00::1", PROTOCOL)
        self.assertEqual(self.port.sent, [ipPacket("fd00::2", "fd00::1", PROTOCOL, b"payload")])

    def test_destinationMayBePacked(self) -> None:
        self.ip.write(b"", packAddress("10.0.0.1"), PROTOCOL, packAddress("10.1.0.2"))
        self.assertEqual(self.port.sent, [ipPacket("10.1.0.2", "10.0.0.1", PROTOCOL, b"")])

    def test_hopLimitMayBeGiven(self) -> None:
        for hopLimit in (0, 1, 255):
            self.ip.write(b"", "10.0.0.1", PROTOCOL, hopLimit=hopLimit)
            self.ip.write(b"", "fd00::1", PROTOCOL, hopLimit=hopLimit)
            self.assertEqual([Packet(data).hopLimit for data in self.port.sent[-2:]], [hopLimit] * 2)

    def test_trafficClass(self) -> None:
        for size in (1, 200):
            for dest in ("10.0.0.1", "fd00::1"):
                del self.port.sent[:]
                self.ip.output(self.ip.route(packAddress(dest)), PROTOCOL, [bytes(size)], trafficClass=0x5A)
                self.assertEqual({Packet(data).trafficClass for data in self.port.sent}, {0x5A})

    def test_trafficClassToOurselves(self) -> None:
        clock = Clock()
        recorder = PlainPacketRecorder()
        ip = IPProtocol(ADDRESSES, clock=clock)
        ip.addProto(PROTOCOL, recorder)
        bottom: Any = self.port
        ip.makeConnection(bottom)
        ip.output(ip.route(packAddress("10.0.0.2")), PROTOCOL, [b""], trafficClass=0x5A)
        clock.advance(0)
        self.assertEqual([packet.trafficClass for packet in recorder.packets], [0x5A])

    def test_fragmentableDatagramHasNoDontFragmentFlag(self) -> None:
        self.ip.output(self.ip.route(packAddress("10.0.0.1")), PROTOCOL, [b"payload"], fragmentable=True)
        header = IPHeader(self.port.sent[0])
        self.assertEqual((header.dont_fragment, header.more_fragments, header.fragment_offset), (False, False, 0))

    def test_datagramThatFitsHasTheDontFragmentFlag(self) -> None:
        self.ip.write(bytes(self.port.mtu - 20), "10.0.0.1", PROTOCOL)
        header = IPHeader(self.port.sent[0])
        self.assertEqual((header.dont_fragment, header.more_fragments, header.fragment_offset), (True, False, 0))

    def test_datagramOverTheMTUIsSentInFragments(self) -> None:
        self.ip.write(bytes(self.port.mtu - 19), "10.0.0.1", PROTOCOL)
        headers = [IPHeader(data) for data in self.port.sent]
        self.assertEqual([header.tot_len for header in headers], [self.port.mtu, 21])
        self.assertEqual([header.more_fragments for header in headers], [True, False])
        self.assertEqual(headers[1].fragment_offset * 8, self.port.mtu - 20)
        self.assertEqual(headers[0].fragment_id, headers[1].fragment_id)
        self.assertFalse(headers[0].dont_fragment)

    def test_datagramOverTheMTUIsSentInFragmentsOverIPv6(self) -> None:
        payload = bytes(range(256)) * 8
        self.ip.write(payload, "fd00::1", PROTOCOL)
        self.assertLessEqual(max(map(len, self.port.sent)), self.port.mtu)
        self.assertEqual({data[6] for data in self.port.sent}, {44})
        self.assertEqual(payload, b"".join(data[48:] for data in self.port.sent))

    def test_fragmentsHaveRandomIdentifications(self) -> None:
        for _ in range(16):
            self.ip.write(bytes(self.port.mtu), "10.0.0.1", PROTOCOL)
        self.assertGreater(len({IPHeader(data).fragment_id for data in self.port.sent}), 8)

    def test_datagramBeyondTheLongestIsAMessageLengthError(self) -> None:
        for dest, longest in (("10.0.0.1", 65515), ("fd00::1", 65535)):
            self.ip.write(bytes(longest), dest, PROTOCOL)
            with self.assertRaises(MessageLengthError) as raised:
                self.ip.write(bytes(longest + 1), dest, PROTOCOL)
            self.assertIn(str(longest + 1), str(raised.exception))

    def test_invalidArgumentsAreAValueError(self) -> None:
        self.assertRaises(ValueError, self.ip.write, b"", "somewhere", PROTOCOL)
        self.assertRaises(ValueError, self.ip.write, b"", "10.0.0.1", PROTOCOL, "somewhere")
        for number in (-1, 256):
            self.assertRaises(ValueError, self.ip.write, b"", "10.0.0.1", number)
            self.assertRaises(ValueError, self.ip.write, b"", "10.0.0.1", PROTOCOL, None, number)
        self.assertEqual(self.port.sent, [])

    def test_sourceOfAnotherVersionIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            self.ip.write(b"", "10.0.0.1", PROTOCOL, "fd00::2")
        self.assertIn("fd00::2", str(raised.exception))

    def test_groupIsNeverASource(self) -> None:
        for source, dest in (("224.0.0.1", "10.0.0.1"), ("10.0.0.255", "10.0.0.1"), ("ff02::1", "fd00::1")):
            self.assertRaises(ValueError, self.ip.write, b"", dest, PROTOCOL, source)

    def test_writingOnNoPortIsARuntimeError(self) -> None:
        with self.assertRaises(RuntimeError) as raised:
            IPProtocol(ADDRESSES).write(b"", "10.0.0.1", PROTOCOL)
        self.assertIn("TuntapPort", str(raised.exception))

    def test_outputOnNoPortIsCounted(self) -> None:
        ip = IPProtocol()
        ip.output(Route(packAddress("10.0.0.2"), packAddress("10.0.0.1")), PROTOCOL, [b""])
        self.assertEqual(ip.counters, {"outDiscards": 1})

    def test_noSourceAddressIsAnError(self) -> None:
        bottom: Any = self.port
        for addresses, dest in ((None, "10.0.0.1"), (["10.0.0.2/24"], "fd00::1"), (["fd00::2/64"], "10.0.0.1")):
            ip = IPProtocol(addresses)
            ip.makeConnection(bottom)
            with self.assertRaises(OSError) as raised:
                ip.write(b"", dest, PROTOCOL)
            self.assertEqual(raised.exception.errno, errno.EADDRNOTAVAIL)
            self.assertIn("addresses=", str(raised.exception))

    def test_sourceIsTheOneInTheDestinationsNetwork(self) -> None:
        self.assertEqual([self.source(dest) for dest in ("10.0.0.1", "10.1.2.3")], ["10.0.0.2", "10.1.0.2"])
        self.assertEqual([self.source(dest) for dest in ("fd00::1", "fe80::1")], ["fd00::2", "fe80::2"])

    def test_sourceIsOtherwiseTheFirstOfItsVersion(self) -> None:
        self.assertEqual([self.source(dest) for dest in ("8.8.8.8", "2001:db8::1")], ["10.0.0.2", "fd00::2"])

    def test_smallestNetworkWins(self) -> None:
        ip = IPProtocol(["10.0.0.2/8", "10.0.0.3/24"])
        self.assertEqual(ip.sourceFor(packAddress("10.0.0.1")), packAddress("10.0.0.3"))

    def test_mtuIsThatOfTheTransport(self) -> None:
        self.assertEqual((self.ip.mtu, IPProtocol().mtu), (100, 1500))


class WriteOnEthernetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.port = RecordingPort(100)
        self.ethernet = EthernetProtocol(OWN)
        self.routes, self.neighbours = StaticRoutes(), StaticNeighbours()
        self.ip = IPProtocol(ADDRESSES, routes=self.routes, neighbours=self.neighbours)
        self.ethernet.addProto(0x0800, self.ip)
        self.ethernet.addProto(0x86DD, self.ip)
        bottom: Any = self.port
        self.ethernet.makeConnection(bottom)

    def station(self, dest: str) -> bytes:
        self.ip.write(b"", dest, PROTOCOL)
        return self.port.sent[-1][:6]

    def error(self, dest: str) -> OSError:
        with self.assertRaises(OSError) as raised:
            self.ip.write(b"", dest, PROTOCOL)
        error: OSError = raised.exception
        return error

    def test_frameIsSentToTheStationOfTheNeighbour(self) -> None:
        for etherType, source, dest in ((0x0800, "10.0.0.2", "10.0.0.1"), (0x86DD, "fd00::2", "fd00::1")):
            self.neighbours.add(dest, PEER)
            self.ip.write(b"payload", dest, PROTOCOL)
            expected = ethernetFrame(OWN, PEER, etherType, ipPacket(source, dest, PROTOCOL, b"payload"))
            self.assertEqual(self.port.sent[-1], expected)

    def test_datagramByAGatewayIsSentToItsStation(self) -> None:
        self.neighbours.add("10.0.0.1", GATEWAY)
        self.routes.add("0.0.0.0/0", "10.0.0.1")
        self.assertEqual(self.station("8.8.8.8"), GATEWAY)

    def test_neighbourNeedsNoRoute(self) -> None:
        self.neighbours.add("192.0.2.1", PEER)
        self.assertEqual(self.station("192.0.2.1"), PEER)

    def test_groupsAndBroadcastsNeedNoNeighbour(self) -> None:
        self.assertEqual(self.station("224.0.0.251"), b"\x01\0\x5e\0\0\xfb")
        self.assertEqual(self.station("ff02::1:ff00:1"), b"\x33\x33\xff\0\0\x01")
        self.assertEqual(self.station("255.255.255.255"), b"\xff" * 6)
        self.assertEqual(self.station("10.0.0.255"), b"\xff" * 6)

    def test_noRouteIsAnError(self) -> None:
        error = self.error("8.8.8.8")
        self.assertEqual(error.errno, errno.ENETUNREACH)
        self.assertIn("routes.add", str(error))

    def test_noNeighbourIsAnError(self) -> None:
        error = self.error("10.0.0.1")
        self.assertEqual(error.errno, errno.EHOSTUNREACH)
        self.assertIn("neighbours.add", str(error))

    def test_noNeighbourForTheGatewayNamesTheGateway(self) -> None:
        self.routes.add("0.0.0.0/0", "10.0.0.1")
        error = self.error("8.8.8.8")
        self.assertEqual(error.errno, errno.EHOSTUNREACH)
        self.assertIn("10.0.0.1", str(error))

    def test_liveTablesMayBeGiven(self) -> None:
        @implementer(IRoutes, INeighbours)
        class Tables:
            resolves = False

            def hold(self, address: bytes, send: Callable[[bytes], None], octets: int) -> None:
                raise NotImplementedError

            def lookup(self, address: bytes) -> bytes | None:
                return {packAddress("8.8.8.8"): packAddress("9.9.9.9"), packAddress("9.9.9.9"): PEER}.get(address)

        ip = IPProtocol(ADDRESSES, routes=Tables(), neighbours=Tables())
        bottom: Any = self.ethernet
        ip.makeConnection(bottom)
        self.assertEqual(ip.route(packAddress("8.8.8.8")).station, PEER)

    def test_networksOfOurAddressesAreRoutes(self) -> None:
        self.assertEqual(self.routes.lookup(packAddress("10.1.2.3")), packAddress("10.1.2.3"))
        self.assertIsNone(self.routes.lookup(packAddress("10.2.2.3")))


class AnswerTests(SynchronousTestCase):
    """
    Answers of a raw protocol: datagrams that it writes to the sender of a packet while that packet is delivered to it.
    """

    def setUp(self) -> None:
        self.port, self.other = RecordingPort(100), RecordingPort(100)

    def answered(self, data: bytes, *addresses: str, tap: bool = False, source: str | None = None) -> list[bytes]:
        """
        Let a layer receive a packet, whose protocol answers it. An exception of the protocol fails the test.

        @param data: the packet, or the frame if C{tap}.
        @param addresses: the addresses of the layer.
        @param tap: whether the layer is on Ethernet.
        @param source: the source address that the protocol passes to C{write}.

        @return: the packets or frames that the layer has sent.
        """
        ip = IPProtocol(addresses or None)
        proto = PacketRecorder(then=lambda packet: proto.transport.write(b"answer", packet.source, PROTOCOL, source))
        ip.addProto(PROTOCOL, proto)
        bottom: Any = self.port
        if tap:
            ethernet = EthernetProtocol()
            ethernet.addProto(0x0800, ip)
            ethernet.addProto(0x0800, ip, vlan=5)
            ethernet.makeConnection(bottom)
            ethernet.packetReceived(Packet(data, port=self.other))
        else:
            ip.makeConnection(bottom)
            ip.packetReceived(Packet(data, port=self.other))
        self.assertEqual(ip.counters["protocolFailures"], len(self.flushLoggedErrors()), "at most one was logged")
        self.assertEqual(ip.counters["protocolFailures"], 0, "the protocol's write raised")
        self.assertEqual(self.port.sent, [], "an answer goes to the port the packet came from")
        return self.other.sent

    def question(self, source: str = "10.0.0.1", dest: str = "10.0.0.2") -> bytes:
        return ipPacket(source, dest, PROTOCOL, b"question")

    def test_answerIsSentOnATun(self) -> None:
        expected = [ipPacket("10.0.0.2", "10.0.0.1", PROTOCOL, b"answer")]
        self.assertEqual(self.answered(self.question()), expected)

    def test_answerOnATapIsSentToTheStationThatAsked(self) -> None:
        sent = self.answered(ethernetFrame(PEER, OWN, 0x0800, self.question()), tap=True)
        self.assertEqual(
            sent, [ethernetFrame(OWN, PEER, 0x0800, ipPacket("10.0.0.2", "10.0.0.1", PROTOCOL, b"answer"))]
        )

    def test_answerInAVLANIsTagged(self) -> None:
        sent = self.answered(ethernetFrame(PEER, OWN, 0x0800, self.question(), vlan=5), tap=True)
        self.assertEqual(sent[0][:18], ethernetFrame(OWN, PEER, 0x0800, b"", vlan=5))

    def test_sourceMayBeGiven(self) -> None:
        sent = self.answered(self.question(), *ADDRESSES, source="10.1.0.2")
        self.assertEqual(sent, [ipPacket("10.1.0.2", "10.0.0.1", PROTOCOL, b"answer")])

    def test_sourceOfAnotherVersionIsAValueError(self) -> None:
        errors = []
        ip = IPProtocol()

        def answer(packet: Packet) -> None:
            try:
                ip.write(b"answer", packet.source, PROTOCOL, "fd00::2")
            except ValueError as e:
                errors.append(e)

        ip.addProto(PROTOCOL, PacketRecorder(then=answer))
        bottom: Any = self.port
        ip.makeConnection(bottom)
        ip.packetReceived(Packet(self.question(), port=self.port))
        self.assertEqual((len(errors), self.port.sent), (1, []))

    def test_senderWithoutAnAddressIsNotAnswered(self) -> None:
        data = self.question("0.0.0.0", "255.255.255.255")
        self.assertEqual(self.answered(data, *ADDRESSES), [])

    def test_broadcastIsNotAnsweredWithoutAnAddressOfOurs(self) -> None:
        data = ethernetFrame(PEER, b"\xff" * 6, 0x0800, self.question(dest="255.255.255.255"))
        self.assertEqual(self.answered(data, tap=True), [])

    def test_stationThatIsAGroupIsNotAnswered(self) -> None:
        data = ethernetFrame(b"\xff" * 6, OWN, 0x0800, self.question())
        self.assertEqual(self.answered(data, *ADDRESSES, tap=True), [])
