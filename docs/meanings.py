"""
Writes what each counter means, and what each bounded table has, into a file of the live page, from the tables in
bounds.md.

    python -m docs.meanings
"""

from __future__ import annotations

import json
import re
from pathlib import Path

_HERE = Path(__file__).parent

#: The file that the live page reads.
FILE = _HERE.parent / "txtuntap" / "service" / "observe" / "page" / "static" / "meanings.json"

#: The names of the parts of counters, for the first column of the table.
_PARTS = {
    "port": "port",
    "a switch's port": "switch",
    "an end of a link": "link",
    "Ethernet": "ethernet",
    "ARP": "arp",
    "neighbour discovery": "ndp",
    "autoconfiguration": "autoconfiguration",
    "neighbours": "neighbours",
    "IP": "ip",
    "ICMP": "icmp",
    "UDP": "udp",
    "TCP, as in RFC 4022": "tcp",
    "TCP, others": "tcp",
    "an echo on UDP": "echo",
    "groups": "groups",
    "middleware": "middleware",
    "impairment": "impairment",
    "meter": "meter",
    "capture": "capture",
    "replay": "replay",
    "a live page": "page",
    "tunnel": "tunnel",
    "tunnel over UDP": "tunnel",
    "WireGuard": "wireguard",
    "each": "each",
}


def meanings() -> dict[str, dict[str, str]]:
    """
    Read the table.

    @return: what each counter counts, by the part and by the counter's name.
    """
    table = (_HERE / "bounds.md").read_text().partition("| where | name | what is counted |\n|---|---|---|\n")[2]
    found: dict[str, dict[str, str]] = {}
    part = ""
    for row in table.splitlines():
        where, names, what = (cell.strip() for cell in row.strip("|").split(" | "))
        part = _PARTS[where] if where else part
        each = re.findall("`(\\w+)`", names)
        for name, description in zip(each, _descriptions(what, len(each)), strict=True):
            # A counter of a tunnel over UDP may have another meaning there.
            before = found.setdefault(part, {}).get(name)
            found[part][name] = description if before is None else f"{before}; over UDP: {description}"
    return found


def tables() -> dict[str, str]:
    """
    Read the table of bounds.

    @return: the entries of each bounded table, by the table's name.
    """
    found: dict[str, str] = {}
    for row in (_HERE / "bounds.md").read_text().splitlines():
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        named, colon, _ = cells[-1].partition("`: `")
        if len(cells) != 4 or not colon:
            continue
        common, colon, each = cells[0].replace("`", "").rpartition(": ")
        names = re.findall("[a-z][a-z ]+", named)
        found.update((name, f"{common}{colon}{what}") for name, what in zip(names, each.split("; "), strict=False))
    return found


def _descriptions(what: str, count: int) -> list[str]:
    """
    Divide the last cell of a row into the descriptions of its counters.

    @raise ValueError: there are more or fewer descriptions than counters.
    """
    what = what.replace("`", "")
    each = [what] if count == 1 else what.split("; ")
    if len(each) != count:
        raise ValueError(f"bounds.md: {count} counters have {len(each)} descriptions: {what}")
    return each


def text() -> str:
    """
    Return the contents of L{FILE}.
    """
    return json.dumps({**meanings(), "tables": tables()}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
