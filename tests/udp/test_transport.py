"""
Tests for L{txtuntap.udp.transport}: the datagrams that applications write.
"""

from __future__ import annotations

import errno
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import RecordingPort
from tests.recorders import DatagramRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol
from txtuntap.ip.routes import StaticNeighbours
from txtuntap.testing import ethernetFrame, udpPacket
from txtuntap.udp import layer as rawudp
from txtuntap.udp import transport as udptransport

OWN = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
OTHER = b"\x02\0\0\0\0\x03"
ADDRESSES = ["10.0.0.2/24", "10.0.0.3/24", "fd00::2/64"]
ASKER = ("10.0.0.1", 1234)


class Recorder(DatagramRecorder):
    """
    A protocol that calls C{getHost} of its transport when it is started. Without a transport, the test fails there.
    """

    def startProtocol(self) -> None:
        super().startProtocol()
        self.transport.getHost()


def question(dest: str = "10.0.0.2", source: str = "10.0.0.1", sourcePort: int = 1234, destPort: int = 7) -> bytes:
    return udpPacket(source, dest, sourcePort, destPort, b"question")


def answer(source: str = "10.0.0.2", dest: str = "10.0.0.1", destPort: int = 1234, sourcePort: int = 7) -> bytes:
    return udpPacket(source, dest, sourcePort, destPort, b"answer")


class TUNTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, addresses: list[str] | None = ADDRESSES) -> None:
        self.port: Any = RecordingPort()
        self.ip, self.udp = IPProtocol(addresses), RawUDPProtocol()
        self.ip.addProto(17, self.udp)
        self.proto = Recorder()
        self.udp.addProto(7, self.proto)
        self.ip.makeConnection(cast(Any, self.port))
        self.transport = self.proto.transport

    def receive(self, data: bytes) -> tuple[str, int]:
        """
        Let the layers receive a packet.

        @return: the sender's address as the protocol gets it.
        """
        self.ip.packetReceived(Packet(data, port=self.port))
        return self.proto.received[-1][1]

    def sent(self) -> list[bytes]:
        """
        Return the packets that were sent since the last call of this method.
        """
        sent = list(self.port.sent)
        del self.port.sent[:]
        return sent


