"""
The tun of macOS, which needs no driver: an interface C{utun0}, C{utun1} and so on behind a kernel control socket. Not
run on a real macOS yet.

The interface exists as long as the socket is open. The constants are those of C{sys/kern_control.h} and
C{net/if_utun.h}.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from socket import SOCK_DGRAM
from typing import Any

from txtuntap.device.advice import advising
from txtuntap.device.unix.adopted import AdoptedOpening
from txtuntap.device.unix.family import AddressFamily
from txtuntap.device.unix.layout import DARWIN
from txtuntap.device.unix.opening import Attachment, Opening

PF_SYSTEM = 32
SYSPROTO_CONTROL = 2

#: C{CTLIOCGINFO}, the ioctl that finds the number of a kernel control by its name, and its C{struct ctl_info}.
CTLIOCGINFO = 0xC0644E03
_CTL_INFO = struct.Struct("=I96s")
_CONTROL = b"com.apple.net.utun_control"

UTUN_OPT_IFNAME = 2
UTUN_OPT_MAX_PENDING_PACKETS = 16

#: The number of packets that the kernel puts into the socket before the first of them is read. The default is 1, which
#: makes each packet wait for a turn of the reactor.
PENDING_PACKETS = 64

#: The number of attempts to connect. macOS refuses some of them without a cause (C{ENOBUFS}).
_ATTEMPTS = 3

_MAX_NAME = 16

_ADVICE = {
    **DARWIN.advice,
    errno.ENOENT: "this macOS has no utun: the kernel does not know its control",
    errno.EBUSY: "another program uses it: choose another number, or utun%d for a free one",
}


class UtunOpening(Opening):
    """
    The means to open and close a utun.
    """

    LAYOUT = DARWIN

    def __init__(self, number: int | None, system: Any) -> None:
        """
        @param number: the number of the interface, such as 3 for C{utun3}; C{None}: the next free number.
        @param system: the operating system's calls.
        """
        self._number = number
        self._system = system

    def open(self, offload: bool | None) -> Attachment:
        """
        Open a kernel control socket: see L{Opening.open}.
        """
        # Unit 1 is utun0, and unit 0 is the next free number.
        unit = 0 if self._number is None else self._number + 1
        what = "a new utun" if self._number is None else f"utun{self._number}"
        with advising(what, _ADVICE):
            control = self._system.socket(PF_SYSTEM, SOCK_DGRAM, SYSPROTO_CONTROL)
            try:
                answer = self._system.ioctl(control.fileno(), CTLIOCGINFO, _CTL_INFO.pack(0, _CONTROL))
                self._connect(control, (_CTL_INFO.unpack(answer)[0], unit))
                name = nameOf(control)
                # A macOS without this option passes one packet at a time.
                with suppress(OSError):
                    most = struct.pack("=I", PENDING_PACKETS)
                    control.setsockopt(SYSPROTO_CONTROL, UTUN_OPT_MAX_PENDING_PACKETS, most)
            except BaseException:
                control.close()
                raise
        return Attachment(control.detach(), name, AddressFamily(DARWIN.inet6))

    def _connect(self, control: Any, address: tuple[int, int]) -> None:
        for left in reversed(range(_ATTEMPTS)):
            try:
                control.connect(address)
            except OSError as e:
                if e.errno != errno.ENOBUFS or not left:
                    raise
            else:
                return

    def close(self, attachment: Attachment) -> None:
        """
        Close the socket, which removes the interface: see L{Opening.close}.
        """
        self._system.close(attachment.fileno)


class AdoptedUtun(AdoptedOpening):
    """
    The means to use the descriptor of a utun that was opened elsewhere.
    """

    def attached(self, descriptor: int, offload: bool | None) -> Attachment:
        """
        Ask for the name of the utun: see L{AdoptedOpening.attached}.
        """
        control = self._system.socket(PF_SYSTEM, SOCK_DGRAM, SYSPROTO_CONTROL, descriptor)
        try:
            name = nameOf(control)
        except OSError as e:
            raise OSError(e.errno, f"descriptor {descriptor} is not that of a utun: use bareDevice()") from e
        finally:
            control.detach()
        return Attachment(descriptor, name, AddressFamily(DARWIN.inet6))


def nameOf(control: Any) -> str:
    """
    Ask the kernel for the name of the interface behind a kernel control socket.
    """
    answer: bytes = control.getsockopt(SYSPROTO_CONTROL, UTUN_OPT_IFNAME, _MAX_NAME)
    return os.fsdecode(answer.partition(b"\0")[0])
