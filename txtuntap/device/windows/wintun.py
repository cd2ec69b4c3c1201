"""
A tun of Windows by Wintun, the driver of the WireGuard project. Run under Wine with fake drivers, not on a real Windows
yet.

Packets are exchanged through two rings in memory. The library C{wintun.dll} has the driver in it. It is not a part of
this package.
"""

from __future__ import annotations

import ctypes
import errno
import uuid
from typing import Any

from zope.interface import implementer

from txtuntap.device import TUN
from txtuntap.device.windows.device import WindowsDevice
from txtuntap.device.windows.library import (
    ERROR_ACCESS_DENIED,
    ERROR_BUFFER_OVERFLOW,
    ERROR_HANDLE_EOF,
    ERROR_INVALID_DATA,
    ERROR_NO_MORE_ITEMS,
    CallFailed,
    errorText,
)
from txtuntap.device.windows.link import DEFAULT_MTU
from txtuntap.device.windows.wintunlibrary import WintunLibrary
from txtuntap.interfaces import IDevice

#: The number of octets in each of the two rings: a power of two in this range (C{WINTUN_MIN_RING_CAPACITY} and
#: C{WINTUN_MAX_RING_CAPACITY}).
CAPACITY, MIN_CAPACITY, MAX_CAPACITY = 0x800000, 0x20000, 0x4000000

#: The most octets in a packet (C{WINTUN_MAX_IP_PACKET_SIZE}).
MAX_PACKET = 65535

#: The kind of tunnel in the description of an adapter.
KIND = "txtuntap"

#: The namespace of the identities of adapters. A name always has the same identity, because Windows keeps the settings
#: of a network by the identity of its adapter.
_NAMESPACE = uuid.UUID("5f0b6a1e-8a0e-4b0c-9b58-2d9b6f3a7c41")

#: The largest number of adapters that are made from a name with C{%d}.
MAX_ADAPTERS = 256

#: The largest number of packets without octets that are dropped at once.
_MOST_EMPTY = 64

_NOT_ELEVATED = "Wintun needs an elevated program: run it as administrator, or as a service of LocalSystem"

#: The reasons for which a session is at its end, by the number of the error.
_LOSSES = {ERROR_HANDLE_EOF: "its adapter was removed", ERROR_INVALID_DATA: "its ring is corrupt"}


#: The reason after an address without memory, which C{ctypes} reports on Windows.
_NO_MEMORY = "its ring is corrupt: a packet without memory"


def adapterGUID(name: str) -> bytes:
    """
    Return the identity of the adapter with a name: 16 octets, in the order of C{GUID}.
    """
    return uuid.uuid5(_NAMESPACE, name).bytes_le


