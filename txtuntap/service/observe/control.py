"""
The control socket of a running service, by which C{txtuntap capture} hears what passes its interface, and
C{txtuntap connections} what TCP connections its host has.

It is a UNIX socket in a directory that only its user may enter: C{/run/txtuntap} for root, C{$XDG_RUNTIME_DIR/txtuntap}
for anybody else. A client sends one line of JSON, C{{"capture": {"snaplen": 0, "directions": 3}}} or
C{{"connections": {"connected": true, "listening": false}}}. What it gets is one line of JSON, C{{"interface": "tap0",
"namespace": 4026531840}} (what it is called and where it is now) or C{{"error": "..."}}. Then a capture follows, as
pcapng, until either side ends it; or the records of connections, one a line
(L{txtuntap.service.observe.connections}).
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device import printable
from txtuntap.device.helper.permission import Peer
from txtuntap.device.linux.namespace import Namespace, openNamespace
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.timer import Timer
from txtuntap.middleware import Capture, CaptureSink
from txtuntap.service.observe.connections import ConnectionListing

if TYPE_CHECKING:
    from txtuntap.stack.host import Host

#: Seconds that a client may take to say what it wants, and to read what is left at the end.
TIMEOUT = 10

#: The most octets of a request, and the most clients at once.
MAX_REQUEST = 4096
MAX_CLIENTS = 8

#: The most octets that wait for one client, beside what the kernel and the connection hold.
MAX_WAITING = 1 << 20

#: The requests that there are, and the settings of each.
_SETTINGS = {"capture": ("snaplen", "directions"), "connections": ("connected", "listening")}

#: Seconds for which the end of a service waits for its clients.
_CLOSING = 1


def directories() -> list[str]:
    """
    Where control sockets may be, those of this user first: where a service has its own.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    ours = [f"{runtime}/txtuntap"] if runtime else []
    return ["/run/txtuntap", *ours] if os.geteuid() == 0 else ours


def fileName(namespace: int, name: str) -> str:
    """
    The file name of a control socket.

    @param namespace: the number of the network namespace: L{namespaceNumber}.
    @param name: of the interface.
    """
    return f"{namespace}.{printable(name)}.socket"


def namespaceNumber(namespace: Namespace | None = None) -> int:
    """
    The number of a network namespace, its inode: C{net:[4026531840]}.

    @raise OSError: there is none such.
    """
    descriptor = openNamespace(namespace)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


