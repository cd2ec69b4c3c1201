"""
The ends of connections: ports that listen, ports that clients leave from, and the numbers that connections begin with.
"""

from __future__ import annotations

import errno
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from random import Random, SystemRandom
from typing import Any, cast

from twisted.internet.error import CannotListenError, ConnectBindError, DNSLookupError
from twisted.internet.interfaces import IConnector, IDelayedCall, IReactorTime

from txtuntap.interfaces import IIPTransport
from txtuntap.layer.bound import boundAddress, overlap
from txtuntap.layer.bounded import Policy, Table
from txtuntap.layer.counters import SegmentCounters
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.timer import Timer, callLater
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkFactory, checkKind, checkPort, checkRange, checkSeconds, checkText
from txtuntap.tcp.bufferpool import BufferPool
from txtuntap.tcp.client import TCPClient, TCPConnector
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.cookies import Cookies
from txtuntap.tcp.halfopen import HalfOpen
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.interfaces import ITCPLayer
from txtuntap.tcp.limits import BURST, Limits
from txtuntap.tcp.orphans import Orphans
from txtuntap.tcp.path import Path
from txtuntap.tcp.ports import BACKLOG, TCPPort
from txtuntap.tcp.refusedsyns import RefusedSyns
from txtuntap.tcp.timewait import TimeWait
from txtuntap.tcp.transport import TCPTransport
from txtuntap.wire.address import addressText, isGroup

#: Port numbers that are chosen from for a client, or for port 0 (RFC 6056 section 3.2).
_EPHEMERAL = range(49152, 65536)

_MASK = 0xFFFFFFFF

_number = int.from_bytes


