"""
The application of a conversation. It obeys commands in UDP datagrams, and reports the events of its connections in UDP
datagrams.

The commands are C{write DATA}, C{close}, C{half}, C{abort}, C{pause}, C{resume}, C{nodelay}, C{connect} and C{stop}.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.real.lab.segments import ACTOR, HALF
from tests.real.lab.warm import Program

#: The UDP port of commands.
COMMANDS = 1020

#: The number of seconds until a command is tried again whose connection does not exist yet.
_PAUSE = 0.01


def unfolded(text: str) -> bytes:
    """
    Expand a text such as C{x*1000} to a thousand octets, and encode other texts as they are.
    """
    letter, star, count = text.partition("*")
    return letter.encode() * int(count) if star else text.encode()


def folded(data: bytes) -> str:
    """
    Abbreviate octets to the form that L{unfolded} expands.
    """
    text = data.decode("latin-1")
    return f"{text[0]}*{len(text)}" if len(text) > 10 and text == text[0] * len(text) else text


class Commands(DatagramProtocol):
    """
    The UDP protocol that receives commands and passes them to actors.
    """

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: the reactor, or the host, whose C{connectTCP} is used.
        """
        self._reactor = reactor
        self.actors: dict[tuple[str, int], Any] = {}
        self._connectors: dict[tuple[str, int], Any] = {}

    def tell(self, peer: tuple[str, int], what: str) -> None:
        """
        Report an event of the connection with a peer.
        """
        if self.transport is not None:
            self.transport.write(what.encode(), peer)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        peer = addr[0], addr[1]
        verb, _, argument = datagram.decode().partition(" ")
        if verb == "connect":
            self._connectors[peer] = self._reactor.connectTCP(*peer, ActorFactory(self))
        elif verb == "stop":
            self._connectors.pop(peer).stopConnecting()
        elif peer not in self.actors:
            self._reactor.callLater(_PAUSE, self.datagramReceived, datagram, addr)
        else:
            self._act(self.actors[peer].transport, verb, argument)

    def _act(self, transport: Any, verb: str, argument: str) -> None:
        if verb == "write":
            transport.write(unfolded(argument))
        elif verb == "nodelay":
            transport.setTcpNoDelay(True)
        else:
            name = {
                "close": "loseConnection",
                "half": "loseWriteConnection",
                "abort": "abortConnection",
                "pause": "pauseProducing",
                "resume": "resumeProducing",
            }[verb]
            getattr(transport, name)()


class Actor(Protocol):
    """
    The TCP protocol of the application, which reports each event of its connection.
    """

    factory: Any

    def _tell(self, what: str) -> None:
        self.factory.commands.tell(self._peer, what)

    def connectionMade(self) -> None:
        address: Any = self.transport.getPeer()  # type: ignore[union-attr]
        self._peer = address.host, address.port
        self.factory.commands.actors[self._peer] = self
        self._tell("made")

    def dataReceived(self, data: bytes) -> None:
        self._tell(f"data {folded(data)}")

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert reason is not None
        assert reason.type is not None
        self.factory.commands.actors.pop(self._peer, None)
        self._tell(f"lost {reason.type.__name__}")


@implementer(IHalfCloseableProtocol)
class HalfActor(Actor):
    """
    An actor that supports half-closed connections.
    """

    def readConnectionLost(self) -> None:
        self._tell("read lost")

    def writeConnectionLost(self) -> None:
        self._tell("write lost")


class ActorFactory(ClientFactory):
    """
    The factory of actors, which also reports failed connection attempts.
    """

    noisy = False
    protocol: Any = Actor

    def __init__(self, commands: Commands, protocol: type[Protocol] = Actor) -> None:
        self.commands = commands
        self.protocol = protocol

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        peer = connector.getDestination()
        error: Any = reason.value
        number = f" {error.osError}" if getattr(error, "osError", None) else ""
        self.commands.tell((peer.host, peer.port), f"failed {type(error).__name__}{number}")


def serve(reactor: Any) -> None:
    """
    Let actors listen with both IP versions.

    @param reactor: the host or the reactor to listen on.
    """
    for interface in "10.9.0.2", "fd09::2":
        commands = Commands(reactor)
        reactor.listenUDP(COMMANDS, commands, interface=interface)
        for port, protocol in (ACTOR, Actor), (HALF, HalfActor):
            factory: Factory = ActorFactory(commands, protocol)
            reactor.listenTCP(port, factory, interface=interface)


class Actors:
    """
    A context manager that runs actors with the kernel's sockets, in their own process and in the network namespace of
    this thread.
    """

    def __init__(self, directory: Path) -> None:
        """
        @param directory: the directory for the log.
        """
        self._log = directory / "actors.log"

    def __enter__(self) -> Actors:
        arguments = ["actors", str(self._log)]
        self._process = Program(f"{__name__}:main", arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self._log.read_text()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._process.__exit__()


def main() -> None:
    """
    Run actors with the kernel's sockets until standard input ends.
    """
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO
    from twisted.logger import globalLogBeginner, textFileLogObserver

    runs: Any = reactor
    log = open(sys.argv[1], "w", buffering=1)  # noqa: SIM115
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)

    class Console(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"ready\n")  # type: ignore[union-attr]

        def connectionLost(self, reason: Failure | None = None) -> None:
            runs.stop()

    serve(runs)
    StandardIO(Console())
    runs.run()
