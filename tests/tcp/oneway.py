"""
A connection that sends in one direction, for the tests of the sending half.
"""

from __future__ import annotations

from typing import Any

from tests.tcp.pair import Pair, Segment
from txtuntap.tcp.congestion import NewReno
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.sender import Sender

#: The octets of data in a segment, with timestamps and without.
SIZE = 1448
LARGE = 1460

PLAIN = Parameters(timestamps=False)
RENO = Parameters(congestion=NewReno)


class OneWay:
    """
    A L{Pair} whose first end sends data, and whose second end reads it.

    @ivar begun: when data was written first, in seconds.
    """

    def __init__(self, segments: float, size: int = SIZE, delay: float = 0.05, **options: Any) -> None:
        """
        @param segments: the number of segments to write at once. 0: none.
        @param options: the arguments of the L{Pair}.
        """
        self.size = size
        self.pair = Pair(delay, **options)
        self.pair.open()
        self.pair.run(0.2)
        self.connection: Connection = self.pair.ends[0]
        self.sender: Sender = self.connection.sender
        self.begun = self.pair.now
        self.first = len(self.pair.wires[0].sent)
        self.written = 0
        if segments:
            self.write(segments)

    def write(self, segments: float) -> None:
        octets = int(segments * self.size)
        self.written += octets
        self.pair.write(0, bytes(octets))

    def number(self, segment: Segment) -> float:
        """
        Return the number of a segment in the stream. The first one has the number 0.
        """
        place = (segment.sequence - self.pair.initial[0] - 1 & 0xFFFFFFFF) / self.size
        return int(place) if place == int(place) else place

    def lose(self, *numbers: int) -> None:
        """
        Lose some segments when they are sent first.

        @param numbers: the numbers of the segments in the stream.
        """
        left = set(numbers)

        def drop(end: int, index: int, segment: Segment) -> bool:
            number = self.number(segment)
            if end or not segment.data or number not in left:
                return False
            left.remove(int(number))
            return True

        self.pair.drop = drop

    def sent(self, since: float = 0.0, until: float = 1e9) -> list[float]:
        """
        Return the numbers of the segments that were sent in a span of time after data was written.
        """
        return [
            self.number(each)
            for each in self.pair.data(0, self.first)
            if since - 1e-9 <= each.at - self.begun < until - 1e-9
        ]

    def times(self, number: float) -> list[float]:
        """
        Return the times at which a segment was sent, in seconds after data was written.
        """
        return [round(each.at - self.begun, 3) for each in self.pair.data(0, self.first) if self.number(each) == number]

    def finish(self, seconds: float = 100.0) -> None:
        """
        Run until all data is acknowledged.
        """
        self.pair.run(seconds, lambda: self.sender.acknowledged > self.written)
        assert len(self.pair.text(1)) == self.written, "not all has arrived"
