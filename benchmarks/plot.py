"""
Draw the ratios that have a goal, from the tables of a Markdown file.

    python -m benchmarks.plot docs/benchmarks.md docs/offload.svg
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html import escape
from math import ceil, floor, log10
from pathlib import Path

import attrs

#: The horizontal positions: the end of the labels, both ends of the axis, and the middle of the first column of
#: numbers. The last number is the width of a column.
_LABELS, _LEFT, _RIGHT, _NUMBERS, _COLUMN = 392, 404, 764, 796, 52
_STEP, _TOP = 19, 92

#: The line above a table that names the Python.
_PYTHON = re.compile(r"\w+ [\d.]+\S*:")

#: The marks of the first Python, of the second one, and so on: a class and a path around the middle of the mark.
_MARKS = (
    ("one", "m-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z"),
    ("two", "m0,-6l6,6l-6,6l-6,-6z"),
    ("three", "m-4,-4h8v8h-8z"),
)

#: The colours, which also differ in lightness. A viewer's dark mode replaces them.
_STYLE = """
svg { font: 12px sans-serif }
text { fill: #1f2328 } .back { fill: #ffffff } .grid { stroke: #d8dee4 } .goal { fill: #d3ecd6 }
.limit { stroke: #1f2328; stroke-width: 2.5 } .one { fill: #0b5d7a } .two { fill: #d9822b } .three { fill: #8250df }
.heading { font-weight: bold } .title { font-size: 16px }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .back { fill: #0d1117 } .grid { stroke: #30363d } .goal { fill: #1b4a2a }
  .limit { stroke: #e6edf3 } .one { fill: #6cc4e8 } .two { fill: #f0a35e } .three { fill: #c4a5f7 }
}
"""


@attrs.define
class Comparison:
    """
    A row of a table that has a goal, with the figures of each Python.

    @ivar heading: the heading of the table.
    @ivar case: the words for the comparison.
    @ivar more: whether more is better.
    @ivar goal: the ratio that meets the goal.
    @ivar ratios: the ratio of each Python, by its name.
    @ivar limits: the ratio of the limit with each Python, by its name, if there is a limit.
    """

    heading: str
    case: str
    more: bool
    goal: float
    ratios: dict[str, float] = attrs.Factory(dict)
    limits: dict[str, float] = attrs.Factory(dict)

    @property
    def limit(self) -> float | None:
        """
        The limit, which is the best one if it differs between Pythons.
        """
        if not self.limits:
            return None
        return max(self.limits.values()) if self.more else min(self.limits.values())


def comparisons(text: str) -> list[Comparison]:
    """
    Read the tables that L{benchmarks.table.markdown} has written.

    @return: the rows that have a goal, in the order of the text.
    """
    found: dict[tuple[str, str], Comparison] = {}
    for heading, python, row in _rows(text):
        words, _, goal = row.get("goal", "").rpartition(" ")
        if not goal:
            continue
        case = row[""].replace("`", "")
        entry = found.setdefault((heading, case), Comparison(heading, case, words == "at least", float(goal)))
        entry.ratios[python] = float(row["ratio"].strip("*"))
        if row.get("limit"):
            entry.limits[python] = float(row["limit"])
    return list(found.values())


def _rows(text: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """
    Yield the heading, the name of the Python and the cells of each row. The cells have the headings of their columns.
    """
    heading = python = ""
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif _PYTHON.fullmatch(line):
            python = line.rstrip(":")
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
        elif python and "ratio" in columns and not cells[0].startswith("-"):
            yield heading, python, dict(zip(columns, cells, strict=True))


def drawn(found: list[Comparison], about: str) -> str:
    """
    Draw comparisons as an SVG picture. Each has a mark for each Python, a band in which the goal is met, and a line for
    the limit. The axis is logarithmic.

    @param about: a line below the picture.
    """
    pythons = list(dict.fromkeys(python for each in found for python in each.ratios))
    values = [value for each in found for value in (each.goal, *each.ratios.values(), *each.limits.values())]
    low, high = floor(log10(min(values)) * 4) / 4, ceil(log10(max(values)) * 4) / 4

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (log10(value) - low) / (high - low)

    headings = len({each.heading for each in found})
    bottom = _TOP + _STEP * (len(found) + headings)
    width = _NUMBERS + _COLUMN * (len(pythons) + 2) - 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 44}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{width}" height="{bottom + 44}"/>',
        '<text class="title" x="12" y="26">The ratios of the benchmarks, their goals and their limits</text>',
        *_legend(pythons),
    ]
    for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50):
        if low <= log10(tick) <= high:
            lines += [
                f'<path class="grid" d="M{x(tick):.1f},{_TOP - 8}V{bottom}"/>',
                _text(x(tick), _TOP - 14, f"{tick:g}", "middle"),
            ]
    for number, words in enumerate([*(python.split()[-1].rpartition(".")[0] for python in pythons), "goal", "limit"]):
        lines.append(_text(_NUMBERS + number * _COLUMN, _TOP - 14, words, "middle", "heading"))
    y, heading = _TOP, ""
    for each in found:
        if each.heading != heading:
            heading = each.heading
            lines.append(_text(12, y + 14, heading, "start", "heading"))
            y += _STEP
        start, end = (x(each.goal), _RIGHT) if each.more else (_LEFT, x(each.goal))
        lines.append(f'<rect class="goal" x="{start:.1f}" y="{y + 2}" width="{end - start:.1f}" height="{_STEP - 4}"/>')
        lines.append(_text(_LABELS, y + 14, each.case, "end"))
        if each.limit is not None:
            lines.append(f'<path class="limit" d="M{x(each.limit):.1f},{y + 1}v{_STEP - 2}"/>')
        for (name, path), python in zip(_MARKS, pythons, strict=False):
            if python in each.ratios:
                lines.append(f'<path class="{name}" d="M{x(each.ratios[python]):.1f},{y + _STEP / 2}{path}"/>')
        numbers = [each.ratios.get(python) for python in pythons]
        sign = "≥" if each.more else "≤"
        cells = [*("" if one is None else f"{one:.2f}" for one in numbers), f"{sign} {each.goal:g}"]
        cells.append("" if each.limit is None else f"{each.limit:.2f}")
        lines += [_text(_NUMBERS + number * _COLUMN, y + 14, cell, "middle") for number, cell in enumerate(cells)]
        y += _STEP
    return "\n".join([*lines, _text(12, bottom + 28, about), "</svg>", ""])


def _legend(pythons: list[str]) -> list[str]:
    lines = []
    left = 12
    for (name, path), python in zip(_MARKS, pythons, strict=False):
        lines += [f'<path class="{name}" d="M{left + 6},48{path}"/>', _text(left + 18, 52, python)]
        left += 130
    lines += [
        f'<rect class="goal" x="{left}" y="40" width="26" height="15"/>',
        _text(left + 32, 52, "the goal is met"),
        f'<path class="limit" d="M{left + 146},39v17"/>',
        _text(left + 154, 52, "the limit: the least work in Python, without layers"),
    ]
    return lines


def _text(x: float, y: float, words: str, anchor: str = "start", name: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text{kind} x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def main(source: str, picture: str) -> None:
    """
    Draw the tables of a Markdown file into an SVG file.
    """
    text = Path(source).read_text()
    machine = next((line for line in text.splitlines() if " Medians of " in line), "")
    Path(picture).write_text(drawn(comparisons(text), machine))


if __name__ == "__main__":
    main(*sys.argv[1:])
