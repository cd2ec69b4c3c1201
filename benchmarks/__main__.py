"""
The command line of the benchmarks, C{python -m benchmarks}.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import (
    answers,
    configure,
    demultiplex,
    host,
    loss,
    middleware,
    offload,
    receive,
    scale,
    simulation,
    switch,
    tcp,
    tunnel,
    wireguard,
)
from benchmarks.measure import Missing, Section
from benchmarks.table import machine, markdown, replaceIn

BENCHMARKS: dict[str, Any] = {
    "demultiplex": demultiplex.run,
    "host": host.run,
    "middleware": middleware.run,
    "scale": scale.run,
    "receive": receive.run,
    "offload": offload.run,
    "tcp": tcp.run,
    "answers": answers.run,
    "configure": configure.run,
    "switch": switch.run,
    "simulation": simulation.run,
    "tunnel": tunnel.run,
    "wireguard": wireguard.run,
    "loss": loss.run,
}

#: The benchmarks that run only if they are named, because they take hours.
LONG = {"loss"}


def main() -> None:
    """
    Run the benchmarks that the command line names. A ratio that misses its goal does not change the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare txtuntap with its peers.")
    names = ", ".join(BENCHMARKS)
    parser.add_argument("name", nargs="*", help=f"the benchmarks to run, of: {names} (default: all but loss)")
    parser.add_argument("--rounds", type=int, default=7, help="the number of rounds; a table has their median (7)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to FILE, a plot beside it")
    options = parser.parse_args()
    for name in options.name:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    texts = [f"{machine()} Medians of {options.rounds} rounds.\n"]
    print(texts[0])
    for name in options.name or [each for each in BENCHMARKS if each not in LONG]:
        try:
            text = _measured(name, options.rounds, options.markdown)
        except Missing as e:
            text = f"## {name}\n\nNot run. This machine lacks {e}.\n"
        print(text, flush=True)
        texts.append(text)
    if options.markdown is not None:
        # A run of some benchmarks leaves the sections of the others as they are.
        replaceIn(options.markdown, "\n".join(texts), bool(options.name))


def _measured(name: str, rounds: int, file: Path | None) -> str:
    """
    Run the benchmark that has this name.

    @param file: the Markdown file of the tables, or C{None}. The plot of C{offload} is written to the same directory.

    @return: the tables, as Markdown.
    """
    if name == "offload":
        return "\n".join(map(markdown, offload.run(rounds, file and file.with_name("offload.svg"))))
    found = BENCHMARKS[name](rounds)
    return "\n".join(map(markdown, [found] if isinstance(found, Section) else found))


if __name__ == "__main__":
    main()
