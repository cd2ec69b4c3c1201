"""
The count of open descriptors, for tests that nothing is left open.
"""

from __future__ import annotations

import os
from contextlib import suppress

#: A number above every descriptor that a test opens.
_MOST = 1024


def openDescriptors() -> int:
    """
    Count the open descriptors of this process.
    """
    count = 0
    for number in range(_MOST):
        with suppress(OSError):
            os.fstat(number)
            count += 1
    return count