@implementer(IDevice)
class WintunDevice(WindowsDevice):
    """
    A tun of Windows by Wintun. Its adapter is created when the device is opened, and deleted when it is closed or the
    program ends. Opening it may install the driver, and then blocks for some seconds.

    Counters: C{inTruncated} (packets without octets).

    @ivar driverVersion: the version of the driver, such as C{(0, 14)}; C{None} before the device is open.
    @ivar luid: the adapter's local identity (C{NET_LUID}); 0 before the device is open.
    """

    def __init__(
        self, name: str | bytes = "", library: str | None = None, capacity: int = CAPACITY, system: Any = None
    ) -> None:
        """
        @param name: the interface's name, at most 127 characters. C{%d} in it is replaced by the first free number.
            Empty: C{tun%d}.
        @param library: the path of C{wintun.dll}; C{None}: beside the program, or in the directory of the system.
        @param capacity: the number of octets in each of the two rings: a power of two from 128 KiB to 64 MiB.
        @param system: a replacement for the calls of Windows, for tests; C{None}: make the real calls.

        @raise ValueError: C{name} or C{capacity} is not valid.
        """
        super().__init__(name, TUN, system)
        isPower = isinstance(capacity, int) and capacity & (capacity - 1) == 0
        if not isPower or not MIN_CAPACITY <= capacity <= MAX_CAPACITY:
            raise ValueError(f"a ring has a power of two octets from 128 KiB to 64 MiB, not {capacity!r}")
        self._capacity = capacity
        self._path = library
        self.driverVersion: tuple[int, int] | None = None
        self.luid = 0
        self._library: Any = None
        self._adapter = self._session = self._event = 0
        # Whether packets may wait although the event is not signalled. The device's thread takes a signal when it
        # calls, and one signal stands for several packets. So the ring has to be found empty before each wait.
        self._isUnread = True

    def _attach(self) -> None:
        library = self._system.wintun(self._path)
        name = self._freeName()
        library.messages.clear()
        self._library, self._adapter = library, self._openAdapter(library, name)
        try:
            self._session = library.startSession(self._adapter, self._capacity)
            self._event = library.readEvent(self._session)
        except CallFailed as e:
            raise _explained(library, e, f"{name}: Wintun cannot start, or another program has the adapter open") from e
        self._isUnread = True
        self.driverVersion = library.driverVersion()
        self.luid = library.adapterLUID(self._adapter)
        links = self._system.links
        self.name = links.name(self.luid) or name
        self.index = links.index(self.luid)
        self.mtu = links.mtu(self.luid) or DEFAULT_MTU

    def _freeName(self) -> str:
        """
        Replace C{%d} in the name by the first number that makes the name of no interface.
        """
        name = self._asked or "tun%d"
        if "%d" not in name:
            return name
        for number in range(MAX_ADAPTERS):
            chosen = name.replace("%d", str(number))
            if self._system.links.byName(chosen) is None:
                return chosen
        raise OSError(errno.EBUSY, f"{name}: the first {MAX_ADAPTERS} names are in use: choose another name")

    def _openAdapter(self, library: WintunLibrary, name: str) -> int:
        """
        Create the adapter, or open the one that exists already.
        """
        try:
            return library.createAdapter(name, KIND, adapterGUID(name))
        except CallFailed as e:
            error = _explained(library, e, f"{name}: Wintun cannot make an adapter")
            if e.code == ERROR_ACCESS_DENIED:
                raise error from e
            try:
                # A program that was killed may have left the adapter, or another program has made it.
                return library.openAdapter(name)
            except CallFailed:
                raise error from e

    def _detach(self) -> None:
        library, session, adapter = self._library, self._session, self._adapter
        self._library, self._session, self._adapter, self._event = None, 0, 0, 0
        if session:
            library.endSession(session)
        if adapter:
            library.closeAdapter(adapter)

    def _mayWait(self) -> bool:
        return self._isUnread

    def _signal(self) -> tuple[int | None, int | None]:
        self._isUnread = True
        return self._event, None

    def _take(self) -> bytes | None:
        library, session = self._library, self._session
        self._isUnread = True
        for skipped in range(_MOST_EMPTY):
            address, size = library.receivePacket(session)
            if not address:
                if size == ERROR_NO_MORE_ITEMS:
                    self._isUnread = False
                    if not skipped:
                        self._foundNothing()
                    return None
                raise self._lost(size)
            if size > MAX_PACKET:
                raise self._lose(f"its ring is corrupt: a packet of {size} octets")
            try:
                data: bytes = ctypes.string_at(address, size)
            except OSError as e:
                raise self._lose(_NO_MEMORY) from e
            library.releasePacket(session, address)
            if data:
                return data
            self.counters["inTruncated"] += 1
        return None

    def _put(self, data: bytes) -> None:
        size = len(data)
        if size > MAX_PACKET:
            raise OSError(errno.EMSGSIZE, f"a packet of {self.name} has {MAX_PACKET} octets at most")
        address, code = self._library.allocatePacket(self._session, size)
        if address:
            try:
                ctypes.memmove(address, data, size)
            except OSError as e:
                raise self._lose(_NO_MEMORY) from e
            self._library.sendPacket(self._session, address)
        elif code == ERROR_BUFFER_OVERFLOW:
            raise OSError(errno.ENOBUFS, f"the ring of {self.name} is full")
        else:
            raise self._lost(code)

    def _lost(self, code: int) -> OSError:
        return self._lose(_LOSSES.get(code) or errorText(code))


def _explained(library: WintunLibrary, failed: CallFailed, text: str) -> OSError:
    """
    Make an error of a refused adapter, with what the library has said about it.
    """
    advice = f": {_NOT_ELEVATED}" if failed.code == ERROR_ACCESS_DENIED else ""
    said = f"; Wintun says: {', '.join(library.messages)}" if library.messages else ""
    return failed.explained(f"{text}{advice}{said}")
