"""
The calls of C{wintun.dll}, and the places where this library is looked for. Run under Wine with fake drivers, not on a
real Windows yet.

The functions are those of C{wintun.h} of Wintun 0.14. The library belongs to its own licence: this package neither
contains nor downloads it.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import functools
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from txtuntap.device.windows.library import (
    ERROR_BAD_EXE_FORMAT,
    CallFailed,
    lastError,
    load,
    systemDirectory,
)

NAME = "wintun.dll"

_WHERE = (
    f"take {NAME} for this processor from www.wintun.net, and put it beside the program or into the directory of the"
    " system, or give its path: --wintun, or WintunDevice(name, library=path)"
)

#: The number of messages of the library that are kept for the text of an error, and the most characters of one.
_MOST_MESSAGES, _LONGEST_MESSAGE = 8, 200

#: The level of the messages about errors (C{WINTUN_LOG_ERR}).
_ERROR_LEVEL = 2

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_uint32

#: The signature of each function: the type of its result, and those of its arguments.
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "WintunCreateAdapter": (_POINTER, ctypes.c_wchar_p, ctypes.c_wchar_p, _POINTER),
    "WintunOpenAdapter": (_POINTER, ctypes.c_wchar_p),
    "WintunCloseAdapter": (None, _POINTER),
    "WintunGetAdapterLUID": (None, _POINTER, _POINTER),
    "WintunGetRunningDriverVersion": (_NUMBER,),
    "WintunSetLogger": (None, _POINTER),
    "WintunStartSession": (_POINTER, _POINTER, _NUMBER),
    "WintunEndSession": (None, _POINTER),
    "WintunGetReadWaitEvent": (_POINTER, _POINTER),
    "WintunReceivePacket": (_POINTER, _POINTER, _POINTER),
    "WintunReleaseReceivePacket": (None, _POINTER, _POINTER),
    "WintunAllocateSendPacket": (_POINTER, _POINTER, _NUMBER),
    "WintunSendPacket": (None, _POINTER, _POINTER),
}


class WintunLibrary:
    """
    The calls of a C{wintun.dll}. Tests can replace this by another object with the same methods. Handles of adapters
    and sessions, and the addresses of packets, are numbers.

    @ivar messages: the latest messages of the library about errors.
    """

    def __init__(self, path: str) -> None:
        """
        @param path: the path of the library.

        @raise OSError: there is no such library, it is for another processor, or it is not Wintun.
        """
        try:
            library = load(path, 0)
        except FileNotFoundError as e:
            raise FileNotFoundError(errno.ENOENT, f"there is no {path}, or it cannot be loaded: {_WHERE}") from e
        except OSError as e:
            if getattr(e, "winerror", None) == ERROR_BAD_EXE_FORMAT:
                raise OSError(errno.ENOEXEC, f"{path} is for another processor: {_WHERE}") from e
            raise
        calls: dict[str, Any] = {}
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(library, name, None)
            if function is None:
                raise OSError(errno.ENOEXEC, f"{path} has no {name}, so it is not Wintun 0.14 or later: {_WHERE}")
            function.restype, function.argtypes = result, arguments
            calls[name] = function
        self._call = calls
        self._receive, self._release = calls["WintunReceivePacket"], calls["WintunReleaseReceivePacket"]
        self._allocate, self._send = calls["WintunAllocateSendPacket"], calls["WintunSendPacket"]
        self.messages: deque[str] = deque(maxlen=_MOST_MESSAGES)
        self._logger = _callback(self._logged)
        calls["WintunSetLogger"](self._logger)
        # A thread of the library must not call Python when the interpreter has ended.
        atexit.register(calls["WintunSetLogger"], None)

    def _logged(self, level: int, time: int, message: str | None) -> None:
        """
        Keep a message of the library. Any thread may call this.
        """
        if level >= _ERROR_LEVEL and message:
            self.messages.append(" ".join(message[:_LONGEST_MESSAGE].split()))

    def _handle(self, name: str, *arguments: object) -> int:
        """
        Make a call that returns a handle.
        """
        handle: int | None = self._call[name](*arguments)
        if not handle:
            raise CallFailed(lastError())
        return handle

    def createAdapter(self, name: str, kind: str, guid: bytes) -> int:
        """
        Create an adapter, which exists until it is closed. This may install the driver, which takes some seconds.

        @param kind: the kind of tunnel, a part of the adapter's description.
        @param guid: the 16 octets of the adapter's identity, in the order of C{GUID}.
        """
        return self._handle("WintunCreateAdapter", name, kind, ctypes.create_string_buffer(guid, 16))

    def openAdapter(self, name: str) -> int:
        """
        Open an adapter that another program has created.
        """
        return self._handle("WintunOpenAdapter", name)

    def closeAdapter(self, adapter: int) -> None:
        """
        Close an adapter, and delete it if this program has created it.
        """
        self._call["WintunCloseAdapter"](adapter)

    def adapterLUID(self, adapter: int) -> int:
        """
        Return the local identity of an adapter (C{NET_LUID}).
        """
        luid = ctypes.c_uint64()
        self._call["WintunGetAdapterLUID"](adapter, ctypes.byref(luid))
        return luid.value

    def driverVersion(self) -> tuple[int, int] | None:
        """
        Return the version of the driver that is loaded; C{None}: none is loaded.
        """
        version: int = self._call["WintunGetRunningDriverVersion"]()
        return (version >> 16 & 0xFFFF, version & 0xFFFF) if version else None

    def startSession(self, adapter: int, capacity: int) -> int:
        """
        Begin to exchange packets with an adapter.

        @param capacity: the number of octets in each of the two rings.
        """
        return self._handle("WintunStartSession", adapter, capacity)

    def endSession(self, session: int) -> None:
        """
        End a session, which frees its rings and its event.
        """
        self._call["WintunEndSession"](session)

    def readEvent(self, session: int) -> int:
        """
        Return the event that is signalled when packets have arrived. It belongs to the session.
        """
        return self._handle("WintunGetReadWaitEvent", session)

    def receivePacket(self, session: int) -> tuple[int, int]:
        """
        Receive the next packet.

        @return: its address and the number of its octets. If the address is 0, the second number is that of the error.
        """
        size = ctypes.c_uint32()
        address: int | None = self._receive(session, ctypes.byref(size))
        return (address, size.value) if address else (0, lastError())

    def releasePacket(self, session: int, address: int) -> None:
        """
        Give the place of a received packet back.
        """
        self._release(session, address)

    def allocatePacket(self, session: int, size: int) -> tuple[int, int]:
        """
        Allocate the place of a packet to send. Each allocated packet has to be sent.

        @return: its address and C{size}. If the address is 0, the second number is that of the error.
        """
        address: int | None = self._allocate(session, size)
        return (address, size) if address else (0, lastError())

    def sendPacket(self, session: int, address: int) -> None:
        """
        Send a packet whose octets were written to the allocated place.
        """
        self._send(session, address)


def _callback(logged: Callable[[int, int, str | None], None]) -> Any:
    """
    Convert a function into a pointer that the library can call.
    """
    if sys.platform != "win32":
        return None
    return ctypes.WINFUNCTYPE(None, ctypes.c_int, ctypes.c_uint64, ctypes.c_wchar_p)(logged)


@functools.cache
def _loaded(path: str) -> WintunLibrary:
    # The library has one logger, so there is one object for it.
    return WintunLibrary(path)


def findLibrary(path: str | None = None) -> WintunLibrary:
    """
    Find and load C{wintun.dll}: by its path, or else beside the program, or else in the directory of the system. The
    current directory is not searched, because everybody may be able to write there.

    @param path: the path of the library; C{None}: it is searched for.

    @raise OSError: there is no such library. The text says where to get it.
    """
    if path is not None:
        return _loaded(os.path.abspath(path))
    for directory in (*_programDirectories(), systemDirectory()):
        found = os.path.join(directory, NAME)
        if os.path.isfile(found):
            return _loaded(found)
    raise FileNotFoundError(errno.ENOENT, f"there is no {NAME}: {_WHERE}")


def _programDirectories() -> list[str]:
    """
    List the directories of the running program: that of Python or of the frozen program, and that of the script.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return [os.path.dirname(os.path.abspath(each)) for each in (sys.executable, script) if each]
