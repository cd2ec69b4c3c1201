"""
The stream that a command writes to.
"""

from __future__ import annotations

import os
from typing import IO, Any


def discard(stream: IO[Any]) -> None:
    """
    Write nothing more to a stream that nobody reads, as with C{"| head"}. Otherwise Python would write what is
    buffered when it ends, and fail again.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
