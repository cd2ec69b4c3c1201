"""
The control socket of a running service. Through it, C{txtuntap capture} captures the packets of the interface,
C{txtuntap connections} lists the TCP connections of the host, and C{txtuntap wireguard show} shows the peers.

The socket is a UNIX socket in a directory that only the service's user may enter: C{/run/txtuntap} for root (on macOS
and the BSDs, C{/var/run/txtuntap}), or C{$XDG_RUNTIME_DIR/txtuntap} for another user. A client sends its request as
one line of JSON: C{{"capture": {"snaplen": 0, "directions": 3}}} or
C{{"connections": {"connected": true, "listening": false}}}. The service answers with one line of JSON, which is either
C{{"interface": "tap0", "namespace": 4026531840}} (the current name and network namespace of the interface) or
C{{"error": "..."}}. Behind that line, it sends the capture in pcapng format until either side closes the connection, or
the records of the connections, one a line (L{txtuntap.service.observe.connections}).
"""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.device import printable
from txtuntap.device.controlname import WITHOUT, directories, fileName, namespaceNumber
from txtuntap.device.helper.credentials import thisUser
from txtuntap.device.helper.permission import Peer
from txtuntap.device.platform import requireUNIX
from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.timer import Timer
from txtuntap.middleware import Capture, CaptureSink
from txtuntap.service.observe.connections import ConnectionListing, Listing
from txtuntap.service.observe.wireguard import WireGuardListing

if TYPE_CHECKING:
    from txtuntap.service.unixport import UNIXPort
    from txtuntap.stack.host import Host
    from txtuntap.wireguard.protocol import WireGuard

#: The seconds within which a client has to send its request, and within which it has to read the rest at the end.
TIMEOUT = 10

#: The most octets of a request; and the most clients at once.
MAX_REQUEST = 4096
MAX_CLIENTS = 8

#: The most octets of a capture that are queued for one client, besides those in the buffers of the kernel and of the
#: transport.
MAX_WAITING = 1 << 20

#: The valid requests, with the settings of each.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "capture": ("snaplen", "directions"),
    "connections": ("connected", "listening"),
    "wireguard": (),
}

#: The seconds that a stopping service waits for its clients.
_CLOSING = 1


