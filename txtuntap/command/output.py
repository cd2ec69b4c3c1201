"""
Handling of the stream that a subcommand prints to.
"""

from __future__ import annotations

import os
from typing import IO, Any


def discard(stream: IO[Any]) -> None:
    """
    Redirect a stream to C{/dev/null}, after its reader has closed it, as C{"| head"} does. Python writes the buffered
    text when it exits, and would fail a second time without this.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
