"""
C{twistd} in this process, with arguments that it refuses.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from twisted.application import app
from twisted.application.service import IService
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]


def start(config: Any) -> None:
    """
    Make the application and start it, as C{twistd} does. The reactor is not run.
    """
    application = app.ApplicationRunner(config).createOrGetApplication()
    IService(application).privilegedStartService()


def refused(*arguments: str) -> list[str]:
    """
    Run C{twistd -n tuntap}, which is to fail before its reactor runs.

    @return: the lines it writes. An exception that it lets through is written as the interpreter does at the end.
    """
    said = StringIO()
    argv, hook = sys.argv, sys.excepthook
    sys.argv = ["twistd", "-n", "--pidfile=", "tuntap", *arguments]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            try:
                app.run(start, ServerOptions)
            except SystemExit as e:
                assert e.code == 1, e
            except Exception as e:
                sys.excepthook(type(e), e, e.__traceback__)
            else:
                raise AssertionError("it was started")
    finally:
        sys.argv, sys.excepthook = argv, hook
    return said.getvalue().strip().splitlines()
