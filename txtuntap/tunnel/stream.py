"""
A tunnel's packets over a stream: a connection by any Twisted endpoint.

    serverFromString(reactor, "tcp:4000").listen(StreamFactory(tunnel, Frames, reactor))

    connecting(clientFromString(reactor, "tcp:192.0.2.1:4000"), StreamFactory(tunnel, Frames, reactor)).startService()
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
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
from txtuntap.tunnel.framing import FramingError, ICarrier, IStreamFraming
from txtuntap.tunnel.origins import oneOfTheBusiest, originOf
from txtuntap.tunnel.sparselog import SparseLog
from txtuntap.tunnel.tunnel import Tunnel
from txtuntap.wire.offload import Offload

#: The most octets that wait while the transport takes no more, and what a packet counts beside its own: a port reads
#: less in a turn of the reactor (1 MiB, 1024 packets, and what it has begun), so of that nothing is dropped.
MAX_WAITING = 2 * 1024 * 1024
PACKET_COST = 512

#: Octets that a connection reads at once, and that it takes before it says that it takes no more; and that it hands to
#: the kernel at once. (Twisted has 64 KiB and 128 KiB, which is two superpackets.)
BUFFER_SIZE = 256 * 1024
SEND_LIMIT = 1024 * 1024

#: The most connections whose peer has not said, or not proven, who it is. Beyond that, one from the busiest place is
#: dropped: see L{oneOfTheBusiest}.
MAX_STRANGERS = 64

#: Seconds for a peer to say who it is, and for one that was refused to go.
GREETING_TIME = 10.0
PARTING_TIME = 2.0

#: Seconds between signs of life; and how often there may be none in such a time before a peer is dead.
KEEPALIVE_INTERVAL = 10.0
MAX_SILENCES = 3

#: TCP's options where the framing has no signs of life, because the system's keepalive takes two hours, or a quarter of
#: one with something in transit. In seconds, and the last in milliseconds.
_TCP_SILENCE = {
    "TCP_KEEPIDLE": int(KEEPALIVE_INTERVAL),
    "TCP_KEEPINTVL": int(KEEPALIVE_INTERVAL),
    "TCP_KEEPCNT": MAX_SILENCES,
    "TCP_USER_TIMEOUT": int(KEEPALIVE_INTERVAL * MAX_SILENCES * 1000),
}

#: How many lines a minute say that a tunnel is up, and as many of each reason that it is down: with one, the log would
#: end with an end that was restarted being down.
STATE_LINES = 4


@implementer(ICarrier, IFileDescriptorReceiver, IPushProducer, IHandshakeListener)
class StreamCarrier(Protocol):
    """
    One connection of a tunnel's.

    While the transport takes no more, the port is not read: what comes then waits in the kernel's queue, and what that
    has no room for is dropped there, as at any interface that is slower than who sends. What a port had read before, or
    something else than a port brings, waits here up to a bound, and is dropped beyond.

    @ivar offloads: what the peer takes.
    """

    transport: Any

    def __init__(self, factory: StreamFactory, framing: IStreamFraming) -> None:
        self.factory: StreamFactory = factory
        self._framing = framing
        self._clock = factory.clock
        self._tunnel = factory.tunnel
        self.offloads = 0
        self._isUp = False
        # Why this end has ended it.
        self._why = ""
        self._established: list[Deferred[StreamCarrier]] = []
        self._losing: list[Deferred[None]] = []
        self._ending: Failure | None = None
        self._timer = Timer(self._clock, self._timeIsUp)
        self._isPaused = False
        self._flushing = Timer(self._clock, self._flush)
        self._waiting: list[bytes | memoryview] = []
        self._waitingCost = 0
        self._hasSent = False
        self._hasHeard = False
        self._silences = 0

    # Life

    def connectionMade(self) -> None:
        """
        The connection is there; with TLS, not who is at its other end.
        """
        peer = self.transport.getPeer()
        self._peer = _addressText(peer)
        self._origin = originOf(peer)
        self._timer.arm(GREETING_TIME)
        self.factory.strangers.put(self, self._origin)
        self.transport.registerProducer(self, True)
        _tune(self.transport, bool(self._framing.keepalive))
        if not INegotiated.providedBy(self.transport):
            self._begin()

    def handshakeCompleted(self) -> None:
        """
        TLS knows who is at the other end.
        """
        self._begin()

    def _begin(self) -> None:
        greeting = self._framing.greeting(self._tunnel.offloads, self._tunnel.mtu)
        if greeting:
            self.transport.write(greeting)
        if self._framing.established:
            self._begun()

    def _begun(self) -> None:
        """
        The peer has said who it is, where it has to: packets may go.
        """
        self._isUp = True
        self.offloads = self._framing.offloads
        self.factory.strangers.pop(self, None)
        self._hasHeard = True
        self._timer.arm(KEEPALIVE_INTERVAL)
        self._stateLine = self._tunnel.counters["carriers"] % STATE_LINES
        self.factory.log.say(f"up {self._stateLine}", "The tunnel to {peer} is up", LogLevel.info, peer=self._peer)
        mtus = self._framing.peerMTU, self._tunnel.mtu
        if mtus[0] and mtus[0] != mtus[1]:
            line = (
                "The interface of {peer} has an MTU of {mtus[0]}, this end's {mtus[1]}: who sends what is too long for"
                " the less is told, or it is taken apart"
            )
            self.factory.log.say("MTU", line, peer=self._peer, mtus=mtus)
        self._tunnel.carrierUp(self)
        established, self._established = self._established, []
        for each in established:
            each.callback(self)

    def whenEstablished(self) -> Deferred[StreamCarrier]:
        """
        @return: a Deferred that fires with this once packets may go; it fails if the connection ends before that.
        """
        established: Deferred[StreamCarrier] = Deferred(lambda _: self.disconnect("this end does not want it any more"))
        if self._ending is not None:
            established.errback(self._ending)
        elif self._isUp:
            established.callback(self)
        else:
            self._established.append(established)
        return established

    def whenLost(self) -> Deferred[None]:
        """
        @return: a Deferred that fails with the reason when the connection has ended; at once, if it has.
        """
        lost: Deferred[None] = Deferred()
        if self._ending is not None:
            lost.errback(self._ending)
        else:
            self._losing.append(lost)
        return lost

    def disconnect(self, why: str) -> None:
        """
        End at once: see L{ICarrier.disconnect}.
        """
        self._why = self._why or why
        # Its transport tells of its end later, and until then it would count.
        self.factory.strangers.pop(self, None)
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """
        End: what C{ClientService} asks of a transport when it stops.
        """
        self.disconnect("this end has been stopped")

    def _refuse(self, why: str) -> None:
        """
        End, once the peer has been told what this end has to say.
        """
        if not self._why:
            self._why = why
            self._timer.arm(PARTING_TIME)
            # Nothing goes any more: nobody would say when the transport takes no more, and it would never be done.
            self._tunnel.carrierDown(self)
            self._forget()
            self.factory.strangers.put(self, self._origin)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection has ended.
        """
        self._ending = reason
        self._timer.stop()
        self.factory.strangers.pop(self, None)
        self._tunnel.carrierDown(self)
        self._forget()
        why = self._why or ("this end has been stopped" if isShuttingDown(self._clock) else _explained(reason))
        if self._isUp:
            line = "The tunnel to {peer} is down: {why}"
            self.factory.log.say(f"{why} {self._stateLine}", line, peer=self._peer, why=why)
        else:
            self._tunnel.counters["inRefused"] += 1
            self.factory.log.say(why, "No tunnel with {peer}: {reason}", peer=self._peer)
        established, self._established = self._established, []
        for each in established:
            each.errback(reason)
        losing, self._losing = self._losing, []
        for lost in losing:
            lost.errback(reason)

    def _forget(self) -> None:
        """
        Drop what waits.
        """
        self._waiting, self._waitingCost = [], 0
        self._flushing.stop()

    def _timeIsUp(self) -> None:
        """
        Do what is to be done at the end of the time that the state of the connection has.
        """
        if self._why:
            self.transport.abortConnection()
        elif self._isUp:
            self._keepAlive()
        else:
            self.disconnect("it did not say who it is in time")

    def _keepAlive(self) -> None:
        """
        Some time has passed: give a sign of life, and see whether the peer has.
        """
        keepalive = self._framing.keepalive
        if not keepalive:
            return
        # Count silent intervals, not seconds, because this end may have stood still for longer, with what the peer has
        # said meanwhile waiting to be read.
        self._silences = 0 if self._hasHeard else self._silences + 1
        self._hasHeard = False
        if self._silences >= MAX_SILENCES:
            self.disconnect("it has been silent for too long")
            return
        if not self._hasSent and not self._isPaused:
            self.transport.write(keepalive)
        self._hasSent = False
        self._timer.arm(KEEPALIVE_INTERVAL)

    # To the peer

    def send(self, packet: bytes | memoryview, offload: Offload | None = None) -> bool:
        """
        Send one packet: see L{ICarrier.send}.
        """
        cost = self._waitingCost + len(packet) + PACKET_COST
        if cost > MAX_WAITING:
            return False
        self._waitingCost = cost
        self._waiting += self._framing.pack(packet, offload)
        if not self._isPaused and self._flushing.deadline is None:
            # With all that the port reads in this turn of the reactor: one copy and one call of the transport.
            self._flushing.arm(0)
        return True

    def tables(self) -> list[TableState]:
        """
        How full the output to the peer is: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("tunnel output", self._waitingCost, MAX_WAITING, Policy.REFUSE.value, "octets")]

    def _flush(self) -> None:
        """
        Hand the transport what waits.
        """
        self._flushing.stop()
        if self._waiting and not self._isPaused:
            waiting, self._waiting, self._waitingCost = self._waiting, [], 0
            self._hasSent = True
            self.transport.write(b"".join(waiting))

    def pauseProducing(self) -> None:
        """
        The transport takes no more.
        """
        self._isPaused = True
        self._tunnel.carrierFull(self)

    def resumeProducing(self) -> None:
        """
        The transport takes more.
        """
        self._isPaused = False
        self._flush()
        if not self._isPaused:
            self._tunnel.carrierFree(self)

    def stopProducing(self) -> None:
        """
        The transport has gone: C{connectionLost} is next.
        """

    # From the peer

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        A peer at a UNIX socket has sent a descriptor, which is none of a tunnel's. Twisted would log each.
        """
        os.close(descriptor)
        self.disconnect("the peer sends descriptors")

    def dataReceived(self, data: bytes) -> None:
        """
        Octets of the stream have come.
        """
        if self._why:
            return
        self._hasHeard = True
        try:
            packets = self._framing.dataReceived(data)
        except FramingError as e:
            self._tunnel.counters["inFramingErrors"] += 1
            self._refuse(str(e))
            return
        if not self._isUp:
            if not self._framing.established:
                return
            self._begun()
        carried = self._tunnel.carried
        for packet, offload in packets:
            carried(packet, offload)


