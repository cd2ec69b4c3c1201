"""
Conversations with a system that answers each call at once: macOS, the BSDs and Windows. Run with fakes of their
kernels, not on a real macOS, BSD or Windows yet.

A conversation is a generator that makes its calls itself, because none of them blocks. It yields C{None} at the end of
each turn of the reactor, or the number of seconds to pause. Its value is its result.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Generator
from typing import Any, NoReturn, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred

from txtuntap.device.platform import platformName
from txtuntap.layer.timer import Timer

_T = TypeVar("_T")

#: A conversation that may pause.
Conversation = Generator["float | None", Any, _T]

#: The name of each platform in texts, and its substitute for network namespaces.
_PLATFORMS = {
    "darwin": ("macOS", "use another machine"),
    "freebsd": ("FreeBSD", "run the program in a jail with vnet, or use 'ifconfig NAME vnet JAIL'"),
    "openbsd": ("OpenBSD", "use a routing domain: 'ifconfig NAME rdomain NUMBER'"),
    "netbsd": ("NetBSD", "use another machine"),
    "win32": ("Windows", "use another machine"),
}


def refuseNamespaces() -> NoReturn:
    """
    Raise the error that this platform has no network namespaces.
    """
    title, instead = _PLATFORMS[platformName()]
    text = f"{title} has no network namespaces as Linux has: leave the namespace out, or {instead}"
    raise OSError(errno.ENOTSUP, text)


def askNow(conversation: Conversation[_T], namespace: Any = None) -> _T:
    """
    Run a conversation to its end: see L{IConversing<txtuntap.device.interfaces.IConversing>}.
    """
    if namespace is not None:
        refuseNamespaces()
    while True:
        try:
            pause = next(conversation)
        except StopIteration as e:
            return cast(_T, e.value)
        if pause:
            time.sleep(pause)


def ask(reactor: Any, conversation: Conversation[_T], namespace: Any = None) -> Deferred[_T]:
    """
    Run a conversation in turns of the reactor: see L{IConversing<txtuntap.device.interfaces.IConversing>}.
    """
    if reactor is None:
        from twisted.internet import reactor
    run = _Run(reactor, conversation)
    run.turn(refuseNamespaces if namespace is not None else lambda: next(conversation))
    return run.done


class _Run:
    """
    A conversation that runs in turns of the reactor.

    @ivar done: fires with the result. After a cancellation, the conversation still runs to its end.
    """

    def __init__(self, reactor: Any, conversation: Conversation[Any]) -> None:
        self.done: Deferred[Any] = Deferred(lambda _: self._cancel())
        self._conversation = conversation
        self._isCancelled = False
        self._timer = Timer(reactor, self._continue)

    def turn(self, step: Any) -> None:
        """
        Make one step of the conversation, and leave the others to later turns.
        """
        try:
            pause = step()
        except StopIteration as e:
            self._end(e.value)
        except Exception as e:
            self._end(e)
        else:
            self._timer.arm(pause or 0)

    def _cancel(self) -> None:
        self._isCancelled = True

    def _continue(self) -> None:
        if self._isCancelled:
            self._isCancelled = False
            self.turn(lambda: self._conversation.throw(CancelledError()))
        else:
            self.turn(lambda: next(self._conversation))

    def _end(self, result: Any) -> None:
        # The Deferred of a cancelled conversation has failed already.
        if not self.done.called:
            if isinstance(result, Exception):
                self.done.errback(result)
            else:
                self.done.callback(result)
