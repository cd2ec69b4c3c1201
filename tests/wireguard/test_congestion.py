"""
The congestion that a router marks outside, between WireGuards by the sockets of hosts (RFC 6040).
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.wireguard.test_protocol import KEYS, Reading
from txtuntap.middleware.base import Middleware
from txtuntap.network import Network
from txtuntap.packet import Packet
from txtuntap.tcp import Parameters, TCPProtocol
from txtuntap.wire.ethernet import HEADER_LENGTH
from txtuntap.wireguard import WireGuard
from txtuntap.wireguard.inner import CE, congested
from txtuntap.wireguard.outgoing import HANDSHAKE_CLASS

ECT0 = 2


class Router(Middleware):
    """
    A router with a full queue: it marks each IP packet whose sender knows ECN, where C{marks} is set.

    @ivar classes: the traffic class that each packet came with.
    """

    marks = False

    def __init__(self, proto: Any) -> None:
        super().__init__(proto)
        self.classes: list[int] = []

    def packetReceived(self, packet: Packet) -> None:
        start = packet.start + (HEADER_LENGTH if self.ethernet else 0)
        data = packet.data
        if data[start] >> 4 == 4:
            self.classes.append(data[start + 1])
        elif data[start] >> 4 == 6:
            self.classes.append((data[start] & 15) << 4 | data[start + 1] >> 4)
        if self.marks and self.classes and self.classes[-1] & CE:
            packet.data = data[:start] + (congested(data[start : packet.end]) or b"")
        self.deliver(packet)


class CongestionTests(SynchronousTestCase):
    def transferred(self, version: int) -> tuple[list[int], list[int]]:
        """
        Send octets by a TCP that knows ECN, while a router outside marks.

        @return: the traffic classes of the messages that reach the router, and those of the packets inside.
        """
        network = Network(1)
        outside, inside = [], []
        switch = network.switch()
        for end in range(2):
            address = (f"192.0.2.{end + 1}/24", f"2001:db8::{end + 1}/64")[version == 6]
            outside.append(network.host(address, switch if end == 0 else None))
            inside.append(network.host(f"10.0.0.{end + 1}/24", tcp=TCPProtocol(parameters=Parameters(ecn=True))))
        router, receiver = Router(outside[1].ethernet), Router(inside[1].ip)
        router.marks = True
        network.link(router, switch)
        for end, proto in enumerate([inside[0].ip, receiver]):
            wireguard = WireGuard(KEYS[end], 51820, network.clock, outside=outside[end], secrets=Random(end))
            endpoint = ("192.0.2.2:51820", "[2001:db8::2]:51820")[version == 6]
            wireguard.addPeer(KEYS[1 - end].public, [f"10.0.0.{2 - end}"], None if end else endpoint)
            network.link(wireguard, proto, mtu=1420)
        served: list[Any] = []
        inside[1].listenTCP(80, Factory.forProtocol(lambda: Reading(served)))
        with network:
            client = network.result(connectProtocol(TCP4ClientEndpoint(inside[0], "10.0.0.2", 80), Reading([])))
            client.transport.write(bytes(100_000))
            network.clock.advance(5)
            self.assertEqual(len(served[0].data), 100_000)
        return router.classes, receiver.classes

    def test_theFieldIsCopiedOutAndMergedIn(self) -> None:
        for version in 4, 6:
            outer, inner = self.transferred(version)
            # Handshakes have a class of their own; packets without data know no ECN; data does.
            self.assertEqual(set(outer), {HANDSHAKE_CLASS, 0, ECT0})
            self.assertGreater(outer.count(ECT0), 60)
            self.assertEqual(set(inner), {0, CE})
            self.assertEqual(inner.count(CE), outer.count(ECT0))
