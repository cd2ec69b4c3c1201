"""
Tests for header prediction: its outcome is the same as that of the full processing of a segment.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Any

from hypothesis import given, settings
from hypothesis.strategies import DrawFn, booleans, composite, integers, just, lists, one_of, sampled_from, tuples
from twisted.trial.unittest import SynchronousTestCase

from tests.tcp.bench import LETTERS, OURS, PEERS, Bench
from txtuntap.tcp.connection import Connection
from txtuntap.tcp.handshake import Parameters
from txtuntap.wire.tcp import HEADER, HEADER_LENGTH, Options

_MASK = 0xFFFFFFFF

#: The offset of our timestamps on a L{Bench}.
_OFFSET = 77

Step = tuple[Any, ...]


class _Unpredicted(Connection):
    """
    A connection without header prediction.
    """

    __slots__ = ()

    def _predicted(self, *arguments: Any) -> bool:
        return False


@composite
def _segments(draw: DrawFn) -> Step:
    """
    A segment that differs from a predictable one. Most segments have no difference, and few have several.
    """

    def seldom(usual: Any, *others: Any) -> Any:
        return draw(sampled_from(others)) if draw(integers(0, 7)) == 5 else usual

    return (
        "deliver",
        draw(sampled_from(("A", "PA"))) if draw(integers(0, 9)) else draw(sampled_from(("FA", "AU", "AE", "AC", "P"))),
        # The octets by which its sequence number is ahead of the expected one.
        seldom(0, 1, -1, 100, -100, 1448, 70_000),
        # The quarters of the unacknowledged data that it acknowledges.
        draw(sampled_from((0, 0, 4, 4, 1, 2, 3, -1, 5))),
        draw(sampled_from((0, 0, 0, 1, 300, 1448, 5000))),
        # The difference to the previous window, in units of its scale.
        seldom(0, -1, 1),
        # The milliseconds by which its timestamp is newer than the latest one.
        seldom(draw(sampled_from((0, 1, 30))), -1, -2, -1000, 0x7FFFFFFF, 0x80000000),
        # The age of the echoed timestamp in milliseconds, or None for no echo.
        seldom(draw(sampled_from((0, 10, 50))), None, -5, 100_000, 0x80000000),
        # The order and the length of its options.
        seldom("aligned", "unaligned", "none", "sack", "longer"),
        not draw(integers(0, 7)),
        # Whether another segment follows before the connection may answer.
        draw(booleans()),
    )


_steps: Any = one_of(
    _segments(),
    _segments(),
    _segments(),
    tuples(just("write"), sampled_from((1, 100, 1448, 5000, 40_000))),
    tuples(just("wait"), sampled_from((0.0, 0.001, 0.01, 0.05, 0.3, 2.0))),
    tuples(just("window"), sampled_from((0, 0, 1, 10, 500, 65535))),
    sampled_from((("read", True), ("read", True), ("read", False), ("shutdown",), ("hole",))),
)


def _state(value: Any) -> Any:
    """
    Return the attributes of an object as a dict, with those of its attributes in turn.
    """
    if isinstance(value, (list, tuple)) or type(value).__name__ == "deque":
        return [_state(each) for each in value]
    if isinstance(value, Enum):
        return value
    names = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    names.discard("_wire")
    if not names or type(value).__module__.startswith("builtins"):
        return value
    return {name: _state(getattr(value, name)) for name in names if hasattr(value, name)}


class PredictionTests(SynchronousTestCase):
    """
    Tests with two connections that get the same segments, one of them without header prediction.

    @ivar recent: the latest timestamp of the peer.
    @ivar window: the window that the peer advertises, in units of its scale.
    """

    recent: int
    window: int

    def openBoth(self, parameters: Parameters, options: Options, flags: int) -> tuple[Bench, Bench]:
        """
        Establish a connection with header prediction, and one without.
        """
        benches = Bench(parameters), Bench(parameters)
        other = benches[1]
        other.connection = _Unpredicted(other.wire, 4, parameters, OURS, _OFFSET)
        for bench in benches:
            bench.connection.keepAlive = True
            bench.accept(options, flags)
        return benches

    def deliver(self, benches: tuple[Bench, ...], step: Step) -> None:
        """
        Deliver a segment to both connections.
        """
        _, letters, ahead, quarters, length, wider, age, echo, kind, isMarked, _ = step
        bench = benches[0]
        connection = bench.connection
        sender, receiver = connection.sender, connection.receiver
        sequence = (PEERS + receiver.next + ahead) & _MASK
        flight = sender.next - sender.acknowledged
        acknowledged = sender.acknowledged + flight * quarters // 4 + (quarters == 5) - (quarters == -1)
        acknowledgment = (OURS + acknowledged) & _MASK
        window = min(max(self.window + wider, 0), 65535)
        stamp = (self.recent + age) & _MASK
        echoed = 0 if echo is None else (int(bench.now * 1000) + _OFFSET - echo) & _MASK
        times = struct.pack("!4sII", b"\1\1\x08\x0a", stamp, echoed)
        options = {
            "aligned": times,
            "unaligned": times[2:] + b"\1\1",
            "none": b"",
            "sack": times + struct.pack("!4sII", b"\1\1\x05\x0a", acknowledgment, (acknowledgment + 1448) & _MASK),
            "longer": times + b"\1\1\1\1",
        }[kind]
        word = HEADER_LENGTH + len(options) << 10 | sum(1 << LETTERS.index(letter) for letter in letters)
        segment = HEADER.pack(1, 2, sequence, acknowledgment, word, window, 0, 0) + options + bytes(length)
        if not ahead and 0 <= age < 0x7FFFFFFF:
            self.recent = stamp
        for each in benches:
            each.connection.segmentReceived(
                segment, 0, len(segment), sequence, acknowledgment, word, window, isMarked, each.now
            )

    @settings(max_examples=100)
    @given(booleans(), booleans(), booleans(), lists(_steps, min_size=20, max_size=40))
    def test_predictionDoesNotChangeTheOutcome(
        self, sack: bool, timestamps: bool, ecn: bool, steps: list[Step]
    ) -> None:
        """
        Two connections with the same segments and calls have the same state after each, and send the same segments,
        even if one of them has no header prediction.
        """
        self.recent, self.window = 5000, 500
        options = Options(1460, 7, sack, self.recent if timestamps else None)
        benches = self.openBoth(
            Parameters(receiveBuffer=8192, keepAliveIdle=0.2, keepAlivePause=0.2), options, 0xC2 if ecn else 2
        )
        reads = True
        for step in steps:
            name = step[0]
            if benches[0].connection.ended is not None:
                break
            if name == "hear":
                self.deliver(benches, step)
            elif name == "write" and not benches[0].connection.sender.isClosing:
                for bench in benches:
                    bench.connection.write(bytes(step[1]))
            elif name == "window":
                self.window = step[1]
            elif name == "read":
                reads = step[1]
            elif name == "hole":
                # The peer's last data and its FIN arrive before the data in front of them.
                self.deliver(benches, ("deliver", "FA", 1448, 0, 100, 0, 0, 0, "aligned", False, False))
                self.deliver(benches, ("deliver", "A", 0, 0, 1448, 0, 0, 0, "aligned", False, False))
            elif name == "shutdown":
                for bench in benches:
                    bench.connection.shutdown()
            if name == "hear" and step[-1]:
                continue
            one, other = (
                [
                    bench.text if reads else b"",
                    bench.flush(),
                    bench.wait(step[1]) if name == "wait" else [],
                    bench.wire.options,
                    bench.wire.window,
                    _state(bench.connection),
                ]
                for bench in benches
            )
            self.assertEqual(one, other)