class ControlSocket:
    """
    Serves a L{Capture}, and the connections of a host, to clients of the same user, and of root.
    """

    _log = Logger()

    def __init__(self, capture: Capture, reactor: Any, host: Host | None = None) -> None:
        """
        @param host: whose connections are shown; L{None}: there is no host.
        """
        self.capture = capture
        self.host = host
        self.reactor = reactor
        self.clients: Table[ControlProtocol, None] = Table("control clients", MAX_CLIENTS, Policy.REFUSE)
        # Users that may connect, whether privileges were dropped since or not.
        self.users: set[int] = set()
        self._device: Any = None
        self._namespace = 0
        self._port: unix.Port | None = None

    def open(self, device: Any) -> None:
        """
        Listen, while there may be the privilege to. Where that is not possible there is a line in the log, and no
        socket.

        @param device: the device, which is open.
        """
        self.users = {0, os.geteuid()}
        self._device = device
        try:
            places = directories()
            if not places:
                raise OSError(errno.ENOENT, "XDG_RUNTIME_DIR is not set")
            self._namespace = namespaceNumber(getattr(device, "namespace", None))
            # Another program may have opened the device, elsewhere. Ask now: without privileges one cannot.
            self._namespace = self.namespace()
            with _locked(places[0]):
                path = os.path.join(places[0], fileName(self._namespace, device.name))
                _sweep(places[0])
                if os.path.lexists(path):
                    raise OSError(errno.EADDRINUSE, f"another service has {path}")
                port = _Port(os.fsencode(path), ControlFactory(self), mode=0o600, reactor=self.reactor)
                port.startListening()  # type: ignore[no-untyped-call]
                self._port = port
        except (OSError, CannotListenError) as e:
            reason = getattr(e, "strerror", None) or e
            self._log.info("{name} has no control socket: {reason}", name=printable(device.name), reason=reason)

    def tables(self) -> list[TableState]:
        """
        How full the table of clients is: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.clients.state]

    def namespace(self) -> int:
        """
        The number of the network namespace that the interface is in now: it may have been moved.
        """
        there = self._device.openNamespace()
        if there is None:
            # The call takes CAP_NET_ADMIN there. Without it, the last answer counts.
            return self._namespace
        try:
            return os.fstat(there).st_ino
        finally:
            os.close(there)

    def close(self) -> Deferred[Any]:
        """
        Listen no more, and have the clients go.

        @return: fires when they have: after a second at most.
        """
        port, self._port = self._port, None
        waiting: list[Deferred[Any]] = [] if port is None else [maybeDeferred(port.stopListening)]
        waiting += [client.end() for client in list(self.clients)]
        return DeferredList(waiting)


class ControlFactory(Factory):
    """
    Makes a L{ControlProtocol} for each client, up to a number.
    """

    noisy = False

    def __init__(self, control: ControlSocket) -> None:
        self._control = control

    def buildProtocol(self, addr: Any) -> ControlProtocol | None:
        """
        Serve a client, unless there are too many.
        """
        if self._control.clients.isFull:
            return None
        return ControlProtocol(self._control)


@implementer(IFileDescriptorReceiver, IHalfCloseableProtocol)
class ControlProtocol(LineOnlyReceiver):
    """
    One client: a request, an answer, and a capture or a list of connections. A client that closes its side has enough
    of a capture, and is told the counts.
    """

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = MAX_REQUEST

    def __init__(self, control: ControlSocket) -> None:
        self._control = control
        # The producers that write to this client.
        self._sink: ClientSink | None = None
        self._listing: ConnectionListing | None = None
        self._gone: Deferred[None] = Deferred()
        self._isFinished = False
        self._timer = Timer(control.reactor, self._late)

    def connectionMade(self) -> None:
        """
        Refuse a client of another user.
        """
        self._control.clients.put(self, None)
        self._timer.arm(TIMEOUT)
        if Peer.of(self.transport.socket).user not in {*self._control.users, os.geteuid()}:
            # A client of another user is here only because the directory was opened to others.
            self._refuse("this is another user's service")

    def lineReceived(self, line: bytes) -> None:
        """
        Answer a request, and begin what it asks for.
        """
        if self._sink is not None or self._listing is not None:
            self.transport.abortConnection()
            return
        sink = listing = None
        control = self._control
        try:
            what, settings = _asked(line)
            if what == "capture":
                sink = ClientSink(self, **settings)
            elif control.host is None:
                raise ValueError("it has no host, and so no TCP connections: 'ss -ti' shows the kernel's")
            else:
                listing = ConnectionListing(self, control.host, **settings)
        except (TypeError, ValueError, RecursionError) as e:
            self._refuse(str(e)[:MAX_REQUEST])
            return
        capture = control.capture
        if not capture.numPorts:
            self._refuse("the interface is not open")
            return
        self._sink, self._listing = sink, listing
        # The name and place of now: the socket's file name has those of the beginning.
        answer = {"interface": os.fsdecode(capture.interface), "namespace": control.namespace()}
        self.transport.write(json.dumps(answer).encode() + b"\n")
        if sink is None:
            self.transport.registerProducer(listing, False)
            return
        self._timer.stop()
        self.transport.registerProducer(sink, True)
        capture.addSink(sink)

    def listed(self, octets: bytes) -> None:
        """
        Send the client records of connections, which it is to read in time.
        """
        self._timer.arm(TIMEOUT)
        self.transport.write(octets)

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Drop a client whose line is too long for a request.
        """
        self.transport.abortConnection()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        A client has sent a descriptor, which nobody has asked for. Twisted would log each.
        """
        os.close(descriptor)
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """
        The client asks for nothing more, and has enough of a capture.
        """
        if self._sink is not None:
            self._control.capture.removeSink(self._sink)
        elif self._listing is None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Only we end that.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The client has gone.
        """
        self._timer.stop()
        self._control.clients.pop(self, None)
        if self._sink is not None:
            self._sink.isGone = True
            self._control.capture.removeSink(self._sink)
        self._gone.callback(None)

    def _late(self) -> None:
        """
        Drop a client that says nothing, or does not read the end.
        """
        self.transport.abortConnection()

    def finish(self, seconds: int = TIMEOUT) -> None:
        """
        All has been said: what is on its way may still be read.
        """
        self._timer.arm(seconds)
        if not self._isFinished:
            self._isFinished = True
            if self._sink is not None or self._listing is not None:
                self.transport.unregisterProducer()
            self.transport.loseConnection()

    def end(self) -> Deferred[None]:
        """
        End the capture, or the list, because the service ends.

        @return: fires when the client has gone.
        """
        self.finish(_CLOSING)
        return self._gone

    def _refuse(self, reason: str) -> None:
        self.transport.write(json.dumps({"error": reason}).encode() + b"\n")
        self.transport.loseConnection()


