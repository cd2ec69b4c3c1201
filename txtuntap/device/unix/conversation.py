"""
Conversations with the kernel of macOS or a BSD. Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.

A conversation is a generator that makes its calls itself, because none of them blocks. It yields C{None} at the end of
each turn of the reactor. Its value is its result.
"""

from __future__ import annotations

import errno
from typing import Any, NoReturn, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred

from txtuntap.device.pieces import Pieces
from txtuntap.device.unix.layout import layoutHere
from txtuntap.layer.timer import Timer

_T = TypeVar("_T")

#: The substitutes for network namespaces, by the title of the platform.
_INSTEAD = {
    "macOS": "use another machine",
    "FreeBSD": "run the program in a jail with vnet, or use 'ifconfig NAME vnet JAIL'",
    "OpenBSD": "use a routing domain: 'ifconfig NAME rdomain NUMBER'",
    "NetBSD": "use another machine",
}


def refuseNamespaces() -> NoReturn:
    """
    Raise the error that this platform has no network namespaces.
    """
    title = layoutHere().title
    text = f"{title} has no network namespaces as Linux has: leave the namespace out, or {_INSTEAD[title]}"
    raise OSError(errno.ENOTSUP, text)


def askNow(conversation: Pieces[_T], namespace: Any = None) -> _T:
    """
    Run a conversation to its end: see L{IConversing<txtuntap.device.interfaces.IConversing>}.
    """
    if namespace is not None:
        refuseNamespaces()
    while True:
        try:
            next(conversation)
        except StopIteration as e:
            return cast(_T, e.value)


def ask(reactor: Any, conversation: Pieces[_T], namespace: Any = None) -> Deferred[_T]:
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

    def __init__(self, reactor: Any, conversation: Pieces[Any]) -> None:
        self.done: Deferred[Any] = Deferred(lambda _: self._cancel())
        self._conversation = conversation
        self._isCancelled = False
        self._timer = Timer(reactor, self._continue)

    def turn(self, step: Any) -> None:
        """
        Make one step of the conversation, and leave the others to later turns.
        """
        try:
            step()
        except StopIteration as e:
            self._end(e.value)
        except Exception as e:
            self._end(e)
        else:
            self._timer.arm(0)

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
