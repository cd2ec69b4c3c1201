"""
Two hosts on a link in virtual time, and protocols and factories that note what happens to them.
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
    Notes what happens to it.

    @ivar events: each, in order: C{"made"}, the octets received, and the exception that it lost the connection with.
    @ivar calls: how deep in its own calls it is; it is never called while in one.
    """

    transport: Any

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.inCall = False

    @property
    def data(self) -> bytes:
        """
        All octets received.
        """
        return b"".join(each for each in self.events if isinstance(each, bytes))

    @property
    def lost(self) -> BaseException | None:
        """
        The exception that the connection was lost with; L{None}: it was not.
        """
        last = self.events[-1] if self.events else None
        return last if isinstance(last, BaseException) else None

    def happened(self, event: Any) -> None:
        """
        Note an event.
        """
        assert not self.inCall, f"called from inside its own call: {event!r}"
        self.events.append(event)
        self.inCall = True
        try:
            self.did(event)
        finally:
            self.inCall = False

    def did(self, event: Any) -> None:
        """
        What a test wants to be done at an event.
        """

    def connectionMade(self) -> None:
        self.happened("made")

    def dataReceived(self, data: bytes) -> None:
        self.happened(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.happened(reason.value)


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """
    Hears of either half.
    """

    def readConnectionLost(self) -> None:
        self.happened("read lost")

    def writeConnectionLost(self) -> None:
        self.happened("write lost")


class Server(ServerFactory):
    """
    Makes talkers, and keeps them.
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
    Likewise for clients; and notes what becomes of attempts.

    @ivar failed: why attempts have failed.
    @ivar lost: why connections were lost.
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
    @ivar near: a host, 10.0.0.1 and fd00::1, which connects.
    @ivar far: a host, 10.0.0.2 and fd00::2, which listens.
    """

    def setUp(self) -> None:
        self.start()

    def start(self, netem: str | None = "delay 5ms", **options: Any) -> None:
        """
        Have two hosts on a link.

        @param options: of the near host.
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
        Let time pass.
        """
        self.net.clock.advance(seconds)

    def connect(self, server: type[Talker] = Talker, client: type[Talker] = Talker, dest: str = "10.0.0.2") -> None:
        """
        Have a connection: C{client} and C{server} are its protocols.
        """
        self.servers, self.clients = Server(server), Client(client)
        self.port: Any = self.far.listenTCP(80, self.servers)
        self.connector: Any = self.near.connectTCP(dest, 80, self.clients)
        self.wait()
        self.server, self.client = self.servers.made[0], self.clients.made[0]
