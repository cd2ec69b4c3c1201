"""
Header prediction: a segment that is the usual one has the outcome that it would have without.
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
    Takes each segment for an unusual one.
    """

    __slots__ = ()

    def _predicted(self, *arguments: Any) -> bool:
        return False


@composite
def _segments(draw: DrawFn) -> Step:
    """
    A segment, by its differences to the usual one: most have none, and few have several.
    """

    def seldom(usual: Any, *others: Any) -> Any:
        return draw(sampled_from(others)) if draw(integers(0, 7)) == 5 else usual

    return (
        "hear",
        draw(sampled_from(("A", "PA"))) if draw(integers(0, 9)) else draw(sampled_from(("FA", "AU", "AE", "AC", "P"))),
        # Octets ahead of the number that is expected.
        seldom(0, 1, -1, 100, -100, 1448, 70_000),
        # How much of what is under way is acknowledged, in quarters.
        draw(sampled_from((0, 0, 4, 4, 1, 2, 3, -1, 5))),
        draw(sampled_from((0, 0, 0, 1, 300, 1448, 5000))),
        # How much larger the window is than before, in its units.
        seldom(0, -1, 1),
        # The milliseconds since the latest timestamp of the peer.
        seldom(draw(sampled_from((0, 1, 30))), -1, -2, -1000, 0x7FFFFFFF, 0x80000000),
        # The age of what is echoed; none for no echo.
        seldom(draw(sampled_from((0, 10, 50))), None, -5, 100_000, 0x80000000),
        # Options in another order, or of another length.
        seldom("aligned", "unaligned", "none", "sack", "longer"),
        not draw(integers(0, 7)),
        # Whether others follow at once, before anything is answered.
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
    All that an object has, and what that has.
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
    @ivar recent: the peer's latest timestamp.
    @ivar window: the window that the peer advertises, in its units.
    """

    recent: int
    window: int

    def both(self, parameters: Parameters, options: Options, flags: int) -> tuple[Bench, Bench]:
        """
        Two connections that are up, of which one predicts nothing.
        """
        benches = Bench(parameters), Bench(parameters)
        other = benches[1]
        other.connection = _Unpredicted(other.wire, 4, parameters, OURS, _OFFSET)
        for bench in benches:
            bench.connection.keepAlive = True
            bench.accept(options, flags)
        return benches

    def hear(self, benches: tuple[Bench, ...], step: Step) -> None:
        """
        Have both get a segment.
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
    def test_theOutcomeIsTheSame(self, sack: bool, timestamps: bool, ecn: bool, steps: list[Step]) -> None:
        """
        Two connections that get the same segments and calls are the same after each, and have sent the same, though one
        of them predicts nothing.
        """
        self.recent, self.window = 5000, 500
        options = Options(1460, 7, sack, self.recent if timestamps else None)
        benches = self.both(
            Parameters(receiveBuffer=8192, keepAliveIdle=0.2, keepAlivePause=0.2), options, 0xC2 if ecn else 2
        )
        reads = True
        for step in steps:
            name = step[0]
            if benches[0].connection.ended is not None:
                break
            if name == "hear":
                self.hear(benches, step)
            elif name == "write" and not benches[0].connection.sender.isClosing:
                for bench in benches:
                    bench.connection.write(bytes(step[1]))
            elif name == "window":
                self.window = step[1]
            elif name == "read":
                reads = step[1]
            elif name == "hole":
                # The peer's last data and its FIN, before what they follow.
                self.hear(benches, ("hear", "FA", 1448, 0, 100, 0, 0, 0, "aligned", False, False))
                self.hear(benches, ("hear", "A", 0, 0, 1448, 0, 0, 0, "aligned", False, False))
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
