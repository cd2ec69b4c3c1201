"""
Tests for L{txtuntap.stack.streams}: a host that is used instead of a reactor.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from twisted.application.internet import ClientService
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError, DNSLookupError, InvalidAddressError
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorSSL, IReactorTCP
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.names import client, dns, server
from twisted.protocols import amp, tls
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, readBody
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface.verify import verifyObject

from tests.certificates import certificate
from tests.tcp.hosts import Client, HostsTestCase, Server, Talker
from tests.zone import Zone
from txtuntap.stack.host import Host
from txtuntap.stack.names import HostNames
from txtuntap.tcp.layer import TCPProtocol


class Add(amp.Command):
    """
    An AMP command that adds two numbers.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"sum", amp.Integer())]


class Adder(amp.AMP):
    @Add.responder
    def add(self, a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}


class MistakeTests(HostsTestCase):
    def test_theInterfacesOfAReactorAreProvided(self) -> None:
        for interface in IReactorTCP, IReactorSSL, IReactorPluggableNameResolver:
            self.assertTrue(verifyObject(interface, self.near))

    def test_aReactorIsRefusedAsTCPLayer(self) -> None:
        reactor: Any = MemoryReactor()
        with self.assertRaises(TypeError) as raised:
            Host([], Clock(), tcp=reactor)
        self.assertIn("tcp is a TCPProtocol", str(raised.exception))

    def test_aGivenTCPLayerIsUsed(self) -> None:
        tcp = TCPProtocol()
        self.assertIs(Host([], Clock(), tcp=tcp).tcp, tcp)

    def test_aPortOutOfRangeIsRefused(self) -> None:
        for port in -1, 65536, True, "80", None:
            self.assertRaises(ValueError, self.near.listenTCP, port, Server())

    def test_aFactoryWithoutBuildProtocolIsRefused(self) -> None:
        for factory in Talker, Talker(), None:
            with self.assertRaises(TypeError) as raised:
                self.near.listenTCP(80, factory)
            self.assertIn("buildProtocol", str(raised.exception))

    def test_listeningOnAnAddressOfAnotherHostIsRefused(self) -> None:
        with self.assertRaises(CannotListenError) as raised:
            self.near.listenTCP(80, Server(), interface="10.0.0.2")
        self.assertIn("it has 10.0.0.1", str(raised.exception))

    def test_listeningOnANameIsRefused(self) -> None:
        self.assertRaises(InvalidAddressError, self.near.listenTCP, 80, Server(), interface="localhost")

    def test_connectingFromANameIsRefused(self) -> None:
        for address in ("localhost", 0), "localhost":
            self.assertRaises(InvalidAddressError, self.near.connectTCP, "10.0.0.2", 80, Client(), bindAddress=address)

    def test_theTCPLayerIsCreatedAtItsFirstUse(self) -> None:
        self.assertFalse(self.near.usesTCP)
        self.assertNotIn("tcp", self.near.counters)
        self.near.listenTCP(80, Server())
        self.assertTrue(self.near.usesTCP)


