"""
Draws the pictures of the documentation as SVG files, one for each of the other modules of this folder.

    python -m docs.pictures
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

#: The pictures, by the names of their modules and of their files.
NAMES = ("ends", "layers", "network", "segments", "superpackets", "switch", "tcp", "tunnels", "window", "wireguard")


def drawn() -> dict[str, str]:
    """
    Draw all pictures.

    @return: the SVG document of each, by its name.
    """
    return {name: import_module(f"docs.pictures.{name}").draw() for name in NAMES}


def main() -> None:
    """
    Write all pictures into the folder of the documentation.
    """
    for name, svg in drawn().items():
        (Path(__file__).parents[1] / f"{name}.svg").write_text(svg)


if __name__ == "__main__":
    main()
