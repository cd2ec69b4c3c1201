"""
The system calls that the devices of Linux, macOS and the BSDs make. C{sysctl} is not run on a real macOS or BSD yet.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Sequence

if sys.platform == "win32":
    raise ImportError("this module is for UNIX")

#: The largest number of times that a list is asked for again because it has grown meanwhile.
_MAX_TRIES = 10

#: The octets by which the buffer for a list exceeds the size that the kernel has announced.
_SLACK = 4096


def _sysctl(names: Sequence[int]) -> bytes:
    """
    Read a value of the kernel with C{sysctl(3)}, for which Python has no function.

    @param names: the numbers that name the value.

    @raise OSError: there is no such value, or it has grown during each of several calls.
    """
    call = ctypes.CDLL(None, use_errno=True).sysctl
    numbers = (ctypes.c_int * len(names))(*names)
    for _ in range(_MAX_TRIES):
        size = ctypes.c_size_t()
        if call(numbers, len(names), None, ctypes.byref(size), None, 0):
            break
        size.value += _SLACK
        buffer = ctypes.create_string_buffer(size.value)
        if not call(numbers, len(names), buffer, ctypes.byref(size), None, 0):
            return buffer.raw[: size.value]
        if ctypes.get_errno() != errno.ENOMEM:
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


class RealSystem:
    """
    The system calls of a device. Tests can replace this by another object with the same names, as with C{twisted.pair}.
    """

    O_RDWR = os.O_RDWR
    O_NONBLOCK = os.O_NONBLOCK
    O_CLOEXEC = os.O_CLOEXEC

    open = staticmethod(os.open)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    writev = staticmethod(os.writev)
    close = staticmethod(os.close)
    ioctl = staticmethod(fcntl.ioctl)
    set_blocking = staticmethod(os.set_blocking)
    set_inheritable = staticmethod(os.set_inheritable)
    socket = staticmethod(socket.socket)
    monotonic = staticmethod(time.monotonic)
    sysctl = staticmethod(_sysctl)
