"""
A descriptor of C{/dev/net/tun}, and what belongs to its device and is set by it.
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

#: C{struct ifreq}, as far as it is used: the interface's name and its flags.
IFREQ = struct.Struct("16sH")


class RealSystem:
    """
    The calls a L{LinuxDevice<txtuntap.device.linux.device.LinuxDevice>} makes. Another object with these names may
    stand in for them: the seam that C{twisted.pair} has, for tests.
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
    A descriptor of C{/dev/net/tun}, open or not. Its settings can be set after privileges have been dropped, too.

    @ivar name: the interface's name; once open, the one the kernel gave it.
    """

    def __init__(self, name: str, system: Any = None) -> None:
        """
        @param system: stands in for the operating system.
        """
        self.name = name
        self._system: Any = RealSystem if system is None else system
        self._fileno = -1

    def fileno(self) -> int:
        """
        The descriptor, or -1 if the device is closed.
        """
        return self._fileno

    def close(self) -> None:
        """
        Let go of the interface: see L{IDevice.close<txtuntap.interfaces.IDevice.close>}.
        """
        fileno, self._fileno = self._fileno, -1
        if fileno >= 0:
            self._system.close(fileno)

    def setPersistent(self, persistent: bool) -> None:
        """
        Have the device stay when nobody has it open, or go.

        @raise OSError: it is not open, or the kernel refused.
        """
        self._set(TUNSETPERSIST, int(persistent))

    def setOwner(self, owner: int) -> None:
        """
        Let a user open the device without privilege.

        @param owner: a user number.

        @raise OSError: as L{setPersistent}.
        """
        self._set(TUNSETOWNER, owner)

    def setGroup(self, group: int) -> None:
        """
        Let the members of a group open the device without privilege.

        @param group: a group number.

        @raise OSError: as L{setPersistent}.
        """
        self._set(TUNSETGROUP, group)

    def setCarrier(self, carrier: bool) -> None:
        """
        Set whether the link has its carrier ("the cable is in"), for as long as the device is open.

        @raise OSError: as L{setPersistent}.
        """
        self._set(TUNSETCARRIER, struct.pack("i", carrier))

    def setSendBuffer(self, octets: int) -> None:
        """
        Set how many octets the kernel takes before it has handled them.

        @raise OSError: as L{setPersistent}.
        """
        self._set(TUNSETSNDBUF, struct.pack("i", octets))

    def setQueue(self, attached: bool) -> None:
        """
        Have packets of a device with C{multiQueue} go to this one's queue, or to those of others alone.

        @raise OSError: as L{setPersistent}.
        """
        self._set(TUNSETQUEUE, IFREQ.pack(b"", IFF_ATTACH_QUEUE if attached else IFF_DETACH_QUEUE))

    def _set(self, request: int, value: int | bytes) -> None:
        if self._fileno < 0:
            raise OSError(errno.EBADF, f"{self.name} is not open: call open() first")
        self._system.ioctl(self._fileno, request, value)
