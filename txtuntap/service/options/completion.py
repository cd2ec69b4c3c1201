"""
The completion of C{twistd tuntap} in zsh, as far as Twisted does not provide it.

Twisted makes completions of a command from its options and from C{compData} (C{twisted.python.usage.Completions}), but
only for one level of subcommands. The subcommands of C{tuntap} are a second level.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from twisted.python.usage import Completer, Options


class CompleteSubcommand(Completer):
    """
    Completes the name of a subcommand, and then its options.
    """

    def __init__(self, command: str, kinds: Callable[[], Sequence[Sequence[Any]]]) -> None:
        """
        @param command: the command whose subcommands these are.
        @param kinds: returns the rows of C{subCommands}.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._command = command
        self._kinds = kinds

    def _shellCode(self, optName: str, shellType: str) -> str:
        """
        Return the specification of the words behind the command, for C{_arguments} of zsh.
        """
        rows = {name: options for name, _, options, _ in self._kinds()}
        # Twisted has the words of the command line here, too, and does not pass them.
        words = sys.argv[sys.argv.index(self._command) + 1 :] if self._command in sys.argv else []
        if words[:1] and words[0] in rows and len(words) > 1 and words[1] != "--_shell-completion":
            code = _code(rows[words[0]]())
        else:
            texts = " ".join(f'"{name}:{text}"' for name, _, _, text in self._kinds())
            code = f"local -a kinds; kinds=({texts}); _describe subcommand kinds"
        escaped = code.replace(":", "\\:")
        return f"*::{self._command} subcommand:{{{escaped}}}"


def _code(options: Options) -> str:
    """
    Return the code that completes options, as Twisted makes it.
    """
    from twisted.python._shellcomp import ZshArgumentsGenerator

    file = BytesIO()
    made = ZshArgumentsGenerator(options, "twistd", file)
    made.writeExtras()
    made.writeOptions()
    specifications = file.getvalue().decode().replace(" \\\n", " ")
    return f"_arguments -s {specifications}"
