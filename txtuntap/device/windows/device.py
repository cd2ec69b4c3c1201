"""
The common part of the devices of Windows. They have no descriptor: a thread waits for their packets. Run under Wine
with fake drivers, not on a real Windows yet.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from txtuntap.device import EBADFD, LONGEST_PACKET, TAP, TUN, interfaceName
from txtuntap.device.windows.library import CallFailed, errorText
from txtuntap.device.windows.link import DEFAULT_MTU
from txtuntap.device.windows.system import WindowsSystem
from txtuntap.device.windows.waiter import Waiter
from txtuntap.interfaces import Reader
from txtuntap.layer.bounded import TableState
from txtuntap.layer.counters import Counters
from txtuntap.mistakes import checkBuffers
from txtuntap.packet import Packet
from txtuntap.wire.offload import Offload

_Device = TypeVar("_Device", bound="WindowsDevice")

#: The number of octets in an Ethernet header.
_ETHERNET = 14


class WindowsDevice:
    """
    A TUN or TAP device of Windows. Its methods are for one thread, as those of a reactor's port are.

    @cvar callsFromThread: see L{IDevice.readable<txtuntap.interfaces.IDevice.readable>}.
    @ivar name: the interface's name; once the device is open, the name that Windows has given.
    @ivar mode: C{TUN} or C{TAP}.
    @ivar mtu: the interface's MTU in octets when the device was opened.
    @ivar linkAddress: the link address of the adapter; C{None} for a tun.
    @ivar index: the interface's index when the device was opened; 0 if it is not known.
    @ivar offloads: no work on packets can be left to these devices.
    @ivar counters: the number of events of each kind, by name. C{inFalseSignals} counts signals without a packet.
    """

    callsFromThread = True

    def __init__(self, name: str | bytes, mode: int, system: Any = None) -> None:
        """
        @param name: the interface's name.
        @param mode: C{TUN} or C{TAP}.
        @param system: a replacement for the calls of Windows, for tests; C{None}: make the real calls.

        @raise ValueError: C{name} or C{mode} is not valid.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
        self._asked = os.fsdecode(interfaceName(name))
        self.name = self._asked
        self.mode = mode
        self.mtu = DEFAULT_MTU
        self.linkAddress: bytes | None = None
        self.index = 0
        self.offloads = 0
        self.counters: dict[str, int] = Counters()
        self._system: Any = WindowsSystem() if system is None else system
        self._isOpen = False
        # The reason for which the interface is lost.
        self._loss: str | None = None
        self._waiter: Waiter | None = None

    def open(self, offload: bool | None = False) -> None:
        """
        Attach to the interface: see L{IDevice.open<txtuntap.interfaces.IDevice.open>}.
        """
        if self._isOpen:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        if offload:
            raise OSError(errno.ENOTSUP, f"{self._asked or 'a device'} has no offload on Windows: give offload=False")
        self._loss = None
        try:
            self._attach()
        except BaseException:
            self._detach()
            raise
        self._isOpen = True

    def close(self) -> None:
        """
        Detach from the interface: see L{IDevice.close<txtuntap.interfaces.IDevice.close>}.

        @raise RuntimeError: the function that was given to L{readable} has called this on the device's thread.
        """
        if self._waiter is not None:
            # The thread waits for events of the session, which is freed below.
            self._waiter.stop()
            self._waiter = None
        if self._isOpen:
            self._isOpen = False
            self._detach()

    def __enter__(self: _Device) -> _Device:
        if not self._isOpen:
            self.open()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "tap" if self.mode == TAP else "tun"
        state = "open" if self._isOpen else "closed"
        return f"<{type(self).__name__} {kind} {self.name} {state}>"

    def fileno(self) -> int:
        """
        Return -1, because the device has no descriptor.
        """
        return -1

    def reader(self, maxPacketSize: int) -> Reader | None:
        """
        Return C{None}, because the device has no descriptor to read.
        """
        return None

    def tables(self) -> list[TableState]:
        """
        Return an empty list: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return []

    def receiveFinished(self) -> None:
        """
        Do nothing, because all packets are complete.
        """

    def countInto(self, counters: dict[str, int]) -> None:
        """
        Count events in another mapping from now on, which is that of the port.
        """
        self.counters = counters

    def readable(self, callback: Callable[[], None] | None) -> None:
        """
        Call C{callback} once, when a packet has arrived or the interface is lost. It is called on a thread of the
        device, or at once if packets may be waiting already. It must not close the device.

        @param callback: the function to call; C{None}: it is not called any more.
        """
        if callback is None:
            if self._waiter is not None:
                self._waiter.ask(None, None)
            return
        self._checkOpen()
        if self._waiter is None:
            try:
                self._waiter = Waiter(self._system.kernel, self.name)
            except CallFailed as e:
                raise e.explained(f"{self.name}: Windows has no thread for the device, or no event") from e
        if self._loss is not None or self._waiter.failure or self._mayWait():
            callback()
        else:
            self._waiter.ask(callback, *self._signal(), owner=self)

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Receive the next packet: see L{IDevice.receive<txtuntap.interfaces.IDevice.receive>}.
        """
        self._check()
        data = self._take()
        waiter = self._waiter
        if waiter is not None:
            waiter.isSignalled = False
            if data is None and waiter.failure:
                raise self._lose(f"its event is broken ({errorText(waiter.failure)})")
        if data is None:
            return None
        return Packet(data[:maxPacketSize], partial=len(data) > maxPacketSize)

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet: see L{IDevice.send<txtuntap.interfaces.IDevice.send>}.
        """
        if type(buffers) is not list:
            checkBuffers(buffers)
        self._check()
        data = b"".join(buffers)
        if offload is not None:
            raise OSError(errno.EINVAL, "the device has no offload")
        if len(data) < _ETHERNET if self.mode == TAP else not data or data[0] >> 4 not in (4, 6):
            raise OSError(errno.EINVAL, "the data is not a packet")
        self._put(data)
        return len(data)

    # The parts of each kind of device

    def _attach(self) -> None:
        """
        Open what the device needs.

        @raise OSError: Windows refuses. The text says what to do.
        """
        raise NotImplementedError

    def _detach(self) -> None:
        """
        Close all that L{_attach} has opened, even if it has failed. The device's thread has ended.
        """
        raise NotImplementedError

    def _mayWait(self) -> bool:
        """
        Whether packets may wait although no event is signalled.
        """
        raise NotImplementedError

    def _signal(self) -> tuple[int | None, int | None]:
        """
        Return the event to wait for, and the most milliseconds to wait.
        """
        raise NotImplementedError

    def _take(self) -> bytes | None:
        """
        Return the octets of the next packet; C{None}: none waits.
        """
        raise NotImplementedError

    def _put(self, data: bytes) -> None:
        """
        Send the octets of a packet.
        """
        raise NotImplementedError

    def _foundNothing(self) -> None:
        """
        Count an event that was signalled although no packet waits.
        """
        if self._waiter is not None and self._waiter.isSignalled:
            self.counters["inFalseSignals"] += 1

    # Errors

    def _checkOpen(self) -> None:
        if not self._isOpen:
            raise OSError(errno.EBADF, f"{self.name or 'the device'} is not open: call open() first")

    def _check(self) -> None:
        self._checkOpen()
        if self._loss is not None:
            raise OSError(EBADFD, f"{self.name} is lost: {self._loss}")

    def _lose(self, reason: str) -> OSError:
        """
        Give the interface up, and make the error that says so.
        """
        self._loss = reason
        return OSError(EBADFD, f"{self.name} is lost: {reason}")
