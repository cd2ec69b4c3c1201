"""
Fakes of the calls of Windows, which run on every platform. They notice a use of memory or of a handle that is freed.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from txtuntap.device.windows.kernel import Overlapped
from txtuntap.device.windows.library import (
    ERROR_BUFFER_OVERFLOW,
    ERROR_FILE_NOT_FOUND,
    ERROR_GEN_FAILURE,
    ERROR_HANDLE_EOF,
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER,
    ERROR_IO_INCOMPLETE,
    ERROR_MORE_DATA,
    ERROR_NO_MORE_ITEMS,
    ERROR_NOT_FOUND,
    ERROR_OPERATION_ABORTED,
    CallFailed,
)
from txtuntap.device.windows.link import DEFAULT_MTU
from txtuntap.device.windows.registry import TapAdapter

#: The number of packets that the driver of a tap queues.
QUEUE_LENGTH = 64


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


class FakeTap:
    """
    An adapter of L{FakeDriver}.

    @ivar network: packets to the network that the program has written.
    """

    def __init__(self, name: str, number: int) -> None:
        self.adapter = TapAdapter(name, f"{{12345678-1234-1234-1234-{number:012d}}}", "tap0901")
        self.linkAddress = b"\x00\xff\x12\x34\x56" + bytes((number,))
        self.version = struct.pack("=3I", 9, 27, 0)
        self.mtu = 1500
        self.isUp = True
        self.hasMedia = False
        self.tun: bytes | None = None
        self.file = 0
        self.arriving: deque[bytes] = deque()
        self.sent: list[bytes] = []
        # The reads and writes that have not ended: the record, the address and the length.
        self.reads: deque[tuple[Overlapped, int, int]] = deque()
        self.writes: deque[tuple[Overlapped, int]] = deque()


class FakeDriver(FakeKernel):
    """
    A fake of L{Kernel<txtuntap.device.windows.kernel.Kernel>} with adapters of tap-windows6, and the network behind
    them.

    @ivar failures: the number of the error of each call that fails from now on, by its name.
    @ivar isSlow: whether writes do not end by themselves.
    @ivar isStubborn: whether the driver does not end a transfer that is cancelled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taps: list[FakeTap] = []
        self.failures: dict[str, int] = {}
        self.isSlow = self.isStubborn = False
        # The result of each transfer, by the address of its record.
        self._results: dict[int, tuple[int, int]] = {}
        self._wrongSize: int | None = None

    # The network's side, which the fake in C has, too

    def named(self, name: str) -> FakeTap:
        """
        Return the adapter with a name.
        """
        return next(each for each in self.taps if each.adapter.name == name)

    def deliver(self, name: str, data: bytes) -> None:
        """
        Send a packet from the network. It is dropped if the queue is full or the link is down.
        """
        tap = self.named(name)
        if tap.hasMedia and tap.isUp and len(tap.arriving) < QUEUE_LENGTH:
            tap.arriving.append(data)
            self._serve(tap)

    def taken(self, name: str) -> list[bytes]:
        """
        Return the packets that the program has sent since the last call.
        """
        tap = self.named(name)
        packets, tap.sent = tap.sent, []
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
        tap = self.named(name)
        self.taps.remove(tap)
        tap.hasMedia = False
        self._abort(tap, ERROR_OPERATION_ABORTED)

    def sleep(self, name: str, code: int = ERROR_OPERATION_ABORTED) -> None:
        """
        Have all reads of an adapter end, as when the machine goes to sleep.
        """
        tap = self.named(name)
        tap.hasMedia = False
        self._abort(tap, code)

    def failReads(self, name: str, code: int) -> None:
        """
        Have all reads of an adapter end without a signal.
        """
        tap = self.named(name)
        for overlapped, *_ in tap.reads:
            self._results[ctypes.addressof(overlapped)] = code, 0
        tap.reads.clear()

    def signal(self, name: str) -> None:
        """
        Signal the event of the oldest read although no packet has arrived.
        """
        self.setEvent(self.named(name).reads[0][0].event)

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

    def setSlow(self, isSlow: bool) -> None:
        """
        Have writes end by themselves or not. In the first case, all end now.
        """
        self.isSlow = isSlow
        for tap in self.taps if not isSlow else ():
            self.endWrites(tap.adapter.name)

    def settings(self, name: str) -> tuple[bool, bytes | None]:
        """
        Return whether the carrier is on, and the argument of C{CONFIG_TUN}.
        """
        tap = self.named(name)
        return tap.hasMedia, tap.tun

    def opened(self) -> int:
        """
        Return the number of open adapters.
        """
        return sum(bool(each.file) for each in self.taps)

    def endWrites(self, name: str, code: int = 0) -> None:
        """
        End the writes of a slow driver.
        """
        tap = self.named(name)
        while tap.writes:
            overlapped, length = tap.writes.popleft()
            self._end(overlapped, code, length)

    # The driver's side

    def _end(self, overlapped: Overlapped, code: int, length: int) -> None:
        self._results[ctypes.addressof(overlapped)] = code, length
        self.setEvent(overlapped.event)

    def _serve(self, tap: FakeTap) -> None:
        while tap.reads and tap.arriving:
            overlapped, address, most = tap.reads.popleft()
            data = tap.arriving.popleft()
            ctypes.memmove(address, data, min(len(data), most))
            size, self._wrongSize = len(data) if self._wrongSize is None else self._wrongSize, None
            self._end(overlapped, ERROR_MORE_DATA if len(data) > most else 0, size)

    def _abort(self, tap: FakeTap, code: int) -> None:
        while tap.reads:
            self._end(tap.reads.popleft()[0], code, 0)
        while tap.writes:
            self._end(tap.writes.popleft()[0], code, 0)
        tap.arriving.clear()

    def _fails(self, call: str) -> None:
        if self.failures.get(call):
            raise CallFailed(self.failures[call])

    def _tap(self, file: int) -> FakeTap | None:
        return next((each for each in self.taps if file and each.file == file), None)

    def openFile(self, path: str) -> int:
        self._fails("CreateFile")
        tap = next((each for each in self.taps if each.adapter.path == path), None)
        if tap is None:
            raise CallFailed(ERROR_FILE_NOT_FOUND)
        if tap.file:
            raise CallFailed(ERROR_GEN_FAILURE)
        tap.file = self.createEvent(True)
        tap.tun = None
        return tap.file

    def control(self, file: int, request: int, data: bytes, length: int) -> bytes:
        tap = self._tap(file)
        if tap is None:
            raise CallFailed(ERROR_INVALID_HANDLE)
        self._fails(f"{request:x}")
        if request == 0x220018 and len(data) == 4:
            tap.hasMedia = data == b"\1\0\0\0"
        elif request == 0x220028 and len(data) == 12 and not tap.hasMedia:
            _local, network, mask = (data[start : start + 4] for start in (0, 4, 8))
            if bytes(map(int.__and__, network, mask)) != network:
                raise CallFailed(ERROR_INVALID_PARAMETER)
            tap.tun = data
        elif request in (0x220004, 0x220008, 0x22000C):
            answers = {0x220004: tap.linkAddress, 0x220008: tap.version, 0x22000C: struct.pack("=I", tap.mtu)}
            return answers[request][:length]
        else:
            raise CallFailed(ERROR_INVALID_PARAMETER)
        return data

    def read(self, file: int, address: int, length: int, overlapped: Overlapped) -> int:
        tap = self._tap(file)
        code = self.failures.get("ReadFile") or (0 if tap is not None and tap.hasMedia else ERROR_OPERATION_ABORTED)
        if tap is not None and not code:
            self.resetEvent(overlapped.event)
            self._results[ctypes.addressof(overlapped)] = ERROR_IO_INCOMPLETE, 0
            tap.reads.append((overlapped, address, length))
            self._serve(tap)
        return code

    def write(self, file: int, address: int, length: int, overlapped: Overlapped) -> int:
        tap = self._tap(file)
        code = self.failures.get("WriteFile") or (0 if tap is not None and tap.hasMedia else ERROR_OPERATION_ABORTED)
        if tap is not None and not code:
            self.resetEvent(overlapped.event)
            if length < (14 if tap.tun is None else 20):
                return ERROR_INSUFFICIENT_BUFFER
            if tap.isUp:
                tap.sent.append(ctypes.string_at(address, length))
            self._results[ctypes.addressof(overlapped)] = ERROR_IO_INCOMPLETE, 0
            tap.writes.append((overlapped, length))
            if not self.isSlow:
                self.endWrites(tap.adapter.name)
        return code

    def result(self, file: int, overlapped: Overlapped) -> tuple[int, int]:
        return self._results[ctypes.addressof(overlapped)]

    def cancel(self, file: int) -> None:
        tap = self._tap(file)
        if tap is not None and not self.isStubborn:
            self._abort(tap, ERROR_OPERATION_ABORTED)

    def close(self, handle: int) -> None:
        tap = self._tap(handle)
        if tap is not None:
            if (tap.reads or tap.writes) and not self.isStubborn:
                self.mistakes.append("an adapter is closed before its transfers have ended")
            tap.file, tap.hasMedia = 0, False
        super().close(handle)


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
    @ivar now: the time in seconds.
    """

    def __init__(self) -> None:
        self.kernel = FakeDriver()
        self.now = 1000.0
        self.library = FakeWintun(self.kernel)
        self.links = FakeLinks(lambda: list(self.library.adapters.values()))
        self.paths: list[str | None] = []
        self.hasLibrary = True

    def wintun(self, path: str | None) -> FakeWintun:
        self.paths.append(path)
        if not self.hasLibrary:
            raise FileNotFoundError(ERROR_FILE_NOT_FOUND, "there is no wintun.dll")
        return self.library

    def tapAdapters(self) -> list[TapAdapter]:
        return [each.adapter for each in self.kernel.taps]

    def monotonic(self) -> float:
        return self.now
