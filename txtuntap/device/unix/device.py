"""
A TUN or TAP device over a descriptor, for macOS and the BSDs, and for descriptors from elsewhere. Not run on a real
macOS, FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import errno
from typing import Any

from zope.interface import implementer

from txtuntap.device import EBADFD, TAP, printable
from txtuntap.device.advice import advising
from txtuntap.device.packets import PacketDescriptor
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.opening import Attachment, Opening
from txtuntap.device.unix.system import RealSystem
from txtuntap.interfaces import IDevice

#: The error numbers of a read or a write after the interface was deleted, or the other end of a socket closed.
_GONE = {errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE}

#: The error numbers of an interface that is down, or that has no address yet.
_DOWN = {errno.EHOSTDOWN, errno.ENETDOWN}

#: The number of seconds after which an interface without space is lost. After the machine has slept, the queue of a
#: utun can stay full (C{ENOSPC}) until the interface is made anew.
MOST_FULL = 5.0

#: The number of octets in an Ethernet header.
_ETHERNET = 14


@implementer(IDevice)
class UnixDevice(PacketDescriptor):
    """
    A TUN or TAP device over a descriptor. Its descriptor does not block: C{receive} returns C{None} if no packet waits.

    @ivar name: the interface's name; once the device is open, the name that the kernel has given.
    @ivar mtu: the interface's MTU in octets when the device was opened; 1500 if the interface cannot be asked.
    @ivar linkAddress: the link address of the kernel's side of a tap when the device was opened; C{None} for a tun, and
        if it is not known.
    @ivar index: the interface's index when the device was opened; 0 if it is not known.
    @ivar up: whether the link was up when the device was opened.
    """

    def __init__(self, name: str, mode: int, opening: Opening, system: Any = None) -> None:
        """
        @param name: the interface's name. C{opening} has checked it.
        @param mode: C{TUN} or C{TAP}.
        @param opening: opens and closes the descriptor.
        @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.
        """
        super().__init__(name, mode, None, RealSystem if system is None else system)
        self.mtu = 1500
        self.linkAddress: bytes | None = None
        self.index = 0
        self.up = False
        self._opening = opening
        self._attachment: Attachment | None = None
        self._read = self._readChecked
        self._write = self._writeChecked
        # Each write is checked, so the pieces of a packet are joined first.
        self._writev = None
        self._longest = 0
        # The time at which a write has found no space, while no later write has succeeded.
        self._fullSince: float | None = None
        self._lastFull = 0.0
        self._isLost = False

    def open(self, offload: bool | None = False) -> None:
        """
        Attach to the interface: see L{IDevice.open}.
        """
        self._checkClosed()
        attachment = self._opening.open(offload)
        try:
            self._attach(attachment, offload)
        except BaseException:
            self._opening.close(attachment)
            raise
        self._attachment, self._fileno = attachment, attachment.fileno

    def _attach(self, attachment: Attachment, offload: bool | None) -> None:
        # A device that clones itself, such as NetBSD's tap, ignores O_NONBLOCK.
        self._system.set_blocking(attachment.fileno, False)
        self._system.set_inheritable(attachment.fileno, False)
        layout = self._opening.LAYOUT
        self._prefix = attachment.prefix
        self._setHeaders(attachment.hasOffloadHeader)
        self.offloads = attachment.offloads
        self.name = attachment.name or self.name
        self._checkOffload(offload, f" on {layout.title}" if layout is not None else "")
        self._longest = attachment.longest + self._headersLength
        self._fullSince, self._isLost = None, False
        if layout is not None and attachment.name:
            with advising(printable(attachment.name), layout.advice):
                state = Kernel(self._system, layout).state(attachment.name)
            self.index, self.up, self.mtu = state.index, state.up, state.mtu
            self.linkAddress = state.linkAddress if self.mode == TAP else None

    def close(self) -> None:
        """
        Detach from the interface: see L{IDevice.close}.
        """
        attachment, self._attachment = self._attachment, None
        self._fileno = -1
        self._isLost = False
        if attachment is None:
            self._opening.discard()
        else:
            self._opening.close(attachment)

    @property
    def destroys(self) -> bool:
        """
        Whether closing the device destroys the interface by a call that waits for the last descriptor.
        """
        return self._attachment is not None and self._attachment.created

    @property
    def isStuck(self) -> bool:
        """
        Whether the kernel has taken no more packets for so long that the interface has to be made anew.
        """
        return self._isLost

    def receiveFinished(self) -> None:
        """
        Have the kernel finish all packets before they are received: see L{IDevice.receiveFinished}.
        """
        # FreeBSD may leave packets unfinished without taking any.
        if self._readsSuperpackets and self._attachment is not None:
            self._opening.receiveFinished(self._attachment)
            self._setHeaders(self._hasOffloadHeader, receivesFinished=True)

    def _readChecked(self, fileno: int, most: int) -> bytes:
        """
        Read from the descriptor, with the errors that L{IDevice} prescribes.
        """
        if self._isLost:
            raise self._lost()
        try:
            data: bytes = self._system.read(fileno, most)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as e:
            if e.errno in _DOWN:
                raise BlockingIOError(errno.EAGAIN, f"{self.name} is down, or has no address yet") from e
            raise self._explained(e) from e
        if not data:
            # The end of the file: a socket whose other end is closed.
            raise self._lost()
        return data

    def _writeChecked(self, fileno: int, data: bytes) -> int:
        """
        Write to the descriptor, if the octets can be a packet. The kernels drop some others without an error.
        """
        before = self._headersLength
        if fileno >= 0:
            if self.mode == TAP:
                isPacket = len(data) >= before + _ETHERNET
            else:
                isPacket = len(data) > before and data[before] >> 4 in (4, 6)
            if not isPacket:
                raise OSError(errno.EINVAL, "the data is not a packet")
            if len(data) > self._longest:
                raise OSError(errno.EMSGSIZE, f"a packet of {self.name} has {self._longest - before} octets at most")
            if self._isLost:
                raise self._lost()
        octets: int = self._system.write(fileno, data)
        if octets < len(data):
            # FreeBSD writes nothing while the interface is down, and gives no error.
            raise OSError(errno.EIO, f"{self.name} is down")
        self._fullSince = None
        return octets

    def _explained(self, error: OSError) -> OSError:
        """
        Replace an error of a read or a write by the one that L{IDevice} prescribes.
        """
        if self._fileno < 0:
            return super()._explained(error)
        if error.errno == errno.ENOSPC:
            now = self._system.monotonic()
            if self._fullSince is None or now - self._lastFull > MOST_FULL:
                # After such a gap, nobody knows whether the queue was full all the time.
                self._fullSince = now
            self._lastFull = now
            self._isLost = now - self._fullSince >= MOST_FULL
            return self._lost() if self._isLost else error
        if error.errno in _GONE or error.errno in self._opening.LOST:
            return self._lost()
        if error.errno in _DOWN:
            return OSError(errno.EIO, f"{self.name} is down")
        return error

    def _lost(self) -> OSError:
        reason = "its queue stays full" if self._isLost else "the interface was deleted"
        return OSError(EBADFD, f"{self.name} is lost: {reason}")
