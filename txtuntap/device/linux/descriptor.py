"""
A descriptor of C{/dev/net/tun}, and the settings of a device that are made through its descriptor.
"""

from __future__ import annotations

import errno
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
from txtuntap.device.packets import PacketDescriptor, Prefix
from txtuntap.device.unix.system import RealSystem

#: The first two fields of C{struct ifreq}: the interface's name and its flags.
IFREQ = struct.Struct("16sH")


class TunDescriptor(PacketDescriptor):
    """
    A descriptor of C{/dev/net/tun}. Its methods need no privilege once it is open.
    """

    def __init__(self, name: str, mode: int, prefix: Prefix | None, system: Any) -> None:
        """
        @param name: the interface's name.
        @param mode: C{TUN} or C{TAP}.
        @param prefix: the header that Linux puts before each packet; C{None}: there is none.
        @param system: a replacement for the operating system's calls; C{None}: make the real calls.
        """
        super().__init__(name, mode, prefix, RealSystem if system is None else system)

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
        if isinstance(value, int) and value >= 1 << 31:
            # Python takes a signed number here. The kernel sees the same 32 bits.
            value -= 1 << 32
        self._system.ioctl(self._fileno, request, value)
