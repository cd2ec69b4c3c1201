"""
TCP services that run in the same form on a host of this package and on the kernel: a web server with and without TLS,
an SSH server (Conch), an echo, a sink that answers with a hash, and a source of much data.
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

#: The number of octets in the large file, and the number of octets that C{SOURCE} sends.
LARGE = 50_000_000
MUCH = 20_000_000

#: The name in the certificate, and the names of the files with the large page, the certificate and the key for C{ssh}.
NAME = "host.example"
LARGE_FILE, CERTIFICATE, IDENTITY = "large", f"{NAME}.crt", "identity"

SMALL = b"a small page\n"


class _Upload(Resource):
    """
    A page that answers an upload with the upload's hash.
    """

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """
        Read the upload, and return its hash in hexadecimal.
        """
        digest = sha256()
        while octets := request.content.read(1 << 20):
            digest.update(octets)
        return digest.hexdigest().encode()


@implementer(IHalfCloseableProtocol)
class Sink(Protocol):
    """
    A protocol that answers the received data with its hash, once the peer has closed its side.
    """

    transport: Any

    def connectionMade(self) -> None:
        self._digest = sha256()

    def dataReceived(self, data: bytes) -> None:
        self._digest.update(data)

    def readConnectionLost(self) -> None:
        """
        Send the hash, because the peer has sent all its data.
        """
        self.transport.write(self._digest.hexdigest().encode())
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Do nothing when the peer has received all data.
        """


class Source(Protocol):
    """
    A protocol that sends much data as fast as the transport accepts it, and closes the connection.

    @ivar octets: the number of octets to send.
    """

    transport: Any
    octets = MUCH

    def connectionMade(self) -> None:
        self._blocks = blocks(self.octets)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        Write the next block, or close the connection after the last one.
        """
        block = next(self._blocks, None)
        if block is not None:
            self.transport.write(block)
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        """
        Do nothing when the connection has ended.
        """


def blocks(octets: int) -> Iterator[bytes]:
    """
    Generate pseudo-random octets in blocks of one mebibyte. They are the same for each call with this number of octets.
    """
    random = Random(octets)
    while octets:
        size = min(octets, 1 << 20)
        yield random.randbytes(size)
        octets -= size


@cache
def much(octets: int = MUCH) -> bytes:
    """
    The octets of L{blocks} in one object. By default, these are the data that C{SOURCE} sends.
    """
    return b"".join(blocks(octets))


@implementer(ISession)
class _Shell(ConchUser):
    """
    An SSH user with commands but no shell. Each command prints its own name and the hash of its standard input.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.channelLookup[b"session"] = SSHSession
        self._digest = sha256()

    def getPty(self, term: Any, windowSize: Any, modes: Any) -> None:
        """
        Refuse a terminal, because there is none.
        """
        raise NotImplementedError

    def openShell(self, proto: Any) -> None:
        """
        Refuse a shell, because there is none.
        """
        raise NotImplementedError

    def windowChanged(self, newWindowSize: Any) -> None:
        """
        Refuse a window size, because there is no terminal.
        """
        raise NotImplementedError

    def execCommand(self, proto: Any, command: bytes) -> None:
        """
        Begin to run a command.
        """
        self._proto, self._command = proto, command
        proto.makeConnection(self)

    def write(self, data: bytes) -> None:
        """
        Add octets of the standard input to the hash.
        """
        self._digest.update(data)

    def eofReceived(self) -> None:
        """
        Print the command's name and the hash, because standard input has ended.
        """
        self._proto.outReceived(self._command + b" " + self._digest.hexdigest().encode() + b"\n")
        self._proto.processEnded(Failure(ProcessDone(0)))

    def closed(self) -> None:
        """
        Do nothing when the channel is closed.
        """

    def loseConnection(self) -> None:
        """
        Do nothing when the channel is to be closed.
        """


@implementer(IRealm)
class _Realm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Accept each user whose key was verified.
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
    All services, listening on a host of this package or on a reactor. The files that clients need are in a directory.
    """

    def __init__(self, listener: Any, directory: Path, interface: str = "") -> None:
        """
        @param listener: the host or the reactor.
        @param directory: the directory for the files that clients need.
        @param interface: the address to listen on; empty: all addresses.
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
    A context manager that runs the same services on the kernel's TCP, in its own process.
    """

    def __init__(self, directory: Path, there: Callable[[Callable[[], Program]], Program]) -> None:
        """
        @param directory: the directory for the files that clients need.
        @param there: a function that calls another one in the network namespace of the services.
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

    # The kernel accepts connections of both IP versions on this address.
    Services(reactor, Path(sys.argv[1]), "::")
    StandardIO(_UntilEnd())
    print("ready", flush=True)
    reactor.run()
