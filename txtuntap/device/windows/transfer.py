"""
A read or a write that goes on after its call has returned. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from txtuntap.device.windows.kernel import Overlapped
from txtuntap.device.windows.library import ERROR_IO_INCOMPLETE, CallFailed

#: The number of milliseconds that a driver has to end all transfers that are cancelled.
_MOST_WAIT = 2000

#: The transfers that a driver has not ended. It may still write into their memory, so this is never freed.
_abandoned: list[Transfer] = []


class Transfer:
    """
    The memory of a transfer: a buffer, an event, and the record of its state.

    @ivar event: the event that is signalled when the transfer has ended, and until the next one begins.
    @ivar isPending: whether a transfer has begun whose end was not noticed yet.
    """

    def __init__(self, kernel: Any, size: int) -> None:
        """
        @param kernel: the calls of the system: L{Kernel<txtuntap.device.windows.kernel.Kernel>}.
        @param size: the number of octets in the buffer.

        @raise CallFailed: the system has no more events.
        """
        self.isPending = False
        # The error for which the last transfer has not begun.
        self._failure = 0
        self._kernel = kernel
        self._buffer = ctypes.create_string_buffer(size)
        self.event: int = kernel.createEvent(True)
        self._overlapped = Overlapped(event=self.event)

    def read(self, file: int) -> int:
        """
        Begin to read from a file.

        @return: 0, or the number of the error for which the read has not begun.
        """
        address, size = ctypes.addressof(self._buffer), len(self._buffer)
        return self._begun(self._kernel.read(file, address, size, self._overlapped))

    def write(self, file: int, data: bytes) -> int:
        """
        Begin to write to a file.

        @return: 0, or the number of the error for which the write has not begun.
        """
        if len(data) > len(self._buffer):
            self._buffer = ctypes.create_string_buffer(len(data))
        # The driver may change the octets in place, and those of bytes must not change.
        ctypes.memmove(self._buffer, data, len(data))
        return self._begun(self._kernel.write(file, ctypes.addressof(self._buffer), len(data), self._overlapped))

    def _begun(self, code: int) -> int:
        self._failure, self.isPending = code, not code
        return code

    def result(self, file: int) -> tuple[int, int]:
        """
        Return the result of the transfer.

        @return: the number of its error, and the number of octets. The error is 0 after a success, and
            C{ERROR_IO_INCOMPLETE} as long as the transfer goes on.
        """
        if self._failure:
            return self._failure, 0
        code, octets = self._kernel.result(file, self._overlapped)
        if code == ERROR_IO_INCOMPLETE:
            # The event may be signalled by mistake. Waiting for it would then end at once, again and again.
            self._kernel.resetEvent(self.event)
            code, octets = self._kernel.result(file, self._overlapped)
            if code != ERROR_IO_INCOMPLETE:
                self._kernel.setEvent(self.event)
        self.isPending = code == ERROR_IO_INCOMPLETE
        return code, octets

    def data(self, octets: int) -> bytes | None:
        """
        Return the octets that were read.

        @return: C{None}: the buffer does not have so many.
        """
        return ctypes.string_at(self._buffer, octets) if octets <= len(self._buffer) else None

    def hasEnded(self, file: int, milliseconds: int) -> bool:
        """
        Wait until the transfer has ended. A signal alone does not end it, because the driver may still write.

        @param milliseconds: the longest time to wait.
        """
        if self.isPending:
            # An event that is signalled by mistake is reset, so that the wait does not end at once.
            with suppress(CallFailed):
                if self.result(file)[0] == ERROR_IO_INCOMPLETE:
                    self._kernel.wait([self.event], milliseconds)
                    self.result(file)
        return not self.isPending

    def close(self) -> None:
        """
        Free the event and the memory of a transfer that has ended. The memory of another one is kept.
        """
        if self.isPending:
            _abandoned.append(self)
        else:
            self._kernel.close(self.event)


def closeAll(kernel: Any, file: int, transfers: Iterable[Transfer]) -> None:
    """
    Cancel the transfers of a file, wait until they have ended, and close the file.
    """
    pending = [each for each in transfers if each.isPending]
    kernel.cancel(file)
    left = _MOST_WAIT
    for each in pending:
        if not each.hasEnded(file, left):
            # The driver does not obey. The others have ended, or do not end either.
            left = 0
    kernel.close(file)
    for each in transfers:
        each.close()
