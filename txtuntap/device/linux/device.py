"""
C{/dev/net/tun}: Linux TUN and TAP devices (C{Documentation/networking/tuntap.rst}).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from zope.interface import implementer

from txtuntap.device import LONGEST_PACKET, TAP, TUN, interfaceName
from txtuntap.device.following import Whereabouts
from txtuntap.device.linux.advice import exists, explained
from txtuntap.device.linux.ioctl import (
    IFF_ATTACH_QUEUE,
    IFF_DETACH_QUEUE,
    IFF_MULTI_QUEUE,
    IFF_NAPI,
    IFF_NAPI_FRAGS,
    IFF_NO_CARRIER,
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_TUN_EXCL,
    IFF_VNET_HDR,
    SIOCGIFFLAGS,
    SIOCGIFHWADDR,
    SIOCGIFINDEX,
    SIOCGIFMTU,
    TUN_PKT_STRIP,
    TUNGETDEVNETNS,
    TUNGETFEATURES,
    TUNGETIFF,
    TUNSETCARRIER,
    TUNSETGROUP,
    TUNSETIFF,
    TUNSETOFFLOAD,
    TUNSETOWNER,
    TUNSETPERSIST,
    TUNSETQUEUE,
    TUNSETSNDBUF,
    TUNSETVNETHDRSZ,
)
from txtuntap.device.linux.namespace import Namespace, identify, inNamespace, openNamespace
from txtuntap.device.settings import InterfaceState
from txtuntap.interfaces import IDevice
from txtuntap.mistakes import checkBuffers, checkRange
from txtuntap.packet import Packet
from txtuntap.wire.offload import CSUM, HEADER_LENGTH, TSO4, TSO6, TSO_ECN, USO, Offload, behind

NODE = b"/dev/net/tun"

_IFREQ = struct.Struct("16sH")

#: Protocol information (C{struct tun_pi}): flags in the machine's byte order, EtherType in the network's.
_FLAGS = struct.Struct("=H")
_INFORMATION_LENGTH = 4

#: All that is offloaded, and what kernels before 6.2 know of it.
_OFFLOADS = CSUM | TSO4 | TSO6 | TSO_ECN | USO, CSUM | TSO4 | TSO6 | TSO_ECN

#: C{netdevice(7)}
_IFF_UP = 0x1

#: More than there are in any packet: 64 KiB that a superpacket has at most, and the headers before that. To have room
#: for so much costs no more than to have room for less.
_MOST = 65600

#: How a kernel, or what stands in for it, says that it does not know a call, or what is asked of it.
_UNKNOWN = {errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP}

_NOTHING_OPEN = bytes(HEADER_LENGTH)

#: Headers of offload that are remembered, unpacked: a flow has two or three of them.
_MAX_HEADERS = 256

#: How many buffers of a superpacket are written without joining them first.
_MOST_BUFFERS = 8


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
    writev = staticmethod(os.writev)
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
    @ivar mtu: the interface's, when it was opened; 1500 where it is in another network namespace, opened elsewhere.
    @ivar namespace: the network namespace it is opened in; L{None}: this one.
    @ivar linkAddress: that of the kernel's end of a tap, when it was opened; L{None} for a tun.
    @ivar index: the interface's number, when it was opened; 0 where C{mtu} is not known.
    @ivar up: whether it was up, when it was opened.
    @ivar offloads: what the kernel finishes for us, and leaves to us: C{CSUM}, C{TSO4} and so on of
        L{wire.offload<txtuntap.wire.offload>}.
    """

    def __init__(
        self,
        name: str | bytes,
        mode: int,
        protocolInformation: bool = False,
        system: Any = None,
        multiQueue: bool = False,
        exclusive: bool = False,
        node: str | bytes = NODE,
        descriptor: int | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        """
        @param mode: L{TUN<txtuntap.device.TUN>} or L{TAP<txtuntap.device.TAP>}.
        @param protocolInformation: have four octets of flags and EtherType go with each packet (no C{IFF_NO_PI}). They
            are read and written here: C{partial} and C{etherType} of a packet come from them.
        @param system: stands in for the operating system.
        @param multiQueue: make a device that several descriptors can be on (C{IFF_MULTI_QUEUE}), each with a queue of
            its own. One that exists is opened as it was made.
        @param exclusive: make the device; where there is one of this name, fail (C{IFF_TUN_EXCL}).
        @param node: what to open.
        @param descriptor: one that was opened elsewhere, attached or not, which is this device's from now on: it is
            closed with it. Then C{node} is not opened; and an attached one's own name, and mode, count.
        @param namespace: the network namespace that the interface is in, or is made in: a name or a path. It is entered
            by a thread while the device is opened. L{None}: this one.

        @raise ValueError: C{name} or C{mode} is none.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"the mode of a device is TUN (1) or TAP (2), not {mode!r}")
        if descriptor is not None:
            checkRange(descriptor, "a descriptor", 0, 2**31 - 1)
        self._asked = interfaceName(name)
        self.name = os.fsdecode(self._asked)
        self.mode = mode
        self.mtu = 1500
        self.linkAddress: bytes | None = None
        self.index = 0
        self.up = False
        self._information = protocolInformation
        self._wanted = IFF_MULTI_QUEUE * multiQueue | IFF_TUN_EXCL * exclusive
        self._node = os.fsencode(node)
        self.namespace = namespace
        self._adopted = descriptor
        self._offload: bool | None = False
        self._system: Any = RealSystem if system is None else system
        self._read = self._system.read
        # What stands in for the real system need not have it.
        self._writev = getattr(self._system, "writev", None)
        self._fileno = -1
        # Octets of headers of the device's own before each packet.
        self._before = _INFORMATION_LENGTH * protocolInformation
        self.offloads = 0
        # What the last of them say, if those of offload are among them.
        self._offloadOf: dict[bytes, Offload | None] | None = None

    def __enter__(self) -> LinuxDevice:
        if self._fileno < 0:
            self.open()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "tap" if self.mode == TAP else "tun"
        return f"<LinuxDevice {kind} {self.name} {'open' if self._fileno >= 0 else 'closed'}>"

    def open(self, offload: bool | None = False) -> None:
        """
        Attach to the interface: see L{IDevice.open}.
        """
        if self._fileno >= 0:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        self._offload = offload
        inNamespace(self.namespace, self._open)

    def openAsItIs(self, state: InterfaceState) -> None:
        """
        Attach to an interface for what belongs to it (L{setOwner} and so on), and leave the rest as it is: flags,
        headers and offload, which whoever else is on it goes by. No packets are read and written here.

        Where others are on it (C{multiQueue}), the kernel has a queue for us, and may lose packets of theirs in there,
        until it is closed.

        @param state: the interface, as it was read.

        @raise OSError: as L{open}; or the interface is not there any more (C{ENODEV}).
        """
        if self._fileno >= 0:
            raise OSError(errno.EBUSY, f"{self.name} is open already")
        inNamespace(self.namespace, lambda: self._openAsItIs(state))

    def _openAsItIs(self, state: InterfaceState) -> None:
        # Without IFF_NO_CARRIER who watches it would see its carrier come.
        flags = self.mode | IFF_NO_CARRIER
        flags |= 0 if state.information else IFF_NO_PI
        flags |= IFF_VNET_HDR * state.vnetHeader | IFF_MULTI_QUEUE * state.multiQueue
        if self.namespace is None:
            flags |= _napi(state)
        fileno = self._openNode()
        try:
            try:
                self._system.ioctl(fileno, TUNSETIFF, _IFREQ.pack(self._asked, flags))
            except OSError as e:
                raise explained(e, self._asked, self.mode, "TUNSETIFF") from e
            if _index(self.name) != state.index:
                # What was made instead goes again with the descriptor.
                raise OSError(errno.ENODEV, f"{self.name} is not there any more")
        except BaseException:
            self._system.close(fileno)
            raise
        self._fileno = fileno

    def _openNode(self) -> int:
        system = self._system
        try:
            return int(system.open(self._node, system.O_RDWR | system.O_CLOEXEC | system.O_NONBLOCK))
        except OSError as e:
            raise explained(e, self._asked, self.mode, os.fsdecode(self._node)) from e

    def _open(self) -> None:
        system = self._system
        adopted = self._adopted is not None
        if self._adopted is not None:
            fileno, self._adopted = self._adopted, None
            try:
                os.set_blocking(fileno, False)
                os.set_inheritable(fileno, False)
            except OSError as e:
                raise OSError(e.errno, f"there is no descriptor {fileno} here: {e.strerror}") from e
        else:
            fileno = self._openNode()
        try:
            self._attach(fileno, adopted)
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

    def receive(self, maxPacketSize: int = LONGEST_PACKET) -> Packet | None:
        """
        Take the next packet: see L{IDevice.receive}.
        """
        offloadOf = self._offloadOf
        if offloadOf is None or self._information or maxPacketSize > _MOST:
            return self._receive(maxPacketSize)
        try:
            data = self._read(self._fileno, _MOST + HEADER_LENGTH)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as e:
            raise self._explained(e) from e
        try:
            offload = offloadOf[data[:HEADER_LENGTH]]
        except KeyError:
            if len(data) < HEADER_LENGTH:
                return None
            offload = self._unpack(data[:HEADER_LENGTH])
        packet = Packet(data, HEADER_LENGTH)
        packet.offload = offload
        if offload is None and len(data) > maxPacketSize + HEADER_LENGTH:
            _cut(packet, maxPacketSize)
        return packet

    def _receive(self, maxPacketSize: int) -> Packet | None:
        """
        As L{receive}, with whatever headers of the device's own.
        """
        before = self._before
        room = before + maxPacketSize
        if self._offloadOf is not None:
            room = max(room, before + _MOST)
        try:
            # The kernel cuts what does not fit without a word: one octet more tells.
            data = self._read(self._fileno, room + 1)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as e:
            raise self._explained(e) from e
        if len(data) < (before or 1):
            return None
        packet = Packet(data, before)
        if self._information:
            self._readInformation(packet)
        if self._offloadOf is not None:
            packet.offload = self._unpack(data[before - HEADER_LENGTH : before])
        if len(packet) > maxPacketSize and packet.offload is None:
            _cut(packet, maxPacketSize)
        return packet

    def send(self, buffers: Sequence[bytes], offload: Offload | None = None) -> int:
        """
        Send one packet: see L{IDevice.send}.
        """
        before = self._before
        if type(buffers) is not list:
            checkBuffers(buffers)
        if before:
            header = _NOTHING_OPEN if offload is None else offload.packed
            if self._information:
                information = self._informationFor(buffers)
                header = information if self._offloadOf is None else information + header
            buffers = [header, *buffers]
            if offload is not None and offload.isSuperpacket and len(buffers) <= _MOST_BUFFERS and self._writev:
                # It costs a third less than joining them. Of small packets, or of very many buffers, it does not.
                with suppress(InterruptedError):
                    return int(self._writev(self._fileno, buffers)) - before
        data = b"".join(buffers)
        while True:
            try:
                return int(self._system.write(self._fileno, data)) - before
            except InterruptedError:
                continue
            except OSError as e:
                raise self._explained(e) from e

    def _explained(self, error: OSError) -> OSError:
        """
        The error of a read or a write; of a device that is closed, with what to do.
        """
        return error if self._fileno >= 0 else OSError(errno.EBADF, f"{self.name} is not open: call open() first")

    def close(self) -> None:
        """
        Let go of the interface: see L{IDevice.close}.
        """
        fileno, self._fileno = self._fileno, -1
        if fileno >= 0:
            self._system.close(fileno)

    def _attach(self, fileno: int, adopted: bool) -> None:
        flags = self._flags(fileno) if adopted else 0
        if not flags & (IFF_TUN | IFF_TAP):
            self._join(fileno)
            # What the device says counts, not what was asked: flags and offload belong to it and outlive a descriptor.
            # But for protocol information: its flag has the number of IFF_NOFILTER there, and so is set either way.
            flags = self._flags(fileno)
        if not flags:
            # A system that stands in for the real one need not know more.
            if self._offload:
                raise OSError(errno.ENOTSUP, f"{self.name} has no offload: ask for none (offload=None or False)")
            return
        if flags & (IFF_TUN | IFF_TAP) != self.mode:
            wanted, kind = ("tap", "tun") if self.mode == TAP else ("tun", "tap")
            raise OSError(errno.EINVAL, f"{self.name} is a {kind}, not a {wanted}: give a protocol for a {kind}")
        self._agree(fileno, bool(flags & IFF_VNET_HDR))
        if self._system is not RealSystem:
            return
        if adopted:
            self._readAdopted(fileno)
        else:
            self._took(_LinkSettings.of(self.name, self.mode))

    def _took(self, settings: _LinkSettings) -> None:
        self.index, self.up, self.mtu, self.linkAddress = settings

    def _readAdopted(self, fileno: int) -> None:
        """
        Take note of MTU and link address of one that was opened elsewhere. Its interface may be in another network
        namespace, too; then one of the same name here is a stranger's.
        """
        if self.mode == TAP:
            self.linkAddress = fcntl.ioctl(fileno, SIOCGIFHWADDR, bytes(40))[18:24]
        if _isElsewhere(fileno):
            return
        try:
            settings = _LinkSettings.of(self.name, self.mode)
        except OSError:
            # There is none of this name here.
            return
        if settings.linkAddress == self.linkAddress:
            self._took(settings)

    def _agree(self, fileno: int, hasHeaders: bool) -> None:
        """
        Settle with the device what is offloaded.

        @param hasHeaders: whether packets come with headers for that.
        """
        ioctl = self._system.ioctl
        self._before = _INFORMATION_LENGTH * self._information
        self._offloadOf = None
        self.offloads = 0
        if hasHeaders:
            try:
                ioctl(fileno, TUNSETVNETHDRSZ, struct.pack("i", HEADER_LENGTH))
            except OSError as e:
                # Where it cannot be set, it is this one.
                if e.errno not in _UNKNOWN:
                    raise
            self._before += HEADER_LENGTH
            self._offloadOf = {}
        wanted = _OFFLOADS if hasHeaders and self._offload is not False else ()
        for offloads in *wanted, 0:
            try:
                ioctl(fileno, TUNSETOFFLOAD, offloads)
            except OSError as e:
                # There is none where nobody knows the call, as in a sandbox that stands in for the kernel.
                if e.errno not in _UNKNOWN:
                    raise
            else:
                self.offloads = offloads
                break
        if self._offload and not self.offloads:
            raise OSError(errno.ENOTSUP, f"{self.name} has no offload: ask for none (offload=None or False)")

    def _flags(self, fileno: int) -> int:
        """
        The flags of the device that a descriptor is attached to; 0 if there is none.
        """
        try:
            name, flags = _IFREQ.unpack_from(self._system.ioctl(fileno, TUNGETIFF, bytes(40)))
        except OSError:
            return 0
        self.name = os.fsdecode(name.rstrip(b"\0"))
        return int(flags)

    def _join(self, fileno: int) -> None:
        """
        Attach a descriptor to the interface that was asked for.
        """
        flags = self.mode | self._wanted | (0 if self._information else IFF_NO_PI)
        ioctl = self._system.ioctl
        if self._offload is not False:
            flags |= self._features(fileno) & IFF_VNET_HDR
        try:
            try:
                result = ioctl(fileno, TUNSETIFF, _IFREQ.pack(self._asked, flags))
            except OSError as e:
                if e.errno != errno.EINVAL or not exists(self._asked):
                    raise
                # One that was made before may be of the other sort.
                result = ioctl(fileno, TUNSETIFF, _IFREQ.pack(self._asked, flags ^ IFF_MULTI_QUEUE))
        except OSError as e:
            raise explained(e, self._asked, self.mode, "TUNSETIFF") from e
        self.name = os.fsdecode(bytes(result[:16]).rstrip(b"\0"))

    def _features(self, fileno: int) -> int:
        """
        The flags that the kernel knows; 0 where it does not say.
        """
        try:
            (features,) = struct.unpack("I", self._system.ioctl(fileno, TUNGETFEATURES, bytes(4)))
        except OSError:
            # A system that stands in for the real one.
            return 0
        return int(features)

    def whereabouts(self) -> Whereabouts | None:
        """
        Ask the kernel for the interface's name and place: it may have been renamed, or moved to another network
        namespace, and another may have its name and its number.

        @return: L{None}: it is not open, or a system stands in for the real one.

        @raise OSError: the interface is gone.
        """
        if self._fileno < 0 or self._system is not RealSystem:
            return None
        name = os.fsdecode(fcntl.ioctl(self._fileno, TUNGETIFF, bytes(40))[:16].rstrip(b"\0"))
        link = fcntl.ioctl(self._fileno, SIOCGIFHWADDR, bytes(40))[18:24] if self.mode == TAP else None
        there = self.openNamespace()
        if there is None:
            return Whereabouts(name, link, None)
        try:
            return Whereabouts(name, link, identify(there))
        finally:
            os.close(there)

    def openNamespace(self) -> int | None:
        """
        @return: a descriptor of the network namespace that the interface is in now, for whoever calls to close.
            L{None}: it is not open, or that is not permitted: it takes C{CAP_NET_ADMIN}, in there.
        """
        return None if self._fileno < 0 or self._system is not RealSystem else _namespaceOf(self._fileno)

    # What belongs to the device, and can be set while it is open: also after privileges have been dropped

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
        Of a device with C{multiQueue}: have packets go to this one's queue, or to those of others alone.

        @raise OSError: as L{setPersistent}.
        """
        self._set(TUNSETQUEUE, _IFREQ.pack(b"", IFF_ATTACH_QUEUE if attached else IFF_DETACH_QUEUE))

    def _set(self, request: int, value: int | bytes) -> None:
        if self._fileno < 0:
            raise OSError(errno.EBADF, f"{self.name} is not open: call open() first")
        self._system.ioctl(self._fileno, request, value)

    def _readInformation(self, packet: Packet) -> None:
        """
        Take note of what the kernel says before a packet.
        """
        packet.partial = bool(_FLAGS.unpack_from(packet.data)[0] & TUN_PKT_STRIP)
        # On a tap the frame itself says what it carries.
        packet.etherType = int.from_bytes(packet.data[2:4], "big") * (self.mode == TUN)

    def _unpack(self, header: bytes) -> Offload | None:
        """
        What a header of offload says, for packets with the device's headers in front.
        """
        unpacked = Offload.unpack(header)
        saysNothing = not unpacked.isVouched and not unpacked.isSuperpacket
        offload = None if saysNothing else behind(unpacked, self._before)
        known = cast("dict[bytes, Offload | None]", self._offloadOf)
        if len(known) >= _MAX_HEADERS:
            known.clear()
        known[header] = offload
        return offload

    def _informationFor(self, buffers: Sequence[bytes]) -> bytes:
        """
        What the kernel is told before a packet.
        """
        data = b"".join(buffers)
        if self.mode == TAP:
            return _FLAGS.pack(0) + data[12:14].ljust(2, b"\0")
        version = data[0] >> 4 if data else 0
        if version not in (4, 6):
            # Without protocol information the kernel would say so; with it, it believes what it is told.
            raise OSError(errno.EINVAL, "that is no IP packet")
        return _FLAGS.pack(0) + (b"\x08\x00" if version == 4 else b"\x86\xdd")


def _cut(packet: Packet, maxPacketSize: int) -> None:
    packet.partial = True
    packet.end = packet.start + maxPacketSize
    packet.data = packet.data[: packet.end]


class _LinkSettings(NamedTuple):
    """
    The number of an interface, whether it is up, its MTU and (tap) link address.
    """

    number: int
    up: bool
    mtu: int
    linkAddress: bytes | None

    @classmethod
    def of(cls, name: str, mode: int) -> _LinkSettings:
        """
        Ask the kernel (C{netdevice(7)}).
        """
        request = struct.pack("16s24x", os.fsencode(name))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            (index,) = struct.unpack_from("i", fcntl.ioctl(query, SIOCGIFINDEX, request), 16)
            (flags,) = struct.unpack_from("h", fcntl.ioctl(query, SIOCGIFFLAGS, request), 16)
            (mtu,) = struct.unpack_from("i", fcntl.ioctl(query, SIOCGIFMTU, request), 16)
            address = fcntl.ioctl(query, SIOCGIFHWADDR, request)[18:24] if mode == TAP else None
        return cls(index, bool(flags & _IFF_UP), mtu, address)


def _isElsewhere(fileno: int) -> bool:
    """
    Whether the interface of a descriptor is in another network namespace, as far as we may know.
    """
    there = _namespaceOf(fileno)
    if there is None:
        return False
    try:
        here = openNamespace(None)
    except OSError:
        os.close(there)
        return False
    try:
        return not os.path.sameopenfile(there, here)
    finally:
        os.close(there)
        os.close(here)


def _namespaceOf(fileno: int) -> int | None:
    """
    A descriptor of the network namespace that the interface of a descriptor is in; L{None}: that takes
    C{CAP_NET_ADMIN}, in there.
    """
    try:
        return fcntl.ioctl(fileno, TUNGETDEVNETNS)
    except OSError:
        return None


def _index(name: str) -> int:
    """
    The number of an interface; 0 if there is none of this name.
    """
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _napi(state: InterfaceState) -> int:
    """
    The C{IFF_NAPI} flags of an interface. Netlink does not tell them; C{sysfs} does, where it is of this namespace.
    """
    interface = f"/sys/class/net/{state.name}"
    try:
        with open(f"{interface}/ifindex") as index, open(f"{interface}/tun_flags") as flags:
            return int(flags.read(), 16) & (IFF_NAPI | IFF_NAPI_FRAGS) if int(index.read()) == state.index else 0
    except OSError:
        return 0
