"""
Notifications of Windows about changes of interfaces and addresses. Run under Wine with fake drivers, not on a real
Windows yet.
"""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable
from typing import Any

from txtuntap.device.windows.iphlpapi import AF_UNSPEC, CHANGE_CALLBACK
from txtuntap.device.windows.library import CallFailed

#: The notifications that Windows may still deliver. A callback has to exist until its notification is cancelled.
_registered: set[Notification] = set()


class Notification:
    """
    A registration, by which Windows calls a function after each change.
    """

    def __init__(self, library: Any, name: str, changed: Callable[[], object]) -> None:
        """
        @param library: the functions of C{iphlpapi.dll}.
        @param name: the function that registers: C{"NotifyIpInterfaceChange"} or C{"NotifyUnicastIpAddressChange"}.
        @param changed: called on a thread of Windows after each change. It must not cancel a notification, because the
            cancellation waits for the end of this call.

        @raise OSError: Windows refuses the registration.
        """
        self._library = library

        def call(context: object, row: object, kind: object) -> None:
            # The row is not read, because it may be out of date by now.
            changed()

        self._callback = CHANGE_CALLBACK(call)
        self._handle = ctypes.c_void_p()
        register = getattr(library, name)
        _registered.add(self)
        try:
            code = register(AF_UNSPEC, self._callback, None, False, ctypes.byref(self._handle))
            if code:
                raise CallFailed(code).explained(f"{name} fails")
        except BaseException:
            _registered.discard(self)
            raise

    def cancel(self) -> None:
        """
        End the calls, and wait for a call that is being made. The callback of a registration that cannot be cancelled
        exists until the end of the process.
        """
        if self not in _registered or not self._handle:
            # Wine gives no handle, and makes no calls.
            return
        if not self._library.CancelMibChangeNotify2(self._handle):
            _registered.discard(self)


@atexit.register
def _cancelAll() -> None:
    """
    Cancel all notifications, because Python frees the callbacks when it ends.
    """
    for each in list(_registered):
        each.cancel()
