"""
Two connection objects without a network. Each segment of one is delivered to the other after a delay, or is lost.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from typing import Any

import attrs
from zope.interface import implementer

from txtuntap.layer.counters import SegmentCounters
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.handshake import Agreement, Parameters, agree, answerOptions
from txtuntap.tcp.interfaces import IWire
from txtuntap.tcp.receiver import MAX_GAPS
from txtuntap.tcp.recovery import Phase
from txtuntap.tcp.state import End, State
from txtuntap.wire.tcp import ACK, CWR, ECE, FIN, HEADER, HEADER_LENGTH, PSH, RST, SYN, Options, parseOptions

#: The number of calls at one time that means that the connections never come to rest.
_MOST_AT_ONCE = 100_000


@attrs.define
class Segment:
    """
    A segment on the link.

    @ivar at: when it was sent, in seconds.
    @ivar burst: the number of the write that it was a part of.
    """

    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: bytes
    data: bytes
    isMarkable: bool = False
    isMarked: bool = False
    at: float = 0.0
    burst: int = 0

    @property
    def packed(self) -> bytes:
        """
        The octets of the segment, without ports and checksum.
        """
        size = HEADER_LENGTH + len(self.options)
        word = size << 10 | self.flags
        return HEADER.pack(1, 2, self.sequence, self.acknowledgment, word, self.window, 0, 0) + self.options + self.data

    def cut(self, at: int) -> tuple[Segment, Segment]:
        """
        Split this segment into two, as a middlebox does.

        @param at: the octets of data in the first one.
        """
        first = attrs.evolve(self, data=self.data[:at], flags=self.flags & ~(FIN | PSH))
        rest = attrs.evolve(
            self, data=self.data[at:], sequence=self.sequence + at & 0xFFFFFFFF, flags=self.flags & ~CWR
        )
        return first, rest


@implementer(IWire)
class Wire:
    """
    The wire of one end. It hands segments to the L{Pair}.

    @ivar hole: the most octets of a packet that is delivered, TCP header included. A larger one is dropped without an
        error.
    """

    def __init__(self, pair: Pair, number: int, mtu: int, cuts: bool) -> None:
        self._pair = pair
        self._number = number
        self.room = self.link = mtu - 20
        self.hole = mtu
        self.cuts = cuts
        self.counters = SegmentCounters()
        self.sent: list[Segment] = []
        self.writes = 0

    def transmit(
        self,
        sequence: int,
        acknowledgment: int,
        flags: int,
        window: int,
        options: bytes,
        buffers: Sequence[bytes | memoryview],
        length: int,
        size: int,
        isMarkable: bool,
    ) -> None:
        """
        Cut a superpacket into segments, check each, and send them. See L{IWire.transmit}.
        """
        data = b"".join(buffers)
        assert len(data) == length
        assert 0 <= window <= 0xFFFF
        assert not size or (self.cuts and length > size)
        pair = self._pair
        step = size or max(length, 1)
        self.writes += 1
        for at in range(0, max(length, 1), step):
            piece = data[at : at + step]
            assert len(piece) + HEADER_LENGTH + len(options) <= self.room, "a segment is larger than the path takes"
            said = flags if at + step >= length else flags & ~(FIN | PSH)
            if at:
                said &= ~CWR
            segment = Segment(
                sequence + at & 0xFFFFFFFF,
                acknowledgment,
                said,
                window,
                options,
                piece,
                isMarkable,
                False,
                pair.now,
                self.writes,
            )
            if pair.keeps:
                self.sent.append(segment)
            if len(piece) + HEADER_LENGTH + len(options) <= self.hole:
                pair.leave(self._number, segment)


@attrs.define
class EndClock:
    """
    The steady clock of one end. It may be faster or slower than the true time, and jumps forward when its machine was
    suspended.

    @ivar ahead: the seconds by which it is ahead of the true time.
    @ivar rate: the seconds by which it advances in a true second.
    """

    ahead: float = 0.0
    rate: float = 1.0
    _latest: float = -inf

    def at(self, now: float) -> float:
        """
        Return the time of this clock at a true time.
        """
        self._latest = max(self._latest, self.ahead + now * self.rate)
        return self._latest

    def reach(self, seconds: float) -> None:
        """
        Advance this clock to a time at least, so that a call that is due then is not early.
        """
        self._latest = max(self._latest, seconds)

    def when(self, seconds: float) -> float:
        """
        Return the true time at which this clock shows a time.
        """
        return (seconds - self.ahead) / self.rate


class Pair:
    """
    Two ends with their connections, the link between them, and the true time.

    The functions C{drop}, C{latency}, C{mark} and C{onto} are called for each segment, with the number of the sending
    end, the number of the segment, and the segment.

    @ivar clocks: for each end, its own clock.
    @ivar ends: both connections. The second one exists after the handshake.
    @ivar received: for each end, the data that its application has read.
    @ivar reads: for each end, whether its application reads.
    @ivar drop: returns whether the segment is lost.
    @ivar latency: returns the seconds that the segment takes.
    @ivar mark: returns whether a router marks the segment instead of dropping it.
    @ivar onto: returns the segments that arrive in place of this one, each with the seconds that it takes. L{None}: the
        segment itself arrives.
    @ivar keeps: whether to remember all segments in C{wires[...].sent}.
    @ivar checks: whether to check the invariants of both connections after each call.
    """

    def __init__(
        self,
        delay: float = 0.01,
        mtu: int = 1500,
        first: Parameters | None = None,
        second: Parameters | None = None,
        initial: tuple[int, int] = (0xFFFFFF00, 0xFFFFFFF0),
        rate: float | None = None,
        queue: int = 10**9,
        cuts: bool = True,
    ) -> None:
        self.now = 1000.0
        self.delay = delay
        self.rate = rate
        self.queue = queue
        self._busyUntil = [0.0, 0.0]
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.parameters = first or Parameters(), second or Parameters()
        self.wires = Wire(self, 0, mtu, cuts), Wire(self, 1, mtu, cuts)
        self.initial = initial
        self.ends: list[Any] = [Connection(self.wires[0], 4, self.parameters[0], initial[0], 12345), None]
        self.received: list[list[bytes]] = [[], []]
        self.drop: Callable[[int, int, Segment], bool] = lambda *_: False
        self.latency: Callable[[int, int, Segment], float] = lambda *_: self.delay
        self.mark: Callable[[int, int, Segment], bool] = lambda *_: False
        self.onto: Callable[[int, int, Segment], list[tuple[float, Segment]]] | None = None
        self.reads = [True, True]
        self.clocks = EndClock(), EndClock()
        self.keeps = True
        self.checks = True
        self.calls = 0
        self._counts = [0, 0]
        self._edges = [0, 0]
        self.lost = 0
        self._agreement: Agreement | None = None
        self._options = Options()
        self._peerInitial = 0
        self._answeredAt = 0.0

    # The link

    def leave(self, number: int, segment: Segment) -> None:
        index = self._counts[number]
        self._counts[number] += 1
        if self.drop(number, index, segment):
            self.lost += 1
            return
        start = self.now
        if self.rate is not None:
            start = max(self.now, self._busyUntil[number])
            octets = HEADER_LENGTH + len(segment.options) + len(segment.data) + 20
            if (start - self.now) * self.rate > self.queue:
                self.lost += 1
                return
            start += octets / self.rate
            self._busyUntil[number] = start
        if segment.isMarkable and self.mark(number, index, segment):
            segment.isMarked = True
        if self.onto is None:
            arrivals = [(self.latency(number, index, segment), segment)]
        else:
            arrivals = self.onto(number, index, segment)
        for after, each in arrivals:
            self.at(start + after, lambda each=each: self.arrive(1 - number, each))  # type: ignore[misc]

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self._numbers), call))

    def arrive(self, number: int, segment: Segment) -> None:
        connection = self.ends[number]
        if connection is None:
            if segment.flags & SYN and not segment.flags & ACK:
                self._request(segment)
                return
            if segment.acknowledgment != self.initial[1] + 1 & 0xFFFFFFFF or segment.flags & RST:
                return
            if self._agreement is None:
                return
            connection = self.ends[1] = Connection(self.wires[1], 4, self.parameters[1], self.initial[1], 54321)
            connection.accepted(
                self._agreement,
                self._options,
                self._peerInitial,
                self._options.timestamp or 0,
                self.time(1) - self._answeredAt,
                self.time(1),
            )
        if segment.flags & RST and connection.state is State.TIME_WAIT:
            return
        if connection.ended is not None:
            if not segment.flags & RST:
                self.wires[number].transmit(segment.acknowledgment, 0, RST, 0, b"", (), 0, 0, False)
            return
        data = segment.packed
        sequence, acknowledgment, word, window = HEADER.unpack_from(data)[2:6]
        connection.segmentReceived(
            data, 0, len(data), sequence, acknowledgment, word, window, segment.isMarked, self.time(number)
        )
        self.after(number)

    def _request(self, segment: Segment) -> None:
        """
        Answer a SYN as a listening host does.
        """
        data = segment.packed
        self._options = parseOptions(data, 20, 20 + len(segment.options))
        agreement = self._agreement = agree(self.parameters[1], self._options, segment.flags, 4)
        self._peerInitial = segment.sequence
        self._answeredAt = self.time(1)
        stamp = int(self._answeredAt * 1000) + 54321 & 0xFFFFFFFF
        mss = self.wires[1].link - HEADER_LENGTH
        options = answerOptions(agreement, self._options, mss, stamp, agreement.ownScale)
        flags = SYN | ACK | (ECE if agreement.ecn else 0)
        window = min(65535, self.parameters[1].receiveBuffer)
        self.wires[1].transmit(
            self.initial[1], segment.sequence + 1 & 0xFFFFFFFF, flags, window, options, (), 0, 0, False
        )

    # The ends

    def time(self, number: int) -> float:
        """
        Return the time by the clock of an end.
        """
        return self.clocks[number].at(self.now)

    def suspend(self, number: int, seconds: float) -> None:
        """
        Suspend the machine of an end. Its clock has advanced when it wakes up.
        """
        self.clocks[number].ahead += seconds

    def after(self, number: int) -> None:
        """
        Do what the owner of a connection does after each call.
        """
        connection = self.ends[number]
        if self.reads[number]:
            self.read(number)
        if not self.wires[number].cuts:
            connection.sender.superpacket = 0
        connection.flush(self.time(number))
        if self.checks:
            self.check(number)

    def read(self, number: int) -> None:
        """
        Read all received data as the application of an end.
        """
        connection = self.ends[number]
        receiver = connection.receiver
        if receiver.unread:
            self.received[number] += receiver.take()
            if receiver.needsWindowUpdate():
                receiver.acknowledgeAt = 0
            receiver.tune(connection.sender.roundTrip.smoothed, self.time(number))

    def check(self, number: int) -> None:
        """
        Assert the invariants of the connection at an end.
        """
        connection = self.ends[number]
        self._checkSender(connection)
        self._checkReceiver(number, connection)

    def _checkSender(self, connection: Connection) -> None:
        sender = connection.sender
        board = sender.board
        position = sender.acknowledged
        flight = lost = arrived = 0
        wasArrived = False
        for record in board.records:
            assert record.start == position, board.records
            assert record.end > record.start
            assert record.size > 0
            assert not (record.sacked and record.lost)
            assert not (record.sacked and wasArrived), "two SACKed records side by side are not joined"
            wasArrived = record.sacked
            position = record.end
            length = record.end - record.start
            if record.sacked:
                arrived += length
            elif record.lost:
                lost += length
            else:
                flight += length
        assert position == sender.next or not board.records
        assert (flight, lost, arrived) == (board.flight, board.lost, board.sacked)
        assert sender.acknowledged <= sender.next <= sender.end
        if connection.ended is None and connection.state not in (State.SYN_SENT, State.SYN_RECEIVED, State.TIME_WAIT):
            if sender.next > sender.acknowledged:
                assert sender.retransmitAt < inf, "data is unacknowledged, and no timer is armed"
            elif sender.next < sender.end:
                assert connection.deadline < inf, "data waits, and no timer is armed"
            if sender.phase is Phase.OPEN:
                assert not board.lost or sender.resumeAt < inf or sender.window <= 0, (
                    "data is lost, and no recovery has begun"
                )
        if lost:
            first = next(record for record in board.records if record.lost)
            assert board.firstLost == first.start

    def _checkReceiver(self, number: int, connection: Connection) -> None:
        receiver = connection.receiver
        assert receiver.edge >= self._edges[number], "the window has shrunk"
        self._edges[number] = receiver.edge
        assert receiver.unread == sum(map(len, receiver.ready))
        assert receiver.queued <= 2 * receiver.buffer
        assert len(receiver.ranges) <= MAX_GAPS
        behind = receiver.next
        for start, end in receiver.ranges:
            assert behind < start < end, "ranges touch"
            behind = end

    def run(self, seconds: float = 60.0, until: Callable[[], bool] = lambda: False) -> None:
        """
        Advance the true time, and run all calls that are due.

        @param until: returns whether to end earlier.
        """
        end = self.now + seconds
        atOnce = 0
        while not until():
            due, who = self.events[0][0] if self.events else inf, -1
            for number, connection in enumerate(self.ends):
                if connection is None or connection.ended is not None:
                    continue
                deadline = self.clocks[number].when(connection.deadline)
                if deadline < due:
                    due, who = deadline, number
            if due > end:
                self.now = end
                break
            atOnce = atOnce + 1 if due <= self.now else 0
            assert atOnce < _MOST_AT_ONCE, "the connections never come to rest"
            self.now = max(self.now, due)
            self.calls += 1
            if who >= 0:
                self.clocks[who].reach(self.ends[who].deadline)
                self.ends[who].timeout(self.time(who))
                self.after(who)
            else:
                heapq.heappop(self.events)[2]()

    # Actions of a test

    def open(self) -> None:
        self.ends[0].connect(self.time(0))
        self.run(60, lambda: self.ends[1] is not None)

    def write(self, number: int, data: bytes) -> None:
        self.ends[number].write(data)
        self.after(number)

    def shutdown(self, number: int) -> None:
        self.ends[number].shutdown()
        self.after(number)

    def text(self, number: int) -> bytes:
        return b"".join(self.received[number])

    def data(self, number: int, since: int = 0) -> list[Segment]:
        """
        Return the segments with data that an end has sent.
        """
        return [segment for segment in self.wires[number].sent[since:] if segment.data]


__all__ = ["RST", "End", "Pair", "Segment", "State"]
