"""
Tests for connections over a link that an adversary controls. Data arrives unchanged, or the connection ends with an
error.
"""

from __future__ import annotations

from functools import partial
from math import inf
from random import Random
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.long import lengths
from tests.tcp.pair import Pair, Segment
from txtuntap.tcp.congestion import NewReno
from txtuntap.tcp.handshake import Parameters
from txtuntap.tcp.state import End, State

#: The fates of a segment. A corrupted segment is lost, because its checksum is wrong.
FATES = ("pass", "lose", "delay", "duplicate", "split", "join")


class Paced(NewReno):
    """
    A congestion control that sets a rate.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.rate = 200_000.0


@attrs.define
class Link:
    """
    A link on which an adversary chooses the fate of each segment.

    @ivar fates: for each end, the fates of its first segments, each with a number that is its parameter.
    @ivar loss: the share of later segments that is lost.
    @ivar mischief: the share of later segments that has a random fate.
    """

    pair: Pair
    fates: tuple[list[tuple[str, int]], list[tuple[str, int]]]
    loss: float
    mischief: float
    random: Random
    held: list[Segment | None] = attrs.field(factory=lambda: [None, None])

    def onto(self, number: int, index: int, segment: Segment) -> list[tuple[float, Segment]]:
        delay = self.pair.delay
        fate, amount = self._fate(number, index)
        arrivals = []
        held, self.held[number] = self.held[number], None
        if held is not None:
            follows = held.sequence + len(held.data) & 0xFFFFFFFF == segment.sequence
            isAlike = (held.acknowledgment, held.options) == (segment.acknowledgment, segment.options)
            if follows and isAlike and segment.data:
                segment = attrs.evolve(segment, sequence=held.sequence, data=held.data + segment.data)
            else:
                arrivals.append((delay, held))
        if fate == "lose":
            return arrivals
        if fate == "delay":
            return [*arrivals, (delay + amount * max(delay, 0.001) / 4, segment)]
        if fate == "duplicate":
            return [*arrivals, (delay, segment), (delay * (1 + amount), segment)]
        if fate == "split" and len(segment.data) > 1:
            first, rest = segment.cut(1 + amount * 97 % (len(segment.data) - 1))
            return [*arrivals, (delay, first), (delay, rest)]
        if fate == "join" and segment.data:
            self.held[number] = segment
            self.pair.at(self.pair.now + delay, lambda: self._release(number, segment))
            return arrivals
        return [*arrivals, (delay, segment)]

    def _fate(self, number: int, index: int) -> tuple[str, int]:
        if index < len(self.fates[number]):
            return self.fates[number][index]
        choice = self.random.random()
        if choice < self.loss:
            return "lose", 0
        if choice < self.loss + self.mischief:
            return self.random.choice(FATES), self.random.randrange(16)
        return "pass", 0

    def _release(self, number: int, segment: Segment) -> None:
        if self.held[number] is segment:
            self.held[number] = None
            self.pair.arrive(1 - number, segment)


parameters = st.builds(
    Parameters,
    congestion=st.sampled_from([Parameters().congestion, NewReno, Paced]),
    receiveBuffer=st.sampled_from([4 * 1024 * 1024, 65536, 20000, 3000, 700]),
    sack=st.booleans(),
    timestamps=st.booleans(),
    scaling=st.booleans(),
    ecn=st.booleans(),
)
fates = st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 15)), max_size=30)
#: The script of an application: the milliseconds to wait before each action, the action, and its amount.
actions = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 30, 500, 5000]),
        st.sampled_from(["write", "writeMany", "pause", "read", "noDelay", "narrow"]),
        st.sampled_from([1, 100, 1460, 5000, 70_000]),
    ),
    max_size=8,
)


class Application:
    """
    The application at one end. It performs the actions of its script, and then closes its side.
    """

    def __init__(self, pair: Pair, number: int, script: list[tuple[int, str, int]], random: Random) -> None:
        self.pair = pair
        self.number = number
        self.script = list(reversed(script))
        self.random = random
        self.written: list[bytes] = []
        self.isClosed = False
        self.next()

    def next(self) -> None:
        pause = self.script[-1][0] / 1000 if self.script else 0.1
        self.pair.at(self.pair.now + pause, self.act)

    def act(self) -> None:
        pair, number = self.pair, self.number
        connection = pair.ends[number]
        if connection is None or connection.isOpening:
            # The handshake is not complete yet.
            if pair.ends[0].ended is None:
                pair.at(pair.now + 0.5, self.act)
            return
        if connection.ended is not None:
            return
        if not self.script:
            pair.reads[number] = True
            self.isClosed = True
            pair.read(number)
            pair.shutdown(number)
            return
        _, action, amount = self.script.pop()
        if action == "write":
            self.write(amount)
        elif action == "writeMany":
            for _ in range(20):
                self.write(max(1, amount // 20))
        elif action == "pause":
            pair.reads[number] = False
        elif action == "read":
            pair.reads[number] = True
        elif action == "noDelay":
            connection.sender.noDelay = True
        elif action == "narrow":
            wire = pair.wires[number]
            wire.room = max(300, wire.room - 200)
            connection.pathChanged()
        pair.after(number)
        self.next()

    def write(self, amount: int) -> None:
        data = self.random.randbytes(amount)
        self.written.append(data)
        self.pair.ends[self.number].write(data)
        self.pair.after(self.number)

    @property
    def isDone(self) -> bool:
        connection = self.pair.ends[self.number]
        if connection is None:
            return bool(self.pair.ends[0].ended is not None)
        if connection.ended is not None or connection.state is State.TIME_WAIT:
            return True
        if self.isClosed and connection.sender.isFinished:
            # If the other end has given up, it sends a reset only in answer to a segment.
            other = self.pair.ends[1 - self.number]
            return bool(connection.receiver.finished or (other.ended is not None and connection.deadline == inf))
        return False


#: The times at which steady clocks begin: one of them early, the others just before 2^31 and 2^32 milliseconds.
STARTS = (1000.0, 2**31 / 1000 - 2.0, 2**32 / 1000 - 2.0, 2**32 / 1000 - 0.01)

#: The pauses before a machine is suspended, its end, and the seconds of the suspension. The longest ones make
#: timestamps look older, or wrap.
suspensions = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.015, 0.3, 3.0, 40.0]),
        st.sampled_from([0, 1]),
        st.sampled_from([0.05, 2.0, 200.0, 3600.0, 86_400.0, 25 * 86_400.0, 30 * 86_400.0, 50 * 86_400.0]),
    ),
    max_size=3,
)

CHOICES: dict[str, Any] = {
    "first": parameters,
    "second": parameters,
    "fates": st.tuples(fates, fates),
    "scripts": st.tuples(actions, actions),
    "loss": st.sampled_from([0.0, 0.05, 0.2]),
    "mischief": st.sampled_from([0.0, 0.2, 0.6]),
    "delay": st.sampled_from([0.0, 0.0001, 0.02, 0.4]),
    "mtu": st.sampled_from([576, 1500, 9000]),
    "cuts": st.booleans(),
    "starts": st.tuples(st.sampled_from(STARTS), st.sampled_from(STARTS)),
    "rates": st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.25, 0.75)]),
    "suspensions": suspensions,
    "seed": st.integers(0, 2**32),
}


@lengths("examples", 150, 20_000, "adversary")
def test_dataArrivesOrTheConnectionEnds(examples: int) -> None:
    """
    Each end reads exactly the octets that the other one has written, or an end gets an error. This holds for all fates
    of segments and clocks, all parameters, and all actions of the applications.
    """

    settings(max_examples=examples)(given(**CHOICES)(attack))()


def attack(
    first: Parameters,
    second: Parameters,
    fates: tuple[list[tuple[str, int]], list[tuple[str, int]]],
    scripts: tuple[list[tuple[int, str, int]], list[tuple[int, str, int]]],
    loss: float,
    mischief: float,
    delay: float,
    mtu: int,
    cuts: bool,
    starts: tuple[float, float],
    rates: tuple[float, float],
    suspensions: list[tuple[float, int, float]],
    seed: int,
) -> None:
    """
    Let two applications exchange data over a link, and check the outcome.
    """
    random = Random(seed)
    pair = Pair(delay, mtu, first, second, cuts=cuts)
    pair.keeps = False
    for clock, start, rate in zip(pair.clocks, starts, rates, strict=True):
        clock.ahead, clock.rate = start - pair.now * rate, rate
    when = pair.now
    for pause, number, seconds in suspensions:
        when += pause
        pair.at(when, partial(pair.suspend, number, seconds))
    pair.onto = Link(pair, fates, loss, mischief, random).onto
    pair.open()
    applications = [Application(pair, number, script, random) for number, script in enumerate(scripts)]
    pair.run(50_000, lambda: all(each.isDone for each in applications))
    ended = [None if end is None else end.ended for end in pair.ends]
    assert all(each.isDone for each in applications), (pair.ends[0].deadline < inf, ended)
    assert End.ABORTED not in ended
    isWhole = not {End.TIMED_OUT, End.RESET} & set(ended)
    assert End.RESET not in ended or End.TIMED_OUT in ended, "there was no reason for a reset"
    for number, application in enumerate(applications):
        written, read = b"".join(application.written), pair.text(1 - number)
        assert written[: len(read)] == read, "octets that were never written have arrived"
        assert not isWhole or written == read, "data is missing, and there was no error"
