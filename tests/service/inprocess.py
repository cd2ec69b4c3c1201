"""
Helpers that run C{twistd tuntap} in this process, as far as it needs no running reactor.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from twisted.application import app
from twisted.application.service import IService
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

_COMMAND = ["-n", *(() if sys.platform == "win32" else ("--pidfile=",)), "tuntap"]


def application(*arguments: str) -> Any:
    """
    Make the application that C{twistd -n tuntap} runs. It is not started.

    @raise UsageError: the arguments are refused.
    """
    config = ServerOptions()
    config.parseOptions([*_COMMAND, *arguments])
    return _application(config)


def _application(config: Any) -> Any:
    return IService(app.ApplicationRunner(config).createOrGetApplication())


def refused(*arguments: str) -> list[str]:
    """
    Run C{twistd -n tuntap}, which must fail before its reactor runs.

    @return: the lines that it writes. An exception that it raises is written as the interpreter does at its end.
    """
    said = StringIO()
    started: list[None] = []
    argv, hook = sys.argv, sys.excepthook
    sys.argv = ["twistd", *_COMMAND, *arguments]

    def start(config: Any) -> None:
        started.append(_application(config).privilegedStartService())

    try:
        with redirect_stdout(said), redirect_stderr(said):
            try:
                # Before Twisted 26.4, this returns after a mistake in the options, and does not exit.
                app.run(start, ServerOptions)
            except SystemExit as e:
                assert e.code == 1, e
            except Exception as e:
                sys.excepthook(type(e), e, e.__traceback__)
    finally:
        sys.argv, sys.excepthook = argv, hook
    assert not started
    return said.getvalue().strip().splitlines()
