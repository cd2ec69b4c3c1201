"""
Tools for an application's own tests: devices in memory, and packets made to order.

    clock = task.Clock()
    device = MemoryDevice(TUN)
    port = TuntapPort("", protocol, reactor=clock, device=device)
    port.startListening()
    device.deliver(ipPacket("10.0.0.1", "10.0.0.2", 17, udpDatagram("10.0.0.1", "10.0.0.2", 1234, 7, b"hello")))
    clock.advance(0)
    answers = device.sent

Several devices are L{join}ed to a network, on which stacks speak to each other.

A L{MemoryDevice} needs nothing of a reactor but C{callLater}, so it works with a C{task.Clock} and a running reactor
alike; and with a L{SimulationClock}, for long simulations. L{MemoryIOSystem} and L{Tunnel} are one level lower, and
named as in C{twisted.pair}: they stand in for the calls of the operating system (C{TuntapPort(..., system=system)}).

A L{SettableClock} has the two times of a running reactor: the wall clock, which a test can set, and the steady time.
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
from txtuntap.device.linux.ioctl import IFF_NO_PI, IFF_TAP, TUNSETIFF
from txtuntap.device.memory import MemoryDevice
from txtuntap.layer.timer import callLater, clockStepped
from txtuntap.mistakes import checkClock, checkKind
from txtuntap.network.clock import SimulationClock
from txtuntap.wire import ethernet, ipv4, ipv6, udp
from txtuntap.wire.address import packAddress, packLinkAddress

__all__ = [
    "TAP",
    "TUN",
    "MemoryDevice",
    "MemoryIOSystem",
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


def join(clock: IReactorTime, *devices: MemoryDevice) -> None:
    """
    Make one network of devices in memory: what is sent by one of them comes out of the others, in a turn of its own, so
    that no stack is called from within another.

    @raise ValueError: the devices are not all of one kind.
    """
    checkClock(clock)
    for device in devices:
        checkKind(device, MemoryDevice, "a device", "MemoryDevice(TAP)")
    if len({device.mode for device in devices}) > 1:
        raise ValueError("a network is of tap devices or of tun devices")
    for device in devices:
        device.network = _Segment(clock, [other for other in devices if other is not device])


class _Segment:
    """
    The path from one device of a network to all others.
    """

    def __init__(self, clock: IReactorTime, others: list[MemoryDevice]) -> None:
        self._clock = clock
        self._others = others

    def __call__(self, data: bytes) -> None:
        for other in self._others:
            callLater(self._clock, 0, other.deliver, data)


class SettableClock(Clock):
    """
    A C{task.Clock} with the two times of a running reactor. C{seconds} is the wall clock, which can be set (L{setBy}),
    and delayed calls are kept by it. C{steadySeconds} only passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._steady = 0.0

    def steadySeconds(self) -> float:
        """
        The time that has passed, in seconds since the clock was made.
        """
        return self._steady

    def advance(self, amount: float) -> None:
        """
        Let time pass, and make the calls whose time by the wall clock has come.

        @param amount: how many seconds.
        """
        self._steady += amount
        super().advance(amount)

    def setBy(self, seconds: float, noticed: bool = True) -> None:
        """
        Set the wall clock. No time passes.

        @param seconds: how far; less than 0 sets it back.
        @param noticed: whether the timers that wait by this clock learn of the step, as on Linux while a C{TuntapPort}
            listens. Elsewhere, what waits in the reactor waits longer by what the clock is set back.
        """
        self.rightNow += seconds
        if noticed:
            clockStepped(self)


# Packets made to order


def ethernetFrame(
    source: str | bytes, dest: str | bytes, etherType: int, payload: bytes, vlan: int | None = None
) -> bytes:
    """
    A frame.

    @param source: a link address, as text or six octets; so is C{dest}.
    @param vlan: the number for an 802.1Q tag, if it is to have one.
    """
    return ethernet.packHeader(packLinkAddress(dest), packLinkAddress(source), etherType, vlan) + payload


