"""
Fakes of the calls of Windows, which run on every platform. They notice a use of memory or of a handle that is freed.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from txtuntap.device.windows.library import (
    ERROR_BUFFER_OVERFLOW,
    ERROR_FILE_NOT_FOUND,
    ERROR_HANDLE_EOF,
    ERROR_INVALID_HANDLE,
    ERROR_NO_MORE_ITEMS,
    ERROR_NOT_FOUND,
    CallFailed,
)
from txtuntap.device.windows.link import DEFAULT_MTU


class FakeKernel:
    """
    A fake of L{Kernel<txtuntap.device.windows.kernel.Kernel>} with events of its own.

    @ivar mistakes: a description of each use of a handle that is closed.
    @ivar waiting: the handles for which threads wait.
    @ivar noEvents: whether the system has no more events.
    """

    def __init__(self) -> None:
        self.mistakes: list[str] = []
        self.waiting: list[int] = []
        self.noEvents = False
        self._condition = threading.Condition()
        # Whether each open event stays signalled, and whether it is signalled.
        self._stays: dict[int, bool] = {}
        self._signalled: dict[int, bool] = {}
        self._next = 100

    def events(self) -> int:
        """
        Return the number of open events.
        """
        return len(self._stays)

    def _check(self, handle: int) -> None:
        if handle not in self._stays:
            self.mistakes.append(f"the handle {handle} is not open")
            raise CallFailed(ERROR_INVALID_HANDLE)

    def createEvent(self, stays: bool) -> int:
        if self.noEvents:
            raise CallFailed(8)
        with self._condition:
            self._next += 4
            self._stays[self._next], self._signalled[self._next] = stays, False
            return self._next

    def setEvent(self, event: int) -> None:
        with self._condition:
            self._check(event)
            self._signalled[event] = True
            self._condition.notify_all()

    def resetEvent(self, event: int) -> None:
        with self._condition:
            self._check(event)
            self._signalled[event] = False

    def close(self, handle: int) -> None:
        with self._condition:
            self._check(handle)
            if handle in self.waiting:
                self.mistakes.append(f"the handle {handle} is closed while a thread waits for it")
            del self._stays[handle], self._signalled[handle]
            self._condition.notify_all()

    def breakEvent(self, event: int) -> None:
        """
        Make an event invalid, as a driver's mistake would.
        """
        with self._condition:
            del self._stays[event], self._signalled[event]
            self._condition.notify_all()

    def wait(self, handles: Sequence[int], milliseconds: int | None) -> int:
        end = None if milliseconds is None else time.monotonic() + milliseconds / 1000
        with self._condition:
            self.waiting.extend(handles)
            try:
                while True:
                    for position, handle in enumerate(handles):
                        if handle not in self._stays:
                            raise CallFailed(ERROR_INVALID_HANDLE)
                        if self._signalled[handle]:
                            self._signalled[handle] = self._stays[handle]
                            return position
                    left = None if end is None else end - time.monotonic()
                    if left is not None and left <= 0:
                        return -1
                    self._condition.wait(left)
            finally:
                for handle in handles:
                    self.waiting.remove(handle)


class FakeAdapter:
    """
    An adapter of L{FakeWintun}, with its session.
    """

    def __init__(self, handle: int, name: str, guid: bytes, luid: int) -> None:
        self.handle, self.name, self.guid, self.luid = handle, name, guid, luid
        self.isUp = True
        self.isRemoved = False
        self.mtu = DEFAULT_MTU
        self.session = 0
        self.event = 0
        self.capacity = 0
        self.used = 0
        self.arriving: deque[bytes] = deque()
        self.sent: list[bytes] = []
        # The memory of each packet that the program has, by its address.
        self.received: dict[int, Any] = {}
        self.allocated: dict[int, Any] = {}


class FakeLinks:
    """
    A fake of L{Links<txtuntap.device.windows.link.Links>}, which knows the adapters of L{FakeWintun}.
    """

    def __init__(self, adapters: Callable[[], list[FakeAdapter]]) -> None:
        self._adapters = adapters
        self.others: list[str] = []

    def byName(self, name: str) -> int | None:
        if name in self.others:
            return 1
        return next((each.luid for each in self._adapters() if each.name == name), None)

    def byGUID(self, guid: bytes) -> int | None:
        return next((each.luid for each in self._adapters() if each.guid == guid), None)

    def _adapter(self, luid: int) -> FakeAdapter | None:
        return next((each for each in self._adapters() if each.luid == luid), None)

    def name(self, luid: int) -> str | None:
        adapter = self._adapter(luid)
        return None if adapter is None else adapter.name

    def index(self, luid: int) -> int:
        return luid % 1000

    def mtu(self, luid: int) -> int:
        adapter = self._adapter(luid)
        return DEFAULT_MTU if adapter is None else adapter.mtu


class FakeWintun:
    """
    A fake of L{WintunLibrary<txtuntap.device.windows.wintunlibrary.WintunLibrary>}, and the network behind its
    adapters.

    @ivar failures: the number of the error of each call that fails from now on, by its name.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.messages: deque[str] = deque()
        self.failures: dict[str, int] = {}
        self.adapters: dict[int, FakeAdapter] = {}
        self.made: list[str] = []
        # The size of a packet that the next receive reports.
        self._wrongSize: int | None = None
        self._next = 1000

    # The network's side, which the fake in C has, too

    def named(self, name: str) -> FakeAdapter:
        """
        Return the adapter with a name.
        """
        return next(each for each in self.adapters.values() if each.name == name)

    def deliver(self, name: str, data: bytes) -> None:
        """
        Send a packet from the network. It is dropped if the ring is full or the link is down.
        """
        adapter = self.named(name)
        space = self._space(len(data))
        if adapter.session and adapter.isUp and not adapter.isRemoved and adapter.used + space < adapter.capacity:
            adapter.used += space
            adapter.arriving.append(data)
            self.kernel.setEvent(adapter.event)

    def taken(self, name: str) -> list[bytes]:
        """
        Return the packets that the program has sent since the last call.
        """
        adapter = self.named(name)
        packets, adapter.sent = adapter.sent, []
        return packets

    def setLink(self, name: str, isUp: bool) -> None:
        """
        Set the link up or down.
        """
        self.named(name).isUp = isUp

    def remove(self, name: str) -> None:
        """
        Delete an adapter under the program.
        """
        adapter = self.named(name)
        adapter.isRemoved = True
        adapter.name = ""
        if adapter.session:
            self.kernel.setEvent(adapter.event)

    def signal(self, name: str) -> None:
        """
        Signal the event of a session although no packet has arrived.
        """
        self.kernel.setEvent(self.named(name).event)

    def fail(self, call: str, code: int) -> None:
        """
        Have a call fail from now on; C{code} 0: no more.
        """
        self.failures[call] = code

    def wrongSize(self, size: int) -> None:
        """
        Report another size of the next packet.
        """
        self._wrongSize = size

    def guid(self, name: str) -> bytes:
        """
        Return the identity of an adapter.
        """
        return self.named(name).guid

    def opened(self) -> int:
        """
        Return the number of open adapters and sessions.
        """
        return len(self.adapters) + sum(bool(each.session) for each in self.adapters.values())

    # The library's side

    @staticmethod
    def _space(size: int) -> int:
        """
        Return the number of octets that a packet takes in a ring: a multiple of four, with a header of four octets.
        """
        return (4 + size + 3) // 4 * 4

    def _fails(self, call: str) -> None:
        code = self.failures.get(call)
        if code:
            self.messages.append(f"{call} has failed")
            raise CallFailed(code)

    def _adapter(self, session: int) -> FakeAdapter:
        for each in self.adapters.values():
            if session and each.session == session:
                return each
        self.kernel.mistakes.append(f"the session {session} has ended")
        raise AssertionError("a session is used after its end")

    def _open(self, name: str, guid: bytes) -> int:
        self._next += 1
        self.adapters[self._next] = FakeAdapter(self._next, name, guid, self._next + 7_000_000)
        return self._next

    def createAdapter(self, name: str, kind: str, guid: bytes) -> int:
        self._fails("CreateAdapter")
        self.made.append(name)
        return self._open(name, guid)

    def openAdapter(self, name: str) -> int:
        self._fails("OpenAdapter")
        if name not in self.made:
            raise CallFailed(ERROR_NOT_FOUND)
        return self._open(name, bytes(16))

    def closeAdapter(self, adapter: int) -> None:
        if self.adapters.pop(adapter).session:
            self.kernel.mistakes.append("an adapter is closed before its session")

    def adapterLUID(self, adapter: int) -> int:
        return self.adapters[adapter].luid

    def driverVersion(self) -> tuple[int, int] | None:
        return 0, 14

    def startSession(self, adapter: int, capacity: int) -> int:
        self._fails("StartSession")
        found = self.adapters[adapter]
        self._next += 1
        found.session, found.capacity, found.event = self._next, capacity, self.kernel.createEvent(False)
        return self._next

    def endSession(self, session: int) -> None:
        adapter = self._adapter(session)
        adapter.session = 0
        if adapter.event in self.kernel._stays:
            self.kernel.close(adapter.event)

    def readEvent(self, session: int) -> int:
        self._fails("GetReadWaitEvent")
        return self._adapter(session).event

    def receivePacket(self, session: int) -> tuple[int, int]:
        adapter = self._adapter(session)
        if adapter.isRemoved:
            return 0, ERROR_HANDLE_EOF
        if "ReceivePacket" in self.failures:
            return 0, self.failures["ReceivePacket"]
        if not adapter.arriving:
            return 0, ERROR_NO_MORE_ITEMS
        data = adapter.arriving.popleft()
        memory = ctypes.create_string_buffer(data, len(data) + 1)
        address = ctypes.addressof(memory)
        adapter.received[address] = memory, self._space(len(data))
        size, self._wrongSize = len(data) if self._wrongSize is None else self._wrongSize, None
        return address, size

    def releasePacket(self, session: int, address: int) -> None:
        adapter = self._adapter(session)
        _, space = adapter.received.pop(address)
        adapter.used -= space

    def allocatePacket(self, session: int, size: int) -> tuple[int, int]:
        adapter = self._adapter(session)
        if adapter.isRemoved:
            return 0, ERROR_HANDLE_EOF
        if "AllocateSendPacket" in self.failures:
            return 0, self.failures["AllocateSendPacket"]
        if self._space(size) > adapter.capacity - 4:
            return 0, ERROR_BUFFER_OVERFLOW
        memory = ctypes.create_string_buffer(size + 1)
        adapter.allocated[ctypes.addressof(memory)] = memory, size
        return ctypes.addressof(memory), size

    def sendPacket(self, session: int, address: int) -> None:
        adapter = self._adapter(session)
        memory, size = adapter.allocated.pop(address)
        if adapter.isUp:
            adapter.sent.append(memory.raw[:size])


class FakeWindows:
    """
    A fake of L{WindowsSystem<txtuntap.device.windows.system.WindowsSystem>}.

    @ivar paths: the paths by which the library was asked for.
    """

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.library = FakeWintun(self.kernel)
        self.links = FakeLinks(lambda: list(self.library.adapters.values()))
        self.paths: list[str | None] = []
        self.hasLibrary = True

    def wintun(self, path: str | None) -> FakeWintun:
        self.paths.append(path)
        if not self.hasLibrary:
            raise FileNotFoundError(ERROR_FILE_NOT_FOUND, "there is no wintun.dll")
        return self.library
