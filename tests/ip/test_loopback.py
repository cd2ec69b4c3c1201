"""
Tests for L{txtuntap.ip.loopback}: datagrams that a host sends to itself.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import DatagramRecorder
from tests.stack.link import LinkTestCase, echo
from txtuntap.ip.loopback import MAX_WAITING, MAX_WAITING_OCTETS, Loopback
from txtuntap.layer.counters import Counters
from txtuntap.packet import Packet
from txtuntap.testing import TAP, TUN


class LoopbackTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.delivered: list[tuple[Packet, int]] = []
        self.counters = Counters()
        self.loopback = Loopback(lambda packet, protocol: self.delivered.append((packet, protocol)), self.counters)

    def test_deliversAtTheNextTurn(self) -> None:
        packets = [(Packet(b"one"), 17), (Packet(b"two"), 1)]
        for packet, protocol in packets:
            self.loopback.send(self.clock, packet, protocol)
        self.assertEqual(self.delivered, [])
        self.clock.advance(0)
        self.assertEqual(self.delivered, packets)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_boundOnPackets(self) -> None:
        for _ in range(MAX_WAITING + 3):
            self.loopback.send(self.clock, Packet(b"."), 17)
        self.clock.advance(0)
        self.assertEqual((len(self.delivered), self.counters["outDiscards"]), (MAX_WAITING, 3))

    def test_boundOnOctets(self) -> None:
        large = bytes(60000)
        for _ in range(30):
            self.loopback.send(self.clock, Packet(large), 17)
        self.clock.advance(0)
        self.assertEqual(len(self.delivered), MAX_WAITING_OCTETS // 60000)
        self.loopback.send(self.clock, Packet(large), 17)
        self.clock.advance(0)
        self.assertEqual(len(self.delivered), MAX_WAITING_OCTETS // 60000 + 1)


class HostTests(LinkTestCase):
    """
    Datagrams that a host sends to an address of its own. They are delivered to the host and never sent on the link.
    """

    ADDRESSES = ("10.0.0.2", "fd00::2")

    def test_udpAnswerComesBack(self) -> None:
        for mode in (TUN, TAP):
            for address in self.ADDRESSES:
                self.make(mode=mode)
                self.clock.advance(10)
                self.device.sent.clear()
                server, client = DatagramRecorder(), DatagramRecorder()
                server.then = server.write
                self.host.listenUDP(7, server)
                port = self.host.listenUDP(0, client).getHost().port
                client.transport.write(b"x" * 60000, (address, 7))
                self.clock.advance(0)
                self.assertEqual(server.received, [(b"x" * 60000, (address, port))])
                self.assertEqual(client.received, [(b"x" * 60000, (address, 7))])
                self.assertEqual(self.device.sent, [])

    def test_pingOfAnOwnAddressIsAnswered(self) -> None:
        for mode in (TUN, TAP):
            for address in self.ADDRESSES:
                self.make(mode=mode)
                pong = self.host.ping(address)
                self.clock.advance(0)
                self.assertEqual(self.successResultOf(pong).source, address)

    def test_closedPortIsAnsweredWithAnError(self) -> None:
        for address in self.ADDRESSES:
            self.make(mode=TUN)
            client = DatagramRecorder()
            self.host.listenUDP(0, client).write(b"", (address, 7))
            self.clock.advance(0)
            self.assertEqual((self.host.udp.counters["noPorts"], self.host.icmp.counters["outErrors"]), (1, 1))
            self.assertEqual(self.device.sent, [])

    def test_packetFromTheLinkWithAnOwnSourceIsDropped(self) -> None:
        self.make(mode=TUN)
        self.receive(echo("10.0.0.2", "10.0.0.2"))
        self.assertEqual(self.host.ip.counters["inAddrErrors"], 1)
