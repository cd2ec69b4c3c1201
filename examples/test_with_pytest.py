"""
Tests of a TCP server with pytest: on a simulated network, on a device in memory, and on a tun of the kernel.

    pytest examples/test_with_pytest.py

The test on the tun runs in real time, and needs pytest-twisted, Linux, and root. Without
root, start it by C{unshare -rn pytest ...}, or it is skipped. L{test_with_trial} has the same tests for trial.
"""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from txtuntap import Host, TuntapPort
from txtuntap.network import Network
from txtuntap.switch import Switch
from txtuntap.testing import MemoryDevice, RealInterface, udpPacket

pytest_plugins = ["txtuntap.testing.fixtures"]


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


def test_theGreetingArrivesOverALossyLink(network: Network, switch: Switch, host: Host) -> None:
    host.listenTCP(7, Factory.forProtocol(Greeter))
    client = network.host("10.0.0.1/24", switch, "delay 20ms loss 40%")
    assert network.result(visit(client)) == b"Welcome!"
    assert network.impairment(client).counters["inLost"] > 0


def test_aDatagramToTheServerIsRefused(memoryTun: MemoryDevice) -> None:
    clock = Clock()
    host = Host(["10.0.0.2/24"], clock)
    host.listenTCP(7, Factory.forProtocol(Greeter))
    TuntapPort("", host.ip, reactor=clock, device=memoryTun).startListening()
    memoryTun.deliver(udpPacket("10.0.0.1", "10.0.0.2", 5000, 7, b"hello"))
    clock.advance(0)
    (answer,) = memoryTun.sent
    # The answer is an ICMP message: destination unreachable, port unreachable.
    assert (answer[9], answer[20], answer[21]) == (1, 3, 3)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_theGreetingArrivesAtTheKernel(realTun: RealInterface) -> None:
    from twisted.internet import reactor

    host = Host(["10.0.0.2/24"])
    host.listenTCP(7, Factory.forProtocol(Greeter))
    port = TuntapPort(realTun.name, host.ip)
    port.startListening()
    try:
        assert await visit(reactor) == b"Welcome!"
    finally:
        await port.stopListening()
