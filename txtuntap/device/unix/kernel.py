"""
The calls by which macOS, FreeBSD, OpenBSD and NetBSD configure and report interfaces: ioctls (C{netintro(4)}), the
routing socket (C{route(4)}) and C{sysctl(3)}. Not run on a real macOS, FreeBSD, OpenBSD or NetBSD yet.

No call blocks, because the kernel answers each of them at once.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from txtuntap.device.settings import InterfaceAddress, InterfaceState
from txtuntap.device.unix.layout import (
    AF_INET,
    AF_LINK,
    ALIAS_6_FLAGS,
    ALIAS_6_LIFETIMES,
    ALIAS_6_MASK,
    ALIAS_6_OTHER,
    ALIAS_6_OWN,
    ALIAS_MASK,
    ALIAS_OTHER,
    ALIAS_OWN,
    CTL_NET,
    DELETE_ADDRESS_6,
    DELETE_SIZE_6,
    FOR_EVER,
    IFF_POINTOPOINT,
    IFF_UP,
    IFREQ_UNION,
    IPV6_DISABLED,
    NEIGHBOUR_FLAGS,
    NEIGHBOUR_SIZE,
    NET_RT_DUMP,
    RTM_GET,
    Layout,
    layoutHere,
)
from txtuntap.device.unix.messages import RouteAnswer, answerIn, ipAddress, packRoute, routesIn, statesIn
from txtuntap.device.unix.system import RealSystem
from txtuntap.wire.address import packAddress

#: The order of the octets of a number in the kernel's structures.
_ORDER = sys.byteorder

#: The largest number of messages that are read from the routing socket to find the answer to one request. Messages to
#: all processes may precede the answer.
_MAX_MESSAGES = 1000

#: The number of seconds to wait for the next message.
_PATIENCE = 1.0

#: The largest number of octets in a routing message, whose length has 16 bits.
MAX_MESSAGE = 65536


class Kernel:
    """
    The kernel of macOS or a BSD, with a method for each change of an interface.

    @ivar layout: the numbers of the platform.
    """

    def __init__(self, system: Any = None, layout: Layout | None = None) -> None:
        """
        @param system: a replacement for L{RealSystem<txtuntap.device.unix.system.RealSystem>}; C{None}: make the real
            calls.
        @param layout: the numbers of the platform; C{None}: those of the platform that this program runs on.
        """
        self.layout = layoutHere() if layout is None else layout
        self._system: Any = RealSystem if system is None else system
        self._sequence = 0

    def states(self) -> list[InterfaceState]:
        """
        Read the states of all interfaces.
        """
        return statesIn(self._list(self.layout.interfaceList), self.layout)

    def state(self, name: str) -> InterfaceState:
        """
        Read the state of one interface.

        @raise OSError: there is no such interface (C{ENODEV}), or the system refuses.
        """
        for state in self.states():
            if state.name == name:
                return state
        raise OSError(errno.ENODEV, "there is no such interface")

    def routes(self) -> list[RouteAnswer]:
        """
        Read all routes of the kernel.
        """
        return routesIn(self._list(NET_RT_DUMP), self.layout)

    def _list(self, kind: int) -> bytes:
        data: bytes = self._system.sysctl((CTL_NET, self.layout.routeFamily, 0, 0, kind, 0))
        return data

    def openRouting(self) -> socket.socket:
        """
        Open a routing socket, which does not block. It receives a message about each change of an interface or a route.
        """
        opened: socket.socket = self._system.socket(self.layout.routeFamily, socket.SOCK_RAW, 0)
        opened.setblocking(False)
        return opened

    # Changes of an interface

    def create(self, name: str) -> str:
        """
        Have the kernel create an interface.

        @param name: its name, or that of its driver: the kernel chooses the number then.

        @return: the name that the kernel has given. Only macOS and FreeBSD tell it.
        """
        return nameIn(self.ioctl(AF_INET, self.layout.create, self.request(name)))

    def destroy(self, name: str) -> None:
        """
        Have the kernel destroy an interface. The kernel waits until no program has it open.
        """
        self.ioctl(AF_INET, self.layout.destroy, self.request(name))

    def setUp(self, name: str, up: bool) -> None:
        """
        Set a link up or down. The other flags keep their values.
        """
        request = self.request(name)
        with self._system.socket(AF_INET, socket.SOCK_DGRAM) as query:
            answer = bytearray(self._system.ioctl(query.fileno(), self.layout.getFlags, bytes(request)))
            flags = int.from_bytes(answer[IFREQ_UNION : IFREQ_UNION + 2], _ORDER)
            flags = flags | IFF_UP if up else flags & ~IFF_UP
            answer[IFREQ_UNION : IFREQ_UNION + 2] = flags.to_bytes(2, _ORDER)
            self._system.ioctl(query.fileno(), self.layout.setFlags, bytes(answer))

    def setMTU(self, name: str, mtu: int) -> None:
        """
        Set the MTU of an interface, in octets.
        """
        self.ioctl(AF_INET, self.layout.setMTU, self.request(name, mtu.to_bytes(4, _ORDER)))

    def setLinkAddress(self, name: str, address: bytes) -> None:
        """
        Set the link address of an interface, six octets.
        """
        assert self.layout.setLinkAddress is not None
        sockaddr = bytes((len(address), AF_LINK)) + address
        self.ioctl(AF_INET, self.layout.setLinkAddress, self.request(name, sockaddr))

    def isIPv6Disabled(self, name: str) -> bool:
        """
        Whether IPv6 is disabled on an interface, as FreeBSD does on a new one that is not a loopback.
        """
        if self.layout.getNeighbourFlags is None:
            return False
        with self._system.socket(self.layout.inet6, socket.SOCK_DGRAM) as query:
            return bool(self._neighbourFlags(query, name)[1] & IPV6_DISABLED)

    def setIPv6(self, name: str, enabled: bool) -> None:
        """
        Enable or disable IPv6 on an interface of FreeBSD. The other flags keep their values.
        """
        with self._system.socket(self.layout.inet6, socket.SOCK_DGRAM) as query:
            answer, flags = self._neighbourFlags(query, name)
            flags = flags & ~IPV6_DISABLED if enabled else flags | IPV6_DISABLED
            answer[NEIGHBOUR_FLAGS : NEIGHBOUR_FLAGS + 4] = flags.to_bytes(4, _ORDER)
            self._system.ioctl(query.fileno(), self.layout.setNeighbourFlags, bytes(answer))

    def _neighbourFlags(self, query: socket.socket, name: str) -> tuple[bytearray, int]:
        """
        Read the structure with the IPv6 flags of an interface.

        @return: the structure, and the flags.
        """
        request = os.fsencode(name).ljust(NEIGHBOUR_SIZE, b"\0")
        answer = bytearray(self._system.ioctl(query.fileno(), self.layout.getNeighbourFlags, request))
        return answer, int.from_bytes(answer[NEIGHBOUR_FLAGS : NEIGHBOUR_FLAGS + 4], _ORDER)

    def addAddress(self, state: InterfaceState, address: InterfaceAddress) -> None:
        """
        Add an address to an interface. A point-to-point interface without a peer gets its own address as the IPv4
        destination, because the kernel refuses an IPv4 address without one (C{EDESTADDRREQ}).
        """
        layout = self.layout
        own = packAddress(str(address.interface.ip))
        other = address.peer if state.flags & IFF_POINTOPOINT else address.broadcast
        mask = packAddress(str(address.interface.netmask))
        name = os.fsencode(state.name)
        if len(own) == 4:
            if other is None and state.flags & IFF_POINTOPOINT:
                other = str(address.interface.ip)
            request = bytearray(name.ljust(layout.aliasSize, b"\0"))
            places = ALIAS_OWN, ALIAS_OTHER, ALIAS_MASK
        else:
            request = bytearray(name.ljust(layout.alias6Size, b"\0"))
            places = ALIAS_6_OWN, ALIAS_6_OTHER, ALIAS_6_MASK
            request[ALIAS_6_FLAGS : ALIAS_6_FLAGS + 4] = layout.noDetection.to_bytes(4, _ORDER)
            request[ALIAS_6_LIFETIMES : ALIAS_6_LIFETIMES + 8] = FOR_EVER.to_bytes(4, _ORDER) * 2
        for place, value in zip(places, (own, other and packAddress(other), mask), strict=True):
            if value:
                packed = ipAddress(value, layout)
                request[place : place + len(packed)] = packed
        family, number = (AF_INET, layout.addAddress) if len(own) == 4 else (layout.inet6, layout.addAddress6)
        self.ioctl(family, number, bytes(request))

    def deleteAddress(self, name: str, address: InterfaceAddress) -> None:
        """
        Delete an address of an interface.
        """
        layout = self.layout
        own = packAddress(str(address.interface.ip))
        if len(own) == 4:
            self.ioctl(AF_INET, layout.deleteAddress, self.request(name, ipAddress(own, layout)))
        else:
            request = os.fsencode(name).ljust(IFREQ_UNION, b"\0") + ipAddress(own, layout)
            self.ioctl(layout.inet6, DELETE_ADDRESS_6, request.ljust(DELETE_SIZE_6, b"\0"))

    # Routes

    def changeRoute(self, kind: int, flags: int, addresses: Mapping[int, bytes]) -> None:
        """
        Add or delete a route.

        @param kind: C{RTM_ADD} or C{RTM_DELETE}.
        """
        with self.openRouting() as routing:
            # The kernel's refusal is the error of this call.
            routing.send(self._packRoute(kind, flags, addresses))

    def findRoute(self, addresses: Mapping[int, bytes]) -> RouteAnswer | None:
        """
        Find the route to a network or a host.

        @return: the route, which may be one to a larger network; C{None}: there is none.
        """
        with self.openRouting() as routing:
            try:
                routing.send(self._packRoute(RTM_GET, 0, addresses))
            except ProcessLookupError:
                # ESRCH: there is no route.
                return None
            for _ in range(_MAX_MESSAGES):
                # FreeBSD queues the answer for a thread of its own, so it may arrive a moment after the request.
                if not select.select([routing], [], [], _PATIENCE)[0]:
                    break
                with suppress(BlockingIOError):
                    answer = answerIn(routing.recv(MAX_MESSAGE), self.layout, RTM_GET, os.getpid(), self._sequence)
                    if answer is not None:
                        return answer
        raise OSError(errno.EIO, "the routing socket gives no answer")

    def _packRoute(self, kind: int, flags: int, addresses: Mapping[int, bytes]) -> bytes:
        self._sequence += 1
        return packRoute(self.layout, kind, flags, addresses, os.getpid(), self._sequence)

    def request(self, name: str = "", value: bytes = b"") -> bytes:
        """
        Pack a request about an interface, an C{ifreq}.
        """
        return (os.fsencode(name).ljust(IFREQ_UNION, b"\0") + value).ljust(self.layout.ifreqSize, b"\0")

    def ioctl(self, family: int, number: int, request: bytes) -> bytes:
        """
        Make an ioctl about an interface.

        @param family: the address family of the socket for it.

        @return: the octets of the request as the kernel has filled them.
        """
        with self._system.socket(family, socket.SOCK_DGRAM) as query:
            return bytes(self._system.ioctl(query.fileno(), number, request))


def nameIn(answer: bytes) -> str:
    """
    Return the name of the interface in an C{ifreq}.
    """
    return os.fsdecode(answer[:IFREQ_UNION].partition(b"\0")[0])
