"""
Format the results of benchmarks as Markdown tables that are also readable in a terminal.
"""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measure import Row, Section

#: The lines of a file between which L{replaceIn} writes.
BEGIN = "<!-- begin: written by python -m benchmarks --markdown -->"
END = "<!-- end -->"


def machine() -> str:
    """
    Describe this machine: kernel, architecture and cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.release().split('-')[0]} on {platform.machine()}, {cores} cores"


def markdown(found: Sequence[tuple[str, Section]]) -> str:
    """
    Format the results of one benchmark: a heading, the explanation, and a table and notes for each Python.

    @param found: the results of this benchmark with each Python, behind the Python's name.
    """
    (_, first), *_ = found
    lines = [f"## {first.name}", "", _paragraph(first.about)]
    for python, section in found:
        lines += ["", f"{python}:", "", *_table(section)]
        if section.notes:
            lines += ["", _paragraph(section.notes)]
    return "\n".join(lines) + "\n"


def replaceIn(file: Path, text: str, onlySections: bool = False) -> None:
    """
    Write C{text} into C{file}. If the file has the lines L{BEGIN} and L{END}, replace only the text between them.
    Otherwise, replace the whole file.

    @param onlySections: whether sections between these lines stay if C{text} has none of the same heading.
    """
    old = file.read_text() if file.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    between, end, after = rest.partition(END)
    if onlySections and begin and end:
        text = _merged(between.strip("\n"), text)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}" if begin and end else text)


def _merged(old: str, new: str) -> str:
    """
    Replace the sections of a text by those of another one with the same headings, and add those that are not there.
    """
    before, *sections = old.split("\n## ")
    found = {section.partition("\n")[0]: section.strip("\n") for section in sections}
    for section in new.split("\n## ")[1:]:
        found[section.partition("\n")[0]] = section.strip("\n")
    return "\n\n## ".join([before.strip("\n"), *found.values()]) + "\n"


def _table(section: Section) -> list[str]:
    """
    Format the rows of a section. A table has no columns for elapsed time and for limits if none of its rows has them.
    """
    rows = section.rows
    cells = [["", *section.columns, "ratio", "min to max"], *map(_cells, rows)]
    for heading, figures in ("elapsed", [row.elapsed for row in rows]), ("limit", [row.limits for row in rows]):
        if any(figures):
            column = [heading, *(f"{median(each):.2f}" if each else "" for each in figures)]
            cells = [[*each, more] for each, more in zip(cells, column, strict=True)]
    goals = [["goal", "met"], *([_goal(row), {None: "", True: "yes", False: "no"}[row.met]] for row in rows)]
    return _aligned([each + more for each, more in zip(cells, goals, strict=True)])


def _cells(row: Row) -> list[str]:
    ratios = row.ratios
    figures = [_figure(median(figures), row) for figures in (row.ours, row.theirs)]
    return [row.case, *figures, f"**{median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"]


def _goal(row: Row) -> str:
    return "" if row.goal is None else f"{'at least' if row.rate else 'at most'} {row.goal:g}"


def _figure(value: float, row: Row) -> str:
    if row.rate:
        return f"{round(value, -2):,.0f}/s"
    if row.octets:
        return f"{value:,.0f} octets"
    return f"{value * 1e6:.2f} µs" if value < 1e-3 else f"{value * 1e3:.2f} ms"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *body = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body]
