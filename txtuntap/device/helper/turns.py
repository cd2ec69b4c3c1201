"""
A queue of calls in which users take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed

_T = TypeVar("_T")


class Turns:
    """
    A queue that makes calls one at a time, with a round robin between users. The calls of one user are made in the
    order in which they were queued. A user's first call waits for at most one call of each other user, even if another
    user has many calls in the queue.
    """

    def __init__(self) -> None:
        # The waiting calls of each user. The user whose turn is next comes first.
        self._waiting: dict[int, deque[tuple[Deferred[Any], Callable[..., Deferred[Any]], tuple[Any, ...]]]] = {}
        self._isBusy = False
        self._isStarting = False
        self._ends: list[Deferred[None]] = []

    def take(self, user: int, call: Callable[..., Deferred[_T]], *arguments: Any) -> Deferred[_T]:
        """
        Queue a call until it is the user's turn.

        @param user: the user number.
        @param call: the function to call. The next call waits for its Deferred.
        @param arguments: the arguments of the call.

        @return: fires or fails with the call's outcome. Cancelling it before the turn removes the call from the queue.
        """
        done: Deferred[_T] = Deferred(lambda _: self._leave(user, done))
        self._waiting.setdefault(user, deque()).append((done, call, arguments))
        self._start()
        return done

    @property
    def mostWaiting(self) -> int:
        """
        The number of waiting calls of the user that has most of them.
        """
        return max(map(len, self._waiting.values()), default=0)

    def whenIdle(self) -> Deferred[None]:
        """
        Wait for the end of all calls.

        @return: fires when no call is running and none waits.
        """
        if not self._isBusy and not self._waiting:
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._ends.append(idle)
        return idle

    def _leave(self, user: int, done: Deferred[Any]) -> None:
        left = deque(each for each in self._waiting.get(user, ()) if each[0] is not done)
        if left:
            self._waiting[user] = left
        else:
            self._waiting.pop(user, None)

    def _start(self) -> None:
        if self._isStarting:
            # A call has ended at once. The loop below makes the next one; recursion could become as deep as the queue.
            return
        self._isStarting = True
        while self._waiting and not self._isBusy:
            user = next(iter(self._waiting))
            calls = self._waiting.pop(user)
            done, call, arguments = calls.popleft()
            if calls:
                self._waiting[user] = calls
            self._isBusy = True
            maybeDeferred(call, *arguments).addBoth(self._ended, done)
        self._isStarting = False
        if not self._isBusy:
            ends, self._ends = self._ends, []
            for each in ends:
                each.callback(None)

    def _ended(self, outcome: Any, done: Deferred[Any]) -> None:
        self._isBusy = False
        done.callback(outcome)
        self._start()
