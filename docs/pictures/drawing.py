"""
The shapes of the pictures, as parts of an SVG document.

Each colour is an attribute, which every program shows, and a class, by which a browser in dark mode changes it.
"""

from __future__ import annotations

from html import escape

#: Each class of shapes: its attributes, and its style in dark mode.
_CLASSES = {
    "page": ('fill="#ffffff"', "fill:#0d1117"),
    "clear": ('fill="#e3f1e5"', "fill:#14301c"),
    "sealed": ('fill="#efe3f7"', "fill:#31203f"),
    "box": ('fill="#ffffff" stroke="#57606a"', "fill:#161b22;stroke:#8b949e"),
    "ours": ('fill="#1f6f8b" stroke="#1f6f8b"', "fill:#1f6f8b;stroke:#79c0d8"),
    "line": ('stroke="#57606a" stroke-width="1.5" fill="none"', "stroke:#8b949e"),
    "head": ('fill="#57606a"', "fill:#8b949e"),
    "text": ('fill="#1f2328"', "fill:#e6edf3"),
    "onOurs": ('fill="#ffffff"', "fill:#ffffff"),
}

#: The width of each picture in pixels.
WIDTH = 760

BOLD = ' font-weight="bold"'
MIDDLE = ' text-anchor="middle"'


def _attributes(name: str) -> str:
    return f'class="{name}" {_CLASSES[name][0]}'


def rect(name: str, x: int, y: int, width: int, height: int, radius: int = 0) -> str:
    """
    Draw a rectangle of a class.
    """
    return f'<rect {_attributes(name)} x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'


def text(x: int, y: int, words: str, name: str = "text", more: str = "") -> str:
    """
    Draw a line of text, which begins at C{x} unless C{more} says otherwise.

    @param more: further attributes, such as L{BOLD} or L{MIDDLE}.
    """
    return f'<text {_attributes(name)} x="{x}" y="{y}"{more}>{escape(words)}</text>'


def box(x: int, y: int, width: int, height: int, *lines: str, name: str = "box") -> list[str]:
    """
    Draw a box with centred lines of text. In a box of the class C{ours}, the first line is bold.
    """
    found = [rect(name, x, y, width, height, 5)]
    top = y + height // 2 + 4 - 8 * (len(lines) - 1)
    for number, line in enumerate(lines):
        bold = BOLD if name == "ours" and not number else ""
        color = "onOurs" if name == "ours" else "text"
        found.append(text(x + width // 2, top + 16 * number, line, color, MIDDLE + bold))
    return found


def line(*points: tuple[int, int]) -> str:
    """
    Draw a line through points.
    """
    path = "L".join(f"{x} {y}" for x, y in points)
    return f'<path {_attributes("line")} d="M{path}"/>'


def polygon(name: str, *points: tuple[int, int]) -> str:
    """
    Draw a filled shape of a class through its corners.
    """
    corners = " ".join(f"{x},{y}" for x, y in points)
    return f'<polygon {_attributes(name)} points="{corners}"/>'


def arrow(*points: tuple[int, int]) -> str:
    """
    Draw a line through points, with a head at its end. The last part of the line is horizontal or vertical.
    """
    (beforeX, beforeY), (x, y) = points[-2:]
    if beforeX == x:
        back = 8 if beforeY > y else -8
        corners = (x - 4, y + back), (x + 4, y + back)
    else:
        back = 8 if beforeX > x else -8
        corners = (x + back, y - 4), (x + back, y + 4)
    return line(*points) + polygon("head", (x, y), *corners)


def picture(height: int, title: str, about: str, parts: list[str]) -> str:
    """
    Make an SVG document from its parts.

    @param height: the height in pixels.
    @param about: a text in place of the picture, for those who cannot see it.
    """
    dark = "".join(f".{name}{{{style}}}" for name, (_, style) in _CLASSES.items())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="title about" font-family="sans-serif" font-size="12">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="about">{escape(about)}</desc>',
            f"<style>@media (prefers-color-scheme: dark){{{dark}}}</style>",
            rect("page", 0, 0, WIDTH, height),
            *parts,
            "</svg>",
            "",
        ]
    )
