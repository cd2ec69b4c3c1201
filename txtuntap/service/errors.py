"""
Errors of services, as their users see them.
"""

from __future__ import annotations

import sys
from types import TracebackType


def showPlainly(error: Exception) -> None:
    """
    Have an error that ends twistd shown as a line. It would be a traceback, at whose end stands what the user is to
    read; and anything else to end with, such as C{SystemExit}, would leave the pid file behind.
    """
    others = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is error:
            print(f"twistd tuntap: {value}", file=sys.stderr)
        else:
            others(kind, value, traceback)

    sys.excepthook = show