@implementer(IPushProducer)
class ClientSink(CaptureSink):
    """
    The capture of one client. Where the client reads too slowly, packets wait, up to a bound, and are then counted.
    """

    def __init__(self, client: ControlProtocol, **settings: Any) -> None:
        super().__init__(**settings)
        self._client = client
        self._isPaused = False
        self._waiting: deque[bytes] = deque()
        self._octets = 0
        self.isGone = False

    def __str__(self) -> str:
        return "a client of the control socket"

    def tables(self) -> list[TableState]:
        """
        See L{CaptureSink.tables}.
        """
        own = TableState("capture octets of a client", self._octets, MAX_WAITING, Policy.REFUSE.value, "octets")
        return [*super().tables(), own]

    def end(self, time: int) -> None:
        """
        See L{CaptureSink.end}.
        """
        if not self.isGone:
            self.resumeProducing()
            self._isPaused = False
            super().end(time)
            self._client.finish()

    def abandon(self) -> None:
        """
        See L{CaptureSink.abandon}.
        """
        self._client.transport.abortConnection()

    def pauseProducing(self) -> None:
        """
        The connection has enough for now.
        """
        self._isPaused = True

    def resumeProducing(self) -> None:
        """
        The connection can take more.
        """
        self._isPaused = False
        waiting, self._waiting, self._octets = self._waiting, deque(), 0
        if waiting:
            self._client.transport.write(b"".join(waiting))

    def stopProducing(self) -> None:
        """
        The connection is lost. C{connectionLost} of the client hears of that, too.
        """
        self._isPaused = True

    def write(self, octets: bytes) -> bool:
        if not self._isPaused:
            self._client.transport.write(octets)
            return True
        if self._octets + len(octets) > MAX_WAITING:
            return False
        self._waiting.append(octets)
        self._octets += len(octets)
        return True


class _Port(unix.Port):
    """
    The listening socket. Once privileges are dropped its file cannot be taken away: it stays, and whoever comes there
    next does.
    """

    def connectionLost(self, reason: Failure) -> None:
        with suppress(OSError):
            os.unlink(self._bindPath)
        tcp.Port.connectionLost(self, reason)


def _asked(line: bytes) -> tuple[str, dict[str, Any]]:
    """
    What a request asks for, and its settings.

    @raise ValueError: it is none.
    """
    asked = json.loads(line)
    if not isinstance(asked, dict) or len(asked) != 1 or not set(asked) <= set(_SETTINGS):
        raise ValueError('a request is {"capture": {...}} or {"connections": {...}}')
    ((what, settings),) = asked.items()
    first, second = _SETTINGS[what]
    if not isinstance(settings, dict) or not set(settings) <= {first, second}:
        raise ValueError(f'"{what}" has "{first}" and "{second}", and nothing else')
    return what, settings


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """
    Have the directory, made if it is not there, to ourselves.

    @raise OSError: it cannot be made, or is not ours alone.
    """
    # On other platforms there is no such module.
    import fcntl

    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise OSError(errno.EPERM, f"{directory} is not this user's alone (mode 700)")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(directory: str) -> None:
    """
    Take away the sockets of services that have ended and could not do it themselves. (No socket is between C{bind}
    and C{listen}: the directory is locked.)
    """
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        with suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.setblocking(False)
            if stat.S_ISSOCK(os.lstat(path).st_mode) and asking.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
