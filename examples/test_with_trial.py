"""
Tests of a TCP server with trial: on a simulated network, on a device in memory, and on a tun of the kernel.

    trial examples/test_with_trial.py

The test on the tun runs in real time, and needs Linux and root. Without root, start it by C{unshare -rn trial ...}, or
it is skipped. L{test_with_pytest} has the same tests for pytest.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from txtuntap import Host, TuntapPort
from txtuntap.network import Network
from txtuntap.testing import TUN, MemoryDevice, RealInterface, udpPacket


class Greeter(Protocol):
    """
    The application's server, which greets each client and closes the connection.
    """

    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(b"Welcome!")
        self.transport.loseConnection()


class Visitor(Protocol):
    """
    A client, which reads until the server closes the connection.
    """

    def __init__(self) -> None:
        self.read: Deferred[bytes] = Deferred()
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.read.callback(self.data)


async def visit(reactor: Any) -> bytes:
    """
    Connect to the server with the TCP of a host or of the reactor, and return what it sends.
    """
    visitor = Visitor()
    await connectProtocol(TCP4ClientEndpoint(reactor, "10.0.0.2", 7), visitor)
    return await visitor.read


class GreeterTests(TestCase):
    def test_theGreetingArrivesOverALossyLink(self) -> None:
        with Network() as network:
            switch = network.switch()
            server = network.host("10.0.0.2/24", switch)
            server.listenTCP(7, Factory.forProtocol(Greeter))
            client = network.host("10.0.0.1/24", switch, "delay 20ms loss 40%")
            self.assertEqual(network.result(visit(client)), b"Welcome!")
            self.assertGreater(network.impairment(client).counters["inLost"], 0)

    def test_aDatagramToTheServerIsRefused(self) -> None:
        clock, device = Clock(), MemoryDevice(TUN)
        host = Host(["10.0.0.2/24"], clock)
        host.listenTCP(7, Factory.forProtocol(Greeter))
        TuntapPort("", host.ip, reactor=clock, device=device).startListening()
        device.deliver(udpPacket("10.0.0.1", "10.0.0.2", 5000, 7, b"hello"))
        clock.advance(0)
        (answer,) = device.sent
        # The answer is an ICMP message: destination unreachable, port unreachable.
        self.assertEqual((answer[9], answer[20], answer[21]), (1, 3, 3))

    async def test_theGreetingArrivesAtTheKernel(self) -> None:
        interface = RealInterface(TUN)
        interface.open()
        self.addCleanup(interface.close)
        host = Host(["10.0.0.2/24"])
        host.listenTCP(7, Factory.forProtocol(Greeter))
        port = TuntapPort(interface.name, host.ip)
        port.startListening()
        self.addCleanup(port.stopListening)
        self.assertEqual(await visit(reactor), b"Welcome!")