def ipPacket(
    source: str | bytes, dest: str | bytes, protocol: int, payload: bytes, hopLimit: int = 64, **fields: Any
) -> bytes:
    """
    A datagram, of the version that its addresses have.

    @param source: an IP address, as text or packed; so is C{dest}.
    @param fields: others of the header, as L{wire.ipv4.packHeader<txtuntap.wire.ipv4.packHeader>} and
        L{wire.ipv6.packHeader<txtuntap.wire.ipv6.packHeader>} name them.
    """
    leaving, to = packAddress(source), packAddress(dest)
    if len(leaving) != len(to):
        raise ValueError(f"{source!r} and {dest!r} are of different IP versions")
    pack = ipv4.packHeader if len(to) == 4 else ipv6.packHeader
    return pack(leaving, to, protocol, len(payload), hopLimit, **fields) + payload


def udpDatagram(source: str | bytes, dest: str | bytes, sourcePort: int, destPort: int, payload: bytes) -> bytes:
    """
    A UDP header and its payload: what goes into an L{ipPacket} of protocol 17.

    @param source: the IP address it leaves from, which the checksum covers; so is C{dest}.
    """
    return udp.packHeader(packAddress(source), packAddress(dest), sourcePort, destPort, payload) + payload


def udpPacket(
    source: str | bytes, dest: str | bytes, sourcePort: int, destPort: int, payload: bytes, **fields: Any
) -> bytes:
    """
    An L{ipPacket} with a L{udpDatagram}.
    """
    return ipPacket(source, dest, udp.PROTOCOL, udpDatagram(source, dest, sourcePort, destPort, payload), **fields)


# The operating system's calls, in memory


