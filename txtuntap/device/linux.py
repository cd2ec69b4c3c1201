"""
C{/dev/net/tun}: Linux TUN and TAP devices (C{Documentation/networking/tuntap.rst}).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import implementer

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.ioctl import (
    ETHTOOL_GDRVINFO,
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_VNET_HDR,
    SIOCETHTOOL,
    SIOCGIFHWADDR,
    SIOCGIFMTU,
    TUN_PKT_STRIP,
    TUNGETIFF,
    TUNSETIFF,
    TUNSETOFFLOAD,
)
from txtuntap.interfaces import IDevice
from txtuntap.packet import Packet

NODE = b"/dev/net/tun"

_IFREQ = struct.Struct("16sH")

#: Protocol information (C{struct tun_pi}): flags in the machine's byte order, EtherType in the network's.
_FLAGS = struct.Struct("=H")
_INFORMATION_LENGTH = 4


class RealSystem:
    """
    The calls a L{LinuxDevice} makes. Something else with these names may stand in for them: the seam that
    C{twisted.pair} has, for tests.
    """

    O_RDWR = os.O_RDWR
    O_NONBLOCK = os.O_NONBLOCK
    O_CLOEXEC = os.O_CLOEXEC

    open = staticmethod(os.open)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    close = staticmethod(os.close)
    ioctl = staticmethod(fcntl.ioctl)


@implementer(IDevice)
class LinuxDevice:
    """
    A TUN or TAP device. Non-blocking: L{receive} gives L{None} where nothing waits.

        with LinuxDevice("tun0", TUN) as device:
            select.select([device], [], [])
            print(bytes(device.receive()))

    @ivar name: the interface's name; once open, the one the kernel gave it.
    @ivar mtu: the interface's, when it was opened.
    @ivar linkAddress: that of the kernel's end of a tap, when it was opened; L{None} for a tun.
    """

    offloads = 0

    def __init__(
        self,
        name: str | bytes,
        mode: int,
        protocolInformation: bool = False,
        system: Any = None,
    ) -> None:
        """
        @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
        @param protocolInformation: have four octets of flags and EtherType go with each packet (no C{IFF_NO_PI}). They
            are read and written here: C{partial} and C{etherType} of a packet come from them.
        @param system: stands in for the operating system.

        @raise ValueError: C{name} or C{mode} is none.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"the mode of a device is TUN (1) or TAP (2), not {mode!r}")
        self._asked = interfaceName(name)
        self.name = os.fsdecode(self._asked)
        self.mode = mode
        self.mtu = 1500
        self.linkAddress: bytes | None = None
        self._information = protocolInformation
        self._system: Any = RealSystem if system is None else system
        self._read = self._system.read
        self._fileno = -1

    def __enter__(self) -> LinuxDevice:
        if self._fileno < 0:
            self.open()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "tap" if self.mode == TAP else "tun"
        return f"<LinuxDevice {kind} {self.name} {'open' if self._fileno >= 0 else 'closed'}>"

    def open(self) -> None:
        """
        Attach to the interface: see L{IDevice.open}.
        """
        if self._fileno >= 0:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        system = self._system
        try:
            fileno = system.open(NODE, system.O_RDWR | system.O_CLOEXEC | system.O_NONBLOCK)
        except OSError as e:
            raise _explained(e, self._asked, self.mode, NODE.decode()) from e
        try:
            self._attach(fileno)
        except BaseException:
            system.close(fileno)
            raise
        self._fileno = fileno

    def fileno(self) -> int:
        """
        The descriptor, or -1 if the device is closed.
        """
        return self._fileno

    def readable(self, callback: Callable[[], None] | None) -> None:
        """
        Not for a device with a descriptor: wait on that.
        """
        raise OSError(errno.ENOTSUP, "wait on the descriptor of a LinuxDevice")

    def receive(self, maxPacketSize: int = 65535) -> Packet | None:
        """
        Take the next packet: see L{IDevice.receive}.
        """
        if self._information:
            return self._receiveInformed(maxPacketSize)
        try:
            # The kernel cuts what does not fit without a word: one octet more tells.
            data = self._read(self._fileno, maxPacketSize + 1)
        except (BlockingIOError, InterruptedError):
            return None
        if len(data) > maxPacketSize:
            return Packet(data[:maxPacketSize], partial=True)
        return Packet(data) if data else None

    def send(self, buffers: Sequence[bytes]) -> int:
        """
        Send one packet: see L{IDevice.send}.
        """
        data = b"".join(buffers)
        before = 0
        if self._information:
            data = _FLAGS.pack(0) + self._etherType(data) + data
            before = _INFORMATION_LENGTH
        while True:
            try:
                return int(self._system.write(self._fileno, data)) - before
            except InterruptedError:
                continue

    def close(self) -> None:
        """
        Let go of the interface: see L{IDevice.close}.
        """
        fileno, self._fileno = self._fileno, -1
        if fileno >= 0:
            self._system.close(fileno)

    def _attach(self, fileno: int) -> None:
        ioctl = self._system.ioctl
        flags = self.mode | (0 if self._information else IFF_NO_PI)
        try:
            result = ioctl(fileno, TUNSETIFF, _IFREQ.pack(self._asked, flags))
        except OSError as e:
            raise _explained(e, self._asked, self.mode, "TUNSETIFF") from e
        self.name = os.fsdecode(bytes(result[:16]).rstrip(b"\0"))
        # What the device says counts, not what was asked: flags and offload belong to it and outlive a descriptor. But
        # for protocol information: its flag has the number of IFF_NOFILTER there, and so is set either way. A system
        # that stands in for the real one need not know these calls.
        try:
            flags = _IFREQ.unpack_from(ioctl(fileno, TUNGETIFF, bytes(40)))[1]
            ioctl(fileno, TUNSETOFFLOAD, 0)
        except OSError:
            return
        if flags & IFF_VNET_HDR or flags & (IFF_TUN | IFF_TAP) != self.mode:
            raise OSError(
                errno.EINVAL, f"{self.name} was made with other flags ({flags:#06x}): delete it or name another"
            )
        if self._system is RealSystem:
            self.mtu, self.linkAddress = _linkSettings(self.name, self.mode)

    def _receiveInformed(self, maxPacketSize: int) -> Packet | None:
        before = _INFORMATION_LENGTH
        try:
            data = self._read(self._fileno, before + maxPacketSize + 1)
        except (BlockingIOError, InterruptedError):
            return None
        if len(data) < before:
            return None
        (flags,) = _FLAGS.unpack_from(data)
        etherType = int.from_bytes(data[2:4], "big")
        partial = bool(flags & TUN_PKT_STRIP) or len(data) > before + maxPacketSize
        # On a tap the frame itself says what it carries.
        return Packet(data[: before + maxPacketSize], before, partial=partial, etherType=etherType * (self.mode == TUN))

    def _etherType(self, data: bytes) -> bytes:
        if self.mode == TAP:
            return data[12:14].ljust(2, b"\0")
        version = data[0] >> 4 if data else 0
        if version not in (4, 6):
            # Without protocol information the kernel would say so; with it, it believes what it is told.
            raise OSError(errno.EINVAL, "that is no IP packet")
        return b"\x08\x00" if version == 4 else b"\x86\xdd"


