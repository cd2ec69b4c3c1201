"""
The turns of a transport: it delivers what has come, sends what may be sent, and says what has happened.

A transport calls its protocol only in a turn of its own: when a segment has come, when a deadline is over, or at the
next turn of the reactor after the application has called a method. So a protocol is never called from inside its own
call.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from twisted.internet import main
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python import context
from twisted.python.failure import Failure

from txtuntap.layer.life import FailureLog
from txtuntap.layer.timer import GRAIN, Timer
from txtuntap.tcp.calls import Calls
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.sender import MAX_SUPERPACKET, SHARE_UNIT
from txtuntap.tcp.state import End, State

if TYPE_CHECKING:
    from txtuntap.interfaces import IPacketTransport
    from txtuntap.tcp.interfaces import ITCPLayer
    from txtuntap.tcp.path import Path
    from txtuntap.tcp.receiver import Receiver
    from txtuntap.tcp.sender import Sender

#: Why most connections are lost.
_DONE = Failure(main.CONNECTION_DONE)
_LOST = Failure(main.CONNECTION_LOST)

_TIME_WAIT = State.TIME_WAIT

#: How often a producer is resumed in one turn, at most.
_MOST_RESUMES = 8


class Turns(Calls):
    """
    The part of a L{TCPTransport<txtuntap.tcp.transport.TCPTransport>} that has the connection.
    """

    __slots__ = (
        "__weakref__",
        "_isTurning",
        "_isWriting",
        "_timer",
        "_turnsAgain",
        "_turnsAtEnd",
        "connection",
        "isSoon",
        "kept",
        "key",
        "shares",
    )

    #: Whether TLS was started: then writes go through it.
    TLS = False
    _tlsClientDefault = False
    _isAborting = False
    _toldEnd = False
    sessionno = 0
    _scope = ""

    def __init__(self, layer: ITCPLayer, failures: FailureLog) -> None:
        """
        @param failures: the log of what protocols raise, which all connections of a port share.
        """
        super().__init__(layer, failures)
        self.connection: Connection | None = None
        #: The flow, as the layer's table has it.
        self.key = b""
        self.isSoon = False
        self.kept = 0
        self.shares = 0
        self._timer: Timer | None = None
        self._isTurning = False
        #: Whether all that is written now leaves in the turn that goes on.
        self._isWriting = False
        self._turnsAgain = False
        self._turnsAtEnd = False

    def _abort(self) -> None:
        if self.connection is not None:
            self.connection.abort(self._time())
        self._lost(Failure(ConnectionAborted()))
        self._finish()

    def stopReading(self) -> None:
        """
        Deliver nothing more to the protocol.
        """
        self.reading = False
        if self.connection is not None:
            self.connection.receiver.isPaused = True

    def soon(self) -> None:
        """
        Have this turn go on, or else have one at the next turn of the reactor.
        """
        if self._isTurning:
            self._turnsAgain = True
        else:
            self.later()

    def later(self) -> None:
        """
        Have a turn at the next turn of the reactor.
        """
        if not self.isSoon:
            self.isSoon = True
            self.layer.turnSoon(self)

    def segmentReceived(
        self,
        data: bytes,
        start: int,
        end: int,
        sequence: int,
        acknowledgment: int,
        word: int,
        window: int,
        isMarked: bool,
        now: float,
        port: IPacketTransport | None,
    ) -> None:
        """
        A segment of this connection has come. Where others are likely to follow at once, and nothing is missing, there
        is one turn for all of them: one acknowledgment, one call of the timer.

        @param port: where it has come from; L{None}: from this host itself.
        """
        connection, path = self.connection, self.path
        assert connection is not None
        assert path is not None
        if now < path.now:
            # The segment has waited, while one before it was dealt with.
            now = path.now
        else:
            path.now = now
        ends = None if port is None else port.readEnd
        try:
            connection.segmentReceived(
                data, start, end, sequence, acknowledgment, word, window, isMarked, now, ends is not None
            )
            if ends is None or not connection.mayWait:
                connection.settle()
                ends = None
        except Exception:
            return self._broken()
        if ends is None:
            self.turn()
        elif not self._turnsAtEnd:
            self._turnsAtEnd = True
            ends.append(self._readEnded)

    def _readEnded(self) -> None:
        """
        All segments of the read that is under way have come.
        """
        self._turnsAtEnd = False
        if self.connection is not None:
            try:
                self.connection.settle()
            except Exception:
                return self._broken()
            self.turn()

    def _due(self) -> None:
        """
        The timer is due: it may be early, since deadlines move on more often than it does.
        """
        connection = self.connection
        if connection is None:
            return
        now = self._time()
        deadline = connection.deadline
        if now < deadline <= now + GRAIN:
            # A timer may be early by that. A wait for the rest could have no end, since a clock rounds it away.
            now = self.path.now = deadline  # type: ignore[union-attr]
        if deadline <= now:
            if connection.sender.retransmitAt <= now and connection.sender.timeouts and self.path is not None:
                self.path.doubt()
            try:
                connection.timeout(now)
            except Exception:
                return self._broken()
            self.turn()
        elif connection.deadline < inf:
            self._arm(connection, now)
        else:
            # A connection that is idle needs none, and may be so for long.
            self._timer = None

    def _arm(self, connection: Connection, now: float) -> None:
        deadline = connection.deadline
        timer = self._timer
        if deadline == inf:
            return
        if timer is None:
            timer = self._timer = Timer(self.layer.clock, self._due)  # type: ignore[arg-type]
        if timer.deadline is None or deadline < timer.deadline:
            timer.arm(max(0.0, deadline - now))

    def before(self, call: Callable[..., bool], *arguments: object) -> bool:
        """
        Call the application before the first turn, which follows: what it asks for meanwhile is done in that.

        @return: what the call returns.
        """
        self._isTurning = True
        try:
            return call(*arguments)
        finally:
            self._isTurning = False

    def turn(self) -> None:
        """
        Deliver what there is, send what may be sent, and say what has happened. The time is that of the path.
        """
        if self._isTurning:
            self._turnsAgain = True
            return
        self._isTurning = True
        connection, path = self.connection, self.path
        assert connection is not None
        assert path is not None
        try:
            while True:
                self._turnsAgain = False
                self._turnOnce(connection, path)
                if not self._turnsAgain:
                    break
        except Exception:
            self._broken()
        finally:
            self._isTurning = self._isWriting = False
        if self.disconnected or connection.ended is not None or connection.state is _TIME_WAIT:
            self._finish()
        if self.connection is not None:
            receiver = connection.receiver
            kept = receiver.unread + receiver.queued
            if kept != self.kept:
                self.layer.buffers.changed(kept - self.kept)
                self.kept = kept
            sender = connection.sender
            # A FIN is acknowledged behind what was taken.
            shares = (sender.taken + 1 - sender.acknowledged) // SHARE_UNIT
            if shares != self.shares:
                self.layer.sendBuffers.changed((shares - self.shares) * SHARE_UNIT)
                self.shares = shares
            self._arm(connection, path.now)

    def _turnOnce(self, connection: Connection, path: Path) -> None:
        if self._isAborting:
            return
        receiver = connection.receiver
        if not self.connected and not self.disconnected:
            self._maybeConnected(connection)
            if not self.connected:
                connection.flush(path.now)
                return
        self._isWriting = True
        if receiver.unread and self.reading and self.connected:
            self._deliver(connection)
        if receiver.finished and not self._toldEnd and self.connected and not receiver.unread and self.reading:
            self._toldEnd = True
            self._endReceived()
        sender = connection.sender
        if self.producerPaused and self.producer is not None and not self.isSoon:
            self._resumeProducer(sender)
        if self._isAborting:
            # Nothing written in this turn leaves: a peer must not take the end of it for an orderly one (TLS).
            return
        sender.superpacket = MAX_SUPERPACKET if path.cuts else 0
        self._isWriting = False
        connection.flush(path.now)
        if sender.taken < sender.buffer.end:
            sender.take()
        if self.connected:
            if self.producer is not None or self.disconnecting or self._isShuttingDown:
                self._written(connection)
            if connection.ended is not None and self.connected:
                self._ended(connection.ended)

    def _maybeConnected(self, connection: Connection) -> None:
        """
        Tell the protocol of a client that it is connected, if it is.
        """

    def _deliver(self, connection: Connection) -> None:
        receiver = connection.receiver
        try:
            context.call(self._logContext(), self._deliverAll, receiver)
        except BaseException:
            self._fail("dataReceived")
            return
        if receiver.acknowledgeAt and receiver.opens():
            receiver.acknowledgeAt = 0
        receiver.tune(connection.sender.roundTrip.smoothed, self._time())

    def _deliverAll(self, receiver: Receiver) -> None:
        """
        Hand the protocol what there is, until it pauses.
        """
        chunks = receiver.take()
        for number, data in enumerate(chunks):
            self.protocol.dataReceived(data)
            if not self.reading:
                receiver.giveBack(chunks[number + 1 :])
                return

    def _endReceived(self) -> None:
        """
        The peer sends no more.
        """
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self._close(_DONE)
            return
        self._call(protocol.readConnectionLost)

    def _resumeProducer(self, sender: Sender) -> None:
        """
        Have the producer write, as long as TCP takes it. It does so before anything leaves, because then segments and
        superpackets are full.
        """
        sender.take()
        if sender.taken < sender.buffer.end:
            return
        try:
            context.call(self._logContext(), self._resumeAgain, sender)
        except BaseException:
            self._fail("resumeProducing")
        self._time()

    def _resumeAgain(self, sender: Sender) -> None:
        for _ in range(_MOST_RESUMES):
            producer = self.producer
            if producer is None or not self.producerPaused or self._isAborting or sender.taken < sender.buffer.end:
                return
            self.producerPaused = False
            producer.resumeProducing()
            sender.take()
        if self.producerPaused:
            # Other connections have their turns first.
            self.later()

    def _written(self, connection: Connection) -> None:
        """
        Go on, if TCP has all that was written, with what was to be done then.
        """
        # A request made in this turn is met in the next: then other connections have had theirs.
        if self.isSoon or connection.sender.taken < connection.sender.buffer.end or self.producer is not None:
            return
        if self.disconnecting:
            if self._isShutDown or connection.ended is None:
                self._close(_DONE)
        elif self._isShuttingDown and not self._isShutDown:
            self._isShutDown = True
            connection.shutdown()
            self._turnsAgain = True
            protocol = IHalfCloseableProtocol(self.protocol, None)
            if protocol is not None:
                self._call(protocol.writeConnectionLost)

    def _ended(self, end: End) -> None:
        """
        The connection is no more, and the protocol did not ask for that.
        """
        self._lost(_DONE if end is End.DONE else _LOST)

    def _close(self, reason: Failure) -> None:
        """
        Have the protocol lose the connection. Data that TCP has taken is sent; data that it had not taken yet is lost,
        as it is with a socket.
        """
        connection = self.connection
        if connection is not None and not self.disconnected:
            sender = connection.sender
            sender.buffer.truncate(max(sender.taken, sender.next))
            connection.close(self._time())
            self._turnsAgain = True
        self._lost(reason)

    def abandon(self) -> None:
        """
        Reset the connection, since there is no room for it any more, and tell the protocol if there is one.
        """
        connection = self.connection
        if connection is not None and connection.ended is None:
            connection.abort(self._time())
            if connection.ended is None:
                connection.ended = End.ABORTED
        self._lost(_LOST)
        self._finish()

    def stopped(self) -> None:
        """
        The layer is being stopped: the protocol loses the connection, and nothing is sent any more. If it has stopped
        the layer itself, it hears of that in the turn that goes on, once its call has returned.
        """
        if self.connection is not None:
            self.connection.ended = End.ABORTED
        if self._isTurning:
            return
        self._lost(_LOST)
        self._finish()

    def pathDoubted(self) -> None:
        """
        A router has dropped a segment for its size: look at the path anew, in the next turn of the reactor.
        """
        self.layer.callLater(0, self._lookAtPath)

    def _lookAtPath(self) -> None:
        if self.connection is not None:
            self.pathChanged()
        if self.connection is not None:
            self._time()
            self.turn()

    def pathChanged(self) -> None:
        """
        The path may take segments of another size now.
        """
        if self.connection is not None:
            self._time()
            try:
                self.connection.pathChanged()
            except Exception:
                self._broken()

    def _broken(self) -> None:
        """
        The congestion control, which may be the application's, has raised: reset the connection.
        """
        self._failures.failed(self.layer.now(), "congestion")
        self.abandon()

    def _finish(self) -> None:
        """
        Forget the connection, if there is nothing left to do for it.
        """
        connection = self.connection
        if connection is None:
            return
        if connection.ended is None and connection.state is not State.TIME_WAIT:
            if self.disconnected:
                self.layer.orphaned(self)
            return
        if connection.state is State.TIME_WAIT and self.connected:
            # The application has still to hear of the end.
            return
        if self._timer is not None:
            self._timer.stop()
        self.connection = None
        self.layer.finished(self, connection)
