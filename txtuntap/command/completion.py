"""
The subcommand C{completion}, which prints the completion of the command for a shell::

    eval "$(txtuntap completion bash)"

C{docs/commands.py} makes the files of completions from the parser, so that no user needs a package for that. The
wheel also puts them where shells look for completions.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, TextIO


def completion(options: Any, out: TextIO) -> None:
    """
    Print the completion for a shell.
    """
    out.write(files("txtuntap.command").joinpath("completions", options.shell).read_text())
