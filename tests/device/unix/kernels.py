"""
The kernels of macOS, FreeBSD, OpenBSD and NetBSD, as far as their tun and tap devices need them: see
L{tests.device.unix.fakes}.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable
from typing import Any

from tests.device.unix.fakes import FakeSystem, Interface
from tests.device.unix.routesockets import refusal
from txtuntap.device import TAP, TUN

_IFREQ_NAME = 16

#: The capabilities of a tap with an offload header on FreeBSD.
TAP_CAPABILITIES = "IFCAP_RXCSUM", "IFCAP_TXCSUM", "IFCAP_TSO4", "IFCAP_TSO6", "IFCAP_RXCSUM_IPV6", "IFCAP_TXCSUM_IPV6"


class Control:
    """
    A kernel control socket of macOS.
    """

    def __init__(self, system: MacSystem, descriptor: int | None) -> None:
        self._system = system
        self._interface = None if descriptor is None else system.behind(descriptor)
        self._fileno = system.reserve(self) if descriptor is None else descriptor

    def fileno(self) -> int:
        return self._fileno

    def connect(self, address: tuple[int, int]) -> None:
        system = self._system
        number, unit = address
        system.calls.append(f"connect {unit}")
        if system.connectErrors:
            raise refusal(system.connectErrors.pop(0))
        assert number == system.CONTROL
        if not unit:
            unit = next(each for each in range(1, 65536) if f"utun{each - 1}" not in system.interfaces)
        name = f"utun{unit - 1}"
        if name in system.interfaces:
            raise refusal(errno.EBUSY)
        self._interface = system.add(name, TUN)
        self._interface.up = self._interface.isOpen = self._interface.hasFamily = True
        self._interface.isTransient = True
        system.turn(self._fileno, self._interface)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        numbers = self._system.numbers
        assert (level, option) == (numbers["SYSPROTO_CONTROL"], numbers["UTUN_OPT_IFNAME"]) and size >= 16
        if self._interface is None:
            raise refusal(errno.ENOTCONN)
        return self._interface.name.encode() + b"\0"

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        numbers = self._system.numbers
        assert (level, option) == (numbers["SYSPROTO_CONTROL"], numbers["UTUN_OPT_MAX_PENDING_PACKETS"])
        self._system.calls.append("UTUN_OPT_MAX_PENDING_PACKETS")
        self._system.fault("UTUN_OPT_MAX_PENDING_PACKETS")
        (self._system.pending,) = struct.unpack("=I", value)
        if not self._system.pending:
            raise refusal(errno.EINVAL)

    def detach(self) -> int:
        return self._fileno

    def close(self) -> None:
        self._system.close(self._fileno)


class MacSystem(FakeSystem):
    """
    The system calls of macOS.

    @ivar nodes: the nodes of tuntaposx.
    @ivar pending: the number of packets that the kernel puts into a utun's socket.
    @ivar connectErrors: the errors of the next calls of C{connect}.
    """

    platform = "darwin"
    CONTROL = 7

    def __init__(self) -> None:
        super().__init__()
        self.nodes: set[str] = set()
        self.pending = 1
        self.connectErrors: list[int] = []

    def behind(self, fileno: int) -> Interface | None:
        """
        Return the interface of a descriptor; L{None}: it is not that of a utun.
        """
        file = self._files[fileno]
        return file if isinstance(file, Interface) and file.hasFamily else None

    def socket(self, family: int, kind: int, protocol: int = 0, fileno: int | None = None) -> Any:
        if family != self.numbers["PF_SYSTEM"]:
            return super().socket(family, kind, protocol)
        assert (kind, protocol) == (self.numbers["SOCK_DGRAM"], self.numbers["SYSPROTO_CONTROL"])
        self.fault("socket")
        return Control(self, fileno)

    def handlers(self, file: Any) -> dict[int, Callable[[str, Any], bytes]]:
        if isinstance(file, Control):
            return {self.numbers["CTLIOCGINFO"]: self._getInfo}
        return super().handlers(file)

    def _getInfo(self, name: str, argument: bytes) -> bytes:
        numbers = self.numbers
        assert len(argument) == numbers["sizeof(ctl_info)"]
        at = numbers["ctl_info.ctl_name"]
        self.checkZero(argument[:at])
        assert argument[at:] == b"com.apple.net.utun_control".ljust(numbers["MAX_KCTL_NAME"], b"\0")
        return struct.pack("=I", self.CONTROL) + argument[at:]

    def opened(self, path: str) -> Interface:
        if path not in self.nodes:
            raise refusal(errno.ENOENT)
        name = path.removeprefix("/dev/")
        if name in self.interfaces:
            raise refusal(errno.EBUSY)
        made = self.add(name, TAP if name.startswith("tap") else TUN)
        made.isTransient = True
        return made

    def isUnready(self, interface: Interface) -> bool:
        return False

    def checkAlive(self, interface: Interface) -> None:
        # The kernel ends the connection of the control socket, so a read finds the end and a write a broken pipe.
        if interface.isDead and not interface.hasFamily:
            raise refusal(errno.ENXIO)

    def write(self, fileno: int, data: bytes) -> int:
        if fileno >= 0 and self._files[fileno].isDead and self._files[fileno].hasFamily:
            raise refusal(errno.EPIPE)
        return super().write(fileno, data)


class BSDSystem(FakeSystem):
    """
    The part of the BSDs that is the same.
    """

    def kindOf(self, path: str) -> tuple[int, int | None]:
        """
        Find the mode and the number of a node.
        """
        found = re.fullmatch(r"/dev/(tun|tap)([0-9]*)", path)
        assert found, path
        return (TAP if found[1] == "tap" else TUN), (int(found[2]) if found[2] else None)

    def write(self, fileno: int, data: bytes) -> int:
        if fileno >= 0 and len(data) > self.most(self._files[fileno]):
            raise refusal(self.tooLong)
        return super().write(fileno, data)

    tooLong = errno.EIO

    def most(self, interface: Interface) -> int:
        """
        The most octets of a write.
        """
        return 65535 + interface.offloadLength + 4 * interface.hasFamily

    def setFamily(self, name: str, argument: bytes) -> bytes:
        """
        Switch the address family before each packet on or off (C{TUNSIFHEAD}).
        """
        interface = self.named(name)
        assert interface.mode == TUN
        (value,) = struct.unpack("=i", argument)
        interface.hasFamily = bool(value)
        return argument


class FreeBSDSystem(BSDSystem):
    """
    The system calls of FreeBSD.

    @ivar hasTransient: whether the kernel knows C{TUNSTRANSIENT}.
    @ivar owner: whether the process has told that it owns the interface.
    """

    platform = "freebsd"

    def __init__(self) -> None:
        super().__init__()
        self.hasTransient = True
        self.owner = False

    def opened(self, path: str) -> Interface:
        mode, number = self.kindOf(path)
        kind = "tap" if mode == TAP else "tun"
        if number is None:
            number = next(each for each in range(99) if f"{kind}{each}" not in self.interfaces)
        name = f"{kind}{number}"
        found = self.interfaces.get(name)
        if found is not None and found.isOpen:
            raise refusal(errno.EBUSY)
        return found or self.add(name, mode)

    def handlers(self, file: Any) -> dict[int, Callable[[str, Any], bytes]]:
        numbers = self.numbers
        if not isinstance(file, Interface):
            capabilities = {numbers["SIOCGIFCAP"]: self._getCapabilities, numbers["SIOCSIFCAP"]: self._setCapabilities}
            return super().handlers(file) | capabilities
        common: dict[int, Callable[[str, Any], bytes]] = {
            numbers["TUNGIFNAME"]: self.ifreq,
            numbers["TUNSTRANSIENT"]: self._setTransient,
            numbers["TUNSIFPID"]: self._setOwner,
        }
        if file.mode == TUN:
            return common | {numbers["TUNSIFHEAD"]: self.setFamily}
        return common | {numbers["TAPSVNETHDR"]: self._setOffloadHeader}

    def _setTransient(self, name: str, argument: bytes) -> bytes:
        if not self.hasTransient:
            raise refusal(errno.ENOTTY)
        assert argument == struct.pack("=i", 1)
        self.named(name).isTransient = True
        return argument

    def _setOwner(self, name: str, argument: int) -> bytes:
        assert argument == 0
        self.owner = True
        return b""

    def _setOffloadHeader(self, name: str, argument: bytes) -> bytes:
        (length,) = struct.unpack("=i", argument)
        if length not in (0, 10, 12):
            raise refusal(errno.EINVAL)
        interface = self.named(name)
        interface.offloadLength = length
        if not length:
            interface.capabilities = 0
        return argument

    def _has(self, interface: Interface) -> int:
        return sum(self.numbers[name] for name in TAP_CAPABILITIES) if interface.offloadLength else 0

    def _getCapabilities(self, name: str, argument: bytes) -> bytes:
        self.checkZero(argument[_IFREQ_NAME:])
        interface = self.named(name)
        values = struct.pack("=II", self._has(interface), interface.capabilities)
        return argument[:_IFREQ_NAME] + values + argument[_IFREQ_NAME + 8 :]

    def _setCapabilities(self, name: str, argument: bytes) -> bytes:
        interface = self.named(name)
        (wanted,) = struct.unpack_from("=I", argument, _IFREQ_NAME)
        self.checkZero(argument[_IFREQ_NAME + 4 :])
        if wanted & ~self._has(interface):
            raise refusal(errno.EINVAL)
        interface.capabilities = wanted
        return argument

    def write(self, fileno: int, data: bytes) -> int:
        if fileno >= 0 and not self._files[fileno].isDead and not self._files[fileno].up:
            # The kernel takes no octets, and gives no error.
            return 0
        return super().write(fileno, data)

    def closed(self, interface: Interface) -> None:
        super().closed(interface)
        interface.offloadLength = interface.capabilities = 0
        interface.up = False


class OpenBSDSystem(BSDSystem):
    """
    The system calls of OpenBSD.

    @ivar nodes: the number of nodes in C{/dev} of each driver.
    @ivar hasOffload: whether the kernel has an offload header.
    """

    platform = "openbsd"
    tooLong = errno.EMSGSIZE

    def __init__(self) -> None:
        super().__init__()
        self.nodes = 4
        self.hasOffload = True

    def opened(self, path: str) -> Interface:
        mode, number = self.kindOf(path)
        if number is None or number >= self.nodes:
            raise refusal(errno.ENOENT)
        name = path.removeprefix("/dev/")
        found = self.interfaces.get(name)
        if found is not None and found.isOpen:
            raise refusal(errno.EBUSY)
        if found is None:
            found = self.add(name, mode, 1500 if mode == TAP else self.numbers["TUNMTU"])
            found.isTransient = True
        found.hasFamily = mode == TUN
        return found

    def most(self, interface: Interface) -> int:
        most = 65536 if interface.offloadLength else self.numbers["TUNMRU"]
        return most + interface.offloadLength + 4 * interface.hasFamily

    def checkAlive(self, interface: Interface) -> None:
        if interface.isDead:
            # The kernel has revoked the node.
            raise refusal(errno.EIO)

    def handlers(self, file: Any) -> dict[int, Callable[[str, Any], bytes]]:
        if not isinstance(file, Interface) or not self.hasOffload:
            return super().handlers(file)
        return {self.numbers["TUNSCAP"]: self._setCapabilities, self.numbers["TUNDCAP"]: self._noCapabilities}

    def _setCapabilities(self, name: str, argument: bytes) -> bytes:
        assert len(argument) == self.numbers["sizeof(tun_capabilities)"]
        interface = self.named(name)
        (interface.capabilities,) = struct.unpack("=I", argument)
        names = "CSUM_TCPv4", "CSUM_UDPv4", "CSUM_TCPv6", "CSUM_UDPv6", "TSOv4", "TSOv6"
        if interface.capabilities & ~sum(self.numbers[f"IFCAP_{each}"] for each in names):
            raise refusal(errno.EINVAL)
        interface.offloadLength = self.numbers["sizeof(tun_hdr)"]
        return argument

    def _noCapabilities(self, name: str, argument: int) -> bytes:
        assert argument == 0
        interface = self.named(name)
        interface.capabilities = interface.offloadLength = 0
        return b""


class NetBSDSystem(BSDSystem):
    """
    The system calls of NetBSD.
    """

    platform = "netbsd"

    def opened(self, path: str) -> Interface:
        mode, number = self.kindOf(path)
        if number is None:
            if mode == TUN:
                raise refusal(errno.ENOENT)
            number = next(each for each in range(99) if f"tap{each}" not in self.interfaces)
            made = self.add(f"tap{number}", TAP)
            made.isTransient = True
            return made
        name = path.removeprefix("/dev/")
        found = self.interfaces.get(name)
        if found is None and mode == TUN:
            # tunopen() creates the interface.
            found = self.add(name, TUN)
        if found is None:
            raise refusal(errno.ENXIO)
        if found.isOpen:
            raise refusal(errno.EBUSY)
        return found

    def handlers(self, file: Any) -> dict[int, Callable[[str, Any], bytes]]:
        if not isinstance(file, Interface):
            return super().handlers(file)
        if file.mode == TUN:
            return {self.numbers["TUNSIFHEAD"]: self.setFamily}
        return {self.numbers["TAPGIFNAME"]: self.ifreq}
