"""
Services on TCP, the same for a host and for the kernel: a web server, with TLS too, a shell of Conch's, echo, and two
that count by hashes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.interfaces import ISession
from twisted.conch.ssh import keys
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.session import SSHSession
from twisted.cred.portal import IRealm, Portal
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.wire import Echo
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data, File
from zope.interface import implementer

from tests.certificates import certificate
from tests.real.lab.namespace import PATIENCE
from tests.real.lab.warm import Program

ECHO, SINK, SOURCE, SSH, WEB, TLS = 7, 9, 19, 22, 80, 443

#: The octets of the large file, and of what C{SOURCE} sends.
LARGE = 50_000_000
MUCH = 20_000_000

#: The name in the certificate; and the files of the large page, of the certificate and of the key for C{ssh}.
NAME = "host.example"
LARGE_FILE, CERTIFICATE, IDENTITY = "large", f"{NAME}.crt", "identity"

SMALL = b"a small page\n"


class _Upload(Resource):
    """
    Answers what is sent by its hash.
    """

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """
        Read all of it.
        """
        digest = sha256()
        while octets := request.content.read(1 << 20):
            digest.update(octets)
        return digest.hexdigest().encode()


@implementer(IHalfCloseableProtocol)
class Sink(Protocol):
    """
    Answers what comes by its hash, once the peer has closed its side.
    """

    transport: Any

    def connectionMade(self) -> None:
        self._digest = sha256()

    def dataReceived(self, data: bytes) -> None:
        self._digest.update(data)

    def readConnectionLost(self) -> None:
        """
        All has come.
        """
        self.transport.write(self._digest.hexdigest().encode())
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        All has been sent.
        """


class Source(Protocol):
    """
    Sends much, as fast as it is taken, and closes.

    @ivar octets: how much.
    """

    transport: Any
    octets = MUCH

    def connectionMade(self) -> None:
        self._blocks = blocks(self.octets)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        All that was written has been taken.
        """
        block = next(self._blocks, None)
        if block is not None:
            self.transport.write(block)
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        """
        The connection is over.
        """


def blocks(octets: int) -> Iterator[bytes]:
    """
    So many octets of chance, in pieces of a mebibyte, the same each time.
    """
    random = Random(octets)
    while octets:
        size = min(octets, 1 << 20)
        yield random.randbytes(size)
        octets -= size


@cache
def much(octets: int = MUCH) -> bytes:
    """
    So many octets of chance in one; by default, what C{SOURCE} sends.
    """
    return b"".join(blocks(octets))


@implementer(ISession)
class _Shell(ConchUser):
    """
    A user whose every command says its own name, and the hash of its standard input.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.channelLookup[b"session"] = SSHSession
        self._digest = sha256()

    def getPty(self, term: Any, windowSize: Any, modes: Any) -> None:
        """
        There is no terminal.
        """
        raise NotImplementedError

    def openShell(self, proto: Any) -> None:
        """
        Nor a shell.
        """
        raise NotImplementedError

    def windowChanged(self, newWindowSize: Any) -> None:
        """
        Nor a window.
        """
        raise NotImplementedError

    def execCommand(self, proto: Any, command: bytes) -> None:
        """
        Run a command.
        """
        self._proto, self._command = proto, command
        proto.makeConnection(self)

    def write(self, data: bytes) -> None:
        """
        Standard input has come.
        """
        self._digest.update(data)

    def eofReceived(self) -> None:
        """
        Standard input has ended.
        """
        self._proto.outReceived(self._command + b" " + self._digest.hexdigest().encode() + b"\n")
        self._proto.processEnded(Failure(ProcessDone(0)))

    def closed(self) -> None:
        """
        The channel is closed.
        """

    def loseConnection(self) -> None:
        """
        The channel is to be closed.
        """


@implementer(IRealm)
class _Realm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Anybody may come in.
        """
        return interfaces[0], _Shell(), lambda: None


class _Conch(SSHFactory):
    noisy = False

    def __init__(self, directory: Path) -> None:
        ours, theirs = (keys.Key(ed25519.Ed25519PrivateKey.generate()) for _ in range(2))
        self.publicKeys = {ours.sshType(): ours.public()}
        self.privateKeys = {ours.sshType(): ours}
        identity = directory / IDENTITY
        identity.touch(0o600)
        identity.write_bytes(theirs.toString("openssh"))
        database = InMemorySSHKeyDB({b"somebody": [theirs.public()]})
        self.portal = Portal(_Realm(), [SSHPublicKeyChecker(database)])


class Services:
    """
    All services, on what listens for streams: a host, or a reactor. A directory has the files that clients need.
    """

    def __init__(self, listener: Any, directory: Path, interface: str = "") -> None:
        """
        @param interface: the address to listen on.
        """
        (directory / LARGE_FILE).write_bytes(much(LARGE))
        root = Resource()
        root.putChild(b"small", Data(SMALL, "text/plain"))
        root.putChild(b"large", File(str(directory / LARGE_FILE)))
        root.putChild(b"upload", _Upload())
        site = Site(root, reactor=listener)
        site.noisy = False
        file = certificate(directory, NAME, server=True).file
        listener.listenTCP(WEB, site, interface=interface)
        listener.listenSSL(TLS, site, DefaultOpenSSLContextFactory(file, file), interface=interface)
        listener.listenTCP(SSH, _Conch(directory), interface=interface)
        for number, protocol in (ECHO, Echo), (SINK, Sink), (SOURCE, Source):
            factory = Factory.forProtocol(protocol)
            factory.noisy = False
            listener.listenTCP(number, factory, interface=interface)


class KernelServices:
    """
    The same services on the kernel's TCP, in a process of its own, as a context manager.
    """

    def __init__(self, directory: Path, there: Callable[[Callable[[], Program]], Program]) -> None:
        """
        @param there: calls something in the namespace that is to have them.
        """
        self._directory = directory
        self._there = there

    def __enter__(self) -> KernelServices:
        arguments = ["services", str(self._directory)]
        self._process = self._there(
            lambda: Program(f"{__name__}:main", arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *ignored: object) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE)


class _UntilEnd(Protocol):
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        from twisted.internet import reactor

        reactor.stop()


def main() -> None:
    """
    Run the services on the kernel's TCP until standard input ends.
    """
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO

    # To the kernel, that is both versions.
    Services(reactor, Path(sys.argv[1]), "::")
    StandardIO(_UntilEnd())
    print("ready", flush=True)
    reactor.run()
