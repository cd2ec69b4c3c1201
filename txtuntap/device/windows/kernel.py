"""
The calls of C{kernel32.dll} that the devices of Windows make: events, waiting, and files with overlapped input and
output. Run under Wine with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from txtuntap.device.windows.library import (
    ERROR_IO_INCOMPLETE,
    ERROR_IO_PENDING,
    ERROR_SEM_TIMEOUT,
    CallFailed,
    lastError,
    load,
)

#: C{GENERIC_READ} and C{GENERIC_WRITE}
_READ_AND_WRITE = 0xC0000000

_OPEN_EXISTING = 3

#: C{FILE_ATTRIBUTE_SYSTEM} and C{FILE_FLAG_OVERLAPPED}
_SYSTEM_OVERLAPPED = 0x40000004

_INVALID_HANDLE = ctypes.c_void_p(-1).value

_INFINITE, _WAIT_TIMEOUT, _WAIT_FAILED = 0xFFFFFFFF, 0x102, 0xFFFFFFFF

#: The number of milliseconds that a driver has to answer a request, and to end one that is cancelled.
_MOST_WAIT = 2000

#: The memory of requests that a driver has not ended. It may still write its answer, so this is never freed.
_abandoned: list[object] = []

#: The signature of each call: the type of its result, and those of its arguments.
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "CreateEventW": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_wchar_p),
    "SetEvent": (ctypes.c_int, ctypes.c_void_p),
    "ResetEvent": (ctypes.c_int, ctypes.c_void_p),
    "CloseHandle": (ctypes.c_int, ctypes.c_void_p),
    "WaitForMultipleObjects": (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32),
    "CreateFileW": (
        ctypes.c_void_p,
        ctypes.c_wchar_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
    ),
    "DeviceIoControl": (
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ),
    "ReadFile": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p),
    "WriteFile": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p),
    "GetOverlappedResult": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    "CancelIoEx": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
}


class Overlapped(ctypes.Structure):
    """
    The record of a transfer that goes on after its call has returned (C{OVERLAPPED}).
    """

    _fields_ = (
        ("internal", ctypes.c_size_t),
        ("internalHigh", ctypes.c_size_t),
        ("offset", ctypes.c_uint32),
        ("offsetHigh", ctypes.c_uint32),
        ("event", ctypes.c_void_p),
    )


class Kernel:
    """
    The calls of C{kernel32.dll}. Tests can replace this by another object with the same methods. Handles are numbers.
    """

    def __init__(self) -> None:
        """
        @raise OSError: this is not Windows.
        """
        library = load("kernel32.dll")
        self._call: dict[str, Any] = {}
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            self._call[name] = function

    def _checked(self, name: str, *arguments: object) -> int:
        """
        Make a call whose result is not zero if it succeeds.
        """
        result: int | None = self._call[name](*arguments)
        if not result:
            raise CallFailed(lastError())
        return result

    def createEvent(self, stays: bool) -> int:
        """
        Make an event that is not signalled.

        @param stays: whether the event stays signalled when a wait for it ends.
        """
        return self._checked("CreateEventW", None, stays, False, None)

    def setEvent(self, event: int) -> None:
        """
        Signal an event, which ends a wait for it.
        """
        self._checked("SetEvent", event)

    def resetEvent(self, event: int) -> None:
        """
        Take back the signal of an event.
        """
        self._checked("ResetEvent", event)

    def close(self, handle: int) -> None:
        """
        Close an event or a file.
        """
        self._call["CloseHandle"](handle)

    def wait(self, handles: Sequence[int], milliseconds: int | None) -> int:
        """
        Wait until an event is signalled. Other threads run meanwhile.

        @param milliseconds: the longest time to wait; C{None}: without end.

        @return: the position of the event in C{handles}; -1 if the time is over.

        @raise CallFailed: one of the handles is not valid.
        """
        array = (ctypes.c_void_p * len(handles))(*handles)
        most = _INFINITE if milliseconds is None else milliseconds
        found: int = self._call["WaitForMultipleObjects"](len(handles), array, False, most)
        if found == _WAIT_TIMEOUT:
            return -1
        if found == _WAIT_FAILED:
            raise CallFailed(lastError())
        if not 0 <= found < len(handles):
            # An abandoned mutex, or a number that Windows never gives.
            raise CallFailed(found)
        return found

    def openFile(self, path: str) -> int:
        """
        Open a device for overlapped reads and writes.

        @return: the handle.
        """
        handle: int | None = self._call["CreateFileW"](
            path, _READ_AND_WRITE, 0, None, _OPEN_EXISTING, _SYSTEM_OVERLAPPED, None
        )
        if handle in (None, 0, _INVALID_HANDLE):
            raise CallFailed(lastError())
        return handle or 0

    def control(self, file: int, request: int, data: bytes, length: int) -> bytes:
        """
        Send a request to a driver, and wait for the answer (C{DeviceIoControl}).

        @param data: the octets of the request.
        @param length: the most octets of the answer.

        @return: the octets of the answer.

        @raise CallFailed: the driver refuses.
        """
        event = self.createEvent(True)
        overlapped = Overlapped(event=event)
        question = ctypes.create_string_buffer(data, max(len(data), 1))
        answer = ctypes.create_string_buffer(max(length, 1))
        code = 0
        if not self._call["DeviceIoControl"](
            file, request, question, len(data), answer, length, None, ctypes.byref(overlapped)
        ):
            code = lastError()
        octets = 0
        if code in (0, ERROR_IO_PENDING):
            code, octets = self._waited(file, overlapped)
        if code == ERROR_IO_INCOMPLETE:
            self.cancel(file)
            code, octets = self._waited(file, overlapped)
            if code == ERROR_IO_INCOMPLETE:
                _abandoned.append((overlapped, question, answer))
                raise CallFailed(ERROR_SEM_TIMEOUT)
        self.close(event)
        if code:
            raise CallFailed(code)
        return answer.raw[: min(octets, length)]

    def _waited(self, file: int, overlapped: Overlapped) -> tuple[int, int]:
        """
        Wait for the end of a request, and return its L{result}.
        """
        with suppress(CallFailed):
            self.wait([overlapped.event], _MOST_WAIT)
        return self.result(file, overlapped)

    def read(self, file: int, address: int, length: int, overlapped: Overlapped) -> int:
        """
        Begin to read from a file. Both C{overlapped} and the octets at C{address} have to exist until this has ended.

        @return: 0, or the number of the error for which the read has not begun.
        """
        return self._begun("ReadFile", file, address, length, overlapped)

    def write(self, file: int, address: int, length: int, overlapped: Overlapped) -> int:
        """
        Begin to write to a file. Both C{overlapped} and the octets at C{address} have to exist until this has ended.

        @return: 0, or the number of the error for which the write has not begun.
        """
        return self._begun("WriteFile", file, address, length, overlapped)

    def _begun(self, name: str, file: int, address: int, length: int, overlapped: Overlapped) -> int:
        if self._call[name](file, address, length, None, ctypes.byref(overlapped)):
            return 0
        code = lastError()
        return 0 if code == ERROR_IO_PENDING else code

    def result(self, file: int, overlapped: Overlapped) -> tuple[int, int]:
        """
        Return the result of a transfer.

        @return: the number of its error, and the number of octets. The error is 0 after a success, and
            C{ERROR_IO_INCOMPLETE} as long as the transfer goes on.
        """
        octets = ctypes.c_uint32()
        if self._call["GetOverlappedResult"](file, ctypes.byref(overlapped), ctypes.byref(octets), False):
            return 0, octets.value
        return lastError() or ERROR_IO_INCOMPLETE, octets.value

    def cancel(self, file: int) -> None:
        """
        Ask the driver to end all transfers of a file. Each of them ends later, or has ended.
        """
        self._call["CancelIoEx"](file, None)
