"""
Errors of services, as their users see them.
"""

from __future__ import annotations

import sys
from types import TracebackType


def showPlainly(error: Exception) -> None:
    """
    Print the given error as one line if it ends C{twistd}. Without this, C{twistd} would print a traceback that ends
    with that line. C{SystemExit} is no alternative, because C{twistd} would then leave its pid file behind.
    """
    others = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is error:
            print(f"twistd tuntap: {value}", file=sys.stderr)
        else:
            others(kind, value, traceback)

    sys.excepthook = show
