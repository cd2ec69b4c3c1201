"""
The turns of a transport. In a turn, the transport delivers received data, sends what the windows allow, and calls the
protocol about what has happened.

A transport calls its protocol in turns, with two exceptions. The protocol of a server is connected directly before the
first turn. C{connectionLost} may be called outside of turns: after an abort, an exception of the congestion control, or
a stop of the layer. A turn runs after a segment was received, after a deadline, and in the next iteration of the
reactor after the application has called a method. So a protocol is never called while it calls a method of its
transport.
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

#: The reasons with which most connections are lost. They are shared, because a Failure is expensive to make.
_DONE = Failure(main.CONNECTION_DONE)
_LOST = Failure(main.CONNECTION_LOST)

_TIME_WAIT = State.TIME_WAIT

#: The most calls of C{resumeProducing} in one turn.
_MOST_RESUMES = 8


class Turns(Calls):
    """
    The part of a L{TCPTransport<txtuntap.tcp.transport.TCPTransport>} that runs its turns.

    @ivar key: the flow of the connection, as in the tables of the layer.
    @ivar isTurnScheduled: whether a turn is scheduled for the next iteration of the reactor.
    """

    __slots__ = (
        "__weakref__",
        "_isTurning",
        "_isWriting",
        "_timer",
        "_turnsAgain",
        "_turnsAtEnd",
        "bufferedOctets",
        "connection",
        "isTurnScheduled",
        "key",
        "sendShares",
    )

    #: Whether TLS was started, so that writes go through it.
    TLS = False
    _tlsClientDefault = False
    _isAborting = False
    _hasDeliveredEnd = False
    sessionno = 0
    _scope = ""

    def __init__(self, layer: ITCPLayer, failures: FailureLog) -> None:
        """
        @param failures: the log of exceptions that protocols raise. All connections of a port share it.
        """
        super().__init__(layer, failures)
        self.connection: Connection | None = None
        self.key = b""
        self.isTurnScheduled = False
        self.bufferedOctets = 0
        self.sendShares = 0
        self._timer: Timer | None = None
        self._isTurning = False
        self._isWriting = False
        self._turnsAgain = False
        self._turnsAtEnd = False

    def _abort(self) -> None:
        if self.connection is not None:
            self.connection.abort(self._time())
        self._disconnectProtocol(Failure(ConnectionAborted()))
        self._finish()

    def stopReading(self) -> None:
        """
        Stop delivering data to the protocol.
        """
        self.reading = False
        if self.connection is not None:
            self.connection.receiver.isPaused = True

    def requestTurn(self) -> None:
        """
        Repeat the turn that runs. If none runs, schedule one for the next iteration of the reactor.
        """
        if self._isTurning:
            self._turnsAgain = True
        else:
            self.scheduleTurn()

    def scheduleTurn(self) -> None:
        """
        Schedule a turn for the next iteration of the reactor.
        """
        if not self.isTurnScheduled:
            self.isTurnScheduled = True
            self.layer.scheduleTurn(self)

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
        Process a segment of this connection, and run a turn. If more segments are likely in the same read and no data
        is missing, one turn at the end of the read serves all of them. It sends one acknowledgment, and arms the timer
        once.

        @param word: the 16 bits of the header with the data offset and the flags.
        @param port: the port that has read the segment. C{None}: this host has sent it to itself.
        """
        connection, path = self.connection, self.path
        assert connection is not None
        assert path is not None
        if now < path.now:
            # This packet was read earlier, but processing the previous segment has already set a later time.
            now = path.now
        else:
            path.now = now
        ends = None if port is None else port.readEnd
        try:
            connection.segmentReceived(
                data, start, end, sequence, acknowledgment, word, window, isMarked, now, ends is not None
            )
            if ends is None or not connection.mayDeferTurn:
                connection.processDeferred()
                ends = None
        except Exception:
            return self._controlFailed()
        if ends is None:
            self.turn()
        elif not self._turnsAtEnd:
            self._turnsAtEnd = True
            ends.append(self._readEnded)

    def _readEnded(self) -> None:
        """
        Run the turn that has waited for the end of a read.
        """
        self._turnsAtEnd = False
        if self.connection is not None:
            try:
                self.connection.processDeferred()
            except Exception:
                return self._controlFailed()
            self.turn()

    def _timerFired(self) -> None:
        """
        Act on the deadline of the connection. The timer may fire before the deadline, because it is not rearmed each
        time the deadline moves to a later time.
        """
        connection = self.connection
        if connection is None:
            return
        now = self._time()
        deadline = connection.deadline
        if now < deadline <= now + GRAIN:
            # A timer may fire early by one grain of the clock. Waiting again for the rest could round to a wait of
            # zero, and the timer would fire without end.
            now = self.path.now = deadline  # type: ignore[union-attr]
        if deadline <= now:
            if connection.sender.retransmitAt <= now and connection.sender.timeouts and self.path is not None:
                self.path.forgetRoute()
            try:
                connection.timeout(now)
            except Exception:
                return self._controlFailed()
            self.turn()
        elif connection.deadline < inf:
            self._arm(connection, now)
        else:
            # An idle connection releases its timer, because it may stay idle for long.
            self._timer = None

    def _arm(self, connection: Connection, now: float) -> None:
        deadline = connection.deadline
        timer = self._timer
        if deadline == inf:
            return
        if timer is None:
            timer = self._timer = Timer(self.layer.clock, self._timerFired)  # type: ignore[arg-type]
        if timer.deadline is None or deadline < timer.deadline:
            timer.arm(max(0.0, deadline - now))

    def callBeforeTurn(self, call: Callable[..., bool], *arguments: object) -> bool:
        """
        Call the application before the first turn of a new connection. Requests that it makes meanwhile are served in
        that turn.

        @return: the result of the call.
        """
        self._isTurning = True
        try:
            return call(*arguments)
        finally:
            self._isTurning = False

    def turn(self) -> None:
        """
        Deliver received data, send what the windows allow, and tell the protocol about changes. C{path.now} is the
        time.
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
            self._controlFailed()
        finally:
            self._isTurning = self._isWriting = False
        if self.disconnected or connection.ended is not None or connection.state is _TIME_WAIT:
            self._finish()
        if self.connection is not None:
            receiver = connection.receiver
            kept = receiver.unread + receiver.queued
            if kept != self.bufferedOctets:
                self.layer.buffers.changed(kept - self.bufferedOctets)
                self.bufferedOctets = kept
            sender = connection.sender
            # The acknowledgment of a FIN is one position after the data: without the 1, the difference could be -1.
            shares = (sender.taken + 1 - sender.acknowledged) // SHARE_UNIT
            if shares != self.sendShares:
                self.layer.sendBuffers.changed((shares - self.sendShares) * SHARE_UNIT)
                self.sendShares = shares
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
        if receiver.finished and not self._hasDeliveredEnd and self.connected and not receiver.unread and self.reading:
            self._hasDeliveredEnd = True
            self._endReceived()
        sender = connection.sender
        if self.producerPaused and self.producer is not None and not self.isTurnScheduled:
            self._resumeProducer(sender)
        if self._isAborting:
            # Data of this turn is not sent. It may be the closing alert of TLS, which would make the end look orderly.
            return
        sender.superpacket = MAX_SUPERPACKET if path.cuts else 0
        self._isWriting = False
        connection.flush(path.now)
        if sender.taken < sender.buffer.end:
            sender.take()
        if self.connected:
            if self.producer is not None or self.disconnecting or self._isShuttingDown:
                self._closeIfWritten(connection)
            if connection.ended is not None and self.connected:
                self._ended(connection.ended)

    def _maybeConnected(self, connection: Connection) -> None:
        """
        Do nothing, because a server is connected. A client overrides this method to connect its protocol, or to fail
        its connector, once the attempt to connect is over.
        """

    def _deliver(self, connection: Connection) -> None:
        receiver = connection.receiver
        try:
            context.call(self._logContext(), self._deliverAll, receiver)
        except BaseException:
            self._fail("dataReceived")
            return
        if receiver.acknowledgeAt and receiver.needsWindowUpdate():
            receiver.acknowledgeAt = 0
        receiver.tune(connection.sender.roundTrip.smoothed, self._time())

    def _deliverAll(self, receiver: Receiver) -> None:
        """
        Deliver all received data to the protocol, until it pauses.
        """
        chunks = receiver.take()
        for number, data in enumerate(chunks):
            self.protocol.dataReceived(data)
            if not self.reading:
                receiver.giveBack(chunks[number + 1 :])
                return

    def _endReceived(self) -> None:
        """
        Tell the protocol that the peer has sent its FIN.
        """
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self._close(_DONE)
            return
        self._call(protocol.readConnectionLost)

    def _resumeProducer(self, sender: Sender) -> None:
        """
        Call C{resumeProducing} of the producer while TCP takes its data. This happens before data is sent, so that
        segments and superpackets are full.
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
            # The producer continues in another turn, after the turns of other connections.
            self.scheduleTurn()

    def _closeIfWritten(self, connection: Connection) -> None:
        """
        Close the connection, or its sending half, if the application has asked for it and TCP has taken all data.
        """
        # If the application has asked in this turn, wait for the next turn, so that the turns of other connections come
        # first.
        if self.isTurnScheduled or connection.sender.taken < connection.sender.buffer.end or self.producer is not None:
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
        Tell the protocol that the connection has ended by itself.
        """
        self._disconnectProtocol(_DONE if end is End.DONE else _LOST)

    def _close(self, reason: Failure) -> None:
        """
        Close the connection, and call C{connectionLost} of the protocol. Data that TCP has taken is still sent. Data
        that TCP has not taken is lost, as with a socket.
        """
        connection = self.connection
        if connection is not None and not self.disconnected:
            sender = connection.sender
            sender.buffer.truncate(max(sender.taken, sender.next))
            connection.close(self._time())
            self._turnsAgain = True
        self._disconnectProtocol(reason)

    def abandon(self) -> None:
        """
        Reset the connection because of an error or a full table, and call C{connectionLost} of its protocol if it has
        one.
        """
        connection = self.connection
        if connection is not None and connection.ended is None:
            connection.abort(self._time())
            if connection.ended is None:
                connection.ended = End.ABORTED
        self._disconnectProtocol(_LOST)
        self._finish()

    def layerStopped(self) -> None:
        """
        End the connection without sending anything, because the layer stops, and call C{connectionLost} of the
        protocol. If the protocol itself has stopped the layer, the turn that runs calls C{connectionLost} later.
        """
        if self.connection is not None:
            self.connection.ended = End.ABORTED
        if self._isTurning:
            return
        self._disconnectProtocol(_LOST)
        self._finish()

    def packetTooBig(self) -> None:
        """
        Look up the path in the next iteration of the reactor, because a router has dropped a segment for its size.
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
        Give the connection the segment size that its path has now.
        """
        if self.connection is not None:
            self._time()
            try:
                self.connection.pathChanged()
            except Exception:
                self._controlFailed()

    def _controlFailed(self) -> None:
        """
        Log an exception of the congestion control, which may be the application's, and reset the connection.
        """
        self._failures.failed(self.layer.now(), "congestion")
        self.abandon()

    def _finish(self) -> None:
        """
        Release the connection if it has ended. If only the application has closed it, enter it in the table of orphans.
        """
        connection = self.connection
        if connection is None:
            return
        if connection.ended is None and connection.state is not State.TIME_WAIT:
            if self.disconnected:
                self.layer.orphaned(self)
            return
        if connection.state is State.TIME_WAIT and self.connected:
            # Release the connection after a later turn, which calls connectionLost of the protocol.
            return
        if self._timer is not None:
            self._timer.stop()
        self.connection = None
        self.layer.finished(self, connection)