class ControlSocket:
    """
    The server side of the control socket. It serves a L{Capture}, the connections of a host, and the peers of a
    WireGuard, to clients of the same user and of root.

    @ivar capture: the capture of the interface.
    @ivar host: the host whose connections are listed; C{None}: there is no host.
    @ivar wireguard: the WireGuard whose peers are listed; C{None}: there is none.
    @ivar clients: the protocols of the connected clients.
    @ivar users: the user IDs that may connect.
    """

    _log = Logger()

    def __init__(
        self, capture: Capture, reactor: Any, host: Host | None = None, wireguard: WireGuard | None = None
    ) -> None:
        self.capture = capture
        self.host = host
        self.wireguard = wireguard
        self.reactor = reactor
        self.clients: Table[ControlProtocol, None] = Table("control clients", MAX_CLIENTS, Policy.REFUSE)
        # The user of the process is recorded when the socket opens, because the process may drop its privileges later.
        self.users: set[int] = set()
        self._device: Any = None
        self._namespace = 0
        self._port: UNIXPort | None = None

    def open(self, device: Any) -> None:
        """
        Listen, before the process drops its privileges. If the socket cannot be opened, log a line and continue without
        it.

        @param device: the device of the interface, which is open; or an object with its C{name}.
        """
        self._device = device
        try:
            requireUNIX(*WITHOUT)
            places = directories()
            self.users = {0, thisUser()}
            # Python on Windows cannot import these modules.
            from txtuntap.service.observe.socketdirectory import locked, removeStaleSockets
            from txtuntap.service.unixport import UNIXPort

            if not places:
                raise OSError(errno.ENOENT, "XDG_RUNTIME_DIR is not set")
            self._namespace = namespaceNumber(getattr(device, "namespace", None))
            # Another program may have opened the device in another namespace. Only a privileged process can ask the
            # kernel for that namespace, so this is done before the process drops its privileges.
            self._namespace = self.namespace()
            with locked(places[0]):
                path = os.path.join(places[0], fileName(self._namespace, device.name))
                removeStaleSockets(places[0])
                if os.path.lexists(path):
                    raise OSError(errno.EADDRINUSE, f"another service has {path}")
                port = UNIXPort(os.fsencode(path), ControlFactory(self), mode=0o600, reactor=self.reactor)
                port.startListening()
                self._port = port
        except (OSError, CannotListenError) as e:
            reason = getattr(e, "strerror", None) or e
            self._log.info("{name} has no control socket: {reason}", name=printable(device.name), reason=reason)

    def tables(self) -> list[TableState]:
        """
        Return how full the table of clients is: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.clients.state]

    def namespace(self) -> int:
        """
        Return the number of the interface's current network namespace, to which it may have been moved.
        """
        enter = getattr(self._device, "openNamespace", None)
        there = None if enter is None else enter()
        if there is None:
            # The kernel answers only with C{CAP_NET_ADMIN} in that namespace. Without it, the last known number is
            # used.
            return self._namespace
        try:
            return os.fstat(there).st_ino
        finally:
            os.close(there)

    def close(self) -> Deferred[Any]:
        """
        Stop listening, and disconnect the clients.

        @return: a Deferred that fires when all clients are disconnected, after a second at most.
        """
        port, self._port = self._port, None
        waiting: list[Deferred[Any]] = [] if port is None else [maybeDeferred(port.stopListening)]
        waiting += [client.end() for client in list(self.clients)]
        return DeferredList(waiting)


class ControlFactory(Factory):
    """
    A factory that makes a L{ControlProtocol} for each client, up to L{MAX_CLIENTS}.
    """

    noisy = False

    def __init__(self, control: ControlSocket) -> None:
        self._control = control

    def buildProtocol(self, addr: Any) -> ControlProtocol | None:
        """
        Make the protocol of a client. If there are too many clients, return C{None}, with which Twisted closes the
        connection.
        """
        if self._control.clients.isFull:
            return None
        return ControlProtocol(self._control)


@implementer(IFileDescriptorReceiver, IHalfCloseableProtocol)
class ControlProtocol(LineOnlyReceiver):
    """
    The server's end of a client's connection. It receives one request, answers it, and then sends a capture or a list
    of connections. A client ends its capture by closing its side. It then still receives the capture's statistics.
    """

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = MAX_REQUEST

    def __init__(self, control: ControlSocket) -> None:
        self._control = control
        # The producer of a capture or of a list, once the client has asked for one.
        self._sink: ClientSink | None = None
        self._listing: Listing | None = None
        self._gone: Deferred[None] = Deferred()
        self._isFinished = False
        self._timer = Timer(control.reactor, self._timedOut)

    def connectionMade(self) -> None:
        """
        Start the timer for the request, and refuse a client of another user.
        """
        self._control.clients.put(self, None)
        self._timer.arm(TIMEOUT)
        try:
            user = Peer.of(self.transport.socket).user
        except OSError as e:
            self._refuse(e.strerror or "the user of this connection is not known")
            return
        if user not in {*self._control.users, thisUser()}:
            # A client of another user can connect only if the administrator has changed the mode of the directory.
            self._refuse("this is another user's service")

    def lineReceived(self, line: bytes) -> None:
        """
        Answer a request, and start the capture or the list that it asks for.
        """
        if self._sink is not None or self._listing is not None:
            self.transport.abortConnection()
            return
        sink: ClientSink | None = None
        listing: Listing | None = None
        control = self._control
        try:
            what, settings = _parseRequest(line)
            if what == "capture":
                sink = ClientSink(self, **settings)
            elif what == "wireguard":
                if control.wireguard is None:
                    raise ValueError("it has no WireGuard: 'wg show' shows the kernel's")
                listing = WireGuardListing(self, control.wireguard)
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
        # The name and the namespace may have changed since the socket's file was named after them.
        answer = {"interface": os.fsdecode(capture.interface), "namespace": control.namespace()}
        self.transport.write(json.dumps(answer).encode() + b"\n")
        if sink is None:
            self.transport.registerProducer(listing, False)
            return
        self._timer.stop()
        self.transport.registerProducer(sink, True)
        capture.addSink(sink)

    def writeRecords(self, octets: bytes) -> None:
        """
        Send records of a list to the client, and restart the timer within which the client has to read them.
        """
        self._timer.arm(TIMEOUT)
        self.transport.write(octets)

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Disconnect a client whose line is longer than any request.
        """
        self.transport.abortConnection()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        Disconnect a client that sends a descriptor, because no request needs one. By default Twisted would write a log
        line for each.
        """
        os.close(descriptor)
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """
        End the capture of a client that has closed its side, or disconnect a client without a request.
        """
        if self._sink is not None:
            self._control.capture.removeSink(self._sink)
        elif self._listing is None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        Do nothing, because only this end closes its side.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Forget the client, and end its capture.
        """
        self._timer.stop()
        self._control.clients.pop(self, None)
        if self._sink is not None:
            self._sink.isGone = True
            self._control.capture.removeSink(self._sink)
        self._gone.callback(None)

    def _timedOut(self) -> None:
        """
        Disconnect a client that has not sent a request, or does not read the rest, in time.
        """
        self.transport.abortConnection()

    def finish(self, seconds: int = TIMEOUT) -> None:
        """
        Close the connection once the client has read all octets, or after some time.

        @param seconds: the time that the client has to read them.
        """
        self._timer.arm(seconds)
        if not self._isFinished:
            self._isFinished = True
            if self._sink is not None or self._listing is not None:
                self.transport.unregisterProducer()
            self.transport.loseConnection()

    def end(self) -> Deferred[None]:
        """
        End the capture or the list, because the service stops.

        @return: a Deferred that fires when the client is disconnected.
        """
        self.finish(_CLOSING)
        return self._gone

    def _refuse(self, reason: str) -> None:
        self.transport.write(json.dumps({"error": reason}).encode() + b"\n")
        self.transport.loseConnection()


