"""
The sending half of a connection: it chooses what to send, processes acknowledgments, and retransmits.

Read RFC 9293 section 3.8 first, then RFC 8985. Losses are detected by time (RACK-TLP, RFC 8985), or by duplicate
acknowledgments if the peer has no SACK (RFC 6582). PRR (RFC 6937) paces the repair. Timestamps (RFC 3522), D-SACK (RFC
3708) and F-RTO (RFC 5682) reveal spurious retransmissions, and the reduction of the window is undone then.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from txtuntap.tcp.recovery import Phase
from txtuntap.tcp.scoreboard import MAX_RECORDS
from txtuntap.tcp.sizing import Sizing

#: The most octets of data in one superpacket, because an IP packet with the largest headers has at most 65,535.
MAX_SUPERPACKET = 65535 - 40 - 60

#: The octets of unacknowledged data that TCP always takes from an application, unless the layer's pool is full.
_LEAST_TAKEN = 64 * 1024
#: The most octets of unacknowledged data that TCP takes from an application (tcp_wmem).
MAX_TAKEN = 4 * 1024 * 1024

#: The octets that each connection may take while the layer's pool is full, so that all connections make progress.
LEAST_SHARE = 16 * 1024
#: The unit of the pool in octets. The pool counts whole units only, so most connections never change its count.
SHARE_UNIT = 32 * 1024

#: The most data in one superpacket, as seconds of sending at the current rate.
_BURST = 0.001
#: The number of segments that are allowed in one superpacket at any rate.
_LEAST_BURST = 2
#: A superpacket smaller than the congestion window divided by this number waits for more room (tcp_tso_win_divisor).
_DEFERRED = 3

#: The seconds of a tail loss probe's timer beyond two round trips, if the peer may delay the acknowledgment.
_MOST_DELAY = 0.2
#: The seconds of a tail loss probe's timer beyond two round trips, if the peer does not delay the acknowledgment.
_GRAIN = 0.002

#: The number of timeouts without an answer after which a connection is given up (tcp_retries2).
MAX_TIMEOUTS = 15
#: The seconds without progress after which an orphan is given up. Eight timeouts take this time (tcp_orphan_retries).
ORPHAN_PATIENCE = 102.2

#: The seconds by which a timer may fire early.
_ROUNDING = 1e-6

_OPEN, _REDUCED, _RECOVERY, _LOSS = Phase.OPEN, Phase.REDUCED, Phase.RECOVERY, Phase.LOSS


class Sender(Sizing):
    """
    The sending half of a connection. It counts data by position, which is the number of octets since our SYN. The SYN
    has position 0, and the FIN has the position behind the data. All times are in seconds.

    @ivar acknowledged: the first unacknowledged position (SND.UNA).
    @ivar next: the next position to send (SND.NXT).
    @ivar taken: the position behind the data that TCP has taken from the application.
    @ivar pool: the count of octets that all connections have taken.
    @ivar window: the peer's window, in octets from C{acknowledged} on (SND.WND).
    @ivar largestWindow: the largest window that the peer has ever advertised (MAX.SND.WND).
    @ivar segmentSize: the octets of data in one full segment.
    @ivar superpacket: the most octets of data in one write. 0: the port segments no superpackets.
    @ivar isClosing: whether a FIN follows the data.
    @ivar noDelay: whether a small segment is sent while data is unacknowledged (Nagle's algorithm is off).
    @ivar usesSACK: whether both sides use selective acknowledgments.
    @ivar timeouts: how often the timeout is doubled now. A round-trip sample and the end of window probes reset it.
    @ivar unanswered: the number of timeouts since the peer last acknowledged data or answered a window probe.
    @ivar progressAt: when the wait for an acknowledgment of new data, or for a larger window, has begun.
    @ivar retransmitAt: when the timer for retransmissions and probes is due. Infinity: the timer is off.
    @ivar reorderAt: when the reordering window of a segment is over. Infinity: no reordering window runs.
    @ivar resumeAt: when the next segment may be sent by the rate of the control. Infinity: no segment waits for it.
    @ivar search: the search for the segment size of the path.
    @ivar sentAgain: the number of segments retransmitted. C{octetsAgain} is the number of octets of data in them.
    """

    __slots__ = ()

    def open(self, segmentSize: int) -> None:
        """
        Begin to send data after the handshake.

        @param segmentSize: the octets of data in one segment that the route and the peer allow.
        """
        self.segmentSize = segmentSize
        self.search.begin(segmentSize)
        self.control.started(segmentSize)
        self.retransmitAt = inf
        self.timeouts = self.unanswered = 0

    @property
    def isFinished(self) -> bool:
        """
        Whether the peer has acknowledged the FIN, and with it all data.
        """
        return self.isClosing and self.acknowledged > self.buffer.end

    def take(self) -> None:
        """
        Take more of the written data: up to twice the congestion window, but at least C{_LEAST_TAKEN} and at most
        C{MAX_TAKEN} octets. While the pool is full, take up to C{LEAST_SHARE} octets.
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
        Choose the next range to send, and note it as sent. C{None}: nothing may be sent now.

        @return: the first position, the position behind the last, and whether this is a retransmission.
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
        flight = board.flight - self._renoSacked
        # The congestion window is a float, and a fraction of an octet cannot be sent.
        room = int(self._prrWindow if isRepairing else self.control.window) - flight
        if room < size and flight <= 0:
            room = size
        if board.lost and not self._prefersNew:
            return self._nextLost(room, now) if room >= size else None
        waiting = self.buffer.end - start
        usable = self.acknowledged + self.window - start
        if waiting <= 0:
            # Only the FIN is left. The congestion window does not limit it.
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
                and not board.sacked
                and not self._duplicates
            ):
                # The next acknowledgments will allow a larger superpacket.
                return None
            rest = octets % size
            if rest and not self._maySendSmall(octets, waiting, usable):
                octets -= rest
                if not octets:
                    return None
        return *self._sendNew(octets, usable, size, now), False

    def _sendNew(self, octets: int, usable: int, size: int, now: float) -> tuple[int, int]:
        """
        Note new data as sent, and the FIN if it follows directly. Return the first position, and the one behind the
        last.

        @param octets: the number of octets of data.
        @param usable: the octets that the peer's window still allows.
        @param size: the octets in one segment.
        """
        start = self.next
        end = start + octets
        if octets % size:
            self._smallEnd = end
        if self.isClosing and end == self.buffer.end and usable > octets:
            end += 1
        self.next = end
        self.board.sent(start, end, size, now)
        self._noteSent(end - start, now)
        return start, end

    def _nextLost(self, room: int, now: float) -> tuple[int, int, bool] | None:
        """
        Choose a retransmission of lost data, as much as the windows allow. See L{nextRange}.

        @param room: the octets that the congestion window still allows.
        """
        size = self.segmentSize
        octets = min(self._burst(), room) // size * size
        start = self.board.firstLost
        usable = self.acknowledged + self.window - start
        if usable < octets:
            # The peer has made its window smaller. If the window is closed, send only the first unacknowledged segment.
            if start > self.acknowledged and usable <= 0:
                return None
            octets = min(octets, size) if usable <= 0 else usable
        return *self._retransmitFirst(octets, now), True

    def _maySendSmall(self, octets: int, waiting: int, usable: int) -> bool:
        """
        Return whether a write may end with a segment that is not full (RFC 9293 sections 3.7.4 and 3.8.6.2.1).

        @param octets: the octets in the write.
        @param waiting: the octets that wait to be sent.
        @param usable: the octets that the peer's window still allows.
        """
        if octets < waiting:
            # More data waits. A small segment is sent only if it fills the window and has half of the largest window.
            return octets == usable < self.segmentSize and usable * 2 >= self.largestWindow
        return self.noDelay or self.isClosing or self._smallEnd <= self.acknowledged

    def _burst(self) -> int:
        """
        Return the octets for one write: as many as the current rate sends in a millisecond, but at least two segments,
        and at most C{superpacket}. Without superpackets, return the octets of one segment.
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

    def _noteSent(self, octets: int, now: float) -> None:
        """
        Note that octets are sent now. Update the time of the next segment by the rate, and the octets sent under PRR.
        """
        if self.phase is _RECOVERY or self.phase is _REDUCED:
            self._prrOut += octets
        self.latestAt = now
        rate = self.control.rate
        if rate:
            # A late timer shortens the next pause, by at most half (as with Linux).
            pause = octets / rate
            self._paceAt = now + pause - min(pause / 2, max(now - self._paceAt, 0.0))

    @property
    def isSteady(self) -> bool:
        """
        Whether no loss is suspected and no tail loss probe is unanswered. If so, the newest acknowledgment includes all
        information of the earlier ones.
        """
        board = self.board
        return self.phase is _OPEN and self._tailEnd is None and not (board.sacked or board.lost or self._duplicates)

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
        Process an acknowledgment of the peer.

        @param position: the acknowledged position, from C{acknowledged} to C{next}.
        @param window: the peer's window in octets, as it is valid from now on.
        @param blocks: the positions of the SACK blocks.
        @param hasData: whether the segment has data or a FIN, so that it is no duplicate acknowledgment.
        @param echoedAt: when the segment with the echoed timestamp was sent, in seconds. C{None}: unknown.
        """
        board = self.board
        advanced = position - self.acknowledged
        if not advanced and not blocks and not board.records:
            self._windowChanged(window)
            return
        flight = board.flight - self._renoSacked
        # An acknowledgment of retransmitted data may answer an earlier copy. It answers the latest copy only if this
        # copy was sent at least the least round-trip time ago. (With SACK, the peer echoes timestamps of older data.)
        trusted = now - self.roundTrip.least + _ROUNDING
        board.begin(now)
        isDuplicate = (
            not advanced and not hasData and window == self.window and bool(board.records) and self.next > position
        )
        repeated = False
        if blocks:
            repeated, blocks = self._validBlocks(blocks, position, now)
            if blocks:
                board.sacksReceived(blocks, trusted)
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
        if self.phase is _OPEN and not board.sacked and not board.lost and not self._duplicates:
            # The fast path, because no loss is suspected.
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
            # A peer that answers probes is never given up.
            self.unanswered = 0
        if self._isProbing and self._fits():
            self._isProbing = False
            self.timeouts = 0
            self.retransmitAt = inf

    def _fits(self) -> bool:
        """
        Return whether the peer's window allows a full segment, all waiting data, or half of the largest window.
        """
        usable = self.acknowledged + self.window - self.next
        return usable > 0 and (
            usable >= min(self.segmentSize, self.end - self.next) or usable * 2 >= self.largestWindow
        )

    def arm(self, now: float, restart: bool) -> None:
        """
        Set the time of the retransmission timer, or of a tail loss probe if that is earlier.

        @param restart: whether the retransmission timer starts again, because new data was acknowledged or the first
            data is sent. Otherwise, only the time of the tail loss probe changes.
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
            and not self.board.sacked
        ):
            # The peer may delay the acknowledgment of a single segment.
            isAlone = self.next - self.acknowledged <= self.segmentSize
            tailAt = now + 2 * smoothed + (_MOST_DELAY if isAlone else _GRAIN)
            if tailAt < at:
                self._isTail = True
                at = tailAt
        self.retransmitAt = at

    def startProbing(self, now: float) -> None:
        """
        Begin to probe the peer's window, which is closed or too small, while nothing is unacknowledged.
        """
        self._isProbing = True
        self.progressAt = now
        self.retransmitAt = now + self.backedOff

    @property
    def isBlockedByWindow(self) -> bool:
        """
        Whether data waits that only the peer's window holds back, while nothing is unacknowledged.
        """
        return self.next < self.end and self.acknowledged >= self.next and not self._isProbing and self.resumeAt == inf

    @property
    def isProbing(self) -> bool:
        """
        Whether the timer is armed for a probe of a closed window.
        """
        return self._isProbing

    def probeWindow(self, now: float) -> tuple[int, int, bool] | None:
        """
        Probe the peer's window by a segment of data that fits, because the probe timer has fired.

        @return: see L{nextRange}. C{None}: no data fits, so the caller sends a probe without data.
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
        Choose a tail loss probe or the first retransmission after a timeout, when the timer is due. See L{nextRange}.
        """
        if self._isTail:
            self._isTail = False
            return self._probeTail(now)
        board = self.board
        control = self.control
        flight = board.flight - self._renoSacked
        self._tailEnd = None
        self._resends = 0
        # The threshold is lowered only once for the data that was in flight at a loss.
        isNew = not self.unanswered and self.phase is not _RECOVERY and self.phase is not _REDUCED
        self._frto = not self.unanswered and self.phase is not _LOSS
        if isNew:
            self._isUndoable = True
            self._undoFrom = self.acknowledged
            self._firstAgainAt = inf
            self._undoOctets = 0
            control.timedOut(flight, now)
        else:
            control.window = self.segmentSize
        self.timeouts += 1
        self.unanswered += 1
        records = board.records
        if self.timeouts > 1 or records[0].sacked:
            # The peer may have discarded data that it has SACKed (RFC 2018 section 8).
            board.markSackedLost()
        first = min(records[0].end - records[0].start, records[0].size)
        size = self.search.suspected(self.segmentSize, first, board.largest, self.unanswered, now)
        if size < self.segmentSize:
            board.largest = 0
            self._resize(size)
        board.markAllLost()
        self.phase = _LOSS
        self._recoverEnd = board.originalBefore = self.next
        self._duplicates = self._renoSacked = 0
        self._prefersNew = False
        self.reorderAt = self.resumeAt = inf
        self.retransmitAt = self._timeoutAt = now + self.backedOff
        self._paceAt = -inf
        return *self._retransmitFirst(self.segmentSize, now), True

    def _retransmitFirst(self, octets: int, now: float) -> tuple[int, int]:
        """
        Note the first lost range as retransmitted. Return its first position, and the one behind its last.

        @param octets: the most octets of data. A FIN behind them is added.
        """
        board, size = self.board, self.segmentSize
        record = board.nextLost(octets, self.buffer.end)
        board.sentAgain(record, size, now)
        length = record.end - record.start
        self._undoOctets += length
        self._firstAgainAt = min(self._firstAgainAt, now)
        self.sentAgain += -(-length // size)
        self.octetsAgain += min(record.end, self.buffer.end) - record.start
        self._noteSent(length, now)
        return record.start, record.end

    def _probeTail(self, now: float) -> tuple[int, int, bool] | None:
        """
        Choose a tail loss probe (RFC 8985 section 7.3). It is new data, or the last segment if there is none.
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
            self._noteSent(end - start, now)
        self._tailEnd = self.next
        self.retransmitAt = self._timeoutAt = now + self.backedOff
        return start, end, not self._tailIsNew
