"""
Things timed in turns, so that what disturbs one of them disturbs the others alike.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time

import attrs

#: How often each round goes through all tasks. The quickest time of each is that of the round: others only add to it.
TURNS = 30


class Missing(Exception):
    """
    This machine lacks what a benchmark needs; the text says what.
    """


@attrs.frozen
class Task:
    """
    @ivar run: what to time, a few milliseconds of it.
    @ivar packets: how many packets it handles.
    """

    run: Callable[[], object]
    packets: int


@attrs.frozen
class Row:
    """
    One comparison.

    @ivar ours: the figure of each round; C{theirs} are those of what it is compared to.
    @ivar goal: the most that the ratio of times may be, or the least that of rates; L{None} for none.
    @ivar rate: whether the figures are packets per second, and not seconds per packet.
    """

    case: str
    ours: Sequence[float]
    theirs: Sequence[float]
    goal: float | None = None
    rate: bool = False

    @property
    def ratios(self) -> list[float]:
        """
        Ours to theirs, within each round.
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
    What one benchmark found.

    @ivar about: what was measured, in a sentence or two.
    @ivar columns: what the two columns of figures are of.
    @ivar notes: what else is to be known of this run.
    """

    name: str
    about: str
    columns: tuple[str, str]
    rows: Sequence[Row]
    notes: str = ""


def compare(tasks: Sequence[Task], rounds: int, turns: int = TURNS) -> list[list[float]]:
    """
    @return: of each task, the seconds of CPU time per packet in each round.
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
