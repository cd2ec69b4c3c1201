"""
What the transport of a C{DatagramProtocol} can do with groups: C{IMulticastTransport}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import MulticastJoinError

from txtuntap.wire.address import LIMITED_BROADCAST, addressText, isGroup, packAddress

if TYPE_CHECKING:
    from txtuntap.interfaces import IIPTransport
    from txtuntap.rawudp import RawUDPProtocol


class MulticastTransport:
    """
    The part of a L{UDPTransport<txtuntap.udptransport.UDPTransport>} that is about groups.

    A host has one link: where C{twisted.internet} takes an interface, an address of ours or nothing is good.

    @ivar groups: packed groups that this transport has joined.
    """

    def __init__(self, udp: RawUDPProtocol) -> None:
        self._udp = udp
        self.groups: list[bytes] = []
        self._ttl = 1
        self._loops = True
        self._outgoing = b""

    @property
    def ip(self) -> IIPTransport | None:
        """
        The IP layer below, while there is one.
        """
        return self._udp.ip

    def joinGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """
        Have datagrams to a group delivered: to this transport, and to all others on their port.

        Before the host is on a port, it is joined once it is. A L{Host<txtuntap.Host>} tells the routers; an
        L{IPProtocol<txtuntap.ip.IPProtocol>} by itself only listens.

        @param addr: the group's address.
        @param interface: an address of ours, or C{""}.

        @return: fires when it is joined; fails with C{MulticastJoinError} if C{addr} is no group, is joined by this
            transport already, C{interface} is not ours, or there are too many.
        """
        try:
            group = self._group(addr, interface)
            if group in self.groups:
                raise ValueError("this transport has joined it already")
            if self.ip is not None:
                self.ip.join(group)
        except (ValueError, OSError) as e:
            return fail(MulticastJoinError(addr, interface, str(e)))
        self.groups.append(group)
        return succeed(None)

    def leaveGroup(self, addr: str, interface: str = "") -> Deferred[None]:
        """
        Undo a L{joinGroup}.

        @return: fires when it is left; fails with C{MulticastJoinError} if this transport has not joined it.
        """
        try:
            group = self._group(addr, interface)
            if group not in self.groups:
                raise ValueError("this transport has not joined it")
        except ValueError as e:
            return fail(MulticastJoinError(addr, interface, str(e)))
        self.groups.remove(group)
        if self.ip is not None:
            self.ip.leave(group)
        return succeed(None)

    def leaveAll(self) -> None:
        """
        Leave all groups.
        """
        groups, self.groups = self.groups, []
        for group in groups:
            if self.ip is not None:
                self.ip.leave(group)

    def getTTL(self) -> int:
        """
        How far datagrams to groups go: their hop limit, at first 1.
        """
        return self._ttl

    def setTTL(self, ttl: int) -> None:
        """
        Set how far datagrams to groups go.

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
        The address that datagrams to groups leave from; C{"0.0.0.0"}: one that fits.
        """
        return addressText(self._outgoing) if self._outgoing else "0.0.0.0"

    def setOutgoingInterface(self, addr: str | int) -> Deferred[int]:
        """
        Set which address of ours datagrams to groups leave from.

        @param addr: the address; or C{"0.0.0.0"}, C{"::"}, or the number of an interface (as for IPv6 sockets, of which
            there is one): one that fits.

        @return: fires with 1; or with 0, if the address is not ours.
        """
        packed = b"" if isinstance(addr, int) else packAddress(addr)
        if any(packed) and not self._isOurs(packed):
            return succeed(0)
        self._outgoing = packed if any(packed) else b""
        return succeed(1)

    def _group(self, addr: str, interface: str) -> bytes:
        group = packAddress(addr)
        if not isGroup(group) or group == LIMITED_BROADCAST:
            raise ValueError(f"{addr} is not the address of a group")
        if interface:
            packed = packAddress(interface)
            if any(packed) and not self._isOurs(packed):
                raise ValueError(f"{interface} is no address of this host")
        return group

    def _isOurs(self, address: bytes) -> bool:
        own = getattr(self.ip, "own", None)
        return own is None or own.owns(address)