class StreamFactory(Factory):
    """
    Makes the connections of a tunnel's, at either end.

    @ivar tunnel: the tunnel.
    @ivar clock: what tells the time.
    @ivar strangers: connections whose peer has not said who it is, or was refused, and where each is from; the one that
        has waited longest is first.
    @ivar random: chooses which of them is dropped; by default, in a manner that nobody can foresee.
    @ivar log: where their fate is written.
    """

    noisy = False
    random: Random = SystemRandom()
    _log = Logger()

    def __init__(self, tunnel: Tunnel, framing: Callable[[int], IStreamFraming], clock: IReactorTime) -> None:
        """
        @param framing: makes one of a mode, such as L{Frames<txtuntap.tunnel.frames.Frames>} itself.

        @raise ValueError: it cannot carry what the tunnel does.
        """
        checkKind(tunnel, Tunnel, "tunnel", "Tunnel(TUN)")
        checkCallable(framing, "framing")
        checkClock(clock)
        framing(tunnel.mode)
        self.tunnel = tunnel
        self._framing = framing
        self.clock = clock
        self.strangers: Table[StreamCarrier, tuple[str, ...]] = Table(
            "strangers",
            MAX_STRANGERS,
            Policy.CROWDED,
            _evicted,
            lambda _: oneOfTheBusiest(self.strangers, self.random),
        )
        self.log = SparseLog(self._log, clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        A peer has connected, or this end has.
        """
        return StreamCarrier(self, self._framing(self.tunnel.mode))

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}: that of the carrier, too.
        """
        carrier = self.tunnel.carrier
        own = [self.strangers.state, *self.log.tables()]
        if isinstance(carrier, StreamCarrier) and carrier.factory is self:
            own += carrier.tables()
        return own

    def stop(self) -> None:
        """
        End all connections.
        """
        carrier = self.tunnel.carrier
        for each in [*self.strangers, *([] if carrier is None else [carrier])]:
            each.disconnect("this end has been stopped")


def _evicted(carrier: StreamCarrier, origin: tuple[str, ...]) -> None:
    carrier.disconnect("too many that have not said who they are")


def _addressText(address: Any) -> str:
    """
    Where a peer is, for the log.
    """
    host = getattr(address, "host", None)
    if host is None:
        # A UNIX socket; who connects to one has no name.
        return os.fsdecode(getattr(address, "name", None) or "a local peer")
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def _tune(transport: Any, hasKeepalive: bool) -> None:
    """
    Have a connection carry packets well.

    @param hasKeepalive: whether the framing finds out about a peer that is gone; else TCP is to.
    """
    below = transport
    while INegotiated.providedBy(below):
        # TLS, around it.
        below = transport = transport.transport
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BUFFER_SIZE
        transport.SEND_LIMIT = SEND_LIMIT
    if ITCPTransport.providedBy(below):
        below.setTcpNoDelay(True)
        if not hasKeepalive:
            below.setTcpKeepAlive(True)
            handle = cast(Any, below).getHandle()
            for name, value in _TCP_SILENCE.items():
                # Not all are everywhere.
                if hasattr(socket, name):
                    handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _explained(reason: Failure) -> str:
    """
    Why a connection has ended, in words.
    """
    errors = reason.value.args[0] if reason.value is not None and reason.value.args else None
    if type(reason.value).__module__.startswith("OpenSSL") and isinstance(errors, list) and errors:
        # OpenSSL tells library, function and reason of each error in its queue.
        return f"TLS: {errors[-1][-1]}"
    if reason.check(ConnectionDone):
        return "the peer has closed it"
    if reason.check(ConnectionLost):
        return "the connection was lost"
    return reason.getErrorMessage()
