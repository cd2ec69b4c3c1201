"""
The part of a C{DatagramProtocol}'s transport that is about groups: C{IMulticastTransport}.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import InvalidAddressError, MulticastJoinError

from txtuntap.mistakes import checkText
from txtuntap.wire.address import addressText, isInterfaceLocal, isMulticast, packAddress
from txtuntap.wire.udp import PROTOCOL

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport
    from txtuntap.transports import Route
    from txtuntap.udp.interfaces import IUDPLayer


class MulticastTransport:
    """
    The part of a L{UDPTransport<txtuntap.udp.transport.UDPTransport>} that is about groups.

    A host has one link: where C{twisted.internet} takes an interface, an address of ours or nothing is good.

    @ivar boundAddress: the packed address that the transport is on; of zeros for all of its version, empty for all.
    @ivar listening: whether the transport is on its port.
    @ivar groups: packed groups that this transport has joined, and whether the IP layer knows.
    """

    boundAddress: bytes
    listening: bool

    def __init__(self, udp: IUDPLayer) -> None:
        self._udp = udp
        self.groups: dict[bytes, bool] = {}
        # Joined before the layers were stopped. A protocol that is started again joins again.
        self._before: set[bytes] = set()
        self._ttl = 1
        self._loops = True
        self._outgoing = b""

    def joinGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """
        Have datagrams to a group delivered: to this transport, and to all others on their port.

        Before the host is on a port, it is joined once it is. A L{Host<txtuntap.Host>} tells the routers; an
        L{IPProtocol<txtuntap.ip.IPProtocol>} by itself only listens.

        @param addr: the group's address.
        @param interface: an address of ours, or C{""}.

        @return: fires when it is joined; fails with C{MulticastJoinError} if C{addr} is no group of a version that the
            transport is for, is joined by it already, C{interface} is not ours, or there are too many.
        """
        ip = self._udp.ip
        try:
            if not self.listening:
                raise OSError(errno.EBADF, "this transport is not on its port any more")
            group = self._group(addr, interface)
            if group in self._before:
                self._before.remove(group)
                return succeed(None)
            if group in self.groups:
                raise OSError(errno.EADDRINUSE, "this transport has joined it already")
            if ip is not None:
                ip.join(group)
        except (ValueError, OSError) as e:
            return fail(MulticastJoinError(addr, interface, *e.args))
        self.groups[group] = ip is not None
        return succeed(None)

    def leaveGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """
        Undo a L{joinGroup}. (C{stopListening} leaves all groups.)

        @return: fires when it is left; fails with C{MulticastJoinError} if this transport has not joined it.
        """
        try:
            group = self._group(addr, interface)
            if group not in self.groups:
                raise OSError(errno.EADDRNOTAVAIL, "this transport has not joined it")
        except (ValueError, OSError) as e:
            return fail(MulticastJoinError(addr, interface, *e.args))
        self._leave(group)
        return succeed(None)

    def leaveAll(self) -> None:
        """
        Leave all groups.
        """
        for group in list(self.groups):
            self._leave(group)

    def enterGroups(self, ip: IIPTransport) -> None:
        """
        The layers are on a port: have the IP layer be in what has been joined before.

        @raise OSError: as L{IIPTransport.join<txtuntap.interfaces.IIPTransport.join>}.
        """
        for group, known in self.groups.items():
            if not known:
                ip.join(group)
                self.groups[group] = True

    def quitGroups(self, ip: IIPTransport) -> None:
        """
        The layers are on a port no more: what has been joined is for the next time.
        """
        for group, known in self.groups.items():
            if known:
                ip.leave(group)
                self.groups[group] = False
        self._before = set(self.groups)

    def getTTL(self) -> int:
        """
        How far datagrams to groups go: their hop limit, at first 1.
        """
        return self._ttl

    def setTTL(self, ttl: int) -> None:
        """
        Set how far datagrams to groups go: with 0, no further than to ourselves.

        @raise ValueError: C{ttl} is not from 0 to 255.
        """
        if not isinstance(ttl, int) or not 0 <= ttl <= 255:
            raise ValueError(f"a TTL is from 0 to 255, not {ttl!r}")
        self._ttl = ttl

    def getLoopbackMode(self) -> bool:
        """
        Whether a datagram to a group that we are in comes to ourselves, too: at first it does.
        """
        return self._loops

    def setLoopbackMode(self, mode: bool) -> None:
        """
        Set whether a datagram to a group that we are in comes to ourselves, too.
        """
        self._loops = bool(mode)

    def getOutgoingInterface(self) -> str | int:
        """
        The address that datagrams to groups leave from; C{"0.0.0.0"}, or 0 on a transport for IPv6: one that fits.
        """
        if self._outgoing:
            return addressText(self._outgoing)
        return 0 if len(self.boundAddress) == 16 else "0.0.0.0"

    def setOutgoingInterface(self, addr: str | int) -> Deferred[int]:
        """
        Set which address of ours datagrams to groups of its version leave from.

        @param addr: the address; C{"0.0.0.0"}, C{"::"}, or a number, as C{twisted.internet} has for the interfaces of
            IPv6: one that fits.

        @return: fires with 1; or with 0, if the address is not ours. Fails with C{InvalidAddressError} if it is none.
        """
        try:
            packed = b"" if isinstance(addr, int) else packAddress(addr)
        except ValueError:
            return fail(InvalidAddressError(addr, "only IP addresses are accepted, not host names"))
        if any(packed) and not self._isOurs(packed):
            return succeed(0)
        self._outgoing = packed if any(packed) else b""
        return succeed(1)

    def _outputToGroup(self, ip: IIPTransport, route: Route, buffers: Sequence[bytes]) -> None:
        # RFC 1112 section 6.1: what has no hop to go stays here, but it gets here.
        if self._ttl and not isInterfaceLocal(route.dest):
            ip.output(route, PROTOCOL, buffers, self._ttl)
        if self._loops and ip.isMember(route.dest):
            ip.loop(route, PROTOCOL, buffers, self._ttl)

    def _leave(self, group: bytes) -> None:
        known = self.groups.pop(group)
        self._before.discard(group)
        ip = self._udp.ip
        if known and ip is not None:
            ip.leave(group)

    def _group(self, addr: str, interface: str) -> bytes:
        checkText(addr, "a group", "224.0.0.251")
        group = packAddress(addr)
        if not isMulticast(group):
            raise ValueError(f"{addr} is not the address of a group")
        if self.boundAddress and len(self.boundAddress) != len(group):
            raise ValueError(f"this transport is on {addressText(self.boundAddress)}")
        if interface:
            packed = packAddress(interface)
            if len(packed) != len(group) or (any(packed) and not self._isOurs(packed)):
                raise ValueError(f"{interface} is no address of this host for groups such as {addr}")
        return group

    def _isOurs(self, address: bytes) -> bool:
        own = getattr(self._udp.ip, "ownAddresses", None)
        return own is None or own.accepts(address) or own.isAssigned(address)
