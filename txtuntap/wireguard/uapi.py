"""
The interface by which C{wg} shows and sets a WireGuard that is a program: text over a UNIX socket.

Read "Cross-platform Userspace Implementation" of the WireGuard project first.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.timer import Timer
from txtuntap.wire.wireguard import KEY_LENGTH
from txtuntap.wireguard.endpoint import endpointParts
from txtuntap.wireguard.keys import NO_PRESHARED_KEY
from txtuntap.wireguard.peer import Peer
from txtuntap.wireguard.protocol import WireGuard

#: The octets of a line, the octets of the lines of one request, and the clients at one time, at most. A request with
#: all peers that an interface may have is shorter.
MAX_LINE = 4096
MAX_REQUEST = 64 << 20
MAX_CLIENTS = 64

#: The octets of memory that a line takes beside its text.
_LINE_OVERHEAD = 64

#: Seconds for which a client may say nothing in the middle of a request, or read nothing of the answer.
TIMEOUT = 60


class UAPIError(Exception):
    """
    A request that is refused.

    @ivar number: the error number, as in C{errno.h}.
    """

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


class UAPIFactory(Factory):
    """
    Serves a L{WireGuard} to C{wg}.
    """

    noisy = False

    def __init__(self, wireguard: WireGuard, clock: IReactorTime) -> None:
        """
        @param clock: drops clients that say nothing for a minute in the middle of a request.
        """
        self.wireguard = wireguard
        self.clock = clock
        self.clients = 0

    def buildProtocol(self, addr: Any) -> UAPIProtocol | None:
        """
        Serve a client, unless there are too many.
        """
        if self.clients >= MAX_CLIENTS:
            return None
        return UAPIProtocol(self)

    def tables(self) -> list[TableState]:
        """
        How many clients there are.
        """
        return [TableState("wg clients", self.clients, MAX_CLIENTS, Policy.REFUSE.value)]


class UAPIProtocol(LineOnlyReceiver):
    """
    One client: requests of lines, each of which an empty line ends.
    """

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    def __init__(self, factory: UAPIFactory) -> None:
        self.factory: Any = factory
        self._lines: list[str] = []
        self._octets = 0
        self._timer = Timer(factory.clock, self._late)

    def connectionMade(self) -> None:
        """
        Count the client, and limit the time of its request.
        """
        self.factory.clients += 1
        self._timer.arm(TIMEOUT)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The client has gone.
        """
        self.factory.clients -= 1
        self._timer.stop()

    def lineReceived(self, line: bytes) -> None:
        """
        Take a line; at the end of a request, answer it.
        """
        self._timer.arm(TIMEOUT)
        if line:
            self._octets += len(line) + _LINE_OVERHEAD
            if self._octets > MAX_REQUEST:
                self.transport.abortConnection()
            else:
                self._lines.append(line.decode("ascii", "replace"))
            return
        lines, self._lines = self._lines, []
        self._octets = 0
        wireguard = self.factory.wireguard
        if lines == ["get=1"]:
            self.transport.write("".join(f"{each}\n" for each in state(wireguard)).encode() + b"errno=0\n\n")
        elif lines and lines[0] == "set=1":
            number = 0
            try:
                change(wireguard, lines[1:])
            except UAPIError as e:
                number = -e.number
            # `wg` takes both signs, and prints the right message for a negative one.
            self.transport.write(b"errno=%d\n\n" % number)
        else:
            self.transport.loseConnection()

    def _late(self) -> None:
        self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Drop a client whose line is too long.
        """
        self.transport.abortConnection()


def state(wireguard: WireGuard) -> Iterator[str]:
    """
    The state of an interface in lines, keys included.
    """
    private = wireguard.privateKey
    if private is not None:
        yield f"private_key={private.secret().hex()}"
    if wireguard.listenPort:
        yield f"listen_port={wireguard.listenPort}"
    if wireguard.fwmark:
        yield f"fwmark={wireguard.fwmark}"
    for peer in wireguard.peers:
        yield f"public_key={peer.publicKey.hex()}"
        yield f"preshared_key={peer.presharedKey.hex()}"
        yield "protocol_version=1"
        if peer.endpoint is not None:
            yield f"endpoint={peer.endpoint}"
        seconds = int(peer.lastHandshake)
        yield f"last_handshake_time_sec={seconds}"
        yield f"last_handshake_time_nsec={int((peer.lastHandshake - seconds) * 1e9)}"
        yield f"tx_bytes={peer.sent}"
        yield f"rx_bytes={peer.received}"
        yield f"persistent_keepalive_interval={peer.keepalive}"
        for network in peer.allowed:
            yield f"allowed_ip={network}"


def change(wireguard: WireGuard, lines: list[str]) -> None:
    """
    Change an interface as lines say. As with wireguard-go, those before a wrong line stay in force.

    @raise UAPIError: a line is wrong, or cannot be carried out.
    """
    changes = _Changes(wireguard)
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals:
            raise UAPIError(errno.EPROTO)
        try:
            changes.take(name, value)
        except CannotListenError as e:
            raise UAPIError(getattr(e.socketError, "errno", None) or errno.EADDRINUSE) from e
        except OSError as e:
            raise UAPIError(e.errno or errno.EIO) from e
        except (ValueError, KeyError) as e:
            raise UAPIError(errno.EINVAL) from e


class _Changes:
    """
    The lines of one request.
    """

    def __init__(self, wireguard: WireGuard) -> None:
        self._wireguard = wireguard
        # The peer that lines are about; None: there is none, or its lines are to be ignored.
        self._peer: Peer | None = None
        self._inPeer = False
        self._isNew = False

    def take(self, name: str, value: str) -> None:
        """
        Carry out one line.
        """
        if name == "public_key":
            self._beginPeer(_key(value))
        elif not self._inPeer:
            self._interfaceLine(name, value)
        elif self._peer is not None:
            self._peerLine(name, value)

    def _interfaceLine(self, name: str, value: str) -> None:
        wireguard = self._wireguard
        if name == "private_key":
            key = _key(value)
            wireguard.setPrivateKey(key if any(key) else None)
        elif name == "listen_port":
            wireguard.setListenPort(_number(value, 0xFFFF))
        elif name == "fwmark":
            wireguard.setMark(_number(value, 0xFFFFFFFF))
        elif name == "replace_peers":
            _true(value)
            for peer in wireguard.peers:
                wireguard.removePeer(peer.publicKey)
        else:
            raise UAPIError(errno.EINVAL)

    def _beginPeer(self, key: bytes) -> None:
        wireguard = self._wireguard
        self._inPeer = True
        self._isNew = False
        self._peer = None
        if key == wireguard.publicKey:
            # As with wireguard-go, a peer that is this end itself is ignored.
            return
        try:
            self._peer = wireguard.peer(key)
        except KeyError:
            self._peer = wireguard.addPeer(key)
            self._isNew = True

    def _peerLine(self, name: str, value: str) -> None:
        wireguard, peer = self._wireguard, self._peer
        assert peer is not None
        key = peer.publicKey
        if name == "remove":
            _true(value)
            wireguard.removePeer(key)
            self._peer = None
        elif name == "update_only":
            _true(value)
            if self._isNew:
                wireguard.removePeer(key)
                self._peer = None
        elif name == "preshared_key":
            wireguard.changePeer(key, presharedKey=_key(value) if any(_key(value)) else NO_PRESHARED_KEY)
        elif name == "endpoint":
            endpointParts(value)
            wireguard.changePeer(key, endpoint=value)
        elif name == "persistent_keepalive_interval":
            wireguard.changePeer(key, keepalive=_number(value, 0xFFFF))
        elif name == "replace_allowed_ips":
            _true(value)
            wireguard.changePeer(key, allowed=())
        elif name == "allowed_ip":
            network = ip_network(value.removeprefix("-"), strict=False)
            if value.startswith("-"):
                wireguard.disallow(key, network)
            else:
                wireguard.allow(key, network)
        elif name == "protocol_version":
            if value != "1":
                raise UAPIError(errno.EINVAL)
        else:
            raise UAPIError(errno.EINVAL)


def _key(value: str) -> bytes:
    key = bytes.fromhex(value)
    # The spaces that Python takes are none of the 64 characters.
    if len(key) != KEY_LENGTH or len(value) != 2 * KEY_LENGTH:
        raise UAPIError(errno.EINVAL)
    return key


def _number(value: str, most: int) -> int:
    if not value.isascii() or not value.isdigit() or int(value) > most:
        raise UAPIError(errno.EINVAL)
    return int(value)


def _true(value: str) -> None:
    if value != "true":
        raise UAPIError(errno.EINVAL)