class LibraryTests(HostsTestCase):
    """
    Libraries that were written for a reactor run on a host.
    """

    def setUp(self) -> None:
        self.start(hosts={"far.example": ["fd00::2", "10.0.0.2"]})

    def test_serverFromString(self) -> None:
        servers, clients = Server(), Client()
        listening = serverFromString(self.far, "tcp:80").listen(servers)
        self.assertEqual(self.successResultOf(listening).getHost().port, 80)
        self.near.connectTCP("10.0.0.2", 80, clients)
        self.wait()
        self.assertEqual((len(servers.made), len(clients.made)), (1, 1))

    def test_endpointsConnect(self) -> None:
        servers = Server()
        TCP6ServerEndpoint(self.far, 80).listen(servers)
        self.far.listenTCP(81, servers)
        for endpoint in TCP4ClientEndpoint(self.near, "10.0.0.2", 81), HostnameEndpoint(self.near, "far.example", 80):
            connecting = endpoint.connect(Factory.forProtocol(Talker))
            self.wait()
            protocol: Any = self.successResultOf(connecting)
            self.assertEqual(protocol.events, ["made"])

    def test_aNameOfTheTableIsConnectedTo(self) -> None:
        servers = Server()
        self.far.listenTCP(80, servers)
        self.near.connectTCP("far.example", 80, Client())
        self.wait()
        self.assertEqual(servers.addresses[0].host, "fd00::1")

    def test_aWebPageIsTransferred(self) -> None:
        root = Resource()
        root.putChild(b"page", Data(b"x" * 200_000, "text/plain"))
        self.far.listenTCP(80, Site(root, reactor=self.far))
        answering = Agent(self.near).request(b"GET", b"http://far.example/page")
        self.wait(5)
        answer = self.successResultOf(answering)
        self.assertEqual(answer.code, 200)
        reading = readBody(answer)
        self.wait(10)
        self.assertEqual(self.successResultOf(reading), b"x" * 200_000)

    def test_AMPCallsAreAnswered(self) -> None:
        self.far.listenTCP(80, Factory.forProtocol(Adder))
        connecting = TCP4ClientEndpoint(self.near, "10.0.0.2", 80).connect(Factory.forProtocol(amp.AMP))
        self.wait()
        protocol: Any = self.successResultOf(connecting)
        asking = protocol.callRemote(Add, a=3, b=4)
        self.wait()
        self.assertEqual(self.successResultOf(asking), {"sum": 7})

    def test_aClientServiceConnectsAgain(self) -> None:
        servers = Server()
        self.far.listenTCP(80, servers)
        endpoint = TCP4ClientEndpoint(self.near, "10.0.0.2", 80)
        service = ClientService(endpoint, Factory.forProtocol(Talker), clock=self.near)
        service.startService()
        self.wait()
        servers.made[0].transport.abortConnection()
        self.wait(10)
        self.assertEqual(len(servers.made), 2)
        protocol: Any = self.successResultOf(service.whenConnected())
        protocol.transport.write(b"again")
        self.wait()
        self.assertEqual(servers.made[1].data, b"again")
        stopping = service.stopService()
        self.wait()
        self.assertIsNone(self.successResultOf(stopping))

    def test_aWebPageIsTransferredOverTLS(self) -> None:
        with TemporaryDirectory() as directory:
            made = certificate(Path(directory), "far.example", server=True)
            own = PrivateCertificate.loadPEM(Path(made.file).read_bytes())
            trusted = trustRootFromCertificates([Certificate.loadPEM(Path(made.public).read_bytes())])
        # The TLS of an Agent uses the clock of the global reactor by default.
        self.patch(tls, "_get_default_clock", lambda: self.net.clock)
        root = Resource()
        root.putChild(b"page", Data(b"x" * 200_000, "text/plain"))
        self.far.listenSSL(443, Site(root, reactor=self.far), own.options())
        answering = Agent(self.near, BrowserLikePolicyForHTTPS(trusted)).request(b"GET", b"https://far.example/page")
        self.wait(5)
        reading = readBody(self.successResultOf(answering))
        self.wait(10)
        self.assertEqual(self.successResultOf(reading), b"x" * 200_000)

    def serveNames(self) -> None:
        """
        Run a DNS server on the far host, and add the addresses of its names to that host.
        """
        for address, network in ("192.0.2.7/24", "192.0.2.0/24"), ("2001:db8::7/64", "2001:db8::/64"):
            self.far.addAddress(address)
            self.near.addRoute(network)
        names = server.DNSServerFactory(clients=[Zone("")])
        self.far.listenUDP(53, dns.DNSDatagramProtocol(names, reactor=self.far))

    def opens(self, name: str) -> None:
        """
        Check that the near host can connect to the far one by a name.
        """
        servers, clients = Server(), Client()
        port: Any = self.far.listenTCP(80, servers)
        self.near.connectTCP(name, 80, clients)
        self.wait(5)
        self.assertEqual(clients.failed, [])
        self.assertEqual(len(servers.made), 1)
        port.stopListening()

    def test_anInstalledResolverIsUsed(self) -> None:
        self.serveNames()
        resolver: Any = client.Resolver(servers=[("10.0.0.2", 53)], reactor=self.near)
        self.near.installNameResolver(resolver)
        self.opens("www.example.test")

    def test_installedResolverReplacesTheTable(self) -> None:
        """
        The installed resolver does not know the names of C{hosts}. The previous resolver does, and can be installed
        again.
        """
        self.start(hosts={"far.example": "10.0.0.2"})
        table = self.near.nameResolver
        other = HostNames({"other.example": "10.0.0.2"})
        self.assertIs(self.near.installNameResolver(other), table)
        self.assertIs(self.near.nameResolver, other)
        self.opens("other.example")
        clients = Client()
        self.near.connectTCP("far.example", 80, clients)
        self.wait(5)
        self.assertEqual([type(each) for each in clients.failed], [DNSLookupError])
        self.assertIs(self.near.installNameResolver(table), other)
        self.opens("far.example")
        self.assertRaises(TypeError, self.near.installNameResolver, "10.0.0.53")
        self.assertIs(self.near.nameResolver, table)

    def test_aResolverCanUseTheHostAsItsReactor(self) -> None:
        def made(host: Any) -> Any:
            return client.Resolver(servers=[("10.0.0.2", 53)], reactor=host)

        self.start(hosts={"far.example": "10.0.0.2"}, resolver=made)
        self.serveNames()
        for name in "www.example.test", "far.example":
            self.opens(name)
        clients = Client()
        self.near.connectTCP("nobody.example.test", 80, clients)
        self.wait(5)
        self.assertEqual([type(each) for each in clients.failed], [DNSLookupError])
        self.assertRaises(TypeError, Host, [], Clock(), resolver=lambda host: "10.0.0.2")
