"""
A device over a descriptor that was opened elsewhere: by a parent process, the helper, or the VPN service of Android or
iOS. Not run on a real macOS, FreeBSD, OpenBSD, NetBSD, Android or iOS yet.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.packets import Prefix
from txtuntap.device.unix.device import UnixDevice
from txtuntap.device.unix.layout import Layout
from txtuntap.device.unix.opening import Attachment, Opening
from txtuntap.device.unix.system import RealSystem
from txtuntap.mistakes import checkMTU, checkRange


class AdoptedOpening(Opening):
    """
    The means to use a descriptor that is open already. Closing it does not destroy its interface, because another
    process has made it.

    The device owns the descriptor from its construction on. It closes the descriptor when it is closed, even if it was
    never opened, and when opening it fails. A constructor that raises an exception leaves the descriptor to its caller.
    """

    def __init__(self, descriptor: int, name: str, prefix: Prefix | None, layout: Layout | None, system: Any) -> None:
        """
        @param descriptor: the number of the descriptor. The device owns and closes it.
        @param name: the name of the interface; empty: not known.
        @param prefix: the header before each packet; C{None}: there is none.
        @param layout: the platform's numbers; C{None}: the interface cannot be asked for its state.
        @param system: a replacement for the operating system's calls; C{None}: make the real calls.

        @raise ValueError: C{descriptor} is not valid.
        """
        checkRange(descriptor, "a descriptor", 0, 2**31 - 1)
        self.LAYOUT = layout
        self._system: Any = RealSystem if system is None else system
        self._descriptor: int | None = descriptor
        self._name = name
        self._prefix = prefix

    def open(self, offload: bool | None) -> Attachment:
        """
        Use the descriptor: see L{Opening.open}.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            raise OSError(errno.EBADF, "the descriptor from elsewhere was closed: make a device of a new one")
        try:
            self._system.set_blocking(descriptor, False)
            return self.attached(descriptor, offload)
        except BaseException as e:
            if isinstance(e, OSError) and e.errno == errno.EBADF:
                # There is nothing to close.
                raise OSError(e.errno, f"this process has no descriptor {descriptor}: give one that is open") from e
            self._system.close(descriptor)
            raise

    def discard(self) -> None:
        """
        Close the descriptor that was never used: see L{Opening.discard}.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._system.close(descriptor)

    def attached(self, descriptor: int, offload: bool | None) -> Attachment:
        """
        Find out which interface the descriptor is attached to. Platforms override this method.

        @param offload: see L{Opening.open}.
        """
        return Attachment(descriptor, self._name, self._prefix)

    def close(self, attachment: Attachment) -> None:
        """
        Close the descriptor: see L{Opening.close}.
        """
        self._system.close(attachment.fileno)


def bareDevice(
    descriptor: int, mode: int = TUN, name: str | bytes = "", mtu: int = 1500, system: Any = None
) -> UnixDevice:
    """
    Make a device over a descriptor whose reads and writes are bare packets, as Android and iOS hand over. This function
    works on every Unix. The device is given to a port: C{TuntapPort("", host.ip, device=bareDevice(descriptor))}.

    @param descriptor: the number of the descriptor. The device owns it, and closes it when the device is closed or
        cannot be opened. If this function raises an exception, the descriptor stays open.
    @param mode: C{TUN} (IP packets) or C{TAP} (Ethernet frames).
    @param name: the name that the device has; the system is not asked for it.
    @param mtu: the MTU of the interface, in octets.
    @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.

    @raise ValueError: an argument has a wrong value.
    """
    if mode not in (TUN, TAP):
        raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
    checkMTU(mtu)
    given = os.fsdecode(interfaceName(name)) or ("tap" if mode == TAP else "tun")
    device = UnixDevice(given, mode, AdoptedOpening(descriptor, "", None, None, system), system)
    device.mtu = mtu
    return device
