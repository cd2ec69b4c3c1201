"""
The numbers of macOS and the BSDs, as the compilers find them in the headers of each platform: constants, sizes of
structures (C{sizeof(ifreq)}) and positions of their fields (C{ifreq.ifr_ifru}). C{constants.md} has the table.
"""

from __future__ import annotations

from pathlib import Path

#: The platforms of the table, by the name that C{sys.platform} has there, without the version.
TARGETS = {
    "darwin": "x86_64-macos",
    "freebsd": "x86_64-freebsd",
    "netbsd": "x86_64-netbsd",
    "openbsd": "x86_64-openbsd",
    "linux": "x86_64-linux-gnu",
}


def read() -> dict[str, dict[str, int]]:
    """
    Read the table of numbers.

    @return: for each column of the table, such as C{aarch64-macos}, the numbers by name. A platform that lacks a number
        has no entry for it.
    """
    text = Path(__file__).with_name("constants.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in text.splitlines() if line.strip()]
    (_, *targets), _, *rest = rows
    found: dict[str, dict[str, int]] = {target: {} for target in targets}
    for name, *cells in rest:
        for target, cell in zip(targets, cells, strict=False):
            if cell:
                found[target][name] = int(cell, 0)
    return found


_TABLE = read()

#: The numbers of each platform, by the name that C{sys.platform} has there, and by the name of the number.
CONSTANTS = {platform: _TABLE[target] for platform, target in TARGETS.items()}