class TCPEnds(PacketProtocol):
    """
    The part of a L{TCPProtocol<txtuntap.tcp.TCPProtocol>} that chooses the ends of connections, and begins those of
    clients.

    @ivar parameters: the choices for connections for which no others are given.
    @ivar limits: the bounds.
    @ivar buffers: the octets that all connections have received and keep; C{sendBuffers}: those that they have taken
        from applications, and that are not acknowledged.
    """

    #: The IP layer that this was added to last, be it that nothing runs there: an address is checked, and an attempt to
    #: connect fails and does not raise, before a port is started.
    _addedTo: Any = None

    def __init__(
        self, parameters: Parameters | None, limits: Limits | None, verifyChecksum: bool, secrets: Random | None
    ) -> None:
        """
        @param parameters: as for L{TCPProtocol<txtuntap.tcp.TCPProtocol>}, like the others.
        """
        super().__init__()
        self.counters: SegmentCounters = SegmentCounters()
        self.parameters = parameters or Parameters()
        self.limits = limits or Limits()
        self._verify = verifyChecksum
        self._hasSecrets = secrets is not None
        self._drawSecrets(secrets or SystemRandom())
        self._transports: dict[bytes, TCPTransport] = {}
        self._ofPeer: Counter[bytes] = Counter()
        self._ports: dict[int, list[TCPPort]] = {}
        #: The addresses that clients are bound to, by port.
        self._bound: dict[int, set[bytes]] = {}
        self._halfOpen: Table[bytes, HalfOpen] = Table("half open", self.limits.halfOpen, Policy.REFUSE)
        #: The flows of those whose factory the application gave for their SYN, the oldest first.
        self._halfOpenUnclaimed: dict[bytes, None] = {}
        self._timeWait: Table[bytes, TimeWait] = Table("time wait", self.limits.timeWait, Policy.OLDEST)
        self._orphans: Orphans[TCPTransport] = Orphans(self.limits.orphans)
        self.buffers = BufferPool("buffers", self.limits.buffers)
        self.sendBuffers = BufferPool("send buffers", self.limits.sendBuffers)
        self._resets = TokenBucket(self.limits.resets, min(self.limits.resets, BURST))
        self._repeats = TokenBucket(self.limits.repeats, min(self.limits.repeats, BURST))
        self._cookieLimit = TokenBucket(max(self.limits.cookies, 1), max(self.limits.cookies, 1))
        self._secondCookieLimit = TokenBucket(max(self.limits.cookies, 1), max(self.limits.cookies, 1))
        self._refusedSyns = RefusedSyns()
        self._soon: list[TCPTransport] = []
        self._turn: Timer | None = None
        self._tick: Timer | None = None
        self._nextPort = 0

    def _drawSecrets(self, secrets: Random) -> None:
        self._secrets = secrets
        self._key = secrets.randbytes(16)
        self._cookies = Cookies(secrets.randbytes(16))

    def useSecrets(self, secrets: Random) -> None:
        """
        Have chance come from a host's source, unless another one was given.
        """
        if not self._hasSecrets:
            self._hasSecrets = True
            self._drawSecrets(secrets)

    def listen(
        self,
        port: int,
        factory: Any,
        backlog: int = BACKLOG,
        interface: str = "",
        parameters: Parameters | None = None,
        maxConnections: int | None = None,
    ) -> TCPPort:
        """
        Accept connections: as C{IReactorTCP.listenTCP}.

        @param port: 0 takes a free one that nobody can guess.
        @param backlog: connections that may be half open at once.
        @param interface: an address of ours to listen on; empty for all.
        @param parameters: the choices for its connections; L{None}: those of this layer.
        @param maxConnections: the connections that it may have at once; L{None}: as the limits say.

        @raise CannotListenError: the port is taken, or C{interface} is an address of another host.
        @raise InvalidAddressError: C{interface} is no IP address.
        @raise ValueError: C{port} is no port, or C{backlog} or C{maxConnections} no number of connections.
        @raise TypeError: C{factory} builds no protocols, or C{parameters} are none.
        """
        checkPort(port, "TCP")
        checkFactory(factory)
        checkRange(backlog, "backlog", 0, sys.maxsize)
        if parameters is not None:
            checkKind(parameters, Parameters, "parameters", "Parameters(ecn=True)")
        address = interface.partition("%")[0] if isinstance(interface, str) else interface
        own = getattr(self.transport or self._addedTo, "ownAddresses", None)
        bound = b"" if interface == "" else boundAddress(own, address, port)
        if maxConnections is None:
            maxConnections = self.limits.portConnections
        checkRange(maxConnections, "maxConnections", 0, sys.maxsize)
        listening = TCPPort(
            cast(ITCPLayer, self),
            port,
            factory,
            backlog,
            interface,
            bound,
            parameters or self.parameters,
            maxConnections,
        )
        listening.startListening()
        return listening

    def connect(
        self,
        host: str,
        port: int | str,
        factory: Any,
        timeout: float | None = 30,
        bindAddress: Any = None,
        parameters: Parameters | None = None,
        resolve: Callable[[str], Any] | None = None,
    ) -> IConnector:
        """
        Connect to a peer: as C{IReactorTCP.connectTCP}.

        @param host: an IP address; or a name, where C{resolve} finds its address.
        @param timeout: seconds until the attempt is given up; L{None}: once no SYN was answered.
        @param parameters: the choices for the connection; L{None}: those of this layer.

        @raise ValueError: C{host} is no text, or C{timeout} is below 0 or no number.
        @raise TypeError: C{factory} builds no protocols, or C{parameters} are none.
        @raise ServiceNameUnknownError: C{port} is the name of no service.
        """
        checkText(host, "the host to connect to", "10.0.0.2")
        checkFactory(factory)
        if timeout is not None:
            checkSeconds(timeout, "timeout", mayBeZero=True)
        if parameters is not None:
            checkKind(parameters, Parameters, "parameters", "Parameters(ecn=True)")
        connector = TCPConnector(
            cast(ITCPLayer, self),
            host,
            port,
            factory,
            timeout,
            bindAddress,
            parameters or self.parameters,
            resolve or _unresolvable,
        )
        connector.connect()
        return connector

    def addedTo(self, ip: Any) -> None:
        """
        Know the IP layer that this has been added to, which may not run yet.
        """
        self._addedTo = ip

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:
        """
        See C{IReactorTime.callLater}: by the clock of this layer, or by that of an IP layer that does not run yet. The
        call is neither early nor late where the wall clock is set meanwhile.
        """
        clock: IReactorTime | None = self.clock or getattr(self._addedTo, "clock", None)
        if clock is None:
            raise RuntimeError("this TCPProtocol is on no IP layer: add it to one, ip.addProto(6, tcp)")
        return callLater(clock, delay, callable, *args)

    @property
    def ip(self) -> IIPTransport:
        """
        The IP layer below.
        """
        return cast(IIPTransport, self.transport)

    def bindPort(self, port: TCPPort) -> None:
        """
        Have a port listen.

        @raise CannotListenError: its number is taken.
        """
        if not port.port:
            port.port = self._freePort(self._ports.__contains__)
            if not port.port:
                raise CannotListenError(port.interface, 0, OSError(errno.EADDRINUSE, "no port is free"))
        elif any(overlap(port.boundAddress, other.boundAddress) for other in self._ports.get(port.port, ())):
            error = OSError(errno.EADDRINUSE, "another factory listens there: give 0 for any port that is free")
            raise CannotListenError(port.interface, port.port, error)
        self._ports.setdefault(port.port, []).append(port)

    def unbindPort(self, port: TCPPort) -> None:
        """
        Have a port listen no more, and forget what is half open on it.
        """
        ports = self._ports[port.port]
        ports.remove(port)
        if not ports:
            del self._ports[port.port]
        for key, half in list(self._halfOpen.items()):
            if half.port is port:
                self._forget(key, half)

    def _freePort(self, isTaken: Callable[[int], bool]) -> int:
        """
        A free port that nobody can guess (RFC 6056 section 3.3.1); 0: there is none.
        """
        count = len(_EPHEMERAL)
        first = self._secrets.randrange(count)
        for step in range(count):
            number = _EPHEMERAL[(first + step) % count]
            if not isTaken(number):
                return number
        return 0

    def _listener(self, address: bytes, port: int) -> TCPPort | None:
        """
        The port that listens on a packed address of ours: that for this address before one for all.
        """
        best = None
        for each in self._ports.get(port, ()):
            bound = each.boundAddress
            if bound == address:
                return each
            if not bound or (len(bound) == len(address) and not any(bound)):
                best = each
        return best

    def bindClient(self, address: bytes, port: int) -> tuple[bytes, int]:
        """
        Reserve an address and port to connect from.

        @param address: empty for any.
        @param port: 0 for any that is free.

        @raise OSError: it is taken.
        """
        if not port:
            port = self._freePort(lambda number: self._isTaken(address, number))
            if not port:
                raise OSError(errno.EADDRINUSE, "no port is free")
        elif self._isTaken(address, port):
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self._bound.setdefault(port, set()).add(address)
        return address, port

    def unbindClient(self, bound: tuple[bytes, int]) -> None:
        """
        Undo a L{bindClient}: the port is free again.
        """
        address, port = bound
        addresses = self._bound[port]
        addresses.remove(address)
        if not addresses:
            del self._bound[port]

    def _isTaken(self, address: bytes, port: int) -> bool:
        bound = self._bound.get(port)
        if bound is not None:
            if address in bound or b"" in bound or bytes(len(address)) in bound:
                return True
            if not any(address) and any(overlap(address, other) for other in bound):
                return True
        return any(overlap(address, other.boundAddress) for other in self._ports.get(port, ()))

    def connectClient(
        self, transport: TCPClient, dest: bytes, port: int, given: tuple[bytes, int] | None, parameters: Parameters
    ) -> None:
        """
        Enter a connection of a client in the table, and send its SYN.

        @param dest: the packed address of the peer.
        @param given: the address and port to leave from; L{None}: any.

        @raise OSError: there is no route, C{dest} is a group's or a broadcast, or no port is free.
        @raise ConnectBindError: there is no connection from the given address to that peer.
        """
        if self.transport is None:
            raise OSError(errno.ENETDOWN, "this TCPProtocol is on no IP layer that runs: start its port first")
        if isGroup(dest) or dest in getattr(self.ip, "broadcasts", ()):
            # RFC 9293 section 3.9.2.3, with the error of Linux.
            raise OSError(errno.ENETUNREACH, f"{addressText(dest)} is the address of many: give that of one host")
        address, sourcePort = given or (b"", 0)
        source = self.ip.route(dest, self._checkedSource(address, dest)).source
        if len(self._transports) >= self.limits.connections:
            raise OSError(errno.ENOBUFS, f"there are {len(self._transports)} connections: close some of them")
        if not sourcePort:
            sourcePort = self._clientPort(source, dest, port)
        key = dest + source + port.to_bytes(2, "big") + sourcePort.to_bytes(2, "big")
        if key in self._transports or key in self._halfOpen:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self._timeWait.pop(key, None)
        now = self.now()
        path = transport.path = Path(self.ip, self.counters, source, dest, sourcePort, port)
        path.now = now
        version = 4 if len(dest) == 4 else 6
        initial, offset = self._initial(key, now), self._offset(key)
        connection = transport.connection = Connection(path, version, parameters, initial, offset)
        connection.receiver.pool, connection.sender.pool = self.buffers, self.sendBuffers
        self._enter(key, transport)
        self.counters["activeOpens"] += 1
        connection.connect(now)
        transport.turn()

    def _checkedSource(self, address: bytes, dest: bytes) -> bytes | None:
        """
        The source of segments to a peer: the packed address that was given, or L{None} where any will do.

        @param address: empty, or all zeros, for any.

        @raise ConnectBindError: it is of another IP version, of another host, or only good within this host.
        """
        if len(address) not in (0, len(dest)):
            ends = f"from {addressText(address)} to {addressText(dest)}"
            raise ConnectBindError(errno.EAFNOSUPPORT, f"no connection leads {ends}: give addresses of one IP version")
        if not any(address):
            return None
        own = getattr(self.ip, "ownAddresses", None)
        if own is not None and not own.accepts(address) and not (own.isSelf(address) and own.isSelf(dest)):
            ours = ", ".join(str(each.ip) for each in own.interfaces)
            text = f"{addressText(address)} is no address that others can answer to: give one of {ours or 'this host'}"
            raise ConnectBindError(errno.EADDRNOTAVAIL, text)
        return address

    def _clientPort(self, source: bytes, dest: bytes, port: int) -> int:
        """
        A port for a connection to a peer: each peer has a beginning of its own, and from there one follows another
        (RFC 6056 section 3.3.3).
        """
        ends = dest + source
        portOctets = port.to_bytes(2, "big")
        count = len(_EPHEMERAL)
        first = _number(blake2b(ends + portOctets, digest_size=4, key=self._key).digest(), "big") + self._nextPort
        for step in range(count):
            number = _EPHEMERAL[(first + step) % count]
            key = ends + portOctets + number.to_bytes(2, "big")
            if key in self._transports or key in self._timeWait or key in self._halfOpen:
                continue
            if self._isTaken(source, number):
                continue
            self._nextPort += step + 1
            return number
        raise OSError(errno.EADDRNOTAVAIL, "all ports for connections to this peer are in use")

    def _initial(self, key: bytes, now: float) -> int:
        """
        The sequence number that a connection begins with (RFC 6528).
        """
        secret = blake2b(key, digest_size=4, key=self._key, person=b"sequence").digest()
        return (_number(secret, "big") + int(now * 250_000)) & _MASK

    def _offset(self, key: bytes) -> int:
        """
        The offset of our clock in timestamps to a peer: the same for all connections of two addresses, so that they are
        in order.
        """
        return _number(blake2b(key[:-4], digest_size=4, key=self._key, person=b"timestamp").digest(), "big")

    def _enter(self, key: bytes, transport: TCPTransport) -> None:
        transport.key = key
        self._transports[key] = transport

    def _forget(self, key: bytes, half: HalfOpen) -> None:
        """
        Give up a connection that is half open.
        """
        self._noLongerHalfOpen(key)
        half.port.halfOpen -= 1
        self.counters["attemptFails"] += 1

    def _noLongerHalfOpen(self, key: bytes) -> None:
        del self._halfOpen[key]
        self._halfOpenUnclaimed.pop(key, None)

    def turnSoon(self, transport: TCPTransport) -> None:
        """
        Have a transport have a turn at the next turn of the reactor.
        """
        self._soon.append(transport)
        if len(self._soon) == 1:
            if self._turn is None:
                self._turn = Timer(self.clock, self._turnAll)  # type: ignore[arg-type]
            self._turn.arm(0)

    def _turnAll(self) -> None:
        soon, self._soon = self._soon, []
        now = self.now()
        for transport in soon:
            transport.isSoon = False
            if transport.connection is not None:
                path = cast(Path, transport.path)
                path.now = max(path.now, now)
                transport.turn()


def peerOf(key: bytes) -> bytes:
    """
    The packed address of the peer of a flow.
    """
    return key[: (len(key) - 4) // 2]


def _unresolvable(host: str) -> str:
    raise DNSLookupError(
        f"{host!r} is a name, and there is nothing to look it up by: give an address, Host(hosts=...) or a resolver"
    )
