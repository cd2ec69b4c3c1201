"""
The command line of the benchmarks, C{python -m benchmarks}.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import (
    answers,
    configure,
    demultiplex,
    host,
    loss,
    memory,
    middleware,
    offload,
    pythons,
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
    "memory": memory.run,
    "tunnel": tunnel.run,
    "wireguard": wireguard.run,
    "hosts": memory.runMany,
    "loss": loss.run,
}

#: The benchmarks that run only if they are named, because they take long: C{hosts} half an hour, C{loss} hours.
LONG = {"hosts", "loss"}

#: The other benchmarks.
SHORT = [name for name in BENCHMARKS if name not in LONG]


def main() -> None:
    """
    Run the benchmarks that the command line names. A ratio that misses its goal does not change the exit status. If a
    benchmark fails, the others run, and the exit status is 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare txtuntap with its peers.")
    parser.add_argument(
        "name",
        nargs="*",
        help=f"the benchmarks to run, of: {', '.join(BENCHMARKS)} (default: all but {' and '.join(sorted(LONG))}, of"
        " which the first takes half an hour, the second hours)",
    )
    parser.add_argument("--rounds", type=int, default=7, help="the number of rounds; a table has their median (7)")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PROGRAM",
        help="measure with this interpreter, in an environment made for the run; give it again for one more Python"
        " (default: the one that runs this, as it is)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to FILE")
    parser.add_argument("--json", action="store_true", help="measure in this process, and print the results as JSON")
    options = parser.parse_args()
    for name in options.name:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.json:
        if len(options.name) != 1:
            parser.error("--json needs the name of one benchmark")
        print(_measured(options.name[0], options.rounds))
        return
    texts = [f"{machine()}; Twisted {version('twisted')}. Medians of {options.rounds} rounds.\n"]
    print(texts[0])
    failed = []
    with TemporaryDirectory() as directory:
        interpreters = [
            pythons.environment(python, Path(directory, str(number))) for number, python in enumerate(options.python)
        ] or [sys.executable]
        for name in options.name or SHORT:
            try:
                texts.append(_tables(name, interpreters, options.rounds))
            except subprocess.CalledProcessError:
                # The process has printed why it has failed.
                failed.append(name)
            else:
                print(texts[-1], flush=True)
    if options.markdown is not None:
        # A run of some benchmarks leaves the sections of the others as they are.
        replaceIn(options.markdown, "\n".join(texts), bool(options.name or failed))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _measured(name: str, rounds: int) -> str:
    """
    Run the benchmark that has this name.

    @return: the results as JSON, or what this machine lacks.
    """
    try:
        found = BENCHMARKS[name](rounds)
    except Missing as e:
        return json.dumps(str(e))
    label = f"{platform.python_implementation()} {platform.python_version()}"
    return pythons.encoded(label, [found] if isinstance(found, Section) else found)


def _tables(name: str, interpreters: list[str], rounds: int) -> str:
    """
    Run the benchmark that has this name with each Python.

    @return: the tables, as Markdown.
    """
    try:
        found = [pythons.run(python, name, rounds) for python in interpreters]
    except Missing as e:
        return f"## {name}\n\nNot run. This machine lacks {e}.\n"
    return "\n".join(markdown(sections) for sections in zip(*found, strict=True))


if __name__ == "__main__":
    main()
