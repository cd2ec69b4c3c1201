"""
Tests for the calls of C{kernel32.dll} over a fake of this library, whose driver ends no request.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.windows import kernel
from txtuntap.device.windows.kernel import Kernel
from txtuntap.device.windows.library import (
    ERROR_INVALID_HANDLE,
    ERROR_IO_INCOMPLETE,
    ERROR_IO_PENDING,
    ERROR_OPERATION_ABORTED,
    ERROR_SEM_TIMEOUT,
    CallFailed,
)

_TIMEOUT, _FAILED = 0x102, 0xFFFFFFFF


class FakeLibrary:
    """
    A fake of C{kernel32.dll}.

    @ivar waits: the result of each wait.
    @ivar results: the error of each question for the result of a request; 0: it has succeeded.
    @ivar octets: the number of octets that the driver reports.
    @ivar calls: the names of the calls.
    """

    def __init__(self, waits: list[int], results: list[int], octets: int = 0) -> None:
        self.waits, self.results, self.octets = waits, results, octets
        self.calls: list[str] = []
        self.error = 0

    def function(self, name: str) -> Callable[..., int]:
        """
        Make one of the functions, which notes that it is called.
        """
        does: Callable[..., int] = getattr(self, name, lambda *arguments: 1)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return does(*arguments)

        return call

    def DeviceIoControl(self, *arguments: Any) -> int:
        self.error = ERROR_IO_PENDING
        return 0

    def WaitForMultipleObjects(self, *arguments: Any) -> int:
        self.error = ERROR_INVALID_HANDLE
        return self.waits.pop(0)

    def GetOverlappedResult(self, file: int, overlapped: Any, octets: Any, wait: bool) -> int:
        self.error = self.results.pop(0)
        octets._obj.value = self.octets
        return not self.error


class ControlTests(SynchronousTestCase):
    """
    Tests for requests to a driver that cannot be trusted.
    """

    def kernel(self, *arguments: Any, **options: Any) -> tuple[Kernel, FakeLibrary]:
        """
        Make the calls over a fake.
        """
        library = FakeLibrary(*arguments, **options)
        functions = {name: library.function(name) for name in kernel._SIGNATURES}
        self.patch(kernel, "load", lambda name: SimpleNamespace(**functions))
        self.patch(kernel, "lastError", lambda: library.error)
        self.patch(kernel, "_abandoned", [])
        return Kernel(), library

    def test_anAnswerEndsWithItsBuffer(self) -> None:
        calls, library = self.kernel([0], [0], octets=0xFFFFFFFF)
        self.assertEqual(bytes(6), calls.control(5, 0x220004, bytes(6), 6))
        self.assertEqual("CloseHandle", library.calls[-1])

    def test_theMemoryOfARequestThatDoesNotEndIsKept(self) -> None:
        for waits in [_TIMEOUT, _TIMEOUT], [_FAILED, _FAILED], [0, 0]:
            calls, library = self.kernel(waits, [ERROR_IO_INCOMPLETE] * 2)
            error = self.assertRaises(CallFailed, calls.control, 5, 0x220004, bytes(6), 6)
            self.assertEqual((ERROR_SEM_TIMEOUT, 1), (error.code, len(kernel._abandoned)))
            self.assertIn("CancelIoEx", library.calls)
            # The driver may signal the event, too.
            self.assertNotIn("CloseHandle", library.calls)

    def test_aCancelledRequestIsFreed(self) -> None:
        calls, library = self.kernel([_TIMEOUT, 0], [ERROR_IO_INCOMPLETE, ERROR_OPERATION_ABORTED])
        error = self.assertRaises(CallFailed, calls.control, 5, 0x220004, bytes(6), 6)
        self.assertEqual((ERROR_OPERATION_ABORTED, []), (error.code, kernel._abandoned))
        self.assertEqual("CloseHandle", library.calls[-1])
