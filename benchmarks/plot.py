"""
Draw the results of a benchmark as bars in an SVG file.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

_WIDTH, _LABELS, _BAR, _STEP, _TOP = 760, 330, 16, 24, 44

#: The colours of bars, by whether the bar is of txtuntap. They differ in black and white, too.
_COLORS = {True: "#1f6f8b", False: "#b9c4c9"}


def bars(file: Path, title: str, about: str, values: Sequence[tuple[str, float, bool]]) -> None:
    """
    Draw a bar chart into an SVG file.

    @param about: a line below the bars.
    @param values: for each bar its label, its rate per second, and whether it is of txtuntap.
    """
    height = _TOP + _STEP * len(values) + 28
    most = max(value for _, value, _ in values)
    room = _WIDTH - _LABELS - 90
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    for index, (label, value, isOurs) in enumerate(values):
        y = _TOP + index * _STEP
        width = max(1, round(value / most * room))
        lines += [
            f'<text x="{_LABELS - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABELS}" y="{y}" width="{width}" height="{_BAR}" fill="{_COLORS[isOurs]}"/>',
            f'<text x="{_LABELS + width + 6}" y="{y + 12}">{value / 1e6:.2f} million/s</text>',
        ]
    lines += [f'<text x="12" y="{height - 10}" fill="#555555">{escape(about)}</text>', "</svg>", ""]
    file.write_text("\n".join(lines))
