"""
Tests that unchanged libraries for protocols over UDP run on a host: DNS, CoAP and SIP.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import txthings.coap as coap
import txthings.resource as resource
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.task import Clock
from twisted.names import client, dns
from twisted.names.error import DNSNameError
from twisted.names.server import DNSServerFactory
from twisted.protocols import sip
from twisted.trial.unittest import SynchronousTestCase

from tests.ports import joinHosts
from tests.zone import Zone
from txtuntap import Host
from txtuntap.testing import TAP

#: The addresses of the second host, which serves the first one.
SERVERS = ("10.0.0.2", "fd00::2")


class PairTestCase(SynchronousTestCase):
    """
    The base class of tests with two hosts on one network in memory.

    @ivar one: the host of the clients.
    @ivar other: the host of the servers.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.one, self.other = (Host([f"10.0.0.{n}/24", f"fd00::{n}/64"], self.clock) for n in (1, 2))
        self.ports = joinHosts(self.clock, TAP, self.one, self.other)
        self.turns()

    def turns(self, seconds: float = 0.0) -> None:
        """
        Deliver all packets under way, and advance the clock.
        """
        for _ in range(200):
            self.clock.advance(seconds / 200)


class Losing:
    """
    A mixin for a protocol, which drops the first datagrams that the protocol receives.

    @ivar lost: the number of datagrams still to be dropped.
    """

    lost = 1

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """
        Drop the datagram, or pass it on.
        """
        if self.lost:
            self.lost -= 1
        else:
            super().datagramReceived(data, addr)  # type: ignore[misc]


class LosingServer(Losing, dns.DNSDatagramProtocol):
    """
    A DNS server that drops its first datagram.
    """


class LosingCoap(Losing, coap.Coap):  # type: ignore[misc]
    """
    A CoAP server that drops its first datagram.
    """


class NamesTests(PairTestCase):
    """
    The DNS server and client of C{twisted.names}.
    """

    def serve(self, server: type[dns.DNSDatagramProtocol] = dns.DNSDatagramProtocol, interface: str = "") -> None:
        factory = DNSServerFactory(authorities=[Zone("")])
        factory.noisy = False
        self.other.listenUDP(53, server(factory, reactor=self.other), interface)

    def resolver(self, server: str) -> client.Resolver:
        return client.Resolver(servers=[(server, 53)], reactor=self.one)

    def test_addressesAreResolved(self) -> None:
        self.serve()
        for server in SERVERS:
            resolver = self.resolver(server)
            four, six = resolver.lookupAddress("www.example.test"), resolver.lookupIPV6Address("www.example.test")
            self.turns()
            for asked, address in (four, "192.0.2.7"), (six, "2001:db8::7"):
                (answer,), _, _ = self.successResultOf(asked)
                self.assertEqual(answer.payload, type(answer.payload)(address, 60))

    def test_anUnknownNameFails(self) -> None:
        self.serve()
        for server in SERVERS:
            asked = self.resolver(server).lookupAddress("nobody.example.test")
            self.turns()
            self.failureResultOf(asked, DNSNameError)

    def test_aLostQueryIsRepeated(self) -> None:
        for server in SERVERS:
            self.serve(LosingServer, server)
            asked = self.resolver(server).lookupAddress("www.example.test", timeout=[1, 3])
            self.turns(0.9)
            self.assertNoResult(asked)
            self.turns(0.2)
            self.assertEqual(len(self.successResultOf(asked)[0]), 1)

    def test_aRefusedQueryIsRepeated(self) -> None:
        for server in SERVERS:
            asked = self.resolver(server).lookupAddress("www.example.test", timeout=[1, 3])
            self.turns(0.5)
            self.assertNoResult(asked)
            self.serve()
            self.turns(1)
            self.assertEqual(len(self.successResultOf(asked)[0]), 1)
            for transport in self.other.udp.bound(53):
                transport.stopListening()

    def test_aQueryToAMissingServerTimesOut(self) -> None:
        asked = self.resolver("10.0.0.9").lookupAddress("www.example.test", timeout=[1])
        self.turns(5)
        self.failureResultOf(asked, TimeoutError)


