"""
Draws the pictures of the documentation as SVG files.

    python docs/pictures.py

Each colour is an attribute, which every program shows, and a class, by which a browser in dark mode changes it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

#: Each class of shapes: its attributes, and its style in dark mode.
_CLASSES = {
    "page": ('fill="#ffffff"', "fill:#0d1117"),
    "clear": ('fill="#e3f1e5"', "fill:#14301c"),
    "sealed": ('fill="#efe3f7"', "fill:#31203f"),
    "box": ('fill="#ffffff" stroke="#57606a"', "fill:#161b22;stroke:#8b949e"),
    "ours": ('fill="#1f6f8b" stroke="#1f6f8b"', "fill:#1f6f8b;stroke:#79c0d8"),
    "line": ('stroke="#57606a" stroke-width="1.5" fill="none"', "stroke:#8b949e"),
    "text": ('fill="#1f2328"', "fill:#e6edf3"),
    "onOurs": ('fill="#ffffff"', "fill:#ffffff"),
}

_WIDTH, _HEIGHT = 760, 470


def _attributes(name: str) -> str:
    return f'class="{name}" {_CLASSES[name][0]}'


def _rect(name: str, x: int, y: int, width: int, height: int, radius: int = 0) -> str:
    return f'<rect {_attributes(name)} x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'


def _text(x: int, y: int, text: str, name: str = "text", more: str = "") -> str:
    return f'<text {_attributes(name)} x="{x}" y="{y}"{more}>{escape(text)}</text>'


def _box(x: int, y: int, width: int, height: int, *lines: str, name: str = "box") -> list[str]:
    """
    Draw a box with centred lines of text, the first of them bold in a box of WireGuard.
    """
    found = [_rect(name, x, y, width, height, 5)]
    top = y + height // 2 + 4 - 8 * (len(lines) - 1)
    for number, line in enumerate(lines):
        bold = ' font-weight="bold"' if name == "ours" and not number else ""
        color = "onOurs" if name == "ours" else "text"
        found.append(_text(x + width // 2, top + 16 * number, line, color, f' text-anchor="middle"{bold}'))
    return found


def _line(x: int, *between: int) -> list[str]:
    """
    Draw a vertical line from the first height to the second.
    """
    return [f'<path {_attributes("line")} d="M{x} {between[0]}V{between[1]}"/>']


def picture(title: str, about: str, parts: list[str]) -> str:
    """
    Make an SVG document from its parts.

    @param about: a text in place of the picture, for those who cannot see it.
    """
    dark = "".join(f".{name}{{{style}}}" for name, (_, style) in _CLASSES.items())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            ' aria-labelledby="title about" font-family="sans-serif" font-size="12">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="about">{escape(about)}</desc>',
            f"<style>@media (prefers-color-scheme: dark){{{dark}}}</style>",
            _rect("page", 0, 0, _WIDTH, _HEIGHT),
            *parts,
            "</svg>",
            "",
        ]
    )


def wireguard() -> str:
    """
    Draw one interface of WireGuard in a program, and two of its peers.
    """
    boundary, bold = 250, ' font-weight="bold"'
    parts = [
        _rect("clear", 0, 28, _WIDTH, boundary - 28),
        _rect("sealed", 0, boundary, _WIDTH, _HEIGHT - boundary),
        _text(12, 19, "one interface, in a program", more=bold),
        _text(412, 19, "its peers", more=bold),
        _text(12, 46, "in the clear: IP packets"),
        _text(12, boundary + 76, "sealed: messages over UDP"),
    ]
    columns = (
        (12, 370, "Site, or any Twisted service", "Host, 10.9.0.2", "Link"),
        (412, 160, "every program", "kernel, 10.9.0.1", "tun wg0"),
        (588, 160, "hosts of 10.9.8.0/24", "a router", "wg0"),
    )
    for x, width, program, stack, below in columns:
        middle = x + width // 2
        parts += _line(middle, 60, 402)
        parts += _box(x, 58, width, 30, program)
        parts += _box(x, 110, width, 30, stack)
        parts.append(_text(middle + 8, 170, below))
        parts += _box(x, 344, width, 30, "UDP socket, port 51820" if x == 12 else "UDP socket")
    lines = [
        "WireGuard: its private key, and its peers",
        "public key xTIB…: 10.9.0.1/32, at 192.0.2.1:51820",
        "public key TrMv…: 10.9.8.0/24, at 198.51.100.7:51820",
    ]
    parts += _box(12, 190, 370, 100, *lines, name="ours")
    for x, *_ in columns[1:]:
        parts += _box(x, 190, 160, 100, "WireGuard", "public key HIgo…:", "10.9.0.2/32", name="ours")
    parts += _box(
        12,
        402,
        736,
        48,
        "the internet",
        "It sees addresses, lengths and times of messages, and nothing of the packets.",
    )
    return picture("One interface of WireGuard and its peers", ABOUT, parts)


#: The text in place of the picture. The page has it, too, as the alternative text of the image.
ABOUT = (
    "A program has a Twisted service on a Host with the address 10.9.0.2. A Link joins the Host to the program's"
    " WireGuard, which sends by a UDP socket. This WireGuard has a private key and two peers. For each peer it has a"
    " public key, allowed networks and an endpoint. One peer is a machine, whose WireGuard is below its kernel, by the"
    " tun wg0. The other peer is a router with another implementation. IP packets above each WireGuard are in the"
    " clear. Messages below it, through the sockets and the internet, are sealed."
)


def main() -> None:
    """
    Write all pictures into the directory of this file.
    """
    Path(__file__).with_name("wireguard.svg").write_text(wireguard())


if __name__ == "__main__":
    main()
