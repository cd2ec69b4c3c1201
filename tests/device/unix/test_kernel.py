"""
Tests for the call of C{sysctl}, over a fake of the C library.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.unix.system import RealSystem


class FakeLibrary:
    """
    A C library whose C{sysctl} returns a value that grows.

    @ivar value: the value.
    @ivar growth: the octets by which the value grows after each question for its size; the last one repeats.
    @ivar refusal: the error number with which each call is refused; 0: none.
    """

    def __init__(self, value: bytes, growth: tuple[int, ...] = (0,), refusal: int = 0) -> None:
        self.value = value
        self.growth = list(growth)
        self.refusal = refusal
        self.calls = 0

    def sysctl(self, names: Any, count: int, buffer: Any, size: Any, new: None, newSize: int) -> int:
        assert (list(names), count, new, newSize) == ([4, 17, 0, 0, 3, 0], 6, None, 0)
        self.calls += 1
        room = size._obj
        if self.refusal:
            ctypes.set_errno(self.refusal)
            return -1
        if buffer is None:
            room.value = len(self.value)
            self.value += bytes(self.growth.pop(0) if len(self.growth) > 1 else self.growth[0])
        elif len(self.value) > room.value:
            ctypes.set_errno(errno.ENOMEM)
            return -1
        else:
            ctypes.memmove(buffer, self.value, len(self.value))
            room.value = len(self.value)
        return 0


class SysctlTests(SynchronousTestCase):
    """
    Tests for the system call C{sysctl}.
    """

    def ask(self, library: FakeLibrary) -> bytes:
        """
        Read the value of a fake C library.
        """
        self.patch(ctypes, "CDLL", lambda name, use_errno: library)
        return RealSystem.sysctl((4, 17, 0, 0, 3, 0))

    def test_theWholeValueIsReturned(self) -> None:
        for value in b"", b"abc", bytes(range(256)) * 100:
            self.assertEqual(value, self.ask(FakeLibrary(value)))

    def test_aValueThatHasGrownIsAskedForAgain(self) -> None:
        self.assertEqual(6003, len(self.ask(FakeLibrary(b"abc", (5000, 1000)))))

    def test_aValueThatGrowsEachTimeIsAnError(self) -> None:
        library = FakeLibrary(b"abc", (5000,))
        self.assertEqual(errno.ENOMEM, self.assertRaises(OSError, self.ask, library).errno)
        self.assertLess(library.calls, 30)

    def test_aRefusalIsAnError(self) -> None:
        library = FakeLibrary(b"abc", refusal=errno.EPERM)
        self.assertRaises(PermissionError, self.ask, library)
        self.assertEqual(1, library.calls)
