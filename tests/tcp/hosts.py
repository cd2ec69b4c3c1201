"""
Two hosts on a link in virtual time, and protocols and factories that record their events.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txtuntap.network.network import Network


class Talker(Protocol):
    """
    A protocol that records its events.

    @ivar events: the events in order: C{"made"}, received octets, and the exception of C{connectionLost}.
    @ivar inCall: whether a call of this protocol runs. A transport must not call it then.
    """

    transport: Any

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.inCall = False

    @property
    def data(self) -> bytes:
        """
        All octets received so far.
        """
        return b"".join(each for each in self.events if isinstance(each, bytes))

    @property
    def lost(self) -> BaseException | None:
        """
        The exception of C{connectionLost}. L{None}: the connection is not lost.
        """
        last = self.events[-1] if self.events else None
        return last if isinstance(last, BaseException) else None

    def note(self, event: Any) -> None:
        """
        Record an event, and call L{onEvent}.
        """
        assert not self.inCall, f"called from inside its own call: {event!r}"
        self.events.append(event)
        self.inCall = True
        try:
            self.onEvent(event)
        finally:
            self.inCall = False

    def onEvent(self, event: Any) -> None:
        """
        Act on an event. A test overrides this method.
        """

    def connectionMade(self) -> None:
        self.note("made")

    def dataReceived(self, data: bytes) -> None:
        self.note(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.note(reason.value)


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """
    A protocol that also records the end of each half of its connection.
    """

    def readConnectionLost(self) -> None:
        self.note("read lost")

    def writeConnectionLost(self) -> None:
        self.note("write lost")


class Server(ServerFactory):
    """
    A factory that builds talkers, and remembers them.
    """

    noisy = False

    def __init__(self, kind: type[Talker] = Talker) -> None:
        self.kind = kind
        self.made: list[Any] = []
        self.addresses: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.addresses.append(addr)
        protocol = self.kind()
        self.made.append(protocol)
        return protocol


class Client(Server, ClientFactory):
    """
    A client factory that builds talkers, and records the end of attempts and connections.

    @ivar failed: the exceptions of C{clientConnectionFailed}.
    @ivar lost: the exceptions of C{clientConnectionLost}.
    """

    def __init__(self, kind: type[Talker] = Talker) -> None:
        super().__init__(kind)
        self.failed: list[Any] = []
        self.lost: list[Any] = []

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.failed.append(reason.value)

    def clientConnectionLost(self, connector: Any, reason: Any) -> None:
        self.lost.append(reason.value)


class HostsTestCase(SynchronousTestCase):
    """
    Tests with two hosts on a link.

    @ivar near: the host that connects, with the addresses 10.0.0.1 and fd00::1.
    @ivar far: the host that listens, with the addresses 10.0.0.2 and fd00::2.
    """

    def setUp(self) -> None:
        self.start()

    def start(self, netem: str | None = "delay 5ms", **options: Any) -> None:
        """
        Set up two hosts on a link.

        @param netem: the impairment of the link. L{None}: none.
        @param options: the arguments of the near host.
        """
        self.net = Network(seed=1)
        self.near = self.net.host(["10.0.0.1/24", "fd00::1/64"], **options)
        self.far = self.net.host(["10.0.0.2/24", "fd00::2/64"])
        self.net.link(self.near, self.far, netem)
        self.net.start()
        self.addCleanup(self.net.stop)
        self.wait(5)

    def wait(self, seconds: float = 1.0) -> None:
        """
        Advance the virtual time.
        """
        self.net.clock.advance(seconds)

    def connect(self, server: type[Talker] = Talker, client: type[Talker] = Talker, dest: str = "10.0.0.2") -> None:
        """
        Establish a connection between C{self.client} and C{self.server}, which are its protocols.
        """
        self.servers, self.clients = Server(server), Client(client)
        self.port: Any = self.far.listenTCP(80, self.servers)
        self.connector: Any = self.near.connectTCP(dest, 80, self.clients)
        self.wait()
        self.server, self.client = self.servers.made[0], self.clients.made[0]
