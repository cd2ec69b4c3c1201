"""
The receiving half of a connection: data put in order, the window, and when to acknowledge.

Data in order is kept as it came until the application takes it. Data out of order waits in a queue that is bounded in
octets and in gaps, and is never thrown away again once it was acknowledged to the peer (RFC 2018 section 8).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from operator import itemgetter
from typing import Any, Final

from txtuntap.tcp.bufferpool import UNBOUNDED

#: The receive buffer at first, and the most that it grows to, in octets.
INITIAL_BUFFER = 64 * 1024
MAX_BUFFER = 4 * 1024 * 1024

#: The most ranges of octets out of order. A queue that overflows in slow start drops every other segment of a window.
MAX_GAPS = 2048

#: The most blocks of SACK in one segment, D-SACK left out.
_MAX_BLOCKS = 4

#: The octets that a piece of data out of order counts for beside its own, about as much as it takes of memory. Without
#: them, octets that come one by one would take a hundred times the memory of the window.
PIECE_OVERHEAD = 192

#: Pieces of data in order that are smaller than so many octets are joined, so many at a time: each alone would take a
#: multiple of its octets of memory while the application does not read.
_SMALL = 256
_MOST_SMALL = 256

#: Octets of a piece to which smaller ones are joined that the application did not take.
_LARGE = 64 * 1024

#: Acknowledgments sent at once at the beginning, so that the peer's window opens fast (TCP_MAX_QUICKACKS).
QUICK = 16

#: The least and the most seconds that an acknowledgment is delayed (TCP_DELACK_MIN, TCP_DELACK_MAX).
MIN_DELAY = 0.04
MAX_DELAY = 0.2

_start, _end = itemgetter(0), itemgetter(1)

#: In place of lists that nothing is in, of which each connection that is idle would have three. It is a tuple, so
#: nothing can be added to it.
_EMPTY: Final[Any] = ()

#: A position, that behind the last octet, and the octets.
Piece = tuple[int, int, bytes]


class Receiver:
    """
    The data received, by position: octets since the peer's SYN, which has position 0.

    @ivar next: the position that is expected next (RCV.NXT).
    @ivar edge: the position behind the window that was advertised last.
    @ivar buffer: octets that may wait here.
    @ivar ready: data in order for the application to take.
    @ivar unread: its octets.
    @ivar queued: octets out of order, and what their pieces take beside.
    @ivar ranges: what is out of order, by position.
    @ivar duplicate: a range that came twice, for a D-SACK in the next acknowledgment (RFC 2883).
    @ivar end: the position of the peer's FIN; L{None}: it has not come.
    @ivar finished: whether all before the FIN has come, and the FIN with it.
    @ivar acknowledgeAt: when to acknowledge, in seconds; infinity: nothing is to be acknowledged; 0: at once.
    @ivar largest: octets of the largest segment that the peer sends; C{mostLargest}: those of the largest that it can
        send by our link. What is larger is a superpacket.
    @ivar pool: the octets that all connections may keep.
    @ivar isPaused: whether the application reads nothing now.
    @ivar sample: the latest round-trip time by timestamps, in seconds; 0: there is none since L{tune}.
    """

    __slots__ = (
        "_delay",
        "_isPatient",
        "_latestAt",
        "_most",
        "_pieces",
        "_quick",
        "_readSince",
        "_reported",
        "_roundTrip",
        "_since",
        "_small",
        "acknowledgeAt",
        "acknowledged",
        "buffer",
        "duplicate",
        "edge",
        "end",
        "finished",
        "isPaused",
        "largest",
        "mostLargest",
        "next",
        "pool",
        "queued",
        "ranges",
        "ready",
        "sample",
        "scale",
        "unread",
    )

    def __init__(self, most: int = MAX_BUFFER) -> None:
        """
        @param most: the most octets that the buffer grows to.
        """
        self.next = 1
        #: The position acknowledged last.
        self.acknowledged = 1
        self.edge = 1
        self.scale = 0
        self._most = most
        self.buffer = min(INITIAL_BUFFER, most)
        self.ready: list[bytes] = _EMPTY
        #: How many pieces at the end of C{ready} are small, and not joined.
        self._small = 0
        self.unread = 0
        self._pieces: list[Piece] = _EMPTY
        self.queued = 0
        self.ranges: list[tuple[int, int]] = _EMPTY
        #: The ranges for SACK blocks: the latest first.
        self._reported: Sequence[tuple[int, int]] = ()
        self.duplicate: tuple[int, int] | None = None
        self.end: int | None = None
        self.finished = False
        self.largest = 536
        self.mostLargest = 536
        self.pool = UNBOUNDED
        self.isPaused = False
        # When to acknowledge
        self.acknowledgeAt = inf
        self._quick = QUICK
        self._isPatient = False
        self._delay = MIN_DELAY
        self._latestAt = -inf
        # How much the application reads in a round trip
        self.sample = 0.0
        self._roundTrip = 0.0
        self._since = 0.0
        self._readSince = 0

    def open(self, scale: int) -> None:
        """
        Begin to receive data: the handshake is over.

        @param scale: of our windows. A buffer that is larger than the largest window is of no use.
        """
        self.scale = scale
        self.edge = max(self.edge, self.next + min(self.buffer, 0xFFFF))
        self._most = min(self._most, 0xFFFF << scale)
        self.buffer = min(self.buffer, self._most)

    # Data

    def receive(self, start: int, data: bytes, now: float, timeout: float) -> None:
        """
        Take the data of a segment, of which some is in the window, and none ends behind it.

        @param start: the position of the first octet.
        @param timeout: the retransmission timeout, in seconds: after a longer pause, acknowledgments are quick again.
        """
        length = len(data)
        if length > self.largest < self.mostLargest:
            self.largest = min(length, self.mostLargest)
        if self.pool.isFull and (self.unread or self.isPaused):
            # The peer sends it again.
            self.pool.dropped += 1
            self.acknowledgeAt = 0
            return
        if start == self.next and not self._pieces and length >= _SMALL:
            # The usual case.
            if self.unread:
                self.ready.append(data)
            else:
                self.ready = [data]
            self._small = 0
            self.unread += length
            self.next = start + length
            if self.acknowledgeAt:
                self._acknowledgeLater(now, timeout)
            self._latestAt = now
            return
        end = start + length
        if start != self.next or self._pieces:
            if end <= self.next:
                return self._repeated(start, end)
            if start > self.next:
                return self._late(start, end, data)
            if start < self.next:
                self._repeated(start, self.next)
                data = data[self.next - start :]
                start = self.next
        self._inOrder(data)
        if self._pieces:
            self._fill()
            # The peer repairs a loss, and waits to hear that this is done.
            self.acknowledgeAt = 0
        elif self.acknowledgeAt:
            self._acknowledgeLater(now, timeout)
        self._latestAt = now

    def _inOrder(self, data: bytes) -> None:
        if not self.unread:
            self.ready = []
        ready = self.ready
        ready.append(data)
        length = len(data)
        if length < _SMALL:
            self._small += 1
            if self._small == _MOST_SMALL:
                ready[-_MOST_SMALL:] = [b"".join(ready[-_MOST_SMALL:])]
                self._small = 0
        else:
            self._small = 0
        self.unread += length
        self.next += length

    def _fill(self) -> None:
        """
        Move what is in order now out of the queue.
        """
        pieces = self._pieces
        count = 0
        for start, end, data in pieces:
            if start > self.next:
                break
            count += 1
            self.queued -= len(data) + PIECE_OVERHEAD
            if end > self.next:
                self._inOrder(data[self.next - start :])
        del pieces[:count]
        if not pieces:
            self._pieces = _EMPTY
        ranges = self.ranges
        filled = bisect_right(ranges, self.next, key=_start)
        if filled:
            del ranges[:filled]
            left = [each for each in self._reported if each[1] > self.next]
            others = [each for each in ranges[:_MAX_BLOCKS] if each not in left]
            self._reported = (*left, *others[: _MAX_BLOCKS - len(left)])
            if not ranges:
                self.ranges = _EMPTY

    def _repeated(self, start: int, end: int) -> None:
        self.duplicate = start, end
        self._quick = QUICK
        self._isPatient = False
        self.acknowledgeAt = 0

    def _late(self, start: int, end: int, data: bytes) -> None:
        """
        Queue what comes before its time. Where two pieces overlap, the octets of the one that begins first count; one
        that is covered by another wholly is dropped (as with Linux).
        """
        self.acknowledgeAt = 0
        pieces = self._pieces
        index = bisect_right(pieces, start, key=_start)
        ranges = self.ranges
        if index and pieces[index - 1][1] >= end:
            # The range that it is in follows the D-SACK (RFC 2883 section 4).
            self._report(ranges[bisect_right(ranges, start, key=_start) - 1], start, end)
            return self._repeated(start, end)
        if self.pool.used >= self.pool.lateBound:
            # Look at no piece: those that are not replaced would be looked at for each segment again.
            self.pool.dropped += 1
            return
        first = last = index
        if index and pieces[index - 1][0] == start:
            first -= 1
        while last < len(pieces) and pieces[last][1] <= end:
            last += 1
        freed = sum(len(piece[2]) + PIECE_OVERHEAD for piece in pieces[first:last])
        cost = len(data) + PIECE_OVERHEAD
        # The ranges that it overlaps or touches.
        low = bisect_left(ranges, start, key=_end)
        high = bisect_right(ranges, end, key=_start)
        if self.queued - freed + cost > 2 * self.buffer or (low == high and len(ranges) >= MAX_GAPS):
            # The peer was not told of it, and sends it again.
            return
        for each in ranges[low:high]:
            if each[0] < end and each[1] > start:
                self.duplicate = max(start, each[0]), min(end, each[1])
                break
        if pieces is _EMPTY:
            pieces = self._pieces = []
        pieces[first:last] = [(start, end, data)]
        self.queued += cost - freed
        if low < high:
            start = min(start, ranges[low][0])
            end = max(end, ranges[high - 1][1])
        if ranges is _EMPTY:
            ranges = self.ranges = []
        ranges[low:high] = [(start, end)]
        self._report((start, end), start, end)

    def _report(self, found: tuple[int, int], start: int, end: int) -> None:
        """
        Have a range be the first of the blocks for SACK, in place of those between two positions.
        """
        others = [each for each in self._reported if each[1] <= start or each[0] >= end]
        self._reported = (found, *others[: _MAX_BLOCKS - 1])

    def finish(self, position: int, isAlone: bool = False) -> None:
        """
        The peer's FIN has come.

        @param isAlone: whether no data was before it in its segment.
        """
        if self.end is None:
            self.end = position
        self.acknowledgeAt = 0
        if self.next < position == self.end:
            self._finishLate(position, isAlone)
        self.checkEnd()

    def _finishLate(self, position: int, isAlone: bool) -> None:
        """
        Report a FIN that comes before its time. A sender counts it with the segment that it is in, which is not there
        if the FIN is not.
        """
        ranges = self.ranges
        behind = ranges[-1][1] if ranges else 0
        if behind > position:
            if isAlone:
                self.duplicate = position, position + 1
            elif self.duplicate is not None and self.duplicate[1] == position:
                self.duplicate = self.duplicate[0], position + 1
        elif behind == position or isAlone:
            start = ranges[-1][0] if behind == position else position
            found = start, position + 1
            self.ranges = [*(ranges[:-1] if behind == position else ranges), found]
            self._report(found, start, position)

    def checkEnd(self) -> None:
        """
        Take the FIN, if all before it is there.
        """
        if self.next == self.end:
            self.next += 1
            # A FIN needs no room. The window behind it is 0, and not less.
            self.edge = max(self.edge, self.next)
            self.finished = True
            self.acknowledgeAt = 0
            # The FIN itself may be left.
            self.ranges, self._reported = [], ()

    def take(self) -> list[bytes]:
        """
        Hand over what is in order.
        """
        ready, self.ready = self.ready, _EMPTY
        self._readSince += self.unread
        self.unread = self._small = 0
        return ready

    def giveBack(self, chunks: Sequence[bytes]) -> None:
        """
        Keep what the application did not take, before all else. Small pieces are joined: an application that takes one
        at a time would have all others moved as often.
        """
        joined: list[bytes] = []
        small: list[bytes] = []
        size = 0
        for data in chunks:
            small.append(data)
            size += len(data)
            if size >= _LARGE:
                joined.append(b"".join(small) if len(small) > 1 else data)
                small, size = [], 0
        if small:
            joined.append(b"".join(small))
        octets = sum(map(len, joined))
        self.unread += octets
        self._readSince -= octets
        self.ready = [*joined, *self.ready]

    def discard(self) -> None:
        """
        Throw away what has come, since the application reads no more.
        """
        self.ready = _EMPTY
        self.unread = self._small = 0

    # Acknowledgments

    def _acknowledgeLater(self, now: float, timeout: float) -> None:
        """
        Choose when to acknowledge data in order (RFC 9293 section 3.8.6.3, with the choices of Linux).
        """
        gap = now - self._latestAt
        if gap > timeout:
            self._quick = QUICK
            self._delay = MIN_DELAY
        elif gap < self._delay:
            self._delay = max(MIN_DELAY, min(self._delay / 2 + gap, MAX_DELAY))
        if self.next - self.acknowledged > self.largest or (self._quick and not self._isPatient):
            self.acknowledgeAt = 0
        elif self.acknowledgeAt == inf:
            self.acknowledgeAt = now + min(self._delay, timeout)

    def answered(self) -> None:
        """
        The application has sent data soon after it got some: its next answer may carry an acknowledgment, too.
        """
        self._isPatient = True

    def waited(self) -> None:
        """
        A delayed acknowledgment had to be sent by itself: there was no answer to carry it.
        """
        if self._isPatient:
            self._isPatient = False
            self._delay = MIN_DELAY
        else:
            self._delay = min(2 * self._delay, MAX_DELAY)
        self.acknowledgeAt = 0

    def advertised(self) -> int:
        """
        Acknowledge all that has come, by a segment that leaves now.

        @return: the window to advertise in it.
        """
        window = self.window()
        self.acknowledged = self.next
        self.acknowledgeAt = inf
        self.duplicate = None
        if self._quick:
            self._quick -= 1
        return window

    def blocks(self, most: int) -> Sequence[tuple[int, int]]:
        """
        The ranges for SACK: first the one that came twice, then the latest.

        @param most: how many there is room for.
        """
        if self.duplicate is not None:
            return self.duplicate, *self._reported[: most - 1]
        return self._reported[:most]

    # The window

    def window(self) -> int:
        """
        The window to advertise, in units of its scale. The right edge of the window never moves back, and it moves on
        by a segment, or half of the buffer, at least (RFC 9293 section 3.8.6.2.2).
        """
        room, most, step = self.buffer - self.unread, 0xFFFF << self.scale, self.largest
        edge = self.next + (room if room < most else most)
        if edge - self.edge >= (step if step * 2 < self.buffer else self.buffer // 2) and not (
            self.pool.isFull and (self.unread or self.isPaused)
        ):
            self.edge = edge
        # A part of a unit is not advertised, since units rounded up would let the edge creep on without end. What the
        # peer sends there is taken all the same.
        return (self.edge - self.next) >> self.scale

    def opens(self) -> bool:
        """
        Whether the peer should be told that the window is larger now: by two segments, or half of the buffer.
        """
        if self.pool.isFull and (self.unread or self.isPaused):
            return False
        opened = self.next + self.buffer - self.unread - self.edge
        step, half = 2 * self.largest, self.buffer // 2
        return opened >= self.edge - self.next and opened >= (step if step < half else half)

    def tune(self, roundTrip: float, now: float) -> None:
        """
        Grow the buffer to twice of what the application reads in a round trip, so that it does not limit the peer.

        @param roundTrip: the sender's, in seconds; it counts where the peer's data has no timestamps.
        """
        if self.sample:
            # Data that the peer sends late after our acknowledgment makes a sample longer.
            sample, self.sample = self.sample, 0.0
            known = self._roundTrip
            self._roundTrip = sample if not known or sample < known else known + (sample - known) / 8
        if now - self._since < (self._roundTrip or roundTrip):
            return
        if self.buffer < self._most and self._readSince * 2 > self.buffer:
            self.buffer = min(self._most, 2 * self._readSince + 16 * self.largest)
        self._since, self._readSince = now, 0
