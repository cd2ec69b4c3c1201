"""
The end of a reactor, and the signals that bring it about.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

_log = Logger()


def isShuttingDown(reactor: Any) -> bool:
    """
    Whether a reactor is disconnecting everything because it ends. C{running} is false from then on. (It is false before
    the reactor runs, too, but a reactor disconnects nothing then.)
    """
    return IReactorCore.providedBy(reactor) and not reactor.running


def stop(reactor: Any) -> None:
    """
    Stop a reactor, which may have been stopped already.
    """
    with suppress(ReactorNotRunning):
        reactor.stop()


def endOnHangUp() -> None:
    """
    Have SIGHUP end this process as SIGTERM does, so that everything is undone when a terminal is closed. Where SIGHUP
    is ignored (C{nohup}) or handled already, that stays.
    """
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hungUp)


def _hungUp(*ignored: object) -> None:
    _log.info("SIGHUP ends this process as SIGTERM does")
    signal.raise_signal(signal.SIGTERM)
