"""
The version of the package, and the option C{--version} of its commands.
"""

from __future__ import annotations

import argparse
from typing import Any


def version() -> str:
    """
    Return the version of the installed package, such as C{"26.11.0"}; C{"unknown"} if it is not installed.
    """
    # Most programs never ask, so they do not wait for this import.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("txtuntap")
    except PackageNotFoundError:
        return "unknown"


def addVersion(parser: argparse.ArgumentParser) -> None:
    """
    Add the option C{--version} to the parser of a command.
    """
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and exit")


class _Version(argparse.Action):
    """
    An action that prints the version, and ends the process. Unlike that of C{argparse}, it reads the version only when
    it is asked for.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> None:
        print(f"{parser.prog} {version()}")
        parser.exit()
