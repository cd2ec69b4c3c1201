"""
Run a benchmark with several Pythons, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.measure import Missing, Row, Section

ROOT = Path(__file__).parent.parent


def environment(python: str, directory: Path) -> str:
    """
    Make a virtual environment for the benchmarks.

    @param python: the interpreter, as a path or as the name of a program.
    @param directory: the directory to make, outside this tree.

    @return: the path of the environment's own interpreter.

    @raise CalledProcessError: there is no such interpreter, or the packages cannot be installed.
    """
    subprocess.run([python, "-m", "venv", directory], check=True)
    made = directory / "bin" / "python"
    subprocess.run([made, "-m", "pip", "install", "-q", "-e", f"{ROOT}[test]"], check=True)
    return str(made)


def encoded(python: str, sections: Sequence[Section]) -> str:
    """
    Encode the results of a benchmark as JSON.

    @param python: the name of the Python.
    """
    return json.dumps([python, [attrs.asdict(section) for section in sections]])


def run(python: str, name: str, rounds: int) -> list[tuple[str, Section]]:
    """
    Run a benchmark of this tree in another process.

    @param python: the path of the interpreter.
    @param name: the name of the benchmark.

    @return: the results, each behind the name of the Python.

    @raise Missing: the machine or the environment lacks something that the benchmark needs.
    """
    command = [python, "-m", "benchmarks", name, "--rounds", str(rounds), "--json"]
    # Programs such as twistd, which a benchmark starts elsewhere, must find this tree too.
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found: Any = json.loads(finished.stdout)
    if isinstance(found, str):
        raise Missing(found)
    label, sections = found
    return [(label, sectionOf(**section)) for section in sections]


def sectionOf(rows: Sequence[Any], **fields: Any) -> Section:
    """
    Decode a section of L{encoded}.

    @param rows: its rows, as mappings from the names of their attributes.
    @param fields: its other attributes.
    """
    return Section(rows=[Row(**row) for row in rows], **fields)
