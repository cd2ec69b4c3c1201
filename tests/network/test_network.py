"""
Tests for L{txtuntap.network.network}: simulated networks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as Unanswered
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.network.test_link import End
from tests.recorders import DatagramRecorder, Echo
from txtuntap import Host
from txtuntap.middleware import Middleware, Netem
from txtuntap.network import Network
from txtuntap.network.clock import EndlessError, SimulationClock
from txtuntap.packet import Packet


class PacketLog(Middleware):
    """
    Middleware that records every packet from the port, with its time in seconds.
    """

    takesOffload = True

    def __init__(self, proto: Any, log: list[tuple[float, bytes]]) -> None:
        super().__init__(proto)
        self.log = log

    def packetReceived(self, packet: Packet) -> None:
        self.log.append((packet.time, bytes(packet)))
        super().packetReceived(packet)


class NetworkTests(SynchronousTestCase):
    def network(self, **options: Any) -> Network:
        """
        Make a network that is stopped at the end of the test.
        """
        net = Network(**options)
        self.addCleanup(net.stop)
        return net

    def test_hostsAtASwitchReachOneAnother(self) -> None:
        with Network() as net:
            switch = net.switch()
            hosts = [net.host([f"10.0.0.{n}/24", f"fd00::{n}/64"], switch) for n in (1, 2, 3)]
            for dest in "10.0.0.3", "fd00::2":
                self.assertEqual(net.result(hosts[0].ping(dest, size=3000)).source, dest)
            # The switch has learned the port of each host from the frames that the hosts have sent.
            net.run(5)
            self.assertEqual(len(switch.stations), 3)
            self.assertEqual((net.hosts, net.switches, len(net.links)), (hosts, [switch], 3))

    def test_twoHostsCanBeLinkedDirectly(self) -> None:
        net = self.network()
        near, far = net.host("10.0.0.1/24"), net.host("10.0.0.2/24")
        net.link(near, far, "delay 10ms")
        net.start()
        net.run(5)
        self.assertAlmostEqual(net.result(near.ping("10.0.0.2")).seconds, 0.04, places=4)
        self.assertAlmostEqual(net.result(near.ping("10.0.0.2")).seconds, 0.02, places=4)

    def test_hostsReachOnlyPortsOfTheirVLAN(self) -> None:
        with Network() as net:
            switch = net.switch()
            first = net.host("10.0.0.1/24", switch.addPort(vlan=10))
            net.host("10.0.0.2/24", switch.addPort(vlan=10))
            net.host("10.0.0.3/24", switch.addPort(vlan=20))
            self.assertEqual(net.result(first.ping("10.0.0.2")).source, "10.0.0.2")
            self.assertRaises(Unanswered, net.result, first.ping("10.0.0.3"))

    def test_delaysOfLinkedSwitchesAddUp(self) -> None:
        with Network() as net:
            switches = [net.switch() for _ in range(4)]
            for one, other in pairwise(switches):
                net.link(one, other, "delay 1ms")
            first = net.host("10.0.0.1/24", switches[0])
            net.host("10.0.0.2/24", switches[-1])
            net.result(first.ping("10.0.0.2"))
            self.assertAlmostEqual(net.result(first.ping("10.0.0.2")).seconds, 0.006, places=4)

    def test_aLoopOfSwitchesIsRefused(self) -> None:
        net = self.network()
        first, second, third, fourth = (net.switch() for _ in range(4))
        net.link(first, second)
        net.link(third, fourth)
        net.link(second, third)
        for one, other in (first, second), (fourth, first), (first, first):
            with self.assertRaises(ValueError) as raised:
                net.link(one, other)
            self.assertIn("spanning tree", str(raised.exception))
        self.assertEqual([len(each.ports) for each in net.switches], [1, 2, 2, 1])
        net.link(first.addPort(vlan=10), second.addPort(vlan=10))

    def test_hostsCanBeLinkedByIP(self) -> None:
        with Network() as net:
            near, far = net.host("10.0.0.1/24"), net.host("10.0.0.2/24")
            net.link(near.ip, far.ip)
            self.assertEqual(net.result(near.ping("10.0.0.2")).seconds, 0)

    def test_upAndDownAreTheFaultsOfEachDirection(self) -> None:
        with Network() as net:
            near = net.host("10.0.0.1/24")
            net.link(near, net.host("10.0.0.2/24"), up="loss 100%", down=Netem(delay=1))
            net.run(10)
            counters = net.impairment(near).counters
            self.assertGreater(counters["inLost"], 0)
            self.assertEqual(counters["outLost"], 0)
            self.assertRaises(Unanswered, net.result, near.ping("10.0.0.2", timeout=10))

    def test_theFaultsOfALinkCanBeChanged(self) -> None:
        with Network() as net:
            switch = net.switch()
            near, far = net.host("10.0.0.1/24", switch, "loss 100%"), net.host("10.0.0.2/24", switch)
            self.assertRaises(Unanswered, net.result, near.ping("10.0.0.2"))
            impairment = net.impairment(near)
            impairment.up = impairment.down = Netem()
            net.run(5)
            self.assertEqual(net.result(near.ping("10.0.0.2")).source, "10.0.0.2")
            with self.assertRaises(KeyError) as raised:
                net.impairment(far)
            self.assertIn("give it a netem", str(raised.exception))

    def test_eachLinkHasItsOwnImpairment(self) -> None:
        net = self.network()
        one, *others = (net.switch() for _ in range(3))
        links = [net.link(one, other, f"delay {number}ms") for number, other in enumerate(others, 1)]
        self.assertEqual([net.impairment(link).up.delay for link in links], [0.001, 0.002])
        self.assertIs(net.impairment(one), net.impairment(links[1]))

    def test_wrongFaultsLeaveNoLink(self) -> None:
        net = self.network()
        one, other = net.switch(), net.switch()
        self.assertRaises(ValueError, net.link, one, other, "los 10%")
        self.assertEqual((one.ports, other.ports, net.links), ({}, {}, []))
        net.link(one, other, "loss 10%")

    def trafficOf(self, seed: int, netem: str = "delay 20ms 10ms loss 10% corrupt 5% duplicate 5%") -> list[Any]:
        """
        Run a network for an hour that begins with much traffic.

        @return: the packets that one host received, each with its time, and the number of echoed datagrams.
        """
        net = self.network(seed=seed)
        switch = net.switch()
        log: list[tuple[float, bytes]] = []
        near = net.host(["10.0.0.1/24", "fd00::1/64"], switch, netem)
        far = net.host(["10.0.0.2/24", "fd00::2/64"])
        net.link(PacketLog(far.ethernet, log), switch)
        far.listenUDP(7, Echo())
        client = DatagramRecorder()
        near.listenUDP(0, client)
        net.start()
        for number in range(50):
            client.transport.write(bytes(3000), ("10.0.0.2", 7))
            near.ping("fd00::2", size=number * 100).addErrback(lambda _: None)
            net.run(0.1)
        net.run(3600)
        net.stop()
        return [*log, len(client.received)]

    def test_theSameSeedGivesTheSameTraffic(self) -> None:
        first = self.trafficOf(1)
        self.assertGreater(len(first), 100)
        self.assertEqual(first, self.trafficOf(1))
        self.assertNotEqual(first, self.trafficOf(2))

    def test_anIdleHourMakesNoCalls(self) -> None:
        with Network() as net:
            switch = net.switch()
            for number in range(1, 51):
                net.host([f"10.0.0.{number}/24", f"fd00::{number}/64"], switch)
            net.run(60)
            # No call is scheduled for the hour.
            self.assertEqual(net.clock.getDelayedCalls(), [])
            net.run(3600)
            self.assertEqual(net.clock.seconds(), 3660)

    def test_aPartThatIsAddedLaterIsStartedAtOnce(self) -> None:
        with Network() as net:
            switch = net.switch()
            near = net.host("10.0.0.1/24", switch)
            net.run(100)
            net.host("10.0.0.2/24", switch)
            self.assertEqual(net.result(near.ping("10.0.0.2")).source, "10.0.0.2")

    def test_aNetworkCanBeStoppedAndStartedAgain(self) -> None:
        net = self.network()
        near = net.host("10.0.0.1/24")
        far = net.host("10.0.0.2/24", near)
        net.start()
        self.assertRaises(RuntimeError, net.start)
        self.successResultOf(net.stop())
        self.successResultOf(net.stop())
        self.assertEqual((near.ethernet.numPorts, far.ethernet.numPorts), (0, 0))
        net.start()
        self.assertEqual(net.result(near.ping("10.0.0.2")).source, "10.0.0.2")

    def test_wrongEndsFaultsAndAddressesRaise(self) -> None:
        net = self.network()
        near = net.host("10.0.0.1/24")
        self.assertRaises(TypeError, net.link, near, near.ip)
        self.assertRaises(ValueError, net.link, near, net.switch(), "los 10%")
        self.assertRaises(ValueError, net.host, "10.0.0.300/24")

    def test_aFailedStartStopsTheOtherParts(self) -> None:
        net = self.network()
        switch = net.switch()
        near = net.host("10.0.0.1/24", switch)
        port = switch.addPort()
        for _ in range(2):
            net.link(End(), port)
        self.assertRaises(RuntimeError, net.start)
        self.assertEqual((near.ethernet.numPorts, port.numPorts), (0, 0))


class ResultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.net = Network()

    def test_timePassesOnlyUntilTheResult(self) -> None:
        done: Deferred[str] = Deferred()
        self.net.clock.callLater(5, done.callback, "done")
        self.net.clock.callLater(6, self.fail)
        self.assertEqual((self.net.result(done), self.net.clock.seconds()), ("done", 5))

    def test_theResultOfACoroutineIsReturned(self) -> None:
        async def story() -> int:
            for _ in range(3):
                pause: Deferred[None] = Deferred()
                self.net.clock.callLater(1, pause.callback, None)
                await pause
            return 7

        self.assertEqual((self.net.result(story()), self.net.clock.seconds()), (7, 3))

    def test_aFailureIsRaised(self) -> None:
        done: Deferred[str] = Deferred()
        self.net.clock.callLater(5, done.errback, ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, self.net.result, done)

    def test_noResultWithinTheLimitIsATimeout(self) -> None:
        done: Deferred[str] = Deferred()
        self.net.clock.callLater(5, done.callback, "done")
        with self.assertRaises(TimeoutError) as raised:
            self.net.result(done, limit=4)
        self.assertEqual(str(raised.exception), "no result within 4 seconds")
        self.assertEqual(self.net.result(done, limit=5), "done")

    def test_noScheduledCallIsATimeout(self) -> None:
        with self.assertRaises(TimeoutError) as raised:
            self.net.result(Deferred())
        self.assertIn("nothing is left", str(raised.exception))

    def test_aCirculatingPacketIsAnEndlessError(self) -> None:
        net = Network(clock=SimulationClock(mostAtOnce=1000))
        one, other = net.switch(), net.switch()
        net.link(one, other)
        # The network does not follow links between ports that were added, and so does not refuse this loop.
        net.link(one.addPort("here"), other.addPort("there"))
        host = net.host("10.0.0.1/24", one)
        with net:
            error = self.assertRaises(EndlessError, net.result, host.ping("10.0.0.2"))
        self.assertIn("does a packet circulate on links without a delay?", str(error))
        self.assertIn("times LinkEnd._deliver of <LinkEnd of <SwitchPort there>>", str(error))

    def test_anInterfaceOfTheKernelNeedsTheReactor(self) -> None:
        self.assertRaises(RuntimeError, self.net.tap, "tap0", self.net.switch())

    def test_runAndResultAreRefusedOnTheReactor(self) -> None:
        net = Network(clock=Clock())
        self.assertIsInstance(net.host("10.0.0.1/24", net.switch()), Host)
        self.assertRaises(RuntimeError, net.run, 1)
        self.assertRaises(RuntimeError, net.result, Deferred())