class WriteTests(TUNTestCase):
    def test_ipv4Datagram(self) -> None:
        self.transport.write(b"answer", ASKER)
        self.assertEqual(self.sent(), [answer()])

    def test_ipv6Datagram(self) -> None:
        self.transport.write(b"answer", ("fd00::1", 1234))
        self.assertEqual(self.sent(), [answer("fd00::2", "fd00::1")])

    def test_trafficClassIsThatOfEachDatagram(self) -> None:
        self.assertEqual(self.transport.trafficClass, 0)
        self.transport.trafficClass = 0xB9
        for host in "10.0.0.1", "fd00::1", "224.0.0.5":
            self.transport.write(b"answer", (host, 1234))
            self.assertEqual([Packet(each).trafficClass for each in self.sent()], [0xB9])
        self.transport.write(bytes(4000), ASKER)
        self.assertEqual([Packet(each).trafficClass for each in self.sent()], [0xB9] * 3)
        self.transport.write(b"answer", self.receive(question()))
        self.assertEqual([Packet(each).trafficClass for each in self.sent()], [0xB9])

    def test_noOctetIsNoTrafficClass(self) -> None:
        for wrong in (-1, 256, "1", None, True):
            with self.assertRaises(ValueError) as raised:
                self.transport.trafficClass = wrong
            self.assertIn("0 to 255", str(raised.exception))
        self.assertEqual(self.transport.trafficClass, 0)

    def test_emptyDatagram(self) -> None:
        self.transport.write(b"", ASKER)
        self.assertEqual(self.sent(), [udpPacket("10.0.0.2", "10.0.0.1", 7, 1234, b"")])

    def test_sequenceIsOneDatagram(self) -> None:
        self.transport.writeSequence([b"ans", b"", b"wer"], ASKER)
        self.assertEqual(self.sent(), [answer()])

    def test_missingAddressIsAValueError(self) -> None:
        with self.assertRaises(ValueError) as raised:
            self.transport.write(b"answer")
        self.assertIn("not connected", str(raised.exception))

    def test_scopeOfAnAddressIsIgnored(self) -> None:
        self.transport.write(b"answer", ("fd00::1%tun0", 1234))
        self.transport.connect("fd00::1%tun0", 1234)
        self.transport.write(b"answer")
        self.assertEqual(self.sent(), [answer("fd00::2", "fd00::1")] * 2)

    def test_hostNameIsAnInvalidAddress(self) -> None:
        for host in ("localhost", "", "10.0.0"):
            self.assertRaises(InvalidAddressError, self.transport.write, b"answer", (host, 1234))

    def test_invalidPortIsAValueError(self) -> None:
        wrong: list[Any] = [-1, 0, 65536, "7", None]
        for port in wrong:
            with self.assertRaises(ValueError) as raised:
                self.transport.write(b"answer", ("10.0.0.1", port))
            self.assertIn(repr(port), str(raised.exception))

    def test_datagramBeyondTheLongestIsAMessageLengthError(self) -> None:
        for host, longest in (("10.0.0.1", 65507), ("fd00::1", 65527)):
            self.transport.write(bytes(longest), (host, 1234))
            headers = 20 if longest == 65507 else 48
            self.assertEqual(sum(len(data) - headers for data in self.sent()), longest + 8)
            with self.assertRaises(MessageLengthError) as raised:
                self.transport.write(bytes(longest + 1), (host, 1234))
            self.assertIn(str(longest), str(raised.exception))
        self.assertEqual(self.sent(), [])

    def test_answerBeyondTheLongestIsAMessageLengthError(self) -> None:
        for source, dest, longest in (("10.0.0.1", "10.0.0.2", 65507), ("fd00::1", "fd00::2", 65527)):
            asker = self.receive(question(dest, source))
            self.transport.write(bytes(longest), asker)
            self.assertGreater(len(self.sent()), 40)
            self.assertRaises(MessageLengthError, self.transport.write, bytes(longest + 1), asker)

    def test_noSourceAddressIsAnError(self) -> None:
        self.make(None)
        with self.assertRaises(OSError) as raised:
            self.transport.write(b"answer", ASKER)
        self.assertEqual(raised.exception.errno, errno.EADDRNOTAVAIL)
        self.assertIn("addresses=", str(raised.exception))

    def test_groupsNeedNoPermission(self) -> None:
        self.transport.write(b"answer", ("224.0.0.251", 1234))
        self.transport.write(b"answer", ("ff02::1", 1234))
        addresses = ("10.0.0.2", "224.0.0.251"), ("fd00::2", "ff02::1")
        self.assertEqual(self.sent(), [udpPacket(*each, 7, 1234, b"answer", hopLimit=1) for each in addresses])

    def test_reprNamesProtocolAndPort(self) -> None:
        self.assertIn(repr(self.proto), repr(self.transport))
        self.assertIn("on 7", repr(self.transport))


class BroadcastTests(TUNTestCase):
    def test_broadcastIsRefusedByDefault(self) -> None:
        self.assertIs(self.transport.getBroadcastAllowed(), False)
        for host in ("<broadcast>", "255.255.255.255", "10.0.0.255"):
            with self.assertRaises(OSError) as raised:
                self.transport.write(b"answer", (host, 1234))
            self.assertEqual(raised.exception.errno, errno.EACCES)
            self.assertIn("setBroadcastAllowed", str(raised.exception))

    def test_allowedBroadcastIsSent(self) -> None:
        self.transport.setBroadcastAllowed(True)
        self.assertIs(self.transport.getBroadcastAllowed(), True)
        for host in ("<broadcast>", "255.255.255.255", "10.0.0.255"):
            self.transport.write(b"answer", (host, 1234))
        limited = answer(dest="255.255.255.255")
        self.assertEqual(self.sent(), [limited, limited, answer(dest="10.0.0.255")])

    def test_permissionCanBeTakenBack(self) -> None:
        self.transport.setBroadcastAllowed(True)
        self.transport.setBroadcastAllowed(False)
        self.assertRaises(OSError, self.transport.write, b"answer", ("<broadcast>", 1234))

    def test_connectingToABroadcastNeedsPermission(self) -> None:
        self.assertRaises(OSError, self.transport.connect, "10.0.0.255", 1234)


