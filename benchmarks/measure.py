"""
Time several tasks in turns, so that other load on the machine affects all of them alike.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median

import attrs

#: The number of turns of each task in a round. The figure of a round is the fastest turn, since other load can only
#: make a turn slower.
TURNS = 30

#: A turn of a measurement: the units of work, the CPU seconds of the process that did them, and the elapsed seconds.
Turn = tuple[float, float, float]

#: The sums of all turns in each round, by the name of the measurement.
Rounds = Sequence[Mapping[str, Turn]]


class Missing(Exception):
    """
    This machine lacks something that a benchmark needs. The text names it and says how to get it.
    """


@attrs.frozen
class Task:
    """
    A piece of work that is timed.

    @ivar run: does the work once, in a few milliseconds.
    @ivar packets: the number of packets that one call of C{run} handles.
    """

    run: Callable[[], object]
    packets: int


@attrs.frozen
class Row:
    """
    A row of a table: one comparison of txtuntap with a peer, with itself in another case, or with a limit.

    @ivar case: the words for the comparison.
    @ivar ours: the figure of txtuntap in each round.
    @ivar theirs: the figure in each round that C{ours} is compared with.
    @ivar goal: the greatest ratio of times, or the least ratio of rates, that meets the goal. C{None} for no goal.
    @ivar rate: whether the figures are rates. Otherwise they are times in seconds.
    @ivar octets: whether the figures are octets of memory, and not times. Less is better.
    @ivar elapsed: if C{ours} and C{theirs} are about CPU time, the ratio of the same figures about elapsed time in each
        round. Empty if it was not measured.
    @ivar limit: the figure in each round of the least work that any program in Python must do. Empty if there is none.
    """

    case: str
    ours: Sequence[float]
    theirs: Sequence[float]
    goal: float | None = None
    rate: bool = False
    octets: bool = False
    elapsed: Sequence[float] = ()
    limit: Sequence[float] = ()

    @property
    def ratios(self) -> list[float]:
        """
        The ratio of C{ours} to C{theirs} in each round.
        """
        return quotients(self.ours, self.theirs)

    @property
    def limits(self) -> list[float]:
        """
        The ratio of C{limit} to C{theirs} in each round, if there is a limit.
        """
        return quotients(self.limit, self.theirs) if self.limit else []

    @property
    def met(self) -> bool | None:
        """
        Whether the median of the ratios meets the goal.
        """
        if self.goal is None:
            return None
        ratio = median(self.ratios)
        return ratio >= self.goal if self.rate else ratio <= self.goal


@attrs.frozen
class Section:
    """
    The results of one benchmark.

    @ivar name: the heading.
    @ivar about: a paragraph that explains the measurement.
    @ivar columns: the headings of the two columns of figures.
    @ivar rows: the rows of the table.
    @ivar notes: a paragraph about this run, or an empty text.
    """

    name: str
    about: str
    columns: tuple[str, str]
    rows: Sequence[Row]
    notes: str = ""


def compare(tasks: Sequence[Task], rounds: int, turns: int = TURNS) -> list[list[float]]:
    """
    Time several tasks in turns, without the garbage collector.

    @return: for each task, the seconds of CPU time per packet in the fastest turn of each round.
    """
    times: list[list[float]] = [[] for _ in tasks]
    collecting = gc.isenabled()
    try:
        for _ in range(rounds):
            best = [float("inf")] * len(tasks)
            gc.collect()
            gc.disable()
            for _ in range(turns):
                for index, task in enumerate(tasks):
                    begin = time.thread_time()
                    task.run()
                    best[index] = min(best[index], time.thread_time() - begin)
            if collecting:
                gc.enable()
            for index, task in enumerate(tasks):
                times[index].append(best[index] / task.packets)
    finally:
        if collecting:
            gc.enable()
    return times


class Stopwatch:
    """
    Measures the CPU time that a process takes, and the elapsed time.
    """

    def __init__(self, process: int = 0) -> None:
        """
        Start to measure a process.

        @param process: the identifier of the process. 0 stands for this process.
        """
        self._process = process
        self._cpu, self._elapsed = cpuSeconds(process), time.perf_counter()

    def turn(self, units: float) -> Turn:
        """
        Return the time since the start as a turn.

        @param units: the units of work that were done in this time.
        """
        return units, cpuSeconds(self._process) - self._cpu, time.perf_counter() - self._elapsed


def cpuSeconds(process: int = 0) -> float:
    """
    The CPU time of a process and its threads in seconds, user and system.

    @param process: the identifier of the process. 0 stands for this process.
    """
    # The number of the clock is that of clock_getcpuclockid(3), which Python does not have. The figures in /proc count
    # hundredths of a second, which is too coarse for a short turn.
    return time.clock_gettime(~process << 3 | 2)


async def inTurns(measures: Mapping[str, Callable[[], Awaitable[Turn]]], rounds: int, turns: int) -> Rounds:
    """
    Run measurements in turns, without the garbage collector. The order is reversed after each turn, so that slow
    changes of the machine's load affect all measurements alike.

    @param measures: functions that run one turn, by the name of the measurement.
    @param turns: the number of turns of each measurement in a round.

    @return: the sums of the turns. Their CPU time does not include the time in which other programs run, so the sums
        are better figures than the fastest turn. The fastest turn may be one in which the kernel has done a part of the
        work in another process.
    """
    found = []
    order = list(measures)
    gc.disable()
    for _ in range(rounds):
        sums: dict[str, Turn] = dict.fromkeys(measures, (0, 0, 0))
        for _ in range(turns):
            for name in order:
                units, cpu, elapsed = await measures[name]()
                before = sums[name]
                sums[name] = before[0] + units, before[1] + cpu, before[2] + elapsed
            order.reverse()
        found.append(sums)
        gc.collect()
    gc.enable()
    return found


def perSecond(rounds: Rounds, name: str, cpu: bool = True) -> list[float]:
    """
    The units per second in each round.

    @param name: the name of the measurement.
    @param cpu: whether seconds of CPU time are meant. Otherwise, elapsed seconds are.
    """
    return [sums[name][0] / sums[name][1 if cpu else 2] for sums in rounds]


def rateRow(
    case: str, rounds: Rounds, ours: str, theirs: str, goal: float | None = None, limit: str | None = None
) -> Row:
    """
    Make a row with the units of work per CPU second, and with the ratio of the units per elapsed second beside it.

    @param ours: the name of the measurement of txtuntap.
    @param theirs: the name of the measurement that it is compared with.
    @param limit: the name of the measurement of the limit, if there is one.
    """
    elapsed = quotients(*(perSecond(rounds, name, cpu=False) for name in (ours, theirs)))
    limits = () if limit is None else perSecond(rounds, limit)
    found = perSecond(rounds, ours), perSecond(rounds, theirs)
    return Row(case, *found, goal, rate=True, elapsed=elapsed, limit=limits)


def timeRow(case: str, rounds: Rounds, ours: str, theirs: str, goal: float | None = None) -> Row:
    """
    Make a row with the CPU seconds per unit of work, and with the ratio of the elapsed seconds beside it.

    @param ours: the name of the measurement of txtuntap.
    @param theirs: the name of the measurement that it is compared with.
    """
    rates = rateRow(case, rounds, ours, theirs)
    inverse, inverseTheirs, elapsed = (
        [1 / figure for figure in figures] for figures in (rates.ours, rates.theirs, rates.elapsed)
    )
    return Row(case, inverse, inverseTheirs, goal, elapsed=elapsed)


def elapsedRow(case: str, rounds: Rounds, ours: str, theirs: str) -> Row:
    """
    Make a row with the units of work per elapsed second, because the peer has no process.

    @param ours: the name of the measurement of txtuntap.
    @param theirs: the name of the measurement that it is compared with.
    """
    figures, theirFigures = (perSecond(rounds, name, cpu=False) for name in (ours, theirs))
    return Row(f"{case}, elapsed", figures, theirFigures, rate=True)


def quotients(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """
    Divide the figures of each round.
    """
    return [one / other for one, other in zip(ours, theirs, strict=True)]
