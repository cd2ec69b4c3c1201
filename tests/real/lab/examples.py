"""
Functions that run the examples as their docstrings say.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.paths import EXAMPLES
from tests.real.lab.namespace import PATIENCE, interfaces, until


class Example:
    """
    A running example, and the text that it has printed.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def printed(self) -> str:
        """
        The text that the example has printed so far. It must still run.
        """
        assert self.process.poll() is None, f"the example has ended: {self._output.read_text()}"
        return self._output.read_text()

    def untilPrinted(self, pattern: str) -> None:
        """
        Wait for a line that contains C{pattern}.
        """
        until(lambda: re.findall(pattern, self.printed(), re.MULTILINE), f"a line with {pattern!r}")


@contextmanager
def running(tmp_path: Path, name: str, *arguments: str, before: Sequence[str] = ()) -> Iterator[Example]:
    """
    Run an example in a context manager. Check that it ends without an error at SIGTERM, and leaves no interface.

    @param before: a command that runs the example, whose command line is appended to its arguments.
    """
    there = interfaces()
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([*before, sys.executable, EXAMPLES / name, *arguments], stdout=file, stderr=file)
    try:
        yield Example(process, output)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
    assert status == 0, output.read_text()
    assert "Traceback" not in output.read_text()
    assert interfaces() == there


def run(*command: str | Path, status: int = 0, **environment: str) -> str:
    """
    Run a command to its end, check its exit status, and return the text that it prints.
    """
    finished = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert finished.returncode == status, finished.stdout
    return finished.stdout


def docstring(name: str) -> str:
    """
    The module docstring of an example.
    """
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text()))
    assert text is not None
    return text
