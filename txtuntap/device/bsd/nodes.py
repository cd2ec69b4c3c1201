"""
The device nodes of tun and tap on FreeBSD, OpenBSD and NetBSD: what their drivers have in common. Not run on a real
FreeBSD, OpenBSD or NetBSD yet.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.logger import Logger

from txtuntap.device import TAP, TUN, printable
from txtuntap.device.advice import advising
from txtuntap.device.unix.adopted import AdoptedOpening
from txtuntap.device.unix.kernel import Kernel
from txtuntap.device.unix.layout import Layout
from txtuntap.device.unix.opening import Attachment, Opening

#: The argument of an ioctl with one C{int}.
INT = struct.Struct("=i")

DRIVERS: dict[int, tuple[str, ...]] = {TUN: ("tun",), TAP: ("tap",)}


class NodeOpening(Opening):
    """
    The means to open and close the node of a tun or a tap.
    """

    LAYOUT: Layout

    _log = Logger()

    def __init__(self, mode: int, number: int | None, system: Any) -> None:
        """
        @param mode: C{TUN} or C{TAP}.
        @param number: the number of the interface; C{None}: any free number.
        @param system: the operating system's calls.
        """
        self._mode = mode
        self._driver = "tap" if mode == TAP else "tun"
        self._number = number
        self._system = system
        self._kernel = Kernel(system, self.LAYOUT)

    def open(self, offload: bool | None) -> Attachment:
        """
        Open the node and set the header of its packets: see L{Opening.open}.
        """
        attachment = self.openNode()
        try:
            with advising(f"the header of {printable(attachment.name)}", self.LAYOUT.advice):
                self.prepare(attachment, offload)
        except BaseException:
            self.close(attachment)
            raise
        return attachment

    def openNode(self) -> Attachment:
        """
        Open the node of the interface.

        @return: the descriptor, the interface's name, and whether the interface was created.

        @raise OSError: see L{open}.
        """
        raise NotImplementedError

    def prepare(self, attachment: Attachment, offload: bool | None) -> None:
        """
        Set the header of the packets, and write it into C{attachment}.
        """
        raise NotImplementedError

    def presentName(self, attachment: Attachment) -> str:
        """
        Return the name of the interface, which may have been renamed since the node was opened.
        """
        return attachment.name

    def close(self, attachment: Attachment) -> None:
        """
        Close the node: see L{Opening.close}.
        """
        name = self.presentName(attachment) if attachment.created else ""
        self._system.close(attachment.fileno)
        if not name:
            return
        # The kernel waits until the last descriptor is closed, so an earlier call would wait for this process itself.
        try:
            self._kernel.destroy(name)
        except OSError as e:
            self._log.warn("{name} was not destroyed: {reason}", name=printable(name), reason=e.strerror or e)


class AdoptedNode(AdoptedOpening):
    """
    The means to use a node that was opened elsewhere. The driver's class sets the header of the packets, as for a node
    that this process has opened.
    """

    def __init__(self, descriptor: int, name: str, driver: NodeOpening, system: Any) -> None:
        """
        @param descriptor: the number of the descriptor. The device owns and closes it.
        @param name: the name of the interface; empty: the kernel has to tell it.
        @param driver: the driver's class.
        @param system: the operating system's calls.
        """
        super().__init__(descriptor, name, None, driver.LAYOUT, system)
        self.LOST = driver.LOST
        self._driver = driver

    def receiveFinished(self, attachment: Attachment) -> None:
        """
        Have the kernel finish all packets: see L{AdoptedOpening.receiveFinished}.
        """
        self._driver.receiveFinished(attachment)

    def attached(self, descriptor: int, offload: bool | None) -> Attachment:
        """
        Set the header of the packets: see L{AdoptedOpening.attached}.
        """
        attachment = super().attached(descriptor, offload)
        with advising(f"descriptor {descriptor}", self._driver.LAYOUT.advice):
            attachment.name = self._driver.presentName(attachment)
            self._driver.prepare(attachment, offload)
        return attachment
