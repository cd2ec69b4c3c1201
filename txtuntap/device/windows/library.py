"""
The loading of Windows' libraries by C{ctypes}, and the numbers and texts of their errors. Run under Wine with fake
drivers, not on a real Windows yet.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from collections.abc import Callable
from typing import Any

#: C{LOAD_LIBRARY_SEARCH_SYSTEM32}: a library is searched for in the directory of the system, and nowhere else.
SEARCH_SYSTEM = 0x800

_MAX_PATH = 260

#: The numbers of errors (C{winerror.h}).
ERROR_FILE_NOT_FOUND = 2
ERROR_PATH_NOT_FOUND = 3
ERROR_ACCESS_DENIED = 5
ERROR_INVALID_HANDLE = 6
ERROR_NOT_ENOUGH_MEMORY = 8
ERROR_INVALID_DATA = 13
ERROR_GEN_FAILURE = 31
ERROR_HANDLE_EOF = 38
ERROR_NOT_SUPPORTED = 50
ERROR_INVALID_PARAMETER = 87
ERROR_BUFFER_OVERFLOW = 111
ERROR_SEM_TIMEOUT = 121
ERROR_INSUFFICIENT_BUFFER = 122
ERROR_ALREADY_EXISTS = 183
ERROR_BAD_EXE_FORMAT = 193
ERROR_MORE_DATA = 234
ERROR_NO_MORE_ITEMS = 259
ERROR_NO_SUCH_DEVICE = 433
ERROR_OPERATION_ABORTED = 995
ERROR_IO_INCOMPLETE = 996
ERROR_IO_PENDING = 997
ERROR_DEVICE_NOT_CONNECTED = 1167
ERROR_NOT_FOUND = 1168
ERROR_ALREADY_INITIALIZED = 1247
ERROR_DEVICE_REMOVED = 1617
ERROR_INVALID_USER_BUFFER = 1784
ERROR_OBJECT_ALREADY_EXISTS = 5010

#: The C{errno} of some of these errors.
_NUMBERS = {
    ERROR_FILE_NOT_FOUND: errno.ENOENT,
    ERROR_PATH_NOT_FOUND: errno.ENOENT,
    ERROR_NOT_FOUND: errno.ENOENT,
    ERROR_ACCESS_DENIED: errno.EACCES,
    ERROR_ALREADY_EXISTS: errno.EBUSY,
    ERROR_ALREADY_INITIALIZED: errno.EBUSY,
    ERROR_GEN_FAILURE: errno.EBUSY,
    ERROR_INVALID_PARAMETER: errno.EINVAL,
    ERROR_BAD_EXE_FORMAT: errno.ENOEXEC,
    ERROR_NOT_ENOUGH_MEMORY: errno.ENOMEM,
    ERROR_NOT_SUPPORTED: errno.ENOTSUP,
    ERROR_OBJECT_ALREADY_EXISTS: errno.EEXIST,
}


class CallFailed(Exception):
    """
    A call of Windows, or of a library, has failed.

    @ivar code: the number of the error (C{GetLastError}).
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def explained(self, text: str) -> OSError:
        """
        Make an error for the caller of a device, or of a configuration.

        @param text: what has failed and what to do. The text of Windows is added.
        """
        return OSError(_NUMBERS.get(self.code, errno.EIO), f"{text} ({errorText(self.code)})")


def load(name: str, mode: int = SEARCH_SYSTEM) -> Any:
    """
    Load a library of Windows.

    @param name: the name of a library of the system, or the path of a library.
    @param mode: the flags of C{LoadLibraryEx}; C{0}: search beside the library for those that it needs.

    @raise OSError: there is no such library, or this is not Windows.
    """
    if sys.platform != "win32":
        raise OSError(errno.ENOTSUP, f"{name} is a library of Windows, and this is {sys.platform}")
    if mode:
        return ctypes.WinDLL(name, use_last_error=True, winmode=mode)
    return ctypes.WinDLL(name, use_last_error=True)


def systemDirectory() -> str:
    """
    Return the path of the directory of the system's libraries.

    @raise OSError: this is not Windows.
    """
    path = ctypes.create_unicode_buffer(_MAX_PATH)
    load("kernel32.dll").GetSystemDirectoryW(path, _MAX_PATH)
    return path.value


def lastError() -> int:
    """
    Return the number of the error of this thread's last call of a loaded library; 0 if it was successful.
    """
    if sys.platform != "win32":
        return 0
    return ctypes.get_last_error()


def errorText(code: int) -> str:
    """
    Format an error of Windows for an error's text: its number, and its description by the system.
    """
    describe: Callable[[int], str] | None = getattr(ctypes, "FormatError", None)
    return f"error {code}" if describe is None else f"error {code}: {describe(code).strip()}"