class Block(resource.CoAPResource):  # type: ignore[misc]
    """
    A CoAP resource with a text that can be read and written.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text

    def render_GET(self, request: Any) -> Deferred[Any]:
        """
        Return the text of the resource.
        """
        return succeed(coap.Message(code=coap.CONTENT, payload=self.text))

    def render_PUT(self, request: Any) -> Deferred[Any]:
        """
        Replace the text of the resource.
        """
        self.text = request.payload
        return succeed(coap.Message(code=coap.CHANGED, payload=b""))


class CoAPTests(PairTestCase):
    """
    The CoAP server and client of txThings. They have no parameter for a reactor: C{host.listenUDP} is all that they
    need of a host. Their timers use the global reactor, by the name C{reactor} of C{txthings.coap}. On a host with
    that reactor, txThings runs unchanged. The hosts of these tests have a test clock, so the tests patch that name.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(coap, "reactor", self.clock)
        self.text = Block(b"short")
        root = resource.CoAPResource()
        root.putChild(b"text", self.text)
        self.endpoint = resource.Endpoint(root)
        self.other.listenUDP(coap.COAP_PORT, coap.Coap(self.endpoint))
        self.client = coap.Coap(resource.Endpoint(None))
        self.one.listenUDP(0, self.client)

    def ask(self, server: str, code: int, payload: bytes = b"") -> Any:
        """
        Send a CoAP request.

        @return: the answer to it.
        """
        request = coap.Message(code=code, payload=payload)
        request.opt.uri_path = (b"text",)
        request.remote = (ipaddress.ip_address(server), coap.COAP_PORT)
        asked: Deferred[Any] = self.client.request(request)
        self.turns()
        return self.successResultOf(asked)

    def test_aResourceIsRead(self) -> None:
        for server in SERVERS:
            self.assertEqual(self.ask(server, coap.GET).payload, b"short")

    def test_aResourceIsWritten(self) -> None:
        for server in SERVERS:
            self.assertEqual(self.ask(server, coap.PUT, server.encode()).code, coap.CHANGED)
            self.assertEqual(self.text.text, server.encode())

    def test_aLongResourceIsTransferredInBlocks(self) -> None:
        long = bytes(range(256)) * 10
        for server in SERVERS:
            self.ask(server, coap.PUT, long)
            self.assertEqual(self.text.text, long)
            self.assertEqual(self.ask(server, coap.GET).payload, long)

    def test_aLostRequestIsRepeated(self) -> None:
        self.other.udp.bound(coap.COAP_PORT)[0].stopListening()
        self.other.listenUDP(coap.COAP_PORT, LosingCoap(self.endpoint))
        request = coap.Message(code=coap.GET)
        request.opt.uri_path = (b"text",)
        request.remote = (ipaddress.ip_address("10.0.0.2"), coap.COAP_PORT)
        asked = self.client.request(request)
        self.turns(coap.ACK_TIMEOUT * 0.9)
        self.assertNoResult(asked)
        self.turns(coap.ACK_TIMEOUT * coap.ACK_RANDOM_FACTOR)
        self.assertEqual(self.successResultOf(asked).payload, b"short")


class Phone(sip.Base):
    """
    A SIP phone that accepts each request.

    @ivar asked: the methods of the requests that it has received.
    @ivar answers: the status codes of the responses that it has received.
    """

    noisy = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: list[str] = []
        self.answers: list[int] = []

    def handle_request(self, message: Any, addr: Any) -> None:
        """
        Record a request, and accept it.
        """
        self.asked.append(message.method)
        self.deliverResponse(self.responseFromRequest(200, message))

    def handle_response(self, message: Any, addr: Any) -> None:
        """
        Record the status code of a response.
        """
        self.answers.append(message.code)


class SIPTests(PairTestCase):
    """
    The SIP library of Twisted, C{twisted.protocols.sip}: a registrar and proxy on one host, and phones on the other.
    The timers of the registry use the global reactor, as those of txThings do. The library supports IPv4 only.
    """

    def setUp(self) -> None:
        super().setUp()
        self.registry = sip.InMemoryRegistry("example.test")
        self.patch(sip, "reactor", self.clock)

    def proxy(self, host: str) -> None:
        proxy: Any = sip.RegisterProxy(host=host)
        proxy.noisy = False
        proxy.registry = proxy.locator = self.registry
        self.other.listenUDP(sip.PORT, proxy, interface=host)

    def request(self, phone: Phone, server: str, own: str, port: int, method: str, to: str) -> None:
        message = sip.Request(method, "sip:example.test")
        message.addHeader("via", sip.Via(own, port).toString())
        message.addHeader("to", f"sip:{to}@example.test")
        message.addHeader("from", "sip:somebody@example.test")
        message.addHeader("call-id", "1")
        message.addHeader("cseq", f"1 {method}")
        message.addHeader("contact", f"sip:{to}@{own}:{port}")
        message.creationFinished()
        phone.sendMessage(sip.URL(host=server), message)
        self.turns()

    def test_aRegisteredPhoneIsCalled(self) -> None:
        self.proxy("10.0.0.2")
        called, calling = Phone(), Phone()
        self.one.listenUDP(5070, called)
        self.one.listenUDP(5071, calling)
        self.request(called, "10.0.0.2", "10.0.0.1", 5070, "REGISTER", "joe")
        self.assertEqual(called.answers, [200])
        for method in "OPTIONS", "INVITE":
            self.request(calling, "10.0.0.2", "10.0.0.1", 5071, method, "joe")
        self.assertEqual((called.asked, calling.answers), (["OPTIONS", "INVITE"], [200, 200]))

    def test_aCallToAnUnknownNameIsRefused(self) -> None:
        self.proxy("10.0.0.2")
        calling = Phone()
        self.one.listenUDP(5071, calling)
        self.request(calling, "10.0.0.2", "10.0.0.1", 5071, "INVITE", "nobody")
        self.assertEqual(calling.answers, [404])
