"""
The scoreboard of sent data: which segments are in flight, SACKed or lost. Read RFC 6675 and RFC 8985 section 6 first.

One record stands for one write, which may be a superpacket of many segments. A SACK block that covers only a part of a
record splits it at the edge of a segment. So a peer cannot cause more records than there are segments, and no more than
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

#: The most records of one connection. At the bound, no new data is sent, and a record is not split any more.
MAX_RECORDS = 4096

#: The greatest rounding error of a computed time, in seconds. It is added to deadlines, so that none is too early.
_ROUNDING = 1e-6

#: The shared empty deque of connections without retransmissions, because each deque takes 760 octets.
_NONE: Final[deque[tuple[int, Sent]]] = deque()

_start = attrgetter("start")
_order = itemgetter(0)


class Scoreboard:
    """
    The scoreboard of one connection. Sizes are in octets, times in seconds.

    @ivar records: the records in the order of positions, without the cumulatively acknowledged ones.
    @ivar flight: the octets in flight, which are neither SACKed nor marked lost.
    @ivar lost: the octets that are marked lost and not retransmitted yet.
    @ivar sacked: the octets that are SACKed.
    @ivar largest: the octets of data in the largest full segment that was delivered. The sender resets this number to 0
        when timeouts make it use smaller segments.
    @ivar originalBefore: the next position to send at the last timeout.

    The other attributes describe the latest acknowledgment. It delivers the octets that no earlier one has acknowledged
    or SACKed.

    @ivar delivered: the number of octets that the acknowledgment delivers.
    @ivar sampleAt: the send time of the latest delivered record that was sent once. C{None}: there is none.
    @ivar repeatedAt: the send time of the latest delivered record that was retransmitted. C{None}: there is none.
    @ivar original: whether the acknowledgment delivers data before C{originalBefore} that was sent once.
    """

    __slots__ = (
        "_firstFresh",
        "_firstLost",
        "_highest",
        "_highestBefore",
        "_latestEnd",
        "_latestOrder",
        "_now",
        "_order",
        "_retransmitted",
        "_roundTrip",
        "delivered",
        "flight",
        "greatestDelay",
        "largest",
        "lost",
        "original",
        "originalBefore",
        "records",
        "reordered",
        "repeatedAt",
        "sacked",
        "sampleAt",
    )

    def __init__(self) -> None:
        self.records: list[Sent] = []
        self.flight = 0
        self.lost = 0
        self.sacked = 0
        self.largest = 0
        self.delivered = 0
        self.sampleAt: float | None = None
        self.repeatedAt: float | None = None
        self.original = False
        self.originalBefore = 0
        #: Whether the path reorders segments.
        self.reordered = False
        #: The greatest delay of a segment that was marked lost too early, in seconds.
        self.greatestDelay = 0.0
        # The delivered record that was sent last (RACK.xmit_ts, RACK.end_seq), its round-trip time, and the highest
        # position delivered (RACK.fack).
        self._latestOrder = 0
        self._latestEnd = 0
        self._roundTrip = 0.0
        self._highest = 0
        # RACK.fack before the latest acknowledgment.
        self._highestBefore = 0
        # The number of writes so far, retransmissions included.
        self._order = 0
        self._now = 0.0
        # The positions at which searches begin, and the retransmitted records in the order of their retransmissions. No
        # record before _firstLost is lost. All records in flight before _firstFresh were retransmitted.
        self._firstLost = 0
        self._firstFresh = 0
        self._retransmitted: deque[tuple[int, Sent]] = _NONE

    @property
    def repeated(self) -> int:
        """
        The number of segments in flight that were retransmitted.
        """
        again = (each for each in self.records if each.times > 1 and not each.sacked and not each.lost)
        return sum(-(-(each.end - each.start) // each.size) for each in again)

    def begin(self, now: float) -> None:
        """
        Reset the attributes that describe an acknowledgment, before the next one.
        """
        self._now = now
        self._highestBefore = self._highest
        self.delivered = 0
        self.sampleAt = self.repeatedAt = None
        self.original = False

    def sent(self, start: int, end: int, size: int, now: float) -> None:
        """
        Add a record of new data that is sent now.
        """
        self._order += 1
        self.records.append(Sent(start, end, size, now, self._order))
        self.flight += end - start

    def sentAgain(self, record: Sent, size: int, now: float) -> None:
        """
        Note the retransmission of a record.

        @param size: the octets in one segment of the retransmission.
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
        again, oldest = self._retransmittedRecords(), self.records[0].start
        # Without SACK, no other method removes the records that were delivered or retransmitted again.
        while again and (again[0][1].order != again[0][0] or again[0][1].end <= oldest):
            again.popleft()
        again.append((self._order, record))

    def _retransmittedRecords(self) -> deque[tuple[int, Sent]]:
        """
        Return the retransmitted records, as a deque to add to.
        """
        if self._retransmitted is _NONE:
            self._retransmitted = deque()
        return self._retransmitted

    def acknowledged(self, position: int, trusted: float) -> None:
        """
        Process a cumulative acknowledgment.

        @param position: the acknowledged position.
        @param trusted: the time after which a retransmission is too recent for the acknowledgment to answer it.
        """
        records = self.records
        count = octets = 0
        first: Sent | None = None
        highest = self._highest
        for record in records:
            if record.times == 1 and highest < record.end <= position and not record.sacked and not record.lost:
                # For records that were sent once and are in order, only the first and the last matter to RACK.
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
                    if not record.sacked:
                        self._updateRACK(record, before, position, trusted)
                break
            count += 1
            self._account(record, record.end - record.start)
            if not record.sacked:
                self._updateRACK(record, record.start, record.end, trusted)
        if first is not None:
            self.delivered += octets
            self.flight -= octets
            self._updateRACK(first, first.start, first.end, trusted)
            if last is not first:
                self._updateRACK(last, last.start, last.end, trusted)
        if count:
            del records[:count]

    def _account(self, record: Sent, length: int) -> None:
        """
        Remove octets of a record from the counts, and count them as delivered unless they were SACKed before.
        """
        if record.sacked:
            self.sacked -= length
        else:
            self.delivered += length
            if record.lost:
                self.lost -= length
            else:
                self.flight -= length

    def _updateRACK(self, record: Sent, start: int, end: int, trusted: float) -> None:
        """
        Update RACK's state by a part of a record that was delivered (RFC 8985 section 6.2, steps 1 to 3).

        @param trusted: see L{acknowledged}.
        """
        at = record.at
        if record.times == 1:
            if end <= self.originalBefore:
                self.original = True
            # A position counts as reordered only if it is below the highest one before this acknowledgment.
            if end < self._highestBefore:
                self.reordered = True
                if record.lost:
                    self.markedTooEarly(at)
            if self.sampleAt is None or at > self.sampleAt:
                self.sampleAt = at
        else:
            if self.repeatedAt is None or at > self.repeatedAt:
                self.repeatedAt = at
            if at > trusted:
                return
        if record.size > self.largest and end - start >= record.size:
            self.largest = record.size
        if end > self._highest:
            self._highest = end
        order = record.order
        if order > self._latestOrder or (order == self._latestOrder and end > self._latestEnd):
            self._latestOrder, self._latestEnd = order, end
            self._roundTrip = self._now - at

    def markedTooEarly(self, at: float) -> None:
        """
        Note the delay of a record that was marked lost too early, because the reordering window was too short.

        @param at: when the record was sent first, in seconds.
        """
        self.greatestDelay = max(self.greatestDelay, self._now - at - self._roundTrip)

    def sacksReceived(self, blocks: Iterable[tuple[int, int]], trusted: float) -> None:
        """
        Process the SACK blocks of an acknowledgment. The caller has removed invalid ones.
        """
        for start, end in blocks:
            self._sackReceived(start, end, trusted)

    def _sackReceived(self, start: int, end: int, trusted: float) -> None:
        records = self.records
        index = bisect_right(records, start, key=_start) - 1
        index = max(index, 0)
        while index < len(records):
            record = records[index]
            if record.start >= end:
                break
            if record.end <= start or record.sacked:
                index += 1
                continue
            # A block counts for whole segments only, because only those arrive.
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
            self._updateRACK(record, first, last, trusted)
            record.sacked, record.lost = True, False
            self.sacked += last - first
            index = self._merged(index) + 1

    def _merged(self, index: int) -> int:
        """
        Join a SACKed record with SACKed neighbours. Return the index of the joined record.
        """
        records = self.records
        record = records[index]
        if index + 1 < len(records) and records[index + 1].sacked:
            record.end = records[index + 1].end
            del records[index + 1]
        if index and records[index - 1].sacked:
            records[index - 1].end = record.end
            del records[index]
            return index - 1
        return index

    def _split(self, index: int, position: int) -> Sent:
        """
        Split the record at an index into two. Return the second one.

        @param position: where the second record begins.
        """
        record = self.records[index]
        other = record.split(position)
        self.records.insert(index + 1, other)
        if record.times > 1 and not record.lost:
            again = self._retransmittedRecords()
            again.insert(bisect_right(again, record.order, key=_order), (record.order, other))
        return other

    def detectLosses(self, patience: float, now: float) -> float:
        """
        Mark records as lost that were sent before a delivered record, and are later than the reordering window allows
        (RFC 8985 section 6.2, step 5).

        @param patience: the reordering window, in seconds.

        @return: the seconds until the next record may be late. Infinity: no record can become late.
        """
        records = self.records
        if not records:
            return inf
        wait = inf
        latest, latestEnd = self._latestOrder, self._latestEnd
        limit = now - self._roundTrip - patience + _ROUNDING
        # First the retransmitted records, in the order of their times.
        again, oldest = self._retransmitted, records[0].start
        while again:
            order, record = again[0]
            if record.order == order and not record.sacked and not record.lost and record.end > oldest:
                if order > latest or (order == latest and record.end > latestEnd):
                    break
                if record.at > limit:
                    wait = record.at - limit
                    break
                self._markLost(record)
            again.popleft()
        # Then the records that were sent once. The order of their positions is that of their times.
        for index in range(bisect_left(records, self._firstFresh, key=_start), len(records)):
            record = records[index]
            if record.sacked or record.lost or record.times > 1:
                continue
            isLate = record.order < latest or (record.order == latest and record.end <= latestEnd)
            if not isLate or record.at > limit:
                self._firstFresh = record.start
                if isLate:
                    wait = min(wait, record.at - limit)
                break
            self._markLost(record)
        else:
            self._firstFresh = records[-1].end
        return wait + _ROUNDING

    def _markLost(self, record: Sent) -> int:
        length = record.end - record.start
        record.lost = True
        if record.start < self._firstLost:
            self._firstLost = record.start
        self.lost += length
        self.flight -= length
        return length

    def markFirstLost(self, octets: int) -> int:
        """
        Mark the first segment as lost. Return the number of octets in it, or 0 if it was marked or SACKed before.

        @param octets: the octets in one segment.
        """
        if not self.records:
            return 0
        record = self.records[0]
        if record.sacked or record.lost:
            return 0
        if record.end - record.start > octets:
            self._split(0, record.start + octets)
        return self._markLost(record)

    def markLargerLost(self, size: int) -> bool:
        """
        Mark records as lost whose segments are larger than a size, because the path drops those. Return whether there
        are any.

        @param size: the octets in one segment.
        """
        lost = self.lost
        for record in self.records:
            if min(record.size, record.end - record.start) > size and not record.sacked and not record.lost:
                self._markLost(record)
        return self.lost > lost

    def markAllLost(self) -> None:
        """
        Mark all records as lost that are not SACKed.
        """
        for record in self.records:
            if not record.sacked and not record.lost:
                self._markLost(record)
        self._retransmitted = _NONE

    def markSackedLost(self) -> None:
        """
        Mark all SACKed records as lost, because the peer may have discarded them (RFC 2018 section 8).
        """
        for record in self.records:
            if record.sacked:
                record.sacked, record.lost = False, True
                self.lost += record.end - record.start
        self.sacked = 0
        self._firstLost = 0

    def nextLost(self, octets: int, end: int) -> Sent:
        """
        Return the first lost data as one record. Some data must be lost.

        @param octets: the most octets. A FIN behind them is added.
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
        Return the last segment as a record of its own. Some data must be unacknowledged.

        @param size: the most octets in one segment.
        @param end: the position of the FIN, which is in the same segment as the octet before it.
        """
        record = self.records[-1]
        length = min(record.end, end) - record.start
        if length > size:
            # All segments before the last one are full.
            record = self._split(len(self.records) - 1, record.start + (length - 1) // size * size)
        return record

    @property
    def firstLost(self) -> int:
        """
        The position of the first lost octet. Some data must be lost.
        """
        records = self.records
        index = bisect_left(records, self._firstLost, key=_start)
        while not records[index].lost:
            index += 1
        self._firstLost = records[index].start
        return self._firstLost

    def unmarkAll(self) -> None:
        """
        Count all lost records as in flight again, because the marks were wrong.
        """
        again = self._retransmittedRecords()
        for record in self.records:
            if record.lost:
                record.lost = False
                if record.times > 1:
                    again.append((record.order, record))
        self._retransmitted = deque(sorted(again, key=_order))
        self._firstFresh = 0
        self.flight += self.lost
        self.lost = 0
