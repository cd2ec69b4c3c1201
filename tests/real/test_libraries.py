"""
The resolver of C{twisted.names} on a host, with name servers on the kernel's sockets.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.selectreactor import SelectReactor
from twisted.names import client, dns
from twisted.names.error import DNSNameError
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.conversation import resultOf
from tests.real.lab.link import setUp as setLinkUp
from tests.real.lab.namespace import Namespace, need
from tests.zone import LONG, Zone
from txtuntap import Host, TuntapPort

INTERFACE = "tt0"

#: The kernel's addresses, where the name servers are.
SERVERS = ("10.9.0.1", "fd09::1")


class Server(dns.DNSDatagramProtocol):
    """
    A name server that can lose queries and truncate answers.

    @ivar lost: the number of queries still to lose.
    @ivar truncated: whether answers are truncated.
    @ivar asked: the source addresses of queries.
    """

    noisy = False
    lost = 0
    truncated = False

    def __init__(self, controller: DNSServerFactory, reactor: Any) -> None:
        super().__init__(controller, reactor)  # type: ignore[no-untyped-call]
        self.asked: list[str] = []

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        self.asked.append(addr[0])
        if self.lost:
            self.lost -= 1
        else:
            super().datagramReceived(data, addr)

    def writeMessage(self, message: Any, address: Any) -> None:
        """
        Send an answer, truncated if C{truncated} is set.
        """
        if self.truncated:
            message.trunc, message.answers = True, []
        super().writeMessage(message, address)


class ResolverTests(SynchronousTestCase):
    """
    A resolver on a host with a tap. The host is the resolver's reactor, and runs in this process while the test waits
    for something.
    """

    def setUp(self) -> None:
        need()
        namespace = Namespace()
        namespace.open()
        self.addCleanup(namespace.close)
        self.reactor: Any = SelectReactor()
        self.addCleanup(lambda: self.reactor.waker.connectionLost(None))
        self.host = Host(["10.9.0.2/24", "fd09::2/64"], self.reactor)
        port = TuntapPort(INTERFACE, self.host.ethernet, reactor=self.reactor)
        port.startListening()
        self.addCleanup(self.stop, port)
        setLinkUp(INTERFACE, *(f"{server}/{64 if ':' in server else 24}" for server in SERVERS))
        factory = DNSServerFactory(authorities=[Zone("")])
        factory.noisy = False
        self.servers = {server: Server(factory, self.reactor) for server in SERVERS}
        for address, server in self.servers.items():
            for listening in (
                self.reactor.listenUDP(53, server, interface=address),
                self.reactor.listenTCP(53, factory, interface=address),
            ):
                self.addCleanup(self.stop, listening)

    def wait(self, waited: Deferred[Any]) -> Any:
        """
        Run the host until a Deferred fires.

        @return: the result of the Deferred.

        @raise Exception: the failure of the Deferred.
        """
        return resultOf(waited, lambda: self.reactor.iterate(0.005))

    def stop(self, port: IListeningPort) -> None:
        """
        Stop listening on a port.
        """
        self.wait(maybeDeferred(port.stopListening))

    def resolvers(self, *timeout: float) -> list[client.Resolver]:
        """
        Make a resolver for each server.
        """
        return [
            client.Resolver(servers=[(address, 53)], timeout=timeout or (10,), reactor=self.host) for address in SERVERS
        ]

    def test_namesAreResolved(self) -> None:
        for resolver in self.resolvers():
            for asked, address in (
                (resolver.lookupAddress("www.example.test"), "192.0.2.7"),
                (resolver.lookupIPV6Address("www.example.test"), "2001:db8::7"),
            ):
                (answer,), _, _ = self.wait(asked)
                self.assertEqual(answer.payload, type(answer.payload)(address, 60))
        self.assertEqual(self.servers["10.9.0.1"].asked, ["10.9.0.2"] * 2)
        self.assertEqual(self.servers["fd09::1"].asked, ["fd09::2"] * 2)

    def test_aMissingNameIsAnError(self) -> None:
        for resolver in self.resolvers():
            self.assertRaises(DNSNameError, self.wait, resolver.lookupAddress("nobody.example.test"))

    def test_anAnswerInFragmentsIsReceived(self) -> None:
        for resolver in self.resolvers():
            (answer,), _, _ = self.wait(resolver.lookupText("long.example.test"))
            self.assertEqual(answer.payload.data, LONG)
        self.assertEqual(self.host.counters["ip"]["reasmOKs"], 2)

    def test_aLostQueryIsRepeated(self) -> None:
        for server, resolver in zip(self.servers.values(), self.resolvers(0.01, 10), strict=True):
            server.lost = 1
            self.assertEqual(len(self.wait(resolver.lookupAddress("www.example.test"))[0]), 1)
            self.assertEqual(len(server.asked), 2)

    def test_aTruncatedAnswerIsRequestedByTCP(self) -> None:
        for server, resolver in zip(self.servers.values(), self.resolvers(), strict=True):
            server.truncated = True
            (answer,), _, _ = self.wait(resolver.lookupText("long.example.test"))
            self.assertEqual(answer.payload.data, LONG)
            self.assertEqual(len(server.asked), 1)
            (connection,) = resolver.connections
            connection.transport.loseConnection()
            while resolver.connections:
                self.reactor.iterate(0.005)
