"""
How much a call does, counted and not timed: for the tests that time grows with what is asked for, not with a table.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(call: Callable[..., object], *arguments: object) -> int:
    """
    Count the lines of Python that a call executes, in whatever it calls. A sort or a copy of a table in C counts as
    one; a comparison in Python that it makes counts.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    # What is collected meanwhile, of this or another test, may have finalizers in Python.
    gc.disable()
    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
        gc.enable()
    return count
