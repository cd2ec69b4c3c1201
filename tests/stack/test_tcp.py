"""
Tests for L{txtuntap.stack.tcp}: a host without TCP.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError, NotConnectingError, UserError
from twisted.internet.interfaces import IConnector, IReactorTCP
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.names import client, dns
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txtuntap.stack.host import Host
from txtuntap.testing import TUN

from .link import LinkTestCase


class Connecting(ClientFactory):
    """
    Notes what happens to it.
    """

    noisy = False
    again = False

    def __init__(self) -> None:
        self.events: list[Any] = []

    def startFactory(self) -> None:
        self.events.append("start")

    def stopFactory(self) -> None:
        self.events.append("stop")

    def startedConnecting(self, connector: IConnector) -> None:
        self.events.append("connecting")

    def clientConnectionFailed(self, connector: IConnector, reason: Any) -> None:
        self.events.append(reason.value)
        if self.again:
            self.again = False
            connector.connect()


class WithoutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.host = Host(["10.0.0.2/24"], self.clock)
        self.factory = Connecting()

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IReactorTCP, self.host))

    def test_listening(self) -> None:
        with self.assertRaises(CannotListenError) as raised:
            self.host.listenTCP(80, Factory())
        self.assertIn("Host(tcp=reactor)", str(raised.exception))

    def test_connecting(self) -> None:
        connector: Any = self.host.connectTCP("10.0.0.1", 80, self.factory)
        self.assertTrue(verifyObject(IConnector, connector))
        self.assertEqual(self.factory.events, ["start", "connecting"])
        self.clock.advance(0)
        (error,) = self.factory.events[2:-1]
        self.assertIsInstance(error, ConnectError)
        self.assertIn("Host(tcp=reactor)", str(error))
        self.assertEqual(self.factory.events[-1], "stop")
        self.assertEqual((connector.getDestination().host, self.clock.getDelayedCalls()), ("10.0.0.1", []))

    def test_connectingAgain(self) -> None:
        self.factory.again = True
        self.host.connectTCP("10.0.0.1", 80, self.factory)
        self.clock.advance(0)
        self.assertEqual(len([event for event in self.factory.events if isinstance(event, ConnectError)]), 2)
        self.assertEqual((self.factory.events.count("stop"), self.factory.events[-1]), (1, "stop"))

    def test_givingUp(self) -> None:
        connector = self.host.connectTCP("fd00::1", 80, self.factory)
        connector.stopConnecting()
        self.assertIsInstance(self.factory.events[2], UserError)
        self.assertRaises(NotConnectingError, connector.stopConnecting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_endpoint(self) -> None:
        connecting = TCP4ClientEndpoint(self.host, "10.0.0.1", 80).connect(Factory.forProtocol(Protocol))
        self.clock.advance(0)
        self.failureResultOf(connecting, ConnectError)


class ElsewhereTests(SynchronousTestCase):
    def test_methodsGoToTheReactorGiven(self) -> None:
        reactor = MemoryReactor()
        host = Host([], Clock(), tcp=reactor)
        server, factory = Factory(), Connecting()
        port: Any = host.listenTCP(80, server, 5, "127.0.0.1")
        host.connectTCP("127.0.0.1", 81, factory, 7, ("127.0.0.2", 0))
        self.assertEqual(reactor.tcpServers, [(80, server, 5, "127.0.0.1")])
        self.assertEqual(reactor.tcpClients, [("127.0.0.1", 81, factory, 7, ("127.0.0.2", 0))])
        self.assertEqual(port.getHost().port, 80)


class Truncating(DatagramProtocol):
    """
    A DNS server whose every answer is cut short: "ask by TCP".
    """

    noisy = False
    transport: Any

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        message = dns.Message()
        message.fromStr(datagram)
        message.answer, message.trunc = True, True
        self.transport.write(message.toStr(), addr)


class TruncatedTests(LinkTestCase):
    def test_truncatedDNSAnswersFailAndSayWhy(self) -> None:
        self.make(mode=TUN)
        self.host.listenUDP(53, Truncating())
        resolver = client.Resolver(servers=[("10.0.0.2", 53)], reactor=self.host)
        for _ in range(3):
            asked = resolver.lookupAddress("example.com")
            self.clock.advance(0)
            error = self.failureResultOf(asked, ConnectError).value
            self.assertIn("Host(tcp=reactor)", str(error))
        self.assertEqual(resolver.pending, [])
