"""
A count of the work of a call. With it, tests show that the cost of a call does not grow with the size of a table.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(call: Callable[..., object], *arguments: object) -> int:
    """
    Count the lines of Python that a call executes, including the functions that it calls. A function in C, such as a
    sort or a copy of a table, counts as one line; the Python functions that it calls count in addition.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    # The garbage collector is off, because finalizers in Python would be counted.
    gc.disable()
    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
        gc.enable()
    return count
