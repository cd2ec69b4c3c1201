"""
Tests for the end of a port. All pending work ends with the port: no timer is left, and every Deferred fires.
"""

from __future__ import annotations

from io import BytesIO
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.recorders import Echo
from tests.stack.link import OTHER, OWN, PEER, arpFrame, echo, frame, pieces, prefix, routerAdvertisement
from tests.stack.test_groups import igmpQuery
from txtuntap import Host, TuntapPort
from txtuntap.middleware import Capture, Impairment, Meter, Netem
from txtuntap.network import Network
from txtuntap.network.link import Link
from txtuntap.testing import TAP, TUN, MemoryDevice, udpPacket
from txtuntap.wire.arp import REPLY

OURS, THEIRS = "10.0.0.2", "10.0.0.1"
OURS6, THEIRS6 = "fd00::2", "fd00::1"


class StoppingTests(SynchronousTestCase):
    """
    Tests that stop a port while work of all kinds is pending.

    @ivar clock: a clock that only the objects of the test use.
    """

    def setUp(self) -> None:
        self.clock = Clock()

    def begin(self, mode: int, host: Host) -> None:
        """
        Start a host under all middleware that has timers.
        """
        self.host = host
        self.device = MemoryDevice(mode)
        top: Any = host.ethernet if mode == TAP else host.ip
        stack = Meter(Impairment(Capture(BytesIO(), top), Netem(delay=0.5)))
        self.port = TuntapPort("", stack, reactor=self.clock, device=self.device)
        self.port.startListening()
        self.transport = host.listenUDP(7, Echo())
        host.listenUDP(9, DatagramProtocol())
        # The host sends a datagram to itself.
        host.listenUDP(8, DatagramProtocol()).write(b"payload", (OURS, 7))
        for group in "239.1.2.3", "ff05::1:3":
            self.transport.joinGroup(group)

    def busy(self) -> list[Deferred[Any]]:
        """
        Begin work of every kind, and leave it pending.

        @return: Deferreds that have to fire when the port ends.
        """
        waiting: list[Deferred[Any]] = [self.host.ping(address, timeout=1e6) for address in (THEIRS, THEIRS6)]
        wrap = frame if self.device.mode == TAP else bytes
        packets = [
            igmpQuery(),
            routerAdvertisement(prefix("2001:db8::/64")),
            pieces(udpPacket(THEIRS, OURS, 53, 7, bytes(64)), 32)[0],
            pieces(udpPacket(THEIRS6, OURS6, 53, 7, bytes(64)), 32)[0],
            echo(THEIRS, OURS),
        ]
        for packet in packets:
            self.device.deliver(wrap(packet))
        self.clock.pump([0.1] * 8)
        for number in range(20, 30):
            self.transport.write(b"payload", (f"10.0.0.{number}", 9))
            self.transport.write(b"payload", (f"fd00::{number}", 9))
            self.transport.write(b"payload", (OURS, 9))
        self.transport.batch().__enter__()
        # These packets are delayed by the impairment, or wait to be read.
        self.device.deliver(wrap(echo(THEIRS, OURS)))
        self.clock.advance(0.1)
        self.device.deliver(wrap(echo(THEIRS, OURS)))
        waiting += [self.port.whenLost(), self.port.whenLost()]
        self.assertGreater(len(self.clock.getDelayedCalls()), 6)
        return waiting

    def assertEnded(self, waiting: list[Deferred[Any]]) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for each in waiting:
            self.failureResultOf(each, ConnectionLost, ConnectionDone)

    def make(self, **options: Any) -> Host:
        return Host([f"{OURS}/24", f"{OURS6}/64"], self.clock, OWN, random=Random(1), **options)

    def test_aHostOnATapEndsWithItsPort(self) -> None:
        self.begin(TAP, self.make(autoconfigure=True, anyAddresses=["10.1.0.0/16"], answerFor=["10.1.0.0/16"]))
        waiting = self.busy()
        stopped = self.port.stopListening()
        self.clock.advance(0)
        self.assertEnded(waiting)
        self.successResultOf(stopped)

    def test_aHostInAddressConflictEndsWithItsPort(self) -> None:
        self.begin(TAP, self.make())
        for address in OURS, "10.0.0.3":
            self.device.deliver(arpFrame(REPLY, address, THEIRS, OTHER, source=OTHER))
        self.clock.advance(0.1)
        self.assertFinal()

    def test_aConfiguredHostEndsWithItsPort(self) -> None:
        self.begin(TAP, self.make(autoconfigure=True))
        self.clock.pump([0.25] * 80)
        self.host.neighbours.add(THEIRS, PEER)
        waiting = self.busy()
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEnded(waiting)

    def assertFinal(self) -> None:
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_aHostOnATunEndsWithItsPort(self) -> None:
        self.begin(TUN, self.make())
        waiting = self.busy()
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEnded(waiting)

    def test_aHostEndsWithItsDevice(self) -> None:
        self.begin(TUN, self.make())
        waiting = self.busy()
        self.port.connectionLost()
        self.flushLoggedErrors()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for each in waiting:
            self.failureResultOf(each)

    def test_aPingDuringTheStopIsRefused(self) -> None:
        self.begin(TUN, self.make())
        again: list[Deferred[Any]] = []
        asked = self.host.ping(THEIRS).addErrback(lambda _: again.append(self.host.ping(THEIRS)))
        self.assertFinal()
        self.assertEqual(again, [])
        self.failureResultOf(asked, RuntimeError)

    def test_aRestartedPortWorksAndEndsAgain(self) -> None:
        self.begin(TUN, self.make())
        waiting = self.busy()
        self.port.stopListening()
        self.clock.advance(0)
        self.assertEnded(waiting)
        self.port.startListening()
        asked = self.host.ping(THEIRS)
        self.clock.advance(2)
        self.failureResultOf(asked, TimeoutError)
        self.assertFinal()

    def test_aHostEndsWithItsLink(self) -> None:
        hosts = self.make(), Host(["10.0.0.1/24"], self.clock, PEER, random=Random(2))
        link = Link(hosts[0].ethernet, hosts[1].ethernet, self.clock)
        link.start()
        asked = hosts[0].ping("10.0.0.1", timeout=1e6)
        hosts[1].ip.write(b"payload", OURS, 253)
        link.stop()
        self.assertEnded([asked])

    def test_aHostEndsWithItsNetwork(self) -> None:
        network = Network(seed=1)
        with network:
            switch = network.switch()
            near = network.host("10.0.0.1/24", switch, "delay 1s")
            network.host("10.0.0.2/24", switch, "delay 1s")
            network.run(1)
            asked = near.ping("10.0.0.2", timeout=1e6)
            network.run(1.5)
        self.assertEqual(network.clock.getDelayedCalls(), [])
        self.failureResultOf(asked, ConnectionLost)
