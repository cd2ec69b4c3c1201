"""
The thread of a device of Windows, which waits for the device's events. Run under Wine with fake drivers, not on a real
Windows yet.

Twisted's reactors for Windows wait for sockets only, unless pywin32 is installed. This thread works under each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from txtuntap.device.windows.library import ERROR_NOT_ENOUGH_MEMORY, CallFailed


class Waiter:
    """
    A thread that waits for an event, and calls a function once for each time that it is asked to.

    @ivar failure: the number of the error for which the thread cannot wait any more; 0: there was none.
    @ivar isSignalled: whether the last call was made because the event was signalled. The device sets it back.
    """

    _log = Logger()

    def __init__(self, kernel: Any, name: str) -> None:
        """
        Start the thread, which waits until it is asked.

        @param kernel: the calls of the system: L{Kernel<txtuntap.device.windows.kernel.Kernel>}.
        @param name: the name of the interface.

        @raise CallFailed: the system has no more events, or no more threads.
        """
        self.failure = 0
        self.isSignalled = False
        self._kernel = kernel
        # The thread waits for this event, too. It is signalled when the attributes below have changed.
        self._changed: int = kernel.createEvent(False)
        self._lock = threading.Condition()
        self._callback: Callable[[], None] | None = None
        self._owner: object = None
        self._event: int | None = None
        self._milliseconds: int | None = None
        # The event for which the thread waits now.
        self._awaited: int | None = None
        self._isEnding = False
        # A program that ends without closing its device does not wait for this thread.
        self._thread = threading.Thread(target=self._run, name=f"txtuntap {name}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as e:
            kernel.close(self._changed)
            raise CallFailed(ERROR_NOT_ENOUGH_MEMORY) from e

    def ask(
        self,
        callback: Callable[[], None] | None,
        event: int | None,
        milliseconds: int | None = None,
        owner: object = None,
    ) -> None:
        """
        Call a function once when an event is signalled. This replaces the function and the event of the last call.

        @param callback: called on the thread; C{None}: no function is called any more.
        @param event: the event to wait for; C{None}: none.
        @param milliseconds: the longest time to wait before the call; C{None}: without end.
        @param owner: the owner of the event, which exists until the call because the thread refers to it.
        """
        with self._lock:
            self._callback, self._event, self._milliseconds, self._owner = callback, event, milliseconds, owner
        self._kernel.setEvent(self._changed)

    def release(self) -> None:
        """
        Return when the thread does not wait for the event any more, so that it can be closed. If a function was to be
        called for it, it is called soon.
        """
        with self._lock:
            self.isSignalled = False
            self._event, self._milliseconds = None, 0
            self._kernel.setEvent(self._changed)
            while self._awaited is not None:
                self._lock.wait()

    def stop(self) -> None:
        """
        End the thread, and wait until it has ended. The events may be closed then.

        @raise RuntimeError: the function that this thread calls has called this.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a device cannot be closed by the function that it calls: close it on another thread")
        with self._lock:
            self._isEnding = True
        self._kernel.setEvent(self._changed)
        self._thread.join()
        self._kernel.close(self._changed)

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._isEnding:
                    return
                event = self._awaited = None if self._callback is None else self._event
                milliseconds = None if self._callback is None else self._milliseconds
                self._lock.notify_all()
            handles = [self._changed] if event is None else [self._changed, event]
            try:
                found = self._kernel.wait(handles, milliseconds)
            except CallFailed as e:
                # The event is not valid, although the session has it. Waiting again would fail at once.
                self.failure = e.code or -1
                found = -1
            if found == 0:
                continue
            with self._lock:
                callback, self._callback, self._owner = self._callback, None, None
                self.isSignalled = found == 1
                self._awaited = None
                self._lock.notify_all()
            if callback is not None:
                self._call(callback)
            if self.failure:
                return

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            self._log.failure("A function that was to be called for packets has failed")