class AnswerTests(TUNTestCase):
    def test_answerLeavesFromTheAddressThatWasAsked(self) -> None:
        for dest in ("10.0.0.2", "10.0.0.3"):
            self.transport.write(b"answer", self.receive(question(dest)))
            self.assertEqual(self.sent(), [answer(dest)])

    def test_answerWithinDeliveryLeavesFromTheAddressThatWasAsked(self) -> None:
        self.proto.then = lambda _, addr: self.transport.write(b"answer", addr)
        self.receive(question("10.0.0.3"))
        self.assertEqual(self.sent(), [answer("10.0.0.3")])

    def test_answerLeavesFromTheAddressThePeerLastWroteTo(self) -> None:
        first = self.receive(question("10.0.0.3"))
        self.receive(question("10.0.0.2"))
        self.transport.write(b"answer", first)
        self.receive(question("10.0.0.3"))
        self.transport.write(b"answer", first)
        self.assertEqual(self.sent(), [answer("10.0.0.2"), answer("10.0.0.3")])

    def test_peerMayBeNamedByAnEqualAddress(self) -> None:
        self.receive(question("10.0.0.3"))
        self.transport.write(b"answer", ASKER)
        self.assertEqual(self.sent(), [answer("10.0.0.3")])

    def test_answerNeverLeavesFromAGroup(self) -> None:
        for dest in ("10.0.0.255", "255.255.255.255", "224.0.0.1"):
            self.transport.write(b"answer", self.receive(question(dest)))
            self.assertEqual(self.sent(), [answer("10.0.0.2")], dest)

    def test_answerLeavesFromThePortThatWasAsked(self) -> None:
        self.udp.addProto(9, self.proto)
        for port in (7, 9):
            self.transport.write(b"answer", self.receive(question(destPort=port)))
            self.assertEqual(self.sent(), [answer(sourcePort=port)])

    def test_answerToAnImpossibleSourceIsCounted(self) -> None:
        self.make(None)
        for source, dest in (("0.0.0.0", "255.255.255.255"), ("224.0.0.1", "10.0.0.2"), ("127.0.0.1", "10.0.0.2")):
            self.udp.counters.clear()
            self.transport.write(b"answer", self.receive(question(dest, source)))
            self.assertEqual((self.sent(), self.udp.counters), ([], {"outDiscards": 1}))

    def test_answerWithoutAnAddressOfOursIsCounted(self) -> None:
        self.make(None)
        self.transport.write(b"answer", self.receive(question("224.0.0.1")))
        self.assertEqual((self.sent(), self.udp.counters), ([], {"outDiscards": 1}))

    def test_answerToTheUnspecifiedAddressIsCounted(self) -> None:
        self.transport.write(b"answer", self.receive(question("255.255.255.255", "0.0.0.0")))
        self.assertEqual((self.sent(), self.udp.counters), ([], {"outDiscards": 1}))

    def test_answerToPortZeroIsCounted(self) -> None:
        self.transport.write(b"answer", self.receive(question(sourcePort=0)))
        self.assertEqual((self.sent(), self.udp.counters), ([], {"outDiscards": 1}))

    def test_evictedPeerIsAnsweredByItsPeerObject(self) -> None:
        self.patch(rawudp, "MAX_FLOWS", 2)
        self.patch(udptransport, "MAX_PEERS", 2)
        self.make()
        asker = self.receive(question("10.0.0.3"))
        portless = self.receive(question(sourcePort=0))
        for port in range(1, 10):
            self.receive(question(sourcePort=port))
        self.transport.write(b"answer", asker)
        self.transport.write(b"answer", portless)
        self.assertEqual(self.sent(), [answer("10.0.0.3")])

    def test_lastSenderIsAlwaysRemembered(self) -> None:
        self.patch(udptransport, "MAX_PEERS", 1)
        self.make()
        self.proto.then = lambda _, addr: self.transport.write(b"answer", (addr[0], addr[1]))
        for port in (1, 2, 1, 2):
            self.receive(question("10.0.0.3", sourcePort=port))
        self.assertEqual(self.sent(), [answer("10.0.0.3", destPort=port) for port in (1, 2, 1, 2)])

    def test_writingOnNoPortIsCounted(self) -> None:
        transport = self.transport
        self.ip.doStop()
        transport.write(b"answer", ASKER)
        self.assertEqual((self.sent(), self.udp.counters), ([], {"outDiscards": 1}))

    def test_datagramFromTwistedPairHasNoRouteBack(self) -> None:
        udp, proto = RawUDPProtocol(), Recorder()
        udp.addProto(7, proto)
        nowhere: Any = None
        udp.makeConnection(nowhere)
        udp.datagramReceived(question()[20:], 0, "10.0.0.1", "10.0.0.2")
        proto.transport.write(b"answer", proto.received[0][1])
        self.assertEqual(udp.counters, {"outDiscards": 1})


class TAPTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make(IPProtocol)

    def make(self, layer: type[IPProtocol], addresses: list[str] | None = ADDRESSES) -> None:
        self.ports: list[Any] = [RecordingPort(), RecordingPort()]
        self.neighbours = StaticNeighbours()
        self.ethernet, self.udp = EthernetProtocol(), RawUDPProtocol()
        self.ip = layer(addresses, neighbours=self.neighbours)
        self.ethernet.addProto(0x0800, self.ip)
        self.ethernet.addProto(0x0800, self.ip, vlan=5)
        self.ip.addProto(17, self.udp)
        self.proto = Recorder()
        self.udp.addProto(7, self.proto)
        self.ethernet.makeConnection(self.ports[0])

    def receive(
        self,
        data: bytes | None = None,
        station: bytes = PEER,
        dest: bytes = OWN,
        vlan: int | None = None,
        port: int = 0,
    ) -> tuple[str, int]:
        frame = ethernetFrame(station, dest, 0x0800, question() if data is None else data, vlan)
        self.ethernet.packetReceived(Packet(frame, port=self.ports[port]))
        return self.proto.received[-1][1]

    def answered(self, asker: tuple[str, int], port: int = 0) -> list[bytes]:
        """
        Answer a datagram that was received. All frames must be sent by one port.

        @param asker: the sender of the datagram.
        @param port: the index of that port.

        @return: the frames that were sent.
        """
        self.proto.transport.write(b"answer", asker)
        sent = list(self.ports[port].sent)
        del self.ports[port].sent[:]
        self.assertEqual([wire.sent for wire in self.ports], [[], []])
        return sent

    def test_answerIsSentBetweenTheStationsOfTheQuestion(self) -> None:
        self.assertEqual(self.answered(self.receive()), [ethernetFrame(OWN, PEER, 0x0800, answer())])

    def test_answerNeedsNoRouteNorNeighbour(self) -> None:
        sent = self.answered(self.receive(question(source="8.8.8.8")))
        self.assertEqual(sent, [ethernetFrame(OWN, PEER, 0x0800, answer(dest="8.8.8.8"))])

    def test_answerIsSentToTheStationThatAskedLast(self) -> None:
        asker = self.receive()
        self.receive(station=OTHER)
        self.assertEqual(self.answered(asker)[0][:6], OTHER)

    def test_answerNeverLeavesFromAGroupLinkAddress(self) -> None:
        for group in (b"\xff" * 6, b"\x01\0\x5e\0\0\x01"):
            sent = self.answered(self.receive(dest=group))
            self.assertEqual(sent, [ethernetFrame(self.ethernet.linkAddress, PEER, 0x0800, answer())])

    def test_stationThatIsAGroupIsNotAnswered(self) -> None:
        for group in (b"\xff" * 6, b"\x01\0\x5e\0\0\x01"):
            self.assertEqual(self.answered(self.receive(station=group)), [])
        self.assertEqual(self.udp.counters, {"outDiscards": 2})

    def test_answerInAVLANIsTagged(self) -> None:
        sent = self.answered(self.receive(vlan=5))
        self.assertEqual(sent, [ethernetFrame(OWN, PEER, 0x0800, answer(), vlan=5)])
        sent = self.answered(self.receive())
        self.assertEqual(sent, [ethernetFrame(OWN, PEER, 0x0800, answer())])

    def test_answerLeavesByThePortOfTheQuestion(self) -> None:
        for port in (0, 1, 0):
            self.assertEqual(len(self.answered(self.receive(port=port), port)), 1)

    def test_evictedPeerIsAnsweredAtItsStation(self) -> None:
        self.patch(rawudp, "MAX_FLOWS", 2)
        self.patch(udptransport, "MAX_PEERS", 2)
        self.make(IPProtocol)
        asker = self.receive()
        for sourcePort in range(1, 10):
            self.receive(question(sourcePort=sourcePort), OTHER)
        self.assertEqual(self.answered(asker), [ethernetFrame(OWN, PEER, 0x0800, answer())])

    def test_writingUnaskedNeedsARoute(self) -> None:
        with self.assertRaises(OSError) as raised:
            self.proto.transport.write(b"answer", ("8.8.8.8", 1234))
        self.assertEqual(raised.exception.errno, errno.ENETUNREACH)

    def test_writingUnaskedNeedsANeighbour(self) -> None:
        with self.assertRaises(OSError) as raised:
            self.proto.transport.write(b"answer", ASKER)
        self.assertEqual(raised.exception.errno, errno.EHOSTUNREACH)
        self.neighbours.add(ASKER[0], PEER)
        self.assertEqual(self.answered(ASKER), [ethernetFrame(self.ethernet.linkAddress, PEER, 0x0800, answer())])

    def test_answerThroughAnOverriddenMethodIsSentToTheStationThatAsked(self) -> None:
        class Override(IPProtocol):
            def datagramReceived(self, data: bytes, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
                super().datagramReceived(data, *args, **kwargs)

        for addresses in (None, ADDRESSES):
            self.make(Override, addresses)
            self.assertEqual(self.answered(self.receive()), [ethernetFrame(OWN, PEER, 0x0800, answer())])

    def test_questionWithoutAStationIsAnsweredAtTheNeighbour(self) -> None:
        self.ip.datagramReceived(question())
        asker = self.proto.received[-1][1]
        self.assertEqual((self.answered(asker), self.udp.counters), ([], {"outDiscards": 1}))
        self.neighbours.add(ASKER[0], PEER)
        self.assertEqual(self.answered(asker), [ethernetFrame(self.ethernet.linkAddress, PEER, 0x0800, answer())])


class ConnectTests(TUNTestCase):
    def test_connectedTransportNeedsNoAddress(self) -> None:
        self.transport.connect(*ASKER)
        self.transport.write(b"answer")
        self.transport.write(b"answer", ASKER)
        self.assertEqual(self.sent(), [answer(), answer()])

    def test_otherAddressIsAValueError(self) -> None:
        self.transport.connect(*ASKER)
        for addr in (("10.0.0.1", 1235), ("10.0.0.9", 1234)):
            with self.assertRaises(ValueError) as raised:
                self.transport.write(b"answer", addr)
            self.assertIn(repr(ASKER), str(raised.exception))

    def test_connectedTransportHearsOnlyItsPeer(self) -> None:
        for sourcePort in (1234, 1235):
            self.receive(question(sourcePort=sourcePort))
        self.transport.connect(*ASKER)
        del self.proto.received[:]
        for sourcePort in (1235, 1234, 1235, 1234):
            self.ip.packetReceived(Packet(question(sourcePort=sourcePort), port=self.port))
        self.assertEqual(self.proto.addresses, [ASKER, ASKER])
        self.assertEqual(self.udp.counters, {"noPorts": 2})

    def test_answerLeavesFromTheAddressThePeerLastWroteTo(self) -> None:
        self.transport.connect(*ASKER)
        self.receive(question("10.0.0.3"))
        self.transport.write(b"answer")
        self.assertEqual(self.sent(), [answer("10.0.0.3")])

    def test_connectedAddressMayHaveAnotherSpelling(self) -> None:
        self.transport.connect("fd00:0:0::1", 1234)
        self.receive(question("fd00::2", "fd00::1"))
        self.assertEqual(len(self.proto.received), 1)

    def test_connectingTwiceIsARuntimeError(self) -> None:
        self.transport.connect(*ASKER)
        self.assertRaises(RuntimeError, self.transport.connect, *ASKER)

    def test_hostNameIsAnInvalidAddress(self) -> None:
        self.assertRaises(InvalidAddressError, self.transport.connect, "localhost", 7)

    def test_invalidPortIsAValueError(self) -> None:
        for port in (-1, 0, 65536):
            self.assertRaises(ValueError, self.transport.connect, "10.0.0.1", port)


class LifeTests(TUNTestCase):
    def test_transportIsInPlaceWhenTheProtocolStarts(self) -> None:
        self.assertEqual(self.proto.events, ["start"])

    def test_hostIsThePortOnAnyAddress(self) -> None:
        self.assertEqual(self.transport.getHost(), IPv4Address("UDP", "0.0.0.0", 7))

    def test_hostWithIPv6Only(self) -> None:
        self.make(["fd00::2/64"])
        self.assertEqual(self.transport.getHost(), IPv6Address("UDP", "::", 7))

    def test_stopListeningStopsTheProtocol(self) -> None:
        self.assertIsNone(self.successResultOf(self.transport.stopListening()))
        self.assertEqual((self.proto.events, self.udp.udpProtos), (["start", "stop"], {}))

    def test_stopListeningTwiceIsHarmless(self) -> None:
        for _ in range(2):
            self.successResultOf(self.transport.stopListening())
        self.assertEqual(self.proto.events, ["start", "stop"])

    def test_stopListeningOnOneOfTwoPortsGoesOnWithTheOther(self) -> None:
        self.udp.addProto(9, self.proto)
        self.successResultOf(self.transport.stopListening())
        self.assertEqual((self.proto.events, self.udp.udpProtos), (["start"], {9: [self.proto]}))
        self.transport.write(b"answer", self.receive(question(destPort=9)))
        self.assertEqual(self.sent(), [answer(sourcePort=9)])

    def test_stopListeningOnBothPortsStopsTheProtocol(self) -> None:
        self.udp.addProto(9, self.proto)
        for _ in range(2):
            if self.proto.transport is not None:
                self.successResultOf(self.proto.transport.stopListening())
        self.assertEqual((self.proto.events, self.udp.udpProtos), (["start", "stop"], {}))

    def test_protocolMayStopItselfWhileItReceives(self) -> None:
        self.proto.then = lambda *_: self.transport.stopListening()
        self.receive(question())
        self.ip.packetReceived(Packet(question(), port=self.port))
        self.assertEqual((len(self.proto.received), self.udp.counters), (1, {"noPorts": 1}))
