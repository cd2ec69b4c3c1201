"""
One connection, whose peer is the test: segments are given by the letters of their flags and by numbers relative to the
first of each side, and what leaves is read in the same form.
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

#: The first numbers: of ours and of the peer's, soon before numbers begin anew.
OURS, PEERS = 0xFFFFFFF0, 0xFFFFFF00

_MASK = 0xFFFFFFFF

Segment = tuple[str, int, int, bytes]


@implementer(IWire)
class RecordingWire:
    """
    Keeps what is sent, superpackets cut: each piece with all flags.

    @ivar sent: flags, sequence number, acknowledgment number (0 without the flag), data.
    @ivar options: those of the segment sent last; C{window}: its window; C{isMarkable}: whether it may be marked.
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
    A connection, and the time.
    """

    def __init__(self, parameters: Parameters | None = None, version: int = 4, room: int = 1480) -> None:
        self.now = 1000.0
        self.wire = RecordingWire(room)
        self.parameters = parameters or Parameters()
        self.connection = Connection(self.wire, version, self.parameters, OURS, 77)
        self._version = version

    def accept(self, options: Options | None = None, flags: int = 2, window: int = 65535) -> None:
        """
        Be up: the peer has sent a SYN with these options, and its third segment.
        """
        options = options or Options(1460)
        agreement = agree(self.parameters, options, flags, self._version)
        self.connection.accepted(agreement, options, PEERS, options.timestamp or 0, 0.1, self.now)
        self.hears("A", 1, 1, window=window, timestamp=options.timestamp)

    def hears(
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
        Have a segment come.

        @return: what is sent then.
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
        Have what may be sent leave, and take it.
        """
        if self.connection.ended is None:
            self.connection.flush(self.now)
        sent, self.wire.sent = self.wire.sent, []
        return sent

    def write(self, data: bytes) -> list[Segment]:
        """
        Have the application write.
        """
        self.connection.write(data)
        return self.flush()

    def call(self, name: str, *arguments: Any) -> list[Segment]:
        """
        Have the application call a method of the connection.
        """
        getattr(self.connection, name)(*arguments)
        return self.flush()

    def wait(self, seconds: float) -> list[tuple[float, Segment]]:
        """
        Have time pass.

        @return: what is sent meanwhile, with the seconds since.
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
        All that has come, taken by the application.
        """
        return b"".join(self.connection.receiver.take())


__all__ = ["Agreement", "Bench", "Segment"]
