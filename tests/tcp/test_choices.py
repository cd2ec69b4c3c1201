"""
Tests for the parameters of a host, a port and a connection, and for congestion controls of applications.
"""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass

from tests.tcp.hosts import Client, HostsTestCase, Server
from tests.tcp.rawpeer import OURS, THEIRS, RawPeer, Readers
from txtuntap.tcp import ICongestionControl, NewReno, Parameters, TCPProtocol
from txtuntap.wire.tcp import ACK, RST


@implementer(ICongestionControl)
class Steady:
    """
    A congestion control with a window and a rate that never change. It implements L{ICongestionControl} directly.
    """

    window: float = 200_000
    threshold: float = inf
    rate: float | None = 50_000

    def started(self, segmentSize: int) -> None:
        pass

    def segmentSizeChanged(self, segmentSize: int) -> None:
        pass

    def acknowledged(self, octets: int, acknowledged: int, sent: int, now: float) -> None:
        pass

    def sampled(self, roundTrip: float, now: float) -> None:
        pass

    def lost(self, flight: int, now: float) -> None:
        pass

    def echoed(self, flight: int, now: float) -> None:
        pass

    def timedOut(self, flight: int, now: float) -> None:
        pass

    def undone(self, now: float) -> None:
        pass

    def idle(self, seconds: float, timeout: float) -> None:
        pass


class ChoiceTests(HostsTestCase):
    """
    Tests for the scope of parameters.
    """

    def controls(self, host: Any) -> list[Any]:
        return sorted(record.control for record in host.connections)

    def test_aHostHasItsOwnParameters(self) -> None:
        self.start(tcp=TCPProtocol(Parameters(congestion=NewReno)))
        self.near.listenTCP(80, Server())
        self.far.connectTCP("10.0.0.1", 80, Client())
        self.far.listenTCP(80, Server())
        self.near.connectTCP("10.0.0.2", 80, Client())
        self.wait()
        self.assertEqual(self.controls(self.near), ["NewReno", "NewReno"])
        self.assertEqual(self.controls(self.far), ["Cubic", "Cubic"])

    def test_aPortHasItsOwnParameters(self) -> None:
        self.far.tcp.listen(80, Server(), parameters=Parameters(congestion=NewReno))
        self.far.tcp.listen(81, Server())
        for port in 80, 81:
            self.near.connectTCP("10.0.0.2", port, Client())
        self.wait()
        found = {record.host.port: record.control for record in self.far.connections}
        self.assertEqual(found, {80: "NewReno", 81: "Cubic"})

    def test_aConnectionHasItsOwnParameters(self) -> None:
        self.far.listenTCP(80, Server())
        self.near.tcp.connect("10.0.0.2", 80, Client(), parameters=Parameters(congestion=NewReno))
        self.near.connectTCP("10.0.0.2", 80, Client())
        self.wait()
        self.assertEqual(self.controls(self.near), ["Cubic", "NewReno"])

    def test_onlyAConnectionWithTheParameterUsesECN(self) -> None:
        self.connect()
        self.near.tcp.connect("10.0.0.2", 80, self.clients, parameters=Parameters(ecn=True))
        self.wait()
        found = [talker.transport.connection.agreement.ecn for talker in self.clients.made]
        self.assertEqual(found, [False, True])

    def cut(self) -> None:
        """
        Make the link lose all packets.
        """
        for end in self.net.links[0].ends:
            self.patch(end, "writePacket", lambda buffers, offload=None: None)

    def test_aUserTimeoutEndsTheConnection(self) -> None:
        self.far.listenTCP(80, Server())
        clients = Client()
        self.near.tcp.connect("10.0.0.2", 80, clients, parameters=Parameters(userTimeout=20.0))
        self.wait()
        self.cut()
        clients.made[0].transport.write(b"hello")
        self.wait(19)
        self.assertEqual(clients.lost, [])
        self.wait(2)
        self.assertEqual([type(each) for each in clients.lost], [ConnectionLost])

    def test_aUserTimeoutSetLaterHoldsAtOnce(self) -> None:
        """
        A user timeout that is set on an established connection holds at once, even if the next retransmission is half a
        minute away.
        """
        self.connect()
        self.cut()
        self.client.transport.write(b"hello")
        self.wait(30)
        self.client.transport.setUserTimeout(31)
        self.wait(0.9)
        self.assertIsNone(self.client.lost)
        self.wait(0.2)
        self.assertIsInstance(self.client.lost, ConnectionLost)

    def test_wrongUserTimeoutsAreRefused(self) -> None:
        self.connect()
        for seconds in 0, -1, "20", inf:
            error = self.assertRaises(ValueError, self.client.transport.setUserTimeout, seconds)
            self.assertIn("a number of seconds, more than 0", str(error))
        self.client.transport.setUserTimeout(None)

    def test_aControlOfTheApplicationIsUsed(self) -> None:
        self.assertTrue(verifyClass(ICongestionControl, Steady))
        servers, clients = Server(), Client()
        self.far.listenTCP(80, servers)
        self.near.tcp.connect("10.0.0.2", 80, clients, parameters=Parameters(congestion=Steady))
        self.wait()
        self.assertEqual(self.controls(self.near), ["Steady"])
        clients.made[0].transport.write(bytes(150_000))
        self.wait(2)
        self.assertApproximates(len(servers.made[0].data), 100_000, 5000)
        self.wait(2)
        self.assertEqual(len(servers.made[0].data), 150_000)


