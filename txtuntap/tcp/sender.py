"""
The sending half of a connection: what may leave now, what was lost, and when to try again.

Loss is found by time (RACK-TLP, RFC 8985), or by duplicate acknowledgments where the peer has no SACK (RFC 6582), and
repaired in proportion to what arrives (PRR, RFC 6937). A retransmission that was for nothing is noticed by timestamps
(RFC 3522), by D-SACK (RFC 3708) or by what the acknowledgments say (F-RTO, RFC 5682), and the reduction undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from txtuntap.tcp.recovery import Phase
from txtuntap.tcp.scoreboard import MAX_RECORDS
from txtuntap.tcp.sizing import Sizing

#: The most octets of data in one superpacket: with the largest headers, it has to fit 65,535.
MAX_SUPERPACKET = 65535 - 40 - 60

#: The octets that TCP takes before they may be sent, at least; and those that it takes at most, however fast a peer
#: acknowledges (tcp_wmem).
_LEAST_TAKEN = 64 * 1024
MAX_TAKEN = 4 * 1024 * 1024

#: The octets that TCP takes while the connections of the layer have taken too much, so that each goes on; and the unit
#: by which they are counted, rounded down, so that most connections need no count.
LEAST_SHARE = 16 * 1024
SHARE_UNIT = 32 * 1024

#: How long a superpacket may take at the rate that is sent at, in seconds; but two segments always go.
_BURST = 0.001
_LEAST_BURST = 2

#: A superpacket of less than this part of the congestion window waits for more room (tcp_tso_win_divisor).
_DEFERRED = 3

#: The longest that a peer delays an acknowledgment, and how much later than its round-trip time one may come, in
#: seconds.
_MOST_DELAY = 0.2
_GRAIN = 0.002

#: Timeouts without an answer after which a connection is given up (tcp_retries2 of Linux); and seconds without progress
#: after which one is that the application has closed (what eight timeouts last, tcp_orphan_retries).
MAX_TIMEOUTS = 15
ORPHAN_PATIENCE = 102.2

#: The seconds by which a timer may be early.
_ROUNDING = 1e-6


_OPEN, _REDUCED, _RECOVERY, _LOSS = Phase.OPEN, Phase.REDUCED, Phase.RECOVERY, Phase.LOSS


class Sender(Sizing):
    """
    The data sent, by position: octets since our SYN, which has position 0. The FIN has the position behind the data.

    @ivar acknowledged: the first position that is not acknowledged (SND.UNA).
    @ivar next: the next position to be sent (SND.NXT).
    @ivar taken: the position behind what TCP has taken from the application.
    @ivar pool: the octets that all connections may have taken.
    @ivar window: how many octets the peer takes from C{acknowledged} on (SND.WND).
    @ivar largestWindow: the largest that it ever took (MAX.SND.WND).
    @ivar segmentSize: octets of data in one segment.
    @ivar superpacket: octets of data in one write, at most; C{segmentSize} where nobody cuts them.
    @ivar isClosing: whether the FIN follows the data.
    @ivar noDelay: whether a small segment is sent though another one is under way (Nagle's algorithm is off).
    @ivar usesSACK: whether the peer acknowledges selectively.
    @ivar phase: see L{Phase}.
    @ivar timeouts: how often the timer has been backed off.
    @ivar unanswered: how often the timer has run out since the peer has acknowledged something, or answered a probe.
    @ivar progressAt: since when the peer has acknowledged nothing new of what it was sent.
    @ivar retransmitAt: when to send again, or to probe, in seconds; infinity: nothing is under way.
    @ivar reorderAt: when what was sent is late by more than reordering explains; infinity: nothing is.
    @ivar resumeAt: when the control's rate lets the next segment leave; infinity: no segment waits for that.
    @ivar search: which segment size the path takes.
    @ivar sentAgain: segments that were sent again; C{octetsAgain}: their octets of data.
    """

    __slots__ = ()

    def open(self, segmentSize: int) -> None:
        """
        Begin to send data: the handshake is over.

        @param segmentSize: octets of data in one segment that the route and the peer allow.
        """
        self.segmentSize = segmentSize
        self.search.begin(segmentSize)
        self.control.started(segmentSize)
        self.retransmitAt = inf
        self.timeouts = self.unanswered = 0

    @property
    def isFinished(self) -> bool:
        """
        Whether the FIN was acknowledged, and so all before it.
        """
        return self.isClosing and self.acknowledged > self.buffer.end

    def take(self) -> None:
        """
        Take more of what was written, as much as there is room for: the rest waits as Twisted's buffer.
        """
        end = self.buffer.end
        position = self.acknowledged + LEAST_SHARE
        if position >= end:
            self.taken = end
            return
        if not self.pool.isFull:
            position = self.acknowledged + max(_LEAST_TAKEN, int(min(2 * self.control.window, MAX_TAKEN)))
        self.taken = max(self.taken, min(end, position))

    def nextRange(self, now: float) -> tuple[int, int, bool] | None:
        """
        Choose what to send now.

        @return: the first position, that behind the last, and whether it was sent before; L{None}: nothing.
        """
        if self._paceAt - now > _ROUNDING:
            self.resumeAt = self._paceAt
            return None
        board = self.board
        size = self.segmentSize
        start = self.next
        if start == self.acknowledged and now - self.latestAt > self.roundTrip.timeout and self.latestAt > -inf:
            self.control.idle(now - self.latestAt, self.roundTrip.timeout)
            self.latestAt = now
        isRepairing = self.phase is _RECOVERY or self.phase is _REDUCED
        flight = board.flight - self._renoArrived
        # Whole octets: a part of one would be compared with what may leave.
        room = int(self._prrWindow if isRepairing else self.control.window) - flight
        if room < size and flight <= 0:
            room = size
        if board.lost and not self._prefersNew:
            return self._nextLost(room, now) if room >= size else None
        waiting = self.buffer.end - start
        usable = self.acknowledged + self.window - start
        if waiting <= 0:
            # The FIN alone. The congestion window does not hold it back.
            if waiting < 0 or not self.isClosing or usable <= 0:
                return None
            octets = 0
        else:
            if room < size:
                self._limitedEnd = start
            octets = waiting if waiting < usable else usable
            if octets > room:
                octets = room
            burst = self._burst() if octets > size else size
            if octets > burst:
                octets = burst
            if octets <= 0 or len(board.records) >= MAX_RECORDS:
                return None
            if now >= self.search.nextAt and (probe := self._sizeProbe(min(waiting, usable, room), now)):
                return *self._sendNew(probe, usable, probe, now), False
            if (
                octets == room < burst
                and room * _DEFERRED < self.control.window
                and room < waiting
                and self.phase is _OPEN
                and not board.arrived
                and not self._duplicates
            ):
                # Acknowledgments on their way make room for a larger superpacket.
                return None
            rest = octets % size
            if rest and not self._smallMayLeave(octets, waiting, usable):
                octets -= rest
                if not octets:
                    return None
        return *self._sendNew(octets, usable, size, now), False

    def _sendNew(self, octets: int, usable: int, size: int, now: float) -> tuple[int, int]:
        """
        Send what was not sent before.

        @param octets: so many, and the FIN, if nothing else is left.
        @param usable: how many the peer's window has room for.
        @param size: octets in one segment.
        """
        start = self.next
        end = start + octets
        if octets % size:
            self._smallEnd = end
        if self.isClosing and end == self.buffer.end and usable > octets:
            end += 1
        self.next = end
        self.board.sent(start, end, size, now)
        self._left(end - start, now)
        return start, end

    def _nextLost(self, room: int, now: float) -> tuple[int, int, bool] | None:
        """
        Send again what is lost, as much as the windows take.
        """
        size = self.segmentSize
        octets = min(self._burst(), room) // size * size
        start = self.board.firstLost
        usable = self.acknowledged + self.window - start
        if usable < octets:
            # The peer has made its window smaller. The first segment is the probe of a closed one.
            if start > self.acknowledged and usable <= 0:
                return None
            octets = min(octets, size) if usable <= 0 else usable
        return *self._again(octets, now), True

    def _smallMayLeave(self, octets: int, waiting: int, usable: int) -> bool:
        """
        Whether a write may end with a segment that is not full (RFC 9293 sections 3.7.4 and 3.8.6.2.1).

        @param octets: those that the write would have, of the C{waiting} ones, of which C{usable} fit the window.
        """
        if octets < waiting:
            # More waits. A window that keeps it small has to be half of the largest that there ever was.
            return octets == usable < self.segmentSize and usable * 2 >= self.largestWindow
        return self.noDelay or self.isClosing or self._smallEnd <= self.acknowledged

    def _burst(self) -> int:
        """
        The octets of one write: what the current rate sends in a millisecond, two segments at least.
        """
        most = self.superpacket
        size = self.segmentSize
        if most <= size:
            return size
        rate = self.control.rate
        if rate is None:
            smoothed = self.roundTrip.smoothed
            octets = self.control.window * _BURST / smoothed if smoothed > _BURST else most
        else:
            octets = rate * _BURST
        return max(_LEAST_BURST * size, min(most, int(octets)))

    def _left(self, octets: int, now: float) -> None:
        """
        Note that data has left which has to be acknowledged.
        """
        if self.phase is _RECOVERY or self.phase is _REDUCED:
            self._prrOut += octets
        self.latestAt = now
        rate = self.control.rate
        if rate:
            # A timer that was late is made good for, by half of the time at most (as with Linux).
            pause = octets / rate
            self._paceAt = now + pause - min(pause / 2, max(now - self._paceAt, 0.0))

    @property
    def isSteady(self) -> bool:
        """
        Whether nothing is missing, and nothing probed for: then an acknowledgment says all that those before it say.
        """
        board = self.board
        return self.phase is _OPEN and self._tailEnd is None and not (board.arrived or board.lost or self._duplicates)

    def ackReceived(
        self,
        position: int,
        window: int,
        blocks: Sequence[tuple[int, int]],
        hasData: bool,
        echoedAt: float | None,
        now: float,
    ) -> None:
        """
        Take an acknowledgment that is in range.

        @param position: what it acknowledges, C{acknowledged} or higher, C{next} or lower.
        @param window: the window that it advertises, in octets; the caller has decided that it counts.
        @param blocks: those of SACK.
        @param hasData: whether its segment has data or a FIN: then it is no duplicate.
        @param echoedAt: when what it echoes the timestamp of was sent, in seconds; L{None}: there are no timestamps.
        """
        board = self.board
        advanced = position - self.acknowledged
        if not advanced and not blocks and not board.records:
            self._windowChanged(window)
            return
        flight = board.flight - self._renoArrived
        # An acknowledgment of what was sent again may be for the copy before. It is for the latest if it came not
        # sooner than ever seen. (A timestamp does not tell, since SACK's echo is that of older data.)
        trusted = now - self.roundTrip.least + _ROUNDING
        board.begin(now)
        isDuplicate = (
            not advanced and not hasData and window == self.window and bool(board.records) and self.next > position
        )
        repeated = False
        if blocks:
            repeated, blocks = self._checked(blocks, position, now)
            if blocks:
                board.arrivedOutOfOrder(blocks, trusted)
        if advanced:
            board.acknowledged(position, trusted)
            self.acknowledged = position
            self.buffer.release(position)
            self.unanswered = 0
        if window != self.window or not window or self._isProbing:
            self._windowChanged(window)
        delivered = board.delivered
        self._sample(advanced, echoedAt, now)
        if not self.usesSACK:
            delivered += self._countDuplicate(isDuplicate, advanced)
        if self._tailEnd is not None:
            self._tailAnswered(position, repeated, isDuplicate and not blocks, flight, now)
        lostBefore = board.lost
        if self.phase is _OPEN and not board.arrived and not board.lost and not self._duplicates:
            # The usual case: nothing is missing.
            if advanced and delivered:
                self._grow(delivered, advanced, flight, now)
        else:
            self._recover(advanced, delivered, blocks, isDuplicate, echoedAt, flight, lostBefore, now)
        if advanced or blocks:
            self.arm(now, advanced > 0)

    def _windowChanged(self, window: int) -> None:
        self.window = window
        if window > self.largestWindow:
            self.largestWindow = window
        if not window or self._isProbing:
            # The peer is there: it is never given up while it answers.
            self.unanswered = 0
        if self._isProbing and self._fits():
            self._isProbing = False
            self.timeouts = 0
            self.retransmitAt = inf

    def _fits(self) -> bool:
        """
        Whether the window has room for a segment, or for all that waits.
        """
        usable = self.acknowledged + self.window - self.next
        return usable > 0 and (
            usable >= min(self.segmentSize, self.end - self.next) or usable * 2 >= self.largestWindow
        )

    def arm(self, now: float, restart: bool) -> None:
        """
        Set the timer anew.

        @param restart: whether the retransmission timer begins anew, since all before is acknowledged or nothing was
            under way; otherwise only the tail loss probe is put off.
        """
        if self.acknowledged >= self.next:
            if not self._isProbing:
                self.retransmitAt = inf
            return
        self._isProbing = False
        if restart:
            self._timeoutAt = now + (self.backedOff if self.timeouts else self.roundTrip.timeout)
            self.progressAt = now
        at = self._timeoutAt
        self._isTail = False
        smoothed = self.roundTrip.smoothed
        if (
            self.usesSACK
            and smoothed
            and (self.phase is _OPEN or self.phase is _REDUCED)
            and self._tailEnd is None
            and not self.unanswered
            and not self.board.lost
            and not self.board.arrived
        ):
            # A peer may delay the acknowledgment of a segment that is alone.
            isAlone = self.next - self.acknowledged <= self.segmentSize
            tailAt = now + 2 * smoothed + (_MOST_DELAY if isAlone else _GRAIN)
            if tailAt < at:
                self._isTail = True
                at = tailAt
        self.retransmitAt = at

    def probe(self, now: float) -> None:
        """
        The window is closed, or too small, and nothing is under way: ask for it from time to time.
        """
        self._isProbing = True
        self.progressAt = now
        self.retransmitAt = now + self.backedOff

    @property
    def isStuck(self) -> bool:
        """
        Whether there is something to send, nothing is under way, and the window alone keeps it.
        """
        return self.next < self.end and self.acknowledged >= self.next and not self._isProbing and self.resumeAt == inf

    @property
    def isProbing(self) -> bool:
        """
        Whether the timer is for a window that is closed.
        """
        return self._isProbing

    def probed(self, now: float) -> tuple[int, int, bool] | None:
        """
        Probe the window: with what fits, if anything does.

        @return: as L{nextRange}; L{None}: nothing fits.
        """
        self.timeouts += 1
        self.unanswered += 1
        self.retransmitAt = now + self.backedOff
        usable = self.acknowledged + self.window - self.next
        octets = min(self.buffer.end - self.next, usable, self.segmentSize)
        if octets <= 0:
            return None
        self.timeouts = 0
        start, end = self._sendNew(octets, usable, self.segmentSize, now)
        self.arm(now, True)
        return start, end, False

    def timedOut(self, now: float) -> tuple[int, int, bool] | None:
        """
        The timer has run out.

        @return: a tail loss probe to send, as L{nextRange} has it; L{None}: L{nextRange} says what is lost.
        """
        if self._isTail:
            self._isTail = False
            return self._probeTail(now)
        board = self.board
        control = self.control
        flight = board.flight - self._renoArrived
        self._tailEnd = None
        self._resends = 0
        # The threshold is lowered once for what was under way at the time of a loss.
        isNew = not self.unanswered and self.phase is not _RECOVERY and self.phase is not _REDUCED
        self._frto = not self.unanswered and self.phase is not _LOSS
        if isNew:
            self._isUndoable = True
            self._undoFrom = self.acknowledged
            self._firstAgainAt = inf
            self._toUndo = 0
            control.timedOut(flight, now)
        else:
            control.window = self.segmentSize
        self.timeouts += 1
        self.unanswered += 1
        records = board.records
        if self.timeouts > 1 or records[0].arrived:
            # A peer may have thrown away what it had (RFC 2018 section 8).
            board.forgetArrived()
        first = min(records[0].end - records[0].start, records[0].size)
        size = self.search.suspected(self.segmentSize, first, board.largest, self.unanswered, now)
        if size < self.segmentSize:
            board.largest = 0
            self._resize(size)
        board.loseAll()
        self.phase = _LOSS
        self._recoverEnd = board.originalBefore = self.next
        self._duplicates = self._renoArrived = 0
        self._prefersNew = False
        self.reorderAt = self.resumeAt = inf
        self.retransmitAt = self._timeoutAt = now + self.backedOff
        self._paceAt = -inf
        return *self._again(self.segmentSize, now), True

    def _again(self, octets: int, now: float) -> tuple[int, int]:
        """
        Send again the first of what is lost.

        @param octets: at most so many, and a FIN behind them.
        """
        board, size = self.board, self.segmentSize
        record = board.nextLost(octets, self.buffer.end)
        board.sentAgain(record, size, now)
        length = record.end - record.start
        self._toUndo += length
        self._firstAgainAt = min(self._firstAgainAt, now)
        self.sentAgain += -(-length // size)
        self.octetsAgain += min(record.end, self.buffer.end) - record.start
        self._left(length, now)
        return record.start, record.end

    def _probeTail(self, now: float) -> tuple[int, int, bool] | None:
        """
        Send a tail loss probe (RFC 8985 section 7.3): new data, or else the last segment again.
        """
        size = self.segmentSize
        usable = self.acknowledged + self.window - self.next
        octets = min(self.buffer.end - self.next, usable, size)
        self._tailIsNew = octets > 0
        if octets > 0:
            start, end = self._sendNew(octets, usable, size, now)
        else:
            board = self.board
            record = board.tail(size, self.buffer.end)
            start, end = record.start, record.end
            board.sentAgain(record, size, now)
            self.sentAgain += 1
            self.octetsAgain += min(end, self.buffer.end) - start
            self._left(end - start, now)
        self._tailEnd = self.next
        self.retransmitAt = self._timeoutAt = now + self.backedOff
        return start, end, not self._tailIsNew
