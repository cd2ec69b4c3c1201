"""
Time several tasks in turns, so that other load on the machine affects all of them alike.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time

import attrs

#: The number of turns of each task in a round. The figure of a round is the fastest turn, since other load can only
#: make a turn slower.
TURNS = 30


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
    """

    case: str
    ours: Sequence[float]
    theirs: Sequence[float]
    goal: float | None = None
    rate: bool = False

    @property
    def ratios(self) -> list[float]:
        """
        The ratio of C{ours} to C{theirs} in each round.
        """
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

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
                    begin = thread_time()
                    task.run()
                    best[index] = min(best[index], thread_time() - begin)
            if collecting:
                gc.enable()
            for index, task in enumerate(tasks):
                times[index].append(best[index] / task.packets)
    finally:
        if collecting:
            gc.enable()
    return times