class Tunnel:
    """
    An open file on C{/dev/net/tun}, in memory.

    @ivar openFlags: what it was opened with.
    @ivar tunnelMode: the flags it was configured with.
    @ivar requestedName: the name it was configured with, 16 octets.
    @ivar name: the name it got.
    @ivar readBuffer: a deque of the packets to be read.
    @ivar writeBuffer: a deque of the packets that were written.
    @ivar pendingSignals: each one in here interrupts a write (C{EINTR}).
    @ivar nonBlockingExceptionStyle: what is raised where nothing is to be read.
    """

    _DEVICE_NAME = b"/dev/net/tun"

    EAGAIN_STYLE = OSError(errno.EAGAIN, "nothing to read")
    EWOULDBLOCK_STYLE = OSError(errno.EWOULDBLOCK, "nothing to read")
    EINTR_STYLE = OSError(errno.EINTR, "interrupted by a signal")

    nonBlockingExceptionStyle: BaseException = EAGAIN_STYLE

    #: The longest packet that can be written.
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
        Whether it was opened without C{O_NONBLOCK}.
        """
        return not self.openFlags & self.system.O_NONBLOCK

    @property
    def closeOnExec(self) -> bool:
        """
        Whether it was opened with C{O_CLOEXEC}.
        """
        return bool(self.openFlags & self.system.O_CLOEXEC)

    def addToReadBuffer(self, datagram: bytes) -> None:
        """
        Let an IP datagram be read; on a tap, in a frame to everybody.
        """
        if (self.tunnelMode or 0) & IFF_TAP:
            datagram = ethernetFrame(bytes(6), b"\xff" * 6, ethernet.IPV4, datagram)
        self.readBuffer.append(datagram)

    def read(self, limit: int) -> bytes:
        """
        Take a packet, cut to C{limit}; with its protocol information, if that was not turned off.
        """
        if not self.readBuffer:
            if self.blocking:
                raise NotImplementedError("a blocking read of a Tunnel would never return")
            raise self.nonBlockingExceptionStyle
        information = b"" if (self.tunnelMode or 0) & IFF_NO_PI else bytes(4)
        return (information + self.readBuffer.popleft())[:limit]

    def write(self, datagram: bytes) -> int:
        """
        Take a packet to C{writeBuffer}.
        """
        if self.pendingSignals:
            self.pendingSignals.popleft()
            raise OSError(errno.EINTR, "interrupted by a signal")
        if len(datagram) > self.SEND_BUFFER_SIZE:
            raise OSError(errno.ENOBUFS, "no room for that much")
        self.writeBuffer.append(datagram)
        return len(datagram)


class MemoryIOSystem:
    """
    The calls of the operating system that a L{LinuxDevice<txtuntap.device.linux.LinuxDevice>} makes, in memory.

    @ivar permissions: the calls that are permitted: others fail with C{EPERM}. A set of C{"open"} and C{"ioctl"}.
    """

    O_RDWR = 1 << 0
    O_NONBLOCK = 1 << 1
    O_CLOEXEC = 1 << 2

    def __init__(self) -> None:
        self.permissions = {"open", "ioctl"}
        self._devices: dict[bytes, Callable[[MemoryIOSystem, int, int | None], Tunnel]] = {}
        self._openFiles: dict[int, Tunnel] = {}
        # No descriptor of the process has such a number.
        self._next = 8192

    def registerSpecialDevice(self, name: bytes, cls: Callable[[MemoryIOSystem, int, int | None], Tunnel]) -> None:
        """
        Say what makes the L{Tunnel} when C{name} is opened.
        """
        self._devices[name] = cls

    def getTunnel(self, port: Any) -> Tunnel:
        """
        The L{Tunnel} under a port that is listening.
        """
        return self._openFiles[port.fileno()]

    def open(self, name: bytes, flags: int, mode: int | None = None) -> int:
        """
        Open what was registered as C{name}.
        """
        self._permit("open")
        if name not in self._devices:
            raise OSError(errno.ENOSYS, f"nothing is registered as {name!r}")
        fd, self._next = self._next, self._next + 1
        self._openFiles[fd] = self._devices[name](self, flags, mode)
        return fd

    def read(self, fd: int, limit: int) -> bytes:
        """
        L{Tunnel.read}.
        """
        return self._file(fd).read(limit)

    def write(self, fd: int, data: bytes) -> int:
        """
        L{Tunnel.write}.
        """
        return self._file(fd).write(data)

    def close(self, fd: int) -> None:
        """
        Forget the file.
        """
        self._file(fd)
        del self._openFiles[fd]

    def ioctl(self, fd: int, request: int, args: Any) -> bytes:
        """
        Configure a L{Tunnel}: C{TUNSETIFF} is all there is.
        """
        self._permit("ioctl")
        tunnel = self._file(fd)
        if request != TUNSETIFF:
            raise OSError(errno.EINVAL, "only TUNSETIFF is known here")
        tunnel.requestedName, tunnel.tunnelMode = _IFREQ.unpack(args)
        # Another name than the one asked for: code must look at what it got.
        tunnel.name = tunnel.requestedName[:13] + b"123"
        return _IFREQ.pack(tunnel.name, tunnel.tunnelMode)

    def sendUDP(self, datagram: bytes, address: tuple[str | bytes, int]) -> tuple[str, int]:
        """
        Have a UDP datagram come out of the network to the first L{Tunnel} that is open.

        @param address: where it goes to.

        @return: where it came from.
        """
        host = address[0].decode() if isinstance(address[0], bytes) else address[0]
        source = ("10.1.2.3", 21345)
        next(iter(self._openFiles.values())).addToReadBuffer(
            udpPacket(source[0], host, source[1], address[1], datagram)
        )
        return source

    def receiveUDP(self, fileno: int, host: str | bytes, port: int) -> _Received:
        """
        An object to C{recv} with, once, the payload of a UDP datagram that was written to a L{Tunnel}.
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
        Take the oldest packet written, and give the payload of the UDP datagram in it.
        """
        data = self._tunnel.writeBuffer.popleft()
        mode = self._tunnel.tunnelMode or 0
        start = (0 if mode & IFF_NO_PI else 4) + (ethernet.HEADER_LENGTH if mode & IFF_TAP else 0)
        start += ipv4.IPHeader(data[start:]).ihl
        header = udp.UDPHeader(data[start:])
        return data[start + udp.HEADER_LENGTH : start + header.len][:nbytes]
