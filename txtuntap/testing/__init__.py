"""
Tools for an application's own tests: devices in memory, clocks, and functions that make packets::

    clock = task.Clock()
    device = MemoryDevice(TUN)
    port = TuntapPort("", protocol, reactor=clock, device=device)
    port.startListening()
    device.deliver(ipPacket("10.0.0.1", "10.0.0.2", 17, udpDatagram("10.0.0.1", "10.0.0.2", 1234, 7, b"hello")))
    clock.advance(0)
    answers = device.sent

L{join} connects several devices to one network, on which their stacks exchange packets.

A port on a L{MemoryDevice} needs only the time of a reactor (C{IReactorTime}). So it works with a C{task.Clock}, with a
running reactor, and with a L{SimulationClock} for long simulations. L{MemoryIOSystem} and L{Tunnel} have the names of
C{twisted.pair}. They work one level lower, and replace the calls of the operating system (C{TuntapPort(...,
system=system)}).

A L{SettableClock} has the two times of a running reactor: the wall clock, which a test can set, and the steady time.

A L{RealInterface} is a tun or tap of the kernel, in a network namespace of its own. L{txtuntap.testing.fixtures} has
fixtures for pytest.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from txtuntap.device import TAP, TUN
from txtuntap.device.address import TunnelFlags
from txtuntap.device.memory import MemoryDevice
from txtuntap.layer.timer import callLater, clockStepped
from txtuntap.mistakes import checkClock, checkKind
from txtuntap.network.clock import SimulationClock
from txtuntap.testing.namespace import NetworkNamespace, RealInterface
from txtuntap.wire import ethernet, ipv4, ipv6, udp
from txtuntap.wire.address import packAddress, packLinkAddress

__all__ = [
    "TAP",
    "TUN",
    "MemoryDevice",
    "MemoryIOSystem",
    "NetworkNamespace",
    "RealInterface",
    "SettableClock",
    "SimulationClock",
    "Tunnel",
    "ethernetFrame",
    "ipPacket",
    "join",
    "udpDatagram",
    "udpPacket",
]

_IFREQ = struct.Struct("16sH")

#: The letter and the number of C{TUNSETIFF}. Its other bits differ between architectures.
_TUNSETIFF, _CALL = ord("T") << 8 | 202, 0xFFFF

_IFF_NO_PI = TunnelFlags.IFF_NO_PI.value


def join(clock: IReactorTime, *devices: MemoryDevice) -> None:
    """
    Connect devices in memory to one network. A packet that one device sends is delivered to all other devices. The
    delivery is at the next turn of the clock, so that no stack is called from within another one.

    @raise ValueError: some of the devices are tap devices and some are tun devices.
    """
    checkClock(clock)
    for device in devices:
        checkKind(device, MemoryDevice, "a device", "MemoryDevice(TAP)")
    if len({device.mode for device in devices}) > 1:
        raise ValueError("a network consists of tap devices or of tun devices")
    for device in devices:
        device.network = _Segment(clock, [other for other in devices if other is not device])


class _Segment:
    """
    The link from one device of a network to all others.
    """

    def __init__(self, clock: IReactorTime, others: list[MemoryDevice]) -> None:
        self._clock = clock
        self._others = others

    def __call__(self, data: bytes) -> None:
        for other in self._others:
            callLater(self._clock, 0, other.deliver, data)


class SettableClock(Clock):
    """
    A C{task.Clock} with the two times of a running reactor. C{seconds} is the wall clock, which L{setBy} sets, and
    which decides when delayed calls are due. C{steadySeconds} is never set: it only advances.
    """

    def __init__(self) -> None:
        super().__init__()
        self._steady = 0.0

    def steadySeconds(self) -> float:
        """
        Return the time that has passed since the clock was made, in seconds.
        """
        return self._steady

    def advance(self, amount: float) -> None:
        """
        Advance both times, and make the delayed calls that are due by the wall clock.

        @param amount: the number of seconds.
        """
        self._steady += amount
        super().advance(amount)

    def setBy(self, seconds: float, noticed: bool = True) -> None:
        """
        Set the wall clock forward or back. The steady time does not change.

        @param seconds: the step in seconds; negative: back.
        @param noticed: whether the timers of this clock are re-armed after the step, as on Linux while a C{TuntapPort}
            listens. If not, timers are late by the step when the clock is set back, as on other systems.
        """
        self.rightNow += seconds
        if noticed:
            clockStepped(self)


# Functions that make packets


def ethernetFrame(
    source: str | bytes, dest: str | bytes, etherType: int, payload: bytes, vlan: int | None = None
) -> bytes:
    """
    Make an Ethernet frame.

    @param source: the source link address, as text or six octets.
    @param dest: the destination link address, as text or six octets.
    @param vlan: the VLAN number of an IEEE 802.1Q tag; C{None}: the frame has no tag.
    """
    return ethernet.packHeader(packLinkAddress(dest), packLinkAddress(source), etherType, vlan) + payload


def ipPacket(
    source: str | bytes, dest: str | bytes, protocol: int, payload: bytes, hopLimit: int = 64, **fields: Any
) -> bytes:
    """
    Make an IP packet. The IP version is that of the addresses.

    @param source: the source IP address, as text or packed.
    @param dest: the destination IP address, as text or packed.
    @param protocol: the IP protocol number of the payload.
    @param fields: other fields of the header, by the parameter names of
        L{wire.ipv4.packHeader<txtuntap.wire.ipv4.packHeader>} or
        L{wire.ipv6.packHeader<txtuntap.wire.ipv6.packHeader>}.
    """
    packedSource, packedDest = packAddress(source), packAddress(dest)
    if len(packedSource) != len(packedDest):
        raise ValueError(f"{source!r} and {dest!r} are of different IP versions")
    pack = ipv4.packHeader if len(packedDest) == 4 else ipv6.packHeader
    return pack(packedSource, packedDest, protocol, len(payload), hopLimit, **fields) + payload


def udpDatagram(source: str | bytes, dest: str | bytes, sourcePort: int, destPort: int, payload: bytes) -> bytes:
    """
    Make a UDP header with its payload. The result is the payload of an L{ipPacket} of protocol 17.

    @param source: the source IP address, which the checksum covers.
    @param dest: the destination IP address, which the checksum covers.
    """
    return udp.packHeader(packAddress(source), packAddress(dest), sourcePort, destPort, payload) + payload


def udpPacket(
    source: str | bytes, dest: str | bytes, sourcePort: int, destPort: int, payload: bytes, **fields: Any
) -> bytes:
    """
    Make an L{ipPacket} whose payload is a L{udpDatagram}.
    """
    return ipPacket(source, dest, udp.PROTOCOL, udpDatagram(source, dest, sourcePort, destPort, payload), **fields)


# The calls of the operating system, in memory


class Tunnel:
    """
    An open file on C{/dev/net/tun}, in memory.

    @ivar openFlags: the flags that C{open} was called with.
    @ivar tunnelMode: the flags that C{TUNSETIFF} was called with; C{None} before that.
    @ivar requestedName: the interface name that C{TUNSETIFF} was called with, 16 octets.
    @ivar name: the interface name that C{TUNSETIFF} returned.
    @ivar readBuffer: a deque of the packets to be read.
    @ivar writeBuffer: a deque of the packets that were written.
    @ivar pendingSignals: a deque of signals, each of which interrupts one write (C{EINTR}).
    @ivar nonBlockingExceptionStyle: the exception that a read raises when no packet is waiting.
    """

    _DEVICE_NAME = b"/dev/net/tun"

    EAGAIN_STYLE = OSError(errno.EAGAIN, "nothing to read")
    EWOULDBLOCK_STYLE = OSError(errno.EWOULDBLOCK, "nothing to read")
    EINTR_STYLE = OSError(errno.EINTR, "interrupted by a signal")

    nonBlockingExceptionStyle: BaseException = EAGAIN_STYLE

    #: The most octets of a packet that can be written.
    SEND_BUFFER_SIZE = 1024

    def __init__(self, system: MemoryIOSystem, openFlags: int, fileMode: int | None) -> None:
        self.system = system
        self.openFlags = openFlags
        self.tunnelMode: int | None = None
        self.requestedName: bytes | None = None
        self.name: bytes | None = None
        self.readBuffer: deque[bytes] = deque()
        self.writeBuffer: deque[bytes] = deque()
        self.pendingSignals: deque[int] = deque()

    @property
    def blocking(self) -> bool:
        """
        Whether the file was opened without C{O_NONBLOCK}.
        """
        return not self.openFlags & self.system.O_NONBLOCK

    @property
    def closeOnExec(self) -> bool:
        """
        Whether the file was opened with C{O_CLOEXEC}.
        """
        return bool(self.openFlags & self.system.O_CLOEXEC)

    def addToReadBuffer(self, datagram: bytes) -> None:
        """
        Add an IP datagram to the packets to be read. On a tap, it is put into a broadcast frame.
        """
        if (self.tunnelMode or 0) & TAP:
            datagram = ethernetFrame(bytes(6), b"\xff" * 6, ethernet.IPV4, datagram)
        self.readBuffer.append(datagram)

    def read(self, limit: int) -> bytes:
        """
        Return the next packet, cut to C{limit} octets. Protocol information precedes it, unless C{IFF_NO_PI} is set.
        """
        if not self.readBuffer:
            if self.blocking:
                raise NotImplementedError("a blocking read of a Tunnel would never return")
            raise self.nonBlockingExceptionStyle
        information = b"" if (self.tunnelMode or 0) & _IFF_NO_PI else bytes(4)
        return (information + self.readBuffer.popleft())[:limit]

    def write(self, datagram: bytes) -> int:
        """
        Append a packet to C{writeBuffer}.
        """
        if self.pendingSignals:
            self.pendingSignals.popleft()
            raise OSError(errno.EINTR, "interrupted by a signal")
        if len(datagram) > self.SEND_BUFFER_SIZE:
            raise OSError(errno.ENOBUFS, f"a packet has at most {self.SEND_BUFFER_SIZE} octets here")
        self.writeBuffer.append(datagram)
        return len(datagram)


class MemoryIOSystem:
    """
    The calls of the operating system that a L{LinuxDevice<txtuntap.device.linux.LinuxDevice>} makes, in memory.

    @ivar permissions: a set of C{"open"} and C{"ioctl"}. Each of these two calls fails with C{EPERM} while it is not in
        the set.
    """

    O_RDWR = 1 << 0
    O_NONBLOCK = 1 << 1
    O_CLOEXEC = 1 << 2

    def __init__(self) -> None:
        self.permissions = {"open", "ioctl"}
        self._devices: dict[bytes, Callable[[MemoryIOSystem, int, int | None], Tunnel]] = {}
        self._openFiles: dict[int, Tunnel] = {}
        # Real descriptors of the process have lower numbers.
        self._next = 8192

    def registerSpecialDevice(self, name: bytes, cls: Callable[[MemoryIOSystem, int, int | None], Tunnel]) -> None:
        """
        Register the class or function that makes the L{Tunnel} when C{name} is opened.
        """
        self._devices[name] = cls

    def getTunnel(self, port: Any) -> Tunnel:
        """
        Return the L{Tunnel} of a port that is listening.
        """
        return self._openFiles[port.fileno()]

    def open(self, name: bytes, flags: int, mode: int | None = None) -> int:
        """
        Open the device that was registered as C{name}, and return its descriptor.
        """
        self._permit("open")
        if name not in self._devices:
            raise OSError(errno.ENOSYS, f"nothing is registered as {name!r}")
        fd, self._next = self._next, self._next + 1
        self._openFiles[fd] = self._devices[name](self, flags, mode)
        return fd

    def read(self, fd: int, limit: int) -> bytes:
        """
        Read a packet from an open file: see L{Tunnel.read}.
        """
        return self._file(fd).read(limit)

    def write(self, fd: int, data: bytes) -> int:
        """
        Write a packet to an open file: see L{Tunnel.write}.
        """
        return self._file(fd).write(data)

    def close(self, fd: int) -> None:
        """
        Close an open file.
        """
        self._file(fd)
        del self._openFiles[fd]

    def ioctl(self, fd: int, request: int, args: Any) -> bytes:
        """
        Configure a L{Tunnel} by an ioctl. The only request that is known is C{TUNSETIFF}.
        """
        self._permit("ioctl")
        tunnel = self._file(fd)
        if request & _CALL != _TUNSETIFF:
            raise OSError(errno.EINVAL, "only TUNSETIFF is known here")
        tunnel.requestedName, tunnel.tunnelMode = _IFREQ.unpack(args)
        # The name differs from the requested one, so that code has to use the name that it was given.
        tunnel.name = tunnel.requestedName[:13] + b"123"
        return _IFREQ.pack(tunnel.name, tunnel.tunnelMode)

    def sendUDP(self, datagram: bytes, address: tuple[str | bytes, int]) -> tuple[str, int]:
        """
        Let the first L{Tunnel} that is open receive a UDP datagram.

        @param address: the destination: an IP address and a port.

        @return: the source: an IP address and a port.
        """
        host = address[0].decode() if isinstance(address[0], bytes) else address[0]
        source = ("10.1.2.3", 21345)
        next(iter(self._openFiles.values())).addToReadBuffer(
            udpPacket(source[0], host, source[1], address[1], datagram)
        )
        return source

    def receiveUDP(self, fileno: int, host: str | bytes, port: int) -> _Received:
        """
        Return an object whose C{recv} returns the payload of the oldest UDP datagram that was written to a L{Tunnel}.
        """
        return _Received(self._file(fileno))

    def _permit(self, call: str) -> None:
        if call not in self.permissions:
            raise OSError(errno.EPERM, f"{call} is not permitted")

    def _file(self, fd: int) -> Tunnel:
        try:
            return self._openFiles[fd]
        except KeyError:
            raise OSError(errno.EBADF, f"{fd} is not open") from None


class _Received:
    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def recv(self, nbytes: int) -> bytes:
        """
        Remove the oldest packet that was written, and return the payload of its UDP datagram.
        """
        data = self._tunnel.writeBuffer.popleft()
        mode = self._tunnel.tunnelMode or 0
        start = (0 if mode & _IFF_NO_PI else 4) + (ethernet.HEADER_LENGTH if mode & TAP else 0)
        start += ipv4.IPHeader(data[start:]).ihl
        header = udp.UDPHeader(data[start:])
        return data[start + udp.HEADER_LENGTH : start + header.len][:nbytes]
