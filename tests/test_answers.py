"""
The addresses and routes of answers, in unusual arrangements of layers and protocols.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import DatagramRecorder, PlainPacketRecorder
from txtuntap import EthernetProtocol, IPProtocol, Packet, RawUDPProtocol, TuntapPort
from txtuntap.testing import TAP, TUN, MemoryDevice, ethernetFrame, ipPacket, udpPacket
from txtuntap.wire.address import packLinkAddress

PEER, OTHER, OWN = "02:00:00:00:00:01", "02:00:00:00:66:66", "02:00:00:00:00:02"


class StackTestCase(SynchronousTestCase):
    """
    A test case with stacks on devices in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def attach(self, top: Any, mode: int) -> MemoryDevice:
        device = MemoryDevice(mode)
        TuntapPort("", top, reactor=self.clock, device=device).startListening()
        return device

    def deliver(self, device: MemoryDevice, packet: bytes) -> None:
        device.deliver(packet)
        self.clock.advance(0)


class UDPTests(StackTestCase):
    """
    Tests for the answers of UDP protocols.
    """

    def setUp(self) -> None:
        super().setUp()
        self.udp = RawUDPProtocol()
        self.ip = IPProtocol(["10.0.0.2/24"])
        self.ip.addProto(17, self.udp)
        self.first, self.second = DatagramRecorder(), DatagramRecorder()
        self.udp.addProto(69, self.first)

    def test_aTransportWritesFromItsOwnUDPPort(self) -> None:
        self.udp.addProto(5000, self.second)
        device = self.attach(self.ip, TUN)
        self.deliver(device, udpPacket("10.0.0.1", "10.0.0.2", 1234, 69, b"request"))
        self.second.write(b"block", self.first.addresses[0])
        self.assertEqual(device.sent, [udpPacket("10.0.0.2", "10.0.0.1", 5000, 1234, b"block")])

    def test_aRelayedDatagramLeavesByTheStackOfTheWritingTransport(self) -> None:
        otherUDP, otherIP = RawUDPProtocol(), IPProtocol(["10.0.0.9/24"])
        otherIP.addProto(17, otherUDP)
        otherUDP.addProto(70, self.second)
        device, other = self.attach(self.ip, TUN), self.attach(otherIP, TUN)
        self.deliver(device, udpPacket("10.0.0.1", "10.0.0.2", 1234, 69, b"request"))
        self.second.write(b"relayed", self.first.addresses[0])
        self.assertEqual((device.sent, len(other.sent)), ([], 1))

    def test_aForgedFrameDoesNotReplaceAKnownNeighbour(self) -> None:
        ethernet = EthernetProtocol(OWN)
        ethernet.addProto(0x0800, self.ip)
        self.ip.neighbours.add("10.0.0.1", PEER)
        device = self.attach(ethernet, TAP)
        self.deliver(device, ethernetFrame(OTHER, OWN, 0x0800, udpPacket("10.0.0.1", "10.0.0.2", 999, 69, b"forged")))
        self.first.write(b"later", ("10.0.0.1", 999))
        self.assertEqual(device.sent[0][:6], packLinkAddress(PEER))

    def test_theFlowOfABusyPeerIsNotEvicted(self) -> None:
        device = self.attach(self.ip, TUN)
        for number in range(600):
            self.deliver(device, udpPacket("10.0.0.1", "10.0.0.2", 1234, 69, b"busy"))
            self.deliver(device, udpPacket(f"10.0.1.{number % 250}", "10.0.0.2", 2000 + number, 69, b"once"))
        transport: Any = self.first.transport
        self.assertIn(("10.0.0.1", 1234), transport._flows)

    def test_addressInAnotherSpellingIsTheSamePeer(self) -> None:
        self.ip = IPProtocol(["fd00::2/64", "fd00::3/64"])
        self.ip.addProto(17, self.udp)
        device = self.attach(self.ip, TUN)
        self.deliver(device, udpPacket("fd00::1", "fd00::3", 1234, 69, b"question"))
        self.first.write(b"answer", ("FD00:0::1", 1234))
        self.assertEqual(device.sent, [udpPacket("fd00::3", "fd00::1", 69, 1234, b"answer")])

    def test_aProtocolRemovedDuringDeliveryReceivesNothing(self) -> None:
        self.udp.addProto(69, self.second)
        self.first.then = lambda datagram, addr: self.udp.removeProto(69, self.second)
        self.deliver(self.attach(self.ip, TUN), udpPacket("10.0.0.1", "10.0.0.2", 1234, 69, b"question"))
        self.assertEqual((len(self.first.addresses), self.second.addresses), (1, []))

    def test_addressesAreCopiedAndPickledAsTuples(self) -> None:
        self.deliver(self.attach(self.ip, TUN), udpPacket("10.0.0.1", "10.0.0.2", 1234, 69, b"question"))
        (addr,) = self.first.addresses
        self.assertIs(type(pickle.loads(pickle.dumps(addr))), tuple)
        self.assertEqual(pickle.loads(pickle.dumps(addr)), ("10.0.0.1", 1234))
        self.assertIs(copy.deepcopy(addr), addr)
        self.assertIs(copy.copy(addr), addr)


