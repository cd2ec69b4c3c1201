"""
The scoreboard: what is under way, what of it has arrived, and what is lost (RFC 2018, RFC 6675, RFC 8985).

One record stands for one write, which may be a superpacket of many segments. It is split where only a part of it has
arrived, at the edges of segments, so a peer cannot have more records made than there are segments; and no more than
L{MAX_RECORDS}.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from math import inf
from operator import attrgetter, itemgetter
from typing import Final

from txtuntap.tcp.sent import Sent

#: The most records of one connection: beyond, nothing new is sent, and a part of a record that has arrived counts as
#: under way.
MAX_RECORDS = 4096

#: Seconds by which a time may be off after it was computed, so that a timer never runs out too early for its cause.
_ROUNDING = 1e-6

#: No records that were sent again: what most connections have, since a deque takes 760 octets.
_NONE: Final[deque[tuple[int, Sent]]] = deque()

_start = attrgetter("start")
_order = itemgetter(0)


class Scoreboard:
    """
    The records of one connection, by position, and what the latest acknowledgment said of them.

    @ivar records: the records, none of them acknowledged cumulatively.
    @ivar flight: octets under way: neither arrived nor lost, as far as is known.
    @ivar lost: octets that are lost, and have not been sent again.
    @ivar arrived: octets that have arrived out of order.
    @ivar largest: octets of the largest whole segment that was delivered.

    What the latest acknowledgment said:

    @ivar delivered: octets that it is the first to report.
    @ivar sampleAt: when the latest of what it delivers was sent that was sent once; L{None} if there is none.
    @ivar repeatedAt: when the latest of what it delivers was sent that was sent again; L{None} if there is none.
    @ivar original: whether it delivers something before C{originalBefore} that was sent once only.
    """

    __slots__ = (
        "_again",
        "_firstFresh",
        "_firstLost",
        "_forwardBefore",
        "_forwardmost",
        "_latestEnd",
        "_latestOrder",
        "_now",
        "_order",
        "_roundTrip",
        "arrived",
        "delivered",
        "flight",
        "largest",
        "lateness",
        "lost",
        "original",
        "originalBefore",
        "records",
        "reordered",
        "repeatedAt",
        "sampleAt",
    )

    def __init__(self) -> None:
        self.records: list[Sent] = []
        self.flight = 0
        self.lost = 0
        self.arrived = 0
        self.largest = 0
        self.delivered = 0
        self.sampleAt: float | None = None
        self.repeatedAt: float | None = None
        self.original = False
        self.originalBefore = 0
        #: Whether the path was seen to reorder segments; and by how many seconds one came late that was taken for lost.
        self.reordered = False
        self.lateness = 0.0
        # The record that was sent last of those delivered (RACK.xmit_ts, RACK.end_seq), its round-trip time, and the
        # highest position delivered (RACK.fack).
        self._latestOrder = 0
        self._latestEnd = 0
        self._roundTrip = 0.0
        self._forwardmost = 0
        # The latter before the latest acknowledgment.
        self._forwardBefore = 0
        # How many records were sent.
        self._order = 0
        self._now = 0.0
        # Where to look, so that no search begins at the front: no record before these positions is lost; none is under
        # way that was sent once. Records that were sent again stand in the order in which they were.
        self._firstLost = 0
        self._firstFresh = 0
        self._again: deque[tuple[int, Sent]] = _NONE

    @property
    def repeated(self) -> int:
        """
        The segments under way that were sent more than once.
        """
        again = (each for each in self.records if each.times > 1 and not each.arrived and not each.lost)
        return sum(-(-(each.end - each.start) // each.size) for each in again)

    def begin(self, now: float) -> None:
        """
        An acknowledgment is about to be looked at.
        """
        self._now = now
        self._forwardBefore = self._forwardmost
        self.delivered = 0
        self.sampleAt = self.repeatedAt = None
        self.original = False

    def sent(self, start: int, end: int, size: int, now: float) -> None:
        """
        New octets were sent.
        """
        self._order += 1
        self.records.append(Sent(start, end, size, now, self._order))
        self.flight += end - start

    def sentAgain(self, record: Sent, size: int, now: float) -> None:
        """
        A record that was lost, or is probed for, was sent once more.

        @param size: octets in one segment, this time.
        """
        record.size = size
        if record.lost:
            record.lost = False
            length = record.end - record.start
            self.lost -= length
            self.flight += length
        record.at = now
        record.times += 1
        self._order += 1
        record.order = self._order
        again, oldest = self._repeats(), self.records[0].start
        # Without SACK, nothing else looks at what is over.
        while again and (again[0][1].order != again[0][0] or again[0][1].end <= oldest):
            again.popleft()
        again.append((self._order, record))

    def _repeats(self) -> deque[tuple[int, Sent]]:
        """
        The records that were sent again, to be added to.
        """
        if self._again is _NONE:
            self._again = deque()
        return self._again

    def acknowledged(self, position: int, trusted: float) -> None:
        """
        All octets before a position have arrived.

        @param trusted: what was sent again after this time, in seconds, may be acknowledged for the copy before: that
            tells nothing of time.
        """
        records = self.records
        count = octets = 0
        first: Sent | None = None
        forwardmost = self._forwardmost
        for record in records:
            if record.times == 1 and forwardmost < record.end <= position and not record.arrived and not record.lost:
                # The usual one. Of many such, the first and the last say all.
                count += 1
                octets += record.end - record.start
                if record.size > self.largest and record.end - record.start >= record.size:
                    self.largest = record.size
                first, last = first or record, record
                continue
            if record.end > position:
                if record.start < position:
                    before, length = record.start, position - record.start
                    self._account(record, length)
                    record.start = position
                    if not record.arrived:
                        self._noticed(record, before, position, trusted)
                break
            count += 1
            self._account(record, record.end - record.start)
            if not record.arrived:
                self._noticed(record, record.start, record.end, trusted)
        if first is not None:
            self.delivered += octets
            self.flight -= octets
            self._noticed(first, first.start, first.end, trusted)
            if last is not first:
                self._noticed(last, last.start, last.end, trusted)
        if count:
            del records[:count]

    def _account(self, record: Sent, length: int) -> None:
        """
        Octets of a record are accounted for no more.
        """
        if record.arrived:
            self.arrived -= length
        else:
            self.delivered += length
            if record.lost:
                self.lost -= length
            else:
                self.flight -= length

    def _noticed(self, record: Sent, start: int, end: int, trusted: float) -> None:
        """
        A part of a record has been delivered (RFC 8985 section 6.2, steps 1 to 3).
        """
        at = record.at
        if record.times == 1:
            if end <= self.originalBefore:
                self.original = True
            # Later positions in the same acknowledgment tell nothing, since one between may be lost.
            if end < self._forwardBefore:
                self.reordered = True
                if record.lost:
                    self.late(at)
            if self.sampleAt is None or at > self.sampleAt:
                self.sampleAt = at
        else:
            if self.repeatedAt is None or at > self.repeatedAt:
                self.repeatedAt = at
            if at > trusted:
                return
        if record.size > self.largest and end - start >= record.size:
            self.largest = record.size
        if end > self._forwardmost:
            self._forwardmost = end
        order = record.order
        if order > self._latestOrder or (order == self._latestOrder and end > self._latestEnd):
            self._latestOrder, self._latestEnd = order, end
            self._roundTrip = self._now - at

    def late(self, at: float) -> None:
        """
        Note that a record taken for lost was delivered: only a longer reordering window would have waited for it.

        @param at: when it was sent first, in seconds.
        """
        self.lateness = max(self.lateness, self._now - at - self._roundTrip)

    def arrivedOutOfOrder(self, blocks: Iterable[tuple[int, int]], trusted: float) -> None:
        """
        Ranges of positions have arrived. (Blocks that cannot be have been left out.)
        """
        for start, end in blocks:
            self._arrived(start, end, trusted)

    def _arrived(self, start: int, end: int, trusted: float) -> None:
        records = self.records
        index = bisect_right(records, start, key=_start) - 1
        index = max(index, 0)
        while index < len(records):
            record = records[index]
            if record.start >= end:
                break
            if record.end <= start or record.arrived:
                index += 1
                continue
            # Only whole segments arrive.
            first = record.start
            if start > first:
                first += -((first - start) // record.size) * record.size
            last = record.end
            if end < last:
                last = record.start + (end - record.start) // record.size * record.size
            if first >= last:
                index += 1
                continue
            pieces = (first > record.start) + (last < record.end)
            if pieces and len(records) + pieces > MAX_RECORDS:
                index += 1
                continue
            if first > record.start:
                record = self._split(index, first)
                index += 1
            if last < record.end:
                self._split(index, last)
            self._account(record, last - first)
            self._noticed(record, first, last, trusted)
            record.arrived, record.lost = True, False
            self.arrived += last - first
            index = self._merged(index) + 1

    def _merged(self, index: int) -> int:
        """
        Make one record of one that has arrived and those beside it that have, too.

        @return: its index.
        """
        records = self.records
        record = records[index]
        if index + 1 < len(records) and records[index + 1].arrived:
            record.end = records[index + 1].end
            del records[index + 1]
        if index and records[index - 1].arrived:
            records[index - 1].end = record.end
            del records[index]
            return index - 1
        return index

    def _split(self, index: int, position: int) -> Sent:
        """
        Make two records of one.

        @param index: that of the record.
        @param position: where the second one begins.

        @return: the second one.
        """
        record = self.records[index]
        other = record.split(position)
        self.records.insert(index + 1, other)
        if record.times > 1 and not record.lost:
            again = self._repeats()
            again.insert(bisect_right(again, record.order, key=_order), (record.order, other))
        return other

    def overdue(self, patience: float, now: float) -> float:
        """
        Take for lost what was sent before something that was delivered, and by more than reordering explains
        (RFC 8985 section 6.2, step 5).

        @param patience: how late a segment may be, in seconds (the reordering window).

        @return: the seconds until the next ones may be lost, or infinity.
        """
        records = self.records
        if not records:
            return inf
        wait = inf
        latest, latestEnd = self._latestOrder, self._latestEnd
        limit = now - self._roundTrip - patience + _ROUNDING
        # Records of retransmissions, in the order of their times.
        again, oldest = self._again, records[0].start
        while again:
            order, record = again[0]
            if record.order == order and not record.arrived and not record.lost and record.end > oldest:
                if order > latest or (order == latest and record.end > latestEnd):
                    break
                if record.at > limit:
                    wait = record.at - limit
                    break
                self._lose(record)
            again.popleft()
        # Records sent once, in the order of positions, which is that of their times.
        for index in range(bisect_left(records, self._firstFresh, key=_start), len(records)):
            record = records[index]
            if record.arrived or record.lost or record.times > 1:
                continue
            isLate = record.order < latest or (record.order == latest and record.end <= latestEnd)
            if not isLate or record.at > limit:
                self._firstFresh = record.start
                if isLate:
                    wait = min(wait, record.at - limit)
                break
            self._lose(record)
        else:
            self._firstFresh = records[-1].end
        return wait + _ROUNDING

    def _lose(self, record: Sent) -> int:
        length = record.end - record.start
        record.lost = True
        if record.start < self._firstLost:
            self._firstLost = record.start
        self.lost += length
        self.flight -= length
        return length

    def loseFirst(self, octets: int) -> int:
        """
        Take the first segment for lost.

        @param octets: in one segment.

        @return: how many octets are lost now.
        """
        if not self.records:
            return 0
        record = self.records[0]
        if record.arrived or record.lost:
            return 0
        if record.end - record.start > octets:
            self._split(0, record.start + octets)
        return self._lose(record)

    def loseLarger(self, size: int) -> bool:
        """
        Take for lost what has not arrived and has segments larger than a size, since the path drops them.

        @param size: octets in one segment.

        @return: whether there is any.
        """
        lost = self.lost
        for record in self.records:
            if min(record.size, record.end - record.start) > size and not record.arrived and not record.lost:
                self._lose(record)
        return self.lost > lost

    def loseAll(self) -> None:
        """
        Take for lost all that has not arrived.
        """
        for record in self.records:
            if not record.arrived and not record.lost:
                self._lose(record)
        self._again = _NONE

    def forgetArrived(self) -> None:
        """
        The peer may have thrown away what it had out of order (RFC 2018 section 8).
        """
        for record in self.records:
            if record.arrived:
                record.arrived, record.lost = False, True
                self.lost += record.end - record.start
        self.arrived = 0
        self._firstLost = 0

    def nextLost(self, octets: int, end: int) -> Sent:
        """
        The first of what is lost, in one record; there is some.

        @param octets: at most so many; and a FIN behind them.
        @param end: the position of the FIN.
        """
        records = self.records
        first = bisect_left(records, self._firstLost, key=_start)
        while not records[first].lost:
            first += 1
        record = records[first]
        most = record.start + octets
        behind = first + 1
        while record.end < most and behind < len(records) and records[behind].lost:
            record.end = records[behind].end
            record.times = max(record.times, records[behind].times)
            behind += 1
        del records[first + 1 : behind]
        if record.end > most and (record.end > most + 1 or record.end <= end):
            self._split(first, most)
        self._firstLost = record.end
        return record

    def tail(self, size: int, end: int) -> Sent:
        """
        The last segment, in a record of its own; there is one.

        @param size: octets in one segment, at most.
        @param end: the position of the FIN, which is in the same segment as the octet before it.
        """
        record = self.records[-1]
        length = min(record.end, end) - record.start
        if length > size:
            # The data before the last segment is a multiple of the others' size.
            record = self._split(len(self.records) - 1, record.start + (length - 1) // size * size)
        return record

    @property
    def firstLost(self) -> int:
        """
        The position of the first octet that is lost; there is one.
        """
        records = self.records
        index = bisect_left(records, self._firstLost, key=_start)
        while not records[index].lost:
            index += 1
        self._firstLost = records[index].start
        return self._firstLost

    def forgiveAll(self) -> None:
        """
        Nothing was lost: what was taken for lost is under way.
        """
        again = self._repeats()
        for record in self.records:
            if record.lost:
                record.lost = False
                if record.times > 1:
                    again.append((record.order, record))
        self._again = deque(sorted(again, key=_order))
        self._firstFresh = 0
        self.flight += self.lost
        self.lost = 0
