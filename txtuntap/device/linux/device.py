"""
TUN and TAP devices of Linux: open C{/dev/net/tun}, and attach the descriptor to an interface.

Read the kernel's C{Documentation/networking/tuntap.rst} first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from typing import Any

from zope.interface import implementer

from txtuntap.device import TAP, TUN, indexOf, interfaceName
from txtuntap.device.following import Whereabouts
from txtuntap.device.linux.advice import attachingFailed
from txtuntap.device.linux.descriptor import IFREQ
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
from txtuntap.device.linux.link import LinkSettings, isElsewhere, nameOf, namespaceOf, napiFlags
from txtuntap.device.linux.namespace import Namespace, identify, inNamespace
from txtuntap.device.linux.packets import TunPackets
from txtuntap.device.settings import InterfaceState
from txtuntap.device.unix.system import RealSystem
from txtuntap.interfaces import IDevice
from txtuntap.mistakes import checkRange

if sys.platform == "win32":
    raise ImportError("this module is for Linux")

NODE: bytes = b"/dev/net/tun"


@implementer(IDevice)
class LinuxDevice(TunPackets):
    """
    A TUN or TAP device of Linux. Its descriptor does not block: C{receive} returns C{None} if no packet waits::

        with LinuxDevice("tun0", TUN) as device:
            select.select([device], [], [])
            print(bytes(device.receive()))

    @ivar name: the interface's name; once the device is open, the name that the kernel has given.
    @ivar mtu: the interface's MTU in octets when the device was opened. This is 1500 if the descriptor was opened
        elsewhere and the interface is in another network namespace.
    @ivar namespace: the network namespace that the device is opened in; C{None}: the namespace of this process.
    @ivar linkAddress: the link address of the kernel's side of a tap when the device was opened; C{None} for a tun.
    @ivar index: the interface's index when the device was opened; 0 if C{mtu} could not be read.
    @ivar up: whether the link was up when the device was opened.
    @ivar offloads: the work on packets that each side may leave to the other: C{CSUM}, C{TSO4} and so on of
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
        @param name: the interface's name, at most 15 octets; empty: the kernel chooses one.
        @param mode: C{TUN} or C{TAP}.
        @param protocolInformation: whether four octets of flags and EtherType precede each packet (the absence of
            C{IFF_NO_PI}). The device reads and writes them itself, and sets C{partial} and C{etherType} of each packet.
        @param system: a replacement for the operating system's calls, for tests; C{None}: make the real calls.
        @param multiQueue: whether a new device can have several descriptors, each with its own queue
            (C{IFF_MULTI_QUEUE}). A device that exists keeps its own setting.
        @param exclusive: whether the device must be new: opening it fails if there is one of this name
            (C{IFF_TUN_EXCL}).
        @param node: the path of the device node to open.
        @param descriptor: a descriptor of the node that was opened elsewhere, attached to an interface or not. This
            device owns it, and closes it when the device is closed or cannot be opened. C{node} is not opened then. An
            attached descriptor's interface must be of C{mode}, and its name replaces C{name}.
        @param namespace: the network namespace of the interface, as a name, a path or a descriptor. A thread enters it
            to open the device. C{None}: the namespace of this process.

        @raise ValueError: C{name}, C{mode} or C{descriptor} is not valid.
        """
        if mode not in (TUN, TAP):
            raise ValueError(f"the mode of a device must be TUN (1) or TAP (2), not {mode!r}")
        if descriptor is not None:
            checkRange(descriptor, "a descriptor", 0, 2**31 - 1)
        self._asked = interfaceName(name)
        super().__init__(os.fsdecode(self._asked), mode, protocolInformation, system)
        self.mtu: int = 1500
        self.linkAddress: bytes | None = None
        self.index = 0
        self.up = False
        self._wanted = IFF_MULTI_QUEUE * multiQueue | IFF_TUN_EXCL * exclusive
        self._node = os.fsencode(node)
        self.namespace = namespace
        self._adopted = descriptor
        self._offload: bool | None = False

    def open(self, offload: bool | None = False) -> None:
        """
        Attach to the interface: see L{IDevice.open}.
        """
        self._checkClosed()
        self._offload = offload
        inNamespace(self.namespace, self._open)

    def close(self) -> None:
        """
        Detach from the interface: see L{IDevice.close}.
        """
        adopted, self._adopted = self._adopted, None
        if adopted is not None:
            # The device was never opened.
            self._system.close(adopted)
        super().close()

    def openAsItIs(self, state: InterfaceState) -> None:
        """
        Attach to an existing interface only to change its settings (C{setOwner} and so on). Flags, headers and offload
        stay as they are, because other descriptors of the device depend on them. The caller receives and sends no
        packets.

        If other descriptors are attached (C{multiQueue}), the kernel adds a queue for this one. The packets that it
        puts there until this descriptor is closed are lost.

        @param state: the state of the interface.

        @raise OSError: as for L{open}, or the interface was deleted (C{ENODEV}).
        """
        self._checkClosed()
        inNamespace(self.namespace, lambda: self._openAsItIs(state))

    def _openAsItIs(self, state: InterfaceState) -> None:
        # Without IFF_NO_CARRIER, attaching would give the link a carrier.
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
                raise attachingFailed(e, self._asked, self.mode, "TUNSETIFF") from e
            if indexOf(self.name) != state.index:
                # The kernel has made a new interface instead. Closing the descriptor deletes it.
                raise OSError(errno.ENODEV, f"{self.name} was deleted")
        except BaseException:
            self._system.close(fileno)
            raise
        self._fileno = fileno

    def _openNode(self) -> int:
        system = self._system
        try:
            return int(system.open(self._node, system.O_RDWR | system.O_CLOEXEC | system.O_NONBLOCK))
        except OSError as e:
            raise attachingFailed(e, self._asked, self.mode, os.fsdecode(self._node)) from e

    def _open(self) -> None:
        system = self._system
        adopted = self._adopted is not None
        if self._adopted is not None:
            fileno, self._adopted = self._adopted, None
            try:
                os.set_blocking(fileno, False)
                os.set_inheritable(fileno, False)
            except OSError as e:
                raise OSError(e.errno, f"this process has no descriptor {fileno}: {e.strerror}") from e
        else:
            fileno = self._openNode()
        try:
            self._attach(fileno, adopted)
        except BaseException:
            system.close(fileno)
            raise
        self._fileno = fileno

    def _attach(self, fileno: int, adopted: bool) -> None:
        flags = self._flags(fileno) if adopted else 0
        if not flags & (IFF_TUN | IFF_TAP):
            self._setInterface(fileno)
            # Use the flags that the kernel returns. A device that existed before keeps its own flags, which may differ
            # from the requested flags. The returned IFF_NO_PI is not used: IFF_NOFILTER has the same bit, so this bit
            # is always set.
            flags = self._flags(fileno)
        if not flags:
            # A replacement for the operating system need not support TUNGETIFF, nor the calls for offload.
            self._checkOffload(self._offload)
            return
        if flags & (IFF_TUN | IFF_TAP) != self.mode:
            wanted, kind = ("tap", "tun") if self.mode == TAP else ("tun", "tap")
            raise OSError(
                errno.EINVAL, f"{self.name} is a {kind}, not a {wanted}: give the mode or protocol of a {kind}"
            )
        self._negotiateOffload(fileno, bool(flags & IFF_VNET_HDR), self._offload)
        if self._system is not RealSystem:
            return
        if adopted:
            self._readAdopted(fileno)
        else:
            self._setLinkSettings(LinkSettings.of(self.name, self.mode))

    def _setLinkSettings(self, settings: LinkSettings) -> None:
        self.index, self.up, self.mtu, self.linkAddress = settings

    def _readAdopted(self, fileno: int) -> None:
        """
        Read the MTU and the link address for a descriptor that was opened elsewhere. Its interface may be in another
        network namespace. Then an interface of the same name in this namespace is a different one.
        """
        if self.mode == TAP:
            self.linkAddress = fcntl.ioctl(fileno, SIOCGIFHWADDR, bytes(40))[18:24]
        if isElsewhere(fileno):
            return
        try:
            settings = LinkSettings.of(self.name, self.mode)
        except OSError:
            # This namespace has no interface of this name.
            return
        if settings.linkAddress == self.linkAddress:
            self._setLinkSettings(settings)

    def _flags(self, fileno: int) -> int:
        """
        Read the flags and the name of the device that a descriptor is attached to.

        @return: the flags; 0 if the descriptor is not attached, or a replacement for the operating system does not
            support this call.
        """
        try:
            name, flags = IFREQ.unpack_from(self._system.ioctl(fileno, TUNGETIFF, bytes(40)))
        except OSError:
            return 0
        self.name = os.fsdecode(name.rstrip(b"\0"))
        return int(flags)

    def _setInterface(self, fileno: int) -> None:
        """
        Attach a descriptor to the requested interface (C{TUNSETIFF}).
        """
        flags = self.mode | self._wanted | (IFF_NO_PI if self._prefix is None else 0)
        ioctl = self._system.ioctl
        if self._offload is not False:
            flags |= self._features(fileno) & IFF_VNET_HDR
        try:
            try:
                result = ioctl(fileno, TUNSETIFF, IFREQ.pack(self._asked, flags))
            except OSError as e:
                if e.errno != errno.EINVAL or not indexOf(self._asked):
                    raise
                # An interface that exists may have the other value of IFF_MULTI_QUEUE.
                result = ioctl(fileno, TUNSETIFF, IFREQ.pack(self._asked, flags ^ IFF_MULTI_QUEUE))
        except OSError as e:
            raise attachingFailed(e, self._asked, self.mode, "TUNSETIFF") from e
        self.name = os.fsdecode(bytes(result[:16]).rstrip(b"\0"))

    def _features(self, fileno: int) -> int:
        """
        The flags that the kernel supports (C{TUNGETFEATURES}); 0 if it does not report them.
        """
        try:
            (features,) = struct.unpack("I", self._system.ioctl(fileno, TUNGETFEATURES, bytes(4)))
        except OSError:
            # A replacement for the operating system may not support this call.
            return 0
        return int(features)

    def whereabouts(self) -> Whereabouts | None:
        """
        Ask the kernel for the interface's present name and network namespace. The interface may have been renamed or
        moved, and another interface may have its former name and index.

        @return: the name and namespace; C{None}: the device is not open, or a replacement for the operating system is
            in use.

        @raise OSError: the interface was deleted.
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
        Open the network namespace that the interface is in now.

        @return: a descriptor of the namespace, which the caller has to close. C{None}: the device is not open, a
            replacement for the operating system is in use, or the process lacks C{CAP_NET_ADMIN} in that namespace.
        """
        return None if self._fileno < 0 or self._system is not RealSystem else namespaceOf(self._fileno)
