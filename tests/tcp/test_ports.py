"""
Tests for the module L{txtuntap.tcp.ports}.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import CannotListenError, ConnectionLost, ConnectionRefusedError, InvalidAddressError
from twisted.internet.interfaces import IListeningPort, ILoggingContext
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from txtuntap.ip import IPProtocol
from txtuntap.tcp import TCPProtocol

from .hosts import Client, HostsTestCase, Server, Talker


class Counting(Server):
    """
    A factory that records when it is started and stopped.
    """

    def __init__(self, kind: type[Talker] = Talker) -> None:
        super().__init__(kind)
        self.events: list[str] = []

    def startFactory(self) -> None:
        self.events.append("start")

    def stopFactory(self) -> None:
        self.events.append("stop")


class ListeningTests(HostsTestCase):
    def test_aPortProvidesItsInterfaces(self) -> None:
        port = self.far.listenTCP(80, Server())
        for interface in IListeningPort, ILoggingContext:
            self.assertTrue(verifyObject(interface, port))

    def test_portZeroIsAnyFreeOne(self) -> None:
        made: list[Any] = [self.far.listenTCP(0, Server()) for _ in range(20)]
        ports = {port.getHost().port for port in made}
        self.assertEqual(len(ports), 20)
        self.assertTrue(all(49152 <= port <= 0xFFFF for port in ports))

    def test_aPortInUseIsRefused(self) -> None:
        self.far.listenTCP(80, Server())
        for interface in "", "0.0.0.0", "10.0.0.2", "::", "fd00::2", "127.0.0.1":
            with self.assertRaises(CannotListenError) as raised:
                self.far.listenTCP(80, Server(), interface=interface)
            error: Any = raised.exception
            self.assertEqual((error.interface, error.port), (interface, 80))
            self.assertEqual(error.socketError.errno, errno.EADDRINUSE)
            self.assertIn("give 0", str(error))

    def test_anInterfaceThatIsNoTextIsRefused(self) -> None:
        interface: Any
        for interface in None, b"", 0, b"10.0.0.2":
            with self.assertRaises(InvalidAddressError) as raised:
                self.far.listenTCP(80, Server(), interface=interface)
            self.assertIn("'10.0.0.2'", str(raised.exception))
            with self.assertRaises(InvalidAddressError):
                self.far.listenUDP(80, DatagramProtocol(), interface=interface)

    def test_aPortStartsAgainOnceItHasStopped(self) -> None:
        """
        A port can be started again once it has stopped, but not earlier.
        """
        factory = Counting()
        port: Any = self.far.listenTCP(80, factory)
        stopping = port.stopListening()
        error = self.assertRaises(CannotListenError, port.startListening)
        self.assertIn("wait", str(error))
        self.wait(0)
        self.successResultOf(stopping)
        port.startListening()
        self.assertTrue(port.connected)
        self.near.connectTCP("10.0.0.2", 80, Client())
        self.wait()
        self.assertEqual((len(factory.made), factory.events), (1, ["start", "stop", "start"]))

    def test_aPortWithoutAClockCannotBeStopped(self) -> None:
        """
        A port whose layer has no clock yet cannot be stopped, and continues to listen.
        """
        tcp = TCPProtocol()
        port = tcp.listen(80, Server())
        self.assertIn("addProto", str(self.assertRaises(RuntimeError, port.stopListening)))
        self.assertEqual(len(tcp.listening), 1)
        IPProtocol(clock=Clock()).addProto(6, tcp)
        port.stopListening()
        self.assertEqual(tcp.listening, [])

    def test_aPortListensOnSeveralAddresses(self) -> None:
        for interface in "10.0.0.2", "127.0.0.1", "::":
            self.far.listenTCP(80, Server(), interface=interface)
        self.assertRaises(CannotListenError, self.far.listenTCP, 80, Server(), interface="0.0.0.0")

    def test_getHostReturnsTheAddress(self) -> None:
        for interface, host in ("", "0.0.0.0"), ("::", "::"), ("10.0.0.2", "10.0.0.2"), ("fd00::2", "fd00::2"):
            port: Any = self.far.listenTCP(0, Server(), interface=interface)
            self.assertEqual(port.getHost().host, host)

    def test_theAddressOfAnotherHostIsRefused(self) -> None:
        """
        An address that the IP layer does not have is refused, with and without a host. An IP layer without addresses
        accepts all of them.
        """
        alone = TCPProtocol()
        ip = IPProtocol(["10.0.0.2/24", "fd00::2/64"], clock=Clock())
        ip.addProto(6, alone)
        for listen in self.far.listenTCP, alone.listen:
            for interface in "10.0.0.9", "fd00::9":
                with self.assertRaises(CannotListenError) as raised:
                    listen(80, Server(), interface=interface)
                error: Any = raised.exception
                self.assertEqual((error.interface, error.port), (interface, 80))
                self.assertEqual(error.socketError.errno, errno.EADDRNOTAVAIL)
                self.assertIn("it has 10.0.0.2", str(error))
            for interface in "10.0.0.2", "fd00::2", "127.0.0.1":
                listen(80, Server(), interface=interface)
        taking, other = TCPProtocol(), TCPProtocol()
        IPProtocol(clock=Clock()).addProto(6, taking)
        for each in taking, other:
            self.assertEqual(each.listen(80, Server(), interface="10.0.0.9").getHost().host, "10.0.0.9")

    def test_onlyTheBoundAddressAccepts(self) -> None:
        self.far.listenTCP(80, Server(), interface="fd00::2")
        clients = Client()
        self.near.connectTCP("10.0.0.2", 80, clients)
        self.near.connectTCP("fd00::2", 80, clients)
        self.wait()
        self.assertEqual(len(clients.made), 1)
        self.assertEqual([type(each) for each in clients.failed], [ConnectionRefusedError])

    def test_factoryIsStartedAndStopped(self) -> None:
        server = Counting()
        ports: list[Any] = [self.far.listenTCP(number, server) for number in (80, 81)]
        self.assertEqual((server.events, server.numPorts), (["start"], 2))
        done = [port.stopListening() for port in ports]
        self.assertEqual(server.events, ["start"])
        self.wait()
        self.assertEqual(server.events, ["start", "stop"])
        for each in done:
            self.assertIsNone(self.successResultOf(each))

    def test_stopListeningKeepsConnections(self) -> None:
        self.connect()
        done = self.port.stopListening()
        self.assertIsNone(self.successResultOf(self.port.stopListening()))
        self.wait()
        self.assertIsNone(self.successResultOf(done))
        self.client.transport.write(b"still")
        self.wait()
        self.assertEqual(self.server.data, b"still")
        self.connector = self.near.connectTCP("10.0.0.2", 80, self.clients)
        self.wait()
        self.assertIsInstance(self.clients.failed[0], ConnectionRefusedError)
        self.far.listenTCP(80, Server())

    def test_theLogNamesThePort(self) -> None:
        port: Any = self.far.listenTCP(80, Server())
        self.assertIn("tests.tcp.hosts.Server", port.logPrefix())
        self.assertIn("80", repr(port))
        port.stopListening()
        self.wait()
        self.assertIn("not listening", repr(port))


class RefusingTests(HostsTestCase):
    """
    Tests for factories that build no protocol, whose connections are reset.
    """

    def assertReset(self) -> None:
        clients = Client()
        self.near.connectTCP("10.0.0.2", 80, clients)
        self.wait()
        self.assertEqual([type(each) for each in clients.lost], [ConnectionLost])
        self.assertEqual(list(self.far.tcp.transports), [])

    def test_withoutAProtocolTheConnectionIsReset(self) -> None:
        server: Any = Server()
        server.buildProtocol = lambda addr: None
        self.far.listenTCP(80, server)
        self.assertReset()

    def test_buildProtocolThatRaisesResetsTheConnection(self) -> None:
        def fail(addr: Any) -> None:
            raise ZeroDivisionError

        server: Any = Server()
        server.buildProtocol = fail
        self.far.listenTCP(80, server)
        self.assertReset()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class IdleTests(HostsTestCase):
    """
    Tests for C{onIdle}, which is called when the last connection has ended.
    """

    def setUp(self) -> None:
        super().setUp()
        self.idle = 0

        def isIdle() -> None:
            self.idle += 1
            self.assertEqual(len(self.near.tcp.transports), 0)

        self.near.tcp.onIdle = isIdle

    def test_onlyTheLastConnectionCallsOnIdle(self) -> None:
        self.connect()
        other = Client()
        self.near.connectTCP("10.0.0.2", 80, other)
        self.wait()
        self.client.transport.loseConnection()
        self.wait()
        self.assertEqual((self.idle, len(self.near.tcp.transports)), (0, 1))
        other.made[0].transport.abortConnection()
        self.wait()
        self.assertEqual(self.idle, 1)

    def test_anOrphanDelaysOnIdle(self) -> None:
        self.connect()
        self.server.transport.pauseProducing()
        self.client.transport.write(bytes(120_000))
        self.client.transport.loseConnection()
        self.wait(10)
        self.assertIsNotNone(self.client.lost)
        self.assertEqual((self.idle, len(self.near.tcp.transports)), (0, 1))
        self.server.transport.resumeProducing()
        self.wait(10)
        self.assertEqual((len(self.server.data), self.idle), (120_000, 1))

    def test_aFailedAttemptCallsOnIdle(self) -> None:
        client = Client()
        self.near.connectTCP("10.0.0.2", 81, client)
        self.wait()
        self.assertEqual((len(client.failed), self.idle), (1, 1))

    def test_stoppingTheHostCallsOnIdle(self) -> None:
        self.connect()
        self.net.stop()
        self.assertEqual(self.idle, 1)