@implementer(IPushProducer)
class ClientSink(CaptureSink):
    """
    The capture of one client. If the client reads too slowly, packets are queued up to L{MAX_WAITING} octets. Beyond
    that they are dropped and counted.

    @ivar isGone: whether the client is disconnected.
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
        Return how full the queue to the client is: see L{CaptureSink.tables}.
        """
        own = TableState("capture octets of a client", self._octets, MAX_WAITING, Policy.REFUSE.value, "octets")
        return [*super().tables(), own]

    def end(self, time: int) -> None:
        """
        Write the statistics of the capture, and close the connection: see L{CaptureSink.end}.
        """
        if not self.isGone:
            self.resumeProducing()
            self._isPaused = False
            super().end(time)
            self._client.finish()

    def abandon(self) -> None:
        """
        Abort the connection after an error: see L{CaptureSink.abandon}.
        """
        self._client.transport.abortConnection()

    def pauseProducing(self) -> None:
        """
        Queue packets from now on, because the transport's buffer is full.
        """
        self._isPaused = True

    def resumeProducing(self) -> None:
        """
        Write the queued packets, because the transport's buffer has room again.
        """
        self._isPaused = False
        waiting, self._waiting, self._octets = self._waiting, deque(), 0
        if waiting:
            self._client.transport.write(b"".join(waiting))

    def stopProducing(self) -> None:
        """
        Queue packets from now on, because the connection is lost. C{connectionLost} of the client follows.
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


def _parseRequest(line: bytes) -> tuple[str, dict[str, Any]]:
    """
    Parse the request of a client.

    @return: the name of the request, and its settings.

    @raise ValueError: the line is no valid request.
    """
    request = json.loads(line)
    if not isinstance(request, dict) or len(request) != 1 or not set(request) <= set(_SETTINGS):
        raise ValueError('a request is {"capture": {...}}, {"connections": {...}} or {"wireguard": {}}')
    ((what, settings),) = request.items()
    if not isinstance(settings, dict) or not set(settings) <= set(_SETTINGS[what]):
        known = " and ".join(f'"{each}"' for each in _SETTINGS[what]) or "no settings"
        raise ValueError(f'"{what}" has {known}, and nothing else')
    return what, settings
