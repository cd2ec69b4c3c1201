"""
Libraries for protocols over UDP run on a host as they are: names, CoAP, SIP.
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

#: Addresses of the second host, by which the first one asks it.
SERVERS = ("10.0.0.2", "fd00::2")


class PairTestCase(SynchronousTestCase):
    """
    @ivar one: a host; C{other}: another, on the same network.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.one, self.other = (Host([f"10.0.0.{n}/24", f"fd00::{n}/64"], self.clock) for n in (1, 2))
        self.ports = joinHosts(self.clock, TAP, self.one, self.other)
        self.turns()

    def turns(self, seconds: float = 0.0) -> None:
        """
        Let what is under way arrive; and time pass.
        """
        for _ in range(200):
            self.clock.advance(seconds / 200)


class Losing:
    """
    Mixed into a protocol, loses what comes to it first.

    @ivar lost: how many datagrams are still to be lost.
    """

    lost = 1

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """
        Take it, or not.
        """
        if self.lost:
            self.lost -= 1
        else:
            super().datagramReceived(data, addr)  # type: ignore[misc]


class LosingServer(Losing, dns.DNSDatagramProtocol):
    """
    Of names.
    """


class LosingCoap(Losing, coap.Coap):  # type: ignore[misc]
    """
    Of CoAP.
    """


class NamesTests(PairTestCase):
    """
    C{twisted.names}: server and client.
    """

    def serve(self, server: type[dns.DNSDatagramProtocol] = dns.DNSDatagramProtocol, interface: str = "") -> None:
        factory = DNSServerFactory(authorities=[Zone("")])
        factory.noisy = False
        self.other.listenUDP(53, server(factory, reactor=self.other), interface)

    def resolver(self, server: str) -> client.Resolver:
        return client.Resolver(servers=[(server, 53)], reactor=self.one)

    def test_lookups(self) -> None:
        self.serve()
        for server in SERVERS:
            resolver = self.resolver(server)
            four, six = resolver.lookupAddress("www.example.test"), resolver.lookupIPV6Address("www.example.test")
            self.turns()
            for asked, address in (four, "192.0.2.7"), (six, "2001:db8::7"):
                (answer,), _, _ = self.successResultOf(asked)
                self.assertEqual(answer.payload, type(answer.payload)(address, 60))

    def test_nameThatIsNot(self) -> None:
        self.serve()
        for server in SERVERS:
            asked = self.resolver(server).lookupAddress("nobody.example.test")
            self.turns()
            self.failureResultOf(asked, DNSNameError)

    def test_queryThatIsLostIsAskedAgain(self) -> None:
        for server in SERVERS:
            self.serve(LosingServer, server)
            asked = self.resolver(server).lookupAddress("www.example.test", timeout=[1, 3])
            self.turns(0.9)
            self.assertNoResult(asked)
            self.turns(0.2)
            self.assertEqual(len(self.successResultOf(asked)[0]), 1)

    def test_queryThatIsRefusedIsAskedAgain(self) -> None:
        for server in SERVERS:
            asked = self.resolver(server).lookupAddress("www.example.test", timeout=[1, 3])
            self.turns(0.5)
            self.assertNoResult(asked)
            self.serve()
            self.turns(1)
            self.assertEqual(len(self.successResultOf(asked)[0]), 1)
            for transport in self.other.udp.bound(53):
                transport.stopListening()

    def test_serverThatIsNotThere(self) -> None:
        asked = self.resolver("10.0.0.9").lookupAddress("www.example.test", timeout=[1])
        self.turns(5)
        self.failureResultOf(asked, TimeoutError)


class Block(resource.CoAPResource):  # type: ignore[misc]
    """
    Text that can be read and written.
    """

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text

    def render_GET(self, request: Any) -> Deferred[Any]:
        """
        Read it.
        """
        return succeed(coap.Message(code=coap.CONTENT, payload=self.text))

    def render_PUT(self, request: Any) -> Deferred[Any]:
        """
        Write it.
        """
        self.text = request.payload
        return succeed(coap.Message(code=coap.CHANGED, payload=b""))


class CoAPTests(PairTestCase):
    """
    txThings. It has no parameter for a reactor, so C{host.listenUDP} is all that it needs of a host; but for its timers
    it takes the global reactor, by the name C{reactor} of C{txthings.coap}. On a host of that reactor it runs as it
    is; on one of a clock, as here, that name has to be the clock.
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
        @return: the answer.
        """
        request = coap.Message(code=code, payload=payload)
        request.opt.uri_path = (b"text",)
        request.remote = (ipaddress.ip_address(server), coap.COAP_PORT)
        asked: Deferred[Any] = self.client.request(request)
        self.turns()
        return self.successResultOf(asked)

    def test_get(self) -> None:
        for server in SERVERS:
            self.assertEqual(self.ask(server, coap.GET).payload, b"short")

    def test_put(self) -> None:
        for server in SERVERS:
            self.assertEqual(self.ask(server, coap.PUT, server.encode()).code, coap.CHANGED)
            self.assertEqual(self.text.text, server.encode())

    def test_blockByBlock(self) -> None:
        long = bytes(range(256)) * 10
        for server in SERVERS:
            self.ask(server, coap.PUT, long)
            self.assertEqual(self.text.text, long)
            self.assertEqual(self.ask(server, coap.GET).payload, long)

    def test_requestThatIsLostIsSentAgain(self) -> None:
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
    Accepts what it is asked, and keeps what it is answered.
    """

    noisy = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: list[str] = []
        self.answers: list[int] = []

    def handle_request(self, message: Any, addr: Any) -> None:
        """
        A request has come.
        """
        self.asked.append(message.method)
        self.deliverResponse(self.responseFromRequest(200, message))

    def handle_response(self, message: Any, addr: Any) -> None:
        """
        An answer has come.
        """
        self.answers.append(message.code)


class SIPTests(PairTestCase):
    """
    C{twisted.protocols.sip}: a registrar and proxy on one host, phones on the other. The registry takes its timers from
    the global reactor, as txThings does. The library's addresses are those of IPv4.
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

    def test_registeredAndCalled(self) -> None:
        self.proxy("10.0.0.2")
        called, calling = Phone(), Phone()
        self.one.listenUDP(5070, called)
        self.one.listenUDP(5071, calling)
        self.request(called, "10.0.0.2", "10.0.0.1", 5070, "REGISTER", "joe")
        self.assertEqual(called.answers, [200])
        for method in "OPTIONS", "INVITE":
            self.request(calling, "10.0.0.2", "10.0.0.1", 5071, method, "joe")
        self.assertEqual((called.asked, calling.answers), (["OPTIONS", "INVITE"], [200, 200]))

    def test_nobodyOfThatName(self) -> None:
        self.proxy("10.0.0.2")
        calling = Phone()
        self.one.listenUDP(5071, calling)
        self.request(calling, "10.0.0.2", "10.0.0.1", 5071, "INVITE", "nobody")
        self.assertEqual(calling.answers, [404])
