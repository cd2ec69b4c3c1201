"""
Replacements for the system calls of macOS and the BSDs. Each plays the kernel: it checks every octet that a device
hands over, and answers as the platform does. The numbers and sizes come from the table of the platforms' own headers.

A descriptor is one end of a pair of sockets, so that it becomes readable when a packet arrives.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.device.unix.constants import CONSTANTS
from tests.device.unix.routemessages import stateMessage
from tests.device.unix.routesockets import Link, refusal
from txtuntap.device import TAP, TUN

#: The number of packets that wait in a queue of the kernel.
QUEUE_LENGTH = 50

_IFREQ_NAME = 16


class Interface:
    """
    An interface of the kernel, and the network behind it.

    @ivar received: the packets that the network has received from the device, with the device's header.
    """

    def __init__(self, name: str, mode: int, index: int, mtu: int = 1500) -> None:
        self.name = name
        self.mode = mode
        self.index = index
        self.mtu = mtu
        self.up = False
        self.isOpen = False
        self.isDead = False
        # Whether closing the descriptor removes the interface.
        self.isTransient = False
        self.hasFamily = False
        self.offloadLength = 0
        self.capabilities = 0
        self.waiting = 0
        self.received: list[bytes] = []
        self.linkAddress = b"\x58\x9c\xfc\x10\x00" + bytes((index,))
        self.kernelEnd: socket.socket | None = None


class Query:
    """
    A datagram socket, whose descriptor serves for ioctls about interfaces.
    """

    def __init__(self, system: FakeSystem) -> None:
        self._system = system
        self._fileno = system.reserve(self)

    def fileno(self) -> int:
        return self._fileno

    def __enter__(self) -> Query:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._system.close(self._fileno)


class FakeSystem:
    """
    The part of a kernel that is the same on each platform.

    @ivar interfaces: the interfaces that exist, by name.
    @ivar calls: the names of the ioctls of the nodes and of the sockets, in the order in which they were made.
    @ivar failing: an error for each system call that is to fail, by its name; C{"open"} or the name of an ioctl.
    @ivar hidden: the names of interfaces that the kernel does not list, as in a jail of FreeBSD.
    @ivar now: the time that C{monotonic} tells, in seconds.
    """

    O_RDWR = 2

    platform = ""

    def __init__(self) -> None:
        self.numbers = CONSTANTS[self.platform]
        self.O_NONBLOCK = self.numbers["O_NONBLOCK"]
        self.O_CLOEXEC = self.numbers["O_CLOEXEC"]
        self.interfaces: dict[str, Interface] = {}
        self.calls: list[str] = []
        self.failing: dict[str, int] = {}
        self.hidden: set[str] = set()
        self.now = 100.0
        self.writeError: int | None = None
        self._files: dict[int, Any] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._ends: dict[int, socket.socket] = {}
        self._index = 4
        self._blocking: set[int] = set()
        self._names: dict[int, str] = {}
        for name, number in self.numbers.items():
            # The first name counts where a tun and a tap have the same number.
            self._names.setdefault(number, name)

    # The kernel's own

    def reserve(self, file: Any) -> int:
        """
        Open one end of a pair of sockets as the descriptor of a file.
        """
        kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel.setblocking(False)
        fileno = device.fileno()
        self._sockets[fileno] = device
        self._files[fileno] = file
        self._blocking.add(fileno)
        if isinstance(file, Interface):
            file.kernelEnd = kernel
        else:
            # The end of a socket that may become the descriptor of an interface.
            self._ends[fileno] = kernel
        return fileno

    def turn(self, fileno: int, interface: Interface) -> None:
        """
        Make a socket the descriptor of an interface.
        """
        interface.kernelEnd = self._ends.pop(fileno)
        self._files[fileno] = interface

    def add(self, name: str, mode: int, mtu: int = 1500) -> Interface:
        """
        Make a new interface of the kernel.
        """
        self._index += 1
        made = self.interfaces[name] = Interface(name, mode, self._index, mtu)
        return made

    def openDescriptors(self) -> int:
        """
        The number of descriptors that are open.
        """
        return len(self._files)

    def deliver(self, name: str, data: bytes, header: bytes | None = None) -> None:
        """
        Send a packet from the network to an interface.

        @param header: the header before the packet; L{None}: the one that the kernel makes.
        """
        interface = self.interfaces[name]
        if not interface.up or not interface.isOpen or interface.waiting >= QUEUE_LENGTH:
            return
        if header is None:
            header = bytes(interface.offloadLength)
            if interface.hasFamily:
                family = self.numbers["AF_INET6" if data[0] >> 4 == 6 else "AF_INET"]
                header += struct.pack("!I", family)
        assert interface.kernelEnd is not None
        interface.kernelEnd.send(header + data)
        interface.waiting += 1

    def destroy(self, name: str) -> None:
        """
        Remove an interface, though a program has it open.
        """
        interface = self.interfaces.pop(name)
        interface.isDead = True
        if interface.kernelEnd is not None:
            interface.kernelEnd.close()
        for fileno, file in self._files.items():
            while file is interface and interface.waiting:
                # The kernel drops the packets that wait.
                self._sockets[fileno].recv(1)
                interface.waiting -= 1

    def fault(self, name: str) -> None:
        """
        Fail a call if a test has asked for that.
        """
        if name in self.failing:
            raise refusal(self.failing[name])

    # The system calls

    def open(self, path: str, flags: int) -> int:
        assert flags == self.O_RDWR | self.O_NONBLOCK | self.O_CLOEXEC, hex(flags)
        self.fault("open")
        self.calls.append(path)
        interface = self.opened(path)
        interface.isOpen = True
        return self.reserve(interface)

    def opened(self, path: str) -> Interface:
        """
        Find or make the interface of a node.
        """
        raise NotImplementedError

    def set_blocking(self, fileno: int, blocking: bool) -> None:
        assert not blocking
        self._sockets[fileno].setblocking(False)
        self._blocking.discard(fileno)

    def set_inheritable(self, fileno: int, inheritable: bool) -> None:
        assert not inheritable and fileno in self._files

    def read(self, fileno: int, most: int) -> bytes:
        if fileno < 0:
            raise refusal(errno.EBADF)
        assert fileno not in self._blocking, "the call blocks for ever"
        interface = self._files[fileno]
        self.checkAlive(interface)
        if self.isUnready(interface):
            raise refusal(errno.EHOSTDOWN)
        data = self._sockets[fileno].recv(most)
        interface.waiting -= 1
        return data

    def isUnready(self, interface: Interface) -> bool:
        """
        Whether a read from an interface fails with C{EHOSTDOWN}.
        """
        return not interface.up

    def checkAlive(self, interface: Interface) -> None:
        """
        Fail if the interface was removed.
        """
        if interface.isDead:
            raise refusal(errno.ENXIO)

    def write(self, fileno: int, data: bytes) -> int:
        if fileno < 0:
            raise refusal(errno.EBADF)
        interface: Interface = self._files[fileno]
        self.checkAlive(interface)
        if self.writeError is not None:
            raise refusal(self.writeError)
        packet = data[interface.offloadLength :]
        if interface.hasFamily:
            (family,) = struct.unpack_from("!I", packet)
            packet = packet[4:]
            if family != self.numbers["AF_INET6" if packet[0] >> 4 == 6 else "AF_INET"]:
                raise refusal(errno.EAFNOSUPPORT)
        if interface.up:
            interface.received.append(data)
        return len(data)

    def close(self, fileno: int) -> None:
        file = self._files.pop(fileno)
        self._sockets.pop(fileno).close()
        self._blocking.discard(fileno)
        if fileno in self._ends:
            self._ends.pop(fileno).close()
        if isinstance(file, Interface):
            if file.kernelEnd is not None:
                file.kernelEnd.close()
                file.kernelEnd = None
            file.isOpen, file.waiting = False, 0
            self.closed(file)

    def closed(self, interface: Interface) -> None:
        """
        Do what the kernel does after the last descriptor of an interface was closed.
        """
        if interface.isTransient:
            self.interfaces.pop(interface.name, None)

    def socket(self, family: int, kind: int, protocol: int = 0) -> Any:
        assert (family, kind, protocol) == (self.numbers["AF_INET"], self.numbers["SOCK_DGRAM"], 0)
        return Query(self)

    def ioctl(self, fileno: int, request: int, argument: Any) -> bytes:
        name = self._names[request]
        file = self._files[fileno]
        if isinstance(file, Query):
            assert len(argument) == self.numbers["sizeof(ifreq)"]
            found = re.fullmatch(rb"([a-z0-9]+)\0+(.*)", argument[:_IFREQ_NAME].ljust(_IFREQ_NAME + 1, b"\0"))
            assert found, argument
            interface = found[1].decode()
        else:
            interface = file.name if isinstance(file, Interface) else ""
        handler = self.handlers(file).get(request)
        self.calls.append(name)
        if handler is None:
            raise refusal(errno.ENOTTY)
        self.fault(name)
        return handler(interface, argument)

    def handlers(self, file: Any) -> dict[int, Callable[[str, Any], bytes]]:
        """
        The ioctls that a file knows, by number. They take the name of the interface and the argument.
        """
        if isinstance(file, Query):
            return {
                self.numbers["SIOCIFCREATE"]: self._create,
                self.numbers["SIOCIFDESTROY"]: self._destroy,
            }
        return {}

    def named(self, name: str) -> Interface:
        """
        Find an interface by its name.
        """
        if name not in self.interfaces:
            raise refusal(errno.ENXIO)
        return self.interfaces[name]

    def _create(self, name: str, argument: bytes) -> bytes:
        self.checkZero(argument[_IFREQ_NAME:])
        if name in self.interfaces:
            raise refusal(errno.EEXIST)
        self.add(name, TAP if name.startswith("tap") else TUN)
        return argument

    def _destroy(self, name: str, argument: bytes) -> bytes:
        self.checkZero(argument[_IFREQ_NAME:])
        assert not self.named(name).isOpen, "the call waits until the last descriptor is closed"
        del self.interfaces[name]
        return argument

    def checkZero(self, octets: bytes) -> None:
        """
        Check that the octets without a meaning are zero.
        """
        assert not any(octets), octets

    def ifreq(self, name: str, argument: bytes) -> bytes:
        """
        Answer an ioctl that asks for the name of an interface.
        """
        assert len(argument) == self.numbers["sizeof(ifreq)"]
        self.checkZero(argument)
        return name.encode().ljust(len(argument), b"\0")

    def sysctl(self, names: tuple[int, ...]) -> bytes:
        numbers = self.numbers
        assert names == (numbers["CTL_NET"], numbers["PF_ROUTE"], 0, 0, numbers["NET_RT_IFLIST"], 0), names
        self.fault("sysctl")
        links = [Link("lo0", 1, numbers["IFF_UP"], 16384)]
        for each in self.interfaces.values():
            hardware = each.linkAddress if each.mode == TAP else b""
            links.append(Link(each.name, each.index, numbers["IFF_UP"] * each.up, each.mtu, hardware))
        return b"".join(stateMessage(self.platform, each) for each in links if each.name not in self.hidden)

    def monotonic(self) -> float:
        return self.now
