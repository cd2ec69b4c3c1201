"""
Multicast for the transport of a C{DatagramProtocol}: the methods of C{IMulticastTransport}.

Read RFC 1112 sections 6 and 7 first, and the documentation of C{twisted.internet.interfaces.IMulticastTransport}.
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
    The part of a L{UDPTransport<txtuntap.udp.transport.UDPTransport>} that joins groups and sends to groups.

    A host has one link. So where C{twisted.internet} takes the address of an interface, these methods take any address
    of ours, or an empty string.

    @ivar boundAddress: the packed address that the transport listens on: all zeros for every address of that version,
        empty for every address of both versions.
    @ivar listening: whether the transport is on its port.
    @ivar groups: the packed groups that this transport has joined, and for each whether the IP layer has joined it for
        this transport. While the layers are on no port, the IP layer joins no group for it.
    """

    boundAddress: bytes
    listening: bool

    def __init__(self, udp: IUDPLayer) -> None:
        self._udp = udp
        self.groups: dict[bytes, bool] = {}
        # The groups that were joined when the layers were stopped. They may be joined a second time, because a protocol
        # that joins a group in startProtocol does so again when the layers are started again.
        self._rejoinable: set[bytes] = set()
        self._ttl = 1
        self._loops = True
        self._outgoing = b""

    def joinGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """
        Join a group for this transport. Datagrams to the group are then delivered to this transport, and to all other
        transports on the port that they are sent to.

        If the layers are on no port yet, they join the group once they are on a port. A L{Host<txtuntap.Host>} reports
        its groups to the routers. An L{IPProtocol<txtuntap.ip.IPProtocol>} without a host only receives.

        @param addr: the address of the group.
        @param interface: an address of ours, or C{""}.

        @return: a Deferred that fires when the group is joined. It fails with C{MulticastJoinError} if C{addr} is not a
            group, or is of another IP version than the transport; if this transport has joined the group already, or is
            not on its port any more; if C{interface} is not an address of ours of the same IP version; or if we have
            joined too many groups.
        """
        ip = self._udp.ip
        try:
            if not self.listening:
                raise OSError(errno.EBADF, "this transport is not on its port any more")
            group = self._group(addr, interface)
            if group in self._rejoinable:
                self._rejoinable.remove(group)
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
        Leave a group that L{joinGroup} has joined. (C{stopListening} leaves all groups.)

        @return: a Deferred that fires when the group is left. It fails with C{MulticastJoinError} if this transport has
            not joined the group, or if L{joinGroup} would refuse C{addr} or C{interface}.
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
        Leave all groups that this transport has joined.
        """
        for group in list(self.groups):
            self._leave(group)

    def resumeGroups(self, ip: IIPTransport) -> None:
        """
        Join the groups of this transport in the IP layer, because the layers are on a port now.

        @raise OSError: the IP layer has joined too many groups (see
            L{IIPTransport.join<txtuntap.interfaces.IIPTransport.join>}).
        """
        for group, isJoined in self.groups.items():
            if not isJoined:
                ip.join(group)
                self.groups[group] = True

    def suspendGroups(self, ip: IIPTransport) -> None:
        """
        Leave the groups of this transport in the IP layer, because the layers are on no port any more. The transport
        keeps the groups for L{resumeGroups}.
        """
        for group, isJoined in self.groups.items():
            if isJoined:
                ip.leave(group)
                self.groups[group] = False
        self._rejoinable = set(self.groups)

    def getTTL(self) -> int:
        """
        Return the hop limit (TTL) of datagrams to groups. The default is 1, so that the datagrams stay on the link.
        """
        return self._ttl

    def setTTL(self, ttl: int) -> None:
        """
        Set the hop limit (TTL) of datagrams to groups. With 0, the datagrams are delivered only to ourselves.

        @raise ValueError: C{ttl} is not a number from 0 to 255.
        """
        if not isinstance(ttl, int) or not 0 <= ttl <= 255:
            raise ValueError(f"a TTL is from 0 to 255, not {ttl!r}")
        self._ttl = ttl

    def getLoopbackMode(self) -> bool:
        """
        Return whether a datagram that this transport sends to a group is delivered to ourselves, too, if we are a
        member of the group. The default is true.
        """
        return self._loops

    def setLoopbackMode(self, mode: bool) -> None:
        """
        Set whether a datagram that this transport sends to a group is delivered to ourselves, too: see
        L{getLoopbackMode}.
        """
        self._loops = bool(mode)

    def getOutgoingInterface(self) -> str | int:
        """
        Return the source address of datagrams to groups. If none has been set, it is chosen for each datagram, and the
        result is C{"0.0.0.0"}, or 0 on a transport for IPv6.
        """
        if self._outgoing:
            return addressText(self._outgoing)
        return 0 if len(self.boundAddress) == 16 else "0.0.0.0"

    def setOutgoingInterface(self, addr: str | int) -> Deferred[int]:
        """
        Set the source address of datagrams to groups of its IP version.

        @param addr: an address of ours. With C{"0.0.0.0"}, C{"::"}, or a number (C{twisted.internet} numbers the
            interfaces for IPv6), the source is chosen for each datagram.

        @return: a Deferred that fires with 1, or with 0 if C{addr} is not ours. It fails with C{InvalidAddressError} if
            C{addr} is not an IP address.
        """
        try:
            packed = b"" if isinstance(addr, int) else packAddress(addr)
        except ValueError:
            return fail(InvalidAddressError(addr, "only IP addresses are accepted, not host names"))
        if any(packed) and not self._isOurs(packed):
            return succeed(0)
        self._outgoing = packed if any(packed) else b""
        return succeed(1)

    def _outputToGroup(self, ip: IIPTransport, route: Route, buffers: Sequence[bytes], trafficClass: int) -> None:
        # A datagram with a TTL of 0, or to a group of interface-local scope, is never sent on the link. Members of the
        # group on this host still get it (RFC 1112 section 6.1).
        if self._ttl and not isInterfaceLocal(route.dest):
            ip.output(route, PROTOCOL, buffers, self._ttl, None, trafficClass)
        if self._loops and ip.isMember(route.dest):
            ip.loop(route, PROTOCOL, buffers, self._ttl, trafficClass)

    def _leave(self, group: bytes) -> None:
        isJoined = self.groups.pop(group)
        self._rejoinable.discard(group)
        ip = self._udp.ip
        if isJoined and ip is not None:
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
