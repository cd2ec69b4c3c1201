"""
C{/dev/net/tun}: Linux TUN and TAP devices (C{Documentation/networking/tuntap.rst}), opened and attached.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from txtuntap.device import TAP, TUN, interfaceName
from txtuntap.device.following import Whereabouts
from txtuntap.device.linux.advice import exists, explained
from txtuntap.device.linux.descriptor import IFREQ, RealSystem
from txtuntap.device.linux.ioctl import (
    IFF_MULTI_QUEUE,
    IFF_NO_CARRIER,
    IFF_NO_PI,
    IFF_TAP,
    IFF_TUN,
    IFF_TUN_EXCL,
    IFF_VNET_HDR,
    SIOCGIFHWADDR,
    TUNGETFEATURES,
    TUNGETIFF,
    TUNSETIFF,
)
from txtuntap.device.linux.link import LinkSettings, indexOf, isElsewhere, nameOf, namespaceOf, napiFlags
from txtuntap.device.linux.namespace import Namespace, identify, inNamespace
from txtuntap.device.linux.packets import PacketDescriptor
from txtuntap.device.settings import InterfaceState
from txtuntap.interfaces import IDevice
from txtuntap.mistakes import checkRange

NODE = b"/dev/net/tun"


@implementer(IDevice)
class LinuxDevice(PacketDescriptor):
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
        super().__init__(os.fsdecode(self._asked), mode, protocolInformation, system)
        self.mtu = 1500
        self.linkAddress: bytes | None = None
        self.index = 0
        self.up = False
        self._wanted = IFF_MULTI_QUEUE * multiQueue | IFF_TUN_EXCL * exclusive
        self._node = os.fsencode(node)
        self.namespace = namespace
        self._adopted = descriptor
        self._offload: bool | None = False

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
            flags |= napiFlags(state)
        fileno = self._openNode()
        try:
            try:
                self._system.ioctl(fileno, TUNSETIFF, IFREQ.pack(self._asked, flags))
            except OSError as e:
                raise explained(e, self._asked, self.mode, "TUNSETIFF") from e
            if indexOf(self.name) != state.index:
                # The interface that was made instead is deleted with the descriptor.
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

    def readable(self, callback: Callable[[], None] | None) -> None:
        """
        Not for a device with a descriptor: wait on that.
        """
        raise OSError(errno.ENOTSUP, "wait on the descriptor of a LinuxDevice")

    def _attach(self, fileno: int, adopted: bool) -> None:
        flags = self._flags(fileno) if adopted else 0
        if not flags & (IFF_TUN | IFF_TAP):
            self._join(fileno)
            # The device's word counts, not the request: flags and offload belong to it and outlive a descriptor.
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
        self._agree(fileno, bool(flags & IFF_VNET_HDR), self._offload)
        if self._system is not RealSystem:
            return
        if adopted:
            self._readAdopted(fileno)
        else:
            self._took(LinkSettings.of(self.name, self.mode))

    def _took(self, settings: LinkSettings) -> None:
        self.index, self.up, self.mtu, self.linkAddress = settings

    def _readAdopted(self, fileno: int) -> None:
        """
        Take note of MTU and link address of one that was opened elsewhere. Its interface may be in another network
        namespace, too; then one of the same name here is a stranger's.
        """
        if self.mode == TAP:
            self.linkAddress = fcntl.ioctl(fileno, SIOCGIFHWADDR, bytes(40))[18:24]
        if isElsewhere(fileno):
            return
        try:
            settings = LinkSettings.of(self.name, self.mode)
        except OSError:
            # There is none of this name here.
            return
        if settings.linkAddress == self.linkAddress:
            self._took(settings)

    def _flags(self, fileno: int) -> int:
        """
        The flags of the device that a descriptor is attached to; 0 if there is none.
        """
        try:
            name, flags = IFREQ.unpack_from(self._system.ioctl(fileno, TUNGETIFF, bytes(40)))
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
                result = ioctl(fileno, TUNSETIFF, IFREQ.pack(self._asked, flags))
            except OSError as e:
                if e.errno != errno.EINVAL or not exists(self._asked):
                    raise
                # One that was made before may be of the other sort.
                result = ioctl(fileno, TUNSETIFF, IFREQ.pack(self._asked, flags ^ IFF_MULTI_QUEUE))
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
        name = nameOf(self._fileno)
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
        return None if self._fileno < 0 or self._system is not RealSystem else namespaceOf(self._fileno)
