"""
The local endpoints of connections: listening ports, the ports of clients, and initial sequence numbers.

Read RFC 6056 (ephemeral ports) and RFC 6528 (initial sequence numbers) first.
"""

from __future__ import annotations

import errno
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Any, cast

from twisted.internet.error import CannotListenError, ConnectBindError, DNSLookupError
from twisted.internet.interfaces import IConnector, IDelayedCall, IReactorTime

from txtuntap.interfaces import IIPTransport
from txtuntap.layer.bound import boundAddress, overlap
from txtuntap.layer.bounded import Policy, Table
from txtuntap.layer.chance import SYSTEM_RANDOM
from txtuntap.layer.counters import SegmentCounters
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.layer.timer import Timer, callLater
from txtuntap.layer.tokenbucket import TokenBucket
from txtuntap.mistakes import checkFactory, checkKind, checkPort, checkRange, checkSeconds, checkText
from txtuntap.tcp.bufferpool import BufferPool
from txtuntap.tcp.client import TCPClient, TCPConnector
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.cookiebudget import CookieBudget
from txtuntap.tcp.cookies import Cookies
from txtuntap.tcp.halfopen import HalfOpen
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.interfaces import ITCPLayer
from txtuntap.tcp.limits import BURST, Limits
from txtuntap.tcp.orphans import Orphans
from txtuntap.tcp.path import Path
from txtuntap.tcp.ports import BACKLOG, TCPPort
from txtuntap.tcp.timewait import TimeWait
from txtuntap.tcp.transport import TCPTransport
from txtuntap.wire.address import addressText, isGroup

#: The ephemeral port numbers, for clients and for listeners that ask for port 0 (RFC 6056 section 3.2).
_EPHEMERAL = range(49152, 65536)

_MASK = 0xFFFFFFFF

_number = int.from_bytes


