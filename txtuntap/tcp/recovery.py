"""
Loss, recovery, and undoing what was done for nothing: what a sender does while something is missing.

Read RFC 8985 (RACK-TLP) first, then RFC 6937 (PRR), 5682 (F-RTO), 3522 and 3708 (undoing), and 6582 (without SACK).
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

#: Duplicate acknowledgments that mean a loss (RFC 5681).
_DUPLICATES = 3

#: Recoveries for which a widened reordering window stays (RFC 8985 section 6.2).
_PERSISTENCE = 16

#: The seconds by which an echoed timestamp may be off: one unit of our clock there, and rounding.
_STAMP_UNIT = 0.0011


class Phase(Enum):
    """
    A phase of a sender: what it does about congestion. The values are Linux's names, as C{ss -ti} and C{TCP_INFO} have
    them.
    """

    OPEN = "open"
    REDUCED = "cwr"
    RECOVERY = "recovery"
    LOSS = "loss"


_OPEN, _REDUCED, _RECOVERY, _LOSS = Phase.OPEN, Phase.REDUCED, Phase.RECOVERY, Phase.LOSS


class Recovery:
    """
    The part of a L{Sender<txtuntap.tcp.sender.Sender>} that finds losses and recovers from them, and all that a sender
    knows.
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
        "_patience",
        "_persistence",
        "_prefersNew",
        "_priorWindow",
        "_prrDelivered",
        "_prrOut",
        "_prrWindow",
        "_recoverEnd",
        "_renoArrived",
        "_resendEnd",
        "_resends",
        "_smallEnd",
        "_tailEnd",
        "_tailIsNew",
        "_timeoutAt",
        "_toUndo",
        "_undoFrom",
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
        @param version: that of IP, 4 or 6.
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
        #: When something was sent last that has to be acknowledged.
        self.latestAt = -inf
        self.sentAgain = 0
        self.octetsAgain = 0
        self.timeouts = 0
        self.unanswered = 0
        self.progressAt = 0.0
        self.retransmitAt = inf
        self.reorderAt = inf
        self.resumeAt = inf
        # When the rate lets the next segment leave.
        self._paceAt = -inf
        # The position up to which all was sent when the congestion window was full last.
        self._limitedEnd = 0
        #: The position behind the last small segment (Minshall's change of Nagle's algorithm).
        self._smallEnd = 0
        # Recovery
        self.phase = _OPEN
        self._recoverEnd = 0
        self._duplicates = 0
        self._renoArrived = 0
        self._prrDelivered = 0
        self._prrOut = 0
        self._prrWindow = 0.0
        self._priorWindow = 1.0
        self._frto = False
        self._prefersNew = False
        # Undoing: when the first segment of this recovery was sent again, and octets sent again that were not reported
        # as duplicates; and where the recovery began.
        self._isUndoable = False
        self._undoFrom = 0
        self._firstAgainAt = inf
        self._toUndo = 0
        # The reordering window: its multiple of a quarter of a round trip, and for how many recoveries it stays.
        self._patience = 1
        self._persistence = _PERSISTENCE
        self._dsackRound: int | None = None
        # How many D-SACKs have come: more than there were retransmissions are the network's duplicates.
        self._dsacks = 0
        # The tail loss probe under way: the position behind it, and whether it was new data. Whether the timer that is
        # armed is for one; whether it is for a window that is closed.
        self._timeoutAt = inf
        self._tailEnd: int | None = None
        self._tailIsNew = False
        self._isTail = False
        self._isProbing = False
        # How often a narrower path had the flight sent again, and the position behind that flight.
        self._resends = 0
        self._resendEnd = 0

    @property
    def end(self) -> int:
        """
        The position behind all there is to send, the FIN included.
        """
        return self.buffer.end + self.isClosing

    def _grow(self, delivered: int, advanced: int, flight: int, now: float) -> None:
        """
        Have the window grow, if it has limited us when what is acknowledged now was sent.

        @param flight: octets under way before.
        """
        control = self.control
        window = control.window
        if self.acknowledged - advanced <= self._limitedEnd or (window < control.threshold and window < 2 * flight):
            control.acknowledged(delivered, self.acknowledged, self.next, now)

    def _checked(
        self, blocks: Sequence[tuple[int, int]], position: int, now: float
    ) -> tuple[bool, list[tuple[int, int]]]:
        """
        Tell a D-SACK from other blocks (RFC 2883), and leave out what cannot be.
        """
        start, end = blocks[0]
        repeated = start < end <= self.next and (
            end <= position or (len(blocks) > 1 and blocks[1][0] <= start and end <= blocks[1][1])
        )
        if repeated:
            self._repeated(start, end, position, now)
        return repeated, [
            (max(start, position), end) for start, end in blocks if position < end <= self.next and start < end
        ]

    def _repeated(self, start: int, end: int, position: int, now: float) -> None:
        """
        A D-SACK says that something came twice. If we have sent it twice, wait longer for what may be reordered.
        """
        self._dsacks += -(-(end - start) // self.segmentSize)
        if self._dsacks > self.sentAgain:
            return
        if end > self._undoFrom:
            self._toUndo = max(0, self._toUndo - (end - start))
            if not self._toUndo and self._isUndoable and self._firstAgainAt < inf:
                # All of it came twice. The recovery may be over by now.
                self._undo(now)
        if self._dsackRound is not None and position >= self._dsackRound:
            self._dsackRound = None
        if self._dsackRound is None:
            self._dsackRound = self.next
            self._patience += 1
            self._persistence = _PERSISTENCE

    def _countDuplicate(self, isDuplicate: bool, advanced: int) -> int:
        """
        Without SACK, a duplicate acknowledgment stands for one segment that has arrived (RFC 5681 section 3.2).

        @return: octets that have arrived, beside those that are acknowledged.
        """
        size = self.segmentSize
        if isDuplicate:
            self._duplicates += 1
            arrived = min(size, self.board.flight - self._renoArrived)
            self._renoArrived += arrived
            return arrived
        if advanced:
            before = self._renoArrived
            self._renoArrived = max(0, min(before - max(advanced - size, 0), self.board.flight))
            if self.phase is _OPEN:
                self._duplicates = 0
                self._renoArrived = 0
            # Octets that had arrived before were counted then.
            return -min(before - self._renoArrived, self.board.delivered)
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
        Take an acknowledgment while something is missing.
        """
        board = self.board
        if self.phase is not _OPEN and advanced and echoedAt is not None and self._isForNothing(echoedAt):
            if self.phase is not _LOSS:
                board.late(echoedAt)
            self._undo(now)
        self._prefersNew = False
        if self.phase is _LOSS and self._frto:
            self._decideTimeout(advanced, blocks, isDuplicate, now)
        if self.phase is not _OPEN and self.acknowledged >= self._recoverEnd:
            self._recovered()
        elif not self.usesSACK and self.phase is _RECOVERY and advanced:
            # A partial acknowledgment: the next segment is lost, too (RFC 6582).
            self._loseFirst()
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
        Take for lost what is late.
        """
        board = self.board
        self.reorderAt = inf
        if self.usesSACK:
            # A wait that rounding makes nothing of would never be over.
            self.reorderAt = now + max(board.overdue(self._reorderingWindow(), now), GRAIN)
        elif (
            self._duplicates >= _DUPLICATES and self.phase in (_OPEN, _REDUCED) and self.acknowledged > self._recoverEnd
        ):
            # After a recovery, duplicates may be of what was sent again: they count beyond its end (RFC 6582).
            self._loseFirst()

    def _loseFirst(self) -> None:
        """
        Without SACK, take the first segment for lost.
        """
        self.board.loseFirst(self.segmentSize)
        self._renoArrived = min(self._renoArrived, self.board.flight)

    def _reorderingWindow(self) -> float:
        board = self.board
        if not board.reordered and (self.phase is not _OPEN or board.arrived >= _DUPLICATES * self.segmentSize):
            return 0.0
        roundTrip = self.roundTrip
        window = min(self._patience * roundTrip.least / 4, roundTrip.smoothed)
        # Where some segments take a shortcut, the least round-trip time tells nothing. What came late tells how long to
        # wait, within the spread of round-trip times.
        return max(window, min(board.lateness, roundTrip.smoothed + 4 * roundTrip.variation))

    def reorderingOver(self, now: float) -> None:
        """
        The reordering window is over: what has not come by now is lost.
        """
        board = self.board
        flight = board.flight - self._renoArrived
        before = board.lost
        self._findLosses(now)
        if board.lost and self.phase in (_OPEN, _REDUCED):
            self._enter(_RECOVERY, flight, now)
        if board.lost > before and self.phase is _RECOVERY:
            self._reduceInProportion(0, False)

    def _enter(self, phase: Phase, flight: int, now: float) -> None:
        """
        Reduce the window: the first time since the last recovery was over.
        """
        control = self.control
        if self.phase is _OPEN:
            self._isUndoable = True
            self._priorWindow = max(control.window, 1)
            self._prrDelivered = self._prrOut = 0
            self._firstAgainAt = inf
            self._toUndo = 0
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
        The peer echoes a mark of congestion (ECE, RFC 3168 section 6.1.2).
        """
        if self.phase is _OPEN:
            self._enter(_REDUCED, self.board.flight - self._renoArrived, now)
            self._isUndoable = False
            self._reduceInProportion(0, False)

    def _reduceInProportion(self, delivered: int, isSafe: bool) -> None:
        """
        Send in proportion to what arrives (RFC 6937).

        @param isSafe: whether nothing more was lost, so that the window may grow back in slow start.
        """
        flight = self.board.flight - self._renoArrived
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
            # The first retransmission leaves at once.
            octets = max(octets, self.segmentSize)
        self._prrWindow = flight + max(octets, 0)

    def _recovered(self) -> None:
        """
        All that was under way when the loss was noticed is acknowledged.
        """
        if self.phase is not _LOSS and self.control.window > self.control.threshold:
            self.control.window = self.control.threshold
        self.phase = _OPEN
        self._duplicates = self._renoArrived = 0
        self._frto = False
        self._persistence -= 1
        if not self._persistence:
            self._persistence, self._patience, self.board.lateness = _PERSISTENCE, 1, 0.0

    def _isForNothing(self, echoedAt: float) -> bool:
        """
        Whether what is acknowledged had arrived before it was sent again: the timestamp that is echoed is older.
        """
        return self._isUndoable and echoedAt + _STAMP_UNIT < self._firstAgainAt < inf

    def _undo(self, now: float) -> None:
        """
        Nothing was lost: take back the reduction.
        """
        self.control.undone(now)
        self._isUndoable = False
        if self.phase is not _LOSS:
            self.board.reordered = True
        self.board.forgiveAll()
        self.phase = _OPEN
        self._frto = False
        self._duplicates = self._renoArrived = 0
        self._firstAgainAt = inf

    def _decideTimeout(self, advanced: int, blocks: Sequence[tuple[int, int]], isDuplicate: bool, now: float) -> None:
        """
        Tell by the first acknowledgments after a timeout whether it was for nothing (F-RTO, RFC 5682 section 3.1).
        """
        if self.board.original and (self.usesSACK or self.board.repeatedAt is None):
            # An octet has arrived that was sent before the timeout, and not again. (Without SACK, it may have arrived
            # before, and what was sent again has only filled the gap.)
            return self._undo(now)
        if self.next > self._recoverEnd:
            if blocks or isDuplicate:
                # New data has arrived, and data that is lost has not.
                self._frto = False
        elif advanced and self.acknowledged < self._recoverEnd:
            # New data will tell; where there is none, what is lost is sent again.
            self._recoverEnd = self.next
            self._prefersNew = min(self.buffer.end, self.acknowledged + self.window) - self.next >= self.segmentSize
            self._frto = self._prefersNew

    def _tailAnswered(self, position: int, repeated: bool, isDuplicate: bool, flight: int, now: float) -> None:
        """
        An acknowledgment has come after a tail loss probe (RFC 8985 section 7.4).
        """
        end = self._tailEnd
        if end is None or position < end:
            return
        if self._tailIsNew or repeated or (position == end and isDuplicate):
            # Nothing was lost: the probe and the original have both arrived.
            self._tailEnd = None
        elif position > end:
            # The probe has repaired a loss: that is one, though nothing is left to repair.
            self._tailEnd = None
            if self.phase is _OPEN:
                self._enter(_REDUCED, flight, now)
                self._isUndoable = False

    def _sample(self, advanced: int, echoedAt: float | None, now: float) -> None:
        """
        Take the round-trip time, of what was sent once, or told by a timestamp. An acknowledgment of something that was
        sent again is late for all that waited behind that.
        """
        board = self.board
        if board.sampleAt is not None and board.repeatedAt is None:
            seconds = now - board.sampleAt
        elif advanced and echoedAt is not None and board.delivered:
            seconds = now - echoedAt
        else:
            return
        # No round trip takes longer than the timer waits: the machine was suspended.
        if 0 <= seconds <= MAX_RTO:
            # A timeout that was backed off stays so until there is a sample (Karn).
            self.timeouts = 0
            self.roundTrip.sampled(seconds, now)
            self.control.sampled(seconds, now)

    @property
    def backedOff(self) -> float:
        """
        The seconds until the timer runs out, backed off.
        """
        return float(min(self.roundTrip.timeout * 2 ** min(self.timeouts, 30), MAX_RTO))
