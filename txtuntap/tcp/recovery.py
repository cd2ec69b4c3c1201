"""
Loss recovery: a sender detects losses, reduces its window, and undoes the reduction if nothing was lost.

Read RFC 8985 (RACK-TLP) first, then RFC 6937 (PRR), 5682 (F-RTO), 3522 and 3708 (spurious retransmissions), and 6582
(peers without SACK).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from math import inf

from txtuntap.layer.timer import GRAIN
from txtuntap.tcp.bufferpool import UNBOUNDED
from txtuntap.tcp.congestion import ICongestionControl
from txtuntap.tcp.rtt import MAX_RTO, RoundTrip
from txtuntap.tcp.scoreboard import Scoreboard
from txtuntap.tcp.segmentsize import SizeSearch
from txtuntap.tcp.sendbuffer import SendBuffer

#: The number of duplicate acknowledgments that indicates a loss (RFC 5681).
_DUPLICATES = 3

#: The number of recoveries after which a widened reordering window is reset (RFC 8985 section 6.2).
_PERSISTENCE = 16

#: The error of an echoed timestamp in seconds: one unit of the timestamp clock, and rounding.
_STAMP_UNIT = 0.0011


class Phase(Enum):
    """
    The congestion phase of a sender. The values are Linux's names, as C{ss -ti} and C{TCP_INFO} show them.

    @cvar OPEN: no congestion is known.
    @cvar REDUCED: the window is reduced after an ECN mark, or after a loss that a tail loss probe has repaired.
    @cvar RECOVERY: lost segments are being retransmitted (fast recovery).
    @cvar LOSS: the retransmission timer has fired, or a router has dropped segments for their size.
    """

    OPEN = "open"
    REDUCED = "cwr"
    RECOVERY = "recovery"
    LOSS = "loss"


_OPEN, _REDUCED, _RECOVERY, _LOSS = Phase.OPEN, Phase.REDUCED, Phase.RECOVERY, Phase.LOSS


class Recovery:
    """
    The part of a L{Sender<txtuntap.tcp.sender.Sender>} that recovers from losses. This base class has all attributes.
    """

    __slots__ = (
        "_dsackRound",
        "_dsacks",
        "_duplicates",
        "_firstAgainAt",
        "_frto",
        "_isProbing",
        "_isTail",
        "_isUndoable",
        "_limitedEnd",
        "_paceAt",
        "_persistence",
        "_prefersNew",
        "_priorWindow",
        "_prrDelivered",
        "_prrOut",
        "_prrWindow",
        "_recoverEnd",
        "_renoSacked",
        "_reorderingSteps",
        "_resendEnd",
        "_resends",
        "_smallEnd",
        "_tailEnd",
        "_tailIsNew",
        "_timeoutAt",
        "_undoFrom",
        "_undoOctets",
        "acknowledged",
        "board",
        "buffer",
        "control",
        "isClosing",
        "largestWindow",
        "latestAt",
        "next",
        "noDelay",
        "octetsAgain",
        "phase",
        "pool",
        "progressAt",
        "reorderAt",
        "resumeAt",
        "retransmitAt",
        "roundTrip",
        "search",
        "segmentSize",
        "sentAgain",
        "superpacket",
        "taken",
        "timeouts",
        "unanswered",
        "usesSACK",
        "window",
    )

    def __init__(self, control: ICongestionControl, version: int) -> None:
        """
        @param version: the IP version, 4 or 6.
        """
        self.control = control
        self.buffer = SendBuffer(1)
        self.pool = UNBOUNDED
        self.taken = 1
        self.board = Scoreboard()
        self.roundTrip = RoundTrip()
        self.search = SizeSearch(version)
        self.acknowledged = 0
        self.next = 0
        self.window = 0
        self.largestWindow = 0
        self.segmentSize = 536
        self.superpacket = 0
        self.isClosing = False
        self.noDelay = False
        self.usesSACK = False
        #: When data or a FIN was sent last, in seconds.
        self.latestAt = -inf
        self.sentAgain = 0
        self.octetsAgain = 0
        self.timeouts = 0
        self.unanswered = 0
        self.progressAt = 0.0
        self.retransmitAt = inf
        self.reorderAt = inf
        self.resumeAt = inf
        # When the rate of the congestion control allows the next segment, in seconds.
        self._paceAt = -inf
        # The next position (SND.NXT) when the congestion window was full last.
        self._limitedEnd = 0
        #: The position behind the last small segment (Minshall's change of Nagle's algorithm).
        self._smallEnd = 0
        # Recovery: the phase, the position that ends it, the duplicate acknowledgments and the octets that they report
        # (without SACK), the state of PRR, and the state of F-RTO.
        self.phase = _OPEN
        self._recoverEnd = 0
        self._duplicates = 0
        self._renoSacked = 0
        self._prrDelivered = 0
        self._prrOut = 0
        self._prrWindow = 0.0
        self._priorWindow = 1.0
        self._frto = False
        self._prefersNew = False
        # Undoing: whether it is possible, the position at which the recovery began, the time of its first
        # retransmission, and the retransmitted octets that no D-SACK has reported.
        self._isUndoable = False
        self._undoFrom = 0
        self._firstAgainAt = inf
        self._undoOctets = 0
        # The reordering window: its length in quarters of a round trip, the recoveries until it is reset, and the
        # position that ends the round in which it was widened (RFC 8985 section 6.2).
        self._reorderingSteps = 1
        self._persistence = _PERSISTENCE
        self._dsackRound: int | None = None
        # The number of segments in D-SACKs. If it exceeds the retransmissions, the network duplicates segments.
        self._dsacks = 0
        # When the retransmission timeout is due. The unanswered tail loss probe: the position behind it, and whether it
        # is new data. Whether the timer is armed for a tail loss probe, and whether for a probe of a closed window.
        self._timeoutAt = inf
        self._tailEnd: int | None = None
        self._tailIsNew = False
        self._isTail = False
        self._isProbing = False
        # How often the flight was retransmitted because the path MTU has shrunk, and the position behind that flight.
        self._resends = 0
        self._resendEnd = 0

    @property
    def end(self) -> int:
        """
        The position behind all data to send, and behind the FIN if there is one.
        """
        return self.buffer.end + self.isClosing

    def _grow(self, delivered: int, advanced: int, flight: int, now: float) -> None:
        """
        Let the congestion window grow if it was full when the data was sent, or more than half full in slow start.

        @param advanced: the octets that are newly acknowledged cumulatively.
        @param flight: the octets in flight before the acknowledgment.
        """
        control = self.control
        window = control.window
        if self.acknowledged - advanced <= self._limitedEnd or (window < control.threshold and window < 2 * flight):
            control.acknowledged(delivered, self.acknowledged, self.next, now)

    def _validBlocks(
        self, blocks: Sequence[tuple[int, int]], position: int, now: float
    ) -> tuple[bool, list[tuple[int, int]]]:
        """
        Return whether the first of the SACK blocks is a D-SACK (RFC 2883), and which blocks are valid.

        @param position: the acknowledged position.
        """
        start, end = blocks[0]
        repeated = start < end <= self.next and (
            end <= position or (len(blocks) > 1 and blocks[1][0] <= start and end <= blocks[1][1])
        )
        if repeated:
            self._dsackReceived(start, end, position, now)
        return repeated, [
            (max(start, position), end) for start, end in blocks if position < end <= self.next and start < end
        ]

    def _dsackReceived(self, start: int, end: int, position: int, now: float) -> None:
        """
        Process a D-SACK, which reports data that has arrived twice. If retransmissions explain it, widen the reordering
        window. Undo the reduction of the congestion window once D-SACKs have reported all retransmissions.
        """
        self._dsacks += -(-(end - start) // self.segmentSize)
        if self._dsacks > self.sentAgain:
            return
        if end > self._undoFrom:
            self._undoOctets = max(0, self._undoOctets - (end - start))
            if not self._undoOctets and self._isUndoable and self._firstAgainAt < inf:
                # All retransmissions were spurious. The recovery may be over by now.
                self._undo(now)
        if self._dsackRound is not None and position >= self._dsackRound:
            self._dsackRound = None
        if self._dsackRound is None:
            self._dsackRound = self.next
            self._reorderingSteps += 1
            self._persistence = _PERSISTENCE

    def _countDuplicate(self, isDuplicate: bool, advanced: int) -> int:
        """
        Count a duplicate acknowledgment of a peer without SACK as one segment that has arrived (RFC 5681 section 3.2).

        @return: the octets to add to the delivered octets of the scoreboard. The number may be negative.
        """
        size = self.segmentSize
        if isDuplicate:
            self._duplicates += 1
            arrived = min(size, self.board.flight - self._renoSacked)
            self._renoSacked += arrived
            return arrived
        if advanced:
            before = self._renoSacked
            self._renoSacked = max(0, min(before - max(advanced - size, 0), self.board.flight))
            if self.phase is _OPEN:
                self._duplicates = 0
                self._renoSacked = 0
            # These octets were counted as delivered before, at the duplicate acknowledgments.
            return -min(before - self._renoSacked, self.board.delivered)
        return 0

    def _recover(
        self,
        advanced: int,
        delivered: int,
        blocks: Sequence[tuple[int, int]],
        isDuplicate: bool,
        echoedAt: float | None,
        flight: int,
        lostBefore: int,
        now: float,
    ) -> None:
        """
        Process an acknowledgment while a loss is suspected or repaired.

        @param advanced: the octets that are newly acknowledged cumulatively.
        @param delivered: the octets that the acknowledgment is the first to report.
        @param flight: the octets in flight before it.
        @param lostBefore: the lost octets before it.
        """
        board = self.board
        if self.phase is not _OPEN and advanced and echoedAt is not None and self._isSpurious(echoedAt):
            if self.phase is not _LOSS:
                board.markedTooEarly(echoedAt)
            self._undo(now)
        self._prefersNew = False
        if self.phase is _LOSS and self._frto:
            self._decideTimeout(advanced, blocks, isDuplicate, now)
        if self.phase is not _OPEN and self.acknowledged >= self._recoverEnd:
            self._recovered()
        elif not self.usesSACK and self.phase is _RECOVERY and advanced:
            # After a partial acknowledgment, the next segment is lost, too (RFC 6582).
            self._markFirstLost()
        self._findLosses(now)
        newlyLost = board.lost > lostBefore
        if board.lost and self.phase in (_OPEN, _REDUCED):
            self._enter(_RECOVERY, flight, now)
        if self.phase is _RECOVERY or self.phase is _REDUCED:
            self._reduceInProportion(delivered, advanced > 0 and not newlyLost)
        elif advanced and delivered > 0:
            self._grow(delivered, advanced, flight, now)

    def _findLosses(self, now: float) -> None:
        """
        Mark segments as lost, by time with SACK, and by duplicate acknowledgments without.
        """
        board = self.board
        self.reorderAt = inf
        if self.usesSACK:
            # A wait shorter than one grain of the clock could round to zero. The timer would fire without end.
            self.reorderAt = now + max(board.detectLosses(self._reorderingWindow(), now), GRAIN)
        elif (
            self._duplicates >= _DUPLICATES and self.phase in (_OPEN, _REDUCED) and self.acknowledged > self._recoverEnd
        ):
            # Directly after a recovery, retransmissions may cause duplicate acknowledgments. Duplicates count again
            # once data behind the end of that recovery is acknowledged (RFC 6582).
            self._markFirstLost()

    def _markFirstLost(self) -> None:
        """
        Mark the first segment as lost, for a peer without SACK.
        """
        self.board.markFirstLost(self.segmentSize)
        self._renoSacked = min(self._renoSacked, self.board.flight)

    def _reorderingWindow(self) -> float:
        board = self.board
        if not board.reordered and (self.phase is not _OPEN or board.sacked >= _DUPLICATES * self.segmentSize):
            return 0.0
        roundTrip = self.roundTrip
        window = min(self._reorderingSteps * roundTrip.least / 4, roundTrip.smoothed)
        # If some segments take a shorter path, a quarter of the least round-trip time is too short. So the window is at
        # least the greatest delay of a segment that was marked lost too early. The usual range of round-trip times
        # limits this delay.
        return max(window, min(board.greatestDelay, roundTrip.smoothed + 4 * roundTrip.variation))

    def reorderingOver(self, now: float) -> None:
        """
        Mark late segments as lost, after the reordering window.
        """
        board = self.board
        flight = board.flight - self._renoSacked
        before = board.lost
        self._findLosses(now)
        if board.lost and self.phase in (_OPEN, _REDUCED):
            self._enter(_RECOVERY, flight, now)
        if board.lost > before and self.phase is _RECOVERY:
            self._reduceInProportion(0, False)

    def _enter(self, phase: Phase, flight: int, now: float) -> None:
        """
        Enter a phase of congestion, and reduce the window if the phase was L{Phase.OPEN} before.

        @param flight: the octets in flight before the loss or the mark.
        """
        control = self.control
        if self.phase is _OPEN:
            self._isUndoable = True
            self._priorWindow = max(control.window, 1)
            self._prrDelivered = self._prrOut = 0
            self._firstAgainAt = inf
            self._undoOctets = 0
            self._undoFrom = self.acknowledged
            if phase is _REDUCED:
                control.echoed(flight, now)
            else:
                control.lost(flight, now)
        self.phase = phase
        self._recoverEnd = self.next
        self._tailEnd = None
        self._prrWindow = flight

    def echoed(self, now: float) -> None:
        """
        Reduce the window in phase OPEN, because the peer echoes a congestion mark (ECE, RFC 3168 section 6.1.2).
        """
        if self.phase is _OPEN:
            self._enter(_REDUCED, self.board.flight - self._renoSacked, now)
            self._isUndoable = False
            self._reduceInProportion(0, False)

    def _reduceInProportion(self, delivered: int, isSafe: bool) -> None:
        """
        Compute the window of proportional rate reduction (PRR, RFC 6937). It allows octets in proportion to the octets
        that the peer has received since the recovery began.

        @param isSafe: whether no new loss was found, so that the window may grow as in slow start.
        """
        flight = self.board.flight - self._renoSacked
        threshold = self.control.threshold
        self._prrDelivered += max(delivered, 0)
        if flight > threshold:
            octets = -(-threshold * self._prrDelivered // self._priorWindow) - self._prrOut
        else:
            octets = max(self._prrDelivered - self._prrOut, delivered)
            if isSafe:
                octets += self.segmentSize
            octets = min(threshold - flight, octets)
        if not self._prrOut:
            # The first retransmission must not wait for more acknowledgments.
            octets = max(octets, self.segmentSize)
        self._prrWindow = flight + max(octets, 0)

    def _recovered(self) -> None:
        """
        End the recovery, because the peer has acknowledged all data that was sent before the recovery.
        """
        if self.phase is not _LOSS and self.control.window > self.control.threshold:
            self.control.window = self.control.threshold
        self.phase = _OPEN
        self._duplicates = self._renoSacked = 0
        self._frto = False
        self._persistence -= 1
        if not self._persistence:
            self._persistence, self._reorderingSteps, self.board.greatestDelay = _PERSISTENCE, 1, 0.0

    def _isSpurious(self, echoedAt: float) -> bool:
        """
        Return whether the retransmissions were spurious, because the echoed timestamp is older than the first of them
        (the Eifel detection, RFC 3522).
        """
        return self._isUndoable and echoedAt + _STAMP_UNIT < self._firstAgainAt < inf

    def _undo(self, now: float) -> None:
        """
        Undo the reduction of the window, because nothing was lost.
        """
        self.control.undone(now)
        self._isUndoable = False
        if self.phase is not _LOSS:
            self.board.reordered = True
        self.board.unmarkAll()
        self.phase = _OPEN
        self._frto = False
        self._duplicates = self._renoSacked = 0
        self._firstAgainAt = inf

    def _decideTimeout(self, advanced: int, blocks: Sequence[tuple[int, int]], isDuplicate: bool, now: float) -> None:
        """
        Decide by the first acknowledgments whether a timeout was spurious (F-RTO, RFC 5682 section 3.1).
        """
        if self.board.original and (self.usesSACK or self.board.repeatedAt is None):
            # Data has arrived that was sent before the timeout and not retransmitted. (Without SACK, this data may have
            # arrived before the timeout, and a retransmission may only have filled the gap before the data.)
            return self._undo(now)
        if self.next > self._recoverEnd:
            if blocks or isDuplicate:
                # New data has arrived and older data has not, so the older data was really lost.
                self._frto = False
        elif advanced and self.acknowledged < self._recoverEnd:
            # The acknowledgment of new data will decide. If no new data can be sent, retransmit the lost data.
            self._recoverEnd = self.next
            self._prefersNew = min(self.buffer.end, self.acknowledged + self.window) - self.next >= self.segmentSize
            self._frto = self._prefersNew

    def _tailAnswered(self, position: int, repeated: bool, isDuplicate: bool, flight: int, now: float) -> None:
        """
        Process an acknowledgment while a tail loss probe is unanswered (RFC 8985 section 7.4).

        @param repeated: whether the acknowledgment has a D-SACK.
        """
        end = self._tailEnd
        if end is None or position < end:
            return
        if self._tailIsNew or repeated or (position == end and isDuplicate):
            # The probe and the original have both arrived, so nothing was lost.
            self._tailEnd = None
        elif position > end:
            # The probe has repaired a loss. The window is reduced for it, though there is nothing left to retransmit.
            self._tailEnd = None
            if self.phase is _OPEN:
                self._enter(_REDUCED, flight, now)
                self._isUndoable = False

    def _sample(self, advanced: int, echoedAt: float | None, now: float) -> None:
        """
        Measure the round-trip time by data that was sent once, or by a timestamp. If an acknowledgment also reports
        retransmitted data, only a timestamp gives a sample, because the other data may have arrived long before.
        """
        board = self.board
        if board.sampleAt is not None and board.repeatedAt is None:
            seconds = now - board.sampleAt
        elif advanced and echoedAt is not None and board.delivered:
            seconds = now - echoedAt
        else:
            return
        # A longer time than the greatest timeout means that this machine was suspended.
        if 0 <= seconds <= MAX_RTO:
            # A sample ends the backoff of the timer (Karn's algorithm).
            self.timeouts = 0
            self.roundTrip.sampled(seconds, now)
            self.control.sampled(seconds, now)

    @property
    def backedOff(self) -> float:
        """
        The retransmission timeout in seconds, with its backoff.
        """
        return float(min(self.roundTrip.timeout * 2 ** min(self.timeouts, 30), MAX_RTO))
