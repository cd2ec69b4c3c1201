"""
A tunnel's carrier over a stream, which is a connection through any Twisted endpoint::

    serverFromString(reactor, "tcp:4000").listen(StreamFactory(tunnel, Frames, reactor))

    connecting(clientFromString(reactor, "tcp:192.0.2.1:4000"), StreamFactory(tunnel, Frames, reactor)).startService()
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from random import Random, SystemRandom
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptorReceiver,
    IHandshakeListener,
    INegotiated,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.timer import Timer
from txtuntap.mistakes import checkCallable, checkClock, checkKind
from txtuntap.shutdown import isShuttingDown
from txtuntap.tunnel.atonce import atOnce, enlargeBuffers, keepFreedMemory
from txtuntap.tunnel.framing import FramingError, ICarrier, IStreamFraming
from txtuntap.tunnel.origins import chooseFromBusiest, originOf
from txtuntap.tunnel.sparselog import SparseLog
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.wire.offload import Offload

#: The most octets that are queued while the transport accepts none; and the octets that each packet counts for in
#: addition to its length. In one reactor turn a port reads at most 1 MiB, in at most 1024 packets, plus the read that
#: it has begun. All of that fits, so none of it is dropped.
MAX_WAITING = 2 * 1024 * 1024
PACKET_COST = 512

#: The most connections whose peer has not identified itself, or has been refused. Beyond that, a connection from the
#: busiest prefix is evicted: see L{chooseFromBusiest}.
MAX_STRANGERS = 64

#: The seconds within which a peer has to identify itself; and the seconds within which a refused peer has to close.
GREETING_TIME = 10.0
PARTING_TIME = 2.0

#: The seconds between keepalive messages; and how many such intervals without data from the peer end the connection.
KEEPALIVE_INTERVAL = 10.0
MAX_SILENCES = 3

#: The TCP options that detect a dead peer if the framing has no keepalive message. The system's defaults take about two
#: hours on an idle connection, and a quarter of an hour with unacknowledged data. The values are seconds and a number
#: of probes; C{TCP_USER_TIMEOUT} is in milliseconds.
_TCP_KEEPALIVE = {
    "TCP_KEEPIDLE": int(KEEPALIVE_INTERVAL),
    # The name of the same option on macOS.
    "TCP_KEEPALIVE": int(KEEPALIVE_INTERVAL),
    "TCP_KEEPINTVL": int(KEEPALIVE_INTERVAL),
    "TCP_KEEPCNT": MAX_SILENCES,
    "TCP_USER_TIMEOUT": int(KEEPALIVE_INTERVAL * MAX_SILENCES * 1000),
}

#: The most log lines a minute that report a tunnel as up; and the most that report it as down for one reason. With only
#: one, the last line after a peer has restarted twice could report the tunnel as down although the tunnel is up.
STATE_LINES = 4


@implementer(ICarrier, IFileDescriptorReceiver, IPushProducer, IHandshakeListener)
class StreamCarrier(Protocol):
    """
    A carrier over one connection of a tunnel.

    While the write buffer of the transport is full, the tunnel's port is not read. Packets then wait in the kernel's
    queue. If that queue is full, the kernel drops packets, as on any slow interface. Packets that the port has already
    read, or that come from an end of a link, are queued here up to L{MAX_WAITING} octets. Beyond that they are dropped.

    @ivar factory: the factory of the connection.
    @ivar offloads: the checksums and segmentation that may be left to the peer, as flags; 0 until the peer has
        identified itself.
    """

    transport: Any

    def __init__(self, factory: StreamFactory, framing: IStreamFraming) -> None:
        self.factory: StreamFactory = factory
        self._framing = framing
        self._clock = factory.clock
        self._tunnel = factory.tunnel
        self.offloads = 0
        self._isUp = False
        # The reason why this end closes the connection; empty while it does not.
        self._closeReason = ""
        self._establishedWaiters: list[Deferred[StreamCarrier]] = []
        self._lostWaiters: list[Deferred[None]] = []
        self._lostReason: Failure | None = None
        self._timer = Timer(self._clock, self._timedOut)
        self._isPaused = False
        self._flushing = Timer(self._clock, self.flush)
        self._waiting: list[bytes | memoryview] = []
        self._waitingCost = 0
        self._hasSent = False
        self._hasReceived = False
        self._silences = 0

    def connectionMade(self) -> None:
        """
        Limit the time for the peer to identify itself, and send the greeting. Over TLS, the greeting waits for the
        handshake, because only that authenticates the peer.
        """
        self.transport = atOnce(self.transport)
        peer = self.transport.getPeer()
        self._peer = _addressText(peer)
        self._origin = originOf(peer)
        self._timer.arm(GREETING_TIME)
        self.factory.strangers.put(self, self._origin)
        self.transport.registerProducer(self, True)
        _tuneTransport(self.transport, bool(self._framing.keepalive))
        if not INegotiated.providedBy(self.transport):
            self._greet()

    def handshakeCompleted(self) -> None:
        """
        Send the greeting now that TLS has authenticated the peer.
        """
        self._greet()

    def _greet(self) -> None:
        greeting = self._framing.greeting(self._tunnel.offloads, self._tunnel.mtu)
        if greeting:
            self.transport.write(greeting)
        if self._framing.established:
            self._establish()

    def _establish(self) -> None:
        """
        Report that the carrier is up. The peer has identified itself, or the framing has no greeting.
        """
        self._isUp = True
        self.offloads = self._framing.offloads
        self.factory.strangers.pop(self, None)
        self._hasReceived = True
        self._timer.arm(KEEPALIVE_INTERVAL)
        self._stateLine = self._tunnel.counters["carriers"] % STATE_LINES
        self.factory.log.say(f"up {self._stateLine}", "The tunnel to {peer} is up", LogLevel.info, peer=self._peer)
        mtus = self._framing.peerMTU, self._tunnel.mtu
        if mtus[0] and mtus[0] != mtus[1]:
            line = (
                "The interface of {peer} has an MTU of {mtus[0]}, and this end's has {mtus[1]}: packets longer than the"
                " smaller one are fragmented, or dropped with an ICMP error to their sender"
            )
            self.factory.log.say("MTU", line, peer=self._peer, mtus=mtus)
        self._tunnel.carrierUp(self)
        established, self._establishedWaiters = self._establishedWaiters, []
        for each in established:
            each.callback(self)

    def whenEstablished(self) -> Deferred[StreamCarrier]:
        """
        Wait until packets can be sent.

        @return: a Deferred that fires with this carrier. It fails if the connection ends before. If it is cancelled,
            the connection is closed.
        """
        established: Deferred[StreamCarrier] = Deferred(
            lambda _: self.disconnect("this end has cancelled the attempt to connect")
        )
        if self._lostReason is not None:
            established.errback(self._lostReason)
        elif self._isUp:
            established.callback(self)
        else:
            self._establishedWaiters.append(established)
        return established

    def whenLost(self) -> Deferred[None]:
        """
        Wait until the connection has ended.

        @return: a Deferred that fails with the reason; at once if the connection has already ended.
        """
        lost: Deferred[None] = Deferred()
        if self._lostReason is not None:
            lost.errback(self._lostReason)
        else:
            self._lostWaiters.append(lost)
        return lost

    def disconnect(self, why: str) -> None:
        """
        Abort the connection: see L{ICarrier.disconnect}.
        """
        self._closeReason = self._closeReason or why
        # The transport reports the loss later. Until then the connection would count as a stranger.
        self.factory.strangers.pop(self, None)
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """
        Abort the connection when C{ClientService} stops. The service uses the carrier as its transport.
        """
        self.disconnect("this end has been stopped")

    def _refuse(self, why: str) -> None:
        """
        Close the connection once the octets already written have been sent, so that the peer receives this end's
        greeting.

        @param why: the reason, for the log.
        """
        if not self._closeReason:
            self._closeReason = why
            self._timer.arm(PARTING_TIME)
            # No packet is queued from here on. The producer is unregistered because the transport would not close while
            # it is paused.
            self._tunnel.carrierDown(self)
            self._dropQueued()
            self.factory.strangers.put(self, self._origin)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Report the end of the connection to the tunnel, to the log and to the Deferreds of L{whenLost} and
        L{whenEstablished}.
        """
        self._lostReason = reason
        self._timer.stop()
        self.factory.strangers.pop(self, None)
        self._tunnel.carrierDown(self)
        self._dropQueued()
        why = self._closeReason or ("this end has been stopped" if isShuttingDown(self._clock) else _reasonText(reason))
        if self._isUp:
            line = "The tunnel to {peer} is down: {why}"
            self.factory.log.say(f"{why} {self._stateLine}", line, peer=self._peer, why=why)
        else:
            self._tunnel.counters["inRefused"] += 1
            self.factory.log.say(why, "No tunnel with {peer}: {reason}", peer=self._peer)
        established, self._establishedWaiters = self._establishedWaiters, []
        for each in established:
            each.errback(reason)
        waiters, self._lostWaiters = self._lostWaiters, []
        for lost in waiters:
            lost.errback(reason)

    def _dropQueued(self) -> None:
        """
        Drop the packets that are queued.
        """
        self._waiting, self._waitingCost = [], 0
        self._flushing.stop()

    def _timedOut(self) -> None:
        """
        Handle the timeout of the current state. Abort a refused connection, and close one whose peer has not identified
        itself. On an established connection, send a keepalive message.
        """
        if self._closeReason:
            self.transport.abortConnection()
        elif self._isUp:
            self._keepAlive()
        else:
            self.disconnect("it did not identify itself in time")

    def _keepAlive(self) -> None:
        """
        Close the connection if the peer has been silent for too long. Otherwise send a keepalive message if nothing
        else was sent.
        """
        keepalive = self._framing.keepalive
        if not keepalive:
            return
        # Silent intervals are counted, not seconds. After a suspension of this process, the octets that the peer sent
        # meanwhile are still unread.
        self._silences = 0 if self._hasReceived else self._silences + 1
        self._hasReceived = False
        if self._silences >= MAX_SILENCES:
            self.disconnect("it has been silent for too long")
            return
        if not self._hasSent and not self._isPaused:
            self.transport.write(keepalive)
        self._hasSent = False
        self._timer.arm(KEEPALIVE_INTERVAL)

    # Send to the peer

    def send(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        Queue one packet for the peer: see L{ICarrier.send}.
        """
        cost = self._waitingCost + len(packet) + PACKET_COST
        if cost > MAX_WAITING:
            return False
        self._waitingCost = cost
        self._waiting += self._framing.pack(packet, offload)
        if not (self._isPaused or self._tunnel.flushes or self._flushing.armed):
            # The queue is written at the end of this reactor turn, so that all packets of the turn share one call of
            # the transport.
            self._flushing.arm(0)
        return True

    def tables(self) -> list[TableState]:
        """
        Return how full the queue to the peer is: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("tunnel output", self._waitingCost, MAX_WAITING, Policy.REFUSE.value, "octets")]

    def flush(self) -> None:
        """
        Write the queued packets to the transport: see L{ICarrier.flush}.
        """
        if self._flushing.armed:
            self._flushing.stop()
        if self._waiting and not self._isPaused:
            waiting, self._waiting, self._waitingCost = self._waiting, [], 0
            self._hasSent = True
            self.transport.writeSequence(waiting)

    def pauseProducing(self) -> None:
        """
        Queue packets from now on, because the transport's write buffer is full.
        """
        self._isPaused = True
        self._tunnel.carrierFull(self)

    def resumeProducing(self) -> None:
        """
        Write the queue, because the transport's write buffer has room again.
        """
        self._isPaused = False
        self.flush()
        if not self._isPaused:
            self._tunnel.carrierFree(self)

    def stopProducing(self) -> None:
        """
        Do nothing: the transport is closed, and C{connectionLost} follows.
        """

    # Receive from the peer

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        Abort a connection over a UNIX socket whose peer sends a descriptor, because no framing uses descriptors. By
        default Twisted would write a log line for each.
        """
        os.close(descriptor)
        self.disconnect("the peer sent a file descriptor")

    def dataReceived(self, data: bytes) -> None:
        """
        Parse octets of the stream, and pass the packets in them to the tunnel.
        """
        if self._closeReason:
            return
        self._hasReceived = True
        try:
            packets = self._framing.dataReceived(data)
        except FramingError as e:
            self._tunnel.counters["inFramingErrors"] += 1
            self._refuse(str(e))
            return
        if not self._isUp:
            if not self._framing.established:
                return
            self._establish()
        self._tunnel.carriedTogether(packets)


class StreamFactory(Factory):
    """
    A factory that makes the connections of a tunnel, at the listening or the connecting end.

    @ivar tunnel: the tunnel.
    @ivar clock: the clock of all timers.
    @ivar strangers: the connections whose peer has not identified itself or has been refused, with the origin of each.
        The oldest is the first.
    @ivar random: the source of random numbers for the choice of the stranger to evict. The default is not predictable.
    @ivar log: the log of connections that are made, refused and lost.
    """

    noisy = False
    random: Random = SystemRandom()
    _log = Logger()

    def __init__(self, tunnel: Tunnel, framing: Callable[[int], IStreamFraming], clock: IReactorTime) -> None:
        """
        @param framing: makes a framing for a mode, such as the class L{Frames<txtuntap.tunnel.frames.Frames>}.

        @raise ValueError: the framing cannot carry packets of the tunnel's mode.
        """
        checkKind(tunnel, Tunnel, "tunnel", "Tunnel(TUN)")
        checkCallable(framing, "framing")
        checkClock(clock)
        framing(tunnel.mode)
        keepFreedMemory()
        self.tunnel = tunnel
        self._framing = framing
        self.clock = clock
        self.strangers: Table[StreamCarrier, tuple[str, ...]] = Table(
            "strangers",
            MAX_STRANGERS,
            Policy.CROWDED,
            _evicted,
            lambda _: chooseFromBusiest(self.strangers, self.random),
        )
        self.log = SparseLog(self._log, clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Make the carrier of a new connection.
        """
        return StreamCarrier(self, self._framing(self.tunnel.mode))

    def tables(self) -> list[TableState]:
        """
        Return how full the tables of this factory and of its current carrier are: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        carrier = self.tunnel.carrier
        own = [self.strangers.state, *self.log.tables()]
        if isinstance(carrier, StreamCarrier) and carrier.factory is self:
            own += carrier.tables()
        return own

    def stop(self) -> None:
        """
        Abort all connections of the tunnel.
        """
        carrier = self.tunnel.carrier
        for each in [*self.strangers, *([] if carrier is None else [carrier])]:
            each.disconnect("this end has been stopped")


def _evicted(carrier: StreamCarrier, origin: tuple[str, ...]) -> None:
    carrier.disconnect("too many peers have not identified themselves")


def _addressText(address: Any) -> str:
    """
    Return the address of a peer for the log, as C{host:port} or as the name of its UNIX socket.
    """
    host = getattr(address, "host", None)
    if host is None:
        # A UNIX socket has a name only at the listening end.
        return os.fsdecode(getattr(address, "name", None) or "a local peer")
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def _tuneTransport(transport: Any, hasKeepalive: bool) -> None:
    """
    Set the buffers and TCP options of a connection, over TLS or not, for the throughput of packets.

    @param hasKeepalive: whether the framing detects a dead peer by keepalive messages; if not, TCP has to.
    """
    below = transport
    while INegotiated.providedBy(below):
        below = transport = transport.transport
    if isinstance(transport, FileDescriptor):
        enlargeBuffers(transport)
    if ITCPTransport.providedBy(below):
        below.setTcpNoDelay(True)
        if not hasKeepalive:
            below.setTcpKeepAlive(True)
            handle = cast(Any, below).getHandle()
            for name, value in _TCP_KEEPALIVE.items():
                # Some of these options are missing on some platforms, or in older versions of them.
                with suppress(AttributeError, OSError):
                    handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _reasonText(reason: Failure) -> str:
    """
    Return the reason why a connection has ended, in words for the log.
    """
    errors = reason.value.args[0] if reason.value is not None and reason.value.args else None
    if type(reason.value).__module__.startswith("OpenSSL") and isinstance(errors, list) and errors:
        # Each error in OpenSSL's queue is a tuple of library, function and reason.
        text = str(errors[-1][-1])
        return f"TLS: the peer refuses this end, and its log says why ({text})" if " alert " in text else f"TLS: {text}"
    if reason.check(ConnectionDone):
        return "the peer has closed the connection"
    if reason.check(ConnectionLost):
        return "the connection was lost"
    return reason.getErrorMessage()
