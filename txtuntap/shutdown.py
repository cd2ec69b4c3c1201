"""
Stopping a reactor, by a call or by a signal.
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
    Whether a reactor disconnects its ports and connections because it is shutting down.

    C{running} is false during the shutdown. C{running} is also false before the reactor starts, but a reactor
    disconnects nothing at that time.
    """
    return IReactorCore.providedBy(reactor) and not reactor.running


def stop(reactor: Any) -> None:
    """
    Stop a reactor, unless it has been stopped already.
    """
    with suppress(ReactorNotRunning):
        reactor.stop()


def endOnHangUp() -> None:
    """
    Let SIGHUP end this process as SIGTERM does, so that a closed terminal leaves no interface behind. If SIGHUP is
    ignored (C{nohup}) or already has a handler, change nothing.
    """
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hungUp)


def _hungUp(*ignored: object) -> None:
    _log.info("SIGHUP ends this process as SIGTERM does")
    signal.raise_signal(signal.SIGTERM)
