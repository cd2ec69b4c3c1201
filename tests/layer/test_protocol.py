"""
Tests for the base class of protocols, L{txtuntap.layer.protocol}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import Host
from txtuntap.layer.drops import Drop
from txtuntap.layer.layer import Layer
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.packet import Packet
from txtuntap.switch import Switch


class ClockPort:
    """
    A port with a clock, as in this package.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock


class PairPort:
    """
    A port with a reactor, as in C{twisted.pair}.
    """

    def __init__(self, clock: Clock) -> None:
        self.reactor = clock


class CountingProtocolTests(SynchronousTestCase):
    """
    Tests for a protocol without protocols above it.
    """

    def test_theClockIsThatOfThePortBelow(self) -> None:
        clock = Clock()
        clock.advance(7)
        for kind in ClockPort, PairPort:
            proto = PacketProtocol()
            self.assertEqual((None, 0.0), (proto.clock, proto.now()))
            proto.makeConnection(cast(Any, kind(clock)))
            self.assertEqual((clock, 7.0), (proto.clock, proto.now()))

    def test_startAndStopCountThePorts(self) -> None:
        proto = PacketProtocol()
        proto.makeConnection(cast(Any, ClockPort(Clock())))
        self.assertEqual(1, proto.numPorts)
        proto.doStop()
        self.assertEqual((0, None), (proto.numPorts, proto.transport))

    def test_aDropIsCounted(self) -> None:
        proto = PacketProtocol()
        proto.dropped(Packet(b"packet"), Drop.MALFORMED)
        self.assertEqual({"inErrors": 1}, proto.counters)

    def test_protocolsWithoutProtocolsAboveAreNoLayers(self) -> None:
        # A Layer takes more memory, a simulation has very many of these, and they never have protocols above them.
        host = Host(["10.0.0.2/24"], Clock())
        for proto in host.icmp, host.arp, host.groups, Switch(Clock()).addPort():
            self.assertIsInstance(proto, PacketProtocol)
            self.assertNotIsInstance(proto, Layer)
