"""
The help texts of C{twistd tuntap}: options in groups for C{--help}, and a short usage in front of an error.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import ClassVar, TypeVar

from twisted.copyright import version as twistedVersion
from twisted.python import usage

from txtuntap.output import endingSilently
from txtuntap.version import version

_Method = TypeVar("_Method", bound=Callable[..., None])

#: The characters of a line of help where the environment has no C{COLUMNS}, as Twisted has it.
_WIDTH = 80


def about(text: str) -> Callable[[_Method], _Method]:
    """
    Make a decorator that sets the help text of an option, which is the decorated method. A docstring would not do:
    C{python -OO} removes docstrings, and Twisted would print the indentation of the docstring.
    """

    def decorated(method: _Method) -> _Method:
        method.__doc__ = cleandoc(text)
        return method

    return decorated


def repeatable(text: str) -> Callable[[_Method], _Method]:
    """
    Make a decorator that sets the help text of an option that may be repeated: see L{about}.
    """
    return about(f"{cleandoc(text)} May be repeated.")


class HelpfulOptions(usage.Options):
    """
    The base class of the options of C{twistd tuntap} and of its subcommands.

    @cvar optGroups: the names of options by the heading under which C{--help} lists them. The groups of a class come
        before those of its base classes. Groups of the same heading are joined.
    """

    optGroups: ClassVar[Mapping[str, Sequence[str]]] = {"Help": ["help", "version"]}

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._isHelpWanted = False

    @about("Print this help, and exit.")
    def opt_help(self) -> None:
        self._isHelpWanted = True
        with endingSilently(sys.stdout):
            super().opt_help()  # type: ignore[no-untyped-call]

    @about("Print the version, and exit.")
    def opt_version(self) -> None:
        with endingSilently(sys.stdout):
            print(f"txtuntap {version()} (Twisted {twistedVersion})")
            raise SystemExit(0)

    @classmethod
    def groups(cls) -> dict[str, list[str]]:
        """
        Return the names of all options by their headings, in the order in which C{--help} lists them.
        """
        found: dict[str, list[str]] = {}
        for each in cls.__mro__:
            for heading, names in vars(each).get("optGroups", {}).items():
                known = found.setdefault(heading, [])
                known += [name for name in names if name not in known]
        return found

    def getSynopsis(self) -> str:
        """
        Return the way to call the command, in one line.
        """
        # An empty synopsis of a parent leaves two blanks.
        return " ".join(super().getSynopsis().split())

    def getUsage(self, width: int | None = None) -> str:
        """
        Return the help for C{--help}. Twisted prints the same text in front of each error, where a short one is better:
        the way to call the command, and the names of subcommands.

        @param width: the most characters of a line; C{None}: as the environment says.
        """
        if hasattr(self, "subOptions"):
            found: str = self.subOptions.getUsage(width)
            return found
        width = width or int(os.environ.get("COLUMNS") or _WIDTH)
        commands = [(name, text) for name, _, _, text in getattr(self, "subCommands", ())]
        parts = [_rows("Commands", commands, width)] if commands else []
        if not self._isHelpWanted:
            return "\n".join([f"  {self._ownSynopsis()}", *parts, "Add --help for the list of options.", ""])
        about = textwrap.fill(getattr(self, "longdesc", ""), width) + "\n"
        groups = [_rows(heading, self.described(names), width) for heading, names in self.groups().items()]
        return "\n".join(["", about, *parts, *groups])

    def _ownSynopsis(self) -> str:
        """
        Return the synopsis from this package's command on. In front of an error, Twisted has printed the rest.
        """
        root: usage.Options = self
        while root.parent is not None:
            root = root.parent
        synopsis = self.getSynopsis()
        # A program that has made this object itself prints no other synopsis.
        return synopsis if root is self else synopsis.removeprefix(root.getSynopsis()).strip()

    def described(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """
        Return each option as it is written on the command line, with its description.
        """
        short = {name: key for key, name in self.synonyms.items() if len(key) == 1}
        rows = []
        for name in names:
            equals = "=" if f"{name}=" in self.longOpt else ""
            default = self.defaults.get(name) if equals else None
            more = "" if default is None else f" [default: {default}]"
            letter = f"-{short[name]}, " if name in short else "    "
            rows.append((f"{letter}--{name}{equals}", f"{self.docs[name]}{more}"))
        return rows


#: The characters before the descriptions of options: room for the longest name, so that all groups are aligned.
_COLUMN = 26


def _rows(heading: str, rows: Iterable[tuple[str, str]], width: int) -> str:
    """
    Format names and their descriptions in two columns below a heading.
    """
    lines = [f"{heading}:"]
    for name, text in rows:
        described = textwrap.wrap(" ".join(text.split()), max(width - _COLUMN, 20)) or [""]
        lines.append(f"  {name}".ljust(_COLUMN) + described[0])
        lines += [" " * _COLUMN + each for each in described[1:]]
    return "\n".join(lines) + "\n"