class RawTests(StackTestCase):
    """
    Tests for the answers of raw protocols.
    """

    def answerLater(self, ip: IPProtocol) -> None:
        """
        Add a raw protocol that answers each packet after five seconds.
        """

        def answer(packet: Packet) -> None:
            self.clock.callLater(5, ip.write, b"answer", packet.source, 200)

        ip.addProto(200, PlainPacketRecorder(then=answer))

    def test_aDelayedAnswerHasTheSameAddressesAsAnImmediateOne(self) -> None:
        ip = IPProtocol()
        self.answerLater(ip)
        device = self.attach(ip, TUN)
        self.deliver(device, ipPacket("10.0.0.1", "10.0.0.2", 200, b"question"))
        self.clock.advance(5)
        self.assertEqual(device.sent, [ipPacket("10.0.0.2", "10.0.0.1", 200, b"answer")])

    def test_aDelayedAnswerOnATapGoesToTheAskingStation(self) -> None:
        ip, ethernet = IPProtocol(), EthernetProtocol(OWN)
        ethernet.addProto(0x0800, ip)
        self.answerLater(ip)
        device = self.attach(ethernet, TAP)
        self.deliver(device, ethernetFrame(PEER, OWN, 0x0800, ipPacket("10.0.0.1", "10.0.0.2", 200, b"question")))
        self.clock.advance(5)
        answer = ethernetFrame(OWN, PEER, 0x0800, ipPacket("10.0.0.2", "10.0.0.1", 200, b"answer"))
        self.assertEqual(device.sent, [answer])

    def test_answerAfterAnInnerPacketGoesToTheOuterSender(self) -> None:
        ip = IPProtocol()
        ip.addProto(201, PlainPacketRecorder())

        def tunnel(packet: Packet) -> None:
            ip.datagramReceived(bytes(packet))
            ip.write(b"answer", packet.source, 200)

        ip.addProto(200, PlainPacketRecorder(then=tunnel))
        device = self.attach(ip, TUN)
        inner = ipPacket("192.0.2.1", "192.0.2.2", 201, b"inner")
        self.deliver(device, ipPacket("10.0.0.1", "10.0.0.2", 200, inner))
        self.assertEqual(device.sent, [ipPacket("10.0.0.2", "10.0.0.1", 200, b"answer")])

    def test_protocolUnderManyNumbersLogsOnceASecond(self) -> None:
        ip = IPProtocol()

        def fail(packet: Packet) -> None:
            raise ZeroDivisionError

        proto = PlainPacketRecorder(then=fail)
        for number in range(256):
            ip.addProto(number, proto)
        device = self.attach(ip, TUN)
        for number in range(256):
            self.deliver(device, ipPacket("10.0.0.1", "10.0.0.2", number, b""))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(ip.counters["protocolFailures"], 256)


class Overriding(IPProtocol):
    """
    An IP layer that overrides C{datagramReceived}, as applications of C{twisted.pair} do.
    """

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        super().datagramReceived(*args, **kwargs)


class OverridingEthernet(EthernetProtocol):
    """
    An Ethernet layer that overrides C{datagramReceived}, as applications of C{twisted.pair} do.
    """

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        super().datagramReceived(*args, **kwargs)


class OverridingTests(StackTestCase):
    """
    Tests for layers whose C{datagramReceived} is overridden.
    """

    def test_answersLeaveByThePortOfTheQuestion(self) -> None:
        udp, ip, proto = RawUDPProtocol(), Overriding(), DatagramRecorder()
        ip.addProto(17, udp)
        udp.addProto(7, proto)
        proto.then = proto.write
        devices = []
        for _ in range(2):
            ethernet = OverridingEthernet(OWN)
            ethernet.addProto(0x0800, ip)
            devices.append(self.attach(ethernet, TAP))
        question = ethernetFrame(PEER, OWN, 0x0800, udpPacket("10.0.0.1", "10.0.0.2", 1234, 7, b"hello"))
        self.deliver(devices[1], question)
        self.assertEqual([len(device.sent) for device in devices], [0, 1])
        self.assertEqual(devices[1].sent[0][:6], packLinkAddress(PEER))
        self.deliver(devices[0], question)
        self.assertEqual([len(device.sent) for device in devices], [1, 1])

    def test_exceptionsInAVLANAreLoggedOnceASecond(self) -> None:
        ip, ethernet = Overriding(), EthernetProtocol()

        def fail(packet: Packet) -> None:
            raise ZeroDivisionError

        ip.addProto(200, PlainPacketRecorder(then=fail))
        ethernet.addProto(0x0800, ip, vlan=5)
        device = self.attach(ethernet, TAP)
        for _ in range(3):
            packet = ipPacket("10.0.0.1", "10.0.0.2", 200, b"")
            self.deliver(device, ethernetFrame(PEER, OWN, 0x0800, packet, vlan=5))
            self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
