"""
Tests for L{txtuntap.stack.streams}: a host in the place of a reactor.
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
    Adds two numbers.
    """

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"sum", amp.Integer())]


class Adder(amp.AMP):
    @Add.responder
    def add(self, a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}


class MistakeTests(HostsTestCase):
    def test_interfaces(self) -> None:
        for interface in IReactorTCP, IReactorSSL, IReactorPluggableNameResolver:
            self.assertTrue(verifyObject(interface, self.near))

    def test_reactorAsTCP(self) -> None:
        reactor: Any = MemoryReactor()
        with self.assertRaises(TypeError) as raised:
            Host([], Clock(), tcp=reactor)
        self.assertIn("tcp is a TCPProtocol", str(raised.exception))

    def test_tcpLayerOfOnesOwn(self) -> None:
        tcp = TCPProtocol()
        self.assertIs(Host([], Clock(), tcp=tcp).tcp, tcp)

    def test_ports(self) -> None:
        for port in -1, 65536, True, "80", None:
            self.assertRaises(ValueError, self.near.listenTCP, port, Server())

    def test_factoryThatIsNone(self) -> None:
        for factory in Talker, Talker(), None:
            with self.assertRaises(TypeError) as raised:
                self.near.listenTCP(80, factory)
            self.assertIn("buildProtocol", str(raised.exception))

    def test_interfaceOfAnotherHost(self) -> None:
        with self.assertRaises(CannotListenError) as raised:
            self.near.listenTCP(80, Server(), interface="10.0.0.2")
        self.assertIn("it has 10.0.0.1", str(raised.exception))

    def test_nameAsInterface(self) -> None:
        self.assertRaises(InvalidAddressError, self.near.listenTCP, 80, Server(), interface="localhost")

    def test_bindAddress(self) -> None:
        for address in ("localhost", 0), "localhost":
            self.assertRaises(InvalidAddressError, self.near.connectTCP, "10.0.0.2", 80, Client(), bindAddress=address)

    def test_hostThatUsesNone(self) -> None:
        self.assertFalse(self.near.usesTCP)
        self.assertNotIn("tcp", self.near.counters)
        self.near.listenTCP(80, Server())
        self.assertTrue(self.near.usesTCP)


class LibraryTests(HostsTestCase):
    """
    What was written for a reactor.
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

    def test_endpoints(self) -> None:
        servers = Server()
        TCP6ServerEndpoint(self.far, 80).listen(servers)
        self.far.listenTCP(81, servers)
        for endpoint in TCP4ClientEndpoint(self.near, "10.0.0.2", 81), HostnameEndpoint(self.near, "far.example", 80):
            connecting = endpoint.connect(Factory.forProtocol(Talker))
            self.wait()
            protocol: Any = self.successResultOf(connecting)
            self.assertEqual(protocol.events, ["made"])

    def test_connectingToAName(self) -> None:
        servers = Server()
        self.far.listenTCP(80, servers)
        self.near.connectTCP("far.example", 80, Client())
        self.wait()
        self.assertEqual(servers.addresses[0].host, "fd00::1")

    def test_web(self) -> None:
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

    def test_amp(self) -> None:
        self.far.listenTCP(80, Factory.forProtocol(Adder))
        connecting = TCP4ClientEndpoint(self.near, "10.0.0.2", 80).connect(Factory.forProtocol(amp.AMP))
        self.wait()
        protocol: Any = self.successResultOf(connecting)
        asking = protocol.callRemote(Add, a=3, b=4)
        self.wait()
        self.assertEqual(self.successResultOf(asking), {"sum": 7})

    def test_clientService(self) -> None:
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

    def test_webOverTLS(self) -> None:
        with TemporaryDirectory() as directory:
            made = certificate(Path(directory), "far.example", server=True)
            own = PrivateCertificate.loadPEM(Path(made.file).read_bytes())
            trusted = trustRootFromCertificates([Certificate.loadPEM(Path(made.public).read_bytes())])
        # The TLS of an Agent waits by the global reactor.
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
        Have the far host know names, and the addresses that they have.
        """
        for address, network in ("192.0.2.7/24", "192.0.2.0/24"), ("2001:db8::7/64", "2001:db8::/64"):
            self.far.addAddress(address)
            self.near.addRoute(network)
        names = server.DNSServerFactory(clients=[Zone("")])
        self.far.listenUDP(53, dns.DNSDatagramProtocol(names, reactor=self.far))

    def opens(self, name: str) -> None:
        """
        Have the near host connect to the far one by a name.
        """
        servers, clients = Server(), Client()
        port: Any = self.far.listenTCP(80, servers)
        self.near.connectTCP(name, 80, clients)
        self.wait(5)
        self.assertEqual(clients.failed, [])
        self.assertEqual(len(servers.made), 1)
        port.stopListening()

    def test_installedResolver(self) -> None:
        self.serveNames()
        resolver: Any = client.Resolver(servers=[("10.0.0.2", 53)], reactor=self.near)
        self.near.installNameResolver(resolver)
        self.opens("www.example.test")

    def test_installedResolverReplacesTheTable(self) -> None:
        """
        The names of C{hosts} are found by the resolver that was there before, which is returned, and may be put back.
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

    def test_resolverOverTheHost(self) -> None:
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
