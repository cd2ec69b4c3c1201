"""
Files and pipes, opened for octets without a wait for another program.
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    # Without this flag, the C library changes the ends of lines.
    _FLAGS = os.O_BINARY
else:
    # Without the first flag, opening a pipe would wait until another program opens its other end.
    _FLAGS = os.O_NONBLOCK | os.O_NOCTTY


def openAtOnce(path: str | bytes | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
    """
    Open a file, or a pipe that a program may have open at its other end.

    @param flags: C{O_RDONLY} or C{O_WRONLY}, with further flags of C{open(2)} such as C{O_CREAT}.
    @param mode: the permissions of a new file.

    @return: a non-blocking descriptor of octets, which child processes do not inherit.

    @raise OSError: the file cannot be opened. With C{ENXIO}, no program has a pipe open for reading.
    """
    return os.open(path, flags | _FLAGS, mode)