class TCPEndpoints(PacketProtocol):
    """
    The part of a L{TCPProtocol<txtuntap.tcp.TCPProtocol>} that has the tables, chooses local addresses and ports, and
    opens the connections of clients.

    @ivar parameters: see L{TCPProtocol<txtuntap.tcp.TCPProtocol>}, also for C{limits}, C{buffers} and C{sendBuffers}.
    """

    #: The IP layer that this layer was added to last, even if the IP layer runs on no port yet. So addresses can be
    #: checked before a port is started. If the IP layer has a clock, C{connect} then raises no exception, and the
    #: attempt fails by C{clientConnectionFailed}.
    _addedTo: Any = None

    def __init__(
        self, parameters: Parameters | None, limits: Limits | None, verifyChecksum: bool, secrets: Random | None
    ) -> None:
        """
        @param parameters: see L{TCPProtocol<txtuntap.tcp.TCPProtocol>}, also for the other arguments.
        """
        super().__init__()
        self.counters: SegmentCounters = SegmentCounters()
        self.parameters = parameters or Parameters()
        self.limits = limits or Limits()
        self._verify = verifyChecksum
        self._hasSecrets = secrets is not None
        self._drawSecrets(secrets or SYSTEM_RANDOM)
        self._transports: dict[bytes, TCPTransport] = {}
        self._byPeer: Counter[bytes] = Counter()
        self._ports: dict[int, list[TCPPort]] = {}
        #: The packed local addresses that clients have reserved, by port number.
        self._bound: dict[int, set[bytes]] = {}
        self._halfOpen: Table[bytes, HalfOpen] = Table("half open", self.limits.halfOpen, Policy.REFUSE)
        #: The flows of half-open connections on ports without a listener, for which the application has given a
        #: factory. The oldest is first.
        self._halfOpenUnclaimed: dict[bytes, None] = {}
        self._timeWait: Table[bytes, TimeWait] = Table("time wait", self.limits.timeWait, Policy.OLDEST)
        self._orphans: Orphans[TCPTransport] = Orphans(self.limits.orphans)
        self.buffers = BufferPool("buffers", self.limits.buffers)
        self.sendBuffers = BufferPool("send buffers", self.limits.sendBuffers)
        self._resets = TokenBucket(self.limits.resets, min(self.limits.resets, BURST))
        self._repeats = TokenBucket(self.limits.repeats, min(self.limits.repeats, BURST))
        self._cookieBudget = CookieBudget(self.limits.cookies)
        self._scheduled: list[TCPTransport] = []
        self._turn: Timer | None = None
        self._tick: Timer | None = None
        self._nextPort = 0

    def _drawSecrets(self, secrets: Random) -> None:
        self._secrets = secrets
        self._key = secrets.randbytes(16)
        self._cookies = Cookies(secrets.randbytes(16))

    def useSecrets(self, secrets: Random) -> None:
        """
        Draw the secret keys from a host's source of random numbers, unless the application has given another source.
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
        Listen on a port and accept connections, as C{IReactorTCP.listenTCP} does.

        @param port: the port number. 0 chooses a free one at random.
        @param backlog: the most half-open connections at once.
        @param interface: the local address to listen on. Empty: all addresses.
        @param parameters: the parameters of the connections. C{None}: those of this layer.
        @param maxConnections: the most established connections at once. C{None}: C{limits.portConnections}.

        @raise CannotListenError: the port is in use, no port is free, or C{interface} is the address of another host.
        @raise InvalidAddressError: C{interface} is no IP address.
        @raise ValueError: C{port} is no port number, or C{backlog} or C{maxConnections} is no count.
        @raise TypeError: C{factory} has no C{buildProtocol}, or C{parameters} is no C{Parameters}.
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
        Connect to a peer, as C{IReactorTCP.connectTCP} does.

        @param host: an IP address as text. A host name works only if C{resolve} is given.
        @param port: a port number, or the name of a service.
        @param timeout: the seconds that the attempt may take. C{None}: until no SYN is retransmitted any more.
        @param bindAddress: the local address and port to use, see L{clientBinding<txtuntap.tcp.client.clientBinding>}.
        @param parameters: the parameters of the connection. C{None}: those of this layer.
        @param resolve: a function that returns the address of a host name as text, or a Deferred of it.

        @raise ValueError: C{host} is not a str, C{timeout} is not a number of at least 0, or C{bindAddress} is a tuple
            without a port number.
        @raise TypeError: C{factory} has no C{buildProtocol}, or C{parameters} is no C{Parameters}.
        @raise ServiceNameUnknownError: C{port} is the name of an unknown service.
        @raise InvalidAddressError: C{bindAddress} has no IP address.
        @raise RuntimeError: this layer was added to no IP layer, or to one without a clock and a port.
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
        Remember the IP layer that this layer has been added to, which may not run on a port yet.
        """
        self._addedTo = ip

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:
        """
        Schedule a call on the clock of this layer, or on that of an IP layer that does not run yet. The call is neither
        early nor late if the wall clock is set meanwhile. See C{IReactorTime.callLater}.

        @raise RuntimeError: this layer was added to no IP layer, or to one without a clock and a port.
        """
        clock: IReactorTime | None = self.clock or getattr(self._addedTo, "clock", None)
        if clock is None:
            text = "add it to an IP layer that is on a port or has a clock: ip.addProto(6, tcp)"
            raise RuntimeError(f"this TCPProtocol has no clock: {text}")
        return callLater(clock, delay, callable, *args)

    @property
    def ip(self) -> IIPTransport:
        """
        The IP layer below this layer.
        """
        return cast(IIPTransport, self.transport)

    def bindPort(self, port: TCPPort) -> None:
        """
        Begin to accept connections for a port. See L{ITCPLayer.bindPort}.

        @raise CannotListenError: the number is in use, or no number is free.
        """
        if not port.port:
            port.port = self._freePort(self._ports.__contains__)
            if not port.port:
                raise CannotListenError(port.interface, 0, OSError(errno.EADDRINUSE, "no port is free"))
        elif any(overlap(port.boundAddress, other.boundAddress) for other in self._ports.get(port.port, ())):
            error = OSError(errno.EADDRINUSE, "another factory listens there: give 0 for any port that is free")
            raise CannotListenError(port.interface, port.port, error)
        self._ports.setdefault(port.port, []).append(port)
        self._forgetRefusers()

    def unbindPort(self, port: TCPPort) -> None:
        """
        Stop accepting connections for a port, and forget its half-open connections.
        """
        ports = self._ports[port.port]
        ports.remove(port)
        if not ports:
            del self._ports[port.port]
        self._forgetRefusers()
        for key, half in list(self._halfOpen.items()):
            if half.port is port:
                self._forget(key, half)

    def _forgetRefusers(self) -> None:
        """
        Let the fast path refuse no SYNs until the next one is refused, because other ports may listen now.
        """
        fastPath = getattr(self.transport, "fastPath", None)
        if fastPath is not None:
            fastPath.refusers.clear()

    def _freePort(self, isTaken: Callable[[int], bool]) -> int:
        """
        Choose a free port number at random (RFC 6056 section 3.3.1).

        @param isTaken: returns whether a port number is in use.

        @return: the number. 0: all are in use.
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
        Find the listening port for a packed local address. A port that is bound to this address takes precedence over a
        port for all addresses.
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
        Reserve a local address and port for a client. See L{ITCPLayer.bindClient}.

        @raise OSError: the port is in use, or no port is free.
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
        Free an address and port that L{bindClient} has reserved.
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
        Enter a client's connection in the table of connections, and send its SYN. See L{ITCPLayer.connectClient}.

        @raise OSError: there is no route to the peer, C{dest} is a multicast or broadcast address, the table of
            connections is full, no port is free, the given port is in use for this peer, or the layer is on no port.
        @raise ConnectBindError: the given local address cannot be used for this peer.
        """
        if self.transport is None:
            raise OSError(errno.ENETDOWN, "this TCPProtocol is on no IP layer that runs: start its port first")
        if isGroup(dest) or dest in getattr(self.ip, "broadcasts", ()):
            # RFC 9293 section 3.9.2.3 forbids these addresses, for which Linux reports this error.
            raise OSError(errno.ENETUNREACH, f"{addressText(dest)} is a multicast or broadcast address: give a host's")
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
        Check the source address that a client is given for a peer.

        @param address: the packed source address. Empty or all zeros: any.
        @param dest: the packed address of the peer.

        @return: the source address. C{None}: any.

        @raise ConnectBindError: the address has another IP version than the peer's, or belongs to another host, or
            other hosts cannot reply to it.
        """
        if len(address) not in (0, len(dest)):
            ends = f"from {addressText(address)} to {addressText(dest)}"
            raise ConnectBindError(errno.EAFNOSUPPORT, f"no connection leads {ends}: give addresses of one IP version")
        if not any(address):
            return None
        own = getattr(self.ip, "ownAddresses", None)
        if own is not None and not own.accepts(address) and not (own.isSelf(address) and own.isSelf(dest)):
            ours = ", ".join(str(each.ip) for each in own.interfaces)
            text = f"other hosts cannot reply to {addressText(address)}: give {ours or 'an address of this host'}"
            raise ConnectBindError(errno.EADDRNOTAVAIL, text)
        return address

    def _clientPort(self, source: bytes, dest: bytes, port: int) -> int:
        """
        Choose a free local port for a connection to a peer. The search begins at a keyed hash of the addresses and the
        peer's port, plus a number that each new connection increases (RFC 6056 section 3.3.3).

        @param source: our packed address.
        @param dest: the peer's packed address.
        @param port: the peer's port.

        @raise OSError: all ports for this peer are in use.
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
        Compute the initial sequence number of a connection (RFC 6528).
        """
        secret = blake2b(key, digest_size=4, key=self._key, person=b"sequence").digest()
        return (_number(secret, "big") + int(now * 250_000)) & _MASK

    def _offset(self, key: bytes) -> int:
        """
        Compute the offset of the clock in the timestamps to a peer. All connections of two addresses have the same
        offset, so that the timestamps of later connections are newer.
        """
        return _number(blake2b(key[:-4], digest_size=4, key=self._key, person=b"timestamp").digest(), "big")

    def _enter(self, key: bytes, transport: TCPTransport) -> None:
        transport.key = key
        self._transports[key] = transport

    def _forget(self, key: bytes, half: HalfOpen) -> None:
        """
        Remove a half-open connection that was not established.
        """
        self._noLongerHalfOpen(key)
        half.port.halfOpen -= 1
        self.counters["attemptFails"] += 1

    def _noLongerHalfOpen(self, key: bytes) -> None:
        del self._halfOpen[key]
        self._halfOpenUnclaimed.pop(key, None)

    def scheduleTurn(self, transport: TCPTransport) -> None:
        """
        Schedule a turn of a transport for the next iteration of the reactor.
        """
        self._scheduled.append(transport)
        if len(self._scheduled) == 1:
            if self._turn is None:
                self._turn = Timer(self.clock, self._turnAll)  # type: ignore[arg-type]
            self._turn.arm(0)

    def _turnAll(self) -> None:
        soon, self._scheduled = self._scheduled, []
        now = self.now()
        for transport in soon:
            transport.isTurnScheduled = False
            if transport.connection is not None:
                path = cast(Path, transport.path)
                path.now = max(path.now, now)
                transport.turn()


def peerOf(key: bytes) -> bytes:
    """
    Return the packed address of the peer of a flow.

    @param key: the peer's address, our address, the peer's port and our port, all packed.
    """
    return key[: (len(key) - 4) // 2]


def _unresolvable(host: str) -> str:
    raise DNSLookupError(
        f"{host!r} is a name, and there is no resolver for it: give an address, Host(hosts=...) or a resolver"
    )