class Oops(Exception):
    """
    The exception of a congestion control that fails.
    """


def failing(name: str) -> type[NewReno]:
    """
    Make a congestion control with one method that raises.
    """

    def fail(self: object, *arguments: object) -> None:
        raise Oops

    return type("Failing", (NewReno,), {name: fail})


class FailingControlTests(SynchronousTestCase):
    """
    A congestion control that raises ends its connection, and nothing else.
    """

    def peer(self, congestion: Any) -> tuple[RawPeer, Readers]:
        peer, factory = RawPeer(TCPProtocol(Parameters(congestion=congestion))), Readers()
        peer.host.listenTCP(80, factory)
        return peer, factory

    def assertGone(self, peer: RawPeer) -> None:
        """
        Assert that the connection has ended, and that one failure was logged.
        """
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertEqual(peer.host.connections, [])
        self.assertEqual((peer.counters["protocolFailures"], peer.counters.currEstab), (1, 0))
        self.assertEqual(peer.table("connections of a peer").size, 0)

    def test_aControlThatFailsAtTheStartCostsItsConnection(self) -> None:
        peer, factory = self.peer(failing("started"))
        (answer,) = peer.syn(80)
        acknowledgment = (answer.sequence + 1) & 0xFFFFFFFF
        (reset,) = peer.send(THEIRS, OURS, 4000, 80, 1001, acknowledgment, ACK)
        self.assertEqual((reset.flags, reset.sequence), (RST, acknowledgment))
        self.assertEqual(factory.made, [])
        self.assertGone(peer)

    def test_aControlThatFailsAtASampleCostsItsConnection(self) -> None:
        peer, factory = self.peer(failing("sampled"))
        connection = peer.open(80)
        transport: Any = factory.made[0].transport
        transport.write(b"hello")
        peer.sent()
        connection.expected += 5
        (answer,) = connection.send(b"")
        self.assertTrue(answer.flags & RST)
        self.assertIsInstance(factory.made[0].lost.value, ConnectionLost)
        self.assertGone(peer)

    def test_aControlThatFailsAtATimeoutCostsItsConnection(self) -> None:
        peer, factory = self.peer(failing("timedOut"))
        peer.open(80)
        transport: Any = factory.made[0].transport
        transport.write(b"hello")
        peer.clock.pump([0.1] * 30)
        self.assertTrue(peer.sent()[-1].flags & RST)
        self.assertGone(peer)

    def test_anotherConnectionInTheSameTurnIsServed(self) -> None:
        """
        Other connections with a turn in the same iteration of the reactor are served.
        """
        peer, factory = self.peer(failing("idle"))
        other = Readers()
        peer.host.tcp.listen(81, other, parameters=Parameters())
        for port in 80, 81:
            connection = peer.open(port)
            reader = factory.made[0] if port == 80 else other.made[0]
            transport: Any = reader.transport
            transport.write(b"hello")
            peer.sent()
            connection.expected += 5
            connection.send(b"")
        peer.clock.advance(10)
        for reader in factory.made[0], other.made[0]:
            transport = reader.transport
            transport.write(b"again")
        sent = peer.sent()
        self.assertEqual([each.payload for each in sent if each.sourcePort == 81], [b"again"])
        self.assertEqual([record.host.port for record in peer.host.connections], [81])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)


class FailingClientTests(HostsTestCase):
    def test_aControlThatFailsEndsTheAttempt(self) -> None:
        self.far.listenTCP(80, Server())
        for congestion in failing("__init__"), failing("started"):
            clients = Client()
            self.near.tcp.connect("10.0.0.2", 80, clients, parameters=Parameters(congestion=congestion))
            self.wait()
            self.assertEqual(len(clients.failed), 1)
            self.assertEqual((clients.made, clients.lost), ([], []))
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)
        self.assertIsInstance(clients.failed[0], ConnectionLost)
        self.assertEqual(self.near.connections, [])