def _linkSettings(name: str, mode: int) -> tuple[int, bytes | None]:
    """
    MTU and (tap) link address of an interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        request = struct.pack("16s24x", os.fsencode(name))
        (mtu,) = struct.unpack_from("i", fcntl.ioctl(query, SIOCGIFMTU, request), 16)
        address = fcntl.ioctl(query, SIOCGIFHWADDR, request)[18:24] if mode == TAP else None
    return mtu, address


def _driver(name: bytes) -> tuple[bytes, bytes]:
    """
    Driver and bus of an interface as ethtool tells them: those of our kind have the driver C{tun} and, for a bus,
    C{tun} or C{tap}. Empty where there is nothing to tell.
    """
    information = array.array("B", struct.pack("I", ETHTOOL_GDRVINFO).ljust(196, b"\0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        try:
            fcntl.ioctl(query, SIOCETHTOOL, struct.pack("16sP16x", name, information.buffer_info()[0]))
        except OSError:
            return b"", b""
    answer = information.tobytes()
    return answer[4:36].rstrip(b"\0"), answer[100:132].rstrip(b"\0")


def _exists(name: bytes) -> bool:
    try:
        return bool(socket.if_nametoindex(os.fsdecode(name)))
    except (OSError, ValueError):
        return False


def _explained(error: OSError, name: bytes, mode: int, call: str) -> OSError:
    """
    The same error, saying what to do.
    """
    kind, other = ("tap", "tun") if mode == TAP else ("tun", "tap")
    interface = name.decode(errors="replace") or f"a new {kind}"
    if error.errno == errno.ENOENT:
        advice = "there is no such node: load the module ('modprobe tun'), or make it ('mknod /dev/net/tun c 10 200')"
    elif error.errno in (errno.ENODEV, errno.ENXIO):
        advice = "the kernel has no driver for it: load the module ('modprobe tun'), or in a container allow the device"
    elif error.errno == errno.EACCES:
        advice = "the node may not be opened: run as root, or allow this user to read and write it"
    elif error.errno == errno.EPERM:
        advice = (
            f"making {interface} takes CAP_NET_ADMIN: run as root, in a namespace ('unshare -rn'), or have an"
            f" administrator make it ('ip tuntap add mode {kind} {interface} user NAME')"
        )
    elif error.errno == errno.EBUSY:
        advice = f"{interface} is in use by another program (or this one): stop that, or name another interface"
    elif error.errno == errno.EINVAL:
        driver, bus = _driver(name)
        if driver != b"tun" and _exists(name):
            advice = f"{interface} is no TUN/TAP interface: name another"
        elif bus == other.encode():
            advice = f"{interface} is a {other}, not a {kind}: name another, or give a protocol for a {other}"
        elif driver:
            advice = f"{interface} was made with other flags ('multi_queue'?): delete it, or name another"
        else:
            advice = f"the kernel does not take {interface!r} for the name of a {kind}"
    else:
        advice = os.strerror(error.errno or 0)
    return OSError(error.errno, f"{call}: {advice}")
