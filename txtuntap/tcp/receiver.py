"""
The receiving half of a connection: it puts data in order, advertises a window, and decides when to acknowledge.

Read RFC 9293 section 3.8.6 first, then RFC 2018 and 2883 (SACK, D-SACK).

Data in order is kept in the pieces that were received, until the application takes it. Data out of order waits in a
queue with bounds for octets and gaps. SACKed data is never discarded from it (RFC 2018 section 8).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from operator import itemgetter
from typing import Any, Final

from txtuntap.tcp.bufferpool import UNBOUNDED

#: The initial size of the receive buffer, and its greatest size, in octets.
INITIAL_BUFFER = 64 * 1024
MAX_BUFFER = 4 * 1024 * 1024

#: The most ranges of data out of order. A router that drops every other segment in slow start causes many of them.
MAX_GAPS = 2048

#: The most SACK blocks in one segment, without a D-SACK.
_MAX_BLOCKS = 4

#: The octets that the queue counts for each piece of data in addition to its length, because a piece needs about this
#: much more memory. Otherwise, a peer that sends single octets could fill a hundred times the memory of the window.
PIECE_OVERHEAD = 192

#: The length in octets below which pieces of data in order are joined. Small pieces would need far more memory than
#: their length while the application does not read.
_SMALL = 256
#: The number of small pieces that are joined at a time.
_MOST_SMALL = 256

#: The size in octets at which a piece is complete, when data that the application gives back is joined.
_LARGE = 64 * 1024

#: The number of acknowledgments that are not delayed at the beginning, after a long pause and after a duplicate, so
#: that the peer's slow start is fast (TCP_MAX_QUICKACKS).
QUICK = 16

#: The least and the most seconds of a delayed acknowledgment (TCP_DELACK_MIN, TCP_DELACK_MAX).
MIN_DELAY = 0.04
MAX_DELAY = 0.2

_start, _end = itemgetter(0), itemgetter(1)

#: A shared empty sequence, which replaces three empty lists of each idle connection. Nothing can be added to a tuple.
_EMPTY: Final[Any] = ()

#: The first position of some data, the position behind it, and its octets.
Piece = tuple[int, int, bytes]


class Receiver:
    """
    The receiving half of a connection. It counts data by position: the number of octets since the peer's SYN.

    @ivar next: the next expected position (RCV.NXT).
    @ivar edge: the position behind the advertised window.
    @ivar buffer: the size of the receive buffer, in octets.
    @ivar ready: the pieces of data in order that wait for the application.
    @ivar unread: the number of octets in C{ready}.
    @ivar queued: the number of octets out of order, with the overhead of their pieces.
    @ivar ranges: the ranges of data out of order, in the order of positions.
    @ivar duplicate: the range of a duplicate, for a D-SACK in the next acknowledgment (RFC 2883).
    @ivar end: the position of the peer's FIN. C{None}: it was not received.
    @ivar finished: whether the FIN and all data before it were received.
    @ivar acknowledgeAt: when to send an acknowledgment, in seconds. 0: at once. Infinity: never.
    @ivar largest: the octets of data in the largest segment of the peer so far. It is at most C{mostLargest}, which is
        the most that fits our link. Larger segments are superpackets.
    @ivar pool: the count of octets that all connections keep.
    @ivar isPaused: whether the application does not read now.
    @ivar sample: the latest round-trip time by timestamps, in seconds. 0: there is none since the last L{tune}.
    """

    __slots__ = (
        "_delay",
        "_isInteractive",
        "_latestAt",
        "_maxBuffer",
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
        @param most: the greatest size of the receive buffer, in octets.
        """
        self.next = 1
        #: The position that was acknowledged last.
        self.acknowledged = 1
        self.edge = 1
        self.scale = 0
        self._maxBuffer = most
        self.buffer = min(INITIAL_BUFFER, most)
        self.ready: list[bytes] = _EMPTY
        #: The number of small pieces at the end of C{ready} that are not joined yet.
        self._small = 0
        self.unread = 0
        self._pieces: list[Piece] = _EMPTY
        self.queued = 0
        self.ranges: list[tuple[int, int]] = _EMPTY
        #: The ranges for SACK blocks, the latest first.
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
        self._isInteractive = False
        self._delay = MIN_DELAY
        self._latestAt = -inf
        # The amount of data that the application reads in a round trip
        self.sample = 0.0
        self._roundTrip = 0.0
        self._since = 0.0
        self._readSince = 0

    def open(self, scale: int) -> None:
        """
        Begin to receive data after the handshake.

        @param scale: the scale of our windows. It bounds the buffer, because a peer cannot fill more than a window.
        """
        self.scale = scale
        self.edge = max(self.edge, self.next + min(self.buffer, 0xFFFF))
        self._maxBuffer = min(self._maxBuffer, 0xFFFF << scale)
        self.buffer = min(self.buffer, self._maxBuffer)

    # Data

    def receive(self, start: int, data: bytes, now: float, timeout: float) -> None:
        """
        Receive the data of a segment. At least a part of it is in the window, and no part is beyond the window.

        @param start: the position of the first octet.
        @param timeout: the retransmission timeout, in seconds. After a longer pause, acknowledgments are sent at once.
        """
        length = len(data)
        if length > self.largest < self.mostLargest:
            self.largest = min(length, self.mostLargest)
        if self.pool.isFull and (self.unread or self.isPaused):
            # The peer retransmits the dropped data.
            self.pool.dropped += 1
            self.acknowledgeAt = 0
            return
        if start == self.next and not self._pieces and length >= _SMALL:
            # The fast path for data in order.
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
                return self._duplicateReceived(start, end)
            if start > self.next:
                return self._queueOutOfOrder(start, end, data)
            if start < self.next:
                self._duplicateReceived(start, self.next)
                data = data[self.next - start :]
                start = self.next
        self._inOrder(data)
        if self._pieces:
            self._fill()
            # Data has filled a gap. The peer's recovery waits for the acknowledgment.
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
        Move data that is in order now from the queue to C{ready}.
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

    def _duplicateReceived(self, start: int, end: int) -> None:
        self.duplicate = start, end
        self._quick = QUICK
        self._isInteractive = False
        self.acknowledgeAt = 0

    def _queueOutOfOrder(self, start: int, end: int, data: bytes) -> None:
        """
        Queue data out of order. If two pieces overlap, the octets of the one that begins first are used. A piece inside
        another one is dropped (as with Linux).
        """
        self.acknowledgeAt = 0
        pieces = self._pieces
        index = bisect_right(pieces, start, key=_start)
        ranges = self.ranges
        if index and pieces[index - 1][1] >= end:
            # The SACK block behind a D-SACK is the range around it (RFC 2883 section 4).
            self._report(ranges[bisect_right(ranges, start, key=_start) - 1], start, end)
            return self._duplicateReceived(start, end)
        if self.pool.used >= self.pool.outOfOrderBound:
            # Return before the search for covered pieces. Each dropped segment could cause a costly search otherwise.
            self.pool.dropped += 1
            return
        first = last = index
        if index and pieces[index - 1][0] == start:
            first -= 1
        while last < len(pieces) and pieces[last][1] <= end:
            last += 1
        freed = sum(len(piece[2]) + PIECE_OVERHEAD for piece in pieces[first:last])
        cost = len(data) + PIECE_OVERHEAD
        # The ranges that the new piece overlaps or touches.
        low = bisect_left(ranges, start, key=_end)
        high = bisect_right(ranges, end, key=_start)
        if self.queued - freed + cost > 2 * self.buffer or (low == high and len(ranges) >= MAX_GAPS):
            # The dropped data was not SACKed, so the peer retransmits it.
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
        Make a range the first SACK block, and remove the blocks that overlap it.

        @param found: the range.
        @param start: the first position of the data that the segment has.
        @param end: the position behind that data.
        """
        others = [each for each in self._reported if each[1] <= start or each[0] >= end]
        self._reported = (found, *others[: _MAX_BLOCKS - 1])

    def finish(self, position: int, isAlone: bool = False) -> None:
        """
        Receive the peer's FIN.

        @param position: the position of the FIN.
        @param isAlone: whether its segment has no data.
        """
        if self.end is None:
            self.end = position
        self.acknowledgeAt = 0
        if self.next < position == self.end:
            self._reportFin(position, isAlone)
        self.checkEnd()

    def _reportFin(self, position: int, isAlone: bool) -> None:
        """
        Report a FIN out of order by SACK. A sender treats the FIN as a part of its segment. Without a SACK of the FIN,
        this segment would count as missing.
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
        Finish if the FIN and all data before it were received.
        """
        if self.next == self.end:
            self.next += 1
            # A FIN is accepted even if the window is full. The edge moves with it, so that the window is not negative.
            self.edge = max(self.edge, self.next)
            self.finished = True
            self.acknowledgeAt = 0
            # A range with the FIN alone may be left.
            self.ranges, self._reported = [], ()

    def take(self) -> list[bytes]:
        """
        Return the pieces of data in order, and remove them.
        """
        ready, self.ready = self.ready, _EMPTY
        self._readSince += self.unread
        self.unread = self._small = 0
        return ready

    def giveBack(self, chunks: Sequence[bytes]) -> None:
        """
        Put data that the application did not take back in front of all other data. Small pieces are joined, because
        each call moves all pieces, and an application may take one piece at a time.
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
        Discard all data in order, because the application reads no more.
        """
        self.ready = _EMPTY
        self.unread = self._small = 0

    # Acknowledgments

    def _acknowledgeLater(self, now: float, timeout: float) -> None:
        """
        Decide when to acknowledge data in order (RFC 9293 section 3.8.6.3, with the timing of Linux).
        """
        gap = now - self._latestAt
        if gap > timeout:
            self._quick = QUICK
            self._delay = MIN_DELAY
        elif gap < self._delay:
            self._delay = max(MIN_DELAY, min(self._delay / 2 + gap, MAX_DELAY))
        if self.next - self.acknowledged > self.largest or (self._quick and not self._isInteractive):
            self.acknowledgeAt = 0
        elif self.acknowledgeAt == inf:
            self.acknowledgeAt = now + min(self._delay, timeout)

    def applicationAnswered(self) -> None:
        """
        Note that the application has answered received data. Its next answer may carry an acknowledgment, so the
        acknowledgment of the next data is delayed.
        """
        self._isInteractive = True

    def delayExpired(self) -> None:
        """
        Send a delayed acknowledgment now, because no data was sent that could have carried it.
        """
        if self._isInteractive:
            self._isInteractive = False
            self._delay = MIN_DELAY
        else:
            self._delay = min(2 * self._delay, MAX_DELAY)
        self.acknowledgeAt = 0

    def advertised(self) -> int:
        """
        Note that a segment acknowledges all received data. Return the window field to send in it, scaled.
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
        Return the ranges for SACK blocks: first the duplicate, then the latest ranges.

        @param most: the number of blocks that fit.
        """
        if self.duplicate is not None:
            return self.duplicate, *self._reported[: most - 1]
        return self._reported[:most]

    # The window

    def window(self) -> int:
        """
        Compute the window field to send, scaled. The right edge of the window never moves back. It moves forward by at
        least a segment or half of the buffer (RFC 9293 section 3.8.6.2.2).
        """
        room, most, step = self.buffer - self.unread, 0xFFFF << self.scale, self.largest
        edge = self.next + (room if room < most else most)
        if edge - self.edge >= (step if step * 2 < self.buffer else self.buffer // 2) and not (
            self.pool.isFull and (self.unread or self.isPaused)
        ):
            self.edge = edge
        # Round down to units of the scale, because the edge would move on without end if it were rounded up. Data
        # between the rounded edge and this one is still accepted.
        return (self.edge - self.next) >> self.scale

    def needsWindowUpdate(self) -> bool:
        """
        Return whether a window update would at least double the window, and add two segments or half of the buffer.
        """
        if self.pool.isFull and (self.unread or self.isPaused):
            return False
        opened = self.next + self.buffer - self.unread - self.edge
        step, half = 2 * self.largest, self.buffer // 2
        return opened >= self.edge - self.next and opened >= (step if step < half else half)

    def tune(self, roundTrip: float, now: float) -> None:
        """
        Grow the buffer to twice the data that the application reads in a round trip, so that it does not limit the
        peer.

        @param roundTrip: the sender's round-trip time in seconds, which is used if the peer's data has no timestamps.
        """
        if self.sample:
            # A sample is too long if the peer sends its data late after our acknowledgment, so smaller samples win.
            sample, self.sample = self.sample, 0.0
            known = self._roundTrip
            self._roundTrip = sample if not known or sample < known else known + (sample - known) / 8
        if now - self._since < (self._roundTrip or roundTrip):
            return
        if self.buffer < self._maxBuffer and self._readSince * 2 > self.buffer:
            self.buffer = min(self._maxBuffer, 2 * self._readSince + 16 * self.largest)
        self._since, self._readSince = now, 0
