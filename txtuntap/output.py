"""
Handling of the stream that a command prints to, which its reader may close.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


def hasNoReader(stream: IO[Any]) -> bool:
    """
    Whether a stream is a pipe or a socket whose reader has closed it.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    if sys.platform == "win32":
        # Windows cannot tell whether a pipe has a reader, and the caller asks after a failed write only.
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    # Without any event asked for, poll() still reports a pipe without a reader.
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))


def discard(stream: IO[Any]) -> None:
    """
    Redirect a stream to C{/dev/null}, after its reader has closed it, as C{"| head"} does. Python writes the buffered
    text when it exits, and would fail a second time without this.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def endingSilently(stream: IO[Any] | None) -> Iterator[None]:
    """
    Flush a stream when the block ends, also by an exception. If the reader of the stream has closed it, discard the
    rest.

    @param stream: the stream that the block prints to; C{None} in a process without one.

    @raise SystemExit: the reader has closed the stream, so nobody needs the rest of the program. The exit status is 0.
    """
    try:
        try:
            yield
        finally:
            # Python would flush the output at its end, and print a traceback if that fails.
            if stream is not None:
                stream.flush()
    except BrokenPipeError:
        if stream is None or not hasNoReader(stream):
            raise
        discard(stream)
        raise SystemExit(0) from None
