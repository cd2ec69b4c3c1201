"""
A descriptor of C{/dev/net/tun}, and the settings of a device that are made through its descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Any

from txtuntap.device.linux.ioctl import (
    IFF_ATTACH_QUEUE,
    IFF_DETACH_QUEUE,
    TUNSETCARRIER,
    TUNSETGROUP,
    TUNSETOWNER,
    TUNSETPERSIST,
    TUNSETQUEUE,
    TUNSETSNDBUF,
)

#: The first two fields of C{struct ifreq}: the interface's name and its flags.
IFREQ = struct.Struct("16sH")


class RealSystem:
    """
    The system calls of a L{LinuxDevice<txtuntap.device.linux.device.LinuxDevice>}. Tests can replace this by another
    object with the same names, as with C{twisted.pair}.
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


class TunDescriptor:
    """
    A descriptor of C{/dev/net/tun}, which need not be open yet. Its methods need no privilege once it is open.

    @ivar name: the interface's name; once the descriptor is open, the name that the kernel has given.
    """

    def __init__(self, name: str, system: Any = None) -> None:
        """
        @param name: the interface's name.
        @param system: a replacement for L{RealSystem}; L{None}: make the real calls.
        """
        self.name = name
        self._system: Any = RealSystem if system is None else system
        self._fileno = -1

    def fileno(self) -> int:
        """
        The number of the descriptor; -1 if the device is closed.
        """
        return self._fileno

    def close(self) -> None:
        """
        Detach from the interface: see L{IDevice.close<txtuntap.interfaces.IDevice.close>}.
        """
        fileno, self._fileno = self._fileno, -1
        if fileno >= 0:
            self._system.close(fileno)

    def setPersistent(self, persistent: bool) -> None:
        """
        Set whether the device continues to exist while no program has it open.

        @raise OSError: the descriptor is not open, or the kernel refuses.
        """
        self._set(TUNSETPERSIST, int(persistent))

    def setOwner(self, owner: int) -> None:
        """
        Allow a user to open the device without privilege.

        @param owner: the user number.

        @raise OSError: as for L{setPersistent}.
        """
        self._set(TUNSETOWNER, owner)

    def setGroup(self, group: int) -> None:
        """
        Allow the members of a group to open the device without privilege.

        @param group: the group number.

        @raise OSError: as for L{setPersistent}.
        """
        self._set(TUNSETGROUP, group)

    def setCarrier(self, carrier: bool) -> None:
        """
        Set whether the link has a carrier (a plugged cable), while the device is open.

        @raise OSError: as for L{setPersistent}.
        """
        self._set(TUNSETCARRIER, struct.pack("i", carrier))

    def setSendBuffer(self, octets: int) -> None:
        """
        Set the size of the send buffer: the largest number of octets that the kernel accepts before it has processed
        them.

        @raise OSError: as for L{setPersistent}.
        """
        self._set(TUNSETSNDBUF, struct.pack("i", octets))

    def setQueue(self, attached: bool) -> None:
        """
        Attach this descriptor's queue to a device with C{multiQueue}, or detach it. The kernel puts no packets into a
        detached queue. It distributes them among the other queues.

        @raise OSError: as for L{setPersistent}.
        """
        self._set(TUNSETQUEUE, IFREQ.pack(b"", IFF_ATTACH_QUEUE if attached else IFF_DETACH_QUEUE))

    def _set(self, request: int, value: int | bytes) -> None:
        if self._fileno < 0:
            raise OSError(errno.EBADF, f"{self.name} is not open: call open() first")
        self._system.ioctl(self._fileno, request, value)
