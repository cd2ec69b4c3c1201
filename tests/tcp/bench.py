"""
A bench for one connection object, whose peer is the test. Segments are written with the letters of their flags, and
with numbers relative to the initial sequence number of each side. Sent segments are returned in the same form.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from txtuntap.layer.counters import SegmentCounters
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.handshake import Agreement, Parameters, agree
from txtuntap.tcp.interfaces import IWire
from txtuntap.wire.tcp import HEADER, HEADER_LENGTH, Options, parseOptions

LETTERS = "FSRPAUEC"

#: The initial sequence numbers of the connection and of its peer. Both wrap soon.
OURS, PEERS = 0xFFFFFFF0, 0xFFFFFF00

_MASK = 0xFFFFFFFF

Segment = tuple[str, int, int, bytes]


@implementer(IWire)
class RecordingWire:
    """
    A wire that records all sent segments. A superpacket is cut into segments, and each has all flags.

    @ivar sent: the flags, sequence number, acknowledgment number (0 without ACK) and data of each segment.
    @ivar options: the options of the last segment.
    @ivar window: the window field of the last segment.
    @ivar isMarkable: whether a router may mark the last segment.
    """

    def __init__(self, room: int = 1480) -> None:
        self.room = self.link = room
        self.cuts = False
        self.counters = SegmentCounters()
        self.sent: list[Segment] = []
        self.options = Options()
        self.window = 0
        self.isMarkable = False

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
        assert 0 <= window <= 0xFFFF
        letters = "".join(letter for bit, letter in enumerate(LETTERS) if flags >> bit & 1)
        acknowledged = _signed(acknowledgment - PEERS) if flags & 16 else 0
        first, data, step = _signed(sequence - OURS), b"".join(buffers), size or max(length, 1)
        for at in range(0, max(length, 1), step):
            self.sent.append((letters, first + at, acknowledged, data[at : at + step]))
        self.options = parseOptions(options, 0, len(options))
        self.window = window
        self.isMarkable = isMarkable


def _signed(number: int) -> int:
    return ((number + 0x80000000) & _MASK) - 0x80000000


class Bench:
    """
    One connection object on a L{RecordingWire}.

    @ivar now: the time in seconds.
    """

    def __init__(self, parameters: Parameters | None = None, version: int = 4, room: int = 1480) -> None:
        self.now = 1000.0
        self.wire = RecordingWire(room)
        self.parameters = parameters or Parameters()
        self.connection = Connection(self.wire, version, self.parameters, OURS, 77)
        self._version = version

    def accept(self, options: Options | None = None, flags: int = 2, window: int = 65535) -> None:
        """
        Establish the connection, as after a SYN of the peer and its acknowledgment of our SYN+ACK.

        @param options: the options of the peer's SYN.
        @param flags: the flags of the peer's SYN.
        """
        options = options or Options(1460)
        agreement = agree(self.parameters, options, flags, self._version)
        self.connection.accepted(agreement, options, PEERS, options.timestamp or 0, 0.1, self.now)
        self.receive("A", 1, 1, window=window, timestamp=options.timestamp)

    def receive(
        self,
        letters: str,
        sequence: int,
        acknowledgment: int = 0,
        data: bytes = b"",
        window: int = 65535,
        timestamp: int | None = None,
        options: bytes = b"",
        isMarked: bool = False,
    ) -> list[Segment]:
        """
        Receive a segment from the peer.

        @return: the segments that the connection sends then.
        """
        if timestamp is not None:
            options = struct.pack("!4sII", b"\1\1\x08\x0a", timestamp, 0) + options
        flags = sum(1 << LETTERS.index(letter) for letter in letters)
        word = HEADER_LENGTH + len(options) << 10 | flags
        numbers = (PEERS + sequence) & _MASK, (OURS + acknowledgment) & _MASK if "A" in letters else 0
        segment = HEADER.pack(1, 2, *numbers, word, window, 0, 0) + options + data
        self.connection.segmentReceived(segment, 0, len(segment), *numbers, word, window, isMarked, self.now)
        return self.flush()

    def flush(self) -> list[Segment]:
        """
        Send all that may be sent. Return the sent segments.
        """
        if self.connection.ended is None:
            self.connection.flush(self.now)
        sent, self.wire.sent = self.wire.sent, []
        return sent

    def write(self, data: bytes) -> list[Segment]:
        """
        Write data as the application. Return the sent segments.
        """
        self.connection.write(data)
        return self.flush()

    def call(self, name: str, *arguments: Any) -> list[Segment]:
        """
        Call a method of the connection as the application. Return the sent segments.
        """
        getattr(self.connection, name)(*arguments)
        return self.flush()

    def wait(self, seconds: float) -> list[tuple[float, Segment]]:
        """
        Advance the time, and run all timers that are due.

        @return: the segments that are sent meanwhile, each with the seconds after the call.
        """
        found = []
        begin = self.now
        while self.connection.ended is None and self.connection.deadline <= begin + seconds:
            self.now = max(self.now, self.connection.deadline)
            self.connection.timeout(self.now)
            found += [(round(self.now - begin, 3), each) for each in self.flush()]
        self.now = begin + seconds
        found += [(seconds, each) for each in self.flush()]
        return found

    @property
    def text(self) -> bytes:
        """
        All received data, which the application takes by this.
        """
        return b"".join(self.connection.receiver.take())


__all__ = ["Agreement", "Bench", "Segment"]
